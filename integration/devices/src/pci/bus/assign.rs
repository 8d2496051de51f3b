//! Places for the registers of functions, as a firmware assigns them.

use std::collections::BTreeMap;

use arch_ppc64::pci::{PciWindow, PciWindows};

use super::AddError;
use crate::pci::bar;
use crate::pci::function::PciFunction;

/// What is left of the windows.
#[derive(Debug)]
pub(super) struct Assigner {
    window_32: Window,
    window_64: Window,
}

/// A window, and what of it is assigned.
#[derive(Debug)]
struct Window {
    window: PciWindow,
    /// First addresses, and those behind the last.
    used: BTreeMap<u64, u64>,
}

/// A base address register, and the place that it was assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Assigned {
    register: u16,
    is_64: bool,
    start: u64,
    bytes: u64,
}

/// A base address register as a function shows it.
struct Found {
    register: u16,
    is_64: bool,
    prefetchable: bool,
    bytes: u64,
}

impl Assigner {
    /// For functions behind a bridge with these windows, of which others have these places.
    pub(super) fn new<'a>(
        windows: &PciWindows,
        assigned: impl IntoIterator<Item = &'a Assigned>,
    ) -> Self {
        let window = |window| Window { window, used: BTreeMap::new() };
        let (mut window_32, mut window_64) = (window(windows.memory_32), window(windows.memory_64));
        for &Assigned { start, bytes, .. } in assigned {
            let window =
                if window_32.window.has(start, bytes) { &mut window_32 } else { &mut window_64 };
            window.used.insert(start, start + bytes);
        }
        Self { window_32, window_64 }
    }

    /// Finds the base address registers of a function, and gives each a place. The window of 64-bit
    /// addresses is prefetchable, so what is not goes into the other. I/O space is left unset: there
    /// is none.
    pub(super) fn assign(&mut self, function: &dyn PciFunction) -> Result<Vec<Assigned>, AddError> {
        let mut assigned = Vec::new();
        for Found { register, is_64, prefetchable, bytes } in find(function) {
            let window = match is_64 && prefetchable {
                true => &mut self.window_64,
                false => &mut self.window_32,
            };
            let no_room = || AddError::Window { id: function.id().to_owned(), bytes };
            let start = window.take(bytes).ok_or_else(no_room)?;
            assigned.push(Assigned { register, is_64, start, bytes });
        }
        for place in &assigned {
            place.write_to(function);
        }
        Ok(assigned)
    }
}

impl Window {
    /// The first free `bytes`, a power of two, that are aligned to their size.
    fn take(&mut self, bytes: u64) -> Option<u64> {
        let mut start = self.window.bus.checked_next_multiple_of(bytes)?;
        for (&first, &end) in &self.used {
            if start.checked_add(bytes)? <= first {
                break;
            }
            start = start.max(end.checked_next_multiple_of(bytes)?);
        }
        if !self.window.has(start, bytes) {
            return None;
        }
        self.used.insert(start, start + bytes);
        Some(start)
    }
}

impl Assigned {
    /// Sets the register.
    pub(super) fn write_to(self, function: &dyn PciFunction) {
        write(function, self.register, self.start as u32);
        if self.is_64 {
            write(function, self.register + 4, (self.start >> 32) as u32);
        }
    }
}

/// The base address registers of a function that does not answer yet.
fn find(function: &dyn PciFunction) -> Vec<Found> {
    let mut found = Vec::new();
    let end = bar::FIRST + 4 * bar::BARS as u16;
    let mut register = bar::FIRST;
    while register < end {
        let low = size_mask(function, register);
        let is_memory = low & bar::IO == 0;
        let is_64 = is_memory && low & bar::TYPE == bar::TYPE_64 && register + 4 < end;
        let high = if is_64 { size_mask(function, register + 4) } else { u32::MAX };
        let address_bits = u64::from(high) << 32 | u64::from(low & !bar::FLAGS);
        if is_memory && (low & !bar::FLAGS != 0 || is_64 && high != 0) {
            found.push(Found {
                register,
                is_64,
                prefetchable: low & bar::PREFETCHABLE != 0,
                bytes: 1 << address_bits.trailing_zeros(),
            });
        }
        register += if is_64 { 8 } else { 4 };
    }
    found
}

/// What a register says after all ones were written to it; it is unset afterwards.
fn size_mask(function: &dyn PciFunction, register: u16) -> u32 {
    write(function, register, u32::MAX);
    let mut data = [0; 4];
    function.read_config(register, &mut data);
    write(function, register, 0);
    u32::from_le_bytes(data)
}

fn write(function: &dyn PciFunction, register: u16, value: u32) {
    // Nobody answers yet, and the bus asks all functions afterwards.
    let _ = function.write_config(register, &value.to_le_bytes());
}
