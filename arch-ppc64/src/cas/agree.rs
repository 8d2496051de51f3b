//! How an agreement comes about, and what the tree says of it.

use super::decision::{Decision, InterruptMode, Mmu};
use super::platform::Platform;
use super::proposal::Proposal;
use super::vectors::vector5;
use super::{CasError, Support, TreeChange};
use crate::cpu::CpuModel;
use crate::cpu_features::{FEATURES_PROPERTY, processor_features};
use crate::hpt::properties::{PFT_SIZE, pft_size};
use crate::interrupt_node;
use crate::memory_blocks::{BLOCKS_PROPERTY, NODE_PATH, SETS_PROPERTY};
use crate::topology::{CpuTopology, Form, REFERENCE_POINTS_PROPERTY};

const ARCHITECTURE_VECTOR_5: &str = "ibm,architecture-vec-5";

// The better way of two comes first.
const MMUS: [Mmu; 2] = [Mmu::Radix, Mmu::Hash];
const INTERRUPT_MODES: [InterruptMode; 2] = [InterruptMode::Xive, InterruptMode::Xics];

impl Decision {
    /// What the platform makes of a proposal.
    ///
    /// A guest without a vector 5, such as a boot loader, says nothing of how it translates
    /// addresses and takes interrupts: it keeps those that the machine has started with, and gets
    /// nothing that has to be asked for.
    ///
    /// # Errors
    /// [`CasError::Processor`], [`CasError::Mmu`] and [`CasError::Interrupts`] when the guest
    /// says that it cannot do anything that the machine has.
    pub fn new(proposal: &Proposal, platform: &Platform) -> Result<Self, CasError> {
        let Level { model, cpu_version, compat, is_lowered } = level(proposal, platform)?;
        let Some(options) = &proposal.platform else {
            let mmu = match model.mmu() {
                Support::Only(mmu) => mmu,
                Support::Either => platform.mmu.first(),
            };
            return Ok(Self {
                cpu_version,
                compat,
                is_lowered,
                mmu,
                hpt_order: platform.hpt_order(mmu, false),
                interrupts: platform.interrupts.first(),
                form1_affinity: false,
                form2_affinity: false,
                hotplug_events: false,
                dynamic_memory: false,
                dynamic_memory_v2: false,
            });
        };
        let mmu = agree(MMUS, [&platform.mmu, &model.mmu(), &options.mmu])
            .ok_or(CasError::Mmu(options.mmu))?;
        let dynamic_memory = platform.memory_blocks.is_some() && options.dynamic_memory;
        Ok(Self {
            cpu_version,
            compat,
            is_lowered,
            mmu,
            hpt_order: platform.hpt_order(mmu, options.hpt_resize),
            interrupts: agree(
                INTERRUPT_MODES,
                [&platform.interrupts, &model.interrupts(), &options.interrupts],
            )
            .ok_or(CasError::Interrupts(options.interrupts))?,
            form1_affinity: options.form1_affinity,
            form2_affinity: options.form2_affinity,
            hotplug_events: platform.has_connectors && options.hotplug_events,
            dynamic_memory,
            dynamic_memory_v2: dynamic_memory && options.dynamic_memory_v2,
        })
    }

    /// What a guest of today would agree on: what one gets that is entered with a flat tree and
    /// has nobody to negotiate with. Of XICS and XIVE it gets the older: that is what every guest
    /// can do, one that is told not to use XIVE included.
    pub fn default_for(platform: &Platform) -> Self {
        let pluggable = platform.memory_blocks.is_some();
        let mmu = platform.mmu.first();
        Self {
            cpu_version: platform.cpu.version(),
            compat: platform.cpu.compat(),
            is_lowered: false,
            mmu,
            hpt_order: platform.hpt_order(mmu, false),
            interrupts: platform.interrupts.first(),
            form1_affinity: true,
            form2_affinity: true,
            hotplug_events: platform.has_connectors,
            dynamic_memory: pluggable,
            dynamic_memory_v2: pluggable,
        }
    }

    /// What the tree is to say: every property that depends on an agreement.
    pub fn changes(&self, platform: &Platform) -> Vec<TreeChange> {
        let points = self.affinity().reference_points();
        let mut changes = vec![
            set("/chosen", ARCHITECTURE_VECTOR_5, self.architecture_vector_5()),
            set("/rtas", REFERENCE_POINTS_PROPERTY, cells(points.iter().copied())),
        ];
        // The other properties of a CPU are true at each level.
        if platform.has_versions() {
            changes.push(of_each_cpu("cpu-version", self.cpu_version.to_be_bytes().to_vec()));
        }
        if platform.has_older_features() {
            let is_level = |level: &CpuModel| level.logical_pvr() == self.cpu_version;
            let level = CpuModel::ALL.into_iter().find(is_level);
            let level = level.unwrap_or(platform.cpu.model());
            let features = processor_features(level, platform.mmu.includes(&Mmu::Radix));
            changes.push(of_each_cpu(FEATURES_PROPERTY, features));
        }
        if platform.mmu == Support::Either {
            let (largest, _) = platform.hpt_orders;
            let size = pft_size(Some(self.hpt_order.unwrap_or(largest)));
            changes.push(of_each_cpu(PFT_SIZE, cells(size)));
        }
        if let Some(blocks) = &platform.memory_blocks {
            let (list, value, other) = if self.dynamic_memory_v2 {
                (SETS_PROPERTY, blocks.sets(), BLOCKS_PROPERTY)
            } else {
                (BLOCKS_PROPERTY, blocks.blocks(), SETS_PROPERTY)
            };
            changes.push(remove(NODE_PATH, other));
            changes.push(set(NODE_PATH, list, value));
        }
        if platform.interrupts == Support::Either {
            changes.extend(self.controller_changes(&platform.topology));
        }
        changes
    }

    /// The node of the interrupt controller is that which was agreed on. Its phandle stays, by which
    /// all devices name it.
    fn controller_changes(&self, topology: &CpuTopology) -> Vec<TreeChange> {
        let other = match self.interrupts {
            InterruptMode::Xics => InterruptMode::Xive,
            InterruptMode::Xive => InterruptMode::Xics,
        };
        let (path, name) =
            (interrupt_node::path(self.interrupts), interrupt_node::RESERVED_PRIORITIES);
        let properties = interrupt_node::properties(self.interrupts, topology);
        let mut changes = vec![TreeChange::Rename {
            path: interrupt_node::path(other).to_owned(),
            name: interrupt_node::name(self.interrupts).to_owned(),
        }];
        let others = interrupt_node::properties(other, topology).into_iter().map(|(name, _)| name);
        let gone = others.filter(|name| properties.iter().all(|(own, _)| own != name));
        changes.extend(gone.map(|name| remove(path, name)));
        changes.extend(properties.iter().map(|(name, value)| set(path, name, value.clone())));
        changes.push(match self.interrupts {
            InterruptMode::Xics => remove("/", name),
            InterruptMode::Xive => set("/", name, interrupt_node::reserved_priorities()),
        });
        changes
    }

    /// How the guest reads associativity. One that knows both forms takes form 2, as Linux does.
    fn affinity(&self) -> Form {
        match (self.form1_affinity, self.form2_affinity) {
            (_, true) => Form::Form2,
            (true, false) => Form::Form1,
            (false, false) => Form::Form0,
        }
    }

    /// The value of `ibm,architecture-vec-5`: vector 5 with what is agreed on, its length first.
    /// So each byte's index is its number in the table of option vectors.
    pub fn architecture_vector_5(&self) -> Vec<u8> {
        let mut vector = vec![0; 1 + vector5::LAST_BYTE];
        vector[0] = (vector5::LAST_BYTE - 1) as u8;
        for ((number, bit), agreed) in [
            (vector5::DYNAMIC_MEMORY, self.dynamic_memory),
            (vector5::FORM1_AFFINITY, self.form1_affinity),
            (vector5::FORM2_AFFINITY, self.form2_affinity),
            (vector5::HOTPLUG_EVENTS, self.hotplug_events),
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

/// What the processors are for a guest.
struct Level {
    model: CpuModel,
    cpu_version: u32,
    compat: Option<u32>,
    is_lowered: bool,
}

/// The processor itself, unless the machine's host is held to a level; else the highest level that
/// the guest knows.
fn level(proposal: &Proposal, platform: &Platform) -> Result<Level, CasError> {
    let cpu = &platform.cpu;
    let (pvr, own) = (cpu.pvr(), cpu.model());
    if cpu.compat().is_none() && proposal.knows(pvr) {
        return Ok(Level { model: own, cpu_version: pvr, compat: None, is_lowered: false });
    }
    let known = platform.levels().find(|level| proposal.knows(level.logical_pvr()));
    let model = known.ok_or(CasError::Processor {
        pvr,
        logical_pvr: own.logical_pvr(),
        lowest: platform.levels().last().unwrap_or(own).logical_pvr(),
    })?;
    let is_lowered = model != own;
    let cpu_version = model.logical_pvr();
    let compat = if is_lowered { Some(cpu_version) } else { cpu.compat() };
    Ok(Level { model, cpu_version, compat, is_lowered })
}

/// The first way that all can: the platform, the level, the guest.
fn agree<T: PartialEq>(ways: [T; 2], all: [&Support<T>; 3]) -> Option<T> {
    ways.into_iter().find(|way| all.iter().all(|support| support.includes(way)))
}

fn of_each_cpu(name: &str, value: Vec<u8>) -> TreeChange {
    TreeChange::SetChildren { path: "/cpus".to_owned(), name: name.to_owned(), value }
}

fn set(path: &str, name: &str, value: Vec<u8>) -> TreeChange {
    TreeChange::Set { path: path.to_owned(), name: name.to_owned(), value }
}

fn cells(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    values.into_iter().flat_map(u32::to_be_bytes).collect()
}

fn remove(path: &str, name: &str) -> TreeChange {
    TreeChange::Remove { path: path.to_owned(), name: name.to_owned() }
}
