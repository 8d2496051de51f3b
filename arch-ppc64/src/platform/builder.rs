//! From a list of devices to a machine.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::device::Device;
use super::error::PlatformError;
use super::interrupts::{
    InterruptController, InterruptError, InterruptKind, InterruptLine, SourceNumber,
};
use super::late::LateInterrupts;
use super::machine::Platform;
use super::numbers::{InterruptNumbers, MESSAGES};
use super::state_error::StateError;
use crate::machine::Machine;

/// Collects the devices of a machine, and gives them their interrupts.
pub struct PlatformBuilder<'m> {
    machine: &'m Machine,
    /// What the devices have, and what the saved machine's had.
    late: LateInterrupts,
    /// Who has asked for which interrupt.
    asked: BTreeSet<(String, String)>,
    devices: Vec<Arc<dyn Device>>,
}

impl<'m> PlatformBuilder<'m> {
    /// A machine without devices, with the back end's interrupt controller.
    pub fn new(machine: &'m Machine, controller: Arc<dyn InterruptController>) -> Self {
        Self {
            machine,
            late: LateInterrupts::new(controller, InterruptNumbers::default()),
            asked: BTreeSet::new(),
            devices: Vec::new(),
        }
    }

    /// With the interrupt numbers of a machine that was saved
    /// ([`PlatformState::interrupts`](super::PlatformState::interrupts)): who asks for an
    /// interrupt that it had gets that number. What is new gets a number behind.
    ///
    /// # Errors
    /// [`StateError::Value`] for numbers that no machine can have.
    pub fn with_interrupts(self, numbers: InterruptNumbers) -> Result<Self, StateError> {
        numbers.check()?;
        let late = LateInterrupts::new(self.late.controller.clone(), numbers);
        Ok(Self { late, ..self })
    }

    /// The back end's interrupt controller.
    pub fn controller(&self) -> &Arc<dyn InterruptController> {
        &self.late.controller
    }

    /// What gives interrupts to devices that come when the machine is built.
    pub fn late_interrupts(&self) -> LateInterrupts {
        self.late.clone()
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        self.machine
    }

    /// The interrupt of that name of a device, which it is to be given as it is made: the same
    /// number in each machine that asks for the same interrupts in the same order.
    ///
    /// # Errors
    /// [`InterruptError`] when there is no number left, when the controller fails, or when the
    /// saved machine has it of another kind.
    pub fn interrupt(
        &mut self,
        device: &str,
        name: &str,
        kind: InterruptKind,
    ) -> Result<InterruptLine, InterruptError> {
        let number = SourceNumber(self.claim(device, name, 1, 1, kind)?);
        Ok(InterruptLine::new(self.controller().clone(), number, kind))
    }

    /// Numbers for the messages (MSI) of a device, as many as are asked for, edges all: they
    /// follow each other, and the first is a multiple of `count` rounded up to a power of two.
    ///
    /// # Errors
    /// As [`interrupt`](Self::interrupt).
    pub fn messages(&mut self, device: &str, count: u32) -> Result<Range<u32>, InterruptError> {
        let exhausted = || InterruptError::Exhausted(device.to_owned());
        let align = count.checked_next_power_of_two().ok_or_else(exhausted)?;
        // Of one that was plugged where another had been, those that it had then.
        let plugged = format!("{MESSAGES}-{count}");
        let is_known = |name: &str| {
            matches!(
                self.late.numbers().known(device, name, count, InterruptKind::Edge),
                Ok(Some(_))
            )
        };
        let name = if is_known(&plugged) { &plugged } else { MESSAGES };
        let first = self.claim(device, name, count, align, InterruptKind::Edge)?;
        Ok(first..first + count)
    }

    /// Adds a device. They describe themselves in the order in which they were added.
    pub fn add(&mut self, device: Arc<dyn Device>) -> &mut Self {
        self.devices.push(device);
        self
    }

    /// Adds several devices.
    pub fn add_all(&mut self, devices: impl IntoIterator<Item = Arc<dyn Device>>) -> &mut Self {
        self.devices.extend(devices);
        self
    }

    /// The machine, switched on: its devices are [reset](Device::reset).
    ///
    /// # Errors
    /// [`PlatformError`] names the devices that cannot be in one machine.
    pub fn build(self) -> Result<Platform, PlatformError> {
        // A saved machine's controller has those of what was taken out, too.
        let was_asked =
            |device: &str, name: &str| self.asked.contains(&(device.to_owned(), name.to_owned()));
        for (numbers, kind) in self.late.numbers().of(|device, name| !was_asked(device, name)) {
            self.late.claim(numbers, kind)?;
        }
        Platform::new(self.machine.clone(), self.late, self.devices)
    }

    fn claim(
        &mut self,
        device: &str,
        name: &str,
        count: u32,
        align: u32,
        kind: InterruptKind,
    ) -> Result<u32, InterruptError> {
        if !self.asked.insert((device.to_owned(), name.to_owned())) {
            let (device, name) = (device.to_owned(), name.to_owned());
            return Err(InterruptError::Twice { device, name });
        }
        let mut numbers = self.late.numbers();
        let first = match numbers.known(device, name, count, kind)? {
            Some(first) => first,
            None => numbers.assign(device, name, count, align, kind)?,
        };
        self.late.claim(first..first + count, kind)?;
        Ok(first)
    }
}

impl std::fmt::Debug for PlatformBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.devices.iter().map(|device| device.id()).collect();
        f.debug_struct("PlatformBuilder").field("devices", &ids).finish_non_exhaustive()
    }
}
