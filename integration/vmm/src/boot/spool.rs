//! What comes out of a pipe, kept: it is read but once, and a machine is started again and again.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use arch_ppc64::loader::Source;

use crate::host_file::{self, Pipe};
use crate::locks::lock;

/// A pipe that is read as far as somebody wants its bytes, and a file in memory that keeps them.
#[derive(Debug)]
pub(super) struct Spool {
    kept: File,
    /// The most that is kept.
    most: u64,
    pipe: Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    pipe: Pipe,
    bytes: u64,
}

/// How much is read at once: what fits into a pipe.
const PIECE_BYTES: u64 = 64 << 10;

impl Spool {
    /// Keeps no more than `most` bytes.
    pub(super) fn new(pipe: Pipe, most: u64) -> io::Result<Self> {
        let kept = host_file::without_a_name(c"pseries-payload", 0)?;
        Ok(Self { kept, most, pipe: Mutex::new(Reading { pipe, bytes: 0 }) })
    }

    /// Reads until there are `bytes` bytes in all, or no more come; how many there are then.
    pub(super) fn keep(&self, bytes: u64) -> io::Result<u64> {
        let mut reading = lock(&self.pipe);
        let mut piece = vec![0; PIECE_BYTES as usize];
        while reading.bytes < bytes {
            let count = match reading.pipe.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if reading.bytes + count as u64 > self.most {
                return Err(io::Error::new(
                    ErrorKind::FileTooLarge,
                    format!("more than {} bytes come from it, which is more than fits", self.most),
                ));
            }
            self.kept.write_all_at(&piece[..count], reading.bytes)?;
            reading.bytes += count as u64;
        }
        Ok(reading.bytes)
    }

    /// What is kept; nobody reads the pipe any more.
    pub(super) fn into_file(self) -> File {
        self.kept
    }
}

/// For a program's headers, which tell how much of it is needed.
impl Source for Spool {
    fn size_bytes(&self) -> io::Result<u64> {
        // As much as may come.
        Ok(u64::MAX)
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        if end > self.most || self.keep(end)? < end {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.kept.read_exact_at(buf, offset)
    }
}
