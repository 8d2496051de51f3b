//! Decoded code: an array of operations for each page of 4 KiB that was executed.
//!
//! Pages are found by their real address and the byte order in which they were decoded: firmware,
//! kernel and clients of both orders share memory. A page is decoded a run at a time, when it is
//! first executed there, and dropped as a whole when it is written to.
//!
//! A CPU notices its own stores. Where there are others, it also keeps what it decoded from, and
//! compares when it comes to a page anew: on POWER9, instruction caches snoop, and guests reuse
//! memory for code without a word to the CPUs that had other code there.

mod op;

use std::collections::HashMap;

use crate::isa;
use crate::ram::{PAGE_BYTES, PAGE_SHIFT, Ram};
pub(crate) use op::{Code, Op};

/// Operations of a page.
pub(crate) const PAGE_OPS: usize = 1 << (PAGE_SHIFT - 2);

/// The most pages that are kept: 8 KiB each, and 4 KiB more where there are several CPUs.
const PAGES_MAX: usize = 3072;

/// The bytes of a page.
type Source = [u8; PAGE_BYTES as usize];

/// All decoded code of a CPU.
pub(crate) struct Cache {
    pages: Vec<Box<[Op; PAGE_OPS]>>,
    /// The real page of each.
    real_pages: Vec<u64>,
    /// By real page number and byte order.
    by_key: HashMap<(u64, bool), u32>,
    /// What each page is decoded from, where there are several CPUs: all of it, as it was when the
    /// first of it was decoded.
    sources: Option<Vec<Option<Box<Source>>>>,
}

impl Cache {
    /// A cache of a CPU that has others beside it, or has not.
    pub(crate) fn new(is_smp: bool) -> Self {
        Self {
            pages: Vec::new(),
            real_pages: Vec::new(),
            by_key: HashMap::new(),
            sources: is_smp.then(Vec::new),
        }
    }

    #[inline(always)]
    pub(crate) fn page(&self, number: u32) -> &[Op; PAGE_OPS] {
        &self.pages[number as usize]
    }

    /// The number of a decoded page, new if need be. `None` when there is no room: then all of it
    /// has to go.
    pub(crate) fn find(&mut self, real_page: u64, big_endian: bool) -> Option<u32> {
        if let Some(&number) = self.by_key.get(&(real_page, big_endian)) {
            return Some(number);
        }
        if self.pages.len() == PAGES_MAX {
            return None;
        }
        let number = self.pages.len() as u32;
        self.pages.push(Box::new([Op::UNDECODED; PAGE_OPS]));
        self.real_pages.push(real_page);
        if let Some(sources) = &mut self.sources {
            sources.push(None);
        }
        self.by_key.insert((real_page, big_endian), number);
        Some(number)
    }

    pub(crate) fn real_page(&self, number: u32) -> u64 {
        self.real_pages[number as usize]
    }

    /// Drops what was decoded of a real page; whether there was anything.
    pub(crate) fn drop_page(&mut self, real_page: u64) -> bool {
        let mut any = false;
        for big_endian in [false, true] {
            if let Some(&number) = self.by_key.get(&(real_page, big_endian)) {
                self.drop_number(number);
                any = true;
            }
        }
        any
    }

    /// Drops what was decoded of a page that is not what it was decoded from any more.
    pub(crate) fn check(&mut self, ram: &Ram<'_>, number: u32) {
        let Some(sources) = &self.sources else { return };
        if let Some(source) = &sources[number as usize] {
            if *read_page(ram, self.real_page(number)) != **source {
                self.drop_number(number);
            }
        }
    }

    fn drop_number(&mut self, number: u32) {
        self.pages[number as usize].fill(Op::UNDECODED);
        if let Some(sources) = &mut self.sources {
            sources[number as usize] = None;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.real_pages.clear();
        self.by_key.clear();
        if let Some(sources) = &mut self.sources {
            sources.clear();
        }
    }

    /// Decodes from a real address on to the end of the run there.
    pub(crate) fn decode(&mut self, ram: &Ram<'_>, number: u32, real: u64, big_endian: bool) {
        let first = (real >> 2) as usize % PAGE_OPS;
        let source = self.sources.as_mut().map(|sources| {
            let real_page = self.real_pages[number as usize];
            &**sources[number as usize].get_or_insert_with(|| read_page(ram, real_page))
        });
        let page = &mut self.pages[number as usize];
        for (index, op) in page.iter_mut().enumerate().skip(first) {
            if op.code != Code::Undecoded {
                break;
            }
            *op = match source {
                Some(source) => decode_word(word_of(source, index), big_endian),
                None => decode_at(ram, (real & !0xfff) | (index as u64 * 4), big_endian),
            };
            if matches!(op.code, Code::B | Code::Ba | Code::Blr | Code::Bctr) {
                break;
            }
        }
    }

    /// Decodes the instruction at a real address only.
    pub(crate) fn decode_one(&mut self, ram: &Ram<'_>, number: u32, real: u64, big_endian: bool) {
        let index = (real >> 2) as usize % PAGE_OPS;
        self.pages[number as usize][index] = decode_at(ram, real, big_endian);
    }
}

fn decode_at(ram: &Ram<'_>, real: u64, big_endian: bool) -> Op {
    decode_word(ram.load::<u32>(real).unwrap_or(0), big_endian)
}

fn read_page(ram: &Ram<'_>, real_page: u64) -> Box<Source> {
    let mut page = Box::new([0; PAGE_BYTES as usize]);
    // Where there is no RAM, there is no code.
    let _ = ram.read_page(real_page << PAGE_SHIFT, &mut page[..]);
    page
}

fn word_of(source: &Source, index: usize) -> u32 {
    let bytes = source.get(index * 4..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn decode_word(word: u32, big_endian: bool) -> Op {
    isa::decode(if big_endian { u32::from_be(word) } else { u32::from_le(word) })
}
