//! What a machine starts: kernels and other client programs, and the initial RAM disk.
//!
//! [`Client::parse`] finds out what a file is, [`Placement::plan`] where everything goes, and
//! [`load`] puts it there. Two kinds of programs can be started:
//!
//! - an ELF64 `vmlinux`, big- or little-endian. It is position-independent and moves itself to 0,
//!   so it goes to [`KERNEL_BASE`], whatever address it was linked at, and is entered in 64-bit
//!   mode;
//! - a big-endian ELF32 client program such as GRUB. It goes where it was linked, and is entered
//!   in 32-bit mode.
//!
//! Files are not trusted: every size and address in them is checked.
//!
//! ```no_run
//! use arch_ppc64::loader::{self, Client, Placement, PlanRequest};
//! use vm_memory::{GuestAddress, GuestMemoryMmap};
//!
//! let (kernel, initrd) = (std::fs::read("vmlinux")?, std::fs::read("initrd.img")?);
//! let ram_bytes = 1 << 30;
//! let ram: GuestMemoryMmap =
//!     GuestMemoryMmap::from_ranges(&[(GuestAddress(0), ram_bytes as usize)])?;
//!
//! let client = Client::parse(&kernel)?;
//! let initrd_bytes = Some(initrd.len() as u64);
//! let request = PlanRequest { ram_bytes, initrd_bytes, ..PlanRequest::default() };
//! let placement = Placement::plan(&client, &request)?;
//! loader::load(&client, &placement, Some(&initrd), &ram)?;
//! println!("enter at {:#x}", placement.entry().0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod elf;
mod error;
mod placement;

use std::ops::Range;

use vm_memory::GuestAddress;

use crate::ram::GuestRam;
pub use error::LoadError;
pub use placement::{FIRMWARE_BYTES, KERNEL_BASE, Placement, PlanRequest};

/// A program that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client<'a> {
    kind: ClientKind,
    /// In the order of their addresses, none overlapping another.
    segments: Vec<Segment<'a>>,
    /// Address of the first instruction, in the program's own address space.
    entry: u64,
}

/// The kinds of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// ELF64: a position-independent Linux kernel.
    Kernel {
        /// Whether its own code is little-endian. It is entered big-endian all the same.
        little_endian: bool,
    },
    /// ELF32, big-endian: a program for the client interface, linked at a fixed address.
    Program,
}

/// A part of a program: bytes of the file, then zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment<'a> {
    /// Address in the program's own address space.
    start: u64,
    /// Bytes with the zeros; at least as many as in `data`. `start + bytes` does not wrap.
    bytes: u64,
    data: &'a [u8],
}

impl Segment<'_> {
    fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes
    }
}

impl<'a> Client<'a> {
    /// Reads the headers of an ELF file; the client borrows the file's contents.
    ///
    /// # Errors
    /// [`LoadError`] says what was found instead of a program that can be started.
    pub fn parse(file: &'a [u8]) -> Result<Self, LoadError> {
        elf::parse(file)
    }

    /// What kind of program it is.
    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    /// Whether it is entered in 64-bit mode (MSR.SF = 1).
    pub fn is_64bit(&self) -> bool {
        matches!(self.kind, ClientKind::Kernel { .. })
    }

    /// How much memory it takes from its first byte to its last, in bytes, zeros included.
    pub fn bytes(&self) -> u64 {
        let Range { start, end } = self.linked();
        end - start
    }

    /// The addresses it was linked at.
    fn linked(&self) -> Range<u64> {
        let start = self.segments.first().map_or(0, |first| first.start);
        let end = self.segments.last().map_or(start, |last| last.range().end);
        start..end
    }
}

/// Copies a program and its initial RAM disk to where they were planned to be. What the program
/// expects to be zero becomes zero, so RAM need not be.
///
/// # Errors
/// [`LoadError`] when `client` and `initrd` are not what was planned for, or RAM is smaller than
/// was said.
pub fn load(
    client: &Client<'_>,
    placement: &Placement,
    initrd: Option<&[u8]>,
    ram: &dyn GuestRam,
) -> Result<(), LoadError> {
    let planned = placement.initrd().map(|(_, bytes)| bytes);
    let given = initrd.map(|data| data.len() as u64);
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
    for segment in &client.segments {
        let at = base + (segment.start - linked);
        ram.write(GuestAddress(at), segment.data)?;
        zero(ram, at + segment.data.len() as u64..at + segment.bytes)?;
    }
    if let (Some(data), Some((at, _))) = (initrd, placement.initrd()) {
        ram.write(at, data)?;
    }
    Ok(())
}

fn zero(ram: &dyn GuestRam, range: Range<u64>) -> Result<(), LoadError> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = range.start;
    while at < range.end {
        let count = (range.end - at).min(ZEROS.len() as u64);
        ram.write(GuestAddress(at), ZEROS.get(..count as usize).unwrap_or(&ZEROS))?;
        at += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
