//! Starting and stopping processors (LoPAPR §7.3.8).

use vm_memory::GuestAddress;

use super::Rtas;
use super::args::{Answer, Invocation, RtasStatus};
use crate::hypercall::Next;
use crate::vcpu::{self, CpuIndex, CpuState, StartError};

/// Input: the CPU. Output: 0 stopped, 1 stopping, 2 running (§7.3.8.3).
pub(super) fn query_cpu_stopped_state(rtas: &Rtas, call: &mut Invocation<'_>) -> Answer {
    let (&[cpu], [state]) = (call.inputs, &mut *call.outputs) else {
        return RtasStatus::PARAMETER_ERROR.into();
    };
    *state = match rtas.cpus.state(CpuIndex(cpu)) {
        Some(CpuState::Stopped) => 0,
        Some(CpuState::InTransition) => 1,
        Some(CpuState::Running) => 2,
        None => return RtasStatus::PARAMETER_ERROR.into(),
    };
    RtasStatus::SUCCESS.into()
}

/// Inputs: the CPU, where it begins, what it finds in r3 (§7.3.8.2).
pub(super) fn start_cpu(rtas: &Rtas, call: &mut Invocation<'_>) -> Answer {
    let &[cpu, entry, r3] = call.inputs else { return RtasStatus::PARAMETER_ERROR.into() };
    let entry = GuestAddress(entry.into());
    match vcpu::start_cpu(&*rtas.cpus, call.ram, CpuIndex(cpu), entry, r3.into()) {
        Ok(()) => RtasStatus::SUCCESS.into(),
        Err(StartError::NoSuchCpu | StartError::NoCode) => RtasStatus::PARAMETER_ERROR.into(),
        Err(StartError::NotStopped) => RtasStatus::HARDWARE_ERROR.into(),
    }
}

/// "If this call succeeds, it does not return" (§7.3.8.1).
pub(super) fn stop_self(_: &Rtas, _: &mut Invocation<'_>) -> Answer {
    Answer::never(Next::Park)
}
