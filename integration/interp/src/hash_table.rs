//! What a CPU asks of a hashed page table.

use std::fmt;

/// A hashed page table, which is the hypervisor's: where a CPU finds translations while it has no
/// radix trees ([`crate::Cpu::use_hash`]). It belongs to a [`crate::System`].
///
/// CPUs ask whenever they do not remember a translation, and several at once.
pub trait HashTable: fmt::Debug + Send + Sync {
    /// The entry of a page, by its primary hash or by its secondary (Power ISA 2.07, Book III §5.7.7.3).
    fn find(&self, page: &VirtualPage) -> Option<PageEntry>;

    /// Sets R, or R and C, in the second doubleword of an entry that was found. False if that has
    /// changed since.
    fn record(&self, entry: &PageEntry, set: u64) -> bool;
}

/// A page by its virtual address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualPage {
    /// The virtual segment.
    pub vsid: u64,
    /// Log2 of its size: 28 or 40.
    pub segment_shift: u32,
    /// An address within it.
    pub offset: u64,
    /// Log2 of its base page size.
    pub base_shift: u32,
}

/// An entry that translates a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageEntry {
    /// What the table knows it by.
    pub number: u64,
    /// Its second doubleword, when it was found.
    pub second: u64,
    /// Log2 of the size of its page.
    pub shift: u32,
}

/// A page that went from a [`HashTable`]: all effective addresses that have these lower bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GonePage {
    /// An address of it, within its segment.
    pub offset: u64,
    /// Log2 of its size.
    pub shift: u32,
}
