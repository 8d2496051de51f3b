//! A controller that is XICS or XIVE, as guest and machine agree.

#[cfg(feature = "serde")]
mod saved;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::{Xive, device};
use crate::cas::decision::{InterruptMode, Support};
use crate::fdt::{FdtError, Tree};
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::interrupt_node;
use crate::platform::{
    Describe, Device, InterruptController, InterruptError, InterruptKind, MmioHandler, MmioRange,
    Signal, SourceNumber,
};
use crate::ram::GuestRam;
use crate::rtas::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome, RtasStatus};
use crate::topology::CpuTopology;
use crate::vcpu::CpuIndex;
use crate::xics::{InterruptOutput, Xics};

/// The interrupt controller of a machine whose guest may have a choice: [`Xics`] and [`Xive`] on the
/// same lines, with the same sources, of which one is there at a time.
///
/// It begins as the first of its modes, and is [switched](Self::switch) by an agreement. Hypercalls
/// of the other one are H_FUNCTION, its RTAS calls know no source, and its pages are all ones.
pub struct XicsOrXive {
    modes: Support<InterruptMode>,
    topology: CpuTopology,
    xics: Xics,
    xive: Xive,
    /// Which of them is there. Read while it is used, so that nothing comes to one that goes.
    mode: RwLock<InterruptMode>,
}

impl XicsOrXive {
    /// A controller that can be these, for these CPUs; see [`Xics::new`] and [`Xive::new`].
    pub fn new(
        modes: Support<InterruptMode>,
        topology: &CpuTopology,
        output: Arc<dyn InterruptOutput>,
        ram: Arc<dyn GuestRam>,
    ) -> Self {
        Self {
            modes,
            topology: topology.clone(),
            xics: Xics::new(topology, output.clone()),
            xive: Xive::new(topology, output, ram),
            mode: RwLock::new(modes.first()),
        }
    }

    /// What it is now.
    pub fn mode(&self) -> InterruptMode {
        *self.now()
    }

    /// Makes it what was agreed on: as after a reset, with the levels that devices assert, if it is
    /// not that already. False, and nothing changes, for what it cannot be.
    pub fn switch(&self, mode: InterruptMode) -> bool {
        if !self.modes.includes(&mode) {
            return false;
        }
        let mut now = self.mode.write().unwrap_or_else(PoisonError::into_inner);
        if *now == mode {
            return true;
        }
        let levels = match *now {
            InterruptMode::Xics => self.xics.levels(),
            InterruptMode::Xive => self.xive.levels(),
        };
        self.reset_both(levels);
        *now = mode;
        true
    }

    /// Sets the server of one CPU as all are after a reset: see [`Xics::reset_server`] and
    /// [`Xive::reset_server`].
    pub fn reset_server(&self, cpu: CpuIndex) {
        let _now = self.now();
        self.xics.reset_server(cpu);
        self.xive.reset_server(cpu);
    }

    /// Both as new, none of them with a line asserted.
    fn reset_both(&self, levels: Vec<(u32, bool)>) {
        for (source, level) in levels {
            self.xics.set_level(source, level);
            self.xive.set_level(source, level);
        }
        self.xics.reset();
        self.xive.reset();
    }

    fn now(&self) -> RwLockReadGuard<'_, InterruptMode> {
        self.mode.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn can_be(&self, mode: InterruptMode) -> bool {
        self.modes.includes(&mode)
    }
}

impl fmt::Debug for XicsOrXive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XicsOrXive")
            .field("modes", &self.modes)
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}

impl Device for XicsOrXive {
    fn id(&self) -> &str {
        interrupt_node::ID
    }

    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        match self.modes.first() {
            InterruptMode::Xics => self.xics.describe(tree, cx),
            InterruptMode::Xive => device::describe(tree, &self.topology),
        }
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn function_sets(&self) -> &[&'static str] {
        if self.can_be(InterruptMode::Xics) { self.xics.function_sets() } else { &[] }
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        self.can_be(InterruptMode::Xics).then_some(self)
    }

    fn mmio(&self) -> Option<&dyn MmioHandler> {
        self.can_be(InterruptMode::Xive).then_some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }

    fn reset(&self) {
        let mut now = self.mode.write().unwrap_or_else(PoisonError::into_inner);
        self.reset_both(match *now {
            InterruptMode::Xics => self.xics.levels(),
            InterruptMode::Xive => self.xive.levels(),
        });
        *now = self.modes.first();
    }
}

impl HypercallHandler for XicsOrXive {
    fn tokens(&self) -> &[u64] {
        match self.modes {
            Support::Only(InterruptMode::Xics) => token::XICS_CALLS,
            Support::Only(InterruptMode::Xive) => token::XIVE_CALLS,
            Support::Either => token::INTERRUPT_CALLS,
        }
    }

    fn handle(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let is_xics_call = token::XICS_CALLS.contains(&call.token);
        match *self.now() {
            InterruptMode::Xics if is_xics_call => self.xics.handle(caller, ram, call),
            InterruptMode::Xive if !is_xics_call => self.xive.handle(caller, ram, call),
            InterruptMode::Xics | InterruptMode::Xive => call.finish(Status::FUNCTION),
        }
    }
}

impl RtasHandler for XicsOrXive {
    fn calls(&self) -> &[RtasCall] {
        self.xics.calls()
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match *self.now() {
            InterruptMode::Xics => self.xics.call(number, invocation),
            // "Must return the Status of -3 (Argument Error) for an unimplemented Interrupt
            // number" (LoPAPR §7.3.10): here, no number is.
            InterruptMode::Xive => RtasStatus::PARAMETER_ERROR.into(),
        }
    }
}

impl MmioHandler for XicsOrXive {
    fn ranges(&self) -> &[MmioRange] {
        self.xive.ranges()
    }

    fn read(&self, range: usize, offset: u64, data: &mut [u8]) {
        match *self.now() {
            InterruptMode::Xics => data.fill(0xff),
            InterruptMode::Xive => self.xive.read(range, offset, data),
        }
    }

    fn write(&self, range: usize, offset: u64, data: &[u8]) {
        if *self.now() == InterruptMode::Xive {
            self.xive.write(range, offset, data);
        }
    }

    fn read_by(&self, caller: CpuIndex, range: usize, offset: u64, data: &mut [u8]) {
        match *self.now() {
            InterruptMode::Xics => data.fill(0xff),
            InterruptMode::Xive => self.xive.read_by(caller, range, offset, data),
        }
    }

    fn write_by(&self, caller: CpuIndex, range: usize, offset: u64, data: &[u8]) {
        if *self.now() == InterruptMode::Xive {
            self.xive.write_by(caller, range, offset, data);
        }
    }
}

/// A source is one of both controllers; what its device does is for that which is there.
impl InterruptController for XicsOrXive {
    fn claim(&self, source: SourceNumber, kind: InterruptKind) -> Result<(), InterruptError> {
        self.xics.claim(source, kind)?;
        self.xive.claim(source, kind)
    }

    fn signal(&self, source: SourceNumber, signal: Signal) {
        match *self.now() {
            InterruptMode::Xics => self.xics.signal(source, signal),
            InterruptMode::Xive => self.xive.signal(source, signal),
        }
    }
}
