//! Decoded code: an array of operations for each page of 4 KiB that was executed.
//!
//! Pages are found by their real address and the byte order in which they were decoded: firmware,
//! kernel and clients of both orders share memory. A page is decoded a run at a time, when it is
//! first executed there, and dropped as a whole when it is written to.
//!
//! A CPU notices its own stores. Where there are others, it also keeps what it decoded from, and
//! compares when it comes to a page anew: on POWER9, instruction caches snoop, and guests reuse
//! memory for code without a word to the CPUs that had other code there.

mod spin;

use std::collections::HashMap;
use std::sync::Arc;

use crate::isa;
use crate::op::{Code, Op, PAGE_OPS};
use crate::ram::{PAGE_BYTES, PAGE_SHIFT, Ram};
use crate::room::{Page, Room, Source};
pub(crate) use spin::waits;

/// All decoded code of a CPU.
pub(crate) struct Cache {
    room: Arc<Room>,
    pages: Vec<Page>,
    /// The real page of each.
    real_pages: Vec<u64>,
    /// By real page number and byte order.
    by_key: HashMap<(u64, bool), u32>,
}

impl Cache {
    /// An empty cache.
    pub(crate) fn new(room: Arc<Room>) -> Self {
        Self { room, pages: Vec::new(), real_pages: Vec::new(), by_key: HashMap::new() }
    }

    #[inline(always)]
    pub(crate) fn page(&self, number: u32) -> &[Op; PAGE_OPS] {
        &self.pages[number as usize].ops
    }

    /// The number of a decoded page, new if need be. `None` when there is no room: then all of it
    /// has to go.
    pub(crate) fn find(&mut self, real_page: u64, big_endian: bool) -> Option<u32> {
        if let Some(&number) = self.by_key.get(&(real_page, big_endian)) {
            return Some(number);
        }
        let page = self.room.take(self.pages.len())?;
        let number = self.pages.len() as u32;
        self.pages.push(page);
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
                self.drop_number(number);
                any = true;
            }
        }
        any
    }

    /// Drops what was decoded of a page that is not what it was decoded from any more.
    pub(crate) fn check(&mut self, ram: &Ram<'_>, number: u32) {
        let page = &self.pages[number as usize];
        if let Some(source) = page.source.as_ref().filter(|_| page.has_source) {
            let mut now = [0; PAGE_BYTES as usize];
            read_page(ram, self.real_page(number), &mut now);
            if now != **source {
                self.drop_number(number);
            }
        }
    }

    fn drop_number(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        page.ops.fill(Op::UNDECODED);
        page.has_source = false;
    }

    pub(crate) fn clear(&mut self) {
        self.room.give_back(&mut self.pages);
        self.real_pages.clear();
        self.by_key.clear();
    }

    /// Whether all of it should be dropped, as other CPUs have no room.
    pub(crate) fn is_wanted_back(&self) -> bool {
        self.room.wants_back(self.pages.len())
    }

    /// Whether all of it should be dropped before the CPU sleeps.
    pub(crate) fn is_wanted_of_sleeper(&self) -> bool {
        self.room.wants_back_of_sleeper(self.pages.len())
    }

    /// Decodes from a real address on to the end of the run there.
    pub(crate) fn decode(&mut self, ram: &Ram<'_>, number: u32, real: u64, big_endian: bool) {
        let first = (real >> 2) as usize % PAGE_OPS;
        let real_page = self.real_page(number);
        let Page { ops, source, has_source } = &mut self.pages[number as usize];
        if let Some(source) = source.as_mut().filter(|_| !*has_source) {
            read_page(ram, real_page, source);
            *has_source = true;
        }
        for (index, op) in ops.iter_mut().enumerate().skip(first) {
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

    /// The operation of the instruction at this address of a page.
    pub(crate) fn op(&self, number: u32, at: u64) -> Op {
        self.page(number)[(at >> 2) as usize % PAGE_OPS]
    }

    /// Puts an operation where the instruction at this address is in its page.
    pub(crate) fn put(&mut self, number: u32, at: u64, op: Op) {
        self.pages[number as usize].ops[(at >> 2) as usize % PAGE_OPS] = op;
    }

    /// Decodes the instruction at a real address only.
    pub(crate) fn decode_one(&mut self, ram: &Ram<'_>, number: u32, real: u64, big_endian: bool) {
        let index = (real >> 2) as usize % PAGE_OPS;
        self.pages[number as usize].ops[index] = decode_at(ram, real, big_endian);
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.clear();
    }
}

fn decode_at(ram: &Ram<'_>, real: u64, big_endian: bool) -> Op {
    decode_word(ram.load::<u32>(real).unwrap_or(0), big_endian)
}

/// What there is of a page: where there is no RAM, there is no code.
fn read_page(ram: &Ram<'_>, real_page: u64, to: &mut Source) {
    if ram.read_page(real_page << PAGE_SHIFT, to).is_err() {
        to.fill(0);
    }
}

fn word_of(source: &Source, index: usize) -> u32 {
    let bytes = source.get(index * 4..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn decode_word(word: u32, big_endian: bool) -> Op {
    isa::decode(if big_endian { u32::from_be(word) } else { u32::from_le(word) })
}
