//! Another table in place of the one that there is: H_RESIZE_HPT_PREPARE and H_RESIZE_HPT_COMMIT.
//!
//! Only entries that are bolted move; the guest makes the others again as it needs them. They move
//! while the table is prepared, a bounded number a call, and what happens to those that have moved
//! happens to their copies, so that there is nothing left to do at the commit but to change tables.

use super::device::{Contents, HashedPageTable};
use super::order::Order;
use super::prepared::Prepared;
use crate::hypercall::Status;

impl HashedPageTable {
    /// Whether the table may have this size: a guest must not make this process take more memory than
    /// its own is worth.
    pub(super) fn may_be(&self, order: Order) -> bool {
        order.get() <= self.order().get() + 1
    }

    /// H_RESIZE_HPT_PREPARE: flags, and log2 of the size; 0 gives up what was prepared.
    pub(super) fn prepare(&self, flags: u64, order: u64) -> Status {
        if flags != 0 {
            return Status::PARAMETER;
        }
        let mut contents = self.lock();
        if order == 0 {
            contents.prepared = None;
            return Status::SUCCESS;
        }
        let Some(order) = Order::new(order) else { return Status::PARAMETER };
        if !self.may_be(order) {
            return Status::RESOURCE;
        }
        let Contents { table, prepared, .. } = &mut *contents;
        if prepared.as_ref().is_some_and(|prepared| prepared.table.order() != order) {
            *prepared = None;
        }
        match prepared.get_or_insert_with(|| Prepared::new(order)).step(table) {
            true => Status::SUCCESS,
            false => Status::LONG_BUSY_ORDER_1_MS,
        }
    }

    /// H_RESIZE_HPT_COMMIT: flags, and the size that was prepared.
    pub(super) fn commit(&self, flags: u64, order: u64) -> Status {
        if flags != 0 {
            return Status::PARAMETER;
        }
        let mut contents = self.lock();
        let fits = |prepared: &Prepared| u64::from(prepared.table.order().get()) == order;
        let Some(prepared) = contents.prepared.take_if(|prepared| fits(prepared)) else {
            return Status::CLOSED;
        };
        if !prepared.is_done(&contents.table) {
            contents.prepared = Some(prepared);
            return Status::BUSY;
        }
        if prepared.is_full {
            return Status::PTEG_FULL;
        }
        contents.replace(prepared.table, self.caches());
        Status::SUCCESS
    }
}
