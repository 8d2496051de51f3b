//! Non-volatile memory in a file of the host.

mod error;
mod file;
mod writer;

pub use error::{NvramFault, NvramFileError};
pub use file::NvramFile;

#[cfg(test)]
mod tests;
