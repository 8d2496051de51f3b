//! On this machine: processors in software, QEMU's and ours.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::boot::{
    Boot, LAST_WORDS, OURS, PEER, PEER_SLOF, Place, READY, RESTARTS, TASK, Time, Told,
};
use crate::boot;
use crate::failure::{Attempt, Failure, Result};
use crate::guest::{self, Guest, QUICK};
use crate::packages::{self, Tool};
use crate::processor_time;
use crate::program::{line, progress};

/// The guest's RAM, in MiB.
const RAM_MIB: u64 = 1024;

/// How often it is looked how much memory a process has.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Boots all in turns.
pub(super) fn measure(runs: u32) -> Result<Place> {
    packages::ensure(&[Tool::Qemu])?;
    let guest = guest::make(false)?;
    let vmm = boot::build()?;
    let mut programs = [
        (OURS, ours(&vmm, &guest, TASK, 1)),
        (PEER, qemu(&guest, "pseries,x-vof=on")),
        (PEER_SLOF, qemu(&guest, "pseries")),
    ];
    let mut place = Place { name: "processors in software, on this machine", ..Place::default() };
    progress!("what memory they take");
    for (by, command) in &mut programs {
        let (_, own_kib) = booted(by, command, true)?;
        place.memory.push((*by, own_kib as f64 / 1024.0));
    }
    for run in 1..=runs {
        progress!("run {run} of {runs}");
        for (by, command) in &mut programs {
            place.boots.push(booted(by, command, false)?.0);
        }
        let (restarts, _) = booted(OURS, &mut ours(&vmm, &guest, RESTARTS, 4), false)?;
        place.restarts.extend(restarts.told.and_then(|told| told.restart));
    }
    Ok(place)
}

fn ours(vmm: &Path, guest: &Guest, task: &str, cpus: u32) -> Command {
    let mut command = Command::new(vmm);
    command.args(["--backend", "interp", "--stats"]);
    command.arg("--memory").arg(format!("size={RAM_MIB}M"));
    command.arg("--cpus").arg(format!("boot={cpus}"));
    command.arg("--cmdline").arg(format!("{QUICK} {task}"));
    command.arg("--kernel").arg(&guest.kernel).arg("--initramfs").arg(&guest.initramfs);
    command
}

fn qemu(guest: &Guest, machine: &str) -> Command {
    // What cannot be done against Spectre in software is not asked for.
    let caps = "cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off";
    let mut command = Command::new("qemu-system-ppc64");
    command.arg("-M").arg(format!("{machine},{caps}"));
    command.args(["-cpu", "POWER9", "-m", &RAM_MIB.to_string(), "-nographic", "-nodefaults"]);
    command.args(["-serial", "stdio", "-monitor", "none"]);
    command.arg("-append").arg(format!("{QUICK} {TASK}"));
    command.arg("-kernel").arg(&guest.kernel).arg("-initrd").arg(&guest.initramfs);
    command
}

/// Boots once; the most memory of its own that the process was seen with, in KiB, if it is `watched`.
fn booted(by: &'static str, command: &mut Command, watched: bool) -> Result<(Boot, u64)> {
    let name = line(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let work_before = processor_time::of_ended_children();
    let start = Instant::now();
    let mut child = command.spawn().attempt(|| format!("run {name}"))?;
    let process = child.id();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut console = BufReader::new(stdout.expect("asked for above"));
    let mut boot = Boot { by, ..Boot::default() };
    let mut told = String::new();
    let own_kib = std::thread::scope(|scope| -> Result<u64> {
        let said = scope.spawn(|| stderr.map_or(Ok(String::new()), std::io::read_to_string));
        let watch = watched.then(|| scope.spawn(|| watch(&mut child)));
        let mut text = Vec::new();
        while console.read_until(b'\n', &mut text).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&text);
            let now = || Time {
                clock: start.elapsed().as_secs_f64(),
                work: processor_time::of(process).unwrap_or(f64::NAN),
            };
            if boot.kernel == Time::default() && line.contains(LAST_WORDS) {
                boot.kernel = now();
            } else if boot.ready == Time::default() && line.starts_with(READY) {
                boot.ready = now();
            }
            text.clear();
        }
        told = said.join().ok().and_then(std::result::Result::ok).unwrap_or_default();
        Ok(watch.and_then(|watch| watch.join().ok()).unwrap_or(0))
    })?;
    let status = child.wait().attempt(|| format!("wait for {name}"))?;
    boot.off = Time {
        clock: start.elapsed().as_secs_f64(),
        work: processor_time::of_ended_children() - work_before,
    };
    boot.told = Told::parse(&told);
    if !status.success() || boot.ready == Time::default() || (by == OURS && boot.told.is_none()) {
        return Err(Failure::new(format!("{name} did not boot the guest: {told}")));
    }
    Ok((boot, own_kib))
}

/// The most memory that a process was seen with until it ended, its guest's RAM aside, in KiB.
fn watch(child: &mut Child) -> u64 {
    let path = format!("/proc/{}/smaps", child.id());
    let mut most = 0;
    while let Ok(None) = child.try_wait() {
        let mut smaps = String::new();
        // A process that has just ended has none.
        let read = fs::File::open(&path).and_then(|mut file| file.read_to_string(&mut smaps));
        if read.is_ok() {
            most = most.max(own_kib(&smaps).unwrap_or(0));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    most
}

/// What is there of mappings that are smaller than the guest's RAM (proc(5)); `None` where that is not
/// there, as of a process that has not started yet.
fn own_kib(smaps: &str) -> Option<u64> {
    let field = |line: &str, name: &str| {
        line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    let (mut own, mut size, mut has_ram) = (0, 0, false);
    for line in smaps.lines() {
        if let Some(kib) = field(line, "Size:") {
            size = kib;
            has_ram |= size >= RAM_MIB << 10;
        } else if let Some(kib) = field(line, "Rss:").filter(|_| size < RAM_MIB << 10) {
            own += kib;
        }
    }
    has_ram.then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_is_not_the_vmms() {
        let smaps = "7f00-7f10 rw-p 0 00:00 0 \nSize:   1050624 kB\nKernelPageSize: 4 kB\nRss:  \
                     100000 kB\nPss: 5 kB\n7f20-7f30 r-xp 0 00:00 0 /x\nSize: 64 kB\nRss: 12 kB\n\
                     7f40-7f50 rw-p 0 00:00 0\nSize: 8 kB\nRss: 8 kB\n";
        assert_eq!(own_kib(smaps), Some(20));
        assert_eq!(own_kib(&smaps.replace("1050624", "1000")), None);
    }
}
