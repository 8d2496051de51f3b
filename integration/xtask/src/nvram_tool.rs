//! The guest that has the program `nvram`, of those for IBM's machines.

use std::path::PathBuf;

use crate::apt::{POWER, Release};
use crate::cache::{self, PackageSet, Part};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::Result;
use crate::folders;
use crate::guest::{self, Guest, LIBRARIES};

/// The library that the program needs besides the C library, by the name that it asks for.
const ZLIB: &str = "libz.so.1";

/// Fetches what is missing and builds what is out of date: an initial RAM disk.
pub(crate) fn initramfs(guest: &Guest) -> Result<PathBuf> {
    let fetched = cache::fetch(&packages(), false)?;
    let path = guest::folder().join("nvram-tool.cpio.gz");
    let source = format!("{}{}", guest.source, fetched.manifest);
    guest::build("nvram-tool", &source, &[&path], |unpacked| {
        let tool = fetched.package("powerpc-ibm-utils_")?;
        deb::unpack(tool, unpacked, &["./usr/sbin/nvram"])?;
        let zlib = format!("./{LIBRARIES}/{ZLIB}*");
        deb::unpack(fetched.package("zlib1g_")?, unpacked, &[&zlib])?;
        // Behind the usual guest, whose C library it uses.
        let mut disk = folders::read(&guest.initramfs)?;
        let mut archive = Archive::default();
        archive.program("bin/nvram", &folders::read(&unpacked.join("usr/sbin/nvram"))?);
        // A link to the file with the version, which is followed.
        let library = format!("{LIBRARIES}/{ZLIB}");
        archive.program(&library, &folders::read(&unpacked.join(&library))?);
        disk.extend_from_slice(&archive.finish());
        folders::write(&path, &disk)
    })?;
    Ok(path)
}

fn packages() -> PackageSet {
    PackageSet {
        name: "nvram-tool",
        releases: &[Release::Bookworm],
        what: "the program nvram for POWER",
        parts: vec![Part::any("powerpc-ibm-utils", POWER), Part::any("zlib1g", POWER)],
        is_one_build: false,
    }
}
