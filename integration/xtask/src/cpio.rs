//! Initial RAM disks: archives in the "newc" form that the kernel unpacks
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! The same content makes the same bytes: no times, no owners, inodes counted from 1.

use std::fmt::Write;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that is being written.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an empty folder. Folders come before what is in them.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a file that everybody may read.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o644, (0, 0), content);
    }

    /// Adds a file that everybody may read and run.
    pub(crate) fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o755, (0, 0), content);
    }

    /// Adds a character device for the owner.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// The archive, whole.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        let trailer = mode == 0;
        self.entries += u32::from(!trailer);
        let header = [
            if trailer { 0 } else { self.entries },
            mode,
            0, // user
            0, // group
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
