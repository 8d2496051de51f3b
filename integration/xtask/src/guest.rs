//! The guest: Debian's kernel and an initial RAM disk with busybox.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::apt::{Apt, POWER};
use crate::cache::{self, Fetched, PackageSet};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::{Attempt, Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::program::{ended, progress};

/// The guest's first program, which becomes `/init`.
const INIT: &str = include_str!("../guest/init");

/// The files of a guest.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// busybox by itself, and the modules of KVM: parts of the emulated host.
    pub(crate) busybox: PathBuf,
    pub(crate) modules: [PathBuf; 2],
}

/// Fetches what is missing and builds what is out of date.
pub(crate) fn make(refresh: bool) -> Result<Guest> {
    let folder = folders::target().join("guest");
    let guest = Guest {
        kernel: folder.join("vmlinux-6.1"),
        initramfs: folder.join("initramfs.cpio.gz"),
        busybox: folder.join("busybox"),
        modules: ["kvm.ko", "kvm-hv.ko"].map(|module| folder.join(module)),
    };
    let fetched = cache::fetch(&packages(), refresh)?;
    // What the files were made of.
    let stamp = folder.join("stamp");
    let source = format!("{}{INIT}", fetched.manifest);
    if guest.is_there() && fs::read(&stamp).is_ok_and(|before| before == source.as_bytes()) {
        return Ok(guest);
    }
    progress!("unpacking the guest into {}", folder.display());
    folders::make(&folder)?;
    // Gone until all is new: a build that was broken off is none.
    match fs::remove_file(&stamp) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed.attempt(|| format!("remove {}", stamp.display()))?,
    }
    guest.build(&fetched, &folder)?;
    folders::write(&stamp, source.as_bytes())?;
    Ok(guest)
}

impl Guest {
    fn is_there(&self) -> bool {
        let Self { kernel, initramfs, busybox, modules: [kvm, kvm_hv] } = self;
        [kernel, initramfs, busybox, kvm, kvm_hv].iter().all(|file| file.is_file())
    }

    fn build(&self, fetched: &Fetched, folder: &Path) -> Result<()> {
        let unpacked = TemporaryFolder::make(folder, "unpacked")?;
        let root = unpacked.path();
        let kvm = "./lib/modules/*/kernel/arch/powerpc/kvm/*.ko";
        deb::unpack(fetched.package("linux-image-")?, root, &["./boot/vmlinux-*", kvm])?;
        deb::unpack(fetched.package("busybox-static_")?, root, &["./bin/busybox"])?;
        let release = only_entry(&root.join("lib/modules"))?;
        let modules = release.join("kernel/arch/powerpc/kvm");
        let kernel = only_entry(&root.join("boot"))?;
        let from = [&kernel, &root.join("bin/busybox")];
        for (from, to) in from.into_iter().zip([&self.kernel, &self.busybox]) {
            take(from, to)?;
        }
        for to in &self.modules {
            take(&modules.join(to.file_name().unwrap_or_default()), to)?;
        }
        let initramfs = initramfs(&folders::read(&self.busybox)?);
        folders::write(&self.initramfs, &gzip(&initramfs)?)
    }
}

/// Where the guest's parts come from. The kernel's name changes with every update of its ABI, so
/// it is looked up behind the package that always depends on the newest.
fn packages() -> PackageSet {
    PackageSet {
        name: "guest",
        what: "the guest (Debian's kernel and busybox for POWER)",
        files: vec![
            format!("linux-image-6.1.*-powerpc64le_*_{POWER}.deb"),
            format!("busybox-static_*_{POWER}.deb"),
        ],
        choose: |apt: &Apt| {
            let newest = format!("linux-image-powerpc64le:{POWER}");
            let depends = apt.field(&newest, "Depends")?.unwrap_or_default();
            let kernel = kernel_package(&depends).ok_or_else(|| {
                Failure::new(format!(
                    "the machine's package sources offer no Linux 6.1 for POWER (package \
                     linux-image-powerpc64le depends on {depends:?}); they have to be Debian's"
                ))
            })?;
            Ok(vec![kernel, format!("busybox-static:{POWER}")])
        },
    }
}

/// `linux-image-6.1.0-50-powerpc64le (= 6.1.176-1)` as apt is asked for it.
fn kernel_package(depends: &str) -> Option<String> {
    let mut words = depends.split([' ', ',', '(', ')']).filter(|word| !word.is_empty());
    let name = words.find(|word| word.starts_with("linux-image-6.1."))?;
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
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("gzip")
        .args(["--best", "--no-name", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .attempt(|| "run gzip".into())?;
    let mut input = child.stdin.take().expect("asked for above");
    let output = std::thread::scope(|scope| {
        // In a thread of its own, as gzip stops reading until somebody reads from it.
        scope.spawn(move || input.write_all(bytes));
        child.wait_with_output()
    });
    let output = output.attempt(|| "read what gzip made".into())?;
    if !output.status.success() {
        return Err(Failure::new(format!("gzip {}", ended(output.status))));
    }
    Ok(output.stdout)
}

fn take(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .attempt(|| format!("take {} out of the package as {}", from.display(), to.display()))
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
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
        assert_eq!(kernel_package(depends).as_deref(), Some(package));
        assert_eq!(kernel_package("linux-image-6.12.0-1-powerpc64le (= 6.12.1-1)"), None);
        assert_eq!(kernel_package("linux-image-6.1.0-50-powerpc64le"), None);
    }

    #[test]
    fn gzip_makes_the_same_bytes_again() {
        let disk = initramfs(&[7; 100_000]);
        let compressed = gzip(&disk).unwrap();
        assert_eq!(compressed[..3], [0x1f, 0x8b, 8]);
        assert_eq!(compressed, gzip(&disk).unwrap());
    }
}
