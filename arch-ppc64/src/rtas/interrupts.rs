//! Where interrupts go (LoPAPR §7.3.10): the calls of the PowerPC External Interrupt option.

use std::fmt;
use std::sync::Arc;

use super::args::RtasStatus;
use super::handler::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome};
use super::sources::{InterruptSources, UnknownSource, VectorEntry};
use crate::platform::Device;
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

/// `ibm,set-xive`, `ibm,get-xive`, `ibm,int-on` and `ibm,int-off`.
pub struct RtasInterrupts {
    sources: Option<Arc<dyn InterruptSources>>,
}

impl RtasInterrupts {
    /// Calls about these sources. `None` where the back end answers the calls before anyone here
    /// is asked, as KVM's XICS does: the tree names them all the same, and one that gets here is
    /// about a source that there is not.
    pub fn new(sources: Option<Arc<dyn InterruptSources>>) -> Self {
        Self { sources }
    }

    fn answer(&self, number: usize, call: &mut RtasInvocation<'_>) -> Result<(), RefusedArguments> {
        let sources = self.sources.as_deref().ok_or(RefusedArguments)?;
        match (number, call.inputs, &mut *call.outputs) {
            // Inputs: source, server, priority.
            (SET_XIVE, &[source, server, priority], _) => {
                let priority = u8::try_from(priority).map_err(|_| RefusedArguments)?;
                sources.set_xive(source, VectorEntry { server: ServerNumber(server), priority })?;
            }
            // Input: source. Outputs: server, priority.
            (GET_XIVE, &[source], [server, priority]) => {
                let xive = sources.xive(source)?;
                (*server, *priority) = (xive.server.0, xive.priority.into());
            }
            // Input of both: source.
            (INT_ON, &[source], _) => sources.int_on(source)?,
            (INT_OFF, &[source], _) => sources.int_off(source)?,
            _ => return Err(RefusedArguments),
        }
        Ok(())
    }
}

/// "Must return the Status of -3 (Argument Error) for an unimplemented Interrupt number", in each
/// of the four calls.
struct RefusedArguments;

impl From<UnknownSource> for RefusedArguments {
    fn from(_: UnknownSource) -> Self {
        Self
    }
}

impl RtasHandler for RtasInterrupts {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match self.answer(number, invocation) {
            Ok(()) => RtasStatus::SUCCESS.into(),
            Err(RefusedArguments) => RtasStatus::PARAMETER_ERROR.into(),
        }
    }
}

impl Device for RtasInterrupts {
    fn id(&self) -> &str {
        "rtas-interrupts"
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }
}

impl fmt::Debug for RtasInterrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtasInterrupts").finish_non_exhaustive()
    }
}
