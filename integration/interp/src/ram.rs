//! Guest RAM as the core sees it.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use vm_memory::{Bytes, VolatileMemory, VolatileSlice};

/// log2 of the granule in which translations and decoded code are kept.
pub(crate) const PAGE_SHIFT: u32 = 12;
/// The granule in bytes.
pub(crate) const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

/// There is no RAM at a real address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRam;

/// RAM from real address 0 on, shared with the rest of the machine and with the other CPUs.
///
/// Aligned accesses are atomic, as the architecture wants them (Book II §1.4, "single-copy
/// atomicity"); others may be seen half done.
#[derive(Clone, Copy)]
pub(crate) struct Ram<'a>(VolatileSlice<'a>);

impl<'a> Ram<'a> {
    pub(crate) fn new(slice: VolatileSlice<'a>) -> Self {
        Self(slice)
    }

    /// Whether the page at this real address is all RAM.
    pub(crate) fn has_page(&self, page: u64) -> bool {
        page.checked_add(PAGE_BYTES).is_some_and(|end| end <= self.0.len() as u64)
    }

    /// Whether all of these bytes are RAM.
    pub(crate) fn has(&self, at: u64, bytes: u64) -> bool {
        at.checked_add(bytes).is_some_and(|end| end <= self.0.len() as u64)
    }

    /// Whether these few bytes are RAM; `None` when only a part of them is.
    pub(crate) fn part(&self, at: u64, bytes: u64) -> Option<bool> {
        match self.has(at, bytes) {
            true => Some(true),
            false => (!self.has(at, 1) && !self.has(at + bytes - 1, 1)).then_some(false),
        }
    }

    /// Loads at a real address, aligned or not, in the host's byte order.
    #[inline(always)]
    pub(crate) fn load<T: Word>(&self, at: u64) -> Result<T, NoRam> {
        T::load(&self.0, at as usize)
    }

    /// Stores at a real address, aligned or not, in the host's byte order.
    #[inline(always)]
    pub(crate) fn store<T: Word>(&self, at: u64, value: T) -> Result<(), NoRam> {
        T::store(&self.0, at as usize, value)
    }

    /// A doubleword of a table, which is big-endian whatever MSR.LE says.
    pub(crate) fn load_be(&self, at: u64) -> Result<u64, NoRam> {
        self.load::<u64>(at).map(u64::from_be)
    }

    /// Sets bits of a big-endian doubleword if it is still `old`.
    pub(crate) fn update_be(&self, at: u64, old: u64, bits: u64) -> Result<bool, NoRam> {
        let cell = self.0.get_atomic_ref::<AtomicU64>(at as usize).map_err(|_| NoRam)?;
        let (old, new) = (old.to_be(), (old | bits).to_be());
        let done = cell.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
        Ok(done.is_ok())
    }

    /// Stores `new` at an aligned address if `old` is there.
    pub(crate) fn exchange<T: Word>(&self, at: u64, old: T, new: T) -> Result<bool, NoRam> {
        T::exchange(&self.0, at as usize, old, new)
    }

    /// Reads bytes as they are at some moment of the call.
    pub(crate) fn read_page(&self, at: u64, buffer: &mut [u8]) -> Result<(), NoRam> {
        self.0.read_slice(buffer, at as usize).map_err(|_| NoRam)
    }

    pub(crate) fn fill_zero(&self, at: u64, bytes: usize) -> Result<(), NoRam> {
        const ZEROS: [u8; 128] = [0; 128];
        self.0.write_slice(&ZEROS[..bytes.min(128)], at as usize).map_err(|_| NoRam)
    }
}

/// A size of access.
pub(crate) trait Word: Copy + Eq {
    const BYTES: u64;
    fn load(ram: &VolatileSlice<'_>, at: usize) -> Result<Self, NoRam>;
    fn store(ram: &VolatileSlice<'_>, at: usize, value: Self) -> Result<(), NoRam>;
    fn exchange(ram: &VolatileSlice<'_>, at: usize, old: Self, new: Self) -> Result<bool, NoRam>;
    /// From the order of memory to the host's, or back.
    fn big_endian_value(self) -> Self;
    /// From the order of memory to the host's, or back.
    fn little_endian_value(self) -> Self;
    /// The first bytes, as they lie in memory.
    fn from_memory(bytes: &[u8; 8]) -> Self;
    /// As it lies in memory, and zeros behind.
    fn to_memory(self) -> [u8; 8];
    fn widen(self) -> u64;
    fn narrow(value: u64) -> Self;
}

macro_rules! word {
    ($word:ty, $atomic:ty) => {
        impl Word for $word {
            const BYTES: u64 = size_of::<$word>() as u64;

            #[inline(always)]
            fn load(ram: &VolatileSlice<'_>, at: usize) -> Result<Self, NoRam> {
                // The compiler makes one load of it; where the address is aligned, the host's
                // loads of this size are atomic.
                match ram.get_ref::<$word>(at) {
                    Ok(cell) => Ok(cell.load()),
                    Err(_) => Err(NoRam),
                }
            }

            #[inline(always)]
            fn store(ram: &VolatileSlice<'_>, at: usize, value: Self) -> Result<(), NoRam> {
                match ram.get_ref::<$word>(at) {
                    Ok(cell) => {
                        cell.store(value);
                        Ok(())
                    }
                    Err(_) => Err(NoRam),
                }
            }

            fn exchange(
                ram: &VolatileSlice<'_>,
                at: usize,
                old: Self,
                new: Self,
            ) -> Result<bool, NoRam> {
                let cell = ram.get_atomic_ref::<$atomic>(at).map_err(|_| NoRam)?;
                let done = cell.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
                Ok(done.is_ok())
            }

            #[inline(always)]
            fn big_endian_value(self) -> Self {
                <$word>::from_be(self)
            }

            #[inline(always)]
            fn little_endian_value(self) -> Self {
                <$word>::from_le(self)
            }

            fn from_memory(bytes: &[u8; 8]) -> Self {
                let mut own = [0; size_of::<$word>()];
                own.copy_from_slice(&bytes[..size_of::<$word>()]);
                <$word>::from_ne_bytes(own)
            }

            fn to_memory(self) -> [u8; 8] {
                let mut bytes = [0; 8];
                bytes[..size_of::<$word>()].copy_from_slice(&self.to_ne_bytes());
                bytes
            }

            #[inline(always)]
            fn widen(self) -> u64 {
                u64::from(self)
            }

            #[inline(always)]
            fn narrow(value: u64) -> Self {
                value as $word
            }
        }
    };
}

word!(u8, AtomicU8);
word!(u16, AtomicU16);
word!(u32, AtomicU32);
word!(u64, AtomicU64);
