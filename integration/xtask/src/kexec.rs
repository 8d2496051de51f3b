//! The guest that starts another kernel itself: a RAM disk with `kexec`, and the kernel and RAM
//! disk for it to start.

use std::path::PathBuf;

use crate::apt::{POWER, Release};
use crate::cache::{self, PackageSet, Part};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::Result;
use crate::folders;
use crate::guest::{self, Guest};

/// That guest's first program.
const INIT: &str = include_str!("../guest/kexec");

/// What the kernel has to be told so that there is room for another one beside it, for a crash.
pub(crate) const CRASH_KERNEL: &str = "crashkernel=192M";

/// How the guest announces that the other kernel is next.
pub(crate) const KEXECS: &str = "GUEST-KEXECS";
pub(crate) const CRASHES: &str = "GUEST-CRASHES";

/// What the kernel after a crash shows that found the memory of the one before.
pub(crate) const FOUND: &str = "GUEST-VMCORE";

/// Fetches what is missing and builds what is out of date.
pub(crate) fn initramfs(guest: &Guest) -> Result<PathBuf> {
    let fetched = cache::fetch(&packages(), false)?;
    let path = guest::folder().join("kexec.cpio.gz");
    let source = format!("{}{}{INIT}", guest.source, fetched.manifest);
    guest::build("kexec", &source, &[&path], |unpacked| {
        deb::unpack(fetched.package("kexec-tools_")?, unpacked, &["./sbin/kexec"])?;
        let base = folders::read(&guest.initramfs)?;
        // Behind the usual guest, whose C library it uses; its first program replaces that one's.
        let mut disk = base.clone();
        let mut archive = Archive::default();
        archive.folder("boot");
        archive.program("init", INIT.as_bytes());
        archive.program("bin/kexec", &folders::read(&unpacked.join("sbin/kexec"))?);
        archive.file("boot/vmlinux", &folders::read(&guest.kernel)?);
        archive.file("boot/initramfs.cpio.gz", &base);
        disk.extend_from_slice(&archive.finish());
        folders::write(&path, &disk)
    })?;
    Ok(path)
}

fn packages() -> PackageSet {
    PackageSet {
        name: "kexec",
        releases: &[Release::Bookworm],
        what: "kexec for POWER",
        parts: vec![Part::any("kexec-tools", POWER)],
        is_one_build: false,
    }
}
