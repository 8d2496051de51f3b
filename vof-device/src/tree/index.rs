//! A hash index over things that are stored elsewhere: it holds numbers only, so looking up what
//! a guest sent neither copies nor keeps it.

use std::hash::{BuildHasher, Hasher, RandomState};

const EMPTY: u32 = u32::MAX;

/// Open addressing with linear probing; nothing is ever removed.
#[derive(Debug, Clone, Default)]
pub(super) struct HashIndex {
    /// A power of two of places, at most three quarters of them taken.
    places: Vec<u32>,
    taken: usize,
}

impl HashIndex {
    /// An index with room for `count` numbers.
    pub(super) fn with_room_for(count: usize) -> Self {
        let mut index = Self::default();
        if count > 0 {
            let places = (count + count / 3 + 1).next_power_of_two();
            index.places = vec![EMPTY; places];
        }
        index
    }

    /// The first number under `hash` that `is_it`.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            match self.places.get(at) {
                None | Some(&EMPTY) => return None,
                Some(&number) if is_it(number) => return Some(number),
                Some(_) => at = (at + 1) & mask,
            }
        }
    }

    /// Adds `number` (below `u32::MAX`) under `hash`; `hash_of` tells the hash of those in there.
    pub(super) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.taken + 1) * 4 > self.places.len() * 3 {
            let grown = vec![EMPTY; (self.places.len() * 2).max(8)];
            for old in std::mem::replace(&mut self.places, grown) {
                if old != EMPTY {
                    self.place(hash_of(old), old);
                }
            }
        }
        self.place(hash, number);
        self.taken += 1;
    }

    /// Host memory that the index occupies, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u32>()
    }

    fn place(&mut self, hash: u64, number: u32) {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(place) = self.places.get_mut(at) {
            if *place == EMPTY {
                *place = number;
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

/// The secret of a tree's hashes, so that a guest cannot choose names that meet in one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seed {
    start: u64,
    factor: u64,
}

impl Seed {
    pub(super) fn random() -> Self {
        let word = |salt| {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u64(salt);
            hasher.finish()
        };
        Self { start: word(1), factor: word(2) | 1 }
    }

    /// Hashes `bytes` in the context of `scope`.
    #[inline]
    pub(super) fn hash(&self, scope: u32, bytes: &[u8]) -> u64 {
        let mut state = self.mix(self.start, (u64::from(scope) << 32) | bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word: [u8; 8] = word.try_into().unwrap_or_default();
            state = self.mix(state, u64::from_le_bytes(word));
        }
        self.mix(state, tail(bytes, words.remainder()))
    }

    /// Hashes a list of numbers.
    pub(super) fn hash_numbers(&self, numbers: impl ExactSizeIterator<Item = u32>) -> u64 {
        let start = self.mix(self.start, numbers.len() as u64);
        numbers.fold(start, |state, number| self.mix(state, number.into()))
    }

    /// Both halves of a 128-bit product, folded.
    #[inline]
    fn mix(&self, state: u64, word: u64) -> u64 {
        let product = u128::from(state ^ word) * u128::from(self.factor);
        (product as u64) ^ (product >> 64) as u64 ^ self.start.rotate_left(17)
    }
}

/// A word with all of `rest`, the last bytes of `bytes`: those before it may be in it again, since
/// the length is hashed too.
#[inline]
fn tail(bytes: &[u8], rest: &[u8]) -> u64 {
    let half = |half: &[u8; 4]| u64::from(u32::from_le_bytes(*half));
    match (rest, bytes.last_chunk(), rest.first_chunk(), rest.last_chunk()) {
        ([], ..) => 0,
        (_, Some(last), ..) => u64::from_le_bytes(*last),
        (_, _, Some(first), Some(last)) => half(first) << 32 | half(last),
        _ => rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let seed = Seed::random();
        let hash = |number: u32| seed.hash(0, &number.to_be_bytes());
        for mut index in [HashIndex::default(), HashIndex::with_room_for(1000)] {
            for number in 0..1000 {
                index.insert(hash(number), number, hash);
            }
            for number in 0..1000 {
                assert_eq!(index.find(hash(number), |n| n == number), Some(number));
            }
            assert_eq!(index.find(hash(1000), |n| n == 1000), None);
        }
        assert_eq!(HashIndex::default().find(0, |_| true), None);
    }

    #[test]
    fn every_byte_and_the_length_are_hashed() {
        let seed = Seed::random();
        for len in 0..40 {
            let bytes = vec![0; len];
            let hash = seed.hash(0, &bytes);
            assert_eq!(hash, seed.hash(0, &vec![0; len]));
            assert_ne!(hash, seed.hash(1, &bytes));
            assert_ne!(hash, seed.hash(0, &vec![0; len + 1]));
            for at in 0..len {
                let mut other = bytes.clone();
                other[at] = 1;
                assert_ne!(hash, seed.hash(0, &other), "byte {at} of {len}");
            }
        }
    }

    #[test]
    fn room_for_a_count_needs_no_growth() {
        for count in [1, 3, 6, 12, 1000, 4096] {
            let mut index = HashIndex::with_room_for(count);
            let bytes = index.memory_bytes();
            for number in 0..count as u32 {
                index.insert(u64::from(number), number, u64::from);
            }
            assert_eq!(index.memory_bytes(), bytes, "{count}");
        }
    }
}
