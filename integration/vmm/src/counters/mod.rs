//! What a machine and its devices have done, as numbers that grow: for whoever watches many machines.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use arch_ppc64::hypercall::token;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resize::Control;
use crate::stats::{ClientTime, Exits, Stats};

pub use text::prometheus;

/// How long a CPU may take to tell what it has done. One that is in a call which takes longer has told
/// before.
const LIMIT: Duration = Duration::from_secs(1);

/// The machine itself. No device has such an id.
pub(crate) const MACHINE: &str = "_vm";
/// Hypercalls by name.
pub(crate) const HYPERCALLS: &str = "_hypercalls";
/// Calls of the client interface by service.
pub(crate) const CLIENT_CALLS: &str = "_client_calls";

/// What a machine and its devices have done: by device, and in `_vm`, `_hypercalls` and `_client_calls`
/// what the machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Counters(BTreeMap<String, BTreeMap<String, u64>>);

impl Counters {
    /// A number, where it is counted.
    pub fn get(&self, of: &str, name: &str) -> Option<u64> {
        self.0.get(of)?.get(name).copied()
    }

    /// Each device, or what else there is, with its numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, u64>)> {
        self.0.iter().map(|(name, counters)| (name.as_str(), counters))
    }

    /// Those of one device more, or of what else there is.
    pub fn add<'a>(&mut self, of: &str, counters: impl IntoIterator<Item = (&'a str, u64)>) {
        let counters = counters.into_iter().map(|(name, count)| (name.to_owned(), count));
        self.0.entry(of.to_owned()).or_default().extend(counters);
    }

    fn of_machine(stats: &Stats, boots: u32) -> Self {
        let Exits { hypercalls, mmio_reads, mmio_writes, interrupted } = stats.exits;
        let ClientTime { all, longest } = stats.client_time;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut counters = Self::default();
        counters.add(
            MACHINE,
            [
                ("boots", boots.into()),
                ("exits_hypercall", hypercalls),
                ("exits_mmio_read", mmio_reads),
                ("exits_mmio_write", mmio_writes),
                ("exits_interrupted", interrupted),
                ("client_call_us", micros(all)),
                ("longest_client_call_us", micros(longest)),
            ],
        );
        counters.add(MACHINE, stats.instructions.map(|count| ("instructions", count)));
        let name = |token| token::name(token).unwrap_or("?");
        let calls = stats.hypercalls.iter().map(|(&token, &count)| (name(token), count));
        counters.add(HYPERCALLS, calls);
        counters.add(HYPERCALLS, [("others", stats.unknown_hypercalls)]);
        let calls = stats.client_calls.iter().map(|(&service, &count)| (service, count));
        counters.add(CLIENT_CALLS, calls);
        counters
    }
}

impl Control {
    /// What the running machine and its devices have done, in all of its starts; `None` where no
    /// machine runs. A paused one is looked at as well.
    ///
    /// A CPU is interrupted for it.
    pub fn counters(&self) -> Option<Counters> {
        let live = self.live().ok()?;
        let mut stats = live.cpus.stats(LIMIT);
        if let Some(client) = &live.client {
            let client_calls = client().calls.into_iter().filter(|(_, count)| *count > 0).collect();
            stats.add(&Stats { client_calls, ..Stats::default() });
        }
        let mut counters = Counters::of_machine(&stats, live.boot_count);
        for (id, counts) in live.devices.counts() {
            counters.add(id.as_str(), counts);
        }
        Some(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_counted_by_name() {
        let mut stats = Stats { instructions: Some(7), ..Stats::default() };
        stats.exits.mmio_reads = 3;
        stats.count_hypercall(token::CEDE);
        stats.count_hypercall(0xabc);
        stats.client_calls.insert("getprop", 5);
        stats.client_time.all = Duration::from_millis(2);
        let mut counters = Counters::of_machine(&stats, 2);
        counters.add("disk0", [("read_ops", 9)]);
        for (of, name, count) in [
            (MACHINE, "boots", 2),
            (MACHINE, "instructions", 7),
            (MACHINE, "exits_mmio_read", 3),
            (MACHINE, "client_call_us", 2000),
            (HYPERCALLS, "H_CEDE", 1),
            (HYPERCALLS, "others", 1),
            (CLIENT_CALLS, "getprop", 5),
            ("disk0", "read_ops", 9),
        ] {
            assert_eq!(counters.get(of, name), Some(count), "{of} {name}");
        }
        assert_eq!(Counters::of_machine(&Stats::default(), 1).get(MACHINE, "instructions"), None);
        let json = serde_json::to_string(&counters).unwrap();
        assert!(json.contains(r#""disk0":{"read_ops":9}"#), "{json}");
        assert_eq!(serde_json::from_str::<Counters>(&json).unwrap(), counters);
    }
}
