//! Archives of files: what packages hold, and what guests give back. POSIX.1-1988 ("ustar"), with
//! GNU's entries for long names (GNU tar manual, "Basic Tar Format"), as deb(5) allows it.

use crate::access::Access;
use crate::failure::{Failure, Result};

const BLOCK_BYTES: usize = 512;

/// Something in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Where it is, from the root, without a slash at either end. The root's is empty.
    pub(crate) path: String,
    pub(crate) access: Access,
    pub(crate) kind: Kind<'a>,
}

/// What it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Folder,
    File(&'a [u8]),
    /// A symbolic link to what its text says.
    Symlink(String),
    /// Another name of a file that came before, by its path.
    Hardlink(String),
}

/// All that is in an archive, in its order.
pub(crate) fn entries(archive: &[u8]) -> Result<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    let mut rest = archive;
    let (mut long_name, mut long_link) = (None, None);
    loop {
        let header = rest.get(..BLOCK_BYTES).ok_or_else(|| broken("it is cut short"))?;
        if header.iter().all(|&byte| byte == 0) {
            return Ok(entries);
        }
        if octal(&header[148..156]) != Some(checksum(header)) {
            return Err(broken("a header has a wrong checksum"));
        }
        let field = |from: usize, to: usize| {
            octal(&header[from..to]).ok_or_else(|| broken("a header has a wrong number"))
        };
        let size = field(124, 136)? as usize;
        let content = BLOCK_BYTES..BLOCK_BYTES + size;
        let next = content.end.next_multiple_of(BLOCK_BYTES);
        let content = rest.get(content).ok_or_else(|| broken("it is cut short"))?;
        rest = rest.get(next..).ok_or_else(|| broken("it is cut short"))?;
        let link = |long: Option<String>| long.unwrap_or_else(|| text(&header[157..257]));
        let kind = match header[156] {
            b'L' => {
                long_name = Some(text(content));
                continue;
            }
            b'K' => {
                long_link = Some(text(content));
                continue;
            }
            b'0' | 0 => Kind::File(content),
            b'1' => Kind::Hardlink(plain(&link(long_link.take()))),
            b'2' => Kind::Symlink(link(long_link.take())),
            b'5' => Kind::Folder,
            other => {
                return Err(broken(&format!("it has an entry of kind {:?}", char::from(other))));
            }
        };
        let path = plain(&long_name.take().unwrap_or_else(|| name(header)));
        if path.split('/').any(|part| part == "..") {
            return Err(broken(&format!("{path} is outside")));
        }
        let (mode, uid, gid) = (field(100, 108)? & 0o7777, field(108, 116)?, field(116, 124)?);
        entries.push(Entry { path, access: Access { mode, uid, gid }, kind });
    }
}

fn broken(why: &str) -> Failure {
    Failure::new(format!("cannot read an archive of files: {why}"))
}

/// A name, in POSIX's two parts.
fn name(header: &[u8]) -> String {
    let name = text(&header[..100]);
    // GNU's own form has other things there.
    match text(&header[345..500]) {
        prefix if header[257..263] == *b"ustar\0" && !prefix.is_empty() => {
            format!("{prefix}/{name}")
        }
        _ => name,
    }
}

/// A text that ends at a zero, or with its field.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// `./usr/bin/` as `usr/bin`.
fn plain(path: &str) -> String {
    let inside = path.strip_prefix('.').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    inside.unwrap_or(path).trim_matches('/').to_owned()
}

/// An octal number between blanks or zeros. No number is none.
fn octal(field: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(field).ok()?;
    match text.trim_matches(|c| c == ' ' || c == '\0') {
        "" => Some(0),
        digits => u32::from_str_radix(digits, 8).ok(),
    }
}

/// The sum of the header's bytes, its own field taken for blanks.
fn checksum(header: &[u8]) -> u32 {
    let blank = |at: usize| (148..156).contains(&at);
    let bytes = header.iter().enumerate();
    bytes.map(|(at, &byte)| u32::from(if blank(at) { b' ' } else { byte })).sum()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::folders::{self, TemporaryFolder};

    /// What tar(1) makes of some files.
    fn archive(format: &str, script: &str) -> Vec<u8> {
        let name = format!("xtask-tar-{format}-test");
        let folder = TemporaryFolder::make(&std::env::temp_dir(), &name).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).current_dir(folder.path());
        assert!(shell.status().unwrap().success());
        let file = folder.path().join("archive.tar");
        let mut tar = Command::new("tar");
        tar.args([
            "--create",
            "--sort=name",
            "--owner=3",
            "--group=4",
            "--format",
            format,
            "--file",
        ]);
        tar.arg(&file).args(["--directory", "files", "."]).current_dir(folder.path());
        assert!(tar.status().unwrap().success());
        folders::read(&file).unwrap()
    }

    #[test]
    fn what_tar_packs_is_read() {
        let deep = format!("{0}/{0}/{0}", "d".repeat(50));
        // Only one of the forms has room for a long link.
        for (format, to) in [("gnu", deep.as_str()), ("ustar", "a")] {
            let script = format!(
                "mkdir -p files/{deep}; cd files; printf hello >a; chmod 4751 a; ln a b; ln -s {to} \
                 l; printf deep >{deep}/{}",
                "f".repeat(40)
            );
            let bytes = archive(format, &script);
            let entries = entries(&bytes).unwrap();
            let find = |path: &str| entries.iter().find(|entry| entry.path == path).unwrap();
            assert_eq!(find("").kind, Kind::Folder);
            let Entry { access, kind, .. } = find("a");
            assert_eq!(*access, Access { mode: 0o4751, uid: 3, gid: 4 });
            assert_eq!(*kind, Kind::File(b"hello"));
            assert_eq!(find("b").kind, Kind::Hardlink("a".into()));
            assert_eq!(find("l").kind, Kind::Symlink(to.into()));
            let file = find(&format!("{deep}/{}", "f".repeat(40)));
            assert_eq!(file.kind, Kind::File(b"deep"));
        }
    }

    #[test]
    fn what_is_cut_short_or_changed_is_refused() {
        let bytes = archive("v7", "mkdir files; printf hello >files/a");
        assert_eq!(entries(&bytes).unwrap().len(), 2);
        for end in [0, 1, 511, 512, 1024, 1300] {
            assert!(entries(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut changed = bytes.clone();
        changed[0] ^= 1;
        assert!(entries(&changed).is_err());
    }
}
