//! An ordered set of free ranges that answers "the lowest place for so much at such a multiple".

use std::ops::Range;

use super::CLAIMABLE_END;

/// How many ranges a chunk holds before it is split.
const CHUNK_MAX: usize = 256;
/// How few ranges a chunk holds before it is joined with a neighbour that has room.
const CHUNK_MIN: usize = CHUNK_MAX / 4;

/// Powers of two that an address can be a multiple of: 2^0 to 2^32 (only 0 is one of that).
const ALIGNMENTS: usize = 33;

/// Free ranges of addresses, ordered, apart from each other and never empty.
///
/// They lie in chunks of up to [`CHUNK_MAX`]. For each alignment and chunk, `fits` has a bound of
/// what fits into one range of the chunk, at that alignment and below 4 GiB. Taking leaves the
/// bounds as they are, too high perhaps; a search that a bound misled sets it right. So with n
/// ranges, a change costs O(log n + `CHUNK_MAX`), and a search O(n / `CHUNK_MAX` + `CHUNK_MAX`)
/// for each chunk that was changed since the last search at that alignment: about the square root
/// of n, in two sweeps over adjacent memory.
#[derive(Debug, Clone)]
pub(super) struct FreeRanges {
    chunks: Vec<Vec<Range<u64>>>,
    fits: [Vec<u32>; ALIGNMENTS],
    count: usize,
}

impl FreeRanges {
    /// No free range.
    pub(super) const fn none() -> Self {
        Self { chunks: Vec::new(), fits: [const { Vec::new() }; ALIGNMENTS], count: 0 }
    }

    /// How many ranges there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.chunks.iter().flatten()
    }

    /// The free range that has all of `wanted`, which is not empty.
    pub(super) fn containing(&self, wanted: &Range<u64>) -> Option<Range<u64>> {
        let (chunk, at) = self.last_starting_by(wanted.start)?;
        let range = self.chunks.get(chunk)?.get(at)?;
        (range.end >= wanted.end).then(|| range.clone())
    }

    /// Whether no address of `wanted`, which is not empty, is in a free range.
    pub(super) fn is_apart_from(&self, wanted: &Range<u64>) -> bool {
        let last = self.last_starting_by(wanted.end - 1);
        let last = last.and_then(|(chunk, at)| self.chunks.get(chunk)?.get(at));
        last.is_none_or(|range| range.end <= wanted.start)
    }

    /// Whether a free range ends where `wanted` starts, or starts where it ends.
    pub(super) fn touches(&self, wanted: &Range<u64>) -> bool {
        [wanted.start, wanted.end].into_iter().any(|edge| {
            let near = self.last_starting_by(edge).and_then(|(chunk, at)| self.range(chunk, at));
            near.is_some_and(|range| range.start == edge || range.end == edge)
        })
    }

    /// The lowest multiple of 2^`alignment` with `size` free bytes behind it, below 4 GiB.
    pub(super) fn lowest_fit(&mut self, size: u32, alignment: usize) -> Option<u64> {
        let fits = self.fits.get_mut(alignment)?;
        for (chunk, bound) in self.chunks.iter().zip(fits) {
            if *bound < size {
                continue;
            }
            let mut largest = 0;
            for range in chunk {
                let room = room_at(range, alignment);
                if room >= size {
                    return Some(range.start.next_multiple_of(1 << alignment));
                }
                largest = largest.max(room);
            }
            *bound = largest;
        }
        None
    }

    /// Takes `wanted`, which one free range has, out of it.
    ///
    /// Gives false, and does nothing, when there is no such range.
    pub(super) fn take(&mut self, wanted: Range<u64>) -> bool {
        let Some((chunk, at)) = self.last_starting_by(wanted.start) else { return false };
        let Some(range) = self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(at)) else {
            return false;
        };
        if range.end < wanted.end {
            return false;
        }
        let before = range.start..wanted.start;
        let after = wanted.end..range.end;
        match (before.is_empty(), after.is_empty()) {
            (false, false) => {
                *range = before;
                self.insert(chunk, at + 1, after);
            }
            (false, true) => *range = before,
            (true, false) => *range = after,
            (true, true) => self.remove(chunk, at),
        }
        true
    }

    /// Adds `freed`, which is apart from all free ranges, and joins it with those it touches.
    pub(super) fn give(&mut self, freed: Range<u64>) {
        let before = self.last_starting_by(freed.start);
        let mut joined = freed.clone();
        // The range behind goes first: the place of the one before is not changed by that.
        let behind = self.last_starting_by(freed.end).filter(|behind| Some(*behind) != before);
        if let Some((chunk, at)) = behind {
            if let Some(range) = self.range(chunk, at).filter(|range| range.start == freed.end) {
                joined.end = range.end;
                match before.and_then(|(chunk, at)| self.range(chunk, at)) {
                    Some(lower) if lower.end == freed.start => self.remove(chunk, at),
                    _ => return self.replace(chunk, at, joined),
                }
            }
        }
        match self.last_starting_by(freed.start) {
            Some((chunk, at)) => match self.range(chunk, at) {
                Some(range) if range.end == freed.start => {
                    joined.start = range.start;
                    self.replace(chunk, at, joined);
                }
                _ => self.insert(chunk, at + 1, joined),
            },
            None => self.insert(0, 0, joined),
        }
    }

    fn range(&self, chunk: usize, at: usize) -> Option<Range<u64>> {
        self.chunks.get(chunk)?.get(at).cloned()
    }

    /// Chunk and place of the last range that starts at `address` or before.
    fn last_starting_by(&self, address: u64) -> Option<(usize, usize)> {
        let starts_by = |range: &Range<u64>| range.start <= address;
        let chunk = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(starts_by))
            .checked_sub(1)?;
        let at = self.chunks.get(chunk)?.partition_point(starts_by).checked_sub(1)?;
        Some((chunk, at))
    }

    fn replace(&mut self, chunk: usize, at: usize, range: Range<u64>) {
        self.raise_bounds(chunk, &range);
        if let Some(place) = self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(at)) {
            *place = range;
        }
    }

    fn insert(&mut self, mut chunk: usize, mut at: usize, range: Range<u64>) {
        self.count += 1;
        let Some(ranges) = self.chunks.get_mut(chunk) else {
            return self.insert_chunk(chunk, vec![range]);
        };
        if ranges.len() >= CHUNK_MAX {
            let upper = ranges.split_off(CHUNK_MAX / 2);
            self.insert_chunk(chunk + 1, upper);
            if at > CHUNK_MAX / 2 {
                (chunk, at) = (chunk + 1, at - CHUNK_MAX / 2);
            }
        }
        self.raise_bounds(chunk, &range);
        if let Some(ranges) = self.chunks.get_mut(chunk) {
            let len = ranges.len();
            if len == ranges.capacity() {
                // Twice the room, but never more than a chunk can need.
                ranges.reserve_exact(len.max(4).min(CHUNK_MAX - len));
            }
            ranges.insert(at.min(len), range);
        }
    }

    fn remove(&mut self, chunk: usize, at: usize) {
        let Some(ranges) = self.chunks.get_mut(chunk).filter(|ranges| at < ranges.len()) else {
            return;
        };
        ranges.remove(at);
        self.count -= 1;
        let len = ranges.len();
        // So that there is room for four times the ranges at most, however they were taken away.
        if len <= ranges.capacity() / 4 {
            ranges.shrink_to(ranges.capacity() / 2);
        }
        if len >= CHUNK_MIN {
            return;
        }
        let has_room = |neighbour: usize| {
            self.chunks.get(neighbour).is_some_and(|other| other.len() + len <= CHUNK_MAX * 3 / 4)
        };
        if has_room(chunk + 1) {
            self.join_with_next(chunk);
        } else if chunk > 0 && has_room(chunk - 1) {
            self.join_with_next(chunk - 1);
        } else if len == 0 {
            self.remove_chunk(chunk);
        }
    }

    fn join_with_next(&mut self, chunk: usize) {
        let next = self.remove_chunk(chunk + 1);
        for range in &next {
            self.raise_bounds(chunk, range);
        }
        if let Some(ranges) = self.chunks.get_mut(chunk) {
            ranges.reserve_exact(next.len());
            ranges.extend(next);
        }
    }

    fn insert_chunk(&mut self, at: usize, ranges: Vec<Range<u64>>) {
        for (alignment, fits) in self.fits.iter_mut().enumerate() {
            let largest = ranges.iter().map(|range| room_at(range, alignment)).max();
            fits.insert(at, largest.unwrap_or(0));
        }
        self.chunks.insert(at, ranges);
    }

    fn remove_chunk(&mut self, at: usize) -> Vec<Range<u64>> {
        for fits in &mut self.fits {
            fits.remove(at);
        }
        self.chunks.remove(at)
    }

    fn raise_bounds(&mut self, chunk: usize, range: &Range<u64>) {
        for (alignment, fits) in self.fits.iter_mut().enumerate() {
            if let Some(bound) = fits.get_mut(chunk) {
                *bound = (*bound).max(room_at(range, alignment));
            }
        }
    }
}

/// How many bytes of `range` can be claimed from its first multiple of 2^`alignment` on.
fn room_at(range: &Range<u64>, alignment: usize) -> u32 {
    let end = range.end.min(CLAIMABLE_END);
    let mask = (1_u64 << alignment) - 1;
    let start = range.start.saturating_add(mask) & !mask;
    u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX)
}
