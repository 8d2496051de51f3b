//! Interrupts of what comes while the machine runs.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::interrupts::{InterruptController, InterruptError, InterruptKind, SourceNumber};
use super::numbers::{InterruptNumbers, MESSAGES};

/// Gives interrupts to devices that come when the machine is built: what a
/// [builder](super::PlatformBuilder::late_interrupts) leaves to whoever plugs them. Its numbers are
/// saved with those of the others.
///
/// A number is never taken back: who comes again asks for what it had, or another in its place does.
/// They are of places, as the slots of a bus, and not of whoever comes by another name each time: there
/// is an end to them.
#[derive(Clone)]
pub struct LateInterrupts {
    pub(super) controller: Arc<dyn InterruptController>,
    numbers: Arc<Mutex<InterruptNumbers>>,
}

impl LateInterrupts {
    pub(super) fn new(controller: Arc<dyn InterruptController>, numbers: InterruptNumbers) -> Self {
        Self { controller, numbers: Arc::new(Mutex::new(numbers)) }
    }

    /// Numbers for the messages (MSI) of a device, as
    /// [`PlatformBuilder::messages`](super::PlatformBuilder::messages) gives them: for the same device
    /// and as many of them, the same again.
    ///
    /// # Errors
    /// [`InterruptError`] when there is no number left, or the controller fails.
    pub fn messages(&self, device: &str, count: u32) -> Result<Range<u32>, InterruptError> {
        let mut numbers = self.numbers();
        let name = match numbers.has_other(device, MESSAGES, count) {
            true => format!("{MESSAGES}-{count}"),
            false => MESSAGES.to_owned(),
        };
        let align = count.checked_next_power_of_two();
        let align = align.ok_or_else(|| InterruptError::Exhausted(device.to_owned()))?;
        let kind = InterruptKind::Edge;
        let first = match numbers.known(device, &name, count, kind)? {
            Some(first) => first,
            None => numbers.assign(device, &name, count, align, kind)?,
        };
        drop(numbers);
        self.claim(first..first + count, kind)?;
        Ok(first..first + count)
    }

    pub(super) fn claim(
        &self,
        numbers: Range<u32>,
        kind: InterruptKind,
    ) -> Result<(), InterruptError> {
        numbers.into_iter().try_for_each(|number| self.controller.claim(SourceNumber(number), kind))
    }

    pub(super) fn numbers(&self) -> MutexGuard<'_, InterruptNumbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LateInterrupts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LateInterrupts").finish_non_exhaustive()
    }
}
