//! Memory as one would write it down.

use std::ops::Range;

/// Which memory is free: ranges in order, none touching another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    free: Vec<Range<u64>>,
    ram: Vec<Range<u64>>,
    firmware: Range<u64>,
}

impl Memory {
    /// RAM in these ranges, none touching another, of which `firmware` is in use for ever and
    /// `client` for now.
    pub fn new(ram: Vec<Range<u64>>, firmware: Range<u64>, client: Range<u64>) -> Self {
        let mut memory = Self { free: ram.clone(), ram, firmware };
        memory.take(&memory.firmware.clone());
        memory.take(&client);
        memory
    }

    /// What is free.
    pub fn free(&self) -> &[Range<u64>] {
        &self.free
    }

    /// Exactly these bytes.
    pub fn claim_at(&mut self, start: u32, size: u32) -> Option<u32> {
        let wanted = range(start, size)?;
        let is_free = self.free.iter().any(|free| has(free, &wanted));
        let is_answer = wanted.end <= 1 << 32 && start != u32::MAX;
        (is_free && is_answer).then(|| {
            self.take(&wanted);
            start
        })
    }

    /// The lowest that are free, at a multiple of `alignment` or of the next power of two.
    pub fn claim_aligned(&mut self, size: u32, alignment: u32) -> Option<u32> {
        let multiple = u64::from(alignment).next_power_of_two();
        let starts = self.free.iter().filter_map(|free| {
            let start = free.start.next_multiple_of(multiple);
            (start + u64::from(size) <= free.end).then_some(start)
        });
        let start = u32::try_from(starts.min()?).ok()?;
        self.claim_at(start, size)
    }

    /// All of these bytes, if all are in use and none is the firmware's.
    pub fn release(&mut self, start: u32, size: u32) -> bool {
        let Some(freed) = range(start, size) else { return false };
        let meets = |other: &Range<u64>| other.start < freed.end && freed.start < other.end;
        let is_ram = self.is_ram(&freed);
        if !is_ram || meets(&self.firmware) || self.free.iter().any(meets) {
            return false;
        }
        self.free.push(freed);
        self.free.sort_by_key(|free| free.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for free in self.free.drain(..) {
            match joined.last_mut() {
                Some(last) if last.end == free.start => last.end = free.end,
                _ => joined.push(free),
            }
        }
        self.free = joined;
        true
    }

    /// Whether all of this is RAM that a client can name.
    pub fn is_ram(&self, range: &Range<u64>) -> bool {
        range.end <= 1 << 32 && self.ram.iter().any(|ram| has(ram, range))
    }

    fn take(&mut self, taken: &Range<u64>) {
        let rest = |free: &Range<u64>| {
            [free.start..free.end.min(taken.start), free.start.max(taken.end)..free.end]
        };
        let rests = self.free.iter().flat_map(rest).filter(|range| !range.is_empty());
        self.free = rests.collect();
    }
}

fn range(start: u32, size: u32) -> Option<Range<u64>> {
    (size > 0).then(|| u64::from(start)..u64::from(start) + u64::from(size))
}

fn has(range: &Range<u64>, other: &Range<u64>) -> bool {
    range.start <= other.start && other.end <= range.end
}
