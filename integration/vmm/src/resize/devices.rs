//! Devices that a running machine gets and gives back.

use std::sync::mpsc::{Sender, channel};

use super::notes::Message;
use super::{Control, Phase};
use crate::devices::{DeviceChangeError, DeviceConfig, PciDeviceInfo, Removal};

impl Control {
    /// Plugs a device into the running machine, as Cloud Hypervisor's `vm.add-disk` and the others
    /// do. What is behind it on the host is open when this returns, and the guest is told of it; it
    /// takes it when it likes.
    ///
    /// # Errors
    /// [`DeviceChangeError`] says what cannot be.
    pub fn add_device(
        &self,
        device: impl Into<DeviceConfig>,
    ) -> Result<PciDeviceInfo, DeviceChangeError> {
        let device = device.into();
        self.ask(|reply| Message::Add { device: Box::new(device), reply })
    }

    /// Asks the guest for a device, as `vm.remove-device` does, or takes it away at once where the
    /// guest has not taken it. It is gone when the guest has released it, and in any case when the
    /// machine starts again. Once more for the same device, the guest is told once more.
    ///
    /// # Errors
    /// [`DeviceChangeError::Unknown`] names those that there are.
    pub fn remove_device(&self, id: &str) -> Result<Removal, DeviceChangeError> {
        self.ask(|reply| Message::Remove { id: id.to_owned(), reply })
    }

    /// What whoever plugs things answers.
    fn ask<T>(
        &self,
        message: impl FnOnce(Sender<Result<T, DeviceChangeError>>) -> Message,
    ) -> Result<T, DeviceChangeError> {
        let worker = match &self.lock().phase {
            Phase::Running(worker) => worker.clone(),
            phase => return Err(phase.device_error()),
        };
        let (reply, answer) = channel();
        // Who does not answer has ended.
        let sent = worker.send(message(reply));
        match sent.ok().and_then(|()| answer.recv().ok()) {
            Some(result) => result,
            None => Err(self.lock().phase.device_error()),
        }
    }
}

impl Phase {
    /// Why nobody answers.
    fn device_error(&self) -> DeviceChangeError {
        match self {
            Self::Restarting => DeviceChangeError::Restarting,
            Self::Fixed => DeviceChangeError::NoSlots,
            Self::Idle | Self::Running(_) => DeviceChangeError::NotRunning,
        }
    }
}
