//! Devices that a running machine gets and gives back.

use std::time::{Duration, Instant};

use super::notes::Message;
use super::{Control, Phase};
use crate::config::VmConfig;
use crate::devices::{DeviceChangeError, DeviceConfig, DeviceInfo, PciDeviceInfo, Removal};

/// How long somebody else may have the machine.
const TURN_WAIT: Duration = Duration::from_secs(10);

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
        let _turn = self.turn_within(TURN_WAIT).ok_or(DeviceChangeError::Busy)?;
        let device = device.into();
        self.ask(|reply| Message::Add { device: Box::new(device), reply }, Phase::device_error)
    }

    /// Asks the guest for a device, as `vm.remove-device` does, or takes it away at once where the
    /// guest has not taken it. It is gone when the guest has released it, and in any case when the
    /// machine starts again. Once more for the same device, the guest is told once more.
    ///
    /// # Errors
    /// [`DeviceChangeError::Unknown`] names those that there are.
    pub fn remove_device(&self, id: &str) -> Result<Removal, DeviceChangeError> {
        let _turn = self.turn_within(TURN_WAIT).ok_or(DeviceChangeError::Busy)?;
        self.ask(|reply| Message::Remove { id: id.to_owned(), reply }, Phase::device_error)
    }

    /// The devices of the running machine, and how far each is plugged. Those of a machine without
    /// slots are not told of.
    ///
    /// # Errors
    /// [`DeviceChangeError::NotRunning`] and [`DeviceChangeError::Restarting`].
    pub fn devices(&self) -> Result<Vec<DeviceInfo>, DeviceChangeError> {
        let state = self.lock();
        match &state.phase {
            Phase::Running(_) | Phase::Fixed => Ok(state.device_infos.clone()),
            phase => Err(phase.device_error()),
        }
    }

    /// Waits until something of the devices is as the caller wants it, such as that one is gone, for so
    /// long at most; what is told is how it is then.
    ///
    /// # Errors
    /// As [`devices`](Self::devices), when the time is over for a machine that starts again.
    pub fn wait_for_devices(
        &self,
        limit: Duration,
        mut is_reached: impl FnMut(&[DeviceInfo]) -> bool,
    ) -> Result<Vec<DeviceInfo>, DeviceChangeError> {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            let left = limit.saturating_sub(start.elapsed());
            match &state.phase {
                Phase::Running(_) | Phase::Fixed
                    if left.is_zero() || is_reached(&state.device_infos) =>
                {
                    return Ok(state.device_infos.clone());
                }
                Phase::Idle => return Err(DeviceChangeError::NotRunning),
                Phase::Restarting if left.is_zero() => return Err(DeviceChangeError::Restarting),
                _ => {}
            }
            state = self.changed(state, left);
        }
    }

    /// A configuration of the machine with the devices that it has by now, each with its id; where no
    /// machine is running, as it is.
    pub fn with_devices(&self, config: VmConfig) -> VmConfig {
        let devices = self.lock().devices.clone();
        match devices {
            Some(devices) => devices.configured(config),
            None => config,
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
