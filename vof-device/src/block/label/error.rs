//! What becomes of labels that cannot be read.

use std::io;

/// Why there is no such part of a disk.
///
/// What is on a disk is not trusted: whatever it is, one of these or a part of the disk comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The arguments are no `[partition][,path]`.
    #[error("these arguments name no part of a disk")]
    Arguments,
    /// The disk has no partition of this number, or it is not inside of the disk.
    #[error("the disk has no partition {number}")]
    NoPartition {
        /// Its number, from 1.
        number: u32,
    },
    /// There is a file to be found, but neither FAT nor ISO 9660 to find it in.
    #[error("there is no file system that is known")]
    NoFileSystem,
    /// There is no such file.
    #[error("there is no such file")]
    NoFile,
    /// The path names a directory, or what is neither that nor a file that lies on the disk as it
    /// is read.
    #[error("the path names no file that can be read")]
    NotAFile,
    /// The table of partitions or the file system contradicts itself, or says that something is
    /// where the disk is not.
    #[error("{what}")]
    Damaged {
        /// What is wrong with what.
        what: &'static str,
    },
    /// Looking takes more than one of the [limits](crate::limits) allows.
    #[error("{what}")]
    TooMuch {
        /// Of what there is too much.
        what: &'static str,
    },
    /// The disk cannot be read.
    #[error("the disk cannot be read")]
    Read(#[source] io::Error),
}

impl LabelError {
    pub(super) const fn damaged(what: &'static str) -> Self {
        Self::Damaged { what }
    }

    pub(super) const fn too_much(what: &'static str) -> Self {
        Self::TooMuch { what }
    }
}
