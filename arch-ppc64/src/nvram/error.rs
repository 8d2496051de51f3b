//! Why an NVRAM cannot be, or cannot take what it is given.

use std::io;

use super::{MAX_BYTES, MIN_BYTES};

/// An NVRAM that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NvramError {
    /// It cannot have this size.
    #[error(
        "an NVRAM cannot have {bytes} bytes: it has {MIN_BYTES} to {MAX_BYTES}, in blocks of 16"
    )]
    Size {
        /// How many were asked for.
        bytes: usize,
    },
    /// What was kept of it cannot be read.
    #[error("what was kept cannot be read")]
    Load(#[source] io::Error),
    /// What was kept is no content of this NVRAM, and there is no other place to keep it at or no
    /// way to begin anew.
    #[error("{reason}, and it cannot begin anew")]
    Renew {
        /// What is wrong with it.
        reason: Damage,
        /// Why it is left as it is.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with the content of an NVRAM, or with what is to become it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// There is nothing in it.
    #[error("the NVRAM is blank")]
    Blank,
    /// It has another size than the NVRAM.
    #[error("the content has {found} bytes, and the NVRAM {expected}")]
    Size {
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// The header of a partition is not what its checksum says (LoPAPR §8.2).
    #[error("the partition at {at:#x} has the checksum {found:#04x}, not {expected:#04x}")]
    Checksum {
        /// Where the partition begins.
        at: usize,
        /// The checksum that it has.
        found: u8,
        /// The one that its header has.
        expected: u8,
    },
    /// "A length of zero is invalid" (LoPAPR §8.2), and so is one behind the end.
    #[error("the partition at {at:#x} cannot have {blocks} blocks of 16 bytes")]
    Length {
        /// Where the partition begins.
        at: usize,
        /// How many blocks it says that it has.
        blocks: u16,
    },
    /// "Every system NVRAM must contain a System NVRAM partition with the NVRAM partition name =
    /// common" (R1-8.4.1-1).
    #[error("there is no partition for configuration variables (\"common\")")]
    NoCommon,
}

/// A configuration variable that cannot be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VariableError {
    /// It is no name of a variable (LoPAPR §8.4.1.1.1).
    #[error("a variable cannot have such a name")]
    Name,
    /// The partition `common` has no room for it.
    #[error("there is no room for it: it takes {needed} bytes, and {room} are free")]
    Room {
        /// How many bytes it takes.
        needed: usize,
        /// How many there are, those of its value until now among them.
        room: usize,
    },
    /// The guest has destroyed the partitions.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// It cannot be kept.
    #[error("it cannot be kept")]
    Store(#[from] io::Error),
}
