//! How long processors have worked for processes.

use std::fs;

use crate::failure::{Attempt, Result};

/// Of all processes below this one, in seconds, those that have ended aside.
pub(crate) fn below(process: u32) -> Result<f64> {
    let entries = fs::read_dir("/proc").attempt(|| "list /proc".into())?;
    let stats = entries.flatten().filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        Stat::parse(&fs::read_to_string(entry.path().join("stat")).ok()?)
    });
    let stats: Vec<Stat> = stats.collect();
    let ticks: u64 =
        stats.iter().filter(|stat| is_below(stat, process, &stats)).map(|s| s.ticks).sum();
    Ok(seconds(ticks))
}

/// Of a process, while it is there.
pub(crate) fn of(process: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(seconds(Stat::parse(&stat)?.ticks))
}

/// Of those that this process started and that have ended, to the microsecond.
pub(crate) fn of_ended_children() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: fills the structure, of which all zeros is a valid value.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    [usage.ru_utime, usage.ru_stime]
        .map(|time| time.tv_sec as f64 + time.tv_usec as f64 / 1e6)
        .iter()
        .sum()
}

fn seconds(ticks: u64) -> f64 {
    // SAFETY: takes a number and touches no memory.
    let in_a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks as f64 / in_a_second as f64
}

/// What is of interest of a line of `/proc/PID/stat` (proc(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    process: u32,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may have blanks and parentheses.
        let (start, rest) = text.rsplit_once(')')?;
        let process = start.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // From the third field on: ppid is the fourth, utime and stime are the 14th and 15th.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let parent = u32::try_from(number(4)?).ok()?;
        Some(Self { process, parent, ticks: number(14)? + number(15)? })
    }
}

fn is_below(stat: &Stat, process: u32, all: &[Stat]) -> bool {
    let mut parent = stat.parent;
    // No chain of parents is longer, whatever changes meanwhile.
    for _ in 0..all.len() {
        if parent == process {
            return true;
        }
        let Some(next) = all.iter().find(|stat| stat.process == parent) else { return false };
        parent = next.parent;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = "42 (a) b) S 7 1 1 0 -1 4194304 1 2 3 4 500 60 7 8 20 0 1 0 9 10";
        assert_eq!(Stat::parse(line), Some(Stat { process: 42, parent: 7, ticks: 560 }));
        assert_eq!(Stat::parse("42 (a) S 7"), None);
    }

    #[test]
    fn grandchildren_are_below() {
        let stat = |process, parent| Stat { process, parent, ticks: 1 };
        let all = [stat(2, 1), stat(3, 2), stat(4, 3), stat(5, 1), stat(6, 6)];
        let below: Vec<u32> =
            all.iter().filter(|stat| is_below(stat, 2, &all)).map(|stat| stat.process).collect();
        assert_eq!(below, [3, 4]);
        assert!(super::below(std::process::id()).unwrap() >= 0.0);
    }
}
