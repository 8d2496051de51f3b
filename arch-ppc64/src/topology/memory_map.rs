//! Where memory is: RAM, what may become RAM, and what never will.

use std::ops::Range;

use vm_memory::GuestAddress;

use super::affinity::NumaNode;
use crate::layout::{MAX_MEMORY_RANGES, PAGE_BYTES, RAM_START};

/// What a range of real addresses is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemoryKind {
    /// Memory from the start on.
    Ram,
    /// Where memory can be plugged: no memory yet.
    Hotplug,
    /// Anything but memory, for ever: registers of devices, windows of a bus.
    Reserved,
}

/// A range of real addresses that are the same kind of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryRange {
    /// The first address, a multiple of [`PAGE_BYTES`].
    pub start: GuestAddress,
    /// Its size in bytes, a multiple of [`PAGE_BYTES`].
    pub bytes: u64,
    /// What is there.
    pub kind: MemoryKind,
    /// The NUMA node that the memory belongs to.
    pub node: NumaNode,
}

impl MemoryRange {
    /// `bytes` bytes of RAM from `start` on, of node 0.
    pub const fn ram(start: GuestAddress, bytes: u64) -> Self {
        Self { start, bytes, kind: MemoryKind::Ram, node: NumaNode(0) }
    }

    /// `bytes` bytes from `start` on where memory of node 0 can be plugged.
    pub const fn hotplug(start: GuestAddress, bytes: u64) -> Self {
        Self { start, bytes, kind: MemoryKind::Hotplug, node: NumaNode(0) }
    }

    /// `bytes` bytes from `start` on that are no memory.
    pub const fn reserved(start: GuestAddress, bytes: u64) -> Self {
        Self { start, bytes, kind: MemoryKind::Reserved, node: NumaNode(0) }
    }

    /// The same memory in another node.
    #[must_use]
    pub const fn on_node(self, node: NumaNode) -> Self {
        Self { node, ..self }
    }

    /// The first address behind it.
    pub const fn end(&self) -> GuestAddress {
        GuestAddress(self.start.0.saturating_add(self.bytes))
    }
}

/// A list of ranges that is no map of a machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryMapError {
    /// A range of nothing.
    #[error("there is a range of 0 bytes of memory at {:#x}", .start.0)]
    Empty {
        /// Where.
        start: GuestAddress,
    },
    /// A range is not of whole pages.
    #[error(
        "memory of {bytes} bytes at {:#x} is not made of whole pages: address or size is not a \
         multiple of {PAGE_BYTES} (64 KiB)", .start.0
    )]
    NotPages {
        /// Where it begins.
        start: GuestAddress,
        /// Its size.
        bytes: u64,
    },
    /// A range ends behind the last address there is.
    #[error("memory of {bytes} bytes at {:#x} ends beyond 64 bits", .start.0)]
    Wraps {
        /// Where it begins.
        start: GuestAddress,
        /// Its size.
        bytes: u64,
    },
    /// Two ranges have an address in common.
    #[error("two ranges of memory are both at {:#x}", .at.0)]
    Overlap {
        /// The first such address.
        at: GuestAddress,
    },
    /// Firmware and interrupt vectors of a machine are at 0.
    #[error("there is no RAM at 0, where the first range of it has to be")]
    NoRamAtZero,
    /// There are more ranges than a machine can have.
    #[error("{count} ranges of memory are too many; the most is {MAX_MEMORY_RANGES}")]
    TooManyRanges {
        /// How many there are.
        count: usize,
    },
}

/// Where the memory of a machine is: what everybody asks who wants to know whether an address is
/// RAM.
///
/// RAM may have holes. The first range is at 0, and is what the guest takes as its real mode area
/// (RMA): what a client program can always reach (LoPAPR §B.6.3).
///
/// ```
/// use arch_ppc64::topology::{MemoryMap, MemoryRange, NumaNode};
/// use vm_memory::GuestAddress;
///
/// // One number is enough for most machines.
/// let map = MemoryMap::of_size(1 << 30)?;
/// assert_eq!(map.ram_bytes(), 1 << 30);
///
/// // Another has a hole for devices from 2 GiB to 4 GiB, and two nodes.
/// let map = MemoryMap::new([
///     MemoryRange::ram(GuestAddress(0), 2 << 30),
///     MemoryRange::reserved(GuestAddress(2 << 30), 2 << 30),
///     MemoryRange::ram(GuestAddress(4 << 30), 2 << 30).on_node(NumaNode(1)),
/// ])?;
/// assert_eq!(map.ram_bytes(), 4 << 30);
/// assert_eq!(map.end(), GuestAddress(6 << 30));
/// assert!(map.is_ram(GuestAddress(4 << 30), 4096));
/// assert!(!map.is_ram(GuestAddress(0), 3 << 30));
/// # Ok::<(), arch_ppc64::topology::MemoryMapError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMap {
    /// In order, none overlapping another.
    ranges: Vec<MemoryRange>,
    rma: MemoryRange,
    /// RAM, whatever its nodes: in order, none touching another.
    spans: Vec<Range<u64>>,
}

impl MemoryMap {
    /// A map of these ranges, which may come in any order. What is in none of them is a hole.
    ///
    /// # Errors
    /// [`MemoryMapError`] names the first range that cannot be.
    pub fn new(ranges: impl IntoIterator<Item = MemoryRange>) -> Result<Self, MemoryMapError> {
        let mut ranges: Vec<MemoryRange> = ranges.into_iter().collect();
        if ranges.len() > MAX_MEMORY_RANGES {
            return Err(MemoryMapError::TooManyRanges { count: ranges.len() });
        }
        ranges.iter().try_for_each(check)?;
        ranges.sort_by_key(|range| range.start);
        let mut end = RAM_START;
        for range in &ranges {
            if range.start < end {
                return Err(MemoryMapError::Overlap { at: range.start });
            }
            end = range.end();
        }
        let rma = ranges.first().filter(|first| first.start == RAM_START);
        let rma = *rma
            .filter(|first| first.kind == MemoryKind::Ram)
            .ok_or(MemoryMapError::NoRamAtZero)?;
        let spans = spans(&ranges);
        Ok(Self { ranges, rma, spans })
    }

    /// RAM of `bytes` bytes from 0 on, without a hole.
    ///
    /// # Errors
    /// [`MemoryMapError`] when it is nothing, or not whole pages.
    pub fn of_size(bytes: u64) -> Result<Self, MemoryMapError> {
        Self::new([MemoryRange::ram(RAM_START, bytes)])
    }

    /// All ranges, in order; none overlaps another.
    pub fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
    }

    /// The ranges of RAM, in order. The first is [`rma`](Self::rma).
    pub fn ram(&self) -> impl Iterator<Item = &MemoryRange> {
        self.of_kind(MemoryKind::Ram)
    }

    /// The ranges that memory can be plugged into, in order.
    pub fn hotplug(&self) -> impl Iterator<Item = &MemoryRange> {
        self.of_kind(MemoryKind::Hotplug)
    }

    /// The same map where no memory can be plugged: where it could be is no memory, for ever.
    #[must_use]
    pub fn without_hotplug(mut self) -> Self {
        for range in &mut self.ranges {
            if range.kind == MemoryKind::Hotplug {
                range.kind = MemoryKind::Reserved;
            }
        }
        self
    }

    /// The real mode area: the range of RAM that begins at 0.
    pub fn rma(&self) -> &MemoryRange {
        &self.rma
    }

    /// How many bytes of RAM there are, holes not counted.
    pub fn ram_bytes(&self) -> u64 {
        self.ram().map(|range| range.bytes).sum()
    }

    /// How many bytes of memory can be plugged.
    pub fn hotplug_bytes(&self) -> u64 {
        self.hotplug().map(|range| range.bytes).sum()
    }

    /// The first address behind all memory, what can be plugged included.
    pub fn end(&self) -> GuestAddress {
        let memory = self.ranges.iter().filter(|range| range.kind != MemoryKind::Reserved);
        memory.map(MemoryRange::end).next_back().unwrap_or(RAM_START)
    }

    /// How many bytes of RAM there are from `at` on until the next hole; 0 when `at` is in none.
    #[inline]
    pub fn ram_from(&self, at: GuestAddress) -> u64 {
        // Nearly all that is asked about lies in the first stretch, which starts at 0.
        match self.spans.first() {
            Some(first) if at.0 < first.end => first.end - at.0,
            _ => self.ram_further_up(at),
        }
    }

    fn ram_further_up(&self, at: GuestAddress) -> u64 {
        let behind = self.spans.partition_point(|span| span.start <= at.0);
        let span = behind.checked_sub(1).and_then(|last| self.spans.get(last));
        span.map_or(0, |span| span.end.saturating_sub(at.0))
    }

    /// Whether the `bytes` bytes from `at` on are RAM, every one of them. No bytes are RAM
    /// everywhere.
    pub fn is_ram(&self, at: GuestAddress, bytes: u64) -> bool {
        bytes <= self.ram_from(at)
    }

    /// RAM without regard to nodes: start and bytes of each stretch, in order, with a hole between
    /// each two.
    pub fn spans(&self) -> impl ExactSizeIterator<Item = (GuestAddress, u64)> + '_ {
        self.spans.iter().map(|span| (GuestAddress(span.start), span.end - span.start))
    }

    /// As [`spans`](Self::spans), as far as they lie below `limit`: 4 GiB for who has 32-bit cells
    /// for addresses.
    pub fn spans_below(&self, limit: GuestAddress) -> impl Iterator<Item = (GuestAddress, u64)> {
        let below = move |(start, bytes): (GuestAddress, u64)| {
            let room = limit.0.saturating_sub(start.0);
            (room > 0).then_some((start, bytes.min(room)))
        };
        self.spans().map_while(below)
    }

    /// How many NUMA nodes there are: one more than the highest number of one.
    pub fn node_count(&self) -> u32 {
        let memory = self.ranges.iter().filter(|range| range.kind != MemoryKind::Reserved);
        memory.map(|range| u32::from(range.node.0) + 1).max().unwrap_or(1)
    }

    fn of_kind(&self, kind: MemoryKind) -> impl Iterator<Item = &MemoryRange> {
        self.ranges.iter().filter(move |range| range.kind == kind)
    }
}

fn check(range: &MemoryRange) -> Result<(), MemoryMapError> {
    let &MemoryRange { start, bytes, .. } = range;
    if bytes == 0 {
        return Err(MemoryMapError::Empty { start });
    }
    if start.0 % PAGE_BYTES != 0 || bytes % PAGE_BYTES != 0 {
        return Err(MemoryMapError::NotPages { start, bytes });
    }
    match start.0.checked_add(bytes) {
        Some(_) => Ok(()),
        None => Err(MemoryMapError::Wraps { start, bytes }),
    }
}

fn spans(ranges: &[MemoryRange]) -> Vec<Range<u64>> {
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|range| range.kind == MemoryKind::Ram) {
        match spans.last_mut() {
            Some(last) if last.end == range.start.0 => last.end = range.end().0,
            _ => spans.push(range.start.0..range.end().0),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn ram(start: u64, bytes: u64) -> MemoryRange {
        MemoryRange::ram(GuestAddress(start), bytes)
    }

    #[test]
    fn ranges_are_sorted_and_apart() {
        let hotplug = MemoryRange::hotplug(GuestAddress(6 << 30), 1 << 30);
        let device = MemoryRange::reserved(GuestAddress(1 << 40), 1 << 40);
        let map =
            MemoryMap::new([device, hotplug, ram(4 << 30, 2 << 30), ram(0, 1 << 30)]).unwrap();
        let starts: Vec<u64> = map.ranges().iter().map(|range| range.start.0).collect();
        assert_eq!(starts, [0, 4 << 30, 6 << 30, 1 << 40]);
        assert_eq!((map.ram_bytes(), map.hotplug_bytes()), (3 << 30, 1 << 30));
        // What is no memory has no say in where memory ends.
        assert_eq!(map.end(), GuestAddress(7 << 30));
        assert_eq!(map.rma(), &ram(0, 1 << 30));
        // It is no RAM until it is plugged.
        assert!(!map.is_ram(GuestAddress(6 << 30), 1));
    }

    #[test]
    fn what_is_no_map_is_named() {
        let error = |ranges: &[MemoryRange]| MemoryMap::new(ranges.iter().copied()).unwrap_err();
        let start = GuestAddress(MIB);
        assert_eq!(error(&[]), MemoryMapError::NoRamAtZero);
        assert_eq!(error(&[ram(MIB, MIB)]), MemoryMapError::NoRamAtZero);
        let plugged = MemoryRange::hotplug(GuestAddress(0), MIB);
        assert_eq!(error(&[plugged, ram(MIB, MIB)]), MemoryMapError::NoRamAtZero);
        assert_eq!(error(&[ram(0, MIB), ram(MIB, 0)]), MemoryMapError::Empty { start });
        let odd = GuestAddress(MIB + 4096);
        assert_eq!(
            error(&[ram(0, MIB), ram(odd.0, MIB)]),
            MemoryMapError::NotPages { start: odd, bytes: MIB }
        );
        assert_eq!(
            error(&[ram(0, MIB + 4096)]),
            MemoryMapError::NotPages { start: GuestAddress(0), bytes: MIB + 4096 }
        );
        let last = 0u64.wrapping_sub(PAGE_BYTES);
        assert_eq!(
            error(&[ram(0, MIB), ram(last, PAGE_BYTES)]),
            MemoryMapError::Wraps { start: GuestAddress(last), bytes: PAGE_BYTES }
        );
        assert_eq!(
            error(&[ram(0, 2 * MIB), MemoryRange::reserved(start, MIB)]),
            MemoryMapError::Overlap { at: start }
        );
        let many: Vec<_> = (0..=MAX_MEMORY_RANGES as u64).map(|n| ram(n * MIB, MIB)).collect();
        assert_eq!(error(&many), MemoryMapError::TooManyRanges { count: many.len() });
        assert!(
            MemoryMap::new(many.into_iter().skip(1).map(|range| ram(range.start.0 - MIB, MIB)))
                .is_ok()
        );
    }

    #[test]
    fn ranges_that_touch_are_one_span() {
        let map = MemoryMap::new([
            ram(0, MIB),
            ram(MIB, MIB).on_node(NumaNode(3)),
            MemoryRange::reserved(GuestAddress(2 * MIB), MIB),
            ram(3 * MIB, MIB),
        ])
        .unwrap();
        let spans: Vec<_> = map.spans().collect();
        assert_eq!(spans, [(GuestAddress(0), 2 * MIB), (GuestAddress(3 * MIB), MIB)]);
        assert!(map.is_ram(GuestAddress(MIB - 1), 2));
        assert_eq!(map.rma().bytes, MIB);
        assert_eq!(map.node_count(), 4);
        let below = |limit| map.spans_below(GuestAddress(limit)).collect::<Vec<_>>();
        assert_eq!(below(0), []);
        assert_eq!(below(MIB), [(GuestAddress(0), MIB)]);
        assert_eq!(below(3 * MIB), [(GuestAddress(0), 2 * MIB)]);
        assert_eq!(below(3 * MIB + 1), [(GuestAddress(0), 2 * MIB), (GuestAddress(3 * MIB), 1)]);
        assert_eq!(below(u64::MAX), spans);
    }

    proptest! {
        /// As somebody would say it who looks at each page.
        #[test]
        fn ram_is_what_is_in_a_range_of_it(
            pages in proptest::collection::vec(0..3u8, 1..40),
            at in 0..41 * PAGE_BYTES,
            bytes in 0..10 * PAGE_BYTES,
        ) {
            let kinds = |number: usize| match pages.get(number).filter(|_| number > 0) {
                _ if number == 0 => Some(MemoryKind::Ram),
                Some(0) => Some(MemoryKind::Ram),
                Some(1) => Some(MemoryKind::Reserved),
                _ => None,
            };
            let ranges = (0..pages.len()).filter_map(|number| {
                let start = GuestAddress(number as u64 * PAGE_BYTES);
                Some(MemoryRange { kind: kinds(number)?, ..MemoryRange::ram(start, PAGE_BYTES) })
            });
            let map = MemoryMap::new(ranges).unwrap();
            let is_ram = |at: u64| kinds((at / PAGE_BYTES) as usize) == Some(MemoryKind::Ram);
            let end = at + bytes;
            let first_page = at - at % PAGE_BYTES;
            let all = (first_page..end).step_by(PAGE_BYTES as usize).all(is_ram);
            prop_assert_eq!(map.is_ram(GuestAddress(at), bytes), bytes == 0 || all);
        }
    }
}
