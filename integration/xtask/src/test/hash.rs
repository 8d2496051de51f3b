//! The steps that have guests translate addresses by hashed page tables, in software and on KVM.

use std::path::PathBuf;

use crate::failure::Result;
use crate::guest::{self, Guest, NO_WATCHDOGS, QUICK};
use crate::kexec;
use crate::tools;

use super::boots::{VOF_LINES, shows, shows_times};
use super::log::Log;
use super::on_host::OneHost;
use super::software::{are_the_same, run};

/// What a guest's `/proc/cpuinfo` says of its translation.
const HASH: &str = "MMU\t\t: Hash";
const RADIX: &str = "MMU\t\t: Radix";

/// A guest, and how often it starts.
struct Machine {
    options: &'static str,
    task: &'static str,
    mmu: &'static str,
    starts: usize,
}

/// Each way in, each way to decide, and a restart, which begins with an empty table.
const MACHINES: [Machine; 5] = [
    Machine { options: "mmu=hash", task: "autoreboot", mmu: HASH, starts: 2 },
    Machine { options: "mmu=hash,x-vof=off", task: "autotest", mmu: HASH, starts: 1 },
    Machine { options: "mmu=auto", task: "disable_radix autotest", mmu: HASH, starts: 1 },
    Machine { options: "mmu=auto", task: "autotest", mmu: RADIX, starts: 1 },
    Machine { options: "mmu=radix", task: "disable_radix autotest", mmu: RADIX, starts: 1 },
];

/// In software each kernel with four CPUs, a kernel that a kernel starts, and a run that is the same
/// twice.
pub(super) fn software(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    for (kernel, machines) in [(&guest.kernel, &MACHINES[..]), (&newer, &MACHINES[..3])] {
        for Machine { options, task, mmu, starts } in machines {
            let arguments = ["--cpus", "boot=4", "--machine", options];
            let console = run(log, kernel, &guest.initramfs, task, &arguments)?;
            shows_times(&console, mmu, *starts)?;
            shows_times(&console, "processor\t: ", 4 * starts)?;
        }
    }
    let arguments = ["--cpus", "boot=2", "--machine", "mmu=hash", "--memory", "size=1G"];
    let initramfs = kexec::initramfs(&guest)?;
    let console = run(log, &guest.kernel, &initramfs, "autokexec", &arguments)?;
    shows_times(&console, &format!("{} with 2 CPUs", kexec::KEXECS), 1)?;
    shows_times(&console, "] Linux version 6.1.", 2)?;
    shows(&console, &["GUEST-READY", HASH])?;
    let arguments = ["--icount", "--stats", "--cpus", "boot=2", "--machine", "mmu=hash"];
    let mut counted = || run(log, &guest.kernel, &guest.initramfs, "autotest", &arguments);
    let (first, second) = (counted()?, counted()?);
    shows(&first, &[HASH])?;
    are_the_same(&first, &second, "mmu=hash")
}

/// On a POWER9 host each kernel, on a POWER10 host the older one.
pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    boots(log, "powernv9", &guest, &guest.kernel, &MACHINES)?;
    boots(log, "powernv9", &guest, &newer, &MACHINES[..3])?;
    boots(log, "powernv10", &guest, &guest.kernel, &MACHINES[..3])?;
    resizes(log, &guest)?;
    kexecs(log, &guest)
}

fn boots(
    log: &mut Log,
    host: &str,
    guest: &Guest,
    kernel: &PathBuf,
    machines: &[Machine],
) -> Result<()> {
    let files = [kernel, &guest.initramfs];
    let mut emulated = OneHost::new(host, files);
    for Machine { options, task, .. } in machines {
        let arguments = ["--memory", "size=512M", "--cpus", "boot=2", "--machine", options];
        emulated.add(files, &format!("console=hvc0 {NO_WATCHDOGS} {task}"), &arguments)?;
    }
    for (console, machine) in emulated.run(log)?.iter().zip(machines) {
        shows_times(console, machine.mmu, machine.starts)?;
        shows_times(console, "processor\t: ", 2 * machine.starts)?;
        let by_vof = if machine.options.contains("x-vof=off") { 0 } else { machine.starts };
        shows_times(console, VOF_LINES[1], by_vof)?;
    }
    Ok(())
}

/// The guest has its table resized, and not more than is its due.
fn resizes(log: &mut Log, guest: &Guest) -> Result<()> {
    let initramfs = tools::initramfs(guest, false)?;
    let files = [&guest.kernel, &initramfs];
    let mut host = OneHost::new("powernv9", files);
    let arguments = ["--memory", "size=512M", "--cpus", "boot=2", "--machine", "mmu=hash"];
    let cmdline = format!("{QUICK} {NO_WATCHDOGS} autorun=/bin/hpt");
    host.add(files, &cmdline, &arguments)?;
    for console in host.run(log)? {
        shows(&console, &["GUEST-RESIZED", "GUEST-RAN /bin/hpt: 0"])?;
    }
    Ok(())
}

/// Another kernel takes the table over, and empties it.
fn kexecs(log: &mut Log, guest: &Guest) -> Result<()> {
    let initramfs = kexec::initramfs(guest)?;
    let files = [&guest.kernel, &initramfs];
    let mut host = OneHost::new("powernv9", files);
    let arguments = ["--memory", "size=1G", "--cpus", "boot=2", "--machine", "mmu=hash"];
    let cmdline = format!("{QUICK} {NO_WATCHDOGS} autokexec");
    host.add(files, &cmdline, &arguments)?;
    for console in host.run(log)? {
        shows_times(&console, &format!("{} with 2 CPUs", kexec::KEXECS), 1)?;
        shows_times(&console, "] Linux version 6.1.", 2)?;
        shows(&console, &["GUEST-READY", HASH])?;
    }
    Ok(())
}
