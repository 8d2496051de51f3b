//! What can be plugged.

use std::fmt;

use vm_memory::GuestAddress;

use crate::layout::LMB_BYTES;
use crate::vcpu::CpuIndex;

/// A logical memory block (LMB): [`LMB_BYTES`] of memory (LoPAPR §13.5.1, `ibm,lmb-size`).
///
/// Which NUMA node it is in says the machine's
/// [`MemoryMap`](crate::topology::MemoryMap).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct MemoryBlock {
    /// Its first real address, a multiple of [`LMB_BYTES`].
    pub start: GuestAddress,
}

impl MemoryBlock {
    /// How many bytes each has: [`LMB_BYTES`].
    pub const BYTES: u64 = LMB_BYTES;

    /// The block that begins at this address.
    pub const fn at(start: GuestAddress) -> Self {
        Self { start }
    }
}

/// A slot of a bus behind a host bridge: what a device of the bus is plugged into, with all of its
/// functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct PciSlot {
    /// The number of the bridge, 0 for the first.
    pub bridge: u8,
    /// The number of the device on the bus, below [`PciSlot::COUNT`].
    pub device: u8,
}

impl PciSlot {
    /// How many slots each bridge has.
    pub const COUNT: u8 = 32;
}

/// What is plugged and unplugged as one: what has a connector (DRC) of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Resource {
    /// A core with all of its threads, named by the first of them.
    Core(CpuIndex),
    /// A block of memory.
    Memory(MemoryBlock),
    /// The device in a slot.
    Slot(PciSlot),
}

impl Resource {
    /// The core of this CPU, which is its first thread.
    pub const fn core(first: CpuIndex) -> Self {
        Self::Core(first)
    }

    /// The memory block that begins at this address.
    pub const fn memory(start: GuestAddress) -> Self {
        Self::Memory(MemoryBlock::at(start))
    }

    /// The device of that number on the bus of that bridge.
    pub const fn slot(bridge: u8, device: u8) -> Self {
        Self::Slot(PciSlot { bridge, device })
    }
}

/// The type of a connector is in the upper four bits of its index, its number in the others.
pub(crate) const TYPE_SHIFT: u32 = 28;
pub(crate) const TYPE_CPU: u32 = 1;
pub(crate) const TYPE_SLOT: u32 = 4;
pub(crate) const TYPE_MEMORY: u32 = 8;

/// The index of the connector of a core, by its number among the cores.
pub(crate) const fn core_connector(core: u32) -> u32 {
    TYPE_CPU << TYPE_SHIFT | core
}

/// The index of the connector of a block of memory, by its number from real address 0 on.
pub(crate) const fn memory_connector(block: u32) -> u32 {
    TYPE_MEMORY << TYPE_SHIFT | block
}

/// The index of the connector of a slot.
pub(crate) const fn slot_connector(bridge: u8, device: u8) -> u32 {
    (TYPE_SLOT << TYPE_SHIFT) + bridge as u32 * PciSlot::COUNT as u32 + device as u32
}

/// The number of a connector among those of its type.
pub(crate) const fn number_of(index: u32) -> u32 {
    index & ((1 << TYPE_SHIFT) - 1)
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(first) => write!(f, "the core of {first}"),
            Self::Memory(block) => write!(f, "the memory block at {:#x}", block.start.0),
            Self::Slot(PciSlot { bridge, device }) => {
                write!(f, "the device in slot {device} of bridge {bridge}")
            }
        }
    }
}
