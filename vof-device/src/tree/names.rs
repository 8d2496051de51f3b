//! Property names, each stored once.

use std::ops::Range;

use super::index::{HashIndex, Seed};

/// A property name of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameId(pub(super) u32);

#[derive(Debug, Clone)]
pub(super) struct Names {
    /// All names, each with a NUL behind it.
    text: String,
    /// Where what comes behind each name starts in `text`.
    ends: Vec<u32>,
    index: HashIndex,
    seed: Seed,
}

impl Names {
    pub(super) fn new(seed: Seed) -> Self {
        Self { text: String::new(), ends: Vec::new(), index: HashIndex::default(), seed }
    }

    /// The name that these bytes are, if any property ever had it. Keeps nothing.
    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<NameId> {
        let is_it = |id| bytes_of(&self.text, &self.ends, id).strip_suffix(&[0]) == Some(name);
        self.index.find(self.seed.hash(0, name), is_it).map(NameId)
    }

    /// The name, stored if it is new.
    pub(super) fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.get(name.as_bytes()) {
            return id;
        }
        let id = self.ends.len() as u32;
        self.text.push_str(name);
        self.text.push('\0');
        self.ends.push(self.text.len() as u32);
        let (text, ends, seed) = (&self.text, &self.ends, self.seed);
        self.index.insert(seed.hash(0, name.as_bytes()), id, |other| {
            let other = bytes_of(text, ends, other);
            seed.hash(0, other.strip_suffix(&[0]).unwrap_or(other))
        });
        NameId(id)
    }

    #[inline]
    pub(super) fn text(&self, id: NameId) -> &str {
        let text = self.text_with_nul(id);
        text.strip_suffix('\0').unwrap_or(text)
    }

    /// The name, and a NUL behind it, as clients get it.
    #[inline]
    pub(super) fn text_with_nul(&self, id: NameId) -> &str {
        self.text.get(range_of(&self.ends, id.0)).unwrap_or_default()
    }

    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Host memory besides the names' own characters, in bytes.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.ends.capacity() * size_of::<u32>() + self.index.memory_bytes()
    }
}

#[inline]
fn bytes_of<'a>(text: &'a str, ends: &[u32], id: u32) -> &'a [u8] {
    text.as_bytes().get(range_of(ends, id)).unwrap_or_default()
}

#[inline]
fn range_of(ends: &[u32], id: u32) -> Range<usize> {
    let id = id as usize;
    let start =
        id.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |&end| end as usize);
    start..ends.get(id).map_or(start, |&end| end as usize)
}
