//! The hashed page table of a partition (LoPAPR §14.5.4.1; Power ISA 2.07, Book III §5.7.7): where
//! the translations of a guest without radix trees are. It is the hypervisor's memory, and no part
//! of the guest's.
//!
//! [`HashedPageTable`] is the table as a device, with the hypercalls by which a guest changes it: for
//! back ends that have none of their own. Their CPUs search its [`Table`].

pub mod bits;
mod calls;
mod device;
mod entry;
mod order;
mod pages;
mod prepared;
pub(crate) mod properties;
mod resize;
#[cfg(feature = "serde")]
mod saved;
mod table;
mod tokens;
mod virtual_page;

pub use device::{Gone, HashedPageTable, TranslationCaches};
pub use entry::Entry;
pub use order::Order;
pub use pages::{HashPage, SEGMENT_PAGE_SIZES, SLB_ENTRIES, SegmentPageSizes};
pub use table::{Found, Table};
pub use tokens::{FUNCTION_SETS, TOKENS};
pub use virtual_page::VirtualPage;

#[cfg(test)]
mod tests;
