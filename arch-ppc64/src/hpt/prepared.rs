//! A table that is being prepared to take the place of another one.

use super::bits;
use super::entry::Entry;
use super::order::Order;
use super::table::{GROUP, Table};

/// How many entries, or as many places without memory, one call looks at.
const STEP: usize = 4096;

/// A table that is being prepared.
pub(super) struct Prepared {
    pub(super) table: Table,
    /// The entries before this one have moved.
    moved: u64,
    /// A group had no room for all that belongs there.
    pub(super) is_full: bool,
}

impl Prepared {
    pub(super) fn new(order: Order) -> Self {
        Self { table: Table::new(order), moved: 0, is_full: false }
    }

    /// Moves some entries; whether all have moved.
    pub(super) fn step(&mut self, old: &Table) -> bool {
        for _ in 0..STEP {
            if self.moved >= old.entries() {
                break;
            }
            let next = old.next_in_memory(self.moved);
            if next == self.moved {
                self.copy(next, old.get(next));
                self.moved = next + 1;
            } else {
                self.moved = next;
            }
        }
        self.is_done(old)
    }

    /// Whether all entries of a table have moved.
    pub(super) fn is_done(&self, old: &Table) -> bool {
        self.moved >= old.entries()
    }

    pub(super) fn entered(&mut self, number: u64, entry: Entry) {
        if number < self.moved {
            self.copy(number, entry);
        }
    }

    pub(super) fn removed(&mut self, number: u64, entry: Entry) {
        if let Some(copy) = self.copy_of(number, entry) {
            self.table.remove(copy);
        }
    }

    pub(super) fn changed(&mut self, number: u64, entry: Entry) {
        if let Some(copy) = self.copy_of(number, entry) {
            self.table.change(copy, |_| recorded(entry).second);
        }
    }

    fn copy(&mut self, number: u64, entry: Entry) {
        if !entry.is_valid() || !entry.is_bolted() {
            return;
        }
        let Some(start) = self.group(number, entry) else { return };
        match (start..start + GROUP).find(|&number| !self.table.get(number).is_valid()) {
            Some(free) => self.table.enter(free, recorded(entry)),
            None => self.is_full = true,
        }
    }

    fn copy_of(&self, number: u64, entry: Entry) -> Option<u64> {
        if number >= self.moved || !entry.is_bolted() {
            return None;
        }
        let start = self.group(number, entry)?;
        (start..start + GROUP).find(|&number| self.table.get(number).first == entry.first)
    }

    /// The first entry of the group that an entry belongs to, by the hash that it is entered by.
    fn group(&self, number: u64, entry: Entry) -> Option<u64> {
        let hash = entry.page(number / GROUP)?.hash();
        let hash = if entry.first & bits::SECONDARY == 0 { hash } else { !hash };
        Some((hash & (self.table.groups() - 1)) * GROUP)
    }
}

/// What CPUs record meanwhile, they record in the table that there is: of a copy, the worst is assumed.
fn recorded(entry: Entry) -> Entry {
    Entry { second: entry.second | bits::REFERENCED | bits::CHANGED, ..entry }
}
