//! Addresses: the cache of translations, the ways to find one, and the loads and stores on top.

mod access;
mod device;
mod hash;
mod outside;
mod quad;
mod radix;
mod tlb;
mod translate;

pub(crate) use device::{Device, DeviceAccess, Operand};
pub(crate) use tlb::Tlb;

/// The bits of an address that tell where in its page it is.
const PAGE_OFFSET: u64 = crate::ram::PAGE_BYTES - 1;

/// What a translation is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Load,
    Store,
    Fetch,
}
