//! The hashed page table of a partition (LoPAPR §14.5.4.1; Power ISA 2.07, Book III §5.7.7): where
//! the translations of a guest without radix trees are. It is the hypervisor's memory, and no part
//! of the guest's.

mod order;
pub(crate) mod properties;

pub use order::Order;
