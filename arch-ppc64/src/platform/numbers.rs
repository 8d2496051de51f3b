//! Which device has which interrupt numbers.

use std::collections::BTreeMap;

use super::interrupts::{InterruptError, InterruptKind, MAX_SOURCES};
use super::state_error::StateError;
use crate::layout::FIRST_INTERRUPT;

/// What messages of a device are called among its interrupts.
pub(super) const MESSAGES: &str = "messages";

/// Past the last number of a source.
const END: u32 = FIRST_INTERRUPT + MAX_SOURCES;

/// The numbers of a device's interrupts: one, or a range of them for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
struct Numbers {
    first: u32,
    count: u32,
    kind: InterruptKind,
}

impl Numbers {
    fn end(self) -> u32 {
        self.first.saturating_add(self.count)
    }
}

/// The interrupt numbers of a machine's devices, by the devices' ids and by what they call their
/// interrupts. A machine that is restored has those of the one that was saved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct InterruptNumbers(BTreeMap<String, BTreeMap<String, Numbers>>);

impl InterruptNumbers {
    /// Checks numbers that were saved: nobody vouches for them.
    pub(super) fn check(&self) -> Result<(), StateError> {
        let mut ranges: Vec<(u32, u32, &str)> = Vec::new();
        for (device, interrupts) in &self.0 {
            for numbers in interrupts.values() {
                let (first, end) = (numbers.first, numbers.end());
                if first < FIRST_INTERRUPT || end > END || numbers.count == 0 {
                    let message = format!("interrupts {first:#x} to {end:#x} of {device}");
                    return Err(StateError::Value(message));
                }
                ranges.push((first, end, device));
            }
        }
        ranges.sort_unstable();
        match ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            Some(pair) => Err(StateError::Value(format!(
                "interrupt {:#x} of both {} and {}",
                pair[1].0, pair[0].2, pair[1].2
            ))),
            None => Ok(()),
        }
    }

    /// Whether a device has another count of numbers by this name already.
    pub(super) fn has_other(&self, device: &str, name: &str, count: u32) -> bool {
        let known = self.0.get(device).and_then(|interrupts| interrupts.get(name));
        known.is_some_and(|numbers| numbers.count != count)
    }

    /// The numbers of those that are `wanted` by their device and their name, with their kinds.
    pub(super) fn of(
        &self,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Vec<(std::ops::Range<u32>, InterruptKind)> {
        let mut found = Vec::new();
        for (device, interrupts) in &self.0 {
            let wanted = interrupts.iter().filter(|(name, _)| wanted(device, name));
            found.extend(wanted.map(|(_, numbers)| (numbers.first..numbers.end(), numbers.kind)));
        }
        found
    }

    /// The first of `count` numbers that a device has already, or `None`.
    pub(super) fn known(
        &self,
        device: &str,
        name: &str,
        count: u32,
        kind: InterruptKind,
    ) -> Result<Option<u32>, InterruptError> {
        match self.0.get(device).and_then(|interrupts| interrupts.get(name)) {
            None => Ok(None),
            Some(numbers) if (numbers.count, numbers.kind) == (count, kind) => {
                Ok(Some(numbers.first))
            }
            Some(_) => {
                let (device, name) = (device.to_owned(), name.to_owned());
                Err(InterruptError::Assigned { device, name })
            }
        }
    }

    /// Gives a device `count` numbers that follow each other, the first a multiple of `align`.
    pub(super) fn assign(
        &mut self,
        device: &str,
        name: &str,
        count: u32,
        align: u32,
        kind: InterruptKind,
    ) -> Result<u32, InterruptError> {
        let all = self.0.values().flat_map(BTreeMap::values);
        let free = all.map(|numbers| numbers.end()).fold(FIRST_INTERRUPT, u32::max);
        let first = free.checked_next_multiple_of(align);
        let first = first.filter(|first| first.checked_add(count).is_some_and(|end| end <= END));
        let first = first.ok_or_else(|| InterruptError::Exhausted(device.to_owned()))?;
        let numbers = Numbers { first, count, kind };
        self.0.entry(device.to_owned()).or_default().insert(name.to_owned(), numbers);
        Ok(first)
    }
}
