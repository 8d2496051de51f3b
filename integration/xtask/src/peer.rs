//! QEMU, to compare with: on this machine with its usual firmware; and for the emulated host, which
//! has no shared libraries, the program with all that it loads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{POWER, Release};
use crate::cache::Closure;
use crate::cpio::Archive;
use crate::deb;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest;
use crate::package_files::LIBRARIES;
use crate::packages::{self, Tool};
use crate::program::{output_of, progress};

const PROGRAM: &str = "usr/bin/qemu-system-ppc64";

/// Its firmware: for `x-vof=on`, and the usual one.
const FIRMWARE: [&str; 2] = ["vof.bin", "slof.bin"];

/// Disks have sectors of so many bytes.
const SECTOR_BYTES: usize = 512;

/// A machine of one gibibyte that starts from a disk, by SLOF.
pub(crate) fn from_disk(disk: &Path, is_written: bool) -> Command {
    // A comma ends a value, two are one (QEMU, "Standard options").
    let path = disk.display().to_string().replace(',', ",,");
    let readonly = if is_written { "off" } else { "on" };
    let mut command = Command::new("qemu-system-ppc64");
    // What cannot be done against Spectre in software is not asked for.
    let caps = "cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off";
    command.arg("-M").arg(format!("pseries,{caps}"));
    command.args(["-cpu", "POWER9", "-m", "1G", "-nographic", "-nodefaults"]);
    command.args(["-serial", "stdio", "-monitor", "none", "-device", "virtio-blk-pci,drive=disk"]);
    command
        .arg("-drive")
        .arg(format!("if=none,id=disk,format=raw,readonly={readonly},file={path}"));
    command
}

/// Fetches what is missing and builds what is out of date. Gives an archive that can be the host's
/// disk, being of whole sectors: the program and its firmware, and libraries in `lib`.
pub(crate) fn make() -> Result<PathBuf> {
    // It comes with a program that reads ELF files for POWER.
    packages::ensure(&[Tool::PowerCompiler])?;
    let fetched = packages().fetch(false)?;
    let path = guest::folder().join("peer.cpio");
    let source = format!("{}{FIRMWARE:?}", fetched.manifest);
    guest::build("peer", &source, &[&path], |unpacked| {
        progress!("unpacking QEMU for the emulated host");
        for package in fetched.all() {
            deb::unpack(package, unpacked, &[])?;
        }
        let mut archive = Archive::default();
        archive.folder("lib");
        archive.program("qemu-system-ppc64", &folders::read(&unpacked.join(PROGRAM))?);
        for name in FIRMWARE {
            let image = folders::read(&unpacked.join("usr/share/qemu").join(name))?;
            archive.file(name, &image);
        }
        for (name, library) in libraries(unpacked, PROGRAM)? {
            archive.program(&format!("lib/{name}"), &folders::read(&library)?);
        }
        let mut bytes = archive.finish();
        bytes.resize(bytes.len().next_multiple_of(SECTOR_BYTES), 0);
        folders::write(&path, &bytes)
    })?;
    Ok(path)
}

fn packages() -> Closure {
    Closure {
        name: "peer",
        release: Release::Bookworm,
        architecture: POWER,
        what: "QEMU for POWER, to compare with",
        wanted: &["qemu-system-ppc"],
    }
}

/// What a program of unpacked packages needs, and what that needs, by name: the loader among it.
pub(crate) fn libraries(unpacked: &Path, program: &str) -> Result<BTreeMap<String, PathBuf>> {
    let folders = [
        format!("usr/{LIBRARIES}"),
        LIBRARIES.into(),
        // Where packages keep libraries that only their own need.
        format!("usr/{LIBRARIES}/pulseaudio"),
    ];
    let mut found = BTreeMap::new();
    let mut looked_at = vec![unpacked.join(program)];
    while let Some(file) = looked_at.pop() {
        let mut readelf = Command::new("powerpc64le-linux-gnu-readelf");
        let dynamic = output_of(readelf.arg("--dynamic").arg(&file))?;
        for name in needed(&dynamic) {
            if found.contains_key(name) {
                continue;
            }
            let places = folders.iter().map(|folder| unpacked.join(folder).join(name));
            let library = places.into_iter().find(|place| place.exists()).ok_or_else(|| {
                Failure::new(format!("no package has {name}, which {} needs", file.display()))
            })?;
            looked_at.push(library.clone());
            found.insert(name.to_owned(), library);
        }
    }
    Ok(found)
}

/// The names in the lines `0x… (NEEDED) Shared library: [NAME]`.
fn needed(dynamic: &str) -> impl Iterator<Item = &str> {
    let lines = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(|line| line.split_once('[')?.1.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read() {
        let dynamic = " 0x01 (NEEDED)             Shared library: [libm.so.6]\n \
                       0x0e (SONAME)             Library soname: [libx.so.1]\n \
                       0x01 (NEEDED)             Shared library: [ld64.so.2]\n";
        assert_eq!(needed(dynamic).collect::<Vec<_>>(), ["libm.so.6", "ld64.so.2"]);
    }
}
