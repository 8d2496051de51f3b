//! A machine that stands still is saved: for whoever runs it, from any thread.
//!
//! Its folder is for [`saved::SavedMachine`](crate::saved::SavedMachine), in this process or in another.
//! The disks are not in there: whoever has the machine go on sees to it that they are then what they were
//! when it was saved, as a copy of them is, or as nothing has written to them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Size, VmConfig};
use crate::error::VmmError;
use crate::logger;
use crate::outlet;
use crate::resize::Control;
use crate::saved::{self, Live, MachineState, Progress, SaveError};

/// How often it is told how far a long write is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// How long the text of a console that somebody reads may take to get there.
const CONSOLE_LIMIT: Duration = Duration::from_secs(1);

impl Control {
    /// Saves the machine, which is paused and stays so, in a folder: made where it is not there, and in
    /// place of a machine that was saved there before, which is whole until this one is. `config` is what
    /// the machine was started with; the devices are those that it has by now. The log tells how far a long write is.
    ///
    /// # Errors
    /// [`SaveError`]; what was in the folder still is.
    pub fn snapshot(&self, config: &VmConfig, folder: &Path) -> Result<(), SaveError> {
        let mut told = Instant::now();
        self.snapshot_and_tell(config, folder, &mut |progress| {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                // In units that do not change from line to line.
                let done = Size(progress.done_bytes >> 20 << 20);
                let all = Size(progress.all_bytes);
                logger::tell(&format!("saving the guest's memory: {done} of {all}"));
            }
        })
    }

    /// The same, telling somebody else how far it is.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn snapshot_and_tell(
        &self,
        config: &VmConfig,
        folder: &Path,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<(), SaveError> {
        // It does not go on meanwhile.
        let _turn = self.turn();
        let machine = self.save_in_turn()?;
        // What the guest has written to its console is not in the state.
        outlet::settle(CONSOLE_LIMIT);
        let live = self.live()?;
        let config = self.with_devices(config.clone());
        let saved = saved::save(folder, &config, machine, &live.ram, &mut |progress| {
            tell(progress);
            if !self.is_there(&live) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Also when all was read: what is whole in the folder is not replaced by less.
            match live.ram.has_lost() {
                true => Err(io::Error::other(VmmError::LostMemory)),
                false => Ok(()),
            }
        });
        match self.is_there(&live) {
            true => saved,
            false => saved.map_err(|_| SaveError::Ended),
        }
    }

    /// The state of the machine, which is paused, and stays so. Its RAM is apart.
    ///
    /// # Errors
    /// [`SaveError`].
    pub fn save(&self) -> Result<MachineState, SaveError> {
        let _turn = self.turn();
        self.save_in_turn()
    }

    /// The same for who has the turn.
    pub(crate) fn save_in_turn(&self) -> Result<MachineState, SaveError> {
        let live = self.live()?;
        if !self.is_paused() {
            return Err(SaveError::NotPaused);
        }
        // What the guest has given back before is taken away now, and nothing comes after it.
        let _ = self.resize_in_turn(None, None);
        live.save()
    }

    /// Whether it is still that one.
    fn is_there(&self, live: &Arc<Live>) -> bool {
        self.lock().live.as_ref().is_some_and(|now| Arc::ptr_eq(now, live))
    }

    /// The parts of it.
    ///
    /// # Errors
    /// [`SaveError::NotRunning`].
    pub(crate) fn live(&self) -> Result<Arc<Live>, SaveError> {
        self.lock().live.clone().ok_or(SaveError::NotRunning)
    }

    /// A machine is there, about to start.
    pub(crate) fn begin_live(&self, live: Live) {
        self.lock().live = Some(Arc::new(live));
    }
}
