//! The interface stands still between two calls, and goes on.

use std::time::Instant;

use arch_ppc64::platform::StateError;

use crate::interface::{Interface, lock};

impl Interface {
    /// What packages do comes to an end, and time stands still. A call that had no answer yet is made
    /// again when the machine goes on, and finds what was done for it.
    pub(crate) fn pause(&self, until: Instant) -> Result<(), StateError> {
        self.attachments.pause(until)?;
        self.state().clock.pause();
        Ok(())
    }

    /// All goes on. Whoever had no answer yet has had no time to come again meanwhile.
    pub(crate) fn resume(&self) {
        self.state().clock.resume();
        let now = Instant::now();
        let devices = self.opened().instances.devices();
        for device in devices {
            if let Some(in_flight) = &mut lock(&device.in_use).in_flight {
                in_flight.last_try = now;
            }
        }
        self.openings.tried(now);
        self.attachments.resume();
    }
}
