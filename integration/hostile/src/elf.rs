//! Programs and initial RAM disks: nothing is written where they were not planned to be.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use arch_ppc64::layout::PAGE_BYTES;
use arch_ppc64::loader::{
    self, Client, ClientKind, FIRMWARE_BYTES, KERNEL_BASE, LoadError, Part, Placement, PlanRequest,
    Source,
};
use arch_ppc64::topology::{MemoryMap, MemoryRange};
use vm_memory::GuestAddress;

use crate::Reach;
use crate::input::Input;
use crate::ram::{WatchedRam, are_within};

const GOALS: [&str; 10] = [
    "parsed",
    "planned a kernel",
    "planned a program",
    "planned for a flat tree and RTAS",
    "loaded a kernel",
    "loaded a program",
    "loaded an initrd",
    "loaded zeros",
    "planned an initrd high up",
    "shrank while it was loaded",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

/// More than this is planned for, but not loaded: zeros take time.
const LOADED_BYTES_MAX: u64 = 8 << 20;

const RAM_SIZES: [u64; 8] = [
    PAGE_BYTES,
    KERNEL_BASE.0 + PAGE_BYTES,
    8 << 20,
    16 << 20,
    32 << 20,
    1 << 30,
    6 << 30,
    8 << 40,
];

/// RAM by a byte: one of a few sizes, or as much as the program needs, give or take a few pages;
/// in one range, or with a hole behind the first part, of a page up to what there is of RAM.
fn memory(choice: u8, flags: u8, client: &Client<'_>) -> MemoryMap {
    let few = RAM_SIZES[usize::from(choice) % RAM_SIZES.len()];
    let anywhere = MemoryMap::of_size(1 << 40).expect("it is made of pages");
    let bytes = match Placement::plan(client, &PlanRequest::new(&anywhere)) {
        Ok(placement) if choice >= 0x80 => {
            let end = range(placement.client()).end.next_multiple_of(PAGE_BYTES);
            (end + u64::from(choice & 7) * PAGE_BYTES).saturating_sub(4 * PAGE_BYTES)
        }
        _ => few,
    };
    let bytes = bytes.max(PAGE_BYTES);
    let first = MemoryRange::ram(GuestAddress(0), bytes);
    let hole = PAGE_BYTES << (choice >> 3 & 15);
    let second = MemoryRange::ram(GuestAddress(bytes + hole), bytes);
    let has_second = flags & 8 != 0;
    let map = MemoryMap::new([first].into_iter().chain(has_second.then_some(second)));
    map.expect("the ranges are in order and apart")
}

/// `data` is a byte that chooses RAM, one of flags, two of the initial RAM disk's size in
/// 16 bytes, and a file.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let choice = input.byte();
    let flags = input.byte();
    // Shifted for what no file can be.
    let initrd_bytes = u64::from(input.u16()) << [4, 4, 14, 40][usize::from(flags >> 6)];
    let flag = |bit: u8| flags & 1 << bit != 0;
    let file = input.rest();
    let client = match Client::parse(&file) {
        Ok(client) => client,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return reach;
        }
    };
    reach.add(0);
    assert!(client.bytes() > 0);
    let is_kernel = matches!(client.kind(), ClientKind::Kernel { .. });
    assert_eq!(client.is_64bit(), client.kind() != ClientKind::Program);
    let memory = memory(choice, flags, &client);
    let mut request = PlanRequest::new(&memory).with_initrd(flag(0).then_some(initrd_bytes));
    request.flat_tree_bytes = flag(1).then_some(0x6000);
    request.rtas_bytes = flag(2).then_some(4096);
    let placement = match Placement::plan(&client, &request) {
        Ok(placement) => placement,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return reach;
        }
    };
    reach.add(if is_kernel { 1 } else { 2 });
    check_placement(&client, &placement, &request);
    if placement.flat_tree().is_some() && placement.rtas().is_some() {
        reach.add(3);
    }
    if placement.initrd().is_some_and(|(at, _)| at.0 >= 768 << 20) {
        reach.add(8);
    }
    let initrd_bytes = request.initrd_bytes.unwrap_or(0);
    if client.bytes() + initrd_bytes > LOADED_BYTES_MAX {
        return reach;
    }
    let initrd: Vec<u8> = (0..initrd_bytes).map(|at| at as u8 | 1).collect();
    let initrd = request.initrd_bytes.map(|_| initrd.as_slice());
    let source = initrd.as_ref().map(|initrd| initrd as &dyn Source);
    let ranges: Vec<_> = memory.ram().collect();
    let end = memory.end().0;
    let ram = match ranges[..] {
        [first, second] => WatchedRam::with_hole(end, first.end().0..second.start.0),
        _ => WatchedRam::new(end),
    };
    loader::load(&client, &placement, source, &ram).expect("what was planned can be loaded");
    check_loaded(&placement, initrd, &ram);
    reach.add(if is_kernel { 4 } else { 5 });
    if initrd.is_some() {
        reach.add(6);
    }
    if client.bytes() > file.len() as u64 {
        reach.add(7);
    }
    check_refusals(&client, &placement, initrd);
    if check_shrinking(file, &placement, source) {
        reach.add(9);
    }
    reach
}

fn range((at, bytes): (GuestAddress, u64)) -> Range<u64> {
    at.0..at.0.checked_add(bytes).expect("nothing wraps")
}

/// Everything is in RAM, below 4 GiB, above the firmware, and nothing overlaps.
fn check_placement(client: &Client<'_>, placement: &Placement, request: &PlanRequest<'_>) {
    assert_eq!(placement.client().1, client.bytes());
    assert_eq!(placement.is_64bit(), client.is_64bit());
    assert!(range(placement.client()).contains(&placement.entry().0), "the entry is outside");
    assert_eq!(placement.initrd().map(|(_, bytes)| bytes), request.initrd_bytes);
    let flat_tree = placement.flat_tree().zip(request.flat_tree_bytes);
    let rtas = placement.rtas().zip(request.rtas_bytes);
    assert_eq!(flat_tree.is_some(), request.flat_tree_bytes.is_some());
    assert_eq!(rtas.is_some(), request.rtas_bytes.is_some());
    let behind: Vec<_> =
        [flat_tree, rtas, placement.initrd()].into_iter().flatten().map(range).collect();
    assert!(behind.iter().all(|range| range.start % PAGE_BYTES == 0));
    let mut all = [vec![range(placement.client())], behind].concat();
    all.sort_by_key(|range| range.start);
    assert!(all[0].start >= FIRMWARE_BYTES);
    for range in &all {
        let is_ram = request.memory.is_ram(GuestAddress(range.start), range.end - range.start);
        assert!(is_ram && range.end <= 1 << 32, "{range:x?} is not in {:x?}", request.memory);
    }
    assert!(all.windows(2).all(|two| two[0].end <= two[1].start), "{all:x?} overlap");
}

fn check_loaded(placement: &Placement, initrd: Option<&[u8]>, ram: &WatchedRam) {
    let client = range(placement.client());
    let (writes, _) = ram.take();
    let planned = [Some(client), placement.initrd().map(range)];
    let planned: Vec<_> = planned.into_iter().flatten().collect();
    assert!(are_within(&writes, &planned), "{writes:x?} beyond {planned:x?}");
    if let (Some(initrd), Some((at, _))) = (initrd, placement.initrd()) {
        assert_eq!(ram.peek(at.0, initrd.len()), initrd);
    }
}

/// What was not planned for is not loaded, and RAM that is not there is told.
fn check_refusals(client: &Client<'_>, placement: &Placement, initrd: Option<&[u8]>) {
    let ram = WatchedRam::new(placement.client().0.0);
    let other = match initrd {
        None | Some([]) => &[1][..],
        Some([_, rest @ ..]) => rest,
    };
    let refused = loader::load(client, placement, Some(&other), &ram);
    assert!(matches!(refused, Err(LoadError::OtherInitrd { .. })), "{refused:?}");
    assert!(ram.take().0.is_empty());
    let source = initrd.as_ref().map(|initrd| initrd as &dyn Source);
    let failed = loader::load(client, placement, source, &ram);
    assert!(matches!(failed, Err(LoadError::Memory(_))), "{failed:?}");
}

/// A file that is cut off after its headers were read.
struct Shrinking<'a> {
    file: &'a [u8],
    is_cut: AtomicBool,
}

impl Source for Shrinking<'_> {
    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let cut = usize::from(self.is_cut.load(Ordering::Relaxed));
        let rest = self.file.len().saturating_sub(cut);
        self.file.get(..rest).unwrap_or_default().read_bytes(offset, buf)
    }
}

/// A program whose last byte is not there any more is told, and what was written is in its place.
/// Whether there was such a byte.
fn check_shrinking(file: &[u8], placement: &Placement, initrd: Option<&dyn Source>) -> bool {
    let needed = Client::parse(&file).expect("it was one before").file_bytes();
    let file = Shrinking { file: &file[..needed as usize], is_cut: AtomicBool::new(false) };
    // The headers may be behind the segments.
    let Ok(client) = Client::parse(&file) else { return false };
    file.is_cut.store(true, Ordering::Relaxed);
    let ram = WatchedRam::new(u64::MAX);
    let loaded = loader::load(&client, placement, initrd, &ram);
    match client.file_bytes() {
        // All of it is zeros.
        0 => assert_eq!(loaded, Ok(())),
        _ => assert_eq!(loaded, Err(LoadError::Shrunk { part: Part::Program })),
    }
    let (writes, _) = ram.take();
    let planned: Vec<_> =
        [Some(placement.client()), placement.initrd()].into_iter().flatten().map(range).collect();
    assert!(are_within(&writes, &planned), "{writes:x?} beyond {planned:x?}");
    client.file_bytes() != 0
}
