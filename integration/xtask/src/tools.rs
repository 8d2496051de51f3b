//! The guest that has more programs: those that show and change what only larger machines have, such
//! as threads and NUMA nodes, or IBM's machines, such as NVRAM; and tasks that use them.

use std::path::PathBuf;

use crate::cache::{self, PackageSet};
use crate::cpio::Archive;
use crate::failure::Result;
use crate::folders;
use crate::guest::{self, Guest};
use crate::package_files::{self, PackageFile};

/// What runs with the C library of the usual guest.
const FILES: &[PackageFile] = &[
    ("libnuma1", "usr/lib/powerpc64le-linux-gnu/libnuma.so.1"),
    ("librtas2", "usr/lib/powerpc64le-linux-gnu/librtas.so.2"),
    ("libsmartcols1", "usr/lib/powerpc64le-linux-gnu/libsmartcols.so.1"),
    ("numactl", "usr/bin/numactl"),
    ("powerpc-ibm-utils", "usr/sbin/drmgr"),
    ("powerpc-ibm-utils", "usr/sbin/lsprop"),
    ("powerpc-ibm-utils", "usr/sbin/nvram"),
    ("powerpc-ibm-utils", "usr/sbin/ppc64_cpu"),
    ("util-linux", "usr/bin/lscpu"),
    ("zlib1g", "lib/powerpc64le-linux-gnu/libz.so.1"),
];

/// Programs of its own, in `/bin`: with `autorun=/bin/NAME` on the kernel's command line, the guest
/// runs one and switches itself off.
const TASKS: [(&str, &str); 5] = [
    ("cpus", include_str!("../guest/cpus")),
    ("hpt", include_str!("../guest/hpt")),
    ("nodes", include_str!("../guest/nodes")),
    ("plugs", include_str!("../guest/plugs")),
    ("resizes", include_str!("../guest/resizes")),
];

/// Fetches what is missing and builds what is out of date: an initial RAM disk, for each kernel.
pub(crate) fn initramfs(guest: &Guest, refresh: bool) -> Result<PathBuf> {
    let fetched = cache::fetch(&packages(), refresh)?;
    let path = guest::folder().join("tools.cpio.gz");
    let tasks: String = TASKS.iter().map(|(_, task)| *task).collect();
    let source = [&guest.source, &fetched.manifest, tasks.as_str()].concat();
    guest::build("tools", &source, &[&path], |unpacked| {
        let mut archive = Archive::default();
        package_files::add(FILES, &fetched, unpacked, &mut archive)?;
        for (name, task) in TASKS {
            archive.program(&format!("bin/{name}"), task.as_bytes());
        }
        folders::write(&path, &guest.with(&[archive.finish()])?)
    })?;
    Ok(path)
}

fn packages() -> PackageSet {
    package_files::set("tools", "programs for guests (numactl, ppc64_cpu, nvram and others)", FILES)
}
