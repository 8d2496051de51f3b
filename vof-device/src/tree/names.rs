//! Property names, each stored once.

use super::index::{HashIndex, Seed};

/// A property name of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameId(pub(super) u32);

#[derive(Debug, Clone)]
pub(super) struct Names {
    text: String,
    /// Where each name ends in `text`; it starts where the one before ends.
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
        self.index.find(self.seed.hash(0, name), |id| self.bytes(id) == name).map(NameId)
    }

    /// The name, stored if it is new.
    pub(super) fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.get(name.as_bytes()) {
            return id;
        }
        let id = self.ends.len() as u32;
        self.text.push_str(name);
        self.ends.push(self.text.len() as u32);
        let (text, ends, seed) = (&self.text, &self.ends, self.seed);
        self.index.insert(seed.hash(0, name.as_bytes()), id, |other| {
            seed.hash(0, text_of(text, ends, other).as_bytes())
        });
        NameId(id)
    }

    #[inline]
    pub(super) fn text(&self, id: NameId) -> &str {
        text_of(&self.text, &self.ends, id.0)
    }

    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Host memory besides the names' own characters, in bytes.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.ends.capacity() * size_of::<u32>() + self.index.memory_bytes()
    }

    #[inline]
    fn bytes(&self, id: u32) -> &[u8] {
        text_of(&self.text, &self.ends, id).as_bytes()
    }
}

#[inline]
fn text_of<'a>(text: &'a str, ends: &[u32], id: u32) -> &'a str {
    let id = id as usize;
    let start =
        id.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |&end| end as usize);
    let end = ends.get(id).map_or(start, |&end| end as usize);
    text.get(start..end).unwrap_or_default()
}
