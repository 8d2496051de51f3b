//! Decoded code: an array of operations for each page of 4 KiB that was executed.
//!
//! Pages are found by their real address and the byte order in which they were decoded: firmware,
//! kernel and clients of both orders share memory. A page is decoded a run at a time, when it is
//! first executed there, and dropped as a whole when it is written to.

mod op;

use std::collections::HashMap;

use crate::isa;
use crate::ram::{PAGE_SHIFT, Ram};
pub(crate) use op::{Code, Op};

/// Operations of a page.
pub(crate) const PAGE_OPS: usize = 1 << (PAGE_SHIFT - 2);

/// The most pages that are kept: 8 KiB each.
const PAGES_MAX: usize = 3072;

/// All decoded code of a CPU.
pub(crate) struct Cache {
    pages: Vec<Box<[Op; PAGE_OPS]>>,
    /// The real page of each.
    real_pages: Vec<u64>,
    /// By real page number and byte order.
    by_key: HashMap<(u64, bool), u32>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { pages: Vec::new(), real_pages: Vec::new(), by_key: HashMap::new() }
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
                self.pages[number as usize].fill(Op::UNDECODED);
                any = true;
            }
        }
        any
    }

    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.real_pages.clear();
        self.by_key.clear();
    }

    /// Decodes from a real address on to the end of the run there.
    pub(crate) fn decode(&mut self, ram: &Ram<'_>, number: u32, real: u64, big_endian: bool) {
        let first = (real >> 2) as usize % PAGE_OPS;
        let page = &mut self.pages[number as usize];
        for (index, op) in page.iter_mut().enumerate().skip(first) {
            if op.code != Code::Undecoded {
                break;
            }
            *op = decode_at(ram, (real & !0xfff) | (index as u64 * 4), big_endian);
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
    let word = ram.load::<u32>(real).unwrap_or(0);
    isa::decode(if big_endian { u32::from_be(word) } else { u32::from_le(word) })
}
