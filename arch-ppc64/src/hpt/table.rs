//! The memory of a table, and how it is searched.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bits;
use super::entry::Entry;
use super::order::Order;
use super::virtual_page::VirtualPage;

/// Entries of a group: "PTEG".
pub(super) const GROUP: u64 = 8;

/// Entries that get their memory together, which is half a kilobyte: a guest's entries are spread
/// over its table by the hash.
pub(super) const PIECE: u64 = 32;

/// Pieces of a part.
const PART_PIECES: u64 = 1024;

/// Entries of a part.
const PART: u64 = PIECE * PART_PIECES;

const ENTRY_BYTES_SHIFT: u32 = 4;

type Piece = [AtomicU64; 2 * PIECE as usize];
type Part = Vec<OnceLock<Box<Piece>>>;

/// A table. Its memory is taken as entries are written, and a table without entries has almost none.
///
/// CPUs search it while it is changed. There is one who changes it at a time, but for what is
/// [recorded](Self::record).
pub struct Table {
    order: Order,
    parts: Vec<OnceLock<Part>>,
}

/// An entry that translates a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub number: u64,
    /// What it was.
    pub entry: Entry,
    /// Log2 of the size of the page.
    pub shift: u32,
}

impl Table {
    /// A table without entries.
    pub fn new(order: Order) -> Self {
        let parts = entries(order).div_ceil(PART);
        Self { order, parts: (0..parts).map(|_| OnceLock::new()).collect() }
    }

    /// Its size.
    pub fn order(&self) -> Order {
        self.order
    }

    /// How many entries there can be.
    pub fn entries(&self) -> u64 {
        entries(self.order)
    }

    /// How many groups of eight entries it has.
    pub(super) fn groups(&self) -> u64 {
        self.entries() / GROUP
    }

    /// The entry of this number; none where there is none.
    pub fn get(&self, number: u64) -> Entry {
        let Some([first, second]) = self.words(number) else { return Entry::default() };
        let first = first.load(Ordering::Acquire);
        Entry { first, second: second.load(Ordering::Acquire) }
    }

    /// Looks for the entry of a page, first where the primary hash says, then where the secondary.
    pub fn find(&self, page: &VirtualPage) -> Option<Found> {
        let hash = page.hash();
        let (first, mask) = page.pattern();
        let find = |hash: u64, kind: u64| {
            let start = (hash & (self.groups() - 1)) * GROUP;
            let piece = self.piece(start)?;
            (start..start + GROUP).find_map(|number| {
                let [word, second] = words_of(piece, number);
                let found = word.load(Ordering::Acquire);
                if found & mask != first | kind {
                    return None;
                }
                let entry = Entry { first: found, second: second.load(Ordering::Acquire) };
                // It may be another one by now.
                let is_still = word.load(Ordering::Acquire) == found;
                match entry.page_shifts() {
                    Some((base_shift, shift)) if is_still && base_shift == page.base_shift => {
                        Some(Found { number, entry, shift })
                    }
                    _ => None,
                }
            })
        };
        find(hash, 0).or_else(|| find(!hash, bits::SECONDARY))
    }

    /// Records in an entry that its page was referenced, or changed: sets bits of its second
    /// doubleword, if that is still `old`.
    pub fn record(&self, number: u64, old: u64, set: u64) -> bool {
        let Some([_, second]) = self.words(number) else { return false };
        second.compare_exchange(old, old | set, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Writes an entry where none is.
    pub(super) fn enter(&self, number: u64, entry: Entry) {
        let [first, second] = words_of(self.piece_or_new(number), number);
        second.store(entry.second, Ordering::Relaxed);
        first.store(entry.first, Ordering::Release);
    }

    /// Takes an entry away, and gives what it was. Nothing is recorded in it from here on; who has
    /// found it before may use it still.
    pub(super) fn remove(&self, number: u64) -> Entry {
        let Some([first, second]) = self.words(number) else { return Entry::default() };
        let first = first.swap(0, Ordering::SeqCst);
        Entry { first, second: second.swap(0, Ordering::SeqCst) }
    }

    /// Changes the second doubleword of an entry; gives what it was.
    pub(super) fn change(&self, number: u64, change: impl Fn(u64) -> u64) -> u64 {
        let Some([_, second]) = self.words(number) else { return 0 };
        let changed =
            second.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| Some(change(old)));
        changed.unwrap_or_default()
    }

    /// Where to look for the next entry from `number` on: behind what has no memory yet.
    pub(super) fn next_in_memory(&self, number: u64) -> u64 {
        match self.parts.get((number / PART) as usize).and_then(OnceLock::get) {
            None => (number / PART + 1) * PART,
            Some(_) if self.piece(number).is_some() => number,
            Some(_) => (number / PIECE + 1) * PIECE,
        }
    }

    fn words(&self, number: u64) -> Option<[&AtomicU64; 2]> {
        Some(words_of(self.piece(number)?, number))
    }

    fn piece(&self, number: u64) -> Option<&Piece> {
        let part = self.parts.get((number / PART) as usize)?.get()?;
        part.get((number % PART / PIECE) as usize)?.get().map(|piece| &**piece)
    }

    /// The number has to be one of the table's.
    fn piece_or_new(&self, number: u64) -> &Piece {
        let part = self.parts[(number / PART) as usize]
            .get_or_init(|| (0..PART_PIECES).map(|_| OnceLock::new()).collect());
        part[(number % PART / PIECE) as usize]
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; 2 * PIECE as usize]))
    }
}

fn entries(order: Order) -> u64 {
    order.bytes() >> ENTRY_BYTES_SHIFT
}

fn words_of(piece: &Piece, number: u64) -> [&AtomicU64; 2] {
    let at = 2 * (number % PIECE) as usize;
    [&piece[at], &piece[at + 1]]
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("order", &self.order).finish_non_exhaustive()
    }
}
