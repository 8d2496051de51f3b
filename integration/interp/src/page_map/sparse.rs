//! A bit a page, for regions of any size: memory only for the parts that were ever marked.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a part, which is 1 GiB of the region.
const CHUNK_WORDS: usize = 4096;

const WORD_PAGES: u64 = 64;

/// Bits that are all 0 at first.
pub(super) struct SparseBits {
    words: usize,
    chunks: Vec<OnceLock<Box<[AtomicU64]>>>,
}

impl SparseBits {
    pub(super) fn new(pages: usize) -> Self {
        let words = pages.div_ceil(WORD_PAGES as usize);
        let chunks = (0..words.div_ceil(CHUNK_WORDS)).map(|_| OnceLock::new()).collect();
        Self { words, chunks }
    }

    /// The part that a word is in, made if need be; `None` behind the end.
    fn chunk(&self, number: usize) -> Option<&[AtomicU64]> {
        let words = self.words.saturating_sub(number * CHUNK_WORDS).min(CHUNK_WORDS);
        let make = || (0..words).map(|_| AtomicU64::new(0)).collect();
        self.chunks.get(number).map(|chunk| &**chunk.get_or_init(make))
    }

    /// A word, where there are marks near it.
    fn known(&self, word: usize) -> Option<&AtomicU64> {
        self.chunks.get(word / CHUNK_WORDS)?.get()?.get(word % CHUNK_WORDS)
    }

    pub(super) fn has(&self, page: u64) -> bool {
        let word = self.known((page / WORD_PAGES) as usize);
        word.is_some_and(|word| word.load(Ordering::SeqCst) >> (page % WORD_PAGES) & 1 != 0)
    }

    pub(super) fn set(&self, page: u64) {
        let number = (page / WORD_PAGES) as usize;
        if number >= self.words {
            return;
        }
        let chunk = self.chunk(number / CHUNK_WORDS);
        if let Some(word) = chunk.and_then(|chunk| chunk.get(number % CHUNK_WORDS)) {
            let bit = 1 << (page % WORD_PAGES);
            if word.load(Ordering::SeqCst) & bit == 0 {
                word.fetch_or(bit, Ordering::SeqCst);
            }
        }
    }

    /// Sets the bits of these pages, which are there.
    pub(super) fn set_all(&self, first: u64, last: u64) {
        for (number, mask) in words(first, last) {
            let chunk = self.chunk(number / CHUNK_WORDS);
            if let Some(word) = chunk.and_then(|chunk| chunk.get(number % CHUNK_WORDS)) {
                word.fetch_or(mask, Ordering::SeqCst);
            }
        }
    }

    /// Clears the bits of these pages, which are there, and tells of each that was set.
    #[inline]
    pub(super) fn take_range(&self, first: u64, last: u64, mut tell: impl FnMut(u64)) {
        const CHUNK_PAGES: u64 = CHUNK_WORDS as u64 * WORD_PAGES;
        for number in first / CHUNK_PAGES..=last / CHUNK_PAGES {
            let chunk = self.chunks.get(number as usize).and_then(OnceLock::get);
            let Some(chunk) = chunk else { continue };
            let start = number * CHUNK_PAGES;
            let (first, last) = (first.max(start), last.min(start + CHUNK_PAGES - 1));
            for (word, mask) in words(first - start, last - start) {
                let Some(bits) = chunk.get(word) else { continue };
                if bits.load(Ordering::Relaxed) & mask == 0 {
                    continue;
                }
                let hit = bits.fetch_and(!mask, Ordering::SeqCst) & mask;
                for bit in (0..WORD_PAGES).filter(|bit| hit >> bit & 1 != 0) {
                    tell(start + word as u64 * WORD_PAGES + bit);
                }
            }
        }
    }

    pub(super) fn clear(&self) {
        for word in self.chunks.iter().filter_map(OnceLock::get).flat_map(|chunk| chunk.iter()) {
            word.store(0, Ordering::SeqCst);
        }
    }

    /// All bits, which are 0 then: the lowest of the first word is that of the first page.
    pub(super) fn take(&self) -> Vec<u64> {
        let mut all = vec![0; self.words];
        for (to, chunk) in all.chunks_mut(CHUNK_WORDS).zip(&self.chunks) {
            for (to, word) in
                to.iter_mut().zip(chunk.get().into_iter().flat_map(|chunk| chunk.iter()))
            {
                *to = word.swap(0, Ordering::SeqCst);
            }
        }
        all
    }

    #[cfg(test)]
    pub(super) fn chunks_made(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.get().is_some()).count()
    }
}

/// The words that the pages are in, and which bits of each.
fn words(first: u64, last: u64) -> impl Iterator<Item = (usize, u64)> {
    (first / WORD_PAGES..=last / WORD_PAGES).map(move |word| {
        let from =
            if word == first / WORD_PAGES { u64::MAX << (first % WORD_PAGES) } else { u64::MAX };
        let to =
            if word == last / WORD_PAGES { u64::MAX >> (63 - last % WORD_PAGES) } else { u64::MAX };
        (word as usize, from & to)
    })
}
