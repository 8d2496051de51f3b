//! Why a file cannot hold an NVRAM.

use std::io;
use std::path::PathBuf;

use arch_ppc64::nvram::MAX_BYTES;

/// A file that cannot be used for an NVRAM.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
#[non_exhaustive]
pub struct NvramFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: NvramFault,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NvramFault {
    /// It cannot be made, opened or asked.
    #[error("{0}")]
    Host(#[from] io::Error),
    /// It is a directory, a device or something else.
    #[error("it is no file of its own, and an NVRAM is kept in one")]
    Kind,
    /// Somebody else has it.
    #[error("it is in use, and two machines would destroy it")]
    InUse,
    /// No NVRAM has so many bytes.
    #[error("it has {bytes} bytes, and an NVRAM has {MAX_BYTES} at most: it is something else")]
    TooLong {
        /// How many it has.
        bytes: u64,
    },
}
