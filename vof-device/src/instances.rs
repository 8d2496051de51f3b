//! Open packages and the handles that clients have of them.

#[cfg(feature = "serde")]
mod saved;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arch_ppc64::CpuIndex;

use crate::limits::MAX_INSTANCES;
use crate::package::{Instance, Package};
use crate::tree::NodeId;

#[cfg(feature = "serde")]
pub(crate) use saved::BadSlots;

/// Bits of an ihandle that tell the slot, counted from 1.
const SLOT_BITS: u32 = 11;
/// How often a slot is used before its ihandles come again. The top bit of an ihandle stays 0,
/// for clients that take a negative number as an error.
const GENERATIONS: u32 = 1 << (31 - SLOT_BITS);

// Neither 0 nor u32::MAX can come out.
const _: () = assert!(MAX_INSTANCES < (1 << SLOT_BITS) - 1);

/// An open package.
pub(crate) struct Open {
    /// Its node.
    pub(crate) node: NodeId,
    /// What stood behind the `:` of the path it was opened by.
    pub(crate) arguments: Box<str>,
    /// What it can do; `None` for a node without a package.
    pub(crate) device: Option<Arc<OpenDevice>>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("node", &self.node)
            .field("arguments", &self.arguments)
            .finish_non_exhaustive()
    }
}

/// What an open package can do. It is used with no lock of the interface but its own.
pub(crate) struct OpenDevice {
    pub(crate) package: Arc<dyn Package>,
    pub(crate) in_use: Mutex<InUse>,
}

impl OpenDevice {
    pub(crate) fn new(
        package: Arc<dyn Package>,
        instance: Box<dyn Instance>,
        in_flight: Option<InFlight>,
    ) -> Arc<Self> {
        let in_flight = in_flight.map(Box::new);
        Arc::new(Self { package, in_use: Mutex::new(InUse { instance, in_flight }) })
    }
}

/// An instance, and the call of it that had no answer yet.
pub(crate) struct InUse {
    pub(crate) instance: Box<dyn Instance>,
    pub(crate) in_flight: Option<Box<InFlight>>,
}

/// A call that will be made again.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) caller: CpuIndex,
    pub(crate) service: &'static str,
    pub(crate) arguments: Vec<u32>,
    pub(crate) last_try: Instant,
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
pub(crate) struct Slot {
    pub(crate) generation: u32,
    pub(crate) open: Option<Open>,
}

impl Instances {
    /// Adds an instance; gives its ihandle, or `None` when [`MAX_INSTANCES`] are open.
    pub(crate) fn open(&mut self, open: Open) -> Option<u32> {
        let number = match self.free.pop_front() {
            Some(number) => number,
            None if self.slots.len() < MAX_INSTANCES => {
                self.slots.push(Slot { generation: 0, open: None });
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        let slot = self.slots.get_mut(number as usize)?;
        slot.open = Some(open);
        Some(slot.generation << SLOT_BITS | (number + 1))
    }

    /// Whether [`MAX_INSTANCES`] are open.
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= MAX_INSTANCES
    }

    /// The instance of an ihandle.
    pub(crate) fn get(&self, ihandle: u32) -> Option<&Open> {
        let (number, generation) = split(ihandle)?;
        let slot = self.slots.get(number as usize)?;
        slot.open.as_ref().filter(|_| slot.generation == generation)
    }

    /// What all open packages can do.
    pub(crate) fn devices(&self) -> Vec<Arc<OpenDevice>> {
        let open = self.slots.iter().filter_map(|slot| slot.open.as_ref());
        open.filter_map(|open| open.device.clone()).collect()
    }

    /// Removes an instance, if there is one.
    pub(crate) fn close(&mut self, ihandle: u32) -> Option<Open> {
        self.get(ihandle)?;
        let (number, generation) = split(ihandle)?;
        let slot = self.slots.get_mut(number as usize)?;
        slot.generation = (generation + 1) % GENERATIONS;
        self.free.push_back(number);
        slot.open.take()
    }
}

fn split(ihandle: u32) -> Option<(u32, u32)> {
    let number = (ihandle & ((1 << SLOT_BITS) - 1)).checked_sub(1)?;
    Some((number, ihandle >> SLOT_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(arguments: &str) -> Open {
        let node = crate::test_utils::sample_tree().root();
        Open { node, arguments: arguments.into(), device: None }
    }

    #[test]
    fn handles_name_what_was_opened() {
        let mut instances = Instances::default();
        let one = instances.open(instance("1")).unwrap();
        let two = instances.open(instance("2")).unwrap();
        assert_eq!(&*instances.get(one).unwrap().arguments, "1");
        assert_eq!(&*instances.get(two).unwrap().arguments, "2");
        assert!(instances.close(one).is_some());
        assert!(instances.close(one).is_none());
        assert!(instances.get(one).is_none());
        let three = instances.open(instance("3")).unwrap();
        assert_ne!(one, three);
        assert!(instances.get(one).is_none());
        for wrong in [0, u32::MAX, 3, 1 << SLOT_BITS] {
            assert!(instances.get(wrong).is_none(), "{wrong:#x}");
            assert!(instances.close(wrong).is_none());
        }
    }

    #[test]
    fn as_many_as_the_limit() {
        let mut instances = Instances::default();
        let handles: Vec<u32> =
            (0..MAX_INSTANCES).map(|_| instances.open(instance("")).unwrap()).collect();
        assert_eq!(instances.open(instance("")), None);
        assert!(instances.close(handles[7]).is_some());
        assert!(instances.open(instance("")).is_some());
        assert_eq!(instances.open(instance("")), None);
    }

    #[test]
    fn slots_are_used_again_for_ever() {
        let mut instances = Instances::default();
        let stays = instances.open(instance("stays")).unwrap();
        let handle = instances.open(instance("")).unwrap();
        assert!(instances.close(handle).is_some());
        // To where the generations start anew.
        instances.slots[1].generation = GENERATIONS - 1000;
        for _ in 0..2000 {
            let handle = instances.open(instance("")).unwrap();
            assert!(handle != stays && (handle as i32) > 0);
            assert!(instances.close(handle).is_some());
        }
        assert_eq!(instances.slots.len(), 2);
        assert_eq!(&*instances.get(stays).unwrap().arguments, "stays");
    }
}
