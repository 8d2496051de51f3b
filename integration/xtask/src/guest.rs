//! The guest: Debian's kernel and an initial RAM disk with busybox, and coreutils' `sort`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{Apt, POWER, Release};
use crate::cache::{self, Fetched, PackageSet, Part};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::{Attempt, Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::locked;
use crate::package_files::{self, C_LIBRARY, LIBRARIES, PackageFile};
use crate::program::{filter, progress};

/// The guest's first program, which becomes `/init`.
const INIT: &str = include_str!("../guest/init");

/// What the guest's kernel is told before anything else.
pub(crate) const QUICK: &str = "console=hvc0 cryptomgr.notests";

/// For the kernel's command line: on a machine that is slow, or has others to run, nobody is to be
/// told in the middle of a line that a CPU had no time. (Linux,
/// Documentation/admin-guide/kernel-parameters.txt.)
pub(crate) const NO_WATCHDOGS: &str = "nowatchdog rcupdate.rcu_cpu_stall_suppress=1";

/// coreutils' `sort`, which has `-R`.
const SORT: PackageFile = ("coreutils", "usr/bin/sort");

/// The file name of the newer kernel.
const NEWER_KERNEL: &str = "vmlinux-6.12";

/// The files of a guest.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// busybox by itself, and the modules of KVM: parts of the emulated host.
    pub(crate) busybox: PathBuf,
    pub(crate) modules: [PathBuf; 2],
    /// What they were made of: the same text means the same files.
    pub(crate) source: String,
    /// The packages that they are from.
    pub(crate) packages: Fetched,
}

/// Fetches what is missing and builds what is out of date.
pub(crate) fn make(refresh: bool) -> Result<Guest> {
    let folder = folder();
    let fetched = cache::fetch(&packages(), refresh)?;
    let guest = Guest {
        kernel: folder.join("vmlinux-6.1"),
        initramfs: folder.join("initramfs.cpio.gz"),
        busybox: folder.join("busybox"),
        modules: ["kvm.ko", "kvm-hv.ko"].map(|module| folder.join(module)),
        source: format!("{}{INIT}", fetched.manifest),
        packages: fetched,
    };
    let [kvm, kvm_hv] = &guest.modules;
    let files = [&guest.kernel, &guest.initramfs, &guest.busybox, kvm, kvm_hv];
    build("guest", &guest.source, &files, |unpacked| guest.build(unpacked))?;
    Ok(guest)
}

/// A kernel of a newer series: fetched and unpacked where it is missing or out of date.
pub(crate) fn newer_kernel(refresh: bool) -> Result<PathBuf> {
    let kernel = folder().join(NEWER_KERNEL);
    let fetched = cache::fetch(&newer_packages(), refresh)?;
    build("kernel-6.12", &fetched.manifest, &[&kernel], |unpacked| {
        unpack_kernel(&fetched, unpacked, &[], &kernel)
    })?;
    Ok(kernel)
}

/// Whether a path is that of a file in the folder of what is made.
pub(crate) fn is_made(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(path);
    let here = std::path::absolute(parent).unwrap_or_default();
    here == folder() || parent.canonicalize().is_ok_and(|parent| parent == folder())
}

/// Whether a path is that of the kernel that [`newer_kernel`] makes.
pub(crate) fn is_newer_kernel(path: &Path) -> bool {
    is_made(path) && path.file_name().is_some_and(|name| name == NEWER_KERNEL)
}

/// Where files for guests are made.
pub(crate) fn folder() -> PathBuf {
    folders::target().join("guest")
}

/// Makes `files` of `source`, with a folder to unpack things in, unless they are there and were
/// made of the same.
pub(crate) fn build(
    name: &str,
    source: &str,
    files: &[&PathBuf],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    build_in(&folder(), name, source, files, make)
}

/// The same in another folder.
pub(crate) fn build_in(
    folder: &Path,
    name: &str,
    source: &str,
    files: &[&PathBuf],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let stamp = folder.join(format!("{name}.stamp"));
    let is_new = || {
        let are_there = files.iter().all(|file| file.is_file());
        are_there && fs::read(&stamp).is_ok_and(|before| before == source.as_bytes())
    };
    if is_new() {
        return Ok(());
    }
    folders::make(folder)?;
    // Somebody may be at it already, and then it is made.
    let _lock = locked::take(&folder.join(format!("{name}.lock")))?;
    if is_new() {
        return Ok(());
    }
    progress!("unpacking the {name} into {}", folder.display());
    // Gone until all is new: a build that was broken off is none.
    match fs::remove_file(&stamp) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed.attempt(|| format!("remove {}", stamp.display()))?,
    }
    let unpacked = TemporaryFolder::make(folder, "unpacked")?;
    make(unpacked.path())?;
    folders::write(&stamp, source.as_bytes())
}

impl Guest {
    fn build(&self, unpacked: &Path) -> Result<()> {
        let fetched = &self.packages;
        let kvm = "./lib/modules/*/kernel/arch/powerpc/kvm/*.ko";
        unpack_kernel(fetched, unpacked, &[kvm], &self.kernel)?;
        let modules = only_entry(&unpacked.join("lib/modules"))?.join("kernel/arch/powerpc/kvm");
        for to in &self.modules {
            take(&modules.join(to.file_name().unwrap_or_default()), to)?;
        }
        deb::unpack(fetched.package("busybox-static_")?, unpacked, &["./bin/busybox"])?;
        take(&unpacked.join("bin/busybox"), &self.busybox)?;
        let initramfs = initramfs(&folders::read(&self.busybox)?);
        folders::write(&self.initramfs, &behind(gzip(&initramfs)?, &[sort(fetched, unpacked)?]))
    }

    /// The initial RAM disk, with archives behind it.
    pub(crate) fn with(&self, archives: &[Vec<u8>]) -> Result<Vec<u8>> {
        Ok(behind(folders::read(&self.initramfs)?, archives))
    }
}

/// An initial RAM disk with plain archives behind it: the kernel takes one after the other, plain ones
/// at multiples of four.
fn behind(mut disk: Vec<u8>, archives: &[Vec<u8>]) -> Vec<u8> {
    for archive in archives {
        disk.resize(disk.len().next_multiple_of(4), 0);
        disk.extend_from_slice(archive);
    }
    disk
}

/// [`SORT`] and what it needs to run. Not compressed: the C library is twice as large as everything
/// else, and to decompress it would be a sixth of a boot in software. So it is a half of a per cent.
fn sort(fetched: &Fetched, unpacked: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["lib", LIBRARIES, "lib64"] {
        archive.folder(folder);
    }
    package_files::add(&[&[SORT], &C_LIBRARY[..]].concat(), fetched, unpacked, &mut archive)?;
    Ok(archive.finish())
}

/// Takes the kernel itself out of its package, and unpacks what else is wanted of it.
fn unpack_kernel(fetched: &Fetched, unpacked: &Path, also: &[&str], to: &Path) -> Result<()> {
    let wanted = [&["./boot/vmlinux-*"], also].concat();
    deb::unpack(fetched.package("linux-image-")?, unpacked, &wanted)?;
    take(&only_entry(&unpacked.join("boot"))?, to)
}

/// Where the guest's parts come from.
fn packages() -> PackageSet {
    let plain = |name| Part::any(name, POWER);
    PackageSet {
        name: "guest",
        releases: &[Release::Bookworm],
        what: "the guest (Debian's kernel, busybox and sort for POWER)",
        parts: vec![kernel("6.1"), plain("busybox-static"), plain("coreutils"), plain("libc6")],
        is_one_build: false,
    }
}

fn newer_packages() -> PackageSet {
    PackageSet {
        name: "kernel-6.12",
        releases: &[Release::Backports, Release::Trixie],
        what: "a newer kernel (Debian's 6.12 for POWER)",
        parts: vec![kernel("6.12")],
        is_one_build: false,
    }
}

/// A kernel's name changes with every update of its ABI, so it is looked up behind the package
/// that always depends on the newest.
fn kernel(series: &'static str) -> Part {
    let choose = move |apt: &Apt| {
        let newest = format!("linux-image-powerpc64le:{POWER}");
        let depends = apt.field(&newest, "Depends")?;
        let kernels: Vec<String> =
            depends.iter().filter_map(|depends| kernel_package(depends, series)).collect();
        if kernels.is_empty() {
            return Err(Failure::new(format!(
                "the machine's package sources offer no Linux {series} for POWER (package \
                 linux-image-powerpc64le depends on {depends:?}); they have to be Debian's"
            )));
        }
        Ok(kernels)
    };
    Part {
        file: format!("linux-image-{series}.*-powerpc64le_*_{POWER}.deb"),
        choose: Box::new(choose),
    }
}

/// `linux-image-6.1.0-50-powerpc64le (= 6.1.176-1)` as apt is asked for it.
fn kernel_package(depends: &str, series: &str) -> Option<String> {
    let start = format!("linux-image-{series}.");
    let mut words = depends.split([' ', ',', '(', ')']).filter(|word| !word.is_empty());
    let name = words.find(|word| word.starts_with(&start))?;
    let version = words.next().filter(|word| *word == "=").and(words.next())?;
    Some(format!("{name}:{POWER}={version}"))
}

fn initramfs(busybox: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "root", "sys", "tmp"] {
        archive.folder(folder);
    }
    // The kernel opens it for init before there is anybody to mount devtmpfs.
    archive.character_device("dev/console", 5, 1);
    archive.program("bin/busybox", busybox);
    archive.program("init", INIT.as_bytes());
    archive.finish()
}

/// Compressed, with neither name nor time inside.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    filter(Command::new("gzip").args(["--best", "--no-name", "--stdout"]), bytes)
}

/// Moves what was made to its place.
pub(crate) fn take(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).attempt(|| format!("move {} to {}", from.display(), to.display()))
}

/// What is in a folder that holds one thing.
pub(crate) fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).attempt(|| format!("list {}", folder.display()))?;
    match (entries.next(), entries.next()) {
        (Some(Ok(entry)), None) => Ok(entry.path()),
        _ => Err(Failure::new(format!("{} should hold exactly one entry", folder.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_the_one_that_the_newest_depends_on() {
        let depends = "linux-image-6.1.0-50-powerpc64le (= 6.1.176-1)";
        let package = "linux-image-6.1.0-50-powerpc64le:ppc64el=6.1.176-1";
        assert_eq!(kernel_package(depends, "6.1").as_deref(), Some(package));
        assert_eq!(kernel_package(depends, "6.12"), None);
        let newer = "linux-image-6.12.86+deb13-powerpc64le (= 6.12.86-1)";
        let package = "linux-image-6.12.86+deb13-powerpc64le:ppc64el=6.12.86-1";
        assert_eq!(kernel_package(newer, "6.12").as_deref(), Some(package));
        assert_eq!(kernel_package(newer, "6.1"), None);
        assert_eq!(kernel_package("linux-image-6.1.0-50-powerpc64le", "6.1"), None);
    }

    #[test]
    fn gzip_makes_the_same_bytes_again() {
        let disk = initramfs(&[7; 100_000]);
        let compressed = gzip(&disk).unwrap();
        assert_eq!(compressed[..3], [0x1f, 0x8b, 8]);
        assert_eq!(compressed, gzip(&disk).unwrap());
    }
}
