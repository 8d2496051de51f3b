//! The table as it is saved: its size, and its entries in runs. A table that was being prepared is
//! given up, which a guest is told when it would take it up.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::device::HashedPageTable;
use super::entry::Entry;
use super::order::Order;
use super::table::{PIECE, Table};
use crate::platform::{SaveState, StateError, StateValue};

/// An entry as text: both doublewords in sixteen digits each.
const ENTRY_DIGITS: usize = 32;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableState {
    order: u64,
    /// The number of the first entry, and it and those behind it in hexadecimal digits.
    entries: Vec<(u64, String)>,
}

impl SaveState for HashedPageTable {
    fn save(&self) -> Result<StateValue, StateError> {
        let table = self.table();
        let mut entries = Vec::new();
        let mut number = 0;
        while number < table.entries() {
            let next = table.next_in_memory(number);
            if next == number {
                save_piece(&table, number, &mut entries);
                number += PIECE;
            } else {
                number = next;
            }
        }
        StateValue::of(&TableState { order: table.order().get().into(), entries })
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let TableState { order, entries } = state.get()?;
        let wrong = |what: String| Err(StateError::Value(what));
        let Some(order) = Order::new(order).filter(|order| self.may_be(*order)) else {
            return wrong(format!("a hashed page table of order {order}"));
        };
        let table = Table::new(order);
        for (start, digits) in entries {
            let Some(run) = run(&digits) else { return wrong(format!("entries {digits:?}")) };
            if start >= table.entries() {
                return wrong(format!("entry {start} of the hashed page table"));
            }
            for (number, entry) in (start..).zip(run) {
                let is_new = number < table.entries() && !table.get(number).is_valid();
                if !is_new || !entry.is_valid() {
                    return wrong(format!("entry {number} of the hashed page table"));
                }
                table.enter(number, entry);
            }
        }
        self.replace(table);
        Ok(())
    }
}

/// Adds the entries that begin in one piece.
fn save_piece(table: &Table, start: u64, entries: &mut Vec<(u64, String)>) {
    let mut goes_on = false;
    for number in start..start + PIECE {
        let entry = table.get(number);
        if entry.is_valid() {
            if !goes_on {
                entries.push((number, String::new()));
            }
            if let Some((_, digits)) = entries.last_mut() {
                // To a string, nothing fails.
                let _ = write!(digits, "{:016x}{:016x}", entry.first, entry.second);
            }
        }
        goes_on = entry.is_valid();
    }
}

fn run(digits: &str) -> Option<Vec<Entry>> {
    let is_run = digits.len() % ENTRY_DIGITS == 0 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let word = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let entry = |digits: &[u8]| {
        let (first, second) = digits.split_at(ENTRY_DIGITS / 2);
        Some(Entry { first: word(first)?, second: word(second)? })
    };
    is_run.then(|| digits.as_bytes().chunks_exact(ENTRY_DIGITS).map(entry).collect()).flatten()
}
