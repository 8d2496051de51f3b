//! Programs made by hand: found out, placed, loaded.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::GuestMemoryMmap;

use super::*;
use crate::loader;
use crate::topology::{MemoryMap, MemoryRange};

const MIB: u64 = 1 << 20;
const EM_PPC: u16 = 20;
const EM_PPC64: u16 = 21;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;

/// A segment for [`Elf`]: its contents follow the headers, in order.
#[derive(Clone)]
struct Part {
    kind: u32,
    vaddr: u64,
    paddr: u64,
    data: Vec<u8>,
    memory_bytes: u64,
}

impl Part {
    fn new(address: u64, data: &[u8], memory_bytes: u64) -> Self {
        Self { kind: PT_LOAD, vaddr: address, paddr: address, data: data.to_vec(), memory_bytes }
    }
}

/// An ELF file to be written.
#[derive(Clone)]
pub(crate) struct Elf {
    is_64: bool,
    little: bool,
    machine: u16,
    kind: u16,
    entry: u64,
    parts: Vec<Part>,
}

impl Elf {
    /// A kernel as Linux links it: at 0xc000_0000_0000_0000, loaded at 0, `memory_bytes` large.
    pub(crate) fn kernel(memory_bytes: u64) -> Self {
        let mut text = Part::new(0, b"text", 0x1000);
        text.vaddr = 0xc000_0000_0000_0000;
        let mut data = Part::new(0x2000, b"data and bss", memory_bytes - 0x2000);
        data.vaddr = 0xc000_0000_0000_2000;
        Self {
            is_64: true,
            little: true,
            machine: EM_PPC64,
            kind: 3,
            entry: 0xc000_0000_0000_0000,
            parts: vec![text, data],
        }
    }

    /// A client program linked at 2 MiB, as GRUB is.
    pub(crate) fn program() -> Self {
        Self {
            is_64: false,
            little: false,
            machine: EM_PPC,
            kind: 2,
            entry: 0x20_0010,
            parts: vec![Part::new(0x20_0000, &[0x11; 0x40], 0x3_0000)],
        }
    }

    /// The same linked at 32 MiB, in 64 bits.
    pub(crate) fn program_64(little: bool) -> Self {
        Self {
            is_64: true,
            little,
            machine: EM_PPC64,
            kind: 2,
            entry: 0x200_0010,
            parts: vec![Part::new(0x200_0000, &[0x11; 0x40], 0x3_0000)],
        }
    }

    fn number(&self, value: u64, bytes: usize) -> Vec<u8> {
        if self.little {
            value.to_le_bytes()[..bytes].to_vec()
        } else {
            value.to_be_bytes()[8 - bytes..].to_vec()
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let word = if self.is_64 { 8 } else { 4 };
        let (header, program_header) = if self.is_64 { (64, 56) } else { (52, 32) };
        let mut file = vec![0x7f, b'E', b'L', b'F', word as u8 / 4, 2 - u8::from(self.little), 1];
        file.resize(16, 0);
        let fields = [
            (u64::from(self.kind), 2),
            (self.machine.into(), 2),
            (1, 4),
            (self.entry, word),
            (header, word),
            (0, word),
            (0, 4),
            (header, 2),
            (program_header, 2),
            (self.parts.len() as u64, 2),
            (0, 2),
            (0, 2),
            (0, 2),
        ];
        file.extend(fields.iter().flat_map(|&(value, bytes)| self.number(value, bytes)));
        let mut offset = header + program_header * self.parts.len() as u64;
        for part in &self.parts {
            let flags = (7, 4);
            let mut fields = vec![
                (u64::from(part.kind), 4),
                (offset, word),
                (part.vaddr, word),
                (part.paddr, word),
                (part.data.len() as u64, word),
                (part.memory_bytes, word),
                (0x1_0000, word),
            ];
            // The flags are at another place in each class.
            fields.insert(if self.is_64 { 1 } else { 6 }, flags);
            file.extend(fields.iter().flat_map(|&(value, bytes)| self.number(value, bytes)));
            offset += part.data.len() as u64;
        }
        file.extend(self.parts.iter().flat_map(|part| part.data.clone()));
        file
    }
}

fn refused(file: &[u8]) -> LoadError {
    Client::parse(&file).unwrap_err()
}

fn plan(elf: &Elf, request: PlanRequest<'_>) -> Result<Placement, LoadError> {
    let file = elf.bytes();
    Placement::plan(&Client::parse(&file).unwrap(), &request)
}

fn map(ram_bytes: u64) -> MemoryMap {
    MemoryMap::of_size(ram_bytes).unwrap()
}

fn with_initrd(memory: &MemoryMap, initrd_bytes: u64) -> PlanRequest<'_> {
    PlanRequest::new(memory).with_initrd(Some(initrd_bytes))
}

#[test]
fn kernels_of_both_byte_orders_are_known() {
    for little in [true, false] {
        let file = Elf { little, ..Elf::kernel(0x10_0000) }.bytes();
        let client = Client::parse(&file).unwrap();
        assert_eq!(client.kind(), ClientKind::Kernel { little_endian: little });
        assert!(client.is_64bit());
        assert_eq!(client.bytes(), 0x10_0000);
    }
}

#[test]
fn program_is_known() {
    let file = Elf::program().bytes();
    let client = Client::parse(&file).unwrap();
    assert_eq!(client.kind(), ClientKind::Program);
    assert!(!client.is_64bit());
    assert_eq!(client.bytes(), 0x3_0000);
}

#[test]
fn what_is_no_program_is_named() {
    for (file, words) in [
        (b"".as_slice(), "empty"),
        (b"\x1f\x8b\x08\0rest", "gzip"),
        (b"\xfd7zXZ\0rest", "xz"),
        (b"\x28\xb5\x2f\xfdrest", "zstd"),
        (b"MZ", "0x4d 0x5a"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF", "class 0"),
        (b"\x7fELF\x03\x01\x01", "class 3"),
        (b"\x7fELF\x02\x01\x01", "damaged or incomplete"),
    ] {
        let message = refused(file).to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn other_programs_are_named() {
    let kernel = Elf::kernel(0x10_0000);
    let mut interpreted = kernel.clone();
    interpreted.parts.push(Part { kind: PT_INTERP, ..Part::new(0, b"/lib/ld.so\0", 11) });
    for (elf, words) in [
        (Elf { machine: 62, ..kernel.clone() }, "x86-64 (64-bit, number 62)"),
        (Elf { machine: 183, ..kernel.clone() }, "AArch64"),
        (Elf { machine: 9999, ..kernel.clone() }, "number 9999"),
        (Elf { machine: EM_PPC, ..kernel.clone() }, "PowerPC (64-bit, number 20)"),
        (Elf { machine: EM_PPC64, ..Elf::program() }, "PowerPC (32-bit, number 21)"),
        (Elf { little: true, ..Elf::program() }, "little-endian"),
        (Elf { kind: 1, ..kernel.clone() }, "object file"),
        (Elf { kind: 4, ..kernel.clone() }, "core dump"),
        (interpreted, "interpreter"),
        (Elf { parts: vec![], ..kernel.clone() }, "no segments"),
        (Elf { parts: vec![Part::new(0, &[], 0)], ..kernel.clone() }, "no segments"),
        (Elf { entry: 0xc000_0000_0100_0000, ..kernel.clone() }, "0xc000000001000000"),
        (Elf { entry: 0, ..kernel }, "entry point 0x0"),
    ] {
        let message = refused(&elf.bytes()).to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn segments_are_checked() {
    let with = |change: fn(&mut Part)| {
        let mut elf = Elf::kernel(0x10_0000);
        change(&mut elf.parts[1]);
        refused(&elf.bytes())
    };
    assert_eq!(
        with(|part| part.memory_bytes = 1),
        LoadError::SegmentSizes { index: 1, file_bytes: 12, memory_bytes: 1 }
    );
    assert_eq!(
        with(|part| part.paddr = u64::MAX - 15),
        LoadError::SegmentWraps { index: 1, start: u64::MAX - 15, bytes: 0xf_e000 }
    );
    assert_eq!(with(|part| part.paddr = 0xfff), LoadError::SegmentsOverlap { at: 0xfff });
}

#[test]
fn order_of_the_segments_does_not_matter() {
    let elf = Elf::kernel(0x10_0000);
    let mut turned = elf.clone();
    turned.parts.reverse();
    let map = map(64 * MIB);
    let request = with_initrd(&map, 1);
    assert_eq!(plan(&turned, request), plan(&elf, request));
}

#[test]
fn segments_that_are_not_loaded_do_not_matter() {
    let mut elf = Elf::kernel(0x10_0000);
    elf.parts.push(Part { kind: PT_NOTE, ..Part::new(u64::MAX, b"PowerPC\0", 1) });
    elf.parts.push(Part::new(u64::MAX, b"", 0));
    let placement = plan(&elf, with_initrd(&map(64 * MIB), 1)).unwrap();
    assert_eq!(placement.client(), (KERNEL_BASE, 0x10_0000));
}

/// A source that says how long it is, has other bytes, and tells how far it was read.
struct Odd {
    bytes: Vec<u8>,
    says: u64,
    /// What reads of more than the bytes lead to.
    fails: io::ErrorKind,
    read_to: AtomicU64,
}

impl Odd {
    fn new(bytes: Vec<u8>) -> Self {
        let says = bytes.len() as u64;
        Self { bytes, says, fails: io::ErrorKind::UnexpectedEof, read_to: AtomicU64::new(0) }
    }

    fn read_to(&self) -> u64 {
        self.read_to.load(Ordering::Relaxed)
    }
}

impl Source for Odd {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.says)
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_to.fetch_max(offset + buf.len() as u64, Ordering::Relaxed);
        self.bytes.read_bytes(offset, buf).map_err(|_| self.fails.into())
    }
}

/// What is no program is found out from its first bytes, and a program is planned for from its
/// headers, however long a file says that it is.
#[test]
fn no_more_is_read_than_has_to_be_looked_at() {
    let mut zeros = Odd::new(vec![0; 64]);
    zeros.says = 1 << 40;
    let error = Client::parse(&zeros).unwrap_err();
    assert_eq!(error, LoadError::NotElf { found: vec![0; 4] });
    assert!(zeros.read_to() <= 16);
    let mut long = Odd::new(Elf::kernel(0x10_0000).bytes());
    long.says = 1 << 40;
    let client = Client::parse(&long).unwrap();
    Placement::plan(&client, &with_initrd(&map(64 * MIB), 1)).unwrap();
    assert_eq!(long.read_to(), 64 + 2 * 56);
    // Two segments: "text", "data and bss".
    assert_eq!(client.file_bytes(), 64 + 2 * 56 + 4 + 12);
}

/// However many program headers a file says that it has.
#[test]
fn tables_of_headers_have_a_limit() {
    let with = |count: usize| {
        let mut elf = Elf::kernel(0x10_0000);
        elf.parts.resize(count, Part { kind: PT_NOTE, ..Part::new(0, b"", 0) });
        elf.bytes()
    };
    assert!(Client::parse(&with(1024)).is_ok());
    for count in [1025, 0xffff] {
        let file = Odd::new(with(count));
        let error = Client::parse(&file).unwrap_err();
        assert_eq!(error, LoadError::TooManySegments { count });
        assert!(file.read_to() <= 64);
    }
}

/// A file that is shorter than it was, or that the host cannot read: an error, wherever it ends.
#[test]
fn what_cannot_be_read_to_its_end_is_told() {
    let ram: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 * MIB as usize)]).unwrap();
    let whole = Elf::kernel(0x1_0000).bytes();
    let placement = plan(&Elf::kernel(0x1_0000), with_initrd(&map(16 * MIB), 6)).unwrap();
    let initrd: &dyn Source = &b"initrd".as_slice();
    for len in 0..whole.len() {
        let mut short = Odd::new(whole[..len].to_vec());
        short.says = whole.len() as u64;
        let done =
            Client::parse(&short).and_then(|client| load(&client, &placement, Some(initrd), &ram));
        assert_eq!(done, Err(LoadError::Shrunk { part: loader::Part::Program }), "{len}");
        short.fails = io::ErrorKind::StaleNetworkFileHandle;
        let error = Client::parse(&short)
            .and_then(|client| load(&client, &placement, Some(initrd), &ram))
            .unwrap_err();
        assert!(matches!(error, LoadError::Read { part: loader::Part::Program, .. }), "{error:?}");
    }
    let client = Client::parse(&whole).unwrap();
    let mut short = Odd::new(b"init".to_vec());
    short.says = 6;
    assert_eq!(
        load(&client, &placement, Some(&short), &ram),
        Err(LoadError::Shrunk { part: loader::Part::Initrd })
    );
}

/// More than one piece, and an end within one.
#[test]
fn large_parts_arrive_whole() {
    let ram: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 * MIB as usize)]).unwrap();
    let data: Vec<u8> = (0..3 * PIECE_BYTES + 77).map(|at| (at % 251) as u8).collect();
    let mut elf = Elf::kernel(0x10_0000);
    elf.parts[1].data = data.clone();
    let file = elf.bytes();
    let client = Client::parse(&file).unwrap();
    let map = map(16 * MIB);
    let request = with_initrd(&map, data.len() as u64);
    let placement = Placement::plan(&client, &request).unwrap();
    load(&client, &placement, Some(&data), &ram).unwrap();
    for at in [KERNEL_BASE.0 + 0x2000, placement.initrd().unwrap().0.0] {
        let mut found = vec![0; data.len() + 1];
        GuestRam::read(&ram, GuestAddress(at), &mut found).unwrap();
        assert!(found[..data.len()] == data && found[data.len()] == 0, "{at:#x}");
    }
}

#[test]
#[cfg(unix)]
fn only_a_regular_file_has_a_size() {
    let folder = std::fs::File::open("/").unwrap();
    let error = Client::parse(&folder).unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }), "{error:?}");
    assert!(Client::parse(&std::fs::File::open("/dev/zero").unwrap()).is_err());
}

/// Every file that was cut off is refused, and none is a program of less than it was.
#[test]
fn cut_files_are_refused() {
    for elf in [Elf::kernel(0x10_0000), Elf::program()] {
        let file = elf.bytes();
        for len in 0..file.len() {
            refused(&file[..len]);
        }
        // Not a byte of the last segment may be missing.
        let error = refused(&file[..file.len() - 1]).to_string();
        assert!(error.contains("incomplete"), "{error}");
    }
}

/// Whatever is in the file: an error or a plan within RAM, which can be carried out.
#[test]
fn damaged_files_do_no_harm() {
    let ram: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 * MIB as usize)]).unwrap();
    let mut started = 0;
    for elf in [Elf::kernel(0x1_0000), Elf::program()] {
        let file = elf.bytes();
        let headers = file.len() - elf.parts.iter().map(|part| part.data.len()).sum::<usize>();
        for at in 0..headers {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff, file[at] ^ 0x01, file[at] ^ 0x10] {
                let mut file = file.clone();
                file[at] = value;
                let Ok(client) = Client::parse(&file) else { continue };
                let map = map(16 * MIB);
                let request = with_initrd(&map, 3);
                let Ok(placement) = Placement::plan(&client, &request) else { continue };
                let (start, bytes) = placement.client();
                assert!(start.0 >= FIRMWARE_BYTES && start.0 + bytes <= 16 * MIB);
                assert!((start.0..start.0 + bytes).contains(&placement.entry().0));
                load(&client, &placement, Some(&b"ird".as_slice()), &ram).unwrap();
                started += 1;
            }
        }
    }
    assert!(started > 100, "{started}");
}

/// A kernel may be linked anywhere; its parts keep their distances, and the entry its place.
#[test]
fn kernel_goes_to_its_place() {
    for linked in [0, 0x200_0000] {
        let mut elf = Elf::kernel(0x10_0000);
        elf.entry += 0x2004;
        for part in &mut elf.parts {
            part.paddr += linked;
        }
        let placement = plan(&elf, with_initrd(&map(64 * MIB), 100)).unwrap();
        assert_eq!(placement.client(), (GuestAddress(0x40_0000), 0x10_0000));
        assert_eq!(placement.entry(), GuestAddress(0x40_2004));
        assert!(placement.is_64bit());
        assert_eq!(placement.initrd(), Some((GuestAddress(0x50_0000), 100)));
        assert_eq!((placement.flat_tree(), placement.rtas()), (None, None));
    }
}

#[test]
fn program_stays_where_it_was_linked() {
    let placement = plan(&Elf::program(), with_initrd(&map(64 * MIB), 100)).unwrap();
    assert_eq!(placement.client(), (GuestAddress(0x20_0000), 0x3_0000));
    assert_eq!(placement.entry(), GuestAddress(0x20_0010));
    assert!(!placement.is_64bit());
    assert_eq!(placement.initrd(), Some((GuestAddress(0x23_0000), 100)));
}

/// With a flat tree, too: it is for whoever is entered with one.
#[test]
fn programs_of_64_bits_stay_where_they_were_linked() {
    let map = map(64 * MIB);
    for little_endian in [false, true] {
        let elf = Elf::program_64(little_endian);
        let file = elf.bytes();
        let client = Client::parse(&file).unwrap();
        assert_eq!(client.kind(), ClientKind::Program64 { little_endian });
        for flat in [None, Some(0x1000)] {
            let request = with_initrd(&map, 100);
            let placement = plan(&elf, PlanRequest { flat_tree_bytes: flat, ..request }).unwrap();
            assert_eq!(placement.client(), (GuestAddress(0x200_0000), 0x3_0000));
            assert_eq!(placement.entry(), GuestAddress(0x200_0010));
            assert!(placement.is_64bit());
            assert_eq!(placement.flat_tree(), flat.map(|_| GuestAddress(0x203_0000)));
        }
    }
}

/// Where memory is in use, or is none, is no place for what cannot move.
#[test]
fn programs_of_64_bits_are_refused_where_they_cannot_be() {
    let map = map(64 * MIB);
    let linked_at = |start: u64| {
        let mut elf = Elf::program_64(false);
        elf.entry = start;
        elf.parts[0] = Part::new(start, &[0x11; 0x40], 0x3_0000);
        (Client::parse(&elf.bytes()).unwrap().kind(), plan(&elf, PlanRequest::new(&map)))
    };
    let program = ClientKind::Program64 { little_endian: false };
    let over = LoadError::ClientOverFirmware { start: 0x100, lowest: 0x1_0000 };
    assert_eq!(linked_at(0x100), (program, Err(over)));
    for start in [64 * MIB - 0x2_ffff, 64 * MIB, 1 << 32, 1 << 60] {
        let (kind, planned) = linked_at(start);
        assert_eq!(kind, program);
        assert!(matches!(planned, Err(LoadError::ClientOutsideRam { .. })), "{start:#x}");
    }
    // A kernel that says no physical addresses, or that it is at 0.
    for start in [0, 0xc000_0000_0000_0000] {
        let (kind, planned) = linked_at(start);
        assert_eq!(kind, ClientKind::Kernel { little_endian: false });
        assert_eq!(planned.unwrap().client().0, KERNEL_BASE);
    }
}

#[test]
fn initrd_begins_on_a_page_behind_the_zeros() {
    for (memory_bytes, at) in [(0x1_0000, 0x41_0000), (0x1_0001, 0x42_0000), (0x2_ffff, 0x43_0000)]
    {
        let placement = plan(&Elf::kernel(memory_bytes), with_initrd(&map(64 * MIB), 1)).unwrap();
        assert_eq!(placement.initrd(), Some((GuestAddress(at), 1)));
    }
}

/// 700 MiB behind a kernel of 50 MiB leave its Open Firmware code room, 740 MiB do not.
#[test]
fn large_initrd_leaves_the_client_room() {
    let at = |ram_bytes, initrd_bytes| {
        let placement = plan(&Elf::kernel(50 * MIB), with_initrd(&map(ram_bytes), initrd_bytes))?;
        Ok(placement.initrd().unwrap().0.0)
    };
    assert_eq!(at(2048 * MIB, 700 * MIB), Ok(54 * MIB));
    assert_eq!(at(2048 * MIB, 706 * MIB), Ok(54 * MIB));
    assert_eq!(at(2048 * MIB, 706 * MIB + 1), Ok(768 * MIB));
    assert_eq!(at(2048 * MIB, 740 * MIB), Ok(768 * MIB));
    assert_eq!(at(2048 * MIB, 1280 * MIB), Ok(768 * MIB));
    for (ram_bytes, initrd_bytes, low_bytes, high_bytes) in [
        (1024 * MIB, 740 * MIB, 706 * MIB, 256 * MIB),
        (2048 * MIB, 1280 * MIB + 1, 706 * MIB, 1280 * MIB),
        (256 * MIB, 195 * MIB, 194 * MIB, 0),
        // The end of what a 32-bit cell can say.
        (1 << 40, (4096 - 768) * MIB + 1, 706 * MIB, (4096 - 768) * MIB),
        (2048 * MIB, u64::MAX, 706 * MIB, 1280 * MIB),
    ] {
        assert_eq!(
            at(ram_bytes, initrd_bytes),
            Err(LoadError::InitrdTooLarge { bytes: initrd_bytes, low_bytes, high_bytes })
        );
        let file = Elf::kernel(50 * MIB).bytes();
        let client = Client::parse(&file).unwrap();
        let room = Placement::initrd_room(&client, &with_initrd(&map(ram_bytes), 1));
        assert_eq!(room, Ok(low_bytes.max(high_bytes)));
    }
}

/// Nothing is in a hole, and what a client's Open Firmware code takes is in the first range.
#[test]
fn nothing_goes_into_a_hole() {
    let ram = |start, bytes| MemoryRange::ram(GuestAddress(start), bytes);
    let map = MemoryMap::new([
        ram(0, 128 * MIB),
        ram(256 * MIB, 128 * MIB),
        ram(1024 * MIB, 256 * MIB),
        MemoryRange::hotplug(GuestAddress(1536 * MIB), 1024 * MIB),
        ram(3968 * MIB, 1024 * MIB),
    ])
    .unwrap();
    let kernel = Elf::kernel(50 * MIB);
    let at = |initrd_bytes| {
        let placement = plan(&kernel, with_initrd(&map, initrd_bytes))?;
        Ok(placement.initrd().unwrap().0.0)
    };
    assert_eq!(at(66 * MIB), Ok(54 * MIB));
    assert_eq!(at(66 * MIB + 1), Ok(256 * MIB));
    assert_eq!(at(128 * MIB), Ok(256 * MIB));
    assert_eq!(at(128 * MIB + 1), Ok(1024 * MIB));
    // The last range has as much below 4 GiB, and what can be plugged is not there yet.
    let bytes = 256 * MIB + 1;
    let too_large = LoadError::InitrdTooLarge { bytes, low_bytes: 66 * MIB, high_bytes: 256 * MIB };
    assert_eq!(at(bytes), Err(too_large));
    let file = kernel.bytes();
    let client = Client::parse(&file).unwrap();
    assert_eq!(Placement::initrd_room(&client, &PlanRequest::new(&map)), Ok(256 * MIB));

    // Flat: as much as there is, in any range.
    let flat = |initrd_bytes| {
        let request = with_initrd(&map, initrd_bytes).with_flat_tree(0x1_0000, 0x1000);
        plan(&kernel, request).map(|placement| placement.initrd().unwrap().0.0)
    };
    assert_eq!(flat(64 * MIB), Ok(54 * MIB + 0x2_0000));
    assert_eq!(flat(128 * MIB), Ok(256 * MIB));
    assert_eq!(flat(256 * MIB), Ok(1024 * MIB));

    // A kernel is where it can move itself to 0 from.
    let error = plan(&Elf::kernel(125 * MIB), PlanRequest::new(&map)).unwrap_err();
    let (start, end, ram_end) = (4 * MIB, 129 * MIB, 128 * MIB);
    assert_eq!(error, LoadError::ClientOutsideRam { start, end, ram_end });
}

/// A program for the client interface goes where it was linked, in any range of RAM.
#[test]
fn programs_are_wholly_in_ram() {
    let ram = |start, bytes| MemoryRange::ram(GuestAddress(start), bytes);
    let linked_at = |start: u64, map: &MemoryMap| {
        let mut program = Elf::program();
        let move_by = start - program.parts[0].paddr;
        for part in &mut program.parts {
            part.paddr += move_by;
            part.vaddr += move_by;
        }
        program.entry += move_by;
        plan(&program, PlanRequest::new(map)).map(|placement| placement.client())
    };
    let bytes = linked_at(0x20_0000, &map(64 * MIB)).unwrap().1;
    let start = 64 * MIB - 0x1_0000;
    let holed = MemoryMap::new([ram(0, 64 * MIB), ram(128 * MIB, 64 * MIB)]).unwrap();
    let whole = MemoryMap::new([ram(0, 64 * MIB), ram(64 * MIB, 64 * MIB)]).unwrap();
    let error = |start, ram_end| LoadError::ClientOutsideRam { start, end: start + bytes, ram_end };
    assert_eq!(linked_at(start, &holed), Err(error(start, 64 * MIB)));
    assert_eq!(linked_at(start, &whole), Ok((GuestAddress(start), bytes)));
    assert_eq!(linked_at(96 * MIB, &holed), Err(error(96 * MIB, 96 * MIB)));
    assert_eq!(linked_at(128 * MIB, &holed), Ok((GuestAddress(128 * MIB), bytes)));
}

#[test]
fn empty_initrd_is_refused() {
    let error = plan(&Elf::kernel(0x10_0000), with_initrd(&map(64 * MIB), 0)).unwrap_err();
    assert_eq!(error, LoadError::InitrdEmpty);
}

/// For a guest that is entered with a flat tree: nothing may lie where the kernel moves itself.
#[test]
fn flat_tree_and_rtas_follow_the_kernel() {
    let map = map(1024 * MIB);
    let request = with_initrd(&map, 800 * MIB).with_flat_tree(0x1_2345, 0x1000);
    let placement = plan(&Elf::kernel(50 * MIB), request).unwrap();
    assert_eq!(placement.flat_tree(), Some(GuestAddress(54 * MIB)));
    assert_eq!(placement.rtas(), Some(GuestAddress(54 * MIB + 0x2_0000)));
    assert_eq!(placement.initrd(), Some((GuestAddress(54 * MIB + 0x3_0000), 800 * MIB)));
}

#[test]
fn flat_tree_and_rtas_need_room() {
    let with = |flat_tree_bytes, rtas_bytes| {
        let map = map(64 * MIB);
        let request = PlanRequest { flat_tree_bytes, rtas_bytes, ..PlanRequest::new(&map) };
        plan(&Elf::kernel(50 * MIB), request)
    };
    assert!(with(Some(10 * MIB), None).is_ok());
    let limit = 64 * MIB;
    let bytes = 10 * MIB + 1;
    assert_eq!(with(Some(bytes), None), Err(LoadError::NoRoom { what: "flat tree", bytes, limit }));
    let bytes = u64::MAX;
    assert_eq!(with(None, Some(bytes)), Err(LoadError::NoRoom { what: "RTAS", bytes, limit }));
}

#[test]
fn program_cannot_start_with_a_flat_tree() {
    let map = map(64 * MIB);
    let request = PlanRequest { flat_tree_bytes: Some(1), ..PlanRequest::new(&map) };
    assert_eq!(plan(&Elf::program(), request), Err(LoadError::NeedsClientInterface));
}

#[test]
fn client_has_to_fit() {
    let map = map(64 * MIB);
    let request = PlanRequest::new(&map);
    assert!(plan(&Elf::kernel(60 * MIB), request).is_ok());
    let too_large = plan(&Elf::kernel(60 * MIB + 1), request).unwrap_err();
    assert_eq!(
        too_large,
        LoadError::ClientOutsideRam { start: 4 * MIB, end: 64 * MIB + 1, ram_end: 64 * MIB }
    );
    let mut wide = Elf::kernel(0x10_0000);
    wide.parts[1].paddr = 1 << 63;
    assert!(matches!(plan(&wide, request), Err(LoadError::ClientOutsideRam { .. })));
    let mut low = Elf::program();
    low.parts[0].paddr = 0xffff;
    let error = plan(&low, request).unwrap_err();
    assert_eq!(error, LoadError::ClientOverFirmware { start: 0xffff, lowest: 0x1_0000 });
}

/// RAM is dirty: it holds what the guest of before left.
#[test]
fn load_writes_the_program_its_zeros_and_the_initrd() {
    let ram: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 16 * MIB as usize)]).unwrap();
    let ram: &dyn GuestRam = &ram;
    ram.write(GuestAddress(0), &vec![0xaa; 16 * MIB as usize]).unwrap();
    let file = Elf::kernel(0x1_2345).bytes();
    let client = Client::parse(&file).unwrap();
    let placement = Placement::plan(&client, &with_initrd(&map(16 * MIB), 6)).unwrap();
    load(&client, &placement, Some(&b"initrd".as_slice()), ram).unwrap();

    let mut expected = vec![0xaa; 16 * MIB as usize];
    let mut put = |at: usize, data: &[u8]| expected[at..at + data.len()].copy_from_slice(data);
    put(0x40_0000, &[0; 0x1000]);
    put(0x40_0000, b"text");
    put(0x40_2000, &[0; 0x1_2345 - 0x2000]);
    put(0x40_2000, b"data and bss");
    put(0x42_0000, b"initrd");
    let mut found = vec![0; 16 * MIB as usize];
    ram.read(GuestAddress(0), &mut found).unwrap();
    let difference = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert_eq!(difference, None);
}

#[test]
fn load_does_only_what_was_planned() {
    let ram: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 8 * MIB as usize)]).unwrap();
    let (file, other) = (Elf::kernel(0x10_0000).bytes(), Elf::kernel(0x20_0000).bytes());
    let client = Client::parse(&file).unwrap();
    let other = Client::parse(&other).unwrap();
    let placement = Placement::plan(&client, &with_initrd(&map(64 * MIB), 6)).unwrap();
    assert_eq!(
        load(&client, &placement, Some(&b"other".as_slice()), &ram),
        Err(LoadError::OtherInitrd { planned: 6, given: 5 })
    );
    assert_eq!(
        load(&client, &placement, None, &ram),
        Err(LoadError::OtherInitrd { planned: 6, given: 0 })
    );
    assert_eq!(
        load(&other, &placement, Some(&b"initrd".as_slice()), &ram),
        Err(LoadError::OtherClient { planned: 0x10_0000, given: 0x20_0000 })
    );
    // Planned for 64 MiB, but there are 8.
    let large = Elf::kernel(20 * MIB).bytes();
    let large = Client::parse(&large).unwrap();
    let map = map(64 * MIB);
    let request = PlanRequest::new(&map);
    let placement = Placement::plan(&large, &request).unwrap();
    assert!(matches!(load(&large, &placement, None, &ram), Err(LoadError::Memory(_))));
}
