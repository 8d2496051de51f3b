//! The file `memory-ranges`: what was in RAM, as it is, one region behind the other, with holes where it
//! is zero; and behind it a block that says which machine's it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemoryBackend, GuestMemoryRegion,
    MemoryRegionAddress,
};

use super::id::Id;
use crate::boot::{MachineRam, Touched};
use crate::ram::RamRegion;

/// A page of any host: places in the file are multiples of it, as those of RAM are.
const PIECE_BYTES: u64 = 64 << 10;

/// What is looked at at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// What is zero is not written, in pieces of this size: blocks of file systems have as many bytes.
const BLOCK_BYTES: usize = 4096;

/// The last block.
pub(super) const SEAL_BYTES: u64 = BLOCK_BYTES as u64;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// A host has a limit to how many mappings a process may have (65,530 on Linux): of what lies near to
/// each other, one range is made.
pub(super) const MAX_RANGES: usize = 2048;

/// No machine has so much memory.
const FARTHEST: u64 = 1 << 50;

/// What the last block of the file begins with.
const MARK: &str = "pseries-vmm memory of ";

/// RAM that is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    /// Its first address in the guest.
    pub(super) start: u64,
    pub(super) bytes: u64,
    /// Where it is in the file.
    pub(super) offset: u64,
}

impl Range {
    fn end(&self) -> u64 {
        self.start + self.bytes
    }
}

/// How far a long write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many bytes of the guest's memory have been looked at, and written where they had to be.
    pub done_bytes: u64,
    /// How many there are.
    pub all_bytes: u64,
}

/// Writes RAM to an empty file. Where it is not zero comes back, and how long the file is without its
/// last block. `hear` is told how far it is, and may end it.
pub(super) fn write(
    ram: &MachineRam,
    file: &File,
    hear: &mut dyn FnMut(Progress) -> io::Result<()>,
) -> io::Result<(Vec<Range>, u64)> {
    let memory = ram.memory().memory();
    let all_bytes = memory.iter().map(GuestMemoryRegion::len).sum();
    let touched = Touched::new();
    let (mut ranges, mut base) = (Ranges::default(), 0);
    let mut buffer = vec![0; WINDOW_BYTES as usize];
    for region in memory.iter() {
        let mut offset = 0;
        while offset < region.len() {
            hear(Progress { done_bytes: base + offset, all_bytes })?;
            let bytes = WINDOW_BYTES.min(region.len() - offset);
            for (at, bytes) in used(ram, &touched, region, offset, bytes) {
                let buffer = &mut buffer[..bytes as usize];
                let place = MemoryRegionAddress(offset + at);
                region.read_slice(buffer, place).map_err(io::Error::other)?;
                write_blocks(buffer, file, base + offset + at, |at_buffer, bytes| {
                    let within = offset + at + at_buffer;
                    let start = region.start_addr().0 + within;
                    ranges.add(Range { start, bytes, offset: base + within });
                })?;
            }
            offset += bytes;
        }
        base += region.len().next_multiple_of(PIECE_BYTES);
    }
    hear(Progress { done_bytes: all_bytes, all_bytes })?;
    Ok((ranges.finish(), base))
}

/// Where in RAM somebody has been, in the order of addresses, and how many bytes: all else is zero.
pub(crate) fn used_ram(ram: &MachineRam) -> Vec<(GuestAddress, u64)> {
    let memory = ram.memory().memory();
    let touched = Touched::new();
    let mut all = Vec::new();
    for region in memory.iter() {
        for offset in (0..region.len()).step_by(WINDOW_BYTES as usize) {
            let bytes = WINDOW_BYTES.min(region.len() - offset);
            let start = region.start_addr().0 + offset;
            let used = used(ram, &touched, region, offset, bytes);
            all.extend(used.into_iter().map(|(at, bytes)| (GuestAddress(start + at), bytes)));
        }
    }
    all
}

/// The runs of pieces of a window that somebody has used: where in it, and how many bytes.
fn used(
    ram: &MachineRam,
    touched: &Touched,
    region: &RamRegion,
    offset: u64,
    bytes: u64,
) -> Vec<(u64, u64)> {
    let count = bytes.div_ceil(PIECE_BYTES) as usize;
    let pieces = match ram.is_brought(region, offset, bytes) {
        true => vec![true; count],
        false => touched.pieces(region, offset, PIECE_BYTES, count),
    };
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (number, _) in (0..).zip(pieces).filter(|(_, is_used)| *is_used) {
        let at = number * PIECE_BYTES;
        let len = PIECE_BYTES.min(bytes - at);
        match runs.last_mut() {
            Some((start, run)) if *start + *run == at => *run += len,
            _ => runs.push((at, len)),
        }
    }
    runs
}

/// Writes what is not zero of a buffer that belongs to a place in the file. `is_there` hears of it.
fn write_blocks(
    buffer: &[u8],
    file: &File,
    place: u64,
    mut is_there: impl FnMut(u64, u64),
) -> io::Result<()> {
    let is_zero = |block: &[u8]| *block == ZEROS[..block.len()];
    let mut at = 0;
    while at < buffer.len() {
        let block = |at: usize| &buffer[at..(at + BLOCK_BYTES).min(buffer.len())];
        if is_zero(block(at)) {
            at += BLOCK_BYTES;
            continue;
        }
        let start = at;
        while at < buffer.len() && !is_zero(block(at)) {
            at += BLOCK_BYTES;
        }
        let run = &buffer[start..at.min(buffer.len())];
        file.write_all_at(run, place + start as u64)?;
        is_there(start as u64, run.len() as u64);
    }
    Ok(())
}

/// Ranges in the order of the file, not too many.
#[derive(Default)]
struct Ranges {
    list: Vec<Range>,
    /// The gap up to which two are one.
    gap_bytes: u64,
}

impl Ranges {
    /// Whole pieces of it.
    fn add(&mut self, range: Range) {
        let before = range.offset % PIECE_BYTES;
        let bytes = (before + range.bytes).next_multiple_of(PIECE_BYTES);
        let (start, offset) = (range.start - before, range.offset - before);
        self.push(Range { start, bytes, offset });
        if self.list.len() > 2 * MAX_RANGES {
            self.merge();
        }
    }

    fn push(&mut self, range: Range) {
        match self.list.last_mut() {
            Some(last) if joins(last, &range, self.gap_bytes) => {
                last.bytes = last.bytes.max(range.end() - last.start);
            }
            _ => self.list.push(range),
        }
    }

    /// Makes them as few as they are to be.
    fn merge(&mut self) {
        // Those of regions that are apart are never one; there are few of them.
        while self.list.len() > MAX_RANGES && self.gap_bytes < FARTHEST {
            self.gap_bytes = (2 * self.gap_bytes).max(PIECE_BYTES);
            for range in std::mem::take(&mut self.list) {
                self.push(range);
            }
        }
    }

    fn finish(mut self) -> Vec<Range> {
        self.merge();
        self.list
    }
}

/// Whether two, with so much between them at most, can be one: in the guest they are as far apart as in
/// the file.
fn joins(first: &Range, second: &Range, gap_bytes: u64) -> bool {
    let gap = second.start.saturating_sub(first.end());
    gap <= gap_bytes && second.start.wrapping_sub(first.start) == second.offset - first.offset
}

/// Writes the last block.
pub(super) fn seal(file: &File, end: u64, id: Id) -> io::Result<()> {
    let mut block = [0; BLOCK_BYTES];
    let text = format!("{MARK}{id}\n");
    block[..text.len()].copy_from_slice(text.as_bytes());
    file.write_all_at(&block, end)
}

/// Which machine's a file is, if it is one of these.
pub(super) fn sealed_by(file: &File) -> io::Result<Option<Id>> {
    let bytes = file.metadata()?.len();
    let Some(end) = bytes.checked_sub(SEAL_BYTES) else { return Ok(None) };
    let mut block = [0; BLOCK_BYTES];
    file.read_exact_at(&mut block, end)?;
    let text =
        block.strip_prefix(MARK.as_bytes()).and_then(|rest| rest.split(|b| *b == b'\n').next());
    Ok(text.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok()))
}

/// Checks ranges that nobody vouches for: in order, none over another, whole pieces, all of them in front
/// of the last block of the file.
pub(super) fn check(ranges: &[Range], end: u64) -> Result<(), String> {
    if ranges.len() > 2 * MAX_RANGES {
        return Err(format!("it has {} ranges of memory", ranges.len()));
    }
    let mut behind = (0, 0);
    for range in ranges {
        let Range { start, bytes, offset } = *range;
        let whole = [bytes, offset].iter().all(|number| number % PIECE_BYTES == 0) && bytes != 0;
        let (last, in_file) = (start.checked_add(bytes), offset.checked_add(bytes));
        match (last, in_file) {
            (Some(last), Some(in_file))
                if whole && in_file <= end && start >= behind.0 && offset >= behind.1 =>
            {
                behind = (last, in_file);
            }
            _ => return Err(format!("the range of memory at {start:#x} cannot be")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = PIECE_BYTES;

    fn range(start: u64, bytes: u64, offset: u64) -> Range {
        Range { start, bytes, offset }
    }

    #[test]
    fn ranges_are_whole_pieces_and_not_too_many() {
        let mut ranges = Ranges::default();
        // Two of one piece, and one that is another's neighbour.
        for (at, bytes) in [(4096, 4096), (0x8000, 4096), (PIECE, 8192), (8 * PIECE, PIECE)] {
            ranges.add(range(at, bytes, at));
        }
        assert_eq!(ranges.finish(), [range(0, 2 * PIECE, 0), range(8 * PIECE, PIECE, 8 * PIECE)]);
        let mut ranges = Ranges::default();
        let count = 20 * MAX_RANGES as u64;
        for number in 0..count {
            let at = number * 3 * PIECE;
            ranges.add(range(at, 4096, at));
        }
        let list = ranges.finish();
        assert!(list.len() <= MAX_RANGES, "{}", list.len());
        check(&list, count * 3 * PIECE).unwrap();
        for number in 0..count {
            let at = number * 3 * PIECE;
            assert!(list.iter().any(|range| range.start <= at && at < range.end()), "{at:#x}");
        }
        // What is apart in the guest and not in the file is never one.
        let mut ranges = Ranges::default();
        for number in 0..2 {
            ranges.add(range(number * 3 * PIECE, PIECE, number * PIECE));
        }
        ranges.gap_bytes = FARTHEST;
        ranges.push(range(6 * PIECE, PIECE, 2 * PIECE));
        assert_eq!(ranges.finish().len(), 3);
    }

    #[test]
    fn ranges_that_cannot_be_are_refused() {
        let end = 16 * PIECE;
        check(&[], 0).unwrap();
        check(&[range(0, PIECE, 0), range(8 * PIECE, PIECE, PIECE)], end).unwrap();
        for wrong in [
            vec![range(0, 0, 0)],
            vec![range(0, PIECE - 1, 0)],
            vec![range(0, PIECE, 1)],
            vec![range(0, PIECE, end)],
            vec![range(0, PIECE, u64::MAX - PIECE + 1)],
            vec![range(u64::MAX - 1, PIECE, 0)],
            vec![range(0, 2 * PIECE, 0), range(PIECE, PIECE, 2 * PIECE)],
            vec![range(PIECE, PIECE, PIECE), range(2 * PIECE, PIECE, 0)],
            vec![range(0, PIECE, 0); 2 * MAX_RANGES + 1],
        ] {
            assert!(check(&wrong, end).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn files_say_whose_they_are() {
        let file = crate::host_file::without_a_name(c"memory", 0).unwrap();
        assert_eq!(sealed_by(&file).unwrap(), None);
        let id = Id::new().unwrap();
        seal(&file, 3 * PIECE, id).unwrap();
        assert_eq!(sealed_by(&file).unwrap(), Some(id));
        assert_ne!(Id::new().unwrap(), id);
        for bytes in [3 * PIECE + SEAL_BYTES - 1, 3 * PIECE, 1] {
            file.set_len(bytes).unwrap();
            assert_eq!(sealed_by(&file).unwrap(), None, "{bytes}");
        }
    }

    #[test]
    fn what_is_zero_is_not_written() {
        let file = crate::host_file::without_a_name(c"blocks", 0).unwrap();
        let mut buffer = vec![0; 8 * BLOCK_BYTES + 100];
        for at in [BLOCK_BYTES, 2 * BLOCK_BYTES - 1, 2 * BLOCK_BYTES, 8 * BLOCK_BYTES + 99] {
            buffer[at] = 7;
        }
        let mut runs = Vec::new();
        let block = BLOCK_BYTES as u64;
        write_blocks(&buffer, &file, block, |at, bytes| runs.push((at, bytes))).unwrap();
        assert_eq!(runs, [(block, 2 * block), (8 * block, 100)]);
        let mut read = vec![0; buffer.len()];
        file.read_exact_at(&mut read, block).unwrap();
        assert!(read == buffer);
    }
}
