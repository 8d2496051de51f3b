//! The guest that starts another kernel itself: a RAM disk with `kexec`, and the kernel and RAM
//! disk for it to start.

use std::path::PathBuf;

use crate::cache;
use crate::cpio::Archive;
use crate::failure::Result;
use crate::folders;
use crate::guest::{self, Guest};
use crate::package_files::{self, PackageFile};

/// That guest's first program.
const INIT: &str = include_str!("../guest/kexec");

/// What starts another kernel.
pub(crate) const KEXEC: &[PackageFile] = &[("kexec-tools", "sbin/kexec")];

/// What the kernel has to be told so that there is room for another one beside it, for a crash.
pub(crate) const CRASH_KERNEL: &str = "crashkernel=192M";

/// How the guest announces that the other kernel is next.
pub(crate) const KEXECS: &str = "GUEST-KEXECS";
pub(crate) const CRASHES: &str = "GUEST-CRASHES";

/// What the kernel after a crash shows that found the memory of the one before.
pub(crate) const FOUND: &str = "GUEST-VMCORE";

/// Fetches what is missing and builds what is out of date.
pub(crate) fn initramfs(guest: &Guest) -> Result<PathBuf> {
    let fetched = cache::fetch(&package_files::set("kexec", "kexec for POWER", KEXEC), false)?;
    let path = guest::folder().join("kexec.cpio.gz");
    let source = format!("{}{}{INIT}", guest.source, fetched.manifest);
    guest::build("kexec", &source, &[&path], |unpacked| {
        // Its first program replaces the usual guest's.
        let mut archive = Archive::default();
        archive.folder("boot");
        archive.program("init", INIT.as_bytes());
        package_files::add(KEXEC, &fetched, unpacked, &mut archive)?;
        archive.file("boot/vmlinux", &folders::read(&guest.kernel)?);
        archive.file("boot/initramfs.cpio.gz", &folders::read(&guest.initramfs)?);
        folders::write(&path, &guest.with(&[archive.finish()])?)
    })?;
    Ok(path)
}
