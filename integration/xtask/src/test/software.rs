//! The steps that boot guests on the processor in software: no emulator, no cross compiler.

use std::path::Path;
use std::process::Command;

use crate::boot;
use crate::failure::{Failure, Result};
use crate::guest::{self, Guest, NO_WATCHDOGS, QUICK};
use crate::kexec;

use super::boots::{PROMPT, VOF_LINES, shows, shows_times};
use super::log::Log;
use super::on_host::xtask;
use super::pty::Pty;
use super::ranges;

/// What a person may type, and what has to come of it: text that is not in what is typed.
const COMMANDS: &[(&str, &str)] = &[
    ("uname -a", "ppc64le GNU/Linux"),
    ("cat /proc/cpuinfo", ": POWER9"),
    ("free", "Mem:"),
    ("dmesg | tail", "TERM=linux"),
    ("echo hello | md5sum", "b1946ac92492d2347c6235b4d2611184"),
    ("awk 'BEGIN{print 3.5*2}'", "\n7\r"),
    ("seq 1 100000 | sort -R | wc", "100000    100000    588895"),
    ("seq 1 100000 | shuf | sort -n | md5sum", "dea9193b768319cbb4ff1a137ac03113"),
    ("yes some text | head -c 1048576 >/tmp/a; md5sum </tmp/a | cut -c 1-8 >/tmp/s", PROMPT),
    ("gzip /tmp/a && gunzip /tmp/a.gz && md5sum </tmp/a | grep -c $(cat /tmp/s)", "\n1\r"),
];

/// Both kernels, both ways in, and restarts.
pub(super) fn kernels(log: &mut Log) -> Result<()> {
    let Guest { kernel: older, initramfs, .. } = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    for (kernel, version) in [(&older, "6.1."), (&newer, "6.12.")] {
        for (machine, starts_by_vof) in [("x-vof=on", 2), ("x-vof=off", 0)] {
            let console = run(log, kernel, &initramfs, "autoreboot", &["--machine", machine])?;
            shows(&console, &[&format!("Linux version {version}"), "GUEST-REBOOTS"])?;
            shows_times(&console, "GUEST-READY", 2)?;
            for line in VOF_LINES {
                shows_times(&console, line, starts_by_vof)?;
            }
        }
    }
    Ok(())
}

/// RAM with holes, by both ways in.
pub(super) fn three_ranges(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    for machine in ["x-vof=on", "x-vof=off"] {
        let machine = [&ranges::MEMORY[..], &["--machine", machine]].concat();
        let console = run(log, &guest.kernel, &guest.initramfs, ranges::TASK, &machine)?;
        shows(&console, &["GUEST-READY"])?;
        ranges::shown(&console)?;
    }
    Ok(())
}

/// Two runs in instructions are the same, word for word: those of one CPU, and those of two cores of
/// two threads, to the last instruction.
pub(super) fn icount(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    for cpus in ["boot=1", "boot=4,topology=2:2:1:1"] {
        let arguments = ["--icount", "--stats", "--cpus", cpus];
        let mut run = || run(log, &guest.kernel, &guest.initramfs, "autotest", &arguments);
        let (first, second) = (run()?, run()?);
        shows(&first, &["GUEST-READY"])?;
        are_the_same(&first, &second, cpus)?;
    }
    Ok(())
}

/// Whether two runs with `--icount` have shown the same.
pub(super) fn are_the_same(first: &str, second: &str, of: &str) -> Result<()> {
    match repeatable(first) == repeatable(second) {
        true => Ok(()),
        false => Err(Failure::new(format!("two runs with --icount of {of} did not show the same"))),
    }
}

/// What was said, without what depends on the host: how long it took, and how often threads of CPUs
/// were interrupted, which the guest does not see.
fn repeatable(said: &str) -> String {
    let times = ["wall time", "MIPS", "all of it", "the longest", "interrupted"];
    // The last of all that is said is when what was done, by the host's clock.
    let lines = said.lines().take_while(|line| !line.starts_with("moments, since the start"));
    let lines = lines.filter(|line| !times.iter().any(|time| line.contains(time)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Kernels that kernels start: kexec, and kdump after a crash. `cargo xtask bench kexec` says how
/// long it takes.
pub(super) fn kexec(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let initramfs = kexec::initramfs(&guest)?;
    let mut run = |cpus: u32, task: &str| {
        let mut command = Command::new(boot::build()?);
        command.args(["--backend", "interp", "--memory", "size=1G", "--kernel"]);
        command.arg(&guest.kernel).arg("--initramfs").arg(&initramfs);
        command.arg("--cpus").arg(format!("boot={cpus}"));
        command.arg("--cmdline").arg(format!("{QUICK} {NO_WATCHDOGS} {task}"));
        log.run_with_input(&mut command, "")
    };
    for cpus in [1, 2, 4] {
        let console = run(cpus, "autokexec")?;
        shows_times(&console, &format!("{} with {cpus} CPUs", kexec::KEXECS), 1)?;
        shows_times(&console, "] Linux version 6.1.", 2)?;
        // By the other kernel, which sees them all, too.
        shows_times(&console, "GUEST-READY", 1)?;
        shows_times(&console, "processor\t: ", cpus as usize)?;
    }
    for cpus in [2, 4] {
        let console = run(cpus, &format!("{} autokdump", kexec::CRASH_KERNEL))?;
        shows_times(&console, &format!("{} with {cpus} CPUs", kexec::CRASHES), 1)?;
        shows(&console, &["sysrq: Trigger a crash"])?;
        shows_times(&console, "GUEST-READY", 1)?;
        shows_times(&console, kexec::FOUND, 1)?;
    }
    Ok(())
}

pub(super) fn shell(log: &mut Log) -> Result<()> {
    let mut terminal = Pty::spawn(xtask().arg("boot"), log)?;
    terminal.expect(PROMPT)?;
    for (command, answer) in COMMANDS {
        terminal.type_in(&format!("{command}\r"))?;
        terminal.expect(answer)?;
        if *answer != PROMPT {
            terminal.expect(PROMPT)?;
        }
    }
    terminal.type_in("poweroff -f\r")?;
    terminal.ends_well()
}

pub(super) fn ctrl_a_x(log: &mut Log) -> Result<()> {
    let mut terminal = Pty::spawn(xtask().arg("boot"), log)?;
    terminal.expect(PROMPT)?;
    terminal.type_in("\x01h")?;
    terminal.expect("Ctrl-A X")?;
    terminal.type_in("\x01x")?;
    terminal.ends_well()
}

/// The kernel hears of the button, and does what it does on any machine: it runs its program.
pub(super) fn power_button(log: &mut Log) -> Result<()> {
    let mut terminal = Pty::spawn(xtask().arg("boot"), log)?;
    terminal.expect(PROMPT)?;
    terminal.type_in("\x01p")?;
    terminal.expect("GUEST-SHUTS-DOWN")?;
    terminal.ends_well()
}

/// Runs a guest that ends by itself. Gives what the console showed.
pub(super) fn run(
    log: &mut Log,
    kernel: &Path,
    initramfs: &Path,
    task: &str,
    arguments: &[&str],
) -> Result<String> {
    let mut command = Command::new(boot::build()?);
    command.args(["--backend", "interp", "--kernel"]).arg(kernel);
    if !arguments.contains(&"--memory") {
        command.args(["--memory", "size=512M"]);
    }
    command.arg("--initramfs").arg(initramfs);
    command.arg("--cmdline").arg(format!("{QUICK} {NO_WATCHDOGS} {task}"));
    log.run_with_input(command.args(arguments), "")
}
