//! Starting and stopping processors (LoPAPR §7.3.8).

use std::fmt;
use std::sync::Arc;

use vm_memory::GuestAddress;

use super::args::RtasStatus;
use super::handler::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome};
use crate::hypercall::Next;
use crate::platform::Device;
use crate::topology::CpuTopology;
use crate::vcpu::{self, CpuState, ServerNumber, StartError, VcpuHost};

const QUERY: usize = 0;
const START: usize = 1;
const STOP: usize = 2;
const CALLS: &[RtasCall] = &[
    RtasCall::new("query-cpu-stopped-state", &[1], 2),
    RtasCall::new("start-cpu", &[3], 1),
    RtasCall::new("stop-self", &[0], 1),
];

/// `query-cpu-stopped-state`, `start-cpu` and `stop-self`.
pub struct RtasCpus {
    cpus: Arc<dyn VcpuHost>,
    topology: CpuTopology,
}

impl RtasCpus {
    /// Calls that are about these CPUs, which guests number so.
    pub fn new(cpus: Arc<dyn VcpuHost>, topology: CpuTopology) -> Self {
        Self { cpus, topology }
    }

    /// Input: the CPU. Output: 0 stopped, 1 stopping, 2 running (§7.3.8.3).
    fn query(&self, call: &mut RtasInvocation<'_>) -> RtasStatus {
        let (&[cpu], [state]) = (call.inputs, &mut *call.outputs) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        let cpu = self.topology.index(ServerNumber(cpu));
        *state = match cpu.and_then(|cpu| self.cpus.state(cpu)) {
            Some(CpuState::Stopped) => 0,
            Some(CpuState::InTransition) => 1,
            Some(CpuState::Running) => 2,
            None => return RtasStatus::PARAMETER_ERROR,
        };
        RtasStatus::SUCCESS
    }

    /// Inputs: the CPU, where it begins, what it finds in r3 (§7.3.8.2).
    fn start(&self, call: &RtasInvocation<'_>) -> RtasStatus {
        let &[cpu, entry, r3] = call.inputs else { return RtasStatus::PARAMETER_ERROR };
        let entry = GuestAddress(entry.into());
        let Some(cpu) = self.topology.index(ServerNumber(cpu)) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        match vcpu::start_cpu(&*self.cpus, call.ram, cpu, entry, r3.into()) {
            Ok(()) => RtasStatus::SUCCESS,
            Err(StartError::NoSuchCpu | StartError::NoCode) => RtasStatus::PARAMETER_ERROR,
            Err(StartError::NotStopped) => RtasStatus::HARDWARE_ERROR,
        }
    }
}

impl RtasHandler for RtasCpus {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match number {
            QUERY => self.query(invocation).into(),
            START => self.start(invocation).into(),
            // "If this call succeeds, it does not return" (§7.3.8.1).
            STOP => RtasOutcome::Never(Next::Park),
            _ => RtasStatus::PARAMETER_ERROR.into(),
        }
    }
}

impl Device for RtasCpus {
    fn id(&self) -> &str {
        "rtas-cpus"
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }
}

impl fmt::Debug for RtasCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtasCpus").finish_non_exhaustive()
    }
}
