//! What stands behind the colon of a disk's path: `[partition][,path]`.

use super::LabelError;

/// Which part of a disk is meant (IEEE 1275 §3.8.2, "disk-label" support package, and its practice).
///
/// | arguments | part |
/// | --- | --- |
/// | nothing, `0` | the whole disk |
/// | `2`, `b` | partition 2; letters are those from 1 to 26, in either case |
/// | `2,\boot\vmlinux` | a file on partition 2 |
/// | `,\boot\vmlinux`, `\boot\vmlinux`, `/boot/vmlinux` | a file on the whole disk |
///
/// Either slash separates names, and none in front means the same as one. A path may have commas in
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments {
    partition: Option<u32>,
    path: Option<String>,
}

impl Arguments {
    /// Reads them.
    ///
    /// # Errors
    /// [`LabelError::Arguments`] where what is before the comma is no partition.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let (partition, path) = match text.split_once(',') {
            _ if text.starts_with(['\\', '/']) => ("", text),
            Some(parts) => parts,
            None => (text, ""),
        };
        let path = (!path.is_empty()).then(|| path.to_owned());
        Ok(Self { partition: parse_partition(partition)?, path })
    }

    /// A partition, or the whole disk.
    pub fn of_partition(number: Option<u32>) -> Self {
        Self { partition: number.filter(|&number| number != 0), path: None }
    }

    /// A file on the same partition, or disk.
    #[must_use]
    pub fn with_path(self, path: &str) -> Self {
        Self { path: (!path.is_empty()).then(|| path.to_owned()), ..self }
    }

    /// The number of the partition, from 1; `None` for the whole disk.
    pub const fn partition(&self) -> Option<u32> {
        self.partition
    }

    /// The path of the file as it was written, if there is one.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

fn parse_partition(text: &str) -> Result<Option<u32>, LabelError> {
    match text.as_bytes() {
        [] => Ok(None),
        [letter] if letter.is_ascii_alphabetic() => {
            Ok(Some(u32::from(letter.to_ascii_lowercase() - b'a') + 1))
        }
        digits if digits.iter().all(u8::is_ascii_digit) => {
            let number = text.parse().map_err(|_| LabelError::Arguments)?;
            Ok(Some(number).filter(|&number| number != 0))
        }
        _ => Err(LabelError::Arguments),
    }
}

/// The names of a path; `.` and `..` mean what they always do.
pub(super) fn names(path: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for name in path.split(['\\', '/']) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_partition_and_a_path() {
        for (text, partition, path) in [
            ("", None, None),
            ("0", None, None),
            (",", None, None),
            ("00,", None, None),
            ("1", Some(1), None),
            ("017", Some(17), None),
            ("a", Some(1), None),
            ("Z", Some(26), None),
            ("4294967295", Some(u32::MAX), None),
            ("2,\\boot\\vmlinux", Some(2), Some("\\boot\\vmlinux")),
            ("b,vmlinux", Some(2), Some("vmlinux")),
            ("0,/a,b", None, Some("/a,b")),
            (",\\a", None, Some("\\a")),
            ("\\a\\b", None, Some("\\a\\b")),
            ("/a,b", None, Some("/a,b")),
        ] {
            let arguments = Arguments::parse(text).unwrap();
            assert_eq!((arguments.partition(), arguments.path()), (partition, path), "{text}");
            let number = arguments.partition();
            assert_eq!(Arguments::of_partition(number).with_path(path.unwrap_or("")), arguments);
        }
        for text in ["vmlinux", "-1", "+1", "1x", "aa", " 1", "4294967296", "é", "-,\\a", "1\\a"] {
            assert!(matches!(Arguments::parse(text), Err(LabelError::Arguments)), "{text}");
        }
    }

    #[test]
    fn names_of_a_path_are_between_slashes() {
        assert_eq!(names("\\boot\\grub/core.elf"), ["boot", "grub", "core.elf"]);
        assert_eq!(names("boot//.\\grub\\"), ["boot", "grub"]);
        assert_eq!(names("\\..\\a\\..\\..\\b"), ["b"]);
        assert!(names("\\").is_empty());
    }
}
