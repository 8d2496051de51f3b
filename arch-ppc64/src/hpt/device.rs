//! The table as a device.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::Entry;
use super::order::Order;
use super::prepared::Prepared;
use super::table::{GROUP, Table};
use super::tokens::FUNCTION_SETS;
use crate::hypercall::HypercallHandler;
use crate::platform::Device;

/// What CPUs may have remembered and must not use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// All addresses that have these lower bits, in whatever segment.
    Page {
        /// An address of the page, within its segment.
        offset: u64,
        /// Log2 of the size of the page.
        shift: u32,
    },
    /// Everything.
    All,
}

impl Gone {
    /// What is to be forgotten of an entry that was in a group.
    fn of(entry: Entry, group: u64) -> Self {
        match (entry.page(group), entry.page_shifts()) {
            (Some(page), Some((_, shift))) => {
                Self::Page { offset: page.offset & !((1 << shift) - 1), shift }
            }
            _ => Self::All,
        }
    }
}

/// Those who remember what they have found in the table: CPUs.
pub trait TranslationCaches: Send + Sync {
    /// Comes back when no CPU uses what is gone any more. One that is in a hypercall uses nothing.
    fn forget(&self, gone: &[Gone]);

    /// Comes back when all CPUs look into `table`, and remember nothing of another one.
    fn replace(&self, table: &Arc<Table>);
}

/// A partition's hashed page table, and the hypercalls by which its guest changes it (LoPAPR
/// §14.5.4.1), for back ends whose CPUs search a [`Table`].
///
/// It takes memory as entries are made, up to its size. A guest can replace it by one of another size,
/// but not by more than twice what the machine was made with.
pub struct HashedPageTable {
    order: Order,
    caches: Arc<dyn TranslationCaches>,
    contents: Mutex<Contents>,
}

pub(super) struct Contents {
    pub(super) table: Arc<Table>,
    /// The one that takes its place when the guest says so.
    pub(super) prepared: Option<Prepared>,
    /// How far H_CLEAR_HPT has got: there are no entries before.
    pub(super) cleared: u64,
}

impl HashedPageTable {
    /// An empty table of this size. What CPUs find in it, `caches` remember.
    pub fn new(order: Order, caches: Arc<dyn TranslationCaches>) -> Self {
        let table = Arc::new(Table::new(order));
        let contents = Contents { table, prepared: None, cleared: 0 };
        Self { order, caches, contents: Mutex::new(contents) }
    }

    /// The table that CPUs are to look into. Another one takes its place by
    /// [`TranslationCaches::replace`] only.
    pub fn table(&self) -> Arc<Table> {
        self.lock().table.clone()
    }

    /// The size of the table at the start of the machine.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Makes it an empty one of this size, which is no larger than it was made with: for a guest that
    /// has agreed on hash translation.
    pub fn empty(&self, order: Order) {
        self.replace(Table::new(order.min(self.order)));
    }

    pub(super) fn replace(&self, table: Table) {
        self.lock().replace(table, &*self.caches);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn caches(&self) -> &dyn TranslationCaches {
        &*self.caches
    }
}

impl Contents {
    /// Takes up another table. Nobody changes it before all CPUs look into it: who wants to, waits
    /// for the lock that the caller has, and no CPU waits for such.
    pub(super) fn replace(&mut self, table: Table, caches: &dyn TranslationCaches) {
        *self = Self { table: Arc::new(table), prepared: None, cleared: 0 };
        caches.replace(&self.table);
    }

    pub(super) fn enter(&mut self, number: u64, entry: Entry) {
        self.table.enter(number, entry);
        self.cleared = self.cleared.min(number);
        if let Some(prepared) = &mut self.prepared {
            prepared.entered(number, entry);
        }
    }

    /// Takes an entry away; what it was, and what is to be forgotten.
    pub(super) fn remove(&mut self, number: u64) -> (Entry, Gone) {
        let removed = self.table.remove(number);
        if let Some(prepared) = &mut self.prepared {
            prepared.removed(number, removed);
        }
        (removed, Gone::of(removed, number / GROUP))
    }

    /// Changes the second doubleword of an entry; what it was, and what is to be forgotten.
    pub(super) fn change(&mut self, number: u64, change: impl Fn(u64) -> u64) -> (u64, Gone) {
        let old = self.table.change(number, &change);
        if let Some(prepared) = &mut self.prepared {
            prepared.changed(number, self.table.get(number));
        }
        (old, Gone::of(self.table.get(number), number / GROUP))
    }
}

impl Device for HashedPageTable {
    fn id(&self) -> &str {
        "hashed-page-table"
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn function_sets(&self) -> &[&'static str] {
        &FUNCTION_SETS
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }

    /// Empties it, and gives it its size back.
    fn reset(&self) {
        self.empty(self.order);
    }
}

impl fmt::Debug for HashedPageTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashedPageTable").field("order", &self.order).finish_non_exhaustive()
    }
}
