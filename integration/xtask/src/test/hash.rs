//! The step that has guests on KVM translate addresses by hashed page tables.

use std::path::PathBuf;

use crate::failure::Result;
use crate::guest::{self, Guest, NO_WATCHDOGS};
use crate::kexec;

use super::boots::{VOF_LINES, shows, shows_times};
use super::log::Log;
use super::on_host::OneHost;

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

/// On a POWER9 host each kernel, on a POWER10 host the older one.
pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    boots(log, "powernv9", &guest, &guest.kernel, &MACHINES)?;
    boots(log, "powernv9", &guest, &newer, &MACHINES[..3])?;
    boots(log, "powernv10", &guest, &guest.kernel, &MACHINES[..3])?;
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

/// Another kernel takes the table over, and empties it.
fn kexecs(log: &mut Log, guest: &Guest) -> Result<()> {
    let initramfs = kexec::initramfs(guest)?;
    let files = [&guest.kernel, &initramfs];
    let mut host = OneHost::new("powernv9", files);
    let arguments = ["--memory", "size=1G", "--cpus", "boot=2", "--machine", "mmu=hash"];
    let cmdline = format!("console=hvc0 cryptomgr.notests {NO_WATCHDOGS} autokexec");
    host.add(files, &cmdline, &arguments)?;
    for console in host.run(log)? {
        shows_times(&console, &format!("{} with 2 CPUs", kexec::KEXECS), 1)?;
        shows_times(&console, "] Linux version 6.1.", 2)?;
        shows(&console, &["GUEST-READY", HASH])?;
    }
    Ok(())
}
