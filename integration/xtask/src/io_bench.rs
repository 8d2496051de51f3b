//! `cargo xtask bench io`: a guest that uses its disk, on KVM in the emulated host, beside QEMU
//! there.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;

use crate::cpio::Archive;
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::guest::{self, Guest, NO_WATCHDOGS};
use crate::host;
use crate::packages::{self, Tool};
use crate::peer;
use crate::program::{cargo, ended, line, progress};
use crate::user_programs::{self, UserProgram};

/// What uses the disk, and what runs it in each way.
const PROGRAM: UserProgram = UserProgram { name: "io", options: &[] };
const SCRIPT: &str = include_str!("../guest/io");

/// The requests of a second that are wanted, of those of QEMU.
const TARGET: f64 = 1.0;

/// Who is measured, as `host/io` says it.
const OURS: &str = "pseries-vmm";
const PEER: &str = "QEMU";

/// Runs both alternately, `runs` times, and prints the figures beside the target.
pub(crate) fn run(runs: u32) -> Result<u8> {
    packages::ensure(&Tool::FOR_HOST)?;
    let guest = guest::make(false)?;
    let initramfs = initramfs(&guest)?;
    let peer = peer::make()?;
    let script = folders::workspace().join("integration/xtask/host/io");
    let mut xtask = cargo();
    xtask.current_dir(folders::workspace()).args(["xtask", "on-power", "--disk"]).arg(&peer);
    for file in [&guest.kernel, &initramfs, &script] {
        xtask.arg("--file").arg(file);
    }
    let cmdline = format!("console=hvc0 cryptomgr.notests {NO_WATCHDOGS} quiet autorun=/bin/ways");
    xtask.args(["--", "sh", "io", &runs.to_string(), &cmdline]);
    progress!("running both {runs} times, which takes some minutes");
    xtask.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = xtask.output().attempt(|| "run cargo".into())?;
    let console = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let words = line(&xtask);
        return Err(Failure::new(format!("{words} {}; it said\n{console}", ended(output.status))));
    }
    let rates = rates(&console);
    let wanted = rates.iter().filter(|rate| rate.by == OURS).count();
    if rates.is_empty() || wanted * 2 != rates.len() {
        return Err(Failure::new(format!("a guest did not end as it should; it said\n{console}")));
    }
    print(&rates, runs);
    Ok(0)
}

/// Medians, and their ratios.
fn print(rates: &[Rate], runs: u32) {
    println!(
        "requests of a guest to its disk, a second: medians of {runs} runs, the least and the most"
    );
    println!("  {:<26}{OURS:>24}{PEER:>24}{:>8}", "", "ratio");
    let mut ways: Vec<&str> = Vec::new();
    for rate in rates {
        if !ways.contains(&rate.way.as_str()) {
            ways.push(&rate.way);
        }
    }
    for way in ways {
        let of = |by| Figure::of(rates.iter().filter(|rate| rate.by == by && rate.way == way));
        let (ours, peers) = (of(OURS), of(PEER));
        let ratio = ours.median / peers.median;
        let verdict = if ratio >= TARGET { "met" } else { "MISSED" };
        println!("  {way:<26}{ours}{peers}{ratio:>8.2}   target >= {TARGET}: {verdict}");
    }
}

/// What a guest did in a second.
#[derive(Debug, PartialEq)]
struct Rate {
    by: String,
    /// Such as "read random 4096".
    way: String,
    requests: f64,
}

/// The lines of `host/io` and `guest/io.c`.
fn rates(console: &str) -> Vec<Rate> {
    let mut by = String::new();
    let mut rates = Vec::new();
    for line in console.lines().map(str::trim_end) {
        if let Some(name) = line.strip_prefix("by: ") {
            name.clone_into(&mut by);
        } else if let Some(rate) = rate(line) {
            let (way, requests) = rate;
            rates.push(Rate { by: by.clone(), way: way.into(), requests });
        }
    }
    rates
}

fn rate(line: &str) -> Option<(&str, f64)> {
    let (way, figures) = line.strip_prefix("io: ")?.split_once(": ")?;
    let requests = figures.rsplit_once(", ")?.1.strip_suffix("/s")?.parse().ok()?;
    Some((way, requests))
}

/// Rates of one way.
#[derive(Debug, PartialEq)]
struct Figure {
    median: f64,
    least: f64,
    most: f64,
}

impl Figure {
    fn of<'a>(rates: impl Iterator<Item = &'a Rate>) -> Self {
        let mut values: Vec<f64> = rates.map(|rate| rate.requests).collect();
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

/// The usual guest with the program, and the modules for a disk.
fn initramfs(guest: &Guest) -> Result<PathBuf> {
    let mut disk = folders::read(&user_programs::initramfs(&[PROGRAM])?)?;
    let mut archive = Archive::default();
    archive.program("bin/ways", SCRIPT.as_bytes());
    disk.extend_from_slice(&archive.finish());
    disk.extend_from_slice(&host::disk_modules(guest)?);
    let file = guest::folder().join("io.cpio.gz");
    folders::write(&file, &disk)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_did_is_read() {
        let console = "by: QEMU\r\nGUEST-READY\r\n\
                       io: read random 4096: 12 requests in 4.000 s, 3.5/s\r\n\
                       io: no such thing\r\nby: pseries-vmm\r\n\
                       io: write sequential 1048576: 8 requests in 4.000 s, 2.0/s\r\n";
        let rate =
            |by: &str, way: &str, requests| Rate { by: by.into(), way: way.into(), requests };
        assert_eq!(
            rates(console),
            [rate(PEER, "read random 4096", 3.5), rate(OURS, "write sequential 1048576", 2.0)]
        );
        assert!(SCRIPT.contains("'read random 4096'"));
        let twice = rates(&console.repeat(2));
        let figure = Figure::of(twice.iter().filter(|rate| rate.by == PEER));
        assert_eq!(figure, Figure { median: 3.5, least: 3.5, most: 3.5 });
    }
}
