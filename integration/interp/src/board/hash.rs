//! The hashed page table of the machine, as its CPUs search it and are told of what changes.

use std::sync::Arc;

use arch_ppc64::hpt::{self, Found, Gone, HashedPageTable, Order, Table, TranslationCaches};

use crate::hash_table::{GonePage, HashTable, PageEntry, VirtualPage};
use crate::system::System;

/// A table of this size, which the CPUs of a system look into.
pub(super) fn page_table(system: &Arc<System>, order: Order) -> Arc<HashedPageTable> {
    let table = HashedPageTable::new(order, Arc::new(Caches(system.clone())));
    system.set_hash_table(Arc::new(Searched(table.table())));
    Arc::new(table)
}

/// What the CPUs remember.
struct Caches(Arc<System>);

impl TranslationCaches for Caches {
    fn forget(&self, gone: &[Gone]) {
        let page = |gone: &Gone| match *gone {
            Gone::Page { offset, shift } => Some(GonePage { offset, shift }),
            Gone::All => None,
        };
        match gone.iter().map(page).collect::<Option<Vec<_>>>() {
            Some(pages) => self.0.pages_gone(&pages),
            None => self.0.all_pages_gone(),
        }
    }

    fn replace(&self, table: &Arc<Table>) {
        self.0.set_hash_table(Arc::new(Searched(table.clone())));
    }
}

/// A table as CPUs search it.
#[derive(Debug)]
struct Searched(Arc<Table>);

impl HashTable for Searched {
    fn find(&self, page: &VirtualPage) -> Option<PageEntry> {
        let &VirtualPage { vsid, segment_shift, offset, base_shift } = page;
        let found = self.0.find(&hpt::VirtualPage { vsid, segment_shift, offset, base_shift })?;
        let Found { number, entry, shift } = found;
        Some(PageEntry { number, second: entry.second, shift })
    }

    fn record(&self, entry: &PageEntry, set: u64) -> bool {
        self.0.record(entry.number, entry.second, set)
    }
}
