//! What a machine brings to the negotiation.

use super::vectors::vector5;
use super::{InterruptMode, Mmu, Support};
use crate::cpu::{Cpu, CpuModel};
use crate::hpt::Order;
use crate::machine::Machine;
use crate::memory_blocks::MemoryBlocks;
use crate::topology::CpuTopology;

/// What a machine brings to the negotiation with its guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    pub(super) cpu: Cpu,
    /// Memory that can be plugged, if there is any.
    pub(super) memory_blocks: Option<MemoryBlocks>,
    /// Whether what can be plugged has connectors.
    pub(super) has_connectors: bool,
    pub(super) mmu: Support<Mmu>,
    /// The size of a hashed page table for all memory that there may be, and for what there is.
    pub(super) hpt_orders: (Order, Order),
    pub(super) interrupts: Support<InterruptMode>,
    /// What XICS and XIVE say of their servers in the tree.
    pub(super) topology: CpuTopology,
}

impl Platform {
    /// What `machine` can be.
    pub fn of(machine: &Machine) -> Self {
        Self {
            cpu: *machine.cpu(),
            memory_blocks: MemoryBlocks::of_machine(machine),
            has_connectors: machine.has_connectors() || machine.has_slots(),
            mmu: machine.mmu(),
            hpt_orders: (machine.hpt_order(), machine.present_hpt_order()),
            interrupts: machine.interrupts(),
            topology: machine.topology().clone(),
        }
    }

    /// The size of the hashed page table of a guest that translates so. One that is not made yet, and
    /// that its guest can have resized, is for the memory that there is.
    pub(super) fn hpt_order(&self, mmu: Mmu, resizes: bool) -> Option<Order> {
        let (largest, present) = self.hpt_orders;
        match (mmu, self.mmu) {
            (Mmu::Radix, _) => None,
            (Mmu::Hash, Support::Either) if resizes => Some(present),
            (Mmu::Hash, _) => Some(largest),
        }
    }

    /// The levels that a guest can be given, the highest first: a level before POWER9's has neither
    /// radix trees nor XIVE, and so needs the older ways.
    pub(super) fn levels(&self) -> impl Iterator<Item = CpuModel> + '_ {
        self.cpu.levels().filter(|level| {
            level.mmu().meets(&self.mmu) && level.interrupts().meets(&self.interrupts)
        })
    }

    /// Whether there is more than one `cpu-version` to agree on.
    pub(super) fn has_versions(&self) -> bool {
        self.cpu.compat().is_none() || self.levels().nth(1).is_some()
    }

    /// Whether a guest may be given a level whose processors have other features than the machine's
    /// own.
    pub(super) fn has_older_features(&self) -> bool {
        let own = self.cpu.model();
        self.levels().any(|level| level.mmu() != own.mmu())
    }
}

/// The value of `ibm,arch-vec-5-platform-support` in `/chosen`: pairs of the number of a byte of
/// vector 5 and what the platform supports of it, for a guest to choose from before it proposes.
pub fn platform_support(platform: &Platform) -> Vec<u8> {
    let interrupts = match platform.interrupts {
        Support::Only(InterruptMode::Xics) => vector5::OLD_WAY,
        Support::Only(InterruptMode::Xive) => vector5::NEW_WAY,
        Support::Either => vector5::EITHER_WAY,
    };
    let mmu = match platform.mmu {
        Support::Only(Mmu::Hash) => vector5::OLD_WAY,
        Support::Only(Mmu::Radix) => vector5::NEW_WAY,
        Support::Either => vector5::EITHER_WAY,
    };
    let radix = if platform.mmu.includes(&Mmu::Radix) { vector5::RADIX_GTSE.1 } else { 0 };
    [
        (vector5::INTERRUPTS_BYTE, interrupts),
        (vector5::MMU_BYTE, mmu),
        (vector5::HASH_EXTENSIONS_BYTE, 0),
        (vector5::RADIX_EXTENSIONS_BYTE, radix),
    ]
    .into_iter()
    .flat_map(|(number, value)| [number as u8, value])
    .collect()
}
