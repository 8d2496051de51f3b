//! The CPUs of a machine as its guest is to see them.

use std::sync::Arc;

use super::Shared;
use super::resource::Resource;
use crate::cas::{Decision, Negotiated};
use crate::vcpu::{CpuIndex, CpuState, EntryRegisters, StartError, VcpuHost};

/// Those of the cores that the guest has configured.
pub(super) struct GuardedCpus(pub(super) Arc<Shared>);

impl GuardedCpus {
    fn core(&self, cpu: CpuIndex) -> Resource {
        Resource::Core(self.0.machine.topology().first_of_core(cpu))
    }
}

impl VcpuHost for GuardedCpus {
    fn state(&self, target: CpuIndex) -> Option<CpuState> {
        let is_there = self.0.connectors().is_configured(self.core(target));
        is_there.then(|| self.0.cpus.state(target)).flatten()
    }

    /// The lock is held until the CPU is told: a core is not isolated meanwhile.
    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let connectors = self.0.connectors();
        if !connectors.is_configured(self.core(target)) {
            return Err(StartError::NoSuchCpu);
        }
        self.0.cpus.start(target, registers)
    }

    /// What is agreed on is what the nodes of cores say that are configured from here on.
    fn negotiated(&self, decision: &Decision) -> Negotiated {
        let negotiated = self.0.cpus.negotiated(decision);
        if negotiated == Negotiated::Live {
            self.0.set_cpu_version(Some(decision.cpu_version));
        }
        negotiated
    }
}
