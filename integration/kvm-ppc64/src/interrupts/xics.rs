//! The kernel's XICS (LoPAPR §B.6.9, the interrupt controller of the PowerPC External Interrupt
//! option).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use arch_ppc64::ServerNumber;
use arch_ppc64::rtas::{self, RtasHandler};
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::xics::KernelXics;

use super::sources::Sources;
use crate::error::KvmError;
use crate::seat::Seat;
use crate::sys;

/// Priority of a source that is not to interrupt anybody (LoPAPR §15.2).
const LEAST_FAVORED: u8 = 0xff;

/// The kernel's XICS. What it knows goes when it is dropped.
#[derive(Debug)]
pub(super) struct Xics {
    vm: Arc<OwnedFd>,
    device: OwnedFd,
    calls: KernelXics,
}

/// A source as it is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub(super) struct SourceState {
    number: u32,
    /// The interrupt server that it goes to.
    server: u32,
    priority: u8,
    level: bool,
    masked: bool,
    pending: bool,
    presented: bool,
    queued: bool,
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
    /// One without sources and CPUs. The kernel answers H_RTAS with the calls about its sources
    /// from here on.
    pub(super) fn create(vm: &Arc<OwnedFd>, topology: &CpuTopology) -> Result<Self, KvmError> {
        let device = super::create_device(vm, sys::DEV_TYPE_XICS)
            .map_err(KvmError::kernel("create the XICS"))?;
        let xics = Self { vm: vm.clone(), device, calls: KernelXics::new(topology) };
        xics.define_calls(rtas::token_of)?;
        Ok(xics)
    }

    /// Tells the kernel the tokens of the RTAS calls that it answers by itself, so that H_RTAS with
    /// one of them does not exit. That of 0 is none.
    fn define_calls(&self, token_of: impl Fn(&str) -> Option<u32>) -> Result<(), KvmError> {
        for name in self.calls.calls().iter().map(|call| call.name) {
            let call = token_of(name).and_then(|token| sys::RtasToken::new(name, token));
            let mut call = call.ok_or_else(|| KvmError::Refused(format!("{name} has no token")))?;
            sys::with_struct(&self.vm, sys::PPC_RTAS_DEFINE_TOKEN, &mut call)
                .map_err(KvmError::kernel("give an RTAS call to the kernel"))?;
        }
        Ok(())
    }

    /// Has a CPU interrupted by it.
    pub(super) fn connect(&self, cpu: &Seat) -> Result<(), KvmError> {
        cpu.enable(sys::CAP_IRQ_XICS, self.device.as_raw_fd() as u64, cpu.server.0.into())
            .map_err(KvmError::kernel("connect a virtual CPU to the XICS"))
    }

    /// Makes a source, masked.
    pub(super) fn add(&self, number: u32, is_level: bool) -> io::Result<()> {
        self.set(SourceState::fresh(number, is_level))
    }

    /// What the line of a source is from here on; of an edge, one that is high is an interrupt.
    pub(super) fn set_line(&self, number: u32, high: bool) {
        let mut line = sys::IrqLevel { irq: number, level: high.into() };
        if let Err(error) = sys::with_struct(&self.vm, sys::IRQ_LINE, &mut line) {
            log::warn!("cannot signal interrupt source {number:#x}: {error}");
        }
    }

    /// All sources that were claimed. Reading the first of them has the kernel look at all queues,
    /// and no CPU may run until the last was read.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(super) fn snapshot(&self, sources: &Sources) -> io::Result<Vec<SourceState>> {
        let read = |(number, _): (u32, bool)| {
            let group = sys::DEV_XICS_GRP_SOURCES;
            let value = sys::get_device_attr(&self.device, group, number.into())?;
            Ok(SourceState::of_kvm(number, value))
        };
        sources.kinds().into_iter().map(read).collect()
    }

    /// Takes up what was saved of the sources that were claimed here: of each of them.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(super) fn restore(
        &self,
        saved: &[SourceState],
        sources: &Sources,
        topology: &CpuTopology,
    ) -> Result<(), KvmError> {
        check(saved, &sources.kinds().into_iter().collect(), topology)?;
        for &source in saved {
            self.set(source).map_err(KvmError::kernel("restore an interrupt source"))?;
        }
        Ok(())
    }

    fn set(&self, source: SourceState) -> io::Result<()> {
        let group = sys::DEV_XICS_GRP_SOURCES;
        sys::set_device_attr(&self.device, group, source.number.into(), source.to_kvm())
    }
}

impl Drop for Xics {
    /// Without it, the calls would be about another controller's sources.
    fn drop(&mut self) {
        if let Err(error) = self.define_calls(|_| Some(0)) {
            log::warn!("cannot take an RTAS call from the kernel: {error}");
        }
    }
}

/// Refuses sources that are not those that were claimed, or go to nobody.
#[cfg_attr(not(feature = "serde"), allow(dead_code))]
fn check(
    saved: &[SourceState],
    claimed: &BTreeMap<u32, bool>,
    topology: &CpuTopology,
) -> Result<(), KvmError> {
    let refused = |number, why| Err(KvmError::State(format!("interrupt source {number:#x} {why}")));
    let mut seen = BTreeSet::new();
    for source in saved {
        let wrong = match claimed.get(&source.number) {
            None => "was not claimed",
            Some(&is_level) if is_level != source.level => "is of the other kind",
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
        let claimed = BTreeMap::from([(0x1000, false), (0x1001, true)]);
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
