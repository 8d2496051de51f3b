//! Guest memory of devices, which tells what they wrote.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress,
};

use crate::input::Input;

/// As devices have it.
pub(crate) type Memory = Arc<GuestMemoryMmap<AtomicBitmap>>;

/// Where it is: two regions side by side, a hole, and one more.
const REGIONS: [Range<u64>; 3] = [0..0x4000, 0x4000..0x8000, 0xc000..RAM_END];

/// Where it ends.
pub(crate) const RAM_END: u64 = 0x1_0000;

/// An address of memory, mostly.
pub(crate) fn address(input: &mut Input<'_>) -> u64 {
    match input.byte() {
        few @ 0..=0x7f => u64::from(few) << 9,
        0x80..=0xdf => u64::from(input.u16()),
        _ => input.number(RAM_END),
    }
}

/// How many bytes have one mark.
const MARK_BYTES: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// What is there before anybody writes.
const PATTERN: u8 = 0x5a;

/// The memory of a small guest.
#[derive(Debug)]
pub(crate) struct DeviceRam {
    memory: Memory,
}

/// What was there at some time.
#[derive(Debug)]
pub(crate) struct Snapshot(Vec<u8>);

impl DeviceRam {
    pub(crate) fn new() -> Self {
        let regions = REGIONS.map(|range| {
            let bytes = (range.end - range.start) as usize;
            let marks = AtomicBitmap::new(bytes, MARK_BYTES);
            let region = MmapRegionBuilder::new_with_bitmap(bytes, marks)
                .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
                .with_mmap_flags(libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_NORESERVE)
                .build();
            GuestRegionMmap::new(region.expect("memory"), GuestAddress(range.start))
                .expect("an address that can be")
        });
        let memory = GuestMemoryMmap::from_regions(regions.into()).expect("regions apart");
        let ram = Self { memory: Arc::new(memory) };
        for range in REGIONS {
            ram.poke(range.start, &vec![PATTERN; (range.end - range.start) as usize]);
        }
        ram
    }

    /// As devices have it.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Writes as the guest itself does, as far as there is memory.
    pub(crate) fn poke(&self, at: u64, data: &[u8]) {
        for (region, offset, place) in self.pieces(at, data.len()) {
            region.write_slice(&data[place], offset).expect("inside of its region");
        }
    }

    /// Reads as the guest itself does; zeros where there is no memory.
    pub(crate) fn peek(&self, at: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        for (region, offset, place) in self.pieces(at, len) {
            region.read_slice(&mut data[place], offset).expect("inside of its region");
        }
        data
    }

    /// The little-endian number there.
    pub(crate) fn peek_u16(&self, at: u64) -> u16 {
        let data = self.peek(at, 2);
        u16::from_le_bytes([data[0], data[1]])
    }

    /// Whether all of it is memory.
    pub(crate) fn has(&self, at: u64, len: u64) -> bool {
        let end = at.checked_add(len);
        // The first two are as one.
        let is_in =
            |range: Range<u64>| end.is_some_and(|end| at >= range.start && end <= range.end);
        is_in(REGIONS[0].start..REGIONS[1].end) || is_in(REGIONS[2].clone())
    }

    /// How it is now. From here on, what devices write is marked.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.memory.iter().for_each(|region| (**region).bitmap().reset());
        Snapshot(self.peek(0, RAM_END as usize))
    }

    /// What is not as it was. All of it has to be marked as dirty.
    pub(crate) fn changes(&self, since: &Snapshot) -> Vec<Range<u64>> {
        const STEP: usize = 256;
        let now = self.peek(0, RAM_END as usize);
        let mut changes: Vec<Range<u64>> = Vec::new();
        let pairs = now.chunks(STEP).zip(since.0.chunks(STEP)).zip((0..).step_by(STEP));
        for ((now, before), start) in pairs.filter(|((now, before), _)| now != before) {
            for at in (0..now.len()).filter(|&at| now[at] != before[at]) {
                let at = start + at as u64;
                assert!(self.is_marked(at), "{at:#x} was written and is not marked as dirty");
                match changes.last_mut() {
                    Some(last) if last.end == at => last.end += 1,
                    _ => changes.push(at..at + 1),
                }
            }
        }
        changes
    }

    fn is_marked(&self, at: u64) -> bool {
        let place = self.memory.to_region_addr(GuestAddress(at));
        place.is_some_and(|(region, at)| region.bitmap().dirty_at(at.0 as usize))
    }

    /// The parts of a range that are in memory: region, offset in it, and which part.
    fn pieces(
        &self,
        at: u64,
        len: usize,
    ) -> impl Iterator<Item = (&GuestRegionMmap<AtomicBitmap>, MemoryRegionAddress, Range<usize>)>
    {
        let end = at.saturating_add(len as u64);
        self.memory.iter().zip(REGIONS).filter_map(move |(region, range)| {
            let (first, last) = (at.max(range.start), end.min(range.end));
            let place = || (first - at) as usize..(last - at) as usize;
            (first < last).then(|| (region, MemoryRegionAddress(first - range.start), place()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_tells_what_was_written() {
        let ram = DeviceRam::new();
        ram.poke(0x3ffe, b"abcd");
        assert_eq!(ram.peek(0x3ffd, 6), b"\x5aabcd\x5a");
        assert_eq!(ram.peek(0x7fff, 2), [PATTERN, 0]);
        let before = ram.snapshot();
        ram.memory.write_slice(b"xyz", GuestAddress(0x4001)).unwrap();
        ram.memory.write_slice(b"x", GuestAddress(0xffff)).unwrap();
        assert_eq!(ram.changes(&before), [0x4001..0x4004, 0xffff..0x1_0000]);
        assert!(ram.has(0x3fff, 0x4001) && !ram.has(0x7fff, 2) && !ram.has(u64::MAX, 2));
        assert!(ram.has(0xc000, 0x4000) && !ram.has(0xbfff, 2));
    }

    #[test]
    #[should_panic(expected = "not marked")]
    fn unmarked_writes_are_noticed() {
        let ram = DeviceRam::new();
        let before = ram.snapshot();
        ram.poke(16, b"x");
        ram.memory.iter().for_each(|region| (**region).bitmap().reset());
        ram.changes(&before);
    }
}
