//! Addresses: the cache of translations, the radix walk, and the loads and stores on top.

mod access;
mod quad;
mod radix;
mod tlb;

pub(crate) use tlb::Tlb;

/// What a translation is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Load,
    Store,
    Fetch,
}
