//! What the guest sets for all of its CPUs at once: how interrupts are taken, where the process
//! table is, and which level of the architecture they have.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arch_ppc64::papr::{CpuCharacteristics, ModeCalls, PaprCalls, ProcessTable, ProcessorModes};
use arch_ppc64::{HypercallHandler, Kick, Machine, Status};

use super::sys;
use super::vcpu::{KvmVcpu, RunArea};
use crate::vcpu::{ArchitectureLevel, BackendError};

/// Interrupts are taken in little-endian mode (Power ISA Book III §2.2, LPCR).
const LPCR_ILE: u64 = 1 << 25;
/// Where interrupts are taken, two bits: 0 at the architected addresses, 3 in the kernel's map.
const LPCR_AIL_SHIFT: u32 = 23;
const LPCR_AIL: u64 = 3 << LPCR_AIL_SHIFT;

/// For KVM_REG_PPC_ARCH_COMPAT: what the host is.
const HOST_LEVEL: u32 = 0;

/// What a CPU has [applied](Modes::apply).
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    generation: u64,
    level: u32,
}

/// The modes of a machine.
///
/// A register of a CPU that is in guest code cannot be set from elsewhere without waiting for it,
/// so a change is written down here and every CPU [applies](Self::apply) it by itself on its way
/// into the guest; those that are inside are kicked out.
pub(super) struct Modes {
    vm: Arc<OwnedFd>,
    /// The bits of ILE and AIL that every CPU is to have.
    wanted: AtomicU64,
    /// The level that every CPU is to have, as KVM takes it; 0 is that of the host.
    level: AtomicU32,
    /// Counts the changes of both.
    generation: AtomicU64,
    /// The levels that the host keeps when it is told so.
    levels: OnceLock<Vec<u32>>,
    /// Whether the host keeps AIL = 3 when it is told so.
    ail: OnceLock<bool>,
    areas: OnceLock<Vec<Arc<RunArea>>>,
}

impl Modes {
    pub(super) fn new(vm: Arc<OwnedFd>, machine: &Machine) -> Self {
        Self {
            vm,
            wanted: AtomicU64::new(0),
            level: AtomicU32::new(machine.cpu().compat().unwrap_or(HOST_LEVEL)),
            levels: OnceLock::new(),
            generation: AtomicU64::new(0),
            ail: OnceLock::new(),
            areas: OnceLock::new(),
        }
    }

    /// Takes the machine's CPUs, and finds out on the first what the host can do.
    pub(super) fn know(&self, machine: &Machine, vcpus: &[KvmVcpu]) -> Result<(), BackendError> {
        let Some(first) = vcpus.first() else { return Ok(()) };
        let ail = keeps_ail(first.fd())
            .map_err(BackendError::kernel("find out about the host's interrupt modes"))?;
        let _ = self.ail.set(ail);
        let levels = kept_levels(first.fd(), machine, self.level.load(Ordering::SeqCst))
            .map_err(BackendError::kernel("find out about the host's architecture levels"))?;
        let _ = self.levels.set(levels);
        let _ = self.areas.set(vcpus.iter().map(|vcpu| vcpu.area().clone()).collect());
        Ok(())
    }

    /// Sets what `vcpu` should have, if that changed since it last did so.
    pub(super) fn apply(&self, vcpu: &OwnedFd, seen: &mut Seen) -> io::Result<()> {
        let generation = self.generation.load(Ordering::SeqCst);
        if seen.generation == generation {
            return Ok(());
        }
        let level = self.level.load(Ordering::SeqCst);
        if seen.level != level {
            sys::set_one_reg_u32(vcpu, sys::REG_ARCH_COMPAT, level)?;
            seen.level = level;
        }
        let lpcr = sys::get_one_reg(vcpu, sys::REG_LPCR_64)?;
        let wanted = self.wanted.load(Ordering::SeqCst);
        sys::set_one_reg(vcpu, sys::REG_LPCR_64, lpcr & !(LPCR_ILE | LPCR_AIL) | wanted)?;
        seen.generation = generation;
        Ok(())
    }

    /// What a CPU has that was made for this machine and has applied nothing yet.
    pub(super) fn at_start(&self) -> Seen {
        Seen { generation: 0, level: self.level.load(Ordering::SeqCst) }
    }

    fn change(&self, mask: u64, bits: u64) {
        let update = |wanted| Some(wanted & !mask | bits);
        let before = self.wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update);
        if before == Ok(self.wanted.load(Ordering::SeqCst)) {
            return;
        }
        self.has_changed();
    }

    fn has_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        for area in self.areas.get().into_iter().flatten() {
            area.kick();
        }
    }

    /// What the host says that the processor does against speculation attacks, or `None` where it
    /// does not say.
    fn cpu_characteristics(&self) -> Option<CpuCharacteristics> {
        let mut known = sys::CpuCharacteristics::default();
        sys::with_struct(&self.vm, sys::PPC_GET_CPU_CHAR, &mut known).ok()?;
        Some(CpuCharacteristics {
            character: known.character & known.character_mask,
            behaviour: known.behaviour & known.behaviour_mask,
        })
    }
}

impl ProcessorModes for Modes {
    fn set_interrupt_endianness(&self, little: bool) -> Status {
        self.change(LPCR_ILE, if little { LPCR_ILE } else { 0 });
        Status::SUCCESS
    }

    fn set_interrupt_location(&self, ail: u8) -> Status {
        // What the host drops must not be promised: the guest's first `scv` would be lost. KVM
        // knows no place but 0 and 3.
        let kept = match ail {
            0 => true,
            3 => self.ail.get().copied().unwrap_or(false),
            _ => false,
        };
        if !kept {
            return Status::UNSUPPORTED_FLAG;
        }
        self.change(LPCR_AIL, u64::from(ail) << LPCR_AIL_SHIFT);
        Status::SUCCESS
    }

    fn set_process_table(&self, table: &ProcessTable) -> Status {
        let flags = match table {
            ProcessTable::Radix { gtse: true, .. } => sys::MMUV3_RADIX | sys::MMUV3_GTSE,
            ProcessTable::Radix { gtse: false, .. } => sys::MMUV3_RADIX,
            // "A request for an unimplemented function results in an H_Parameter": the tree says
            // that there is radix only.
            ProcessTable::Hash => return Status::PARAMETER,
        };
        let process_table = table.partition_table_entry();
        let mut config = sys::MmuV3Config { flags, process_table };
        match sys::with_struct(&self.vm, sys::PPC_CONFIGURE_V3_MMU, &mut config) {
            Ok(_) => Status::SUCCESS,
            Err(error) => {
                log::warn!("KVM refuses the guest's process table: {error}");
                Status::PARAMETER
            }
        }
    }
}

impl ArchitectureLevel for Modes {
    fn set(&self, level: Option<u32>) -> bool {
        let is_kept = |level| self.levels.get().is_some_and(|levels| levels.contains(&level));
        if !level.is_none_or(is_kept) {
            return false;
        }
        let level = level.unwrap_or(HOST_LEVEL);
        if self.level.swap(level, Ordering::SeqCst) != level {
            self.has_changed();
        }
        true
    }
}

/// The hypercalls that need this back end.
pub(super) fn handlers(modes: &Arc<Modes>, max_cpus: u32) -> Vec<Arc<dyn HypercallHandler>> {
    vec![
        Arc::new(PaprCalls::new(max_cpus, modes.cpu_characteristics())),
        Arc::new(ModeCalls::new(modes.clone())),
    ]
}

/// Whether the host keeps AIL = 3 for a CPU that is told so: KVM drops it silently where the
/// processor cannot do it.
fn keeps_ail(vcpu: &OwnedFd) -> io::Result<bool> {
    let before = sys::get_one_reg(vcpu, sys::REG_LPCR_64)?;
    sys::set_one_reg(vcpu, sys::REG_LPCR_64, before | LPCR_AIL)?;
    let kept = sys::get_one_reg(vcpu, sys::REG_LPCR_64)?;
    sys::set_one_reg(vcpu, sys::REG_LPCR_64, before)?;
    Ok(kept & LPCR_AIL == LPCR_AIL)
}

/// The levels of `machine` that the host takes for a CPU, which has `level` before and after.
fn kept_levels(vcpu: &OwnedFd, machine: &Machine, level: u32) -> io::Result<Vec<u32>> {
    let levels = machine.cpu().levels().map(|model| model.logical_pvr());
    let is_kept = |level: &u32| sys::set_one_reg_u32(vcpu, sys::REG_ARCH_COMPAT, *level).is_ok();
    let kept = levels.filter(is_kept).collect();
    sys::set_one_reg_u32(vcpu, sys::REG_ARCH_COMPAT, level)?;
    Ok(kept)
}
