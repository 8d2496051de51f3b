//! Initial RAM disks: archives in the "newc" form that the kernel unpacks
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! The same content makes the same bytes: no times, inodes counted from 1.

use std::fmt::Write;

use crate::access::Access;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// What is root's, and everybody may read and run.
const FOR_ALL: Access = Access::of_root(0o755);

/// An archive that is being written.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an empty folder. Folders come before what is in them.
    pub(crate) fn folder(&mut self, path: &str) {
        self.folder_of(path, FOR_ALL);
    }

    /// Adds an empty folder that is somebody's.
    pub(crate) fn folder_of(&mut self, path: &str, access: Access) {
        self.entry(path, DIRECTORY, access, (0, 0), &[]);
    }

    /// Adds a file that is somebody's.
    pub(crate) fn file_of(&mut self, path: &str, access: Access, content: &[u8]) {
        self.entry(path, FILE, access, (0, 0), content);
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, to: &str) {
        self.entry(path, SYMLINK, Access::of_root(0o777), (0, 0), to.as_bytes());
    }

    /// Adds a file that everybody may read.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.file_of(path, Access::of_root(0o644), content);
    }

    /// Adds a file that everybody may read and run.
    pub(crate) fn program(&mut self, path: &str, content: &[u8]) {
        self.file_of(path, FOR_ALL, content);
    }

    /// Adds a character device for the owner.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        let owners = Access::of_root(0o600);
        self.entry(path, CHARACTER_DEVICE, owners, (major, minor), &[]);
    }

    /// The archive, whole.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, Access::of_root(0), (0, 0), &[]);
        self.bytes
    }

    fn entry(
        &mut self,
        path: &str,
        kind: u32,
        access: Access,
        (major, minor): (u32, u32),
        content: &[u8],
    ) {
        let trailer = kind == 0;
        self.entries += u32::from(!trailer);
        let header = [
            if trailer { 0 } else { self.entries },
            kind | access.mode,
            access.uid,
            access.gid,
            1, // links
            0, // time of change
            // More than 4 GiB is refused before it comes here: no machine would load it.
            u32::try_from(content.len()).expect("a file for an initial RAM disk is below 4 GiB"),
            0, // device of the file, major
            0, // and minor
            major,
            minor,
            u32::try_from(path.len() + 1).expect("a path is short"),
            0, // checksum, of another form
        ];
        let mut text = String::from("070701");
        for field in header {
            // Writing to a String cannot fail.
            let _ = write!(text, "{field:08X}");
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_header_name_and_content_each_padded_to_four() {
        let mut archive = Archive::default();
        archive.program("init", b"hello");
        let bytes = archive.finish();
        let header = concat!(
            "070701", "00000001", "000081ED", "00000000", "00000000", "00000001", "00000000",
            "00000005", "00000000", "00000000", "00000000", "00000000", "00000005", "00000000",
        );
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..124], b"init\0\0hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    }

    #[test]
    fn what_is_somebodys_says_whose_and_links_say_whither() {
        let mut archive = Archive::default();
        archive.file_of("x", Access { mode: 0o4751, uid: 16, gid: 3 }, b"");
        archive.symlink("l", "to");
        let bytes = archive.finish();
        assert_eq!(&bytes[14..38], b"000089E90000001000000003");
        assert_eq!(&bytes[126..134], b"0000A1FF");
        assert_eq!(&bytes[222..228], b"l\0to\0\0");
    }

    #[test]
    fn devices_carry_their_numbers_and_the_trailer_counts_nothing() {
        let mut archive = Archive::default();
        archive.folder("dev");
        archive.character_device("dev/console", 5, 1);
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let console = text.find("dev/console").unwrap() - 110;
        assert_eq!(&text[console + 6..console + 22], "0000000200002180");
        assert_eq!(&text[console + 78..console + 94], "0000000500000001");
        let trailer = text.find("TRAILER!!!").unwrap() - 110;
        assert_eq!(&text[trailer + 6..trailer + 22], "0000000000000000");
    }
}
