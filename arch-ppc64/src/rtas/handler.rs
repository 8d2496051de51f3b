//! The plug for those who answer RTAS calls.

use super::args::RtasStatus;
use crate::hypercall::Next;
use crate::ram::GuestRam;
use crate::vcpu::CpuIndex;

/// One RTAS call that a handler answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtasCall {
    /// Its name: the property of `/rtas` that has its token.
    pub name: &'static str,
    /// The numbers of inputs that it may have.
    pub inputs: &'static [usize],
    /// Its number of outputs, the status included.
    pub outputs: usize,
    /// How many outputs more it may be made with.
    pub more_outputs: usize,
}

impl RtasCall {
    /// A call of this name, with so many inputs, and so many outputs with the status.
    pub const fn new(name: &'static str, inputs: &'static [usize], outputs: usize) -> Self {
        Self { name, inputs, outputs, more_outputs: 0 }
    }

    /// May be made with up to so many outputs more.
    #[must_use]
    pub const fn with_more_outputs(mut self, most: usize) -> Self {
        self.more_outputs = most;
        self
    }

    /// Whether the call may be made with so many inputs, and outputs with the status.
    pub(super) fn takes(&self, inputs: usize, outputs: usize) -> bool {
        let most = self.outputs + self.more_outputs;
        self.inputs.contains(&inputs) && (self.outputs..=most).contains(&outputs)
    }
}

/// What tells calls of one device from those of another with the same names: a number of 64 bits in
/// two inputs, such as that of a PCI host bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtasUnit {
    /// Which input has the high half; the next one has the low half.
    pub input: usize,
    /// The number.
    pub number: u64,
}

impl RtasUnit {
    /// The unit of this number, which is in the two inputs from `input` on.
    pub const fn new(input: usize, number: u64) -> Self {
        Self { input, number }
    }

    /// Whether a call with these inputs is for this unit, as far as one can tell.
    pub(super) fn is_meant(&self, inputs: &[u32]) -> bool {
        match inputs.get(self.input..self.input + 2) {
            Some(&[high, low]) => self.number == u64::from(high) << 32 | u64::from(low),
            _ => true,
        }
    }
}

/// One call on its way: what it may read and write.
#[non_exhaustive]
pub struct RtasInvocation<'a> {
    /// Who calls.
    pub caller: CpuIndex,
    /// Guest memory, for calls that are given addresses.
    pub ram: &'a dyn GuestRam,
    /// One of the numbers of inputs that the call may have.
    pub inputs: &'a [u32],
    /// As many as the call was made with, less the status. All zero at first.
    pub outputs: &'a mut [u32],
}

impl<'a> RtasInvocation<'a> {
    /// A call by `caller` with these inputs, and room for its outputs less the status.
    pub fn new(
        caller: CpuIndex,
        ram: &'a dyn GuestRam,
        inputs: &'a [u32],
        outputs: &'a mut [u32],
    ) -> Self {
        Self { caller, ram, inputs, outputs }
    }
}

impl std::fmt::Debug for RtasInvocation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtasInvocation")
            .field("caller", &self.caller)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it is the answer to the guest"]
#[non_exhaustive]
pub enum RtasOutcome {
    /// The call returns with this status.
    Done(RtasStatus),
    /// It returns with this status, and then the caller does something else than go on.
    DoneAnd(RtasStatus, Next),
    /// It does not return: nothing is written to its buffer, which another CPU may use by then.
    Never(Next),
}

impl From<RtasStatus> for RtasOutcome {
    fn from(status: RtasStatus) -> Self {
        Self::Done(status)
    }
}

/// Answers RTAS calls.
///
/// Shared by all vCPU threads, as a [`HypercallHandler`](crate::HypercallHandler) is, and as
/// little to be believed is what it is passed.
pub trait RtasHandler: Send + Sync {
    /// The calls that it answers; asked once, as the machine is built.
    fn calls(&self) -> &[RtasCall];

    /// What the call of that number in [`calls`](Self::calls) has to name, where several devices
    /// answer calls of its name: a call of another unit goes to the device of that one, and is a
    /// parameter error where there is none. `None`, and so by default, for who answers every call.
    /// Asked once, as the machine is built.
    fn unit(&self, number: usize) -> Option<RtasUnit> {
        let _ = number;
        None
    }

    /// Answers the call of that number in [`calls`](Self::calls).
    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome;
}
