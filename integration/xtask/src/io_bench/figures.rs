//! What guests did in a second, and how often processors left them for it.

use std::fmt;

/// What is wanted, of that of QEMU.
const TARGET: f64 = 1.0;

/// Who is measured, as `host/io` says it.
pub(super) const OURS: &str = "pseries-vmm";
pub(super) const PEER: &str = "QEMU";

/// With a network that the host's kernel works for.
const IN_KERNEL: &str = ", vhost";

/// What a guest did.
#[derive(Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) by: String,
    /// Such as "read random 4096, depth 1".
    way: String,
    /// Requests or mebibytes, a second of the guest's clock.
    by_clock: f64,
    /// The same, a second that the emulator worked.
    by_work: f64,
    /// How often the processor left the guest, for each of these.
    exits: f64,
}

/// What is counted before and behind each way.
#[derive(Debug, Clone, Copy)]
struct Counters {
    exits: f64,
    processor: f64,
}

/// The lines of `host/io`, `guest/io` and `guest/io.c`, and those of processor time.
pub(super) fn rates(console: &str) -> Vec<Rate> {
    let mut by = String::new();
    let mut rates: Vec<Rate> = Vec::new();
    // What was done, if the counters behind it are still to come.
    let mut done = None;
    let mut before: Option<Counters> = None;
    let mut exits = None;
    let number = |line: &str, start: &str| line.strip_prefix(start)?.parse::<f64>().ok();
    for line in console.lines().map(str::trim_end) {
        if let Some(name) = line.strip_prefix("by: ") {
            name.clone_into(&mut by);
        } else if line.starts_with("begin: ") {
            (done, before, exits) = (None, None, None);
        } else if let Some(rate) = rate(line) {
            (done, exits) = (Some(rate), None);
        } else if let Some(count) = number(line, "exits: ") {
            exits = Some(count);
        } else if let (Some(processor), Some(exits)) = (number(line, "processor: "), exits.take()) {
            let now = Counters { exits, processor };
            match (done.take(), before) {
                (Some((way, count, by_clock)), Some(before)) => rates.push(Rate {
                    by: by.clone(),
                    way: way.into(),
                    by_clock,
                    by_work: count / (now.processor - before.processor),
                    exits: (now.exits - before.exits) / count,
                }),
                _ => before = Some(now),
            }
        }
    }
    rates
}

/// A way, how much was done, and how much a second.
fn rate(line: &str) -> Option<(&str, f64, f64)> {
    let (way, figures) = line.strip_prefix("io: ")?.split_once(": ")?;
    let count = figures.split(' ').next()?.parse().ok()?;
    let rate = figures.rsplit_once(", ")?.1.strip_suffix("/s")?.parse().ok()?;
    Some((way, count, rate))
}

/// Medians, and their ratios. What is judged is the clock of a host that counts instructions, or else
/// the work of the emulator.
pub(super) fn print(rates: &[Rate], runs: u32, is_counted: bool) {
    let (judged, second): (fn(&Rate) -> f64, _) = if is_counted {
        (|rate| rate.by_clock, "is 125 million instructions of the host")
    } else {
        (
            |rate| rate.by_work,
            "is one that the emulator worked; by the clock, other jobs count as well",
        )
    };
    println!(
        "what a guest does, requests of its disk, messages, and MiB of TCP: medians of {runs} runs, the \
         least and the most. A second {second}. Exits are for each."
    );
    println!("  {:<40}{OURS:>24}{:>9}{PEER:>24}{:>9}{:>8}", "", "exits", "exits", "ratio");
    let mut ways: Vec<&str> = Vec::new();
    for rate in rates {
        if !ways.contains(&rate.way.as_str()) {
            ways.push(&rate.way);
        }
    }
    for way in ways {
        for suffix in ["", IN_KERNEL] {
            let of = |by: &str, of: fn(&Rate) -> f64| {
                let by = format!("{by}{suffix}");
                Figure::of(rates.iter().filter(|rate| rate.by == by && rate.way == way).map(of))
            };
            let [ours, peers] = [OURS, PEER].map(|by| of(by, judged));
            if ours.median.is_nan() {
                continue;
            }
            let [our_exits, peers_exits] = [OURS, PEER].map(|by| of(by, |rate| rate.exits).median);
            let clock = if is_counted {
                String::new()
            } else {
                let [ours, peers] = [OURS, PEER].map(|by| of(by, |rate| rate.by_clock).median);
                format!("; by the clock {ours:.1} and {peers:.1}, {:.2}", ours / peers)
            };
            let ratio = ours.median / peers.median;
            let verdict = if ratio >= TARGET { "met" } else { "MISSED" };
            let name = format!("{way}{suffix}");
            println!(
                "  {name:<40}{ours}{our_exits:>9.2}{peers}{peers_exits:>9.2}{ratio:>8.2}   target >= \
                 {TARGET}: {verdict}{clock}"
            );
        }
    }
}

/// Figures of one way.
#[derive(Debug, PartialEq)]
struct Figure {
    median: f64,
    least: f64,
    most: f64,
}

impl Figure {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { median: at(values.len() / 2), least: at(0), most: at(last) }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = format!("({:.0} - {:.0})", self.least, self.most);
        write!(f, "{:>10.1} {range:>13}", self.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_did_is_read() {
        let console = "by: QEMU\r\nGUEST-READY\r\nbegin: read random 4096, depth 1\r\nexits: 100\r\n\
                       processor: 7.5\n\
                       io: read random 4096, depth 1: 12 requests in 4.000 s, 3.5/s\r\n\
                       exits: 130\r\nprocessor: 9.5\n\
                       io: no such thing\r\nby: pseries-vmm\r\n\
                       begin: tcp guest to host, streams 4\r\nexits: 1000\r\nprocessor: 10\n\
                       io: tcp guest to host, streams 4: 192 MiB in 96.00 s, 2.0/s\r\n\
                       exits: 1096\r\nprocessor: 14\n";
        let rate = |by: &str, way: &str, by_clock, by_work, exits| Rate {
            by: by.into(),
            way: way.into(),
            by_clock,
            by_work,
            exits,
        };
        assert_eq!(
            rates(console),
            [
                rate(PEER, "read random 4096, depth 1", 3.5, 6.0, 2.5),
                rate(OURS, "tcp guest to host, streams 4", 2.0, 48.0, 0.5)
            ]
        );
        assert_eq!(rates(&console.repeat(2)).len(), 4);
        let figure = Figure::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(figure, Figure { median: 2.0, least: 1.0, most: 3.0 });
    }

    /// Counters that are lost give no figures from elsewhere.
    #[test]
    fn counters_are_those_of_their_way() {
        let console = "begin: a\nexits: 5\nprocessor: 1\nbegin: b\n\
                       io: b: 1 requests in 1.0 s, 1.0/s\nexits: 9\nprocessor: 2\n";
        assert_eq!(rates(console), []);
    }
}
