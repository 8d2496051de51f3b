//! The steps that boot big-endian guests: a kernel and a program of ELFv1, which take interrupts
//! big-endian and never say that they want them otherwise.

use crate::big_endian;
use crate::failure::{Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::guest::NO_WATCHDOGS;

use super::boots::{VOF_LINES, shows, shows_times};
use super::log::Log;
use super::on_host::OneHost;
use super::software::run;

/// What a kernel says that translates by radix trees, or by a hashed page table.
const RADIX: &str = "lpar: Using radix MMU under hypervisor";
const HASH: &str = "hash-mmu: ppc64_pft_size ";

/// What the machine is, what the kernel is told, how it translates then.
const TRANSLATIONS: [(&str, &str, &str); 5] = [
    ("x-vof=on", "", RADIX),
    ("x-vof=off", "", RADIX),
    ("x-vof=on,mmu=hash", "", HASH),
    ("x-vof=off,mmu=hash", "", HASH),
    ("x-vof=on", "disable_radix", HASH),
];

/// What the first sector of the disk begins with.
const TEXT: &str = "text of a little-endian host";

/// What the guest writes to the last.
const ANSWER: &[u8] = b"written by a big-endian guest";

const SECTOR: usize = 512;

/// Both ways in and to translate, one CPU and several, with restarts; a kernel that a kernel starts;
/// devices.
pub(super) fn software(log: &mut Log) -> Result<()> {
    let guest = big_endian::make(false)?;
    for (machine, option, translation) in TRANSLATIONS {
        for cpus in [1, 4] {
            let arguments = ["--machine", machine, "--cpus", &format!("boot={cpus}")];
            let task = format!("{option} autoreboot");
            let console = run(log, &guest.kernel, &guest.initramfs, &task, &arguments)?;
            shows_times(&console, translation, 2)?;
            shows_times(&console, "GUEST-REBOOTS", 1)?;
            is_well(&console, cpus, 2)?;
            for line in VOF_LINES {
                shows_times(&console, line, if machine.starts_with("x-vof=on") { 2 } else { 0 })?;
            }
        }
        // Of several CPUs this Linux, big-endian, leaves the first one behind, in QEMU as well.
        let task = format!("{option} autokexec");
        let console = run(log, &guest.kernel, &guest.kexec, &task, &["--machine", machine])?;
        shows_times(&console, "GUEST-KEXECS", 1)?;
        shows_times(&console, translation, 2)?;
        is_well(&console, 1, 2)?;
    }
    devices(log, &guest)
}

/// Virtio is little-endian whatever the guest is (Virtual I/O Device, §1.4).
fn devices(log: &mut Log, guest: &big_endian::BigEndian) -> Result<()> {
    let folder = TemporaryFolder::make(&folders::target(), "big-endian")?;
    let path = folder.path().join("disk");
    let mut disk = vec![0; 64 * SECTOR];
    disk[..TEXT.len()].copy_from_slice(TEXT.as_bytes());
    folders::write(&path, &disk)?;
    let disk = format!("path={}", path.display());
    let arguments = ["--disk", &disk, "--rng", "src=/dev/urandom"];
    let console = run(log, &guest.kernel, &guest.initramfs, "", &arguments)?;
    shows(&console, &[&format!("GUEST-DISK {TEXT}\n"), "GUEST-RNG"])?;
    is_well(&console, 1, 1)?;
    let written = folders::read(&path)?;
    match written[written.len() - SECTOR..].starts_with(ANSWER) {
        true => Ok(()),
        false => Err(Failure::new("the guest has not written what it should have to its disk")),
    }
}

/// On KVM, where the guest takes its interrupts itself: all of it with two CPUs.
pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let guest = big_endian::make(false)?;
    let files = [&guest.kernel, &guest.initramfs];
    for name in ["powernv9", "powernv10"] {
        let mut host = OneHost::new(name, files);
        for (machine, option, _) in TRANSLATIONS {
            let cmdline = format!("console=hvc0 {NO_WATCHDOGS} {option} autoreboot");
            let arguments = ["--machine", machine, "--cpus", "boot=2", "--memory", "size=256M"];
            host.add(files, &cmdline, &arguments)?;
        }
        for (console, (.., translation)) in host.run(log)?.iter().zip(TRANSLATIONS) {
            shows_times(console, translation, 2)?;
            shows_times(console, "GUEST-REBOOTS", 1)?;
            is_well(console, 2, 2)?;
        }
    }
    Ok(())
}

/// Whether a guest was up that often, with all its CPUs, and found nothing wrong.
fn is_well(console: &str, cpus: usize, starts: usize) -> Result<()> {
    shows_times(console, " ppc64\nprocessor\t: 0\n", starts)?;
    shows_times(console, &format!("GUEST-CHECKED {cpus} CPUs"), starts)?;
    shows_times(console, ", 0 of them wrong", starts)?;
    shows_times(console, "GUEST-WRONG", 0)
}
