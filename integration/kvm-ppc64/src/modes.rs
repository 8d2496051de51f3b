//! What is set for all CPUs of a VM at once: how interrupts are taken, how addresses are translated,
//! the architecture level, and time.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arch_ppc64::Kick;
use arch_ppc64::hpt::HashPage;
use arch_ppc64::papr::CpuCharacteristics;

use crate::device::Device;
use crate::error::KvmError;
use crate::registers::{ARCH_COMPAT, DEC_EXPIRY, LPCR_64, TB_OFFSET};
use crate::run_area::RunArea;
use crate::sys;
use crate::time::{self, HostTime, OFFSET_STEP, TimePolicy};
use crate::translation::{self, Translation};

/// Interrupts are taken in little-endian mode (Power ISA Book III §2.2, LPCR).
const LPCR_ILE: u64 = 1 << 25;
/// Where interrupts are taken, two bits: 0 at the architected addresses, 3 in the kernel's map.
const LPCR_AIL_SHIFT: u32 = 23;
const LPCR_AIL: u64 = 3 << LPCR_AIL_SHIFT;

/// The modes of a VM.
///
/// A register of a CPU that is in guest code cannot be set from elsewhere without waiting for it,
/// so a change is written down here and every CPU applies it by itself on its way into the guest;
/// those that are inside are kicked out.
#[derive(Debug)]
pub(crate) struct Modes {
    device: Arc<Device>,
    vm: Arc<OwnedFd>,
    time_policy: TimePolicy,
    set: Mutex<Wanted>,
    translation: Translation,
    /// Counts the changes of what is `wanted`.
    generation: AtomicU64,
    /// Whether the host keeps AIL = 3 when it is told so; known with the first CPU.
    ail: OnceLock<bool>,
    areas: Mutex<Vec<Weak<RunArea>>>,
    /// What a restored CPU adds to its TB_OFFSET.
    time_correction: AtomicU64,
    /// Since when the guest's time stands still, by the host's clock.
    paused_at: Mutex<Option<Duration>>,
}

/// What every CPU is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Wanted {
    /// The bits of ILE and AIL.
    lpcr: u64,
    compat: Option<u32>,
    /// TB_OFFSET, which is to be the same of all.
    time_offset: u64,
}

/// What a CPU has.
#[derive(Debug)]
pub(crate) struct Applied {
    generation: u64,
    /// `None`: not known.
    compat: Option<Level>,
    /// `None`: not known.
    time_offset: Option<u64>,
}

/// An architecture level, or none.
type Level = Option<u32>;

impl Applied {
    /// A CPU that is new.
    pub(crate) const fn fresh() -> Self {
        Self { generation: 0, compat: Some(None), time_offset: Some(0) }
    }

    /// A CPU that may have anything.
    pub(crate) const fn unknown() -> Self {
        Self { generation: 0, compat: None, time_offset: None }
    }
}

/// The modes as they are saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) little_endian_interrupts: bool,
    pub(crate) ail: u8,
    pub(crate) compat: Option<u32>,
    pub(crate) translation: translation::Snapshot,
    pub(crate) time: HostTime,
}

impl Modes {
    pub(crate) fn new(
        device: Arc<Device>,
        vm: Arc<OwnedFd>,
        translation: Translation,
        compat: Option<u32>,
        time_policy: TimePolicy,
    ) -> Self {
        Self {
            device,
            vm,
            time_policy,
            set: Mutex::new(Wanted { compat, ..Wanted::default() }),
            translation,
            // No CPU has applied it yet.
            generation: AtomicU64::new(1),
            ail: OnceLock::new(),
            areas: Mutex::default(),
            time_correction: AtomicU64::new(0),
            paused_at: Mutex::default(),
        }
    }

    /// Takes one more CPU, and finds out on the first what the host can do.
    pub(crate) fn know(&self, vcpu: &OwnedFd, area: &Arc<RunArea>) -> io::Result<()> {
        if self.ail.get().is_none() {
            // Another may be first meanwhile, and finds the same.
            let _ = self.ail.set(keeps_ail(vcpu)?);
        }
        let mut areas = self.areas.lock().unwrap_or_else(PoisonError::into_inner);
        areas.retain(|area| area.strong_count() > 0);
        areas.push(Arc::downgrade(area));
        Ok(())
    }

    /// Sets what `vcpu` should have, if that changed since it last did so.
    pub(crate) fn apply(&self, vcpu: &OwnedFd, has: &mut Applied) -> io::Result<()> {
        let generation = self.generation.load(Ordering::SeqCst);
        if has.generation == generation {
            return Ok(());
        }
        let wanted = *self.lock();
        if has.compat != Some(wanted.compat) {
            sys::set_one_reg(vcpu, ARCH_COMPAT, wanted.compat.unwrap_or(0).into())?;
            has.compat = Some(wanted.compat);
        }
        let lpcr = sys::get_one_reg(vcpu, LPCR_64)? as u64;
        let lpcr = lpcr & !(LPCR_ILE | LPCR_AIL) | wanted.lpcr;
        sys::set_one_reg(vcpu, LPCR_64, lpcr.into())?;
        if has.time_offset != Some(wanted.time_offset) {
            set_time_offset(vcpu, wanted.time_offset)?;
            has.time_offset = Some(wanted.time_offset);
        }
        has.generation = generation;
        Ok(())
    }

    /// The pages of a hashed page table.
    pub(crate) fn hash_pages(&self) -> Vec<HashPage> {
        self.device.hash_pages()
    }

    /// Refuses a level that the host does not have.
    pub(crate) fn check_level(&self, level: Option<u32>) -> Result<(), KvmError> {
        check_level(&self.device, level)
    }

    /// Holds all CPUs to an architecture level, or lets go of it (`None`): each before it next
    /// enters the guest.
    pub(crate) fn set_compat(&self, level: Option<u32>) -> Result<(), KvmError> {
        self.check_level(level)?;
        self.change(|wanted| wanted.compat = level);
        Ok(())
    }

    pub(crate) fn set_interrupt_endianness(&self, little: bool) {
        self.change(|wanted| {
            wanted.lpcr = wanted.lpcr & !LPCR_ILE | if little { LPCR_ILE } else { 0 };
        });
    }

    /// False where the processor cannot.
    pub(crate) fn set_interrupt_location(&self, ail: u8) -> bool {
        if !self.has_location(ail) {
            return false;
        }
        self.change(|wanted| {
            wanted.lpcr = wanted.lpcr & !LPCR_AIL | u64::from(ail) << LPCR_AIL_SHIFT;
        });
        true
    }

    /// What the host drops must not be promised: the guest's first `scv` would be lost. KVM knows
    /// no place but 0 and 3.
    fn has_location(&self, ail: u8) -> bool {
        match ail {
            0 => true,
            3 => self.ail.get().copied().unwrap_or(false),
            _ => false,
        }
    }

    /// How addresses are translated.
    pub(crate) fn translation(&self) -> &Translation {
        &self.translation
    }

    /// What the host says that the processor does against speculation attacks, or `None` where it
    /// does not say.
    pub(crate) fn cpu_characteristics(&self) -> Option<CpuCharacteristics> {
        let mut said = sys::CpuCharacteristics::default();
        sys::with_struct(&self.vm, sys::PPC_GET_CPU_CHAR, &mut said).ok()?;
        let of = |character, behaviour| CpuCharacteristics { character, behaviour };
        let masks = of(said.character_mask, said.behaviour_mask);
        of(said.character, said.behaviour).known(masks)
    }

    /// What a CPU that is restored adds to its TB_OFFSET.
    pub(crate) fn time_correction(&self) -> u64 {
        self.time_correction.load(Ordering::SeqCst)
    }

    /// TB_OFFSET of every CPU, once it enters the guest.
    pub(crate) fn time_offset(&self) -> u64 {
        self.lock().time_offset
    }

    /// TB_OFFSET that a CPU was restored with is that of all.
    pub(crate) fn set_time_offset(&self, offset: u64) {
        let rounded = offset.wrapping_add(OFFSET_STEP - 1) & !(OFFSET_STEP - 1);
        self.change(|wanted| wanted.time_offset = rounded);
    }

    /// The guest's time stands still from here on, if it did not yet. No CPU is in the guest.
    pub(crate) fn pause_clock(&self) {
        self.paused_at().get_or_insert_with(sys::host_clock);
    }

    /// It goes on, if it stood still: every CPU sets its own before it enters the guest.
    pub(crate) fn resume_clock(&self) {
        let Some(at) = self.paused_at().take() else { return };
        let correction = time::correction_of_pause(sys::host_clock().saturating_sub(at));
        self.change(|wanted| wanted.time_offset = wanted.time_offset.wrapping_add(correction));
    }

    fn paused_at(&self) -> MutexGuard<'_, Option<Duration>> {
        self.paused_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn snapshot(&self) -> Result<Snapshot, KvmError> {
        let wanted = *self.lock();
        let now = self.device.host_time()?;
        // Where it stands still, it is what it was.
        let paused_for =
            self.paused_at().map_or(Duration::ZERO, |at| sys::host_clock().saturating_sub(at));
        Ok(Snapshot {
            little_endian_interrupts: wanted.lpcr & LPCR_ILE != 0,
            ail: ((wanted.lpcr & LPCR_AIL) >> LPCR_AIL_SHIFT) as u8,
            compat: wanted.compat,
            translation: self.translation.snapshot()?,
            time: now.before(paused_for),
        })
    }

    /// Takes up what was saved, perhaps elsewhere.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn restore(&self, saved: &Snapshot) -> Result<(), KvmError> {
        if !self.has_location(saved.ail) {
            return Err(KvmError::State(format!(
                "interrupts at location {} (LPCR.AIL): this host has {}",
                saved.ail,
                if self.has_location(3) { "0 and 3" } else { "0, or has no CPU yet" }
            )));
        }
        self.translation.check(&saved.translation)?;
        self.check_level(saved.compat)?;
        let now = self.device.host_time()?;
        self.translation.restore(&saved.translation)?;
        let ile = if saved.little_endian_interrupts { LPCR_ILE } else { 0 };
        let lpcr = ile | u64::from(saved.ail) << LPCR_AIL_SHIFT;
        self.change(|wanted| *wanted = Wanted { lpcr, compat: saved.compat, ..*wanted });
        let correction = time::correction(saved.time, now, self.time_policy);
        self.time_correction.store(correction, Ordering::SeqCst);
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        let mut set = self.lock();
        let before = *set;
        change(&mut set);
        if *set == before {
            return;
        }
        self.generation.fetch_add(1, Ordering::SeqCst);
        drop(set);
        let areas = self.areas.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for area in areas.iter().filter_map(Weak::upgrade) {
            area.kick();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets TB_OFFSET of a CPU, and leaves its decrementer where it is in the guest's time: Linux before 5.17
/// keeps that in the host's.
fn set_time_offset(vcpu: &OwnedFd, offset: u64) -> io::Result<()> {
    let expiry = sys::get_one_reg(vcpu, DEC_EXPIRY)?;
    sys::set_one_reg(vcpu, TB_OFFSET, offset.into())?;
    // That of a CPU which is new has not been set.
    if expiry == 0 { Ok(()) } else { sys::set_one_reg(vcpu, DEC_EXPIRY, expiry) }
}

/// Refuses a level that the host does not have.
pub(crate) fn check_level(device: &Device, level: Option<u32>) -> Result<(), KvmError> {
    match level {
        Some(level) if !device.has_level(level)? => Err(KvmError::Refused(format!(
            "this host cannot hold a processor to the architecture level {level:#010x}"
        ))),
        _ => Ok(()),
    }
}

/// Whether the host keeps AIL = 3 for a CPU that is told so: KVM drops it silently where the
/// processor cannot do it.
fn keeps_ail(vcpu: &OwnedFd) -> io::Result<bool> {
    let before = sys::get_one_reg(vcpu, LPCR_64)?;
    sys::set_one_reg(vcpu, LPCR_64, before | u128::from(LPCR_AIL))?;
    let kept = sys::get_one_reg(vcpu, LPCR_64)?;
    sys::set_one_reg(vcpu, LPCR_64, before)?;
    Ok(kept as u64 & LPCR_AIL == LPCR_AIL)
}
