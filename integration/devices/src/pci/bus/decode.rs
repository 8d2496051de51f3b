//! Who answers which address of the bus.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::pci::function::{BarPlace, PciFunction};

/// Ranges of addresses, none over another, with who answers for them.
#[derive(Default)]
pub(super) struct Decoder {
    pieces: BTreeMap<u64, Piece>,
}

/// A part of a function's registers.
struct Piece {
    /// The last address of it.
    last: u64,
    /// Where the registers begin, of which it is a part.
    start: u64,
    bar: usize,
    function: Arc<dyn PciFunction>,
}

/// A place among the registers of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the base address register.
    pub(super) bar: usize,
    /// How many bytes from there.
    pub(super) offset: u64,
}

impl Decoder {
    /// `function` answers for a place, as far as nobody who was added before does.
    pub(super) fn add(&mut self, place: BarPlace, function: &Arc<dyn PciFunction>) {
        let BarPlace { bar, start, bytes } = place;
        let Some(last) = bytes.checked_sub(1).and_then(|more| start.checked_add(more)) else {
            return;
        };
        let mut taken: Vec<(u64, u64)> = self
            .pieces
            .range(..=last)
            .rev()
            .take_while(|(_, piece)| piece.last >= start)
            .map(|(&first, piece)| (first, piece.last))
            .collect();
        taken.reverse();
        let mut next = Some(start);
        let mut insert = |first: u64, last: u64| {
            let function = Arc::clone(function);
            self.pieces.insert(first, Piece { last, start, bar, function });
        };
        for (taken_first, taken_last) in taken {
            match next {
                Some(first) if first < taken_first => insert(first, taken_first - 1),
                _ => {}
            }
            next = taken_last.checked_add(1);
        }
        match next {
            Some(first) if first <= last => insert(first, last),
            _ => {}
        }
    }

    /// Who answers for all of `bytes` from `at` on; nobody for those at whose end another is.
    pub(super) fn find(&self, at: u64, bytes: usize) -> Option<(Arc<dyn PciFunction>, Place)> {
        let last = at.checked_add((bytes as u64).checked_sub(1)?)?;
        let (_, piece) = self.pieces.range(..=at).next_back()?;
        if last > piece.last {
            return None;
        }
        let place = Place { bar: piece.bar, offset: at - piece.start };
        Some((Arc::clone(&piece.function), place))
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = self.pieces.iter();
        let pieces = pieces.map(|(first, piece)| ((first, piece.last), piece.function.id()));
        f.debug_map().entries(pieces).finish()
    }
}
