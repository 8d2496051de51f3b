//! The steps about CPUs and the threads of cores: all are there, and go off and on.

use std::path::Path;

use crate::failure::Result;
use crate::guest::{self, NO_WATCHDOGS, QUICK};
use crate::tools;

use super::boots::{VOF_LINES, shows, shows_times};
use super::log::Log;
use super::on_host::OneHost;
use super::software;

/// CPUs of a guest.
struct Shape {
    /// What the VMM is told.
    option: &'static str,
    cpus: usize,
    /// So many of them make a core.
    threads: usize,
}

const CORES: Shape = Shape { option: "boot=4", cpus: 4, threads: 1 };
const THREADS: Shape = Shape { option: "boot=8,topology=4:2:1:1", cpus: 8, threads: 4 };

/// How often each CPU goes off and on.
const ROUNDS: usize = 10;

impl Shape {
    /// What the guest is told, of whose cores so many threads run at first.
    fn task(&self, running: usize) -> String {
        let Self { cpus, threads, .. } = self;
        // What the kernel has to say would get into the midst of other lines.
        format!(
            "loglevel=1 autorun=/bin/cpus cpus={cpus} threads={threads} running={running} \
             rounds={ROUNDS}"
        )
    }

    /// That the guest found all as it was told, and each went off and on.
    fn shown(&self, console: &str, running: usize) -> Result<()> {
        let Self { cpus, threads, .. } = self;
        let online = cpus / threads * running;
        shows(console, &[&format!("GUEST-CPUS {cpus} threads {threads} running {online}\n")])?;
        shows_times(console, "GUEST-SMT ", if running > 1 { 4 } else { 0 })?;
        shows_times(console, "GUEST-ROUND ", ROUNDS)?;
        shows(console, &["GUEST-RAN /bin/cpus: 0\n"])
    }
}

/// Both shapes, by both ways in, which are as many kernels.
pub(super) fn software(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    let initramfs = tools::initramfs(&guest, false)?;
    for shape in [CORES, THREADS] {
        let ways: [(&Path, &str, usize); 2] =
            [(&guest.kernel, "x-vof=on", 1), (&newer, "x-vof=off", 0)];
        for (kernel, machine, starts_by_vof) in ways {
            let arguments = ["--cpus", shape.option, "--machine", machine];
            let task = shape.task(shape.threads);
            let console = software::run(log, kernel, &initramfs, &task, &arguments)?;
            shows_times(&console, VOF_LINES[1], starts_by_vof)?;
            shape.shown(&console, shape.threads)?;
        }
    }
    Ok(())
}

pub(super) fn thirty_two(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let arguments = ["--cpus", "boot=32", "--memory", "size=1G"];
    let console = software::run(log, &guest.kernel, &guest.initramfs, "autotest", &arguments)?;
    shows_times(&console, "processor\t: ", 32)
}

/// On KVM, by both ways in, and then cores of several threads, of which one runs: to tell each other
/// something, threads execute what the emulator of the host does not know.
pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let files = [&guest.kernel, &tools::initramfs(&guest, false)?];
    let mut host = OneHost::new("powernv9", files);
    let machines = [
        (&CORES, "", CORES.threads, "x-vof=on", 1),
        (&CORES, "", CORES.threads, "x-vof=off", 0),
        (&THREADS, "smt-enabled=off ", 1, "x-vof=on", 1),
    ];
    for (shape, more, running, machine, _) in machines {
        let cmdline = format!("{QUICK} {NO_WATCHDOGS} {more}{}", shape.task(running));
        let arguments = ["--memory", "size=512M", "--cpus", shape.option, "--machine", machine];
        host.add(files, &cmdline, &arguments)?;
    }
    for (console, (shape, _, running, _, starts_by_vof)) in host.run(log)?.iter().zip(machines) {
        shows_times(console, VOF_LINES[1], starts_by_vof)?;
        shape.shown(console, running)?;
    }
    Ok(())
}
