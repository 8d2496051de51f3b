//! Debian packages, unpacked with nothing but `tar`: an `ar` archive (ar(5)) whose member
//! `data.tar.*` holds the files (deb(5)).

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::program::ended;

/// Unpacks those files of a package whose paths match one of `patterns` (tar's wildcards, such as
/// `./boot/*`), or all of them where there is no pattern.
pub(crate) fn unpack(package: &Path, folder: &Path, patterns: &[&str]) -> Result<()> {
    let bytes = folders::read(package)?;
    let broken = |why: &str| Failure::new(format!("cannot unpack {}: {why}", package.display()));
    let (name, data) =
        data_member(&bytes).ok_or_else(|| broken("it is not a Debian package, or cut short"))?;
    let filter = match name.rsplit('.').next() {
        Some("xz") => "--xz",
        Some("gz") => "--gzip",
        Some("zst") => "--zstd",
        _ => return Err(broken(&format!("its {name} is compressed in an unknown way"))),
    };
    folders::make(folder)?;
    let mut tar = Command::new("tar")
        .args(["--extract", "--no-same-owner", filter, "--directory"])
        .arg(folder)
        .arg("--wildcards")
        .args(patterns)
        .stdin(Stdio::piped())
        .spawn()
        .attempt(|| "run tar".into())?;
    let mut input = tar.stdin.take().expect("asked for above");
    let written = input.write_all(&bytes[data]);
    drop(input);
    let status = tar.wait().attempt(|| "wait for tar".into())?;
    if !status.success() {
        return Err(broken(&format!("tar {}", ended(status))));
    }
    written.attempt(|| format!("hand {} to tar", package.display()))
}

/// The member with the files: its name and where it is.
fn data_member(archive: &[u8]) -> Option<(&str, Range<usize>)> {
    let mut at = archive.starts_with(b"!<arch>\n").then_some(8)?;
    loop {
        let header = archive.get(at..at + 60)?;
        let name = std::str::from_utf8(&header[..16]).ok()?.trim_end().trim_end_matches('/');
        let size: usize = std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
        let content = at + 60..(at + 60).checked_add(size)?;
        if name.starts_with("data.tar") {
            return (content.end <= archive.len()).then_some((name, content));
        }
        at = content.end.checked_next_multiple_of(2)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &str) -> String {
        let padding = if content.len() % 2 == 1 { "\n" } else { "" };
        let (size, mode) = (content.len(), 100_644);
        format!("{name:<16}{:<12}{:<6}{:<6}{mode:<8}{size:<10}`\n{content}{padding}", 0, 0, 0)
    }

    #[test]
    fn the_files_are_found_behind_the_control_member() {
        let archive = format!(
            "!<arch>\n{}{}{}",
            member("debian-binary", "2.0\n"),
            member("control.tar.xz", "odd"),
            member("data.tar.xz", "files")
        );
        let (name, range) = data_member(archive.as_bytes()).unwrap();
        assert_eq!((name, &archive[range]), ("data.tar.xz", "files"));
    }

    #[test]
    fn what_is_no_package_or_cut_short_has_none() {
        let archive = format!("!<arch>\n{}", member("data.tar.xz", "files!"));
        assert!(data_member(archive.as_bytes()).is_some());
        for end in 0..archive.len() {
            assert!(data_member(&archive.as_bytes()[..end]).is_none(), "cut at {end}");
        }
        assert!(data_member(b"<html>not found</html>").is_none());
        let huge = archive.replace("6         `", "9999999999`");
        assert!(data_member(huge.as_bytes()).is_none());
    }
}
