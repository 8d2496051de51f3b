//! The step that has guests take interrupts by XIVE and by XICS, on the processor in software.

use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest::{self, Guest};
use crate::modules;

use super::log::Log;
use super::software::run;

/// Uses CPUs and the disk, if there is one, and shows who has interrupted whom.
const SCRIPT: &str = include_str!("../../guest/interrupts");

const DISK_BYTES: usize = 4 << 20;

/// Says which controller the guest has, and how its disk interrupts it.
pub(super) const TASK: &str = "autorun=/bin/interrupts";

pub(super) const XIVE: Seen =
    Seen { node: "/proc/device-tree/interrupt-controller@60302031b0000", chip: "XIVE" };
pub(super) const XICS: Seen = Seen { node: "/proc/device-tree/interrupt-controller", chip: "XICS" };

/// What a guest shows of a controller.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    node: &'static str,
    /// The name of the chip of inter-processor interrupts in `/proc/interrupts` begins with this.
    chip: &'static str,
}

/// Both kernels with four CPUs, both ways in, a disk with MSI and without, and who decides.
pub(super) fn all(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    let initramfs = initramfs(&guest)?;
    // The modules are those of the older kernel: the newer one has no disk.
    let disk = folders::target().join("test/interrupts.raw");
    folders::write(&disk, &vec![0; DISK_BYTES])?;
    let disk = format!("path={},readonly=on", disk.display());
    let mut look = |kernel: &Path, machine: &str, words: &str, seen: Seen| {
        let mut arguments = vec!["--cpus", "boot=4", "--machine", machine];
        let has_disk = *kernel == guest.kernel;
        if has_disk {
            arguments.extend(["--disk", &disk]);
        }
        let console = run(log, kernel, &initramfs, &format!("{words} {TASK}"), &arguments)?;
        let kind = match (has_disk, words.contains("nomsi")) {
            (false, _) => None,
            (true, true) => Some(LEVEL),
            (true, false) => Some(MESSAGE),
        };
        check(&console, seen, kind)
            .map_err(|why| Failure::new(format!("{machine} {words}: {why}\n{console}")))
    };
    let older = &guest.kernel;
    look(older, "interrupts=xive", "", XIVE)?;
    look(&newer, "interrupts=xive", "", XIVE)?;
    look(older, "interrupts=xive", "pci=nomsi", XIVE)?;
    look(older, "interrupts=xive,x-vof=off", "", XIVE)?;
    look(older, "interrupts=xics", "", XICS)?;
    // The guest has the choice, and takes the newer unless it is told not to.
    look(older, "interrupts=auto", "", XIVE)?;
    look(older, "interrupts=auto", "xive=off", XICS)?;
    look(older, "interrupts=auto,x-vof=off", "", XICS)
}

/// The usual guest with the script, and the modules for a disk.
pub(super) fn initramfs(guest: &Guest) -> Result<PathBuf> {
    let mut disk = folders::read(&guest.initramfs)?;
    let mut archive = Archive::default();
    archive.program("bin/interrupts", SCRIPT.as_bytes());
    disk.extend_from_slice(&archive.finish());
    let modules = modules::archive(guest, "guest-disk", &["virtio_pci", "virtio_blk"])?;
    disk.extend_from_slice(&folders::read(&modules)?);
    let file = folders::target().join("test/interrupts.cpio.gz");
    folders::write(&file, &disk)?;
    Ok(file)
}

/// How a disk interrupts: the end of its line in `/proc/interrupts`, and what is in it.
pub(super) type Kind = (&'static str, [&'static str; 2]);

const MESSAGE: Kind = ("virtio0-req.0", ["MSI", "Edge"]);
const LEVEL: Kind = ("virtio0", ["Level", ""]);

pub(super) fn check(
    console: &str,
    seen: Seen,
    disk: Option<Kind>,
) -> std::result::Result<(), String> {
    let lines = || console.lines().map(str::trim_end);
    let nodes: Vec<_> =
        lines().filter(|line| line.starts_with("/proc/device-tree/interrupt-controller")).collect();
    if nodes != [seen.node] {
        return Err(format!("the tree has {nodes:?}, not {}", seen.node));
    }
    // Number, a count for each CPU, then the chip's name.
    let has = |end: &str, what: &[&str]| {
        lines().any(|line| {
            line.ends_with(end)
                && what.iter().all(|what| line.contains(what))
                && line
                    .split_whitespace()
                    .skip(1)
                    .take(4)
                    .any(|count| count.parse::<u64>().is_ok_and(|count| count > 0))
        })
    };
    if !has("", &[seen.chip, "IPI"]) {
        return Err(format!("no interrupts between CPUs by {}", seen.chip));
    }
    if let Some((name, kind)) = disk.filter(|(name, kind)| !has(name, kind)) {
        return Err(format!("no interrupts of the disk as {name}, {kind:?}"));
    }
    if !console.contains("GUEST-RAN /bin/interrupts: 0") {
        return Err("the guest's program failed".to_owned());
    }
    Ok(())
}
