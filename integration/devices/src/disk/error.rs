//! Why a file cannot be a disk.

use std::io;
use std::path::PathBuf;

/// A file that cannot be used as a disk.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
#[non_exhaustive]
pub struct DiskError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: DiskFault,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskFault {
    /// It cannot be opened or asked.
    #[error("{0}")]
    Host(#[source] io::Error),
    /// It is a directory or something else that has no blocks.
    #[error("it is {0}, not a disk image or block device")]
    Kind(&'static str),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// There is a part of a sector at its end.
    #[error("its size of {bytes} bytes is not a multiple of {unit}")]
    Size {
        /// How many bytes it has.
        bytes: u64,
        /// What it should be a multiple of: a sector, or what direct I/O needs.
        unit: u64,
    },
    /// It may be read but not written.
    #[error("readonly=on uses it all the same, but it cannot be written: {0}")]
    ReadOnly(#[source] io::Error),
    /// Somebody else has it open in a way that does not go together with this one.
    #[error("{}", in_use(*.to_write))]
    InUse {
        /// Whether this one is to write to it.
        to_write: bool,
    },
    /// It is an image of a format other than raw.
    #[error(
        "it is a {format} image, and only raw images can be used: `qemu-img convert -O raw` makes \
         one, and image_type=raw uses the file as it is"
    )]
    Format {
        /// Which.
        format: &'static str,
    },
    /// It was said to be of a format that there is nothing for.
    #[error("{format} images cannot be used: `qemu-img convert -O raw` makes one that can")]
    Unsupported {
        /// Which.
        format: &'static str,
    },
    /// The file system has no direct I/O.
    #[error("its file system has no direct I/O, which direct=on needs")]
    NoDirectIo,
}

fn in_use(to_write: bool) -> &'static str {
    if to_write {
        "it is in use, and two that write would destroy it; several can read it with readonly=on"
    } else {
        "somebody writes to it"
    }
}
