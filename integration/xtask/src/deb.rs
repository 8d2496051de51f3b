//! Debian packages, unpacked by `dpkg-deb` where there is one: it needs no other program for any
//! compression. Elsewhere by `tar`, of what is an `ar` archive (ar(5)) whose member `data.tar.*`
//! holds the files (deb(5)), and by the program for their compression, such as `xz`.

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::program::{ended, filter, is_present};

/// Unpacks those files of a package whose paths match one of `patterns` (tar's wildcards, such as
/// `./boot/*`), or all of them where there is no pattern.
pub(crate) fn unpack(package: &Path, folder: &Path, patterns: &[&str]) -> Result<()> {
    folders::make(folder)?;
    let way = if is_present("dpkg-deb") { unpack_by_dpkg } else { unpack_by_tar };
    way(package, tar(folder, patterns))
}

/// The archive of a package's files, as [`crate::tar`] reads it.
pub(crate) fn files(package: &Path) -> Result<Vec<u8>> {
    archive(package, "--fsys-tarfile", "data.tar")
}

/// The archive of what dpkg is to know of a package.
pub(crate) fn control(package: &Path) -> Result<Vec<u8>> {
    archive(package, "--ctrl-tarfile", "control.tar")
}

/// A member of a package, decompressed.
fn archive(package: &Path, option: &str, member: &str) -> Result<Vec<u8>> {
    if is_present("dpkg-deb") {
        let mut dpkg = Command::new("dpkg-deb");
        return filter(dpkg.arg(option).arg(package), &[]);
    }
    let bytes = folders::read(package)?;
    let (name, data) = find_member(&bytes, member)
        .ok_or_else(|| broken(package, "it is not a Debian package, or cut short"))?;
    let program = match name.rsplit('.').next() {
        Some("xz") => "xz",
        Some("gz") => "gzip",
        Some("zst") => "zstd",
        _ => return Err(unknown_compression(package, name)),
    };
    filter(Command::new(program).args(["--decompress", "--stdout"]), &bytes[data])
}

fn tar(folder: &Path, patterns: &[&str]) -> Command {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--directory"]).arg(folder);
    tar.arg("--wildcards").args(patterns).stdin(Stdio::piped());
    tar
}

fn unpack_by_dpkg(package: &Path, mut tar: Command) -> Result<()> {
    let mut files = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .attempt(|| "run dpkg-deb".into())?;
    let unpacked = tar.stdin(files.stdout.take().expect("asked for above")).status();
    // tar's end of the pipe, or dpkg-deb would wait for it for ever.
    drop(tar);
    let read = files.wait().attempt(|| "wait for dpkg-deb".into())?;
    let unpacked = unpacked.attempt(|| "run tar".into())?;
    for (program, status) in [("dpkg-deb", read), ("tar", unpacked)] {
        if !status.success() {
            return Err(broken(package, &format!("{program} {}", ended(status))));
        }
    }
    Ok(())
}

fn unpack_by_tar(package: &Path, mut tar: Command) -> Result<()> {
    let bytes = folders::read(package)?;
    let (name, data) = find_member(&bytes, "data.tar")
        .ok_or_else(|| broken(package, "it is not a Debian package, or cut short"))?;
    let filter = match name.rsplit('.').next() {
        Some("xz") => "--xz",
        Some("gz") => "--gzip",
        Some("zst") => "--zstd",
        _ => return Err(unknown_compression(package, name)),
    };
    let mut tar = tar.arg(filter).spawn().attempt(|| "run tar".into())?;
    let mut input = tar.stdin.take().expect("asked for above");
    let written = input.write_all(&bytes[data]);
    drop(input);
    let status = tar.wait().attempt(|| "wait for tar".into())?;
    if !status.success() {
        return Err(broken(package, &format!("tar {}", ended(status))));
    }
    written.attempt(|| format!("hand {} to tar", package.display()))
}

fn broken(package: &Path, why: &str) -> Failure {
    Failure::new(format!("cannot unpack {}: {why}", package.display()))
}

fn unknown_compression(package: &Path, member: &str) -> Failure {
    broken(package, &format!("its {member} is compressed in an unknown way"))
}

/// The member whose name starts so: its name and where it is.
fn find_member<'a>(archive: &'a [u8], start: &str) -> Option<(&'a str, Range<usize>)> {
    let mut at = archive.starts_with(b"!<arch>\n").then_some(8)?;
    loop {
        let header = archive.get(at..at + 60)?;
        let name = std::str::from_utf8(&header[..16]).ok()?.trim_end().trim_end_matches('/');
        let size: usize = std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
        let content = at + 60..(at + 60).checked_add(size)?;
        if name.starts_with(start) {
            return (content.end <= archive.len()).then_some((name, content));
        }
        at = content.end.checked_next_multiple_of(2)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::TemporaryFolder;

    fn member(name: &str, content: &str) -> String {
        let padding = if content.len() % 2 == 1 { "\n" } else { "" };
        let (size, mode) = (content.len(), 100_644);
        format!("{name:<16}{:<12}{:<6}{:<6}{mode:<8}{size:<10}`\n{content}{padding}", 0, 0, 0)
    }

    #[test]
    fn both_ways_unpack_the_same_files() {
        let temporary = TemporaryFolder::make(&std::env::temp_dir(), "xtask-deb-test").unwrap();
        let source = temporary.path().join("source");
        folders::make(&source).unwrap();
        folders::write(&source.join("wanted"), b"content").unwrap();
        folders::write(&source.join("other"), b"left out").unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--create", "--gzip", "--directory"]).arg(&source).arg(".");
        let files = tar.output().unwrap().stdout;
        let mut package = b"!<arch>\n".to_vec();
        let version: &[u8] = b"2.0\n";
        for (name, content) in
            [("debian-binary", version), ("control.tar.gz", &files), ("data.tar.gz", &files)]
        {
            let header = format!("{name:<16}{:<32}{:<10}`\n", 0, content.len());
            package.extend_from_slice(header.as_bytes());
            package.extend_from_slice(content);
            package.resize(package.len().next_multiple_of(2), b'\n');
        }
        let file = temporary.path().join("package.deb");
        folders::write(&file, &package).unwrap();
        let unpacked = |name: &str, way: fn(&Path, Command) -> Result<()>| {
            let folder = temporary.path().join(name);
            folders::make(&folder).unwrap();
            way(&file, super::tar(&folder, &["./want*"])).unwrap();
            assert!(!folder.join("other").exists());
            assert_eq!(folders::read(&folder.join("wanted")).unwrap(), b"content");
        };
        unpacked("by-tar", unpack_by_tar);
        if is_present("dpkg-deb") {
            unpacked("by-dpkg", unpack_by_dpkg);
            let source = super::files(&file).unwrap();
            assert!(source.windows(7).any(|bytes| bytes == b"content"));
            assert_eq!(control(&file).unwrap(), source);
            folders::write(&file, &package[..package.len() - 60]).unwrap();
            let into = super::tar(temporary.path(), &[]);
            assert!(unpack_by_dpkg(&file, into).is_err());
        }
    }

    #[test]
    fn the_files_are_found_behind_the_control_member() {
        let archive = format!(
            "!<arch>\n{}{}{}",
            member("debian-binary", "2.0\n"),
            member("control.tar.xz", "odd"),
            member("data.tar.xz", "files")
        );
        let (name, range) = find_member(archive.as_bytes(), "data.tar").unwrap();
        assert_eq!((name, &archive[range]), ("data.tar.xz", "files"));
    }

    #[test]
    fn what_is_no_package_or_cut_short_has_none() {
        let archive = format!("!<arch>\n{}", member("data.tar.xz", "files!"));
        assert!(find_member(archive.as_bytes(), "data.tar").is_some());
        for end in 0..archive.len() {
            assert!(find_member(&archive.as_bytes()[..end], "data.tar").is_none(), "cut at {end}");
        }
        assert!(find_member(b"<html>not found</html>", "data.tar").is_none());
        let huge = archive.replace("6         `", "9999999999`");
        assert!(find_member(huge.as_bytes(), "data.tar").is_none());
    }
}
