//! `cargo xtask bench snapshot` and `bench migrate`: what it takes to save a guest, to have it go on, and
//! to move it, on the processor in software.

use crate::failure::Result;
use crate::program::{output_of, progress};
use crate::witness::{Witness, cmdline};

/// The guest's RAM, and what its program fills of it and writes over again a second, in MiB.
const RAM: &str = "1G";
const SAVED: u32 = 64;
const SAVED_RATE: u32 = 16;
const MOVED: u32 = 256;
const MOVED_RATES: [u32; 3] = [0, 16, 64];

/// What is measured, as `proof` names it, and what it may be at most.
const TARGETS: [(&str, f64); 3] = [
    ("restore to the first frame, ms", 50.0),
    ("longest gap by the guest's clock, ms", 100.0),
    ("longest gap of ticks by the peer's clock, ms", 100.0),
];

/// Saves a guest so often, and restores it each time, by both ways.
pub(crate) fn snapshot(runs: u32) -> Result<u8> {
    let witness = Witness::make("bench-snapshot")?;
    for (how, options) in [("a process of its own", None), ("a request", Some("--by-request"))] {
        progress!("saving and restoring a guest {runs} times, by {how}");
        let mut proof = witness.here("snapshots")?;
        proof.args(["--memory", RAM, "--cmdline", &cmdline(SAVED, SAVED_RATE)]);
        proof.args(["--saves", &runs.to_string()]).args(options);
        println!(
            "a guest of {RAM} that writes {SAVED} MiB over and over, {SAVED_RATE} a second, restored by \
             {how}: medians, the least and the most"
        );
        print(&output_of(&mut proof)?);
    }
    Ok(0)
}

/// Moves a guest so often, at each rate.
pub(crate) fn migrate(runs: u32) -> Result<u8> {
    for rate in MOVED_RATES {
        // Its folder is of one guest, with the sockets of that.
        let witness = Witness::make("bench-migrate")?;
        progress!("moving a guest {runs} times, which writes {rate} MiB a second");
        let mut proof = witness.here("migrations")?;
        proof.args(["--memory", RAM, "--cmdline", &cmdline(MOVED, rate)]);
        proof.args(["--cuts", "0", "--kills", "0", "--moves", &runs.to_string()]);
        println!(
            "a guest of {RAM} that has written {MOVED} MiB and writes {rate} a second, moved: medians, \
             the least and the most"
        );
        print(&output_of(&mut proof)?);
    }
    Ok(0)
}

fn print(said: &str) {
    for (name, figures) in figures(said) {
        let verdict = verdict(name, figures);
        println!("  {name:<46}{figures}{verdict}");
    }
}

/// `FIGURE NAME: FIGURES`.
fn figures(said: &str) -> impl Iterator<Item = (&str, &str)> {
    said.lines().filter_map(|line| line.strip_prefix("FIGURE ")?.split_once(": "))
}

/// What the median, which comes first, is beside its target, where it has one.
fn verdict(name: &str, figures: &str) -> String {
    let target = TARGETS.iter().find(|(of, _)| *of == name);
    let median = figures.split(' ').next().and_then(|median| median.parse::<f64>().ok());
    match (target, median) {
        (Some((_, target)), Some(median)) => {
            let verdict = if median <= *target { "met" } else { "MISSED" };
            format!("   target <= {target}: {verdict}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_judged_where_there_is_a_target() {
        let said = "save 1: x\nFIGURE restore to the first frame, ms: 49.9 (1.0 - 90.0, 3 times)\n\
                    FIGURE save, ms: 7.0 (1.0 - 9.0, 3 times)\n";
        let read: Vec<_> = figures(said).collect();
        assert_eq!(read[1], ("save, ms", "7.0 (1.0 - 9.0, 3 times)"));
        assert_eq!(verdict(read[0].0, read[0].1), "   target <= 50: met");
        assert_eq!(verdict(read[0].0, "50.1 (x"), "   target <= 50: MISSED");
        assert_eq!(verdict(read[1].0, read[1].1), "");
    }
}
