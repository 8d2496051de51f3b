//! Open packages (IEEE 1275 §3.1.2, "instance") and the handles that clients have of them.

use std::collections::VecDeque;

use crate::limits::MAX_INSTANCES;
use crate::saved::{RestoreError, SavedInstance, SavedInstances, SavedSlot};
use crate::tree::NodeId;

/// Bits of an ihandle that tell the slot, counted from 1.
const SLOT_BITS: u32 = 11;
/// How often a slot is used before its ihandles come again. The top bit of an ihandle stays 0,
/// for clients that take a negative number as an error.
const GENERATIONS: u32 = 1 << (31 - SLOT_BITS);

// Neither 0 nor u32::MAX can come out.
const _: () = assert!(MAX_INSTANCES < (1 << SLOT_BITS) - 1);

/// An open package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    /// The package.
    pub(crate) node: NodeId,
    /// What it can do.
    pub(crate) kind: Kind,
    /// What stood behind the `:` of the path it was opened by.
    pub(crate) arguments: Box<str>,
}

/// What methods an instance has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// None but `open` and `close`.
    Plain,
    /// The root, which negotiates for the machine.
    Root,
    /// `/rtas`.
    Rtas,
    /// The console.
    Console,
    /// The memory that starts at 0.
    Memory,
    /// A processor: what translates addresses.
    Mmu,
}

#[cfg(any(test, feature = "test-utils"))]
impl Kind {
    /// The package, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "any",
            Self::Root => "/",
            Self::Rtas => "/rtas",
            Self::Console => "console",
            Self::Memory => "memory",
            Self::Mmu => "mmu",
        }
    }
}

/// All open packages.
///
/// A slot that becomes free is used again, as late as possible and under another ihandle, so a
/// client that opens and closes for ever costs nothing and an old ihandle does not name what was
/// opened after it.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    slots: Vec<Slot>,
    free: VecDeque<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    instance: Option<Instance>,
}

impl Instances {
    /// Adds an instance; gives its ihandle, or `None` when [`MAX_INSTANCES`] are open.
    pub(crate) fn open(&mut self, instance: Instance) -> Option<u32> {
        let number = match self.free.pop_front() {
            Some(number) => number,
            None if self.slots.len() < MAX_INSTANCES => {
                self.slots.push(Slot { generation: 0, instance: None });
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        let slot = self.slots.get_mut(number as usize)?;
        slot.instance = Some(instance);
        Some(slot.generation << SLOT_BITS | (number + 1))
    }

    /// The instance of an ihandle.
    pub(crate) fn get(&self, ihandle: u32) -> Option<&Instance> {
        let (number, generation) = split(ihandle)?;
        let slot = self.slots.get(number as usize)?;
        slot.instance.as_ref().filter(|_| slot.generation == generation)
    }

    /// Removes an instance; tells whether there was one.
    pub(crate) fn close(&mut self, ihandle: u32) -> bool {
        if self.get(ihandle).is_none() {
            return false;
        }
        let Some((number, generation)) = split(ihandle) else { return false };
        let Some(slot) = self.slots.get_mut(number as usize) else { return false };
        slot.instance = None;
        slot.generation = (generation + 1) % GENERATIONS;
        self.free.push_back(number);
        true
    }
}

impl Instances {
    /// As plain data; `phandle` tells those of nodes.
    pub(crate) fn save(&self, phandle: impl Fn(NodeId) -> u32) -> SavedInstances {
        let slots = self.slots.iter().map(|slot| SavedSlot {
            generation: slot.generation,
            instance: slot.instance.as_ref().map(|instance| SavedInstance {
                phandle: phandle(instance.node),
                arguments: instance.arguments.as_ref().to_owned(),
                position: 0,
            }),
        });
        SavedInstances { slots: slots.collect(), free: self.free.iter().copied().collect() }
    }

    /// From plain data; `instance` makes what is open in a slot.
    pub(crate) fn restore(
        saved: &SavedInstances,
        instance: impl Fn(usize, &SavedInstance) -> Result<Instance, RestoreError>,
    ) -> Result<Self, RestoreError> {
        let mut slots = Vec::new();
        for (number, slot) in saved.slots.iter().enumerate() {
            let generation = slot.generation;
            if number >= MAX_INSTANCES || generation >= GENERATIONS {
                return Err(RestoreError::Slots { slot: number, generation });
            }
            let instance = slot.instance.as_ref().map(|saved| instance(number, saved));
            slots.push(Slot { generation, instance: instance.transpose()? });
        }
        let mut free = saved.free.clone();
        free.sort_unstable();
        let empty = (0..).zip(&slots).filter(|(_, slot)| slot.instance.is_none());
        if !free.into_iter().eq(empty.map(|(number, _)| number)) {
            return Err(RestoreError::Free);
        }
        Ok(Self { slots, free: saved.free.iter().copied().collect() })
    }
}

fn split(ihandle: u32) -> Option<(u32, u32)> {
    let number = (ihandle & ((1 << SLOT_BITS) - 1)).checked_sub(1)?;
    Some((number, ihandle >> SLOT_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(arguments: &str) -> Instance {
        let node = crate::test_utils::sample_tree().root();
        Instance { node, kind: Kind::Plain, arguments: arguments.into() }
    }

    #[test]
    fn handles_name_what_was_opened() {
        let mut instances = Instances::default();
        let one = instances.open(instance("1")).unwrap();
        let two = instances.open(instance("2")).unwrap();
        assert_eq!(&*instances.get(one).unwrap().arguments, "1");
        assert_eq!(&*instances.get(two).unwrap().arguments, "2");
        assert!(instances.close(one));
        assert!(!instances.close(one));
        assert_eq!(instances.get(one), None);
        let three = instances.open(instance("3")).unwrap();
        assert_ne!(one, three);
        assert_eq!(instances.get(one), None);
        for wrong in [0, u32::MAX, 3, 1 << SLOT_BITS] {
            assert_eq!(instances.get(wrong), None, "{wrong:#x}");
            assert!(!instances.close(wrong));
        }
    }

    #[test]
    fn as_many_as_the_limit() {
        let mut instances = Instances::default();
        let handles: Vec<u32> =
            (0..MAX_INSTANCES).map(|_| instances.open(instance("")).unwrap()).collect();
        assert_eq!(instances.open(instance("")), None);
        assert!(instances.close(handles[7]));
        assert!(instances.open(instance("")).is_some());
        assert_eq!(instances.open(instance("")), None);
    }

    #[test]
    fn slots_are_used_again_for_ever() {
        let mut instances = Instances::default();
        let stays = instances.open(instance("stays")).unwrap();
        let again = instance("");
        let handle = instances.open(again.clone()).unwrap();
        assert!(instances.close(handle));
        // To where the generations start anew.
        instances.slots[1].generation = GENERATIONS - 1000;
        for _ in 0..2000 {
            let handle = instances.open(again.clone()).unwrap();
            assert!(handle != stays && (handle as i32) > 0);
            assert!(instances.close(handle));
        }
        assert_eq!(instances.slots.len(), 2);
        assert_eq!(&*instances.get(stays).unwrap().arguments, "stays");
    }
}
