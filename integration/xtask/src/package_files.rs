//! Programs out of Debian's packages for a guest's initial RAM disk, and libraries that they need.

use std::path::Path;

use crate::apt::{POWER, Release};
use crate::cache::{Fetched, PackageSet, Part};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::Result;
use crate::folders;

/// Where programs find the C library and others.
pub(crate) const LIBRARIES: &str = "lib/powerpc64le-linux-gnu";

/// The C library and what loads it, with which programs run.
pub(crate) const C_LIBRARY: [PackageFile; 2] = [
    ("libc6", "lib/powerpc64le-linux-gnu/ld64.so.2"),
    ("libc6", "lib/powerpc64le-linux-gnu/libc.so.6"),
];

/// A package, and the path of a file of it.
pub(crate) type PackageFile = (&'static str, &'static str);

/// The packages of files, to be fetched. `what` completes "fetching …".
pub(crate) fn set(name: &'static str, what: &'static str, files: &[PackageFile]) -> PackageSet {
    let parts = packages(files).into_iter().map(|package| Part::any(package, POWER)).collect();
    PackageSet { name, releases: &[Release::Bookworm], what, parts, is_one_build: false }
}

/// Adds files of packages, which are unpacked into a folder, to a disk, each where it is found:
/// programs in `/bin`. The folders for them have to be on the disk.
pub(crate) fn add(
    files: &[PackageFile],
    fetched: &Fetched,
    unpacked: &Path,
    archive: &mut Archive,
) -> Result<()> {
    for package in packages(files) {
        let of_package = files.iter().filter(|(of, _)| *of == package);
        // A library's name is a link to a file whose name has more behind it.
        let patterns: Vec<String> = of_package.map(|(_, path)| format!("./{path}*")).collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        deb::unpack(fetched.package(&format!("{package}_"))?, unpacked, &patterns)?;
    }
    for (_, path) in files {
        archive.program(&place(path), &folders::read(&unpacked.join(path))?);
    }
    Ok(())
}

/// Each package once, in order.
fn packages(files: &[PackageFile]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (package, _) in files {
        if !packages.contains(package) {
            packages.push(*package);
        }
    }
    packages
}

/// Where a file is in the guest.
fn place(path: &str) -> String {
    match path.rsplit('/').next().unwrap_or_default() {
        // Programs name it so.
        loader if loader.starts_with("ld64.so.") => format!("lib64/{loader}"),
        library if library.contains(".so.") => format!("{LIBRARIES}/{library}"),
        program => format!("bin/{program}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_several_files_is_fetched_once() {
        let files = [("a", "bin/x"), ("b", "bin/y"), ("a", "bin/z")];
        assert_eq!(packages(&files), ["a", "b"]);
        assert_eq!(set("n", "w", &files).parts.len(), 2);
    }

    #[test]
    fn programs_and_libraries_are_where_they_are_found() {
        assert_eq!(place("usr/sbin/nvram"), "bin/nvram");
        assert_eq!(
            place("usr/lib/powerpc64le-linux-gnu/libnuma.so.1"),
            format!("{LIBRARIES}/libnuma.so.1")
        );
        assert_eq!(C_LIBRARY.map(|(_, path)| place(path))[0], "lib64/ld64.so.2");
    }
}
