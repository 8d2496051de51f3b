//! How the parts of a VM plug into arch-ppc64's machine: its hypercalls, its interrupt controller,
//! its saved state.

use std::sync::Arc;

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated};
use arch_ppc64::fdt::{FdtError, Tree};
use arch_ppc64::hypercall::token;
use arch_ppc64::papr::{ModeCalls, PaprCalls, ProcessTable, ProcessorModes};
use arch_ppc64::platform::{
    Describe, Device, InterruptController, InterruptError, InterruptKind, KernelCalls, Signal,
    SourceNumber,
};
use arch_ppc64::rtas::RtasHandler;
use arch_ppc64::{CpuIndex, GuestRam, Hypercall, HypercallHandler, Machine, Next, Status};
use vmm_sys_util::eventfd::EventFd;

use crate::hpt_calls::HptCalls;
use crate::interrupts::XicsOrXive;
use crate::modes::Modes;
use crate::translation::MmuConfig;
use crate::vm::Vm;

impl Vm {
    /// The interrupt controller, and the hypercalls that only KVM can answer, and that it does not
    /// answer in the kernel: those of XIVE, how interrupts are taken, where the process
    /// table is, a hashed page table of another size, what the processor does against speculation
    /// attacks. Before or after CPUs are made.
    ///
    /// One of the devices stands for what else the kernel answers by itself.
    pub fn devices(&self) -> Vec<Arc<dyn Device>> {
        let characteristics = self.modes().cpu_characteristics();
        let mut devices: Vec<Arc<dyn Device>> = vec![
            self.interrupts().clone(),
            Arc::new(KernelCalls::new(&["hcall-splpar"])),
            Arc::new(PaprCalls::new(self.topology(), characteristics)),
            Arc::new(ModeCalls::new(self.topology(), self.modes().clone())),
        ];
        if self.modes().translation().offered().includes(&Mmu::Hash) {
            devices.push(Arc::new(HptCalls(self.modes().clone())));
        }
        devices
    }

    /// The machine as its guest has it here: with the hashed page tables that there can be, which its
    /// tree and its negotiation speak of.
    pub fn fit(&self, machine: Machine) -> Machine {
        let translation = self.modes().translation();
        let machine = machine.with_hpt_orders(translation.orders());
        match translation.offered().includes(&Mmu::Hash) {
            true => machine.with_hash_pages(self.modes().hash_pages()),
            false => machine,
        }
    }
}

impl Vm {
    /// What its CPUs make of an agreement between a guest and its platform, for
    /// [`VcpuHost::negotiated`](arch_ppc64::VcpuHost::negotiated): a level that the host
    /// has each takes before its next entry, they get the interrupt controller that the VM can be, out
    /// of guest code, and the translation changes at once, as long as nobody but the caller runs.
    pub fn negotiated(&self, decision: &Decision) -> Negotiated {
        let before = self.interrupts().mode();
        let agreed = self.modes().check_level(decision.compat).is_ok()
            && self.agree_on_interrupts(decision.interrupts)
            && self.agree_on_translation(decision)
            && self.set_compat(decision.compat).is_ok();
        if !agreed {
            self.agree_on_interrupts(before);
            return Negotiated::Refused;
        }
        Negotiated::Live
    }

    fn agree_on_interrupts(&self, mode: InterruptMode) -> bool {
        self.interrupts().switch(mode).unwrap_or_else(|error| {
            let error = with_source(&error);
            log::error!("the guest does not get its interrupt controller: {error}");
            false
        })
    }

    fn agree_on_translation(&self, decision: &Decision) -> bool {
        let agreed = self.modes().translation().agree(decision.mmu, decision.hpt_order);
        if let Err(error) = &agreed {
            log::error!("the guest cannot have what it agreed on: {}", with_source(error));
        }
        agreed.is_ok()
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
        let gtse = match (table, self.translation().is_hash()) {
            (ProcessTable::Radix { gtse, .. }, false) => *gtse,
            // It has been made, and is all that there is.
            (ProcessTable::Hash, true) => return Status::SUCCESS,
            // "A request for an unimplemented function results in an H_Parameter": the guest has
            // agreed on the other.
            _ => return Status::PARAMETER,
        };
        let config = MmuConfig { gtse, table: table.partition_table_entry() };
        match self.translation().set_process_table(config) {
            Ok(()) => Status::SUCCESS,
            Err(error) => {
                log::warn!("KVM refuses the guest's process table: {error}");
                Status::PARAMETER
            }
        }
    }
}

/// An error with what it comes from, in a line.
fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {source}"))
}

/// A platform with it is restored after the CPUs.
impl Device for XicsOrXive {
    fn id(&self) -> &str {
        self.described().id()
    }

    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        self.described().describe(tree, cx)
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        self.modes().includes(&InterruptMode::Xive).then_some(self)
    }

    fn function_sets(&self) -> &[&'static str] {
        self.described().function_sets()
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        self.described().rtas()
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn arch_ppc64::platform::SaveState> {
        Some(self)
    }
}

/// Those of XICS, the kernel answers.
impl HypercallHandler for XicsOrXive {
    fn tokens(&self) -> &[u64] {
        token::XIVE_CALLS
    }

    fn handle(&self, _caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        self.answer(ram, call)
    }
}

impl InterruptController for XicsOrXive {
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
    use arch_ppc64::hpt::Order;
    use arch_ppc64::platform::{SaveState, StateError, StateValue};
    use serde::{Deserialize, Serialize};

    use super::{MmuConfig, Vm};
    use crate::hpt::{ENTRY_BYTES, Run};
    use crate::modes::Snapshot;
    use crate::time::HostTime;
    use crate::translation;

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
        /// Of a guest with radix trees that has registered one.
        process_table: Option<ProcessTableState>,
        /// Of a guest without them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hashed_page_table: Option<HptState>,
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

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct HptState {
        /// Log2 of its size in bytes.
        order: u8,
        valid: Vec<RunState>,
    }

    /// Valid entries of consecutive numbers.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RunState {
        /// The number of the first.
        first: u32,
        /// Hexadecimal, 32 digits an entry.
        entries: String,
    }

    impl RunState {
        fn of(run: &Run) -> Self {
            let digits =
                |byte: &u8| [byte >> 4, byte & 0xf].map(|digit| HEX[usize::from(digit)] as char);
            Self { first: run.first, entries: run.entries.iter().flat_map(digits).collect() }
        }

        fn run(&self) -> Result<Run, StateError> {
            let digit = |digit: u8| HEX.iter().position(|&known| known == digit).map(|at| at as u8);
            let entries: Option<Vec<u8>> = self
                .entries
                .as_bytes()
                .chunks(2)
                .map(|pair| match *pair {
                    [high, low] => Some(digit(high)? << 4 | digit(low)?),
                    _ => None,
                })
                .collect();
            match entries {
                Some(entries) if entries.len() % ENTRY_BYTES == 0 => {
                    Ok(Run { first: self.first, entries })
                }
                _ => Err(StateError::Value(format!(
                    "the entries from {} on of the hashed page table are no hexadecimal numbers of {} \
                     digits each",
                    self.first,
                    2 * ENTRY_BYTES
                ))),
            }
        }
    }

    const HEX: &[u8; 16] = b"0123456789abcdef";

    impl HptState {
        fn snapshot(&self) -> Result<translation::Snapshot, StateError> {
            let order = Order::new(self.order.into()).ok_or_else(|| {
                StateError::Value(format!("there is no hashed page table of order {}", self.order))
            })?;
            let runs = self.valid.iter().map(RunState::run).collect::<Result<_, _>>()?;
            Ok(translation::Snapshot::Hash { order, runs })
        }
    }

    /// What is set for all CPUs at once, and time: the modes that the guest chose, the architecture
    /// level, the time base. Restored after the CPUs are made, and before their states are; the
    /// platform with its devices comes after these.
    impl SaveState for Vm {
        fn save(&self) -> Result<StateValue, StateError> {
            let now = self.modes().snapshot()?;
            let (process_table, hashed_page_table) = match now.translation {
                translation::Snapshot::Radix(table) => (
                    table.map(|MmuConfig { gtse, table }| ProcessTableState { gtse, entry: table }),
                    None,
                ),
                translation::Snapshot::Hash { order, runs } => {
                    let valid = runs.iter().map(RunState::of).collect();
                    (None, Some(HptState { order: order.get() as u8, valid }))
                }
            };
            StateValue::of(&VmState {
                little_endian_interrupts: now.little_endian_interrupts,
                interrupt_location: now.ail,
                compat: now.compat,
                process_table,
                hashed_page_table,
                timebase: now.time.timebase,
                unix_ns: now.time.unix_ns,
            })
        }

        fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
            check_version(version)?;
            let saved: VmState = state.get()?;
            let table = saved
                .process_table
                .map(|ProcessTableState { gtse, entry }| MmuConfig { gtse, table: entry });
            let translation = match &saved.hashed_page_table {
                Some(hashed) => hashed.snapshot()?,
                None => translation::Snapshot::Radix(table),
            };
            let snapshot = Snapshot {
                little_endian_interrupts: saved.little_endian_interrupts,
                ail: saved.interrupt_location,
                compat: saved.compat,
                translation,
                time: HostTime { timebase: saved.timebase, unix_ns: saved.unix_ns },
            };
            Ok(self.modes().restore(&snapshot)?)
        }
    }

    fn check_version(found: u32) -> Result<(), StateError> {
        match found {
            VERSION => Ok(()),
            _ => Err(StateError::Version { found, newest: VERSION }),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_run_is_text_and_back() {
            let run = Run { first: 8, entries: (0..32).map(|byte| byte * 8).collect() };
            let saved = RunState::of(&run);
            assert!(saved.entries.starts_with("00081018") && saved.entries.len() == 64);
            assert_eq!(saved.run().unwrap(), run);
            for wrong in ["0", "0g", "00", &"00".repeat(17), "\u{e4}\u{e4}"] {
                let saved = RunState { first: 8, entries: wrong.to_owned() };
                let error = saved.run().unwrap_err().to_string();
                assert!(error.contains("from 8 on"), "{error}");
            }
        }

        #[test]
        fn a_table_has_a_size_that_there_is() {
            for (order, is_one) in [(17, false), (18, true), (46, true), (47, false)] {
                let saved = HptState { order, valid: vec![] };
                assert_eq!(saved.snapshot().is_ok(), is_one, "{order}");
            }
        }
    }
}
