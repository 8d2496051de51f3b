//! iperf3, which measures what TCP carries, for guests and for the emulated host.

use std::path::PathBuf;

use crate::apt::{POWER, Release};
use crate::cache::{self, PackageSet, Part};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::Result;
use crate::folders;
use crate::guest;
use crate::package_files::LIBRARIES;
use crate::packages::{self, Tool};
use crate::peer;

const PROGRAM: &str = "usr/bin/iperf3";

/// What loads programs.
const LOADER: &str = "ld64.so.2";

/// Fetches what is missing and builds what is out of date. Gives an archive with the program in `bin`
/// and its libraries where it looks for them: it may follow an initial RAM disk.
pub(crate) fn make() -> Result<PathBuf> {
    // It comes with a program that reads ELF files for POWER.
    packages::ensure(&[Tool::PowerCompiler])?;
    let fetched = cache::fetch(&packages(), false)?;
    let path = guest::folder().join("iperf.cpio");
    guest::build("iperf", &fetched.manifest, &[&path], |unpacked| {
        for package in fetched.all() {
            deb::unpack(package, unpacked, &[])?;
        }
        let mut archive = Archive::default();
        for folder in ["bin", "lib", "lib64", LIBRARIES] {
            archive.folder(folder);
        }
        archive.program("bin/iperf3", &folders::read(&unpacked.join(PROGRAM))?);
        for (name, library) in peer::libraries(unpacked, PROGRAM)? {
            let folder = if name == LOADER { "lib64" } else { LIBRARIES };
            archive.program(&format!("{folder}/{name}"), &folders::read(&library)?);
        }
        folders::write(&path, &archive.finish())
    })?;
    Ok(path)
}

fn packages() -> PackageSet {
    let plain = |name| Part::any(name, POWER);
    PackageSet {
        name: "iperf",
        releases: &[Release::Bookworm],
        what: "iperf3 for POWER",
        parts: ["iperf3", "libiperf0", "libsctp1", "libssl3", "libc6"].map(plain).into(),
        is_one_build: false,
    }
}
