//! What the guest sets for all of its CPUs at once, until each of them has taken it over.

#[cfg(feature = "serde")]
mod saved;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arch_ppc64::cas::{Mmu, Support};
use arch_ppc64::papr::{ProcessTable, ProcessorModes};
use arch_ppc64::{Kick, Status};

use super::lines::Lines;
use crate::cpu::Cpu;
use crate::level::Level;

/// The modes that the guest sets for all of its CPUs: the byte order and the place of interrupts,
/// and where translations are; and those that it agrees on: how it translates, and the level.
#[derive(Debug)]
pub(super) struct Modes {
    wanted: Mutex<ModesState>,
    /// Counts the changes of `wanted`. A CPU that may have anything has seen 0 of them.
    generation: AtomicU64,
    lines: Arc<Lines>,
    mmu: Support<Mmu>,
}

/// What every CPU is to have, and what is saved of that.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub(super) struct ModesState {
    little_endian: bool,
    ail: u8,
    table: Option<crate::ProcessTable>,
    #[cfg_attr(feature = "serde", serde(default))]
    hash: bool,
    #[cfg_attr(feature = "serde", serde(default))]
    level: Level,
}

impl Modes {
    /// Those of a machine whose processor is held to this level.
    pub(super) fn new(lines: Arc<Lines>, mmu: Support<Mmu>, level: Level) -> Self {
        let hash = mmu.first() == Mmu::Hash;
        let wanted = Mutex::new(ModesState { hash, level, ..ModesState::default() });
        Self { wanted, generation: AtomicU64::new(1), lines, mmu }
    }

    /// Sets what `cpu` should have, if that changed since it last did so.
    pub(super) fn apply(&self, cpu: &mut Cpu, seen: &mut u64) {
        let generation = self.generation.load(Ordering::SeqCst);
        if *seen == generation {
            return;
        }
        let wanted = self.state();
        cpu.set_interrupt_endianness(wanted.little_endian);
        cpu.set_interrupt_location(wanted.ail);
        cpu.set_process_table(wanted.table);
        cpu.use_hash(wanted.hash);
        cpu.set_level(wanted.level);
        *seen = generation;
    }

    /// Translation is to be this, and all CPUs are held to the level: each before it next executes
    /// anything.
    pub(super) fn agree(&self, mmu: Mmu, level: Level) {
        let _ = self.change(|wanted| {
            wanted.hash = mmu == Mmu::Hash;
            wanted.level = level;
        });
    }

    pub(super) fn state(&self) -> ModesState {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut ModesState)) -> Status {
        change(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        self.generation.fetch_add(1, Ordering::SeqCst);
        for line in self.lines.all() {
            line.kick();
        }
        Status::SUCCESS
    }
}

impl ProcessorModes for Modes {
    fn set_interrupt_endianness(&self, little: bool) -> Status {
        self.change(|wanted| wanted.little_endian = little)
    }

    fn set_interrupt_location(&self, ail: u8) -> Status {
        self.change(|wanted| wanted.ail = ail)
    }

    fn set_process_table(&self, table: &ProcessTable) -> Status {
        // "A request for an unimplemented function results in an H_Parameter."
        match *table {
            ProcessTable::Radix { base, size_bytes, .. } if self.mmu.includes(&Mmu::Radix) => self
                .change(|wanted| {
                    wanted.table = Some(crate::ProcessTable { base: base.0, size_bytes });
                    wanted.hash = false;
                }),
            ProcessTable::Hash if self.mmu.includes(&Mmu::Hash) => {
                self.change(|wanted| wanted.hash = true)
            }
            _ => Status::PARAMETER,
        }
    }
}
