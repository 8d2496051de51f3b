//! What is agreed on, and what the tree says of it.

use super::platform::Platform;
use super::proposal::Proposal;
use super::vectors::vector5;
use super::{CasError, InterruptMode, Mmu, Support, TreeChange};
use crate::memory_blocks::{BLOCKS_PROPERTY, NODE_PATH, SETS_PROPERTY};

const ARCHITECTURE_VECTOR_5: &str = "ibm,architecture-vec-5";

// The better way of two comes first.
const MMUS: [Mmu; 2] = [Mmu::Radix, Mmu::Hash];
const INTERRUPT_MODES: [InterruptMode; 2] = [InterruptMode::Xive, InterruptMode::Xics];

/// What guest and machine agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// `cpu-version` of each CPU: its PVR where the guest knows that, else its architecture
    /// level.
    pub cpu_version: u32,
    /// How addresses are translated.
    pub mmu: Mmu,
    /// How interrupts are taken.
    pub interrupts: InterruptMode,
    /// Associativity is in form 1.
    pub form1_affinity: bool,
    /// The guest makes use of `ibm,dynamic-reconfiguration-memory`.
    pub dynamic_memory: bool,
    /// The memory that can be plugged is listed in sets of blocks, not block by block.
    pub dynamic_memory_v2: bool,
}

impl Decision {
    /// What the platform makes of a proposal.
    ///
    /// A guest without a vector 5, such as a boot loader, says nothing of how it translates
    /// addresses and takes interrupts: it gets the older way where the machine has that, else the
    /// only one, and nothing that has to be asked for.
    ///
    /// # Errors
    /// [`CasError::Processor`], [`CasError::Mmu`] and [`CasError::Interrupts`] when the guest
    /// says that it cannot do anything that the machine has.
    pub fn new(proposal: &Proposal, platform: &Platform) -> Result<Self, CasError> {
        let cpu_version = cpu_version(proposal, platform)?;
        let Some(options) = &proposal.platform else {
            let ([radix, hash], [xive, xics]) = (MMUS, INTERRUPT_MODES);
            return Ok(Self {
                cpu_version,
                mmu: preferred([hash, radix], &platform.mmu),
                interrupts: preferred([xics, xive], &platform.interrupts),
                form1_affinity: false,
                dynamic_memory: false,
                dynamic_memory_v2: false,
            });
        };
        let dynamic_memory = platform.memory_blocks.is_some() && options.dynamic_memory;
        Ok(Self {
            cpu_version,
            mmu: agree(MMUS, &platform.mmu, &options.mmu).ok_or(CasError::Mmu(options.mmu))?,
            interrupts: agree(INTERRUPT_MODES, &platform.interrupts, &options.interrupts)
                .ok_or(CasError::Interrupts(options.interrupts))?,
            form1_affinity: options.form1_affinity,
            dynamic_memory,
            dynamic_memory_v2: dynamic_memory && options.dynamic_memory_v2,
        })
    }

    /// What a guest of today would agree on: what one gets that is entered with a flat tree and
    /// has nobody to negotiate with.
    pub fn default_for(platform: &Platform) -> Self {
        let pluggable = platform.memory_blocks.is_some();
        Self {
            cpu_version: platform.cpu.version(),
            mmu: preferred(MMUS, &platform.mmu),
            interrupts: preferred(INTERRUPT_MODES, &platform.interrupts),
            form1_affinity: true,
            dynamic_memory: pluggable,
            dynamic_memory_v2: pluggable,
        }
    }

    /// What the tree is to say: every property that depends on an agreement.
    pub fn changes(&self, platform: &Platform) -> Vec<TreeChange> {
        let mut changes = vec![set("/chosen", ARCHITECTURE_VECTOR_5, self.architecture_vector_5())];
        // In a compatibility mode there is but one version that can be agreed on.
        if platform.cpu.compat().is_none() {
            changes.extend(
                platform
                    .cpu_paths
                    .iter()
                    .map(|path| set(path, "cpu-version", self.cpu_version.to_be_bytes().to_vec())),
            );
        }
        if let Some(blocks) = &platform.memory_blocks {
            let (list, value, other) = if self.dynamic_memory_v2 {
                (SETS_PROPERTY, blocks.sets(), BLOCKS_PROPERTY)
            } else {
                (BLOCKS_PROPERTY, blocks.blocks(), SETS_PROPERTY)
            };
            changes.push(TreeChange::Remove { path: NODE_PATH.to_owned(), name: other.to_owned() });
            changes.push(set(NODE_PATH, list, value));
        }
        changes
    }

    /// The value of `ibm,architecture-vec-5`: vector 5 with what is agreed on, its length first.
    /// So each byte's index is its number in the table of option vectors.
    pub fn architecture_vector_5(&self) -> Vec<u8> {
        let mut vector = vec![0; 1 + vector5::LAST_BYTE];
        vector[0] = (vector5::LAST_BYTE - 1) as u8;
        for ((number, bit), agreed) in [
            (vector5::DYNAMIC_MEMORY, self.dynamic_memory),
            (vector5::FORM1_AFFINITY, self.form1_affinity),
            (vector5::DYNAMIC_MEMORY_V2, self.dynamic_memory_v2),
            ((vector5::INTERRUPTS_BYTE, vector5::NEW_WAY), self.interrupts == InterruptMode::Xive),
            ((vector5::MMU_BYTE, vector5::NEW_WAY), self.mmu == Mmu::Radix),
            // Whatever the guest says: there is no hypercall that would do it for the guest.
            (vector5::RADIX_GTSE, self.mmu == Mmu::Radix),
        ] {
            if agreed {
                vector[number] |= bit;
            }
        }
        vector
    }
}

/// The version of the processor that the guest knows: the PVR itself rather than the architecture
/// level, unless the machine's host is held to that level.
fn cpu_version(proposal: &Proposal, platform: &Platform) -> Result<u32, CasError> {
    let (pvr, logical_pvr) = (platform.cpu.pvr(), platform.cpu.model().logical_pvr());
    let raw = platform.cpu.compat().is_none() && proposal.knows(pvr);
    match (raw, proposal.knows(logical_pvr)) {
        (true, _) => Ok(pvr),
        (false, true) => Ok(logical_pvr),
        (false, false) => Err(CasError::Processor { pvr, logical_pvr }),
    }
}

/// The first way that both can.
fn agree<T: PartialEq>(ways: [T; 2], platform: &Support<T>, guest: &Support<T>) -> Option<T> {
    ways.into_iter().find(|way| platform.includes(way) && guest.includes(way))
}

/// The first way that the platform has.
fn preferred<T: PartialEq>([first, other]: [T; 2], platform: &Support<T>) -> T {
    if platform.includes(&first) { first } else { other }
}

fn set(path: &str, name: &str, value: Vec<u8>) -> TreeChange {
    TreeChange::Set { path: path.to_owned(), name: name.to_owned(), value }
}
