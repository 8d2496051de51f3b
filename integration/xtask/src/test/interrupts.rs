//! The steps that have guests take interrupts by XIVE and by XICS.

use std::path::PathBuf;

use crate::cpio::Archive;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest::{self, Guest, NO_WATCHDOGS, QUICK};
use crate::host::base_name;
use crate::kexec;
use crate::modules;

use super::boots::{shows, shows_times};
use super::log::Log;
use super::on_host::OneHost;
use super::software;

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

/// A guest and its machine.
struct Case {
    /// With the newer kernel, which has no disk: the modules are those of the older one.
    is_newer: bool,
    machine: &'static str,
    words: &'static str,
    seen: Seen,
}

const fn case(machine: &'static str, words: &'static str, seen: Seen) -> Case {
    Case { is_newer: false, machine, words, seen }
}

/// Both kernels, both ways in, a disk with MSI and without, and who decides.
const CASES: [Case; 8] = [
    Case { is_newer: true, machine: "interrupts=xive", words: "", seen: XIVE },
    case("interrupts=xive", "", XIVE),
    case("interrupts=xive", "pci=nomsi", XIVE),
    case("interrupts=xive,x-vof=off", "", XIVE),
    case("interrupts=xics", "", XICS),
    // The guest has the choice, and takes the newer unless it is told not to.
    case("interrupts=auto", "", XIVE),
    case("interrupts=auto", "xive=off", XICS),
    case("interrupts=auto,x-vof=off", "", XICS),
];

impl Case {
    /// The VMM's arguments, with four CPUs and the disk at this path.
    fn arguments(&self, disk: &str) -> Vec<String> {
        let mut arguments =
            ["--cpus", "boot=4", "--machine", self.machine].map(str::to_owned).to_vec();
        if !self.is_newer {
            arguments.extend(["--disk".to_owned(), format!("path={disk},readonly=on")]);
        }
        arguments
    }

    fn cmdline(&self) -> String {
        format!("{} {TASK}", self.words)
    }

    /// That the guest took interrupts so.
    fn shown(&self, console: &str) -> Result<()> {
        let kind = match (self.is_newer, self.words.contains("nomsi")) {
            (true, _) => None,
            (false, true) => Some(LEVEL),
            (false, false) => Some(MESSAGE),
        };
        let Self { machine, words, seen, .. } = self;
        check(console, *seen, kind)
            .map_err(|why| Failure::new(format!("{machine} {words}: {why}\n{console}")))
    }
}

/// On the processor in software.
pub(super) fn software(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    let (initramfs, disk) = (initramfs(&guest)?, disk()?);
    for case in &CASES {
        let kernel = if case.is_newer { &newer } else { &guest.kernel };
        let arguments = case.arguments(&disk.display().to_string());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let console = software::run(log, kernel, &initramfs, &case.cmdline(), &arguments)?;
        case.shown(&console)?;
    }
    Ok(())
}

/// On KVM: the same, and guests that restart their machine, or start another kernel themselves.
pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    let (initramfs, disk) = (initramfs(&guest)?, disk()?);
    let kexec = kexec::initramfs(&guest)?;
    // One kernel at a time: both are more than the host takes.
    for is_newer in [false, true] {
        let kernel = if is_newer { &newer } else { &guest.kernel };
        let mut host = OneHost::new("powernv9", [kernel, &initramfs, &disk]);
        let cases: Vec<_> = CASES.iter().filter(|case| case.is_newer == is_newer).collect();
        for case in &cases {
            let arguments = case.arguments(base_name(&disk)?);
            let arguments: Vec<&str> = ["--memory", "size=512M"]
                .into_iter()
                .chain(arguments.iter().map(String::as_str))
                .collect();
            let cmdline = format!("{QUICK} {NO_WATCHDOGS} {}", case.cmdline());
            host.add([kernel, &initramfs], &cmdline, &arguments)?;
        }
        for (console, case) in host.run(log)?.iter().zip(cases) {
            case.shown(console)?;
        }
    }
    let (restarts, kexecs) = ("GUEST-REBOOTS", kexec::KEXECS);
    let words = [("autoreboot", restarts, &guest.initramfs), ("autokexec", kexecs, &kexec)];
    let mut host = OneHost::new("powernv9", [&guest.kernel, &guest.initramfs, &kexec]);
    for (word, _, initramfs) in words {
        let cmdline = format!("{QUICK} {NO_WATCHDOGS} {word}");
        let arguments = ["--memory", "size=1G", "--cpus", "boot=2", "--machine", "interrupts=auto"];
        host.add([&guest.kernel, initramfs], &cmdline, &arguments)?;
    }
    for (console, (_, announced, _)) in host.run(log)?.iter().zip(words) {
        shows_times(console, announced, 1)?;
        shows_times(console, BY_XIVE, 2)?;
        // The usual guest is what both end with.
        shows_times(console, "GUEST-READY", if announced == restarts { 2 } else { 1 })?;
    }
    // A host that is a guest itself has none, says so, and leaves the choice to nobody.
    let usual = [&guest.kernel, &guest.initramfs];
    let mut host = OneHost::new("pseries9", usual);
    host.add_refused(&guest.kernel, &["--machine", "interrupts=xive"])?;
    let arguments = ["--memory", "size=512M", "--machine", "interrupts=auto"];
    host.add(usual, &format!("{QUICK} {NO_WATCHDOGS} autotest"), &arguments)?;
    let said = ["cannot take interrupts by XIVE", "GUEST-READY"];
    host.run(log)?.iter().zip(said).try_for_each(|(console, said)| shows(console, &[said]))
}

/// What the kernel says of its controller when it takes interrupts by XIVE.
const BY_XIVE: &str = "xive: Interrupt handling initialized with spapr backend";

/// A disk for guests to read.
fn disk() -> Result<PathBuf> {
    let disk = folders::target().join("test/interrupts.raw");
    folders::write(&disk, &vec![0; DISK_BYTES])?;
    Ok(disk)
}

/// The usual guest with the script, and the modules for a disk.
fn initramfs(guest: &Guest) -> Result<PathBuf> {
    let modules = modules::archive(guest, "guest-disk", &["virtio_pci", "virtio_blk"])?;
    with_script(guest, "interrupts.cpio.gz", &folders::read(&modules)?)
}

/// The same without a disk.
pub(super) fn diskless(guest: &Guest) -> Result<PathBuf> {
    with_script(guest, "matrix.cpio.gz", &[])
}

fn with_script(guest: &Guest, name: &str, modules: &[u8]) -> Result<PathBuf> {
    let mut archive = Archive::default();
    archive.program("bin/interrupts", SCRIPT.as_bytes());
    let parts = [&folders::read(&guest.initramfs)?, &*archive.finish(), modules];
    let file = folders::target().join("test").join(name);
    folders::write(&file, &parts.concat())?;
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
