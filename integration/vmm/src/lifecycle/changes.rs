//! Verbs that change what the machine has.

use super::{LifecycleError, RemoveDevice, Resize, Verb, VmState, Vmm};
use crate::config::{Size, VmConfig};
use crate::devices::{DeviceConfig, PciDeviceInfo};
use crate::prepare;
use crate::quoted;

impl Vmm {
    /// Has the machine have so many CPUs and so much memory. One that runs gets what there is room
    /// for, and asks its guest for what is too much.
    ///
    /// # Errors
    /// [`LifecycleError::Resize`] and [`LifecycleError::Machine`] say what cannot be.
    pub fn resize(&self, resize: &Resize) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::Resize)?;
        at_work.needs(|_| true)?;
        if resize.desired_balloon.is_some_and(|bytes| bytes != 0) {
            return Err(LifecycleError::NoBalloon);
        }
        if self.is_created_only() {
            return self.change(|config| {
                config.cpus.boot_vcpus = resize.desired_vcpus.unwrap_or(config.cpus.boot_vcpus);
                config.memory.size = resize.desired_ram.map_or(config.memory.size, Size);
                Ok(())
            });
        }
        self.0.monitor.event("vm", "resizing");
        self.0.control.resize(resize.desired_vcpus, resize.desired_ram)?;
        self.0.monitor.event("vm", "resized");
        Ok(())
    }

    /// Gives the machine a device: at once where it runs, which says where the device is, else at its
    /// start.
    ///
    /// # Errors
    /// [`LifecycleError::Device`] and [`LifecycleError::Machine`] say what cannot be.
    pub fn add_device(
        &self,
        device: impl Into<DeviceConfig>,
    ) -> Result<Option<PciDeviceInfo>, LifecycleError> {
        let device = device.into();
        let at_work = self.begin(Verb::AddDevice)?;
        at_work.needs(|_| true)?;
        if self.is_created_only() {
            self.change(|config| {
                device.add_to(config);
                Ok(())
            })?;
            return Ok(None);
        }
        Ok(Some(self.0.control.add_device(device)?))
    }

    /// Takes a device from the machine; where it runs, its guest is asked for it.
    ///
    /// # Errors
    /// [`LifecycleError::UnknownDevice`], [`LifecycleError::Device`].
    pub fn remove_device(&self, remove: &RemoveDevice) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::RemoveDevice)?;
        at_work.needs(|_| true)?;
        if self.is_created_only() {
            return self.change(|config| match config.remove_device(&remove.id) {
                true => Ok(()),
                false => Err(LifecycleError::UnknownDevice { id: quoted::text(&remove.id) }),
            });
        }
        self.0.control.remove_device(&remove.id)?;
        Ok(())
    }

    fn is_created_only(&self) -> bool {
        self.0.state_of(&self.lock()) == VmState::Created
    }

    /// Changes the configuration of a machine that does not run, to another one that can be.
    fn change(
        &self,
        change: impl FnOnce(&mut VmConfig) -> Result<(), LifecycleError>,
    ) -> Result<(), LifecycleError> {
        let known = self.lock().vm.as_ref().map(|vm| (vm.config.clone(), vm.file.clone()));
        let (mut config, file) = known.ok_or(LifecycleError::NotCreated)?;
        change(&mut config)?;
        // Looks at files of the host, which may not answer: whoever asks for something else goes on.
        prepare::machine(&config, file.as_deref(), &self.0.options)?;
        // Nobody else changes it while this is at work.
        self.lock().vm.as_mut().ok_or(LifecycleError::NotCreated)?.config = config;
        Ok(())
    }
}
