//! The calls that every machine has.

use std::sync::Arc;

use super::clock::{RealTimeClock, RtasClock};
use super::cpus::RtasCpus;
use super::parameters::SystemParameters;
use super::platform::{AfterOsTerm, RtasPlatform};
use crate::console::Console;
use crate::platform::Device;
use crate::vcpu::VcpuHost;

/// What the groups of calls that every machine has are made of. [`EventSources`] are not among
/// them, as they need an interrupt, nor are the calls of the interrupt controller, which are its
/// own ([`Xics`], [`KernelXics`]).
///
/// [`EventSources`]: super::EventSources
/// [`Xics`]: crate::xics::Xics
/// [`KernelXics`]: crate::xics::KernelXics
pub struct StandardCalls {
    cpus: Arc<dyn VcpuHost>,
    console: Arc<dyn Console>,
    clock: Arc<RealTimeClock>,
    parameters: SystemParameters,
    after_os_term: AfterOsTerm,
}

impl StandardCalls {
    /// Those of a machine (a [`Machine`](crate::Machine), or one with a name) with these CPUs,
    /// which guests number as the machine says, and this console.
    ///
    /// It has the host's clock, and stops when its system crashes.
    pub fn new(
        machine: impl Into<SystemParameters>,
        cpus: Arc<dyn VcpuHost>,
        console: Arc<dyn Console>,
    ) -> Self {
        Self {
            cpus,
            console,
            clock: Arc::new(RealTimeClock::default()),
            parameters: machine.into(),
            after_os_term: AfterOsTerm::default(),
        }
    }

    /// With another clock: the one that is kept over restarts of the machine.
    #[must_use]
    pub fn with_clock(self, clock: Arc<RealTimeClock>) -> Self {
        Self { clock, ..self }
    }

    /// With something else to happen once the guest's system has said that it is at its end.
    #[must_use]
    pub fn after_os_term(self, after_os_term: AfterOsTerm) -> Self {
        Self { after_os_term, ..self }
    }

    /// A device for each group of calls.
    pub fn devices(self) -> Vec<Arc<dyn Device>> {
        vec![
            Arc::new(RtasCpus::new(self.cpus, self.parameters.topology().clone())),
            Arc::new(RtasClock::new(self.clock)),
            Arc::new(RtasPlatform::new(self.console, self.after_os_term)),
            Arc::new(self.parameters),
        ]
    }
}

impl std::fmt::Debug for StandardCalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandardCalls")
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}
