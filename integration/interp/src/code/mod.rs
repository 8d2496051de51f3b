//! Decoded code: an array of operations for each page of 4 KiB that was executed.
//!
//! Pages are found by their real address and how they were decoded ([`Reading`]): firmware, kernel and
//! clients of both byte orders share memory. The only CPU of a machine decodes a page a run at
//! a time, when it is first executed there, and drops it as a whole when it is written to. Where
//! there are several, they share pages ([`Room`]), which are decoded as a whole.
//!
//! A CPU notices its own stores. Where there are others, pages also keep what they were decoded
//! from, and it is compared when a CPU comes to a page anew: on POWER9, instruction caches snoop, and
//! guests reuse memory for code without a word to the CPUs that had other code there.

mod spin;

use std::collections::HashMap;
use std::sync::Arc;

use crate::isa;
use crate::op::{Code, Op, PAGE_OPS};
use crate::ram::{PAGE_BYTES, PAGE_SHIFT, Ram};
use crate::room::{Decoded, Key, Reading, Room, Source};
pub(crate) use spin::waits;

/// All decoded code of a CPU.
pub(crate) struct Cache {
    room: Arc<Room>,
    pages: Vec<Arc<Decoded>>,
    /// The real page of each, and how it is decoded.
    keys: Vec<Key>,
    by_key: HashMap<Key, u32>,
    /// How many of the pages are not empty.
    filled: usize,
    /// What the room wanted when this was last cleared.
    wanted: u64,
}

/// What came of decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Decoded,
    /// Another CPU had done it.
    Shared,
    /// All of the CPU's pages have to go first.
    NoRoom,
}

impl Cache {
    /// An empty cache.
    pub(crate) fn new(room: Arc<Room>) -> Self {
        Self {
            room,
            pages: Vec::new(),
            keys: Vec::new(),
            by_key: HashMap::new(),
            filled: 0,
            wanted: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn page(&self, number: u32) -> &[Op; PAGE_OPS] {
        &self.pages[number as usize].ops
    }

    /// The number of a page of code, new if need be: then nothing of it is decoded. `None` when
    /// there are too many: then all of it has to go.
    pub(crate) fn find(&mut self, real_page: u64, reading: Reading) -> Option<u32> {
        let key = (real_page, reading);
        if let Some(&number) = self.by_key.get(&key) {
            return Some(number);
        }
        if self.pages.len() >= self.room.pages_max() {
            return None;
        }
        let number = self.pages.len() as u32;
        self.pages.push(self.room.empty().clone());
        self.keys.push(key);
        self.by_key.insert(key, number);
        Some(number)
    }

    pub(crate) fn real_page(&self, number: u32) -> u64 {
        self.keys[number as usize].0
    }

    /// Drops what was decoded of a real page; whether there was anything.
    pub(crate) fn drop_page(&mut self, real_page: u64) -> bool {
        let mut any = false;
        for reading in Reading::ALL {
            if let Some(&number) = self.by_key.get(&(real_page, reading)) {
                self.drop_number(number);
                any = true;
            }
        }
        any
    }

    /// Drops what was decoded of a page that is not what it was decoded from any more.
    pub(crate) fn check(&mut self, ram: &Ram<'_>, number: u32) {
        let page = &self.pages[number as usize];
        if let Some(source) = page.source.as_ref() {
            let mut now = [0; PAGE_BYTES as usize];
            read_page(ram, self.real_page(number), &mut now);
            if now != **source {
                self.drop_number(number);
            }
        }
    }

    fn drop_number(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        if Arc::ptr_eq(page, self.room.empty()) {
            return;
        }
        match Arc::get_mut(page) {
            // It stays this CPU's.
            Some(own) if !self.room.is_smp() => own.ops.fill(Op::UNDECODED),
            _ => {
                let page = std::mem::replace(page, self.room.empty().clone());
                self.filled -= 1;
                self.room.give_back_one(page);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.wanted = self.room.wanted();
        self.room.give_back(&mut self.pages);
        self.keys.clear();
        self.by_key.clear();
        self.filled = 0;
    }

    /// Whether all of it should be dropped, as other CPUs have no room.
    pub(crate) fn is_wanted_back(&self) -> bool {
        self.room.wanted() != self.wanted
    }

    /// Whether all of it should be dropped before the CPU sleeps.
    pub(crate) fn is_wanted_of_sleeper(&self) -> bool {
        self.filled > 0 && (self.is_wanted_back() || self.room.is_tight())
    }

    /// Decodes from a real address on to the end of the run there, or all of its page.
    pub(crate) fn decode(&mut self, ram: &Ram<'_>, number: u32, real: u64) -> Outcome {
        if self.room.is_smp() {
            return self.decode_page(ram, number);
        }
        let (_, reading) = self.keys[number as usize];
        let Some(page) = self.own(number) else { return Outcome::NoRoom };
        let first = (real >> 2) as usize % PAGE_OPS;
        for (index, op) in page.ops.iter_mut().enumerate().skip(first) {
            if op.code != Code::Undecoded {
                break;
            }
            *op = decode_at(ram, (real & !0xfff) | (index as u64 * 4), reading);
            if matches!(op.code, Code::B | Code::Ba | Code::Blr | Code::Bctr) {
                break;
            }
        }
        Outcome::Decoded
    }

    /// Gets a page that is decoded from what is there now.
    fn decode_page(&mut self, ram: &Ram<'_>, number: u32) -> Outcome {
        let key = self.keys[number as usize];
        let mut now = [0; PAGE_BYTES as usize];
        read_page(ram, key.0, &mut now);
        let known = self.room.find(key);
        let is_same = |page: &Decoded| page.source.as_ref().is_some_and(|source| now == **source);
        if let Some(page) = known.as_ref().filter(|page| is_same(page)) {
            self.put_page(number, page.clone());
            return Outcome::Shared;
        }
        let Some(mut page) = self.room.take(self.filled) else { return Outcome::NoRoom };
        let Some(Decoded { ops, source: Some(source), .. }) = Arc::get_mut(&mut page) else {
            return Outcome::NoRoom;
        };
        // Often a few words have changed.
        let known = known.as_ref().and_then(|page| Some((&page.ops, page.source.as_ref()?)));
        for (index, op) in ops.iter_mut().enumerate() {
            let word = word_of(&now, index);
            *op = match known {
                Some((ops, source)) if word_of(source, index) == word => ops[index],
                _ => decode_word(word, key.1),
            };
        }
        **source = now;
        self.room.share(key, &page);
        self.put_page(number, page);
        Outcome::Decoded
    }

    fn put_page(&mut self, number: u32, page: Arc<Decoded>) {
        let old = std::mem::replace(&mut self.pages[number as usize], page);
        if Arc::ptr_eq(&old, self.room.empty()) {
            self.filled += 1;
        } else {
            self.room.give_back_one(old);
        }
    }

    /// A page that only this CPU has.
    fn own(&mut self, number: u32) -> Option<&mut Decoded> {
        let page = &mut self.pages[number as usize];
        if Arc::ptr_eq(page, self.room.empty()) {
            *page = self.room.take(self.filled)?;
            self.filled += 1;
            Arc::get_mut(page)?.ops.fill(Op::UNDECODED);
        }
        Arc::get_mut(page)
    }

    /// The operation of the instruction at this address of a page.
    pub(crate) fn op(&self, number: u32, at: u64) -> Op {
        self.page(number)[(at >> 2) as usize % PAGE_OPS]
    }

    /// Puts an operation where the instruction at this address is in its page, which is this CPU's.
    pub(crate) fn put(&mut self, number: u32, at: u64, op: Op) {
        if let Some(page) = self.own(number) {
            page.ops[(at >> 2) as usize % PAGE_OPS] = op;
        }
    }

    /// Decodes the instruction at a real address only, in a page that is this CPU's.
    pub(crate) fn decode_one(&mut self, ram: &Ram<'_>, number: u32, real: u64) {
        let (_, reading) = self.keys[number as usize];
        self.put(number, real, decode_at(ram, real, reading));
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.clear();
    }
}

fn decode_at(ram: &Ram<'_>, real: u64, reading: Reading) -> Op {
    decode_word(ram.load::<u32>(real).unwrap_or(0), reading)
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

fn decode_word(word: u32, reading: Reading) -> Op {
    let word = if reading.big_endian { u32::from_be(word) } else { u32::from_le(word) };
    if reading.limited { isa::decode_limited(word) } else { isa::decode(word) }
}
