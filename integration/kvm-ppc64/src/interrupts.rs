//! The kernel's XICS (LoPAPR §B.6.9, the interrupt controller of the PowerPC External Interrupt
//! option).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arch_ppc64::ServerNumber;
use arch_ppc64::platform::{InterruptKind, Signal, SourceNumber};
use arch_ppc64::rtas::{self, RtasHandler};
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::xics::KernelXics;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::error::KvmError;
use crate::sys;

/// The numbers that sources can have: those below are inter-processor interrupts.
const FIRST_SOURCE: u32 = 16;
const LAST_SOURCE: u32 = 0xf_ffff;

/// Priority of a source that is not to interrupt anybody (LoPAPR §15.2).
const LEAST_FAVORED: u8 = 0xff;

/// The kernel's XICS: the interrupt controller of a VM.
///
/// It is a device of the machine (`arch_ppc64::platform::Device`), with its sources for state if
/// there is the feature `serde`, and the `InterruptController` of the others.
#[derive(Debug)]
pub struct Xics {
    vm: Arc<OwnedFd>,
    device: OwnedFd,
    topology: CpuTopology,
    /// What the machine sees of it.
    pub(crate) described: KernelXics,
    claimed: Mutex<BTreeMap<u32, Source>>,
}

#[derive(Debug)]
struct Source {
    is_level: bool,
    /// Its file, if somebody asked for it.
    irqfd: Option<EventFd>,
}

/// A source as it is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub(crate) struct SourceState {
    pub(crate) number: u32,
    /// The interrupt server that it goes to.
    pub(crate) server: u32,
    pub(crate) priority: u8,
    pub(crate) level: bool,
    pub(crate) masked: bool,
    pub(crate) pending: bool,
    pub(crate) presented: bool,
    pub(crate) queued: bool,
}

impl SourceState {
    /// Masked, until the guest sets it up.
    fn fresh(number: u32, level: bool) -> Self {
        Self {
            number,
            server: 0,
            priority: LEAST_FAVORED,
            level,
            masked: true,
            pending: false,
            presented: false,
            queued: false,
        }
    }

    fn to_kvm(self) -> u64 {
        let flag = |is: bool, bit| if is { bit } else { 0 };
        u64::from(self.server)
            | u64::from(self.priority) << sys::XICS_PRIORITY_SHIFT
            | flag(self.level, sys::XICS_LEVEL_SENSITIVE)
            | flag(self.masked, sys::XICS_MASKED)
            | flag(self.pending, sys::XICS_PENDING)
            | flag(self.presented, sys::XICS_PRESENTED)
            | flag(self.queued, sys::XICS_QUEUED)
    }

    fn of_kvm(number: u32, value: u64) -> Self {
        Self {
            number,
            server: value as u32,
            priority: (value >> sys::XICS_PRIORITY_SHIFT) as u8,
            level: value & sys::XICS_LEVEL_SENSITIVE != 0,
            masked: value & sys::XICS_MASKED != 0,
            pending: value & sys::XICS_PENDING != 0,
            presented: value & sys::XICS_PRESENTED != 0,
            queued: value & sys::XICS_QUEUED != 0,
        }
    }
}

impl Xics {
    pub(crate) fn create(vm: &Arc<OwnedFd>, topology: &CpuTopology) -> Result<Self, KvmError> {
        let mut device = sys::CreateDevice { kind: sys::DEV_TYPE_XICS, ..Default::default() };
        sys::with_struct(vm, sys::CREATE_DEVICE, &mut device)
            .map_err(KvmError::kernel("create the XICS"))?;
        let device = sys::owned(device.fd as i32);
        Ok(Self {
            vm: vm.clone(),
            device,
            topology: topology.clone(),
            described: KernelXics::new(topology),
            claimed: Mutex::default(),
        })
    }

    /// Tells the kernel the tokens of the RTAS calls that it answers by itself, so that H_RTAS with
    /// one of them does not exit.
    pub(crate) fn define_rtas_calls(&self) -> Result<(), KvmError> {
        for name in self.described.calls().iter().map(|call| call.name) {
            let call = rtas::token_of(name).and_then(|token| sys::RtasToken::new(name, token));
            let mut call = call.ok_or_else(|| KvmError::Refused(format!("{name} has no token")))?;
            sys::with_struct(&self.vm, sys::PPC_RTAS_DEFINE_TOKEN, &mut call)
                .map_err(KvmError::kernel("give an RTAS call to the kernel"))?;
        }
        Ok(())
    }

    /// What KVM connects a CPU to.
    pub(crate) fn device_number(&self) -> u64 {
        self.device.as_raw_fd() as u64
    }

    /// Makes a source. Again for the same one is no error.
    pub(crate) fn add(&self, source: SourceNumber, kind: InterruptKind) -> io::Result<()> {
        let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if !(FIRST_SOURCE..=LAST_SOURCE).contains(&source.0) {
            return invalid("XICS sources are from 0x10 to 0xfffff");
        }
        let is_level = kind == InterruptKind::Level;
        let mut claimed = self.lock();
        match claimed.get(&source.0) {
            Some(known) if known.is_level == is_level => return Ok(()),
            Some(_) => return invalid("it was claimed as one of the other kind"),
            None => {}
        }
        self.set(SourceState::fresh(source.0, is_level))?;
        claimed.insert(source.0, Source { is_level, irqfd: None });
        Ok(())
    }

    /// What the device of a source does.
    pub(crate) fn tell(&self, source: SourceNumber, signal: Signal) {
        let Some(is_level) = self.lock().get(&source.0).map(|source| source.is_level) else {
            return;
        };
        let levels: &[u32] = match (signal, is_level) {
            // The kernel takes a pulse as it comes.
            (Signal::Pulse | Signal::High, false) => &[1],
            (Signal::Pulse, true) => &[1, 0],
            (Signal::High, true) => &[1],
            (Signal::Low, true) => &[0],
            // The end of a pulse is nothing.
            _ => &[],
        };
        for &level in levels {
            let mut line = sys::IrqLevel { irq: source.0, level };
            if let Err(error) = sys::with_struct(&self.vm, sys::IRQ_LINE, &mut line) {
                log::warn!("cannot signal {source}: {error}");
            }
        }
    }

    /// The file of a source; the same one each time.
    pub(crate) fn file(&self, source: SourceNumber) -> io::Result<EventFd> {
        let mut claimed = self.lock();
        let Some(known) = claimed.get_mut(&source.0) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was not claimed"));
        };
        if let Some(file) = &known.irqfd {
            return file.try_clone();
        }
        let file = EventFd::new(EFD_NONBLOCK)?;
        irqfd(&self.vm, &file, source, 0)?;
        known.irqfd.insert(file).try_clone()
    }

    /// Has the kernel pulse a source when a file is written to.
    pub(crate) fn attach(&self, source: SourceNumber, file: &EventFd) -> io::Result<()> {
        // The kernel takes any number, and loses what comes for one that it does not know.
        if !self.lock().contains_key(&source.0) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was not claimed"));
        }
        irqfd(&self.vm, file, source, 0)
    }

    /// No longer.
    pub(crate) fn detach(&self, source: SourceNumber, file: &EventFd) -> io::Result<()> {
        irqfd(&self.vm, file, source, sys::IRQFD_DEASSIGN)
    }

    /// All sources that were claimed. Reading the first of them has the kernel look at all queues,
    /// and no CPU may run until the last was read.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn snapshot(&self) -> io::Result<Vec<SourceState>> {
        let claimed = self.lock();
        let read = |&number: &u32| {
            let group = sys::DEV_XICS_GRP_SOURCES;
            let value = sys::get_device_attr(&self.device, group, number.into())?;
            Ok(SourceState::of_kvm(number, value))
        };
        claimed.keys().map(read).collect()
    }

    /// Takes up what was saved of the sources that were claimed here: of each of them.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn restore(&self, saved: &[SourceState]) -> Result<(), KvmError> {
        let claimed = self.lock();
        check(saved, &claimed, &self.topology)?;
        for &source in saved {
            self.set(source).map_err(KvmError::kernel("restore an interrupt source"))?;
        }
        Ok(())
    }

    fn set(&self, source: SourceState) -> io::Result<()> {
        let group = sys::DEV_XICS_GRP_SOURCES;
        sys::set_device_attr(&self.device, group, source.number.into(), source.to_kvm())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Source>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses sources that are not those that were claimed, or go to nobody.
#[cfg_attr(not(feature = "serde"), allow(dead_code))]
fn check(
    saved: &[SourceState],
    claimed: &BTreeMap<u32, Source>,
    topology: &CpuTopology,
) -> Result<(), KvmError> {
    let refused = |number, why| Err(KvmError::State(format!("interrupt source {number:#x} {why}")));
    let mut seen = BTreeSet::new();
    for source in saved {
        let wrong = match claimed.get(&source.number) {
            None => "was not claimed",
            Some(known) if known.is_level != source.level => "is of the other kind",
            Some(_) if !seen.insert(source.number) => "is there twice",
            Some(_) if topology.index(ServerNumber(source.server)).is_none() => {
                "is for a server that there is not"
            }
            Some(_) => continue,
        };
        return refused(source.number, wrong);
    }
    if let Some(&missing) = claimed.keys().find(|number| !seen.contains(number)) {
        return refused(missing, "is not in the state");
    }
    Ok(())
}

/// Has the kernel pulse a source when a file is written to, or no longer (`IRQFD_DEASSIGN`).
pub(crate) fn irqfd(
    vm: &OwnedFd,
    file: &impl AsRawFd,
    source: SourceNumber,
    flags: u32,
) -> io::Result<()> {
    let fd = file.as_raw_fd() as u32;
    let mut request = sys::IrqFd { fd, gsi: source.0, flags, ..Default::default() };
    sys::with_struct(vm, sys::IRQFD, &mut request)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of Linux, `Documentation/virt/kvm/devices/xics.rst`.
    #[test]
    fn a_source_is_a_number_for_kvm() {
        let fresh = SourceState::fresh(0x1000, false);
        assert_eq!(fresh.to_kvm(), 0x2ff_0000_0000);
        let all = SourceState {
            server: 7,
            priority: 5,
            level: true,
            pending: true,
            presented: true,
            queued: true,
            ..fresh
        };
        assert_eq!(all.to_kvm(), 0x1f05_0000_0007);
        for state in [fresh, all] {
            assert_eq!(SourceState::of_kvm(0x1000, state.to_kvm()), state);
        }
    }

    #[test]
    fn sources_that_cannot_be_are_refused_by_name() {
        let edge = |is_level| Source { is_level, irqfd: None };
        let claimed = BTreeMap::from([(0x1000, edge(false)), (0x1001, edge(true))]);
        let topology = CpuTopology::new(4).with_threads(2, 8).unwrap();
        let good = [SourceState::fresh(0x1000, false), SourceState::fresh(0x1001, true)];
        assert!(check(&good, &claimed, &topology).is_ok());
        let [edge, level] = good;
        for (saved, message) in [
            (vec![edge, level, SourceState::fresh(0x1002, true)], "0x1002 was not claimed"),
            (vec![SourceState { level: true, ..edge }, level], "0x1000 is of the other kind"),
            (vec![edge, level, edge], "0x1000 is there twice"),
            (vec![edge], "0x1001 is not in the state"),
            (vec![edge, SourceState { server: 7, ..level }], "0x1001 is for a server"),
        ] {
            let error = check(&saved, &claimed, &topology).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
