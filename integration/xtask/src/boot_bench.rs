//! `cargo xtask bench boot`: a guest from start to power-off on the processor in software, beside
//! QEMU's, which translates.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::boot;
use crate::failure::{Attempt, Failure, Result};
use crate::guest::{self, Guest, QUICK};
use crate::kexec;
use crate::packages::{self, Tool};
use crate::program::line;

/// A boot, and nothing else.
const TASK: &str = "autotest";

const RATIO_TARGET: f64 = 1.5;
const MEMORY_TARGET_MIB: f64 = 64.0;

/// What a guest of several CPUs may take for kexec, of the time of a guest of one.
const KEXEC_TARGET: f64 = 2.0;

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Taken {
    wall: Duration,
    /// The most memory that was the process's own, RAM of the guest not counted.
    own_kib: u64,
    /// Millions of instructions a second, where the program says so.
    mips: Option<f64>,
}

/// Runs both alternately, `runs` times, and prints the figures beside their targets.
pub(crate) fn run(runs: u32) -> Result<u8> {
    packages::ensure(&[Tool::Qemu])?;
    let guest = guest::make(false)?;
    let vmm = boot::build()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 1..=runs {
        crate::program::progress!("run {number} of {runs}");
        ours.push(taken(&mut software(&vmm, &guest, TASK))?);
        theirs.push(taken(&mut qemu(&guest))?);
    }
    let wall = |all: &[Taken]| median(all.iter().map(|taken| taken.wall.as_secs_f64()));
    let (our_wall, their_wall) = (wall(&ours), wall(&theirs));
    let mips = median(ours.iter().filter_map(|taken| taken.mips));
    let own = ours.iter().map(|taken| taken.own_kib).max().unwrap_or(0) as f64 / 1024.0;
    println!("boot to power-off, medians of {runs} runs");
    println!("  pseries-vmm --backend interp   {our_wall:>8.3} s");
    println!("  qemu-system-ppc64 (TCG)        {their_wall:>8.3} s");
    figure("times that of QEMU", our_wall / their_wall, "<=", RATIO_TARGET);
    println!("  {:<30} {mips:>8.2}", "MIPS over the whole boot");
    figure("MiB beside the guest's RAM", own, "<=", MEMORY_TARGET_MIB);
    Ok(0)
}

/// Runs guests of 1, 2 and 4 CPUs that start another kernel themselves, by kexec and after a
/// crash, one after the other.
pub(crate) fn kexec() -> Result<u8> {
    let guest = guest::make(false)?;
    let guest = Guest { initramfs: kexec::initramfs(&guest)?, ..guest };
    let vmm = boot::build()?;
    for (what, task) in [("kexec", "autokexec"), ("kdump", "autokdump")] {
        println!("two kernels from start to power-off, the second by {what}");
        let mut of_one = f64::NAN;
        for cpus in [1, 2, 4] {
            let mut command = software(&vmm, &guest, &format!("{} {task}", kexec::CRASH_KERNEL));
            command.arg("--cpus").arg(format!("boot={cpus}"));
            let wall = taken(&mut command)?.wall.as_secs_f64();
            println!("  {:<30} {wall:>8.1} s", format!("boot={cpus}"));
            if cpus == 1 {
                of_one = wall;
            } else {
                figure("times that of one CPU", wall / of_one, "<=", KEXEC_TARGET);
            }
        }
    }
    Ok(0)
}

fn figure(what: &str, value: f64, relation: &str, target: f64) {
    let met = if relation == "<=" { value <= target } else { value >= target };
    let verdict = if met { "met" } else { "MISSED" };
    println!("  {what:<30} {value:>8.2}   target {relation} {target}: {verdict}");
}

fn software(vmm: &Path, guest: &Guest, task: &str) -> Command {
    let mut command = Command::new(vmm);
    command.args(["--backend", "interp", "--stats", "--memory", "size=1G", "--cmdline"]);
    command.arg(format!("{QUICK} {task}"));
    command.arg("--kernel").arg(&guest.kernel).arg("--initramfs").arg(&guest.initramfs);
    command
}

fn qemu(guest: &Guest) -> Command {
    let mut command = Command::new("qemu-system-ppc64");
    command.args(["-M", "pseries,x-vof=on", "-cpu", "POWER9", "-m", "1G", "-nographic"]);
    command.args(["-nodefaults", "-serial", "stdio", "-monitor", "none", "-append"]);
    command.arg(format!("{QUICK} {TASK}"));
    command.arg("-kernel").arg(&guest.kernel).arg("-initrd").arg(&guest.initramfs);
    command
}

fn taken(command: &mut Command) -> Result<Taken> {
    let name = line(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().attempt(|| format!("run {name}"))?;
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let (console, said, own_kib) = std::thread::scope(|scope| {
        let console = scope.spawn(|| stdout.map_or(Ok(String::new()), std::io::read_to_string));
        let said = scope.spawn(|| stderr.map_or(Ok(String::new()), std::io::read_to_string));
        let own_kib = watch(&mut child);
        (console.join(), said.join(), own_kib)
    });
    let status = child.wait().attempt(|| format!("wait for {name}"))?;
    let wall = start.elapsed();
    let text = |read: std::thread::Result<std::io::Result<String>>| {
        read.ok().and_then(std::result::Result::ok).unwrap_or_default()
    };
    let (console, said) = (text(console), text(said));
    if !status.success() || !console.contains("GUEST-READY") {
        return Err(Failure::new(format!("{name} did not boot the guest: {said}")));
    }
    let mips = said.lines().find_map(|line| line.strip_prefix("MIPS")?.trim().parse().ok());
    Ok(Taken { wall, own_kib, mips })
}

/// The most memory of its own that a process was seen with until it ended, in KiB.
fn watch(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while let Ok(None) = child.try_wait() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let own = text.lines().find_map(|line| {
            line.strip_prefix("RssAnon:")?.split_whitespace().next()?.parse::<u64>().ok()
        });
        most = most.max(own.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    most
}

/// The one in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
