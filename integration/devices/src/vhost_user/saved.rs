//! A device that a daemon works for, as it is saved.

use std::io;

use arch_ppc64::platform::{StateError, StateValue};
use serde::{Deserialize, Serialize};

use super::device::VhostUser;
use super::error::VhostUserError;
use super::state::MAX_BYTES;
use crate::virtio::saved::{check_version, from_hex, to_hex};

/// What is saved of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VhostUserState {
    /// What its driver has read, two hexadecimal digits a byte.
    configuration: String,
    /// What the daemon knows of the guest, where it has to know something; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    daemon: Option<String>,
}

impl VhostUser {
    pub(super) fn state(&self) -> Result<StateValue, StateError> {
        let connection = self.daemon.as_ref();
        let mut daemon = match connection.map(|connection| connection.daemon()) {
            Some(daemon) if !daemon.is_gone() => daemon,
            _ => return Err(self.gone().into()),
        };
        let configuration = to_hex(&self.configuration);
        // Without a driver, it knows nothing.
        let knows = self.spec.has_state && !daemon.queues().is_empty();
        let known = if knows {
            self.check_state(daemon.has_state())?;
            Some(to_hex(&daemon.save()?))
        } else {
            None
        };
        StateValue::of(&VhostUserState { configuration, daemon: known })
    }

    pub(super) fn take_up(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        check_version(version, 1)?;
        let VhostUserState { configuration, daemon: known } = state.get()?;
        let refused = |message: &str| Err(StateError::Value(message.to_owned()));
        if known.is_some() && !self.spec.has_state {
            return refused("something that its daemon knows, where there is nothing to know");
        }
        if known.as_ref().is_some_and(|known| known.len() > 2 * MAX_BYTES) {
            return refused("more than a daemon may know");
        }
        let known = match known.map(|known| from_hex(&known)) {
            None => None,
            Some(Some(known)) => Some(known),
            Some(None) => return refused("what a daemon knows is two hexadecimal digits a byte"),
        };
        let connection = self.meet()?;
        if from_hex(&configuration).as_ref() != Some(&self.configuration) {
            return refused("the configuration of another device than the one here");
        }
        let Some(known) = known else { return Ok(()) };
        let mut daemon = connection.daemon();
        self.check_state(daemon.has_state())?;
        daemon.restore(&known).map_err(|error| {
            // It may know something by now, or not.
            daemon.leave();
            error.into()
        })
    }

    fn check_state(&self, has_state: bool) -> Result<(), StateError> {
        if has_state {
            return Ok(());
        }
        Err(StateError::Unsupported(format!(
            "what the daemon at {} knows, which does not give it (the protocol feature \
             DEVICE_STATE),",
            self.socket.display()
        )))
    }

    fn gone(&self) -> VhostUserError {
        let (socket, source) = (self.socket.clone(), io::ErrorKind::NotConnected.into());
        VhostUserError::Talk { socket, request: "give its state", source }
    }
}
