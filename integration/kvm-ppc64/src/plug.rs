//! How the parts of a VM plug into arch-ppc64's machine: its hypercalls, its interrupt controller,
//! its saved state.

use std::sync::Arc;

use arch_ppc64::Status;
use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated};
use arch_ppc64::fdt::{FdtError, Tree};
use arch_ppc64::papr::{CpuCharacteristics, ModeCalls, PaprCalls, ProcessTable, ProcessorModes};
use arch_ppc64::platform::{
    Describe, Device, InterruptController, InterruptError, InterruptKind, KernelCalls, Signal,
    SourceNumber,
};
use arch_ppc64::rtas::RtasHandler;
use vmm_sys_util::eventfd::EventFd;

use crate::interrupts::Xics;
use crate::modes::{MmuConfig, Modes};
use crate::vm::Vm;

impl Vm {
    /// The interrupt controller, and the hypercalls that only KVM can answer, and that it does not
    /// answer in the kernel: how interrupts are taken, where the process table is, what the
    /// processor does against speculation attacks. Before or after CPUs are made.
    ///
    /// One of the devices stands for what else the kernel answers by itself.
    pub fn devices(&self) -> Vec<Arc<dyn Device>> {
        let characteristics = self
            .modes()
            .cpu_characteristics()
            .map(|[character, behaviour]| CpuCharacteristics { character, behaviour });
        vec![
            self.interrupts().clone(),
            Arc::new(KernelCalls::new(&["hcall-splpar"])),
            Arc::new(PaprCalls::new(self.topology(), characteristics)),
            Arc::new(ModeCalls::new(self.topology(), self.modes().clone())),
        ]
    }
}

impl Vm {
    /// What its CPUs make of an agreement between a guest and its platform, for
    /// [`VcpuHost::negotiated`](arch_ppc64::VcpuHost::negotiated): radix translation and XICS they
    /// do, and a level that the host has each takes before its next entry.
    pub fn negotiated(&self, decision: &Decision) -> Negotiated {
        match (decision.mmu, decision.interrupts) {
            (Mmu::Radix, InterruptMode::Xics) if self.set_compat(decision.compat).is_ok() => {
                Negotiated::Live
            }
            _ => Negotiated::Refused,
        }
    }
}

impl ProcessorModes for Modes {
    fn set_interrupt_endianness(&self, little: bool) -> Status {
        Self::set_interrupt_endianness(self, little);
        Status::SUCCESS
    }

    fn set_interrupt_location(&self, ail: u8) -> Status {
        match Self::set_interrupt_location(self, ail) {
            true => Status::SUCCESS,
            false => Status::UNSUPPORTED_FLAG,
        }
    }

    fn set_process_table(&self, table: &ProcessTable) -> Status {
        let gtse = match table {
            ProcessTable::Radix { gtse, .. } => *gtse,
            // "A request for an unimplemented function results in an H_Parameter": the tree says
            // that there is radix only.
            ProcessTable::Hash => return Status::PARAMETER,
        };
        let config = MmuConfig { gtse, table: table.partition_table_entry() };
        match Self::set_process_table(self, config) {
            Ok(()) => Status::SUCCESS,
            Err(error) => {
                log::warn!("KVM refuses the guest's process table: {error}");
                Status::PARAMETER
            }
        }
    }
}

/// What the tree says of it, and the sources as its state. A platform with it is restored after the
/// CPUs.
impl Device for Xics {
    fn id(&self) -> &str {
        self.described.id()
    }

    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        self.described.describe(tree, cx)
    }

    fn function_sets(&self) -> &[&'static str] {
        self.described.function_sets()
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        self.described.rtas()
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn arch_ppc64::platform::SaveState> {
        Some(self)
    }
}

impl InterruptController for Xics {
    fn claim(&self, source: SourceNumber, kind: InterruptKind) -> Result<(), InterruptError> {
        self.add(source, kind)
            .map_err(|reason| InterruptError::Controller { source_number: source, reason })
    }

    fn signal(&self, source: SourceNumber, signal: Signal) {
        self.tell(source, signal);
    }

    fn irqfd(&self, source: SourceNumber) -> Result<Option<EventFd>, InterruptError> {
        self.file(source)
            .map(Some)
            .map_err(|reason| InterruptError::Controller { source_number: source, reason })
    }

    fn attach(&self, source: SourceNumber, file: &EventFd) -> Result<bool, InterruptError> {
        self.attach(source, file)
            .map(|()| true)
            .map_err(|reason| InterruptError::Controller { source_number: source, reason })
    }

    fn detach(&self, source: SourceNumber, file: &EventFd) -> Result<(), InterruptError> {
        self.detach(source, file)
            .map_err(|reason| InterruptError::Controller { source_number: source, reason })
    }
}

#[cfg(feature = "serde")]
mod saved {
    use arch_ppc64::platform::{SaveState, StateError, StateValue};
    use serde::{Deserialize, Serialize};

    use super::{MmuConfig, Vm, Xics};
    use crate::error::KvmError;
    use crate::interrupts::SourceState;
    use crate::modes::Snapshot;
    use crate::time::HostTime;

    const VERSION: u32 = 1;

    /// A [`Vm`], saved.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct VmState {
        little_endian_interrupts: bool,
        /// LPCR.AIL.
        interrupt_location: u8,
        /// A logical PVR.
        compat: Option<u32>,
        process_table: Option<ProcessTableState>,
        /// The host's time base when this was saved.
        timebase: u64,
        /// Nanoseconds since 1970 at that time.
        unix_ns: u64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ProcessTableState {
        gtse: bool,
        /// As in the partition table.
        entry: u64,
    }

    /// What is set for all CPUs at once, and time: the modes that the guest chose, the architecture
    /// level, the time base. Restored after the CPUs are made, and before their states are; the
    /// platform with its devices comes after these.
    impl SaveState for Vm {
        fn save(&self) -> Result<StateValue, StateError> {
            let now = self.modes().snapshot().map_err(state_error)?;
            StateValue::of(&VmState {
                little_endian_interrupts: now.little_endian_interrupts,
                interrupt_location: now.ail,
                compat: now.compat,
                process_table: now
                    .process_table
                    .map(|MmuConfig { gtse, table }| ProcessTableState { gtse, entry: table }),
                timebase: now.time.timebase,
                unix_ns: now.time.unix_ns,
            })
        }

        fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
            check_version(version)?;
            let saved: VmState = state.get()?;
            let process_table = saved
                .process_table
                .map(|ProcessTableState { gtse, entry }| MmuConfig { gtse, table: entry });
            let snapshot = Snapshot {
                little_endian_interrupts: saved.little_endian_interrupts,
                ail: saved.interrupt_location,
                compat: saved.compat,
                process_table,
                time: HostTime { timebase: saved.timebase, unix_ns: saved.unix_ns },
            };
            self.modes().restore(&snapshot).map_err(state_error)
        }
    }

    /// [`Xics`], saved.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct XicsState {
        sources: Vec<SourceState>,
    }

    /// Restored after the states of all CPUs are.
    impl SaveState for Xics {
        fn save(&self) -> Result<StateValue, StateError> {
            StateValue::of(&XicsState { sources: self.snapshot()? })
        }

        fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
            check_version(version)?;
            let saved: XicsState = state.get()?;
            Self::restore(self, &saved.sources).map_err(state_error)
        }
    }

    fn check_version(found: u32) -> Result<(), StateError> {
        match found {
            VERSION => Ok(()),
            _ => Err(StateError::Version { found, newest: VERSION }),
        }
    }

    fn state_error(error: KvmError) -> StateError {
        match error {
            KvmError::State(message) | KvmError::Refused(message) => StateError::Value(message),
            other => StateError::Host(std::io::Error::other(other)),
        }
    }
}
