//! What a machine starts: kernels and other client programs, and the initial RAM disk.
//!
//! [`Client::parse`] finds out what a file is, [`Placement::plan`] where everything goes, and
//! [`load`] puts it there. These kinds of programs can be started:
//!
//! - an ELF64 `vmlinux`, big- or little-endian, linked at virtual addresses that are not its
//!   physical ones, or at 0. It is position-independent and moves itself to 0, so it goes to
//!   [`KERNEL_BASE`], whatever address it was linked at, and is entered in 64-bit mode;
//! - an ELF64 client program, big- or little-endian, linked at the real addresses where it is to
//!   be. It goes there, and is entered in 64-bit mode;
//! - a big-endian ELF32 client program such as GRUB. It goes where it was linked, and is entered
//!   in 32-bit mode.
//!
//! All are entered big-endian, at the instruction that the entry point is the address of: a
//! little-endian program begins with instructions that mean the same in both byte orders, as Linux
//! does.
//!
//! Notes (PT_NOTE) are not read. What a program says in that of the PowerPC binding (§8.2.1:
//! `real-mode`, `real-base`, `real-size`, `virt-base`, `virt-size`, `load-base`) is how a firmware is
//! to be set up that can be set up: this one is in real mode, at 0, and keeps no copy of the file.
//! The smallest real mode area of `IBM,RPA-Client-Config` is more than programs that have it need.
//!
//! Files are not trusted: every size and address in them is checked. They are not read as a whole
//! either: first the headers, and what fits into RAM then goes straight there ([`GuestRam::fill`]).
//!
//! ```no_run
//! use std::fs::File;
//!
//! use arch_ppc64::loader::{self, Client, Placement, PlanRequest, Source};
//! use arch_ppc64::topology::MemoryMap;
//! use vm_memory::{GuestAddress, GuestMemoryMmap};
//!
//! let (kernel, initrd) = (File::open("vmlinux")?, File::open("initrd.img")?);
//! let memory = MemoryMap::of_size(1 << 30)?;
//! let ranges: Vec<_> = memory.ram().map(|range| (range.start, range.bytes as usize)).collect();
//! let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&ranges)?;
//!
//! let client = Client::parse(&kernel)?;
//! let request = PlanRequest::new(&memory).with_initrd(Some(initrd.size_bytes()?));
//! let placement = Placement::plan(&client, &request)?;
//! loader::load(&client, &placement, Some(&initrd), &ram)?;
//! println!("enter at {:#x}", placement.entry().0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod elf;
mod error;
mod placement;
mod source;

use std::fmt;
use std::ops::Range;

use vm_memory::GuestAddress;

#[cfg(unix)]
use crate::ram::FillError;
use crate::ram::GuestRam;
pub use error::{LoadError, Part, ReadError};
pub use placement::{FIRMWARE_BYTES, KERNEL_BASE, Placement, PlanRequest};
pub use source::Source;

/// A program that can be started.
#[derive(Clone)]
pub struct Client<'a> {
    source: &'a dyn Source,
    kind: ClientKind,
    /// In the order of their addresses, none overlapping another.
    segments: Vec<Segment>,
    /// Address of the first instruction, in the program's own address space.
    entry: u64,
}

/// The kinds of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientKind {
    /// ELF64: a position-independent Linux kernel.
    Kernel {
        /// Whether its own code is little-endian. It is entered big-endian all the same.
        little_endian: bool,
    },
    /// ELF32, big-endian: a program for the client interface, linked at a fixed address.
    Program,
    /// ELF64: a program linked at a fixed real address.
    Program64 {
        /// Whether its own code is little-endian. It is entered big-endian all the same.
        little_endian: bool,
    },
}

/// A part of a program: bytes of the file, then zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// Address in the program's own address space.
    start: u64,
    /// Bytes with the zeros; at least `file_bytes`. `start + bytes` does not wrap.
    bytes: u64,
    /// Where it is in the file.
    offset: u64,
    /// How much of it is in the file. `offset + file_bytes` does not wrap.
    file_bytes: u64,
}

impl Segment {
    fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes
    }
}

impl<'a> Client<'a> {
    /// Reads the headers of an ELF file. The rest of it is read by [`load`].
    ///
    /// # Errors
    /// [`LoadError`] says what was found instead of a program that can be started.
    pub fn parse(source: &'a dyn Source) -> Result<Self, LoadError> {
        elf::parse(source)
    }

    /// What kind of program it is.
    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    /// Whether it is entered in 64-bit mode (MSR.SF = 1).
    pub fn is_64bit(&self) -> bool {
        !matches!(self.kind, ClientKind::Program)
    }

    /// How much memory it takes from its first byte to its last, in bytes, zeros included.
    pub fn bytes(&self) -> u64 {
        let Range { start, end } = self.linked();
        end - start
    }

    /// How many bytes of the file are needed: those up to the end of its last segment.
    pub fn file_bytes(&self) -> u64 {
        let filled = self.segments.iter().filter(|segment| segment.file_bytes != 0);
        filled.map(|segment| segment.offset + segment.file_bytes).max().unwrap_or(0)
    }

    /// The addresses it was linked at.
    fn linked(&self) -> Range<u64> {
        let start = self.segments.first().map_or(0, |first| first.start);
        let end = self.segments.last().map_or(start, |last| last.range().end);
        start..end
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("kind", &self.kind)
            .field("segments", &self.segments)
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}

/// Reads a program and its initial RAM disk to where they were planned to be. What the program
/// expects to be zero becomes zero, so RAM need not be.
///
/// # Errors
/// [`LoadError`] when `client` and `initrd` are not what was planned for, cannot be read to their
/// ends, or RAM is smaller than was said.
pub fn load(
    client: &Client<'_>,
    placement: &Placement,
    initrd: Option<&dyn Source>,
    ram: &dyn GuestRam,
) -> Result<(), LoadError> {
    let planned = placement.initrd().map(|(_, bytes)| bytes);
    let given = initrd.map(|initrd| Part::Initrd.size_bytes(initrd)).transpose()?;
    if planned != given {
        return Err(LoadError::OtherInitrd {
            planned: planned.unwrap_or(0),
            given: given.unwrap_or(0),
        });
    }
    if client.bytes() != placement.client().1 {
        return Err(LoadError::OtherClient {
            planned: placement.client().1,
            given: client.bytes(),
        });
    }
    let base = placement.client().0.0;
    let linked = client.linked().start;
    let mut copier = Copier { ram, buffer: vec![0; PIECE_BYTES] };
    for segment in &client.segments {
        let Segment { start, bytes, offset, file_bytes } = *segment;
        let at = base + (start - linked);
        copier.copy((Part::Program, client.source), offset, at..at + file_bytes)?;
        copier.zero(at + file_bytes..at + bytes)?;
    }
    if let (Some(initrd), Some((at, bytes))) = (initrd, placement.initrd()) {
        copier.copy((Part::Initrd, initrd), 0, at.0..at.0 + bytes)?;
    }
    Ok(())
}

/// How much is read at once.
const PIECE_BYTES: usize = 128 << 10;

/// Brings bytes into RAM, piece by piece.
struct Copier<'a> {
    ram: &'a dyn GuestRam,
    buffer: Vec<u8>,
}

impl Copier<'_> {
    fn copy(
        &mut self,
        (part, source): (Part, &dyn Source),
        mut offset: u64,
        to: Range<u64>,
    ) -> Result<(), LoadError> {
        #[cfg(unix)]
        if let Some(file) = source.file() {
            let filled = self.ram.fill(GuestAddress(to.start), to.end - to.start, file, offset);
            return filled.map_err(|error| match error {
                FillError::Ram(fault) => fault.into(),
                FillError::File(error) => part.cannot_be_read(error),
            });
        }
        self.each_piece(to, |ram, at, piece| {
            part.read_bytes(source, offset, piece)?;
            offset += piece.len() as u64;
            Ok(ram.write(at, piece)?)
        })
    }

    fn zero(&mut self, to: Range<u64>) -> Result<(), LoadError> {
        self.buffer.fill(0);
        self.each_piece(to, |ram, at, piece| Ok(ram.write(at, piece)?))
    }

    fn each_piece(
        &mut self,
        to: Range<u64>,
        mut write: impl FnMut(&dyn GuestRam, GuestAddress, &mut [u8]) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let mut at = to.start;
        while at < to.end {
            let count = (to.end - at).min(PIECE_BYTES as u64);
            let piece = self.buffer.get_mut(..count as usize).unwrap_or_default();
            write(self.ram, GuestAddress(at), piece)?;
            at += count;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
