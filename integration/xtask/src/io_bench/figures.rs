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
    /// Requests or mebibytes, a second.
    rate: f64,
    /// How often processors left the guest, for each of these.
    exits: f64,
}

/// The lines of `host/io`, `guest/io` and `guest/io.c`.
pub(super) fn rates(console: &str) -> Vec<Rate> {
    let mut by = String::new();
    let mut rates: Vec<Rate> = Vec::new();
    // What was done, if the count of exits behind it is still to come.
    let mut done = None;
    let mut exits_before = None;
    for line in console.lines().map(str::trim_end) {
        if let Some(name) = line.strip_prefix("by: ") {
            name.clone_into(&mut by);
        } else if line.starts_with("begin: ") {
            (done, exits_before) = (None, None);
        } else if let Some(rate) = rate(line) {
            done = Some(rate);
        } else if let Some(count) = line.strip_prefix("exits: ").and_then(|n| n.parse::<f64>().ok())
        {
            if let Some((way, count_done, rate)) = done.take() {
                let exits = exits_before.map_or(f64::NAN, |before| (count - before) / count_done);
                rates.push(Rate { by: by.clone(), way: way.into(), rate, exits });
            } else {
                exits_before = Some(count);
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

/// Medians, and their ratios.
pub(super) fn print(rates: &[Rate], runs: u32) {
    println!(
        "what a guest does a second, requests of its disk and MiB of TCP: medians of {runs} runs, \
         the least and the most; and how often its processor leaves it for each"
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
            let of = |by: &str| {
                let by = format!("{by}{suffix}");
                Figure::of(rates.iter().filter(|rate| rate.by == by && rate.way == way))
            };
            let (ours, peers) = (of(OURS), of(PEER));
            if ours.median.is_nan() {
                continue;
            }
            let ratio = ours.median / peers.median;
            let verdict = if ratio >= TARGET { "met" } else { "MISSED" };
            let way = format!("{way}{suffix}");
            println!("  {way:<40}{ours}{peers}{ratio:>8.2}   target >= {TARGET}: {verdict}");
        }
    }
}

/// Rates of one way.
#[derive(Debug, PartialEq)]
struct Figure {
    median: f64,
    least: f64,
    most: f64,
    /// The median.
    exits: f64,
}

impl Figure {
    fn of<'a>(rates: impl Iterator<Item = &'a Rate> + Clone) -> Self {
        let sorted = |of: fn(&Rate) -> f64| {
            let mut values: Vec<f64> = rates.clone().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (values, exits) = (sorted(|rate| rate.rate), sorted(|rate| rate.exits));
        let at = |values: &[f64], place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let (middle, last) = (values.len() / 2, values.len().saturating_sub(1));
        Self {
            median: at(&values, middle),
            least: at(&values, 0),
            most: at(&values, last),
            exits: at(&exits, middle),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = format!("({:.0} - {:.0})", self.least, self.most);
        write!(f, "{:>10.1} {range:>13}{:>9.2}", self.median, self.exits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_did_is_read() {
        let console = "by: QEMU\r\nGUEST-READY\r\nbegin: read random 4096, depth 1\r\nexits: 100\r\n\
                       io: read random 4096, depth 1: 12 requests in 4.000 s, 3.5/s\r\n\
                       exits: 130\r\n\
                       io: no such thing\r\nby: pseries-vmm\r\n\
                       begin: tcp guest to host, streams 4\r\nexits: 1000\r\n\
                       io: tcp guest to host, streams 4: 192 MiB in 96.00 s, 2.0/s\r\n\
                       exits: 1096\r\n";
        let rate =
            |by: &str, way: &str, rate, exits| Rate { by: by.into(), way: way.into(), rate, exits };
        assert_eq!(
            rates(console),
            [
                rate(PEER, "read random 4096, depth 1", 3.5, 2.5),
                rate(OURS, "tcp guest to host, streams 4", 2.0, 0.5)
            ]
        );
        let twice = rates(&console.repeat(2));
        let figure = Figure::of(twice.iter().filter(|rate| rate.by == PEER));
        assert_eq!(figure, Figure { median: 3.5, least: 3.5, most: 3.5, exits: 2.5 });
    }

    /// An `exits:` line that is lost does not give a figure from elsewhere.
    #[test]
    fn exits_are_those_of_their_way() {
        let console = "begin: a\nexits: 5\nbegin: b\nio: b: 1 requests in 1.0 s, 1.0/s\nexits: 9\n";
        let rates = rates(console);
        assert!(rates.len() == 1 && rates[0].exits.is_nan(), "{rates:?}");
    }
}
