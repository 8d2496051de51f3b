//! Interrupt pins of functions (INTA to INTD), which share the lines of the bridge.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::PciAddress;
use crate::platform::{InterruptError, InterruptKind, InterruptLine, PlatformBuilder};

/// The lines of a bridge.
const LINES: usize = 4;

/// What each line is called among the bridge's interrupts.
const NAMES: [&str; LINES] = ["inta", "intb", "intc", "intd"];

/// The lines that the pins of all functions behind a bridge are wired to: four levels, each high
/// while any of its pins is asserted. Pin p of device d is on line (d + p - 1) modulo 4, so that
/// devices with one pin share as little as can be (PCI Local Bus Specification 3.0, §2.2.6).
#[derive(Clone)]
pub struct PciPins(Arc<[Line; LINES]>);

struct Line {
    interrupt: InterruptLine,
    /// How many pins are asserted.
    asserted: Mutex<u32>,
}

impl PciPins {
    /// Asks for the lines of the bridge of this [id](crate::platform::Device::id).
    ///
    /// # Errors
    /// [`InterruptError`], as of any interrupt.
    pub fn claim(builder: &mut PlatformBuilder<'_>, bridge: &str) -> Result<Self, InterruptError> {
        let mut claim = |name| {
            let interrupt = builder.interrupt(bridge, name, InterruptKind::Level)?;
            Ok(Line { interrupt, asserted: Mutex::new(0) })
        };
        let [a, b, c, d] = NAMES;
        Ok(Self(Arc::new([claim(a)?, claim(b)?, claim(c)?, claim(d)?])))
    }

    /// A pin of a function, 1 for INTA to 4 for INTD; it is not asserted.
    pub fn pin(&self, function: PciAddress, pin: u8) -> PciPin {
        PciPin {
            lines: self.clone(),
            line: line(function.device(), pin),
            asserted: Mutex::new(false),
        }
    }

    /// The interrupt specifier of a device's pin.
    pub fn specifier(&self, device: u8, pin: u8) -> [u32; 2] {
        self.0[line(device, pin)].interrupt.specifier()
    }
}

fn line(device: u8, pin: u8) -> usize {
    usize::from(device.wrapping_add(pin).wrapping_sub(1)) % LINES
}

impl fmt::Debug for PciPins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciPins").finish_non_exhaustive()
    }
}

/// One pin. It is as good as not asserted when it is dropped.
pub struct PciPin {
    lines: PciPins,
    line: usize,
    asserted: Mutex<bool>,
}

impl PciPin {
    /// Asserts the pin, or no longer; as it is already is no change.
    pub fn set(&self, asserted: bool) {
        let mut before = self.asserted.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *before, asserted) == asserted {
            return;
        }
        let Line { interrupt, asserted: count } = &self.lines.0[self.line];
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let was_high = *count > 0;
        *count = if asserted { *count + 1 } else { *count - 1 };
        if (*count > 0) != was_high {
            // With the lock held: the last that is said is how it is.
            interrupt.set_level(*count > 0);
        }
    }
}

impl Drop for PciPin {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl fmt::Debug for PciPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciPin").field("line", &self.line).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pin p of device d is on line (d + p - 1) modulo 4; what is no pin is on some line.
    #[test]
    fn pins_are_spread_over_lines() {
        assert_eq!([1, 2, 3, 4].map(|pin| line(0, pin)), [0, 1, 2, 3]);
        assert_eq!([1, 2, 3, 4].map(|pin| line(31, pin)), [3, 0, 1, 2]);
        assert!([0, u8::MAX].iter().all(|&pin| line(31, pin) < LINES));
        assert!(line(u8::MAX, u8::MAX) < LINES);
    }
}
