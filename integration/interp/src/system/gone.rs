//! Pages that went from the hashed page table: what of them each CPU has to forget.

use std::collections::VecDeque;

use crate::hash_table::GonePage;

/// Who has missed more of them drops all translations.
const KEPT_MAX: usize = 64;

/// The pages, the newest last.
#[derive(Debug, Default)]
pub(super) struct GonePages {
    /// How many there were.
    count: u64,
    kept: VecDeque<GonePage>,
}

impl GonePages {
    /// Adds some; how many there were.
    pub(super) fn add(&mut self, pages: &[GonePage]) -> u64 {
        for &page in pages {
            if self.kept.len() == KEPT_MAX {
                self.kept.pop_front();
            }
            self.kept.push_back(page);
            self.count += 1;
        }
        self.count
    }

    /// Those behind the first `since`, or `None` when these are too many.
    pub(super) fn since(&self, since: u64) -> Option<impl Iterator<Item = GonePage>> {
        let missed = usize::try_from(self.count - since).ok()?;
        let skipped = self.kept.len().checked_sub(missed)?;
        Some(self.kept.iter().skip(skipped).copied())
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}
