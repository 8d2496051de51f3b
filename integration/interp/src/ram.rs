//! Guest RAM as the core sees it.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use vm_memory::{Bytes, VolatileMemory, VolatileSlice};

pub(crate) use crate::page_map::{PAGE_BYTES, PAGE_SHIFT};
use crate::region::{RamRegion, RegionIdentity};

/// There is no RAM at a real address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRam;

/// Where RAM is: how far into a region, and in the upper bits the region's number. So a place in
/// the first region is an offset into it, and no other place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RamAt(pub(crate) u64);

const REGION_SHIFT: u32 = 52;

/// Translations lead to no more regions than these. Others are RAM all the same.
const REGIONS_MAX: usize = 1 << (64 - REGION_SHIFT);

/// So few regions are looked through one by one.
const FEW_REGIONS: usize = 8;

impl RamAt {
    pub(crate) fn region(self) -> usize {
        (self.0 >> REGION_SHIFT) as usize
    }

    pub(crate) fn offset(self) -> u64 {
        self.0 & ((1 << REGION_SHIFT) - 1)
    }
}

/// RAM, shared with the rest of the machine and with the other CPUs.
///
/// Aligned accesses are atomic, as the architecture wants them (Book II §1.4, "single-copy
/// atomicity"); others may be seen half done.
#[derive(Clone, Copy)]
pub(crate) struct Ram<'a> {
    /// The memory of the first region, where nearly all accesses go.
    first: VolatileSlice<'a>,
    regions: &'a [RamRegion<'a>],
    /// There are many, in the order of their addresses.
    is_sorted: bool,
}

impl<'a> Ram<'a> {
    pub(crate) fn new(regions: &'a [RamRegion<'a>]) -> Self {
        let none = || VolatileSlice::from(&mut [][..]);
        let is_sorted =
            regions.len() > FEW_REGIONS && regions.is_sorted_by_key(|region| region.start());
        let first = regions.first().map_or_else(none, |region| *region.slice());
        Self { first, regions, is_sorted }
    }

    pub(crate) fn regions(&self) -> &'a [RamRegion<'a>] {
        self.regions
    }

    /// Whether these are the regions.
    pub(crate) fn is(&self, known: &[RegionIdentity]) -> bool {
        self.regions.len() == known.len()
            && self.regions.iter().zip(known).all(|(region, known)| region.identity() == *known)
    }

    /// Where these bytes are, if all of them are in one region.
    pub(crate) fn find(&self, at: u64, bytes: u64) -> Option<RamAt> {
        let (region, offset) = self.position(at, bytes)?;
        let fits = region < REGIONS_MAX && offset >> REGION_SHIFT == 0;
        fits.then_some(RamAt((region as u64) << REGION_SHIFT | offset))
    }

    /// The number of the region that all of these bytes are in, and where in it.
    fn position(&self, at: u64, bytes: u64) -> Option<(usize, u64)> {
        if self.is_sorted {
            let behind = self.regions.partition_point(|region| region.start().0 <= at);
            let number = behind.checked_sub(1)?;
            return Some((number, self.regions[number].offset(at, bytes)?));
        }
        let mut all = self.regions.iter().enumerate();
        all.find_map(|(number, region)| Some((number, region.offset(at, bytes)?)))
    }

    /// The region that all of these bytes are in, and where in it.
    fn region(&self, at: u64, bytes: u64) -> Result<(&RamRegion<'a>, usize), NoRam> {
        let (number, offset) = self.position(at, bytes).ok_or(NoRam)?;
        Ok((&self.regions[number], offset as usize))
    }

    /// The real address of a place.
    pub(crate) fn real(&self, at: RamAt) -> u64 {
        let start = self.regions.get(at.region()).map_or(0, |region| region.start().0);
        start.wrapping_add(at.offset())
    }

    /// Whether the page at this real address is all RAM.
    pub(crate) fn has_page(&self, page: u64) -> bool {
        self.has(page, PAGE_BYTES)
    }

    /// Whether all of these bytes are RAM.
    pub(crate) fn has(&self, at: u64, bytes: u64) -> bool {
        self.region(at, bytes).is_ok()
    }

    /// Whether these few bytes are RAM; `None` when only a part of them is.
    pub(crate) fn part(&self, at: u64, bytes: u64) -> Option<bool> {
        match self.has(at, bytes) {
            true => Some(true),
            false => (!self.has(at, 1) && !self.has(at + bytes - 1, 1)).then_some(false),
        }
    }

    /// Loads at a place in the first region, in the host's byte order.
    #[inline(always)]
    pub(crate) fn load_first<T: Word>(&self, at: RamAt) -> Result<T, NoRam> {
        T::load(&self.first, at.0 as usize)
    }

    /// Stores at a place in the first region, in the host's byte order. Who may, knows that no page
    /// map has to be told.
    #[inline(always)]
    pub(crate) fn store_first<T: Word>(&self, at: RamAt, value: T) -> Result<(), NoRam> {
        T::store(&self.first, at.0 as usize, value)
    }

    /// The same in any region.
    pub(crate) fn load_at<T: Word>(&self, at: RamAt) -> Result<T, NoRam> {
        let region = self.regions.get(at.region()).ok_or(NoRam)?;
        T::load(region.slice(), at.offset() as usize)
    }

    /// The same in any region.
    pub(crate) fn store_at<T: Word>(&self, at: RamAt, value: T) -> Result<(), NoRam> {
        let region = self.regions.get(at.region()).ok_or(NoRam)?;
        T::store(region.slice(), at.offset() as usize, value)
    }

    /// Loads at a real address, aligned or not, in the host's byte order.
    pub(crate) fn load<T: Word>(&self, at: u64) -> Result<T, NoRam> {
        let (region, offset) = self.region(at, T::BYTES)?;
        T::load(region.slice(), offset)
    }

    /// Stores at a real address, aligned or not, in the host's byte order.
    pub(crate) fn store<T: Word>(&self, at: u64, value: T) -> Result<(), NoRam> {
        let (region, offset) = self.region(at, T::BYTES)?;
        T::store(region.slice(), offset, value)?;
        log_store(region, offset);
        Ok(())
    }

    /// The page at this real address holds code that is decoded from now on.
    pub(crate) fn mark_code(&self, page: u64) {
        if let Ok((region, offset)) = self.region(page, PAGE_BYTES) {
            if let Some(pages) = region.pages() {
                pages.mark_code(offset as u64, PAGE_BYTES);
            }
        }
    }

    /// A doubleword of a table, which is big-endian whatever MSR.LE says.
    pub(crate) fn load_be(&self, at: u64) -> Result<u64, NoRam> {
        self.load::<u64>(at).map(u64::from_be)
    }

    /// Sets bits of a big-endian doubleword if it is still `old`.
    pub(crate) fn update_be(&self, at: u64, old: u64, bits: u64) -> Result<bool, NoRam> {
        self.exchange(at, old.to_be(), (old | bits).to_be())
    }

    /// Stores `new` at an aligned address if `old` is there.
    pub(crate) fn exchange<T: Word>(&self, at: u64, old: T, new: T) -> Result<bool, NoRam> {
        let (region, offset) = self.region(at, T::BYTES)?;
        let done = T::exchange(region.slice(), offset, old, new)?;
        log_store(region, offset);
        Ok(done)
    }

    /// Reads bytes as they are at some moment of the call.
    pub(crate) fn read_page(&self, at: u64, buffer: &mut [u8]) -> Result<(), NoRam> {
        let (region, offset) = self.region(at, buffer.len() as u64)?;
        region.slice().read_slice(buffer, offset).map_err(|_| NoRam)
    }

    pub(crate) fn fill_zero(&self, at: u64, bytes: usize) -> Result<(), NoRam> {
        const ZEROS: [u8; 128] = [0; 128];
        let bytes = bytes.min(ZEROS.len());
        let (region, offset) = self.region(at, bytes as u64)?;
        region.slice().write_slice(&ZEROS[..bytes], offset).map_err(|_| NoRam)?;
        log_store(region, offset);
        Ok(())
    }
}

fn log_store(region: &RamRegion<'_>, offset: usize) {
    if let Some(pages) = region.pages() {
        pages.log_store(offset as u64);
    }
}

/// A size of access.
pub(crate) trait Word: Copy + Eq {
    const BYTES: u64;
    fn load(ram: &VolatileSlice<'_>, at: usize) -> Result<Self, NoRam>;
    fn store(ram: &VolatileSlice<'_>, at: usize, value: Self) -> Result<(), NoRam>;
    fn exchange(ram: &VolatileSlice<'_>, at: usize, old: Self, new: Self) -> Result<bool, NoRam>;
    /// From a byte order of memory to the host's, or back.
    fn ordered(self, big_endian: bool) -> Self;
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
            fn ordered(self, big_endian: bool) -> Self {
                if big_endian { <$word>::from_be(self) } else { <$word>::from_le(self) }
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
