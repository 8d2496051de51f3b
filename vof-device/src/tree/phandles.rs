//! From phandle to node.

use super::index::{HashIndex, Seed};

const NONE: u32 = u32::MAX;

/// Nothing for the nodes whose phandle is one more than their place, as that of all nodes is when
/// the tree's builder counted; a table for other low phandles, an index for those that stand out.
#[derive(Debug, Clone)]
pub(super) struct Phandles {
    dense: Vec<u32>,
    sparse: HashIndex,
    seed: Seed,
}

impl Phandles {
    /// Maps each phandle to its place in `all`.
    ///
    /// # Errors
    /// A phandle that occurs twice.
    pub(super) fn new(seed: Seed, all: &[u32]) -> Result<Self, u32> {
        let dense_end = all.len().saturating_mul(2).saturating_add(64);
        let is_dense = |phandle: u32| (phandle as usize) < dense_end;
        let others = || (0_u32..).zip(all.iter().copied()).filter(|&(node, p)| counted(p) != node);
        let top = others().filter(|&(_, p)| is_dense(p)).max_by_key(|&(_, p)| p);
        let mut table = Self {
            dense: vec![NONE; top.map_or(0, |(_, p)| p as usize + 1)],
            sparse: HashIndex::with_room_for(others().filter(|&(_, p)| !is_dense(p)).count()),
            seed,
        };
        let hash = |phandle: u32| seed.hash(1, &phandle.to_be_bytes());
        let value = |node: u32| all.get(node as usize).copied().unwrap_or(0);
        for (node, phandle) in others() {
            if table.get(phandle, value).is_some() {
                return Err(phandle);
            }
            match table.dense.get_mut(phandle as usize) {
                Some(place) => *place = node,
                None => table.sparse.insert(hash(phandle), node, |n| hash(value(n))),
            }
        }
        Ok(table)
    }

    /// The node of `phandle`; `phandle_of` tells the phandle of a node, 0 where there is none.
    #[inline]
    pub(super) fn get(&self, phandle: u32, phandle_of: impl Fn(u32) -> u32) -> Option<u32> {
        // Whoever asks goes on to look at the node, so this costs no access of its own.
        if phandle != 0 && phandle_of(counted(phandle)) == phandle {
            return Some(counted(phandle));
        }
        match self.dense.get(phandle as usize) {
            Some(&NONE) => None,
            Some(&node) => Some(node),
            None => {
                let hash = self.seed.hash(1, &phandle.to_be_bytes());
                self.sparse.find(hash, |node| phandle_of(node) == phandle)
            }
        }
    }

    /// Host memory in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.dense.capacity() * size_of::<u32>() + self.sparse.memory_bytes()
    }
}

/// The place of the node that has this phandle if phandles were counted.
#[inline]
fn counted(phandle: u32) -> u32 {
    phandle.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_sparse_phandles_are_found() {
        let all = [1, 2, 0x1111, 0x8000_0000, 3, u32::MAX - 1];
        let phandle_of = |node: u32| all.get(node as usize).copied().unwrap_or(0);
        let table = Phandles::new(Seed::random(), &all).unwrap();
        for (node, &phandle) in all.iter().enumerate() {
            assert_eq!(table.get(phandle, phandle_of), Some(node as u32));
        }
        for absent in [0, 4, 5, 0x1112, u32::MAX] {
            assert_eq!(table.get(absent, phandle_of), None);
        }
    }

    #[test]
    fn a_second_use_is_told() {
        // Counted, of the table, of the index.
        for twice in [1, 3, 5, 0x7fff_0000] {
            assert_eq!(
                Phandles::new(Seed::random(), &[1, twice, 3, twice]).unwrap_err(),
                twice,
                "{twice}"
            );
        }
    }
}
