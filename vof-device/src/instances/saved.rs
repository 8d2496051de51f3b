//! The slots of handles, as they are saved and taken up.

use super::{GENERATIONS, Instances, Slot};
use crate::limits::MAX_INSTANCES;

/// Slots that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadSlots {
    /// There are too many, or this one has a generation that there is not.
    Slot(usize, u32),
    /// The list of the empty ones is none.
    Free,
}

impl Instances {
    /// All slots, in the order of their numbers.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The numbers of the empty slots, the one that is used first first.
    pub(crate) fn free(&self) -> impl Iterator<Item = u32> + '_ {
        self.free.iter().copied()
    }

    /// Of these slots, of which so many are empty.
    pub(crate) fn from_slots(slots: Vec<Slot>, free: &[u32]) -> Result<Self, BadSlots> {
        for (number, slot) in slots.iter().enumerate() {
            if number >= MAX_INSTANCES || slot.generation >= GENERATIONS {
                return Err(BadSlots::Slot(number, slot.generation));
            }
        }
        let mut sorted = free.to_vec();
        sorted.sort_unstable();
        let empty = (0..).zip(&slots).filter(|(_, slot)| slot.open.is_none());
        if !sorted.into_iter().eq(empty.map(|(number, _)| number)) {
            return Err(BadSlots::Free);
        }
        Ok(Self { slots, free: free.iter().copied().collect() })
    }
}
