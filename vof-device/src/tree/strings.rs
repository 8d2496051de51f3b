//! The strings block of a flattened tree (Devicetree Specification v0.4 §5.5).

use std::cmp::Ordering;

use super::{DeviceTree, NONE, NameId};

/// The names of all properties, one that ends another in the place of its end.
///
/// Names are written in the order in which properties have them first. One that an earlier one ends
/// in is not written again, as with dtc. Clients choose names, so that it takes a few numbers a
/// name to find out, and no more.
pub(super) struct Strings {
    block: Vec<u8>,
    /// Where each name is; [`NONE`] for one that no property has.
    offsets: Vec<u32>,
}

impl Strings {
    pub(super) fn new(tree: &DeviceTree) -> Self {
        let used = used_names(tree);
        let homes = homes(tree, &used);
        let text = |name: NameId| tree.names.text(name).as_bytes();
        let is_written = |number: usize| homes.get(number) == Some(&number);
        let written = used.iter().enumerate().filter(|(number, _)| is_written(*number));
        let mut strings = Self {
            block: Vec::with_capacity(written.map(|(_, &name)| text(name).len() + 1).sum()),
            offsets: vec![NONE; tree.names.count()],
        };
        for (number, (&name, &home)) in used.iter().zip(&homes).enumerate() {
            let offset = match used.get(home) {
                Some(&longer) if home != number => {
                    strings.offset(longer) + (text(longer).len() - text(name).len()) as u32
                }
                _ => strings.append(text(name)),
            };
            if let Some(place) = strings.offsets.get_mut(name.0 as usize) {
                *place = offset;
            }
        }
        strings
    }

    /// The block.
    pub(super) fn block(&self) -> &[u8] {
        &self.block
    }

    /// Where in the block a name is that some property has.
    pub(super) fn offset(&self, name: NameId) -> u32 {
        self.offsets.get(name.0 as usize).copied().unwrap_or(NONE)
    }

    fn append(&mut self, text: &[u8]) -> u32 {
        let offset = self.block.len() as u32;
        self.block.extend_from_slice(text);
        self.block.push(0);
        offset
    }
}

/// The names that properties have, in the order of the first that has it.
fn used_names(tree: &DeviceTree) -> Vec<NameId> {
    let mut is_used = vec![false; tree.names.count()];
    let mut used = Vec::with_capacity(is_used.len());
    for &name in tree.nodes().flat_map(|node| tree.names_of(node)) {
        if let Some(is_used) = is_used.get_mut(name.0 as usize).filter(|is_used| !**is_used) {
            *is_used = true;
            used.push(name);
        }
    }
    used
}

/// For each of the names, by its number, the first that ends in it: itself where none before does.
fn homes(tree: &DeviceTree, used: &[NameId]) -> Vec<usize> {
    let text =
        |number: usize| used.get(number).map_or(&[][..], |&name| tree.names.text(name).as_bytes());
    // Read from their ends, a name comes right before all those that end in it.
    let mut sorted: Vec<usize> = (0..used.len()).collect();
    sorted.sort_unstable_by(|&one, &other| from_the_end(text(one), text(other)));
    let mut homes: Vec<usize> = (0..used.len()).collect();
    // Names of which each ends in the one before.
    let mut nested: Vec<usize> = Vec::new();
    let mut close = |nested: &mut Vec<usize>| {
        let Some(longer) = nested.pop() else { return };
        let Some(&home) = homes.get(longer) else { return };
        if let Some(shorter) = nested.last().and_then(|&shorter| homes.get_mut(shorter)) {
            *shorter = home.min(*shorter);
        }
    };
    for number in sorted {
        while nested.last().is_some_and(|&shorter| !text(number).ends_with(text(shorter))) {
            close(&mut nested);
        }
        nested.push(number);
    }
    while !nested.is_empty() {
        close(&mut nested);
    }
    homes
}

fn from_the_end(one: &[u8], other: &[u8]) -> Ordering {
    one.iter().rev().cmp(other.iter().rev())
}
