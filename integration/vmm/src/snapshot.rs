//! A machine that stands still is saved: for whoever runs it, from any thread.

use std::sync::Arc;

use crate::boot::MachineRam;
use crate::resize::Control;
use crate::saved::{Live, MachineState, SaveError};

impl Control {
    /// The state of the machine, which is paused, and stays so. Its RAM is apart.
    ///
    /// # Errors
    /// [`SaveError`].
    pub fn save(&self) -> Result<MachineState, SaveError> {
        let _turn = self.turn();
        self.save_in_turn()
    }

    /// The same for who has the turn.
    fn save_in_turn(&self) -> Result<MachineState, SaveError> {
        if !self.is_paused() {
            return Err(if self.lock().is_idle() {
                SaveError::NotRunning
            } else {
                SaveError::NotPaused
            });
        }
        // What the guest has given back before is taken away now, and nothing comes after it.
        let _ = self.resize_in_turn(None, None);
        self.live()?.save()
    }

    /// The RAM of the machine.
    ///
    /// # Errors
    /// [`SaveError::NotRunning`].
    #[allow(dead_code, reason = "the folder and migration come next")]
    pub(crate) fn ram(&self) -> Result<Arc<MachineRam>, SaveError> {
        Ok(self.live()?.ram.clone())
    }

    pub(crate) fn live(&self) -> Result<Arc<Live>, SaveError> {
        self.lock().live.clone().ok_or(SaveError::NotRunning)
    }

    /// A machine is there, about to start.
    pub(crate) fn begin_live(&self, live: Live) {
        self.lock().live = Some(Arc::new(live));
    }
}
