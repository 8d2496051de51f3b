//! What a run of a machine did, counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use arch_ppc64::hypercall::token;

use crate::moments::Moments;

/// The counts of a run, over all CPUs and all restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// How long it took, from the first start to the end.
    pub wall: Duration,
    /// Instructions that CPUs executed, where the back end knows.
    pub instructions: Option<u64>,
    /// Why CPUs left guest code, and how often.
    pub exits: Exits,
    /// Hypercalls by token, those with a name.
    pub hypercalls: BTreeMap<u64, u64>,
    /// Other hypercalls. They are not told apart: a guest can make up as many as it likes.
    pub unknown_hypercalls: u64,
    /// Calls of the client interface by service.
    pub client_calls: BTreeMap<&'static str, u64>,
    /// What they took of the host's time, on all CPUs.
    pub client_time: ClientTime,
    /// When the run got how far.
    pub moments: Moments,
}

/// The host's time in calls of the client interface, as a CPU that makes them sees it: waiting for
/// the host and for other CPUs is in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientTime {
    /// All of them.
    pub all: Duration,
    /// The longest; one that waits for the host is made in pieces, of which each counts.
    pub longest: Duration,
}

/// Why CPUs left guest code, and how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exits {
    /// To make a hypercall.
    pub hypercalls: u64,
    /// To read where no RAM is.
    pub mmio_reads: u64,
    /// To write where no RAM is.
    pub mmio_writes: u64,
    /// Because somebody wanted them out.
    pub interrupted: u64,
}

impl Stats {
    /// Counts a hypercall of this token.
    pub(crate) fn count_hypercall(&mut self, token: u64) {
        match token::name(token) {
            Some(_) => *self.hypercalls.entry(token).or_default() += 1,
            None => self.unknown_hypercalls += 1,
        }
    }

    /// Counts the time of a call of the client interface that was made at `start` and has its answer.
    pub(crate) fn count_client_time(&mut self, start: Instant) {
        let end = Instant::now();
        let time = end.saturating_duration_since(start);
        self.client_time.all += time;
        self.client_time.longest = self.client_time.longest.max(time);
        self.moments.answer_client(end);
    }

    /// Adds the counts of a part of the run. The time is that of the whole run already.
    pub(crate) fn add(&mut self, part: &Self) {
        if let Some(instructions) = part.instructions {
            *self.instructions.get_or_insert(0) += instructions;
        }
        self.exits.hypercalls += part.exits.hypercalls;
        self.exits.mmio_reads += part.exits.mmio_reads;
        self.exits.mmio_writes += part.exits.mmio_writes;
        self.exits.interrupted += part.exits.interrupted;
        for (&token, &count) in &part.hypercalls {
            *self.hypercalls.entry(token).or_default() += count;
        }
        self.unknown_hypercalls += part.unknown_hypercalls;
        for (&service, &count) in &part.client_calls {
            let sum = self.client_calls.entry(service).or_default();
            // Counts of a state that was taken up are what somebody else says.
            *sum = sum.saturating_add(count);
        }
        self.client_time.all += part.client_time.all;
        self.client_time.longest = self.client_time.longest.max(part.client_time.longest);
        self.moments.add(&part.moments);
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.wall.as_secs_f64();
        writeln!(f, "wall time       {seconds:>14.3} s")?;
        if let Some(instructions) = self.instructions {
            let mips = instructions as f64 / seconds.max(f64::MIN_POSITIVE) / 1e6;
            writeln!(f, "instructions    {instructions:>14}")?;
            writeln!(f, "MIPS            {mips:>14.1}")?;
        }
        let Exits { hypercalls, mmio_reads, mmio_writes, interrupted } = self.exits;
        writeln!(f, "exits")?;
        for (name, count) in [
            ("hypercall", hypercalls),
            ("MMIO read", mmio_reads),
            ("MMIO write", mmio_writes),
            ("interrupted", interrupted),
        ] {
            writeln!(f, "  {name:<32}{count:>12}")?;
        }
        writeln!(f, "hypercalls")?;
        for (&token, count) in &self.hypercalls {
            let name = token::name(token).unwrap_or("?");
            writeln!(f, "  {name:<32}{count:>12}")?;
        }
        if self.unknown_hypercalls > 0 {
            writeln!(f, "  {:<32}{:>12}", "others", self.unknown_hypercalls)?;
        }
        if !self.client_calls.is_empty() {
            writeln!(f, "client calls")?;
            for (service, count) in &self.client_calls {
                writeln!(f, "  {service:<32}{count:>12}")?;
            }
            let ClientTime { all, longest } = self.client_time;
            writeln!(f, "host time of client calls")?;
            writeln!(f, "  {:<32}{:>12.6} s", "all of it", all.as_secs_f64())?;
            writeln!(f, "  {:<32}{:>12.6} s", "the longest", longest.as_secs_f64())?;
        }
        write!(f, "{}", self.moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_have_names() {
        let part = |instructions| {
            let mut part = Stats {
                instructions: Some(instructions),
                exits: Exits { hypercalls: 4, ..Exits::default() },
                client_calls: BTreeMap::from([("getprop", 1)]),
                ..Stats::default()
            };
            for token in [token::PUT_TERM_CHAR, token::PUT_TERM_CHAR, 0xabc, u64::MAX] {
                part.count_hypercall(token);
            }
            let time = Duration::from_micros(instructions);
            part.client_time = ClientTime { all: time + Duration::from_micros(2), longest: time };
            part
        };
        let mut all = Stats { wall: Duration::from_secs(2), ..Stats::default() };
        all.add(&part(1_000_000));
        all.add(&part(3_000_000));
        let text = all.to_string();
        let count = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
            line.split_whitespace().next_back().unwrap().to_owned()
        };
        assert_eq!(count("instructions"), "4000000");
        assert_eq!(count("MIPS"), "2.0");
        assert_eq!(all.hypercalls.len(), 1);
        assert_eq!(count("hypercall "), "8");
        assert_eq!(count("H_PUT_TERM_CHAR"), "4");
        assert_eq!(count("others"), "4");
        assert_eq!(count("getprop"), "2");
        assert!(text.contains("all of it                           4.000004 s"), "{text}");
        assert!(text.contains("the longest                         3.000000 s"), "{text}");
    }
}
