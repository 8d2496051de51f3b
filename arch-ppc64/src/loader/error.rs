//! Everything that can be wrong with a program, its initial RAM disk, or the room for them.

use std::fmt;
use std::io;

use super::Source;
use crate::ram::MemoryFault;

/// How many program headers are read at most. Kernels have two, programs of old linkers some ten.
pub(super) const MAX_PROGRAM_HEADERS: usize = 1024;

/// Which of the things that are loaded an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The program: a kernel, or another one.
    Program,
    /// The initial RAM disk.
    Initrd,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "program",
            Self::Initrd => "initrd",
        })
    }
}

impl Part {
    /// As [`Source::size_bytes`], of this part's source.
    pub(crate) fn size_bytes(self, source: &dyn Source) -> Result<u64, LoadError> {
        source.size_bytes().map_err(|error| self.cannot_be_read(error))
    }

    /// As [`Source::read_bytes`], of this part's source.
    pub(super) fn read_bytes(
        self,
        source: &dyn Source,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), LoadError> {
        source.read_bytes(offset, buf).map_err(|error| self.cannot_be_read(error))
    }

    pub(super) fn cannot_be_read(self, error: io::Error) -> LoadError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => LoadError::Shrunk { part: self },
            _ => LoadError::Read { part: self, source: error.into() },
        }
    }
}

/// Why a [`Source`] could not be read, in the host's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadError {
    kind: io::ErrorKind,
    message: String,
}

impl ReadError {
    /// What kind of error it was.
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

/// Why a program cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is nothing in the file.
    #[error("the file is empty; {WANTED}")]
    Empty,
    /// The file is compressed.
    #[error("the file is compressed with {format}; it has to be unpacked first ({WANTED})")]
    Compressed {
        /// Which compression, by its command's name.
        format: &'static str,
    },
    /// The file does not begin as an ELF file does.
    #[error("the file begins with the bytes {} and so is not an ELF file; {WANTED}", hex(.found))]
    NotElf {
        /// Up to four bytes at its begin.
        found: Vec<u8>,
    },
    /// The file has a word size that ELF does not have.
    #[error("the ELF file has class {class}; there are 1 (32 bits) and 2 (64 bits)")]
    Class {
        /// Byte EI_CLASS.
        class: u8,
    },
    /// The program is for other processors.
    #[error("the ELF file is for {}; {WANTED}", machine_name(*.machine, *.bits))]
    Machine {
        /// Field e_machine.
        machine: u16,
        /// 32 or 64.
        bits: u8,
    },
    /// A 32-bit program in the wrong byte order: a client is entered big-endian.
    #[error("the ELF file is 32-bit little-endian; 32-bit programs have to be big-endian")]
    LittleEndian32,
    /// The file was not linked to be run.
    #[error("the ELF file is {}, not a program that was linked to be run", type_name(*.kind))]
    NotProgram {
        /// Field e_type.
        kind: u16,
    },
    /// The program needs an operating system around it.
    #[error("the ELF file is a program for an operating system: it asks for an interpreter")]
    Interpreter,
    /// The file's headers are broken, or it was cut off.
    #[error("the ELF file is damaged or incomplete")]
    Headers,
    /// There are more program headers than any program has.
    #[error("the ELF file has {count} segments; the most is {MAX_PROGRAM_HEADERS}")]
    TooManySegments {
        /// Field e_phnum.
        count: usize,
    },
    /// Nothing is to be loaded.
    #[error("the ELF file has no segments to load")]
    NoSegments,
    /// The bytes of a segment are not in the file.
    #[error(
        "the ELF file is incomplete: segment {index} has {bytes:#x} bytes at {offset:#x}, the \
         file has {file_bytes:#x}"
    )]
    SegmentOutsideFile {
        /// Its number among the program headers.
        index: usize,
        /// Field p_offset.
        offset: u64,
        /// Field p_filesz.
        bytes: u64,
        /// The length of the file.
        file_bytes: u64,
    },
    /// A segment has more bytes in the file than in memory.
    #[error(
        "segment {index} of the ELF file has {file_bytes:#x} bytes in the file but only \
         {memory_bytes:#x} in memory"
    )]
    SegmentSizes {
        /// Its number among the program headers.
        index: usize,
        /// Field p_filesz.
        file_bytes: u64,
        /// Field p_memsz.
        memory_bytes: u64,
    },
    /// A segment reaches beyond the last address.
    #[error("segment {index} of the ELF file has {bytes:#x} bytes at {start:#x}: too many")]
    SegmentWraps {
        /// Its number among the program headers.
        index: usize,
        /// Field p_paddr.
        start: u64,
        /// Field p_memsz.
        bytes: u64,
    },
    /// Two segments want the same memory.
    #[error("two segments of the ELF file overlap at {at:#x}")]
    SegmentsOverlap {
        /// Where the second begins.
        at: u64,
    },
    /// The program does not contain its own first instruction.
    #[error("the entry point {entry:#x} of the ELF file is in none of its segments")]
    EntryOutside {
        /// Field e_entry.
        entry: u64,
    },
    /// The program does not fit into RAM.
    #[error("the program takes memory from {start:#x} to {end:#x}, but RAM ends at {ram_end:#x}")]
    ClientOutsideRam {
        /// Address of its first byte.
        start: u64,
        /// Address after its last byte.
        end: u64,
        /// Where the RAM ends that it would be in, 4 GiB at most: for a kernel the range from 0 on.
        ram_end: u64,
    },
    /// The program was linked where the firmware is.
    #[error(
        "the program is linked at {start:#x}, where the firmware is; the lowest address is \
         {lowest:#x}"
    )]
    ClientOverFirmware {
        /// Address of its first byte.
        start: u64,
        /// The first address that is free.
        lowest: u64,
    },
    /// A program that lives on the client interface cannot start without one.
    #[error("a 32-bit program needs the client interface; without it only a kernel can start")]
    NeedsClientInterface,
    /// The initial RAM disk is empty.
    #[error("the initrd is empty; leave it out or give one that is not")]
    InitrdEmpty,
    /// There is no room for the initial RAM disk.
    #[error(
        "there is no room for an initrd of {bytes} bytes: {low_bytes} bytes are free behind the \
         program, {high_bytes} further up and below 4 GiB"
    )]
    InitrdTooLarge {
        /// Its size.
        bytes: u64,
        /// Room behind the program.
        low_bytes: u64,
        /// Room further up.
        high_bytes: u64,
    },
    /// There is no room for the flat tree or for RTAS.
    #[error("there is no room for {bytes} bytes of {what} below {limit:#x}")]
    NoRoom {
        /// For what.
        what: &'static str,
        /// How much it takes.
        bytes: u64,
        /// Where it would have to end.
        limit: u64,
    },
    /// What is loaded is not what was planned for.
    #[error("an initrd of {given} bytes is to be loaded, {planned} bytes were planned for")]
    OtherInitrd {
        /// What the plan has; 0 for none.
        planned: u64,
        /// What there is; 0 for none.
        given: u64,
    },
    /// What is loaded is not what was planned for.
    #[error("a program of {given} bytes is to be loaded, {planned} bytes were planned for")]
    OtherClient {
        /// What the plan has.
        planned: u64,
        /// What there is.
        given: u64,
    },
    /// What is read became shorter than it was.
    #[error("the {part} became shorter while it was read")]
    Shrunk {
        /// Which one.
        part: Part,
    },
    /// The host cannot read it.
    #[error("cannot read the {part}")]
    Read {
        /// Which one.
        part: Part,
        /// The reason.
        #[source]
        source: ReadError,
    },
    /// RAM is not as large as was said.
    #[error("cannot write to guest memory")]
    Memory(#[from] MemoryFault),
}

impl LoadError {
    /// Which of the two it is about: the program, unless it is the initial RAM disk alone.
    pub fn part(&self) -> Part {
        match self {
            Self::InitrdEmpty | Self::InitrdTooLarge { .. } | Self::OtherInitrd { .. } => {
                Part::Initrd
            }
            Self::Shrunk { part } | Self::Read { part, .. } => *part,
            _ => Part::Program,
        }
    }
}

/// What would be right.
const WANTED: &str = "what can be started is a PowerPC ELF file, 64-bit (such as a vmlinux) or \
                      32-bit big-endian";

/// Bytes as people write them.
fn hex(bytes: &[u8]) -> String {
    let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:#04x}")).collect();
    words.join(" ")
}

/// A processor by its number in e_machine.
fn machine_name(machine: u16, bits: u8) -> String {
    let name = match machine {
        object::elf::EM_386 => "x86",
        object::elf::EM_X86_64 => "x86-64",
        object::elf::EM_ARM => "Arm",
        object::elf::EM_AARCH64 => "AArch64",
        object::elf::EM_RISCV => "RISC-V",
        object::elf::EM_S390 => "S/390",
        object::elf::EM_PPC | object::elf::EM_PPC64 => "PowerPC",
        _ => return format!("processors with number {machine} ({bits}-bit)"),
    };
    format!("{name} ({bits}-bit, number {machine})")
}

/// A kind of file by its number in e_type.
fn type_name(kind: u16) -> String {
    match kind {
        object::elf::ET_REL => "an object file".to_owned(),
        object::elf::ET_CORE => "a core dump".to_owned(),
        _ => format!("of type {kind}"),
    }
}
