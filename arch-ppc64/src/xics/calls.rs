//! Where interrupts go (LoPAPR §7.3.10): the RTAS calls of the PowerPC External Interrupt option.

use super::Xics;
use super::device::KernelXics;
use super::state::{Refused, VectorEntry};
use crate::rtas::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome, RtasStatus};
use crate::vcpu::ServerNumber;

const SET_XIVE: usize = 0;
const GET_XIVE: usize = 1;
const INT_ON: usize = 2;
const INT_OFF: usize = 3;
const CALLS: &[RtasCall] = &[
    RtasCall::new("ibm,set-xive", &[3], 1),
    RtasCall::new("ibm,get-xive", &[1], 3),
    RtasCall::new("ibm,int-on", &[1], 1),
    RtasCall::new("ibm,int-off", &[1], 1),
];

/// "Must return the Status of -3 (Argument Error) for an unimplemented Interrupt number", in each
/// of the four calls.
const NO_SUCH_SOURCE: RtasStatus = RtasStatus::PARAMETER_ERROR;

impl RtasHandler for Xics {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match self.answer(number, invocation) {
            Ok(()) => RtasStatus::SUCCESS.into(),
            Err(Refused) => NO_SUCH_SOURCE.into(),
        }
    }
}

/// The kernel answers the calls; the tree names them all the same.
impl RtasHandler for KernelXics {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    /// A call that gets here is about a source that there is not.
    fn call(&self, _: usize, _: &mut RtasInvocation<'_>) -> RtasOutcome {
        NO_SUCH_SOURCE.into()
    }
}

/// "Must be reentrant to the number of processors on the platform": each of these locks once.
impl Xics {
    fn answer(&self, number: usize, call: &mut RtasInvocation<'_>) -> Result<(), Refused> {
        match (number, call.inputs, &mut *call.outputs) {
            // Inputs: source, server, priority.
            (SET_XIVE, &[source, server, priority], _) => {
                let priority = u8::try_from(priority).map_err(|_| Refused)?;
                self.set_xive(source, VectorEntry { server: ServerNumber(server), priority })
            }
            // Input: source. Outputs: server, priority.
            (GET_XIVE, &[source], [server, priority]) => {
                let xive = self.xive(source)?;
                (*server, *priority) = (xive.server.0, xive.priority.into());
                Ok(())
            }
            // Input of both: source.
            (INT_ON, &[source], _) => self.switch(source, true),
            (INT_OFF, &[source], _) => self.switch(source, false),
            _ => Err(Refused),
        }
    }

    /// Sets server and priority of `source`. While the source is off, the priority is what
    /// `ibm,int-on` will give back to it (§7.3.10.2).
    pub(super) fn set_xive(&self, source: u32, xive: VectorEntry) -> Result<(), Refused> {
        let now = self.now();
        let target = self.topology.index(xive.server).ok_or(Refused)?;
        self.lock().change(source, now, |source| (source.xive, source.target) = (xive, target))
    }

    /// Server and priority as last set; least favoured at boot (§7.3.10.1).
    pub(super) fn xive(&self, source: u32) -> Result<VectorEntry, Refused> {
        self.lock().xive(source)
    }

    /// Lets a source interrupt, with its priority of before (§7.3.10.4), or masks it, keeping its
    /// priority for later (§7.3.10.3).
    pub(super) fn switch(&self, source: u32, on: bool) -> Result<(), Refused> {
        let now = self.now();
        self.lock().change(source, now, |source| source.on = on)
    }
}
