//! The core's own cache of translations.
//!
//! Direct-mapped, a page of 4 KiB an entry whatever the size of the guest's page. An entry's tag
//! is the page's effective address and, in the twelve bits below, the *context* in which it is
//! valid: real mode, kernel or user, and a generation. Dropping all translations of a kind is
//! making its generation older. The lowest four bits of a tag are zero, so that one comparison
//! also finds out that an access is not aligned.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::bits::msr;
use crate::page_map::PageMap;
use crate::ram::{PAGE_BYTES, PAGE_SHIFT, RamAt};

const ENTRIES: usize = 1024;
const CODE_ENTRIES: usize = 512;
const PAGE_MASK: u64 = !(PAGE_BYTES - 1);

// Kinds of context. No tag is 0, so a cleared entry never matches.
const REAL: u64 = 1 << 4;
const KERNEL: u64 = 2 << 4;
const USER: u64 = 3 << 4;
const GENERATION_SHIFT: u32 = 6;
const GENERATIONS: u64 = 64;

/// In tags of code: big-endian.
const CODE_BIG_ENDIAN: u64 = 1;

/// Pages of 256 MiB.
const CODE_FILTER_BITS: usize = 1 << 16;

/// More kernel translations of user pages than this are not told apart from the others.
const GUARDED_MAX: usize = 64;

/// A page of data. Its size makes a shift of what finds it, and puts it into one line of the
/// host's cache.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
pub(crate) struct Entry {
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// What an effective address is added to for the place in RAM.
    to_ram: u64,
}

impl Entry {
    /// Where in RAM an effective address is.
    #[inline(always)]
    pub(crate) fn at(&self, ea: u64) -> RamAt {
        RamAt(ea.wrapping_add(self.to_ram))
    }

    /// The place of the page, if stores to it need not be noticed.
    fn writable(&self) -> Option<RamAt> {
        (self.write != 0).then_some(self.at(self.write & PAGE_MASK))
    }
}

/// A page of code.
#[derive(Clone, Copy, Default)]
struct CodeEntry {
    tag: u64,
    page: u32,
}

/// Translations, and which pages hold decoded code.
pub(crate) struct Tlb {
    pub(crate) entries: Box<[Entry; ENTRIES]>,
    pub(crate) context: u64,
    /// Those of the regions of RAM, by number.
    page_maps: Vec<Option<PageMap>>,
    code: Box<[CodeEntry; CODE_ENTRIES]>,
    code_context: u64,
    kernel_generation: u64,
    user_generation: u64,
    mode: u64,
    /// Entries by which the kernel reaches user addresses: they go with PIDR and AMR.
    guarded: Vec<u16>,
    /// The kernel executes at user addresses: what is known of code goes with PIDR.
    guarded_code: bool,
    /// The real pages of which there is decoded code, so that stores must be noticed.
    code_pages: HashSet<u64, BuildHasherDefault<PageHasher>>,
    /// A bit for the lowest bits of each of them, which says quickly of most pages that they are
    /// not there. Some bits are set for nothing.
    maybe_code: Box<[u64; CODE_FILTER_BITS / 64]>,
}

#[inline(always)]
pub(crate) fn slot(ea: u64) -> usize {
    (ea >> PAGE_SHIFT) as usize & (ENTRIES - 1)
}

/// The tag that an access of `bytes` at `ea` must find.
#[inline(always)]
pub(crate) fn tag(ea: u64, bytes: u64, context: u64) -> u64 {
    ea & (PAGE_MASK | (bytes - 1)) | context
}

/// Whether the kernel reaches a user address.
fn is_guarded(ea: u64, context: u64) -> bool {
    ea >> 62 == 0 && context & USER == KERNEL
}

#[inline(always)]
fn code_slot(ea: u64) -> usize {
    (ea >> PAGE_SHIFT) as usize & (CODE_ENTRIES - 1)
}

impl Tlb {
    pub(crate) fn new() -> Self {
        Self {
            entries: Box::new([Entry::default(); ENTRIES]),
            context: REAL,
            page_maps: Vec::new(),
            code: Box::new([CodeEntry::default(); CODE_ENTRIES]),
            code_context: REAL,
            kernel_generation: 0,
            user_generation: 0,
            mode: 0,
            guarded: Vec::with_capacity(GUARDED_MAX),
            guarded_code: false,
            code_pages: HashSet::default(),
            maybe_code: Box::new([0; CODE_FILTER_BITS / 64]),
        }
    }

    /// Follows MSR.
    pub(crate) fn set_mode(&mut self, value: u64) {
        self.mode = value;
        let kernel = KERNEL | self.kernel_generation << GENERATION_SHIFT;
        let translated = match value & msr::PR != 0 {
            true => USER | self.user_generation << GENERATION_SHIFT,
            false => kernel,
        };
        // Real addresses change their meaning for nobody, but code of a page may be dropped.
        let real = REAL | self.kernel_generation << GENERATION_SHIFT;
        self.context = if value & msr::DR != 0 { translated } else { real };
        self.code_context = if value & msr::IR != 0 { translated } else { real };
        if value & msr::LE == 0 {
            self.code_context |= CODE_BIG_ENDIAN;
        }
    }

    /// Drops all translations.
    pub(crate) fn flush(&mut self) {
        self.guarded.clear();
        self.kernel_generation = (self.kernel_generation + 1) % GENERATIONS;
        if self.kernel_generation == 0 {
            self.clear();
        }
        self.flush_user();
    }

    /// Drops the translations of user addresses; whether the kernel may be executing at one.
    pub(crate) fn flush_user(&mut self) -> bool {
        self.flush_guarded();
        let had_code = std::mem::take(&mut self.guarded_code);
        if had_code {
            self.flush_code();
        }
        self.user_generation = (self.user_generation + 1) % GENERATIONS;
        if self.user_generation == 0 {
            self.clear();
        }
        self.set_mode(self.mode);
        had_code
    }

    /// Drops the translations by which the kernel reaches user addresses.
    pub(crate) fn flush_guarded(&mut self) {
        for slot in std::mem::take(&mut self.guarded) {
            self.replace(slot.into(), Entry::default());
        }
    }

    /// Drops the translations of `bytes` from `ea` on, in every context.
    pub(crate) fn flush_range(&mut self, ea: u64, bytes: u64) {
        let mut at = ea & !(bytes - 1);
        for _ in 0..bytes >> PAGE_SHIFT {
            let entry = &self.entries[slot(at)];
            if (entry.read | entry.write) & PAGE_MASK == at {
                self.replace(slot(at), Entry::default());
            }
            let entry = &mut self.code[code_slot(at)];
            if entry.tag & PAGE_MASK == at {
                *entry = CodeEntry::default();
            }
            at = at.wrapping_add(PAGE_BYTES);
        }
    }

    /// Drops the translations of all addresses that have the lower bits of a page of this size,
    /// whatever is above them: of what shares their places, too.
    pub(crate) fn flush_offset(&mut self, offset: u64, shift: u32) {
        if shift >= PAGE_SHIFT + ENTRIES.ilog2() {
            self.flush();
            return;
        }
        for page in 0..1 << shift.saturating_sub(PAGE_SHIFT) {
            let at = offset.wrapping_add(page << PAGE_SHIFT);
            self.replace(slot(at), Entry::default());
            self.code[code_slot(at)] = CodeEntry::default();
        }
    }

    fn clear(&mut self) {
        self.notice_stores();
        self.entries.fill(Entry::default());
        self.code.fill(CodeEntry::default());
        self.guarded.clear();
    }

    /// RAM is in other regions, which have these bitmaps.
    pub(crate) fn set_page_maps(&mut self, page_maps: Vec<Option<PageMap>>) {
        self.clear();
        self.page_maps = page_maps;
    }

    /// From now on, stores to pages that are not known to be written to are noticed. Those so far
    /// that nobody was told of are told.
    pub(crate) fn notice_stores(&mut self) {
        for number in 0..ENTRIES {
            let entry = Entry { write: 0, ..self.entries[number] };
            self.replace(number, entry);
        }
    }

    /// An entry that goes takes with it that there was a store by it.
    fn replace(&mut self, number: usize, by: Entry) {
        let entry = std::mem::replace(&mut self.entries[number & (ENTRIES - 1)], by);
        self.log_store_by(entry);
    }

    fn log_store_by(&self, entry: Entry) {
        if let Some(at) = entry.writable() {
            if let Some(Some(pages)) = self.page_maps.get(at.region()) {
                pages.log_store(at.offset());
            }
        }
    }

    /// Where in RAM `ea` is, if it is known and may be accessed.
    pub(crate) fn find(&self, ea: u64, store: bool) -> Option<RamAt> {
        let entry = &self.entries[slot(ea)];
        let wanted = ea & PAGE_MASK | self.context;
        let known = if store { entry.write } else { entry.read };
        (known == wanted).then_some(entry.at(ea))
    }

    /// Keeps a translation of the page at `ea` to the page at `real`, which is there in RAM.
    pub(crate) fn insert(
        &mut self,
        ea: u64,
        real: u64,
        at: RamAt,
        may_read: bool,
        may_write: bool,
    ) {
        let number = slot(ea);
        let tag = ea & PAGE_MASK | self.context;
        if is_guarded(ea, self.context) {
            if self.guarded.len() == GUARDED_MAX {
                self.flush_guarded();
            }
            self.guarded.push(number as u16);
        }
        let pages = self.page_maps.get(at.region()).and_then(Option::as_ref);
        let logs = pages.is_some_and(PageMap::logs);
        let is_noticed = self.is_code(real >> PAGE_SHIFT)
            || logs && pages.is_some_and(|pages| !pages.is_known_dirty(at.offset()));
        let entry = Entry {
            read: if may_read { tag } else { 0 },
            write: if may_write && !is_noticed { tag } else { 0 },
            to_ram: at.0.wrapping_sub(ea & PAGE_MASK),
        };
        let before = std::mem::replace(&mut self.entries[number & (ENTRIES - 1)], entry);
        // The log of the only region has just been asked.
        if logs || self.page_maps.len() > 1 {
            self.log_store_by(before);
        }
    }

    /// The decoded page that `ea` is in, if it is known.
    #[inline(always)]
    pub(crate) fn find_code(&self, ea: u64) -> Option<u32> {
        let entry = &self.code[code_slot(ea)];
        (entry.tag == ea & PAGE_MASK | self.code_context).then_some(entry.page)
    }

    pub(crate) fn insert_code(&mut self, ea: u64, page: u32) {
        let tag = ea & PAGE_MASK | self.code_context;
        self.guarded_code |= is_guarded(ea, self.code_context);
        self.code[code_slot(ea)] = CodeEntry { tag, page };
    }

    /// Forgets where decoded pages are, but not which pages they decode.
    pub(crate) fn flush_code(&mut self) {
        self.code.fill(CodeEntry::default());
    }

    pub(crate) fn is_code(&self, page: u64) -> bool {
        let bit = page as usize % CODE_FILTER_BITS;
        self.maybe_code[bit / 64] >> (bit % 64) & 1 != 0 && self.code_pages.contains(&page)
    }

    /// From now on stores to this page, which is there in RAM, are noticed.
    pub(crate) fn mark_code(&mut self, page: u64, at: Option<RamAt>) {
        if !self.code_pages.insert(page) {
            return;
        }
        let bit = page as usize % CODE_FILTER_BITS;
        self.maybe_code[bit / 64] |= 1 << (bit % 64);
        for number in 0..ENTRIES {
            let entry = self.entries[number];
            if entry.writable().is_some_and(|writable| Some(writable) == at) {
                self.replace(number, Entry { write: 0, ..entry });
            }
        }
    }

    pub(crate) fn unmark_code(&mut self, page: u64) {
        self.code_pages.remove(&page);
    }

    pub(crate) fn unmark_all_code(&mut self) {
        self.code_pages.clear();
        self.maybe_code.fill(0);
    }
}

/// Spreads page numbers by a multiplication with 2^64 over the golden ratio. A guest that makes
/// them collide slows its own accesses down, by no more than the pages that a CPU may decode.
#[derive(Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        let spread = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Tables look at the lowest bits and at the highest.
        self.0 = spread ^ spread >> 32;
    }
}
