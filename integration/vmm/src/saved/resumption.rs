//! Where a machine comes from that was saved.

use std::fmt;

use super::{MachineState, RestoreError};
use crate::boot::{MachineRam, Stopping};

/// A machine that goes on where another one stood still, perhaps in another process: what
/// [`vmm::run`](crate::vmm::run) starts first, in place of what its configuration says. Starts that
/// its guest asks for later are as ever.
pub struct Resumption {
    /// Who has the state, and brings the RAM.
    pub(crate) source: Box<dyn Source>,
    /// Whether it stays paused until somebody has it [go on](crate::resize::Control::resume).
    pub(crate) paused: bool,
}

impl Resumption {
    /// The name of the back end that ran it, where that is known already.
    pub(crate) fn backend(&self) -> Option<&str> {
        self.source.known().map(MachineState::backend)
    }
}

/// Who has a machine that was saved.
pub(crate) trait Source: Send {
    /// The state, where it is there already: what cannot go on is found before anything is made then.
    fn known(&self) -> Option<&MachineState> {
        None
    }

    /// Puts what was in RAM in its place, in RAM that is all zero, and gives the rest. What the machine
    /// had plugged is to be [plugged](MachineRam::plug) first. Nobody uses the RAM yet.
    ///
    /// # Errors
    /// [`RestoreError`] when that cannot be, and so when somebody wants it to stop.
    fn take(&mut self, ram: &MachineRam, stopping: &Stopping)
    -> Result<MachineState, RestoreError>;

    /// All is taken up, and the machine stands still. Once this returns, it may run.
    ///
    /// # Errors
    /// [`RestoreError`] when it may not: it ends then.
    fn commit(&mut self) -> Result<(), RestoreError> {
        Ok(())
    }
}

impl fmt::Debug for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumption").field("paused", &self.paused).finish_non_exhaustive()
    }
}
