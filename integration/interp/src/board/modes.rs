//! What the guest sets for all of its CPUs at once, until each of them has taken it over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arch_ppc64::papr::{ProcessTable, ProcessorModes};
use arch_ppc64::platform::{SaveState, StateError, StateValue};
use arch_ppc64::{Kick, Status};

use super::lines::Lines;
use crate::cpu::Cpu;

/// The modes that the guest sets for all of its CPUs: the byte order and the place of interrupts,
/// and where translations are. Their state is [`SaveState`]'s.
#[derive(Debug)]
pub struct Modes {
    wanted: Mutex<Wanted>,
    /// Counts the changes of `wanted`; 0 is before the first.
    generation: AtomicU64,
    lines: Arc<Lines>,
}

#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    little_endian: bool,
    ail: u8,
    table: Option<crate::ProcessTable>,
}

impl Modes {
    pub(super) fn new(lines: Arc<Lines>) -> Self {
        Self { wanted: Mutex::default(), generation: AtomicU64::new(0), lines }
    }

    /// Sets what `cpu` should have, if that changed since it last did so.
    pub(super) fn apply(&self, cpu: &mut Cpu, seen: &mut u64) {
        let generation = self.generation.load(Ordering::SeqCst);
        if *seen == generation {
            return;
        }
        let wanted = *self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        cpu.set_interrupt_endianness(wanted.little_endian);
        cpu.set_interrupt_location(wanted.ail);
        cpu.set_process_table(wanted.table);
        *seen = generation;
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) -> Status {
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
        match *table {
            ProcessTable::Radix { base, size_bytes, .. } => self.change(|wanted| {
                wanted.table = Some(crate::ProcessTable { base: base.0, size_bytes });
            }),
            // "A request for an unimplemented function results in an H_Parameter."
            ProcessTable::Hash => Status::PARAMETER,
        }
    }
}

impl SaveState for Modes {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&*self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        let newest = self.version();
        if version != newest {
            return Err(StateError::Version { found: version, newest });
        }
        let saved: Wanted = state.get()?;
        if !matches!(saved.ail, 0 | 2 | 3) {
            return Err(StateError::Value(format!("LPCR.AIL of {}", saved.ail)));
        }
        let table = saved.table;
        if table.is_some_and(|table| table.base.checked_add(table.size_bytes).is_none()) {
            return Err(StateError::Value(format!("the process table {table:x?}")));
        }
        self.change(|wanted| *wanted = saved);
        Ok(())
    }
}
