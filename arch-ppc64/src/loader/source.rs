//! Where the bytes of a program and of an initial RAM disk come from.

use std::io;

/// Bytes that can be read from any place, again and again: a file, or what is in memory already.
///
/// They are read where they are needed and as far as they are needed, so that a file's length
/// alone costs nothing. A source is not trusted: its bytes and its length may change at any time.
///
/// ```
/// use arch_ppc64::loader::{Client, LoadError, Source};
///
/// let script: &[u8] = b"#!/bin/sh\n";
/// assert!(matches!(Client::parse(&script), Err(LoadError::NotElf { .. })));
/// let file = std::fs::File::open(std::env::current_exe()?)?;
/// assert!(Source::size_bytes(&file)? > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Source: Send + Sync {
    /// How many bytes there are.
    ///
    /// # Errors
    /// The host's, or that this is nothing that has a size.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// The host's, or [`io::ErrorKind::UnexpectedEof`] where there are not so many.
    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The file that it is, where it is one, byte for byte: RAM can be [filled](crate::GuestRam::fill)
    /// from that with fewer copies.
    #[cfg(unix)]
    fn file(&self) -> Option<&std::fs::File> {
        None
    }
}

impl Source for &[u8] {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let bytes = rest.and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn size_bytes(&self) -> io::Result<u64> {
        self.as_slice().size_bytes()
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_bytes(offset, buf)
    }
}

/// A regular file. Others, such as pipes and devices, have no size or cannot be read twice.
#[cfg(unix)]
impl Source for std::fs::File {
    fn size_bytes(&self) -> io::Result<u64> {
        let metadata = self.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(metadata.len())
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buf, offset)
    }

    fn file(&self) -> Option<&std::fs::File> {
        Some(self)
    }
}
