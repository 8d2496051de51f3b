//! The bus: who is on it, where, and who answers which address.

mod assign;
mod decode;
mod saved;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use arch_ppc64::fdt::{FdtError, NodeBuilder};
use arch_ppc64::pci::{PciAddress, PciBus, PciWindows};
use arch_ppc64::platform::{SaveState, StateError};

use self::assign::{Assigned, Assigner};
use self::decode::{Decoder, Place};
use super::function::PciFunction;

/// How many devices a bus has.
const DEVICES: usize = 32;

/// The end of configuration space.
const CONFIG_BYTES: u16 = 4096;

/// A function that the bus cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// There is no device of this number.
    #[error("there is no device {0} on a PCI bus: they go from 0 to 31")]
    Device(u8),
    /// Another function is there already.
    #[error("device {device} of the PCI bus is {id} already")]
    Taken {
        /// The number.
        device: u8,
        /// The [id](PciFunction::id) of what is there.
        id: String,
    },
    /// Another function has the same id.
    #[error("two functions of the PCI bus are called {0}")]
    Id(String),
    /// All devices are taken.
    #[error("{0} has no room on the PCI bus: there are 32 devices")]
    Full(String),
    /// Its registers do not fit into the window that they belong into.
    #[error("{id} has no room for {bytes:#x} bytes of registers in the bus's window")]
    Window {
        /// The [id](PciFunction::id) of the function.
        id: String,
        /// The size of the registers.
        bytes: u64,
    },
}

/// Functions behind a host bridge, each function 0 of a device on bus 0.
///
/// The bus does what a firmware does: it assigns each function places for its registers when it is
/// [added](Self::add), and again after each reset; it leaves them disabled. The guest may move them.
/// Only registers that are all in one of the bridge's windows are ever answered for, and where two
/// functions are at one address, the one with the lower device number answers (within a function,
/// the lower register).
pub struct Bus {
    windows: PciWindows,
    slots: RwLock<Slots>,
    /// Who answers where. It is taken from the functions anew after each change, one change at a
    /// time, so that what is published last is how it is.
    decoder: RwLock<Decoder>,
    changing: Mutex<()>,
    /// Whether the functions rest, and those that come have to.
    rests: Mutex<bool>,
}

type Slots = [Option<Arc<Slot>>; DEVICES];

struct Slot {
    function: Arc<dyn PciFunction>,
    assigned: Vec<Assigned>,
}

impl Bus {
    /// One without functions, behind a bridge with these windows.
    pub fn new(windows: PciWindows) -> Self {
        Self {
            windows,
            slots: RwLock::default(),
            decoder: RwLock::default(),
            changing: Mutex::new(()),
            rests: Mutex::new(false),
        }
    }

    /// The windows of the bridge.
    pub fn windows(&self) -> &PciWindows {
        &self.windows
    }

    /// Where the next function is put that has no place of its own; `None` if the bus is full.
    pub fn next_free(&self) -> Option<PciAddress> {
        let device = self.read().iter().position(Option::is_none)?;
        PciAddress::device_0(device as u8)
    }

    /// Adds a function as the device of this number, or as the [next](Self::next_free) one. It may
    /// come while others are at work; if they [rest](PciBus::pause), it does so, too.
    ///
    /// # Errors
    /// [`AddError`] if there is no such place, or no room for its registers. The bus stays as it
    /// was.
    pub fn add(
        &self,
        device: Option<u8>,
        function: Arc<dyn PciFunction>,
    ) -> Result<PciAddress, AddError> {
        let rests = self.rests();
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let id = function.id();
        if slots.iter().flatten().any(|slot| slot.function.id() == id) {
            return Err(AddError::Id(id.to_owned()));
        }
        let address = match device {
            Some(device) => PciAddress::device_0(device).ok_or(AddError::Device(device))?,
            None => {
                let free = slots.iter().position(Option::is_none);
                let free = free.and_then(|device| PciAddress::device_0(device as u8));
                free.ok_or_else(|| AddError::Full(id.to_owned()))?
            }
        };
        let place = &slots[usize::from(address.device())];
        if let Some(slot) = place {
            let id = slot.function.id().to_owned();
            return Err(AddError::Taken { device: address.device(), id });
        }
        let others = slots.iter().flatten().flat_map(|slot| &slot.assigned);
        let assigned = Assigner::new(&self.windows, others).assign(&*function)?;
        if *rests {
            // Nothing works for it yet.
            let _ = function.pause(Instant::now());
        }
        slots[usize::from(address.device())] = Some(Arc::new(Slot { function, assigned }));
        drop(slots);
        self.decode();
        Ok(address)
    }

    /// Takes the device of this number from the bus. Nobody answers for it any more when this
    /// returns, and it has been reset; false where there is none.
    pub fn remove(&self, device: u8) -> bool {
        let slot = {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            slots.get_mut(usize::from(device)).and_then(Option::take)
        };
        let Some(slot) = slot else { return false };
        self.decode();
        slot.function.reset();
        true
    }

    fn slots(&self) -> Vec<(PciAddress, Arc<Slot>)> {
        let slots = self.read();
        let numbered = slots.iter().zip(0..);
        let slots = numbered
            .filter_map(|(slot, device)| Some((PciAddress::device_0(device)?, slot.clone()?)));
        slots.collect()
    }

    fn slot(&self, address: PciAddress) -> Option<Arc<Slot>> {
        if address.bus() != 0 || address.function() != 0 {
            return None;
        }
        self.read().get(usize::from(address.device()))?.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Slots> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rests(&self) -> MutexGuard<'_, bool> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all functions where their registers are.
    fn decode(&self) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decoder = Decoder::default();
        for (_, slot) in self.slots() {
            for place in slot.function.bars() {
                if self.windows.real(place.start, place.bytes).is_some() {
                    decoder.add(place, &slot.function);
                }
            }
        }
        *self.decoder.write().unwrap_or_else(PoisonError::into_inner) = decoder;
    }

    /// Who answers for all of these bytes. No lock is held while it does.
    fn at(&self, at: u64, bytes: usize) -> Option<(Arc<dyn PciFunction>, Place)> {
        let decoder = self.decoder.read().unwrap_or_else(PoisonError::into_inner);
        decoder.find(at, bytes)
    }
}

impl PciBus for Bus {
    fn functions(&self) -> Vec<PciAddress> {
        self.slots().into_iter().map(|(address, _)| address).collect()
    }

    fn read_config(&self, function: PciAddress, register: u16, data: &mut [u8]) {
        match self.slot(function) {
            Some(slot) if is_register(register, data.len()) => {
                slot.function.read_config(register, data);
            }
            _ => data.fill(0xff),
        }
    }

    fn write_config(&self, function: PciAddress, register: u16, data: &[u8]) {
        let Some(slot) = self.slot(function) else { return };
        if is_register(register, data.len()) && slot.function.write_config(register, data) {
            self.decode();
        }
    }

    fn read_memory(&self, at: u64, data: &mut [u8]) {
        match self.at(at, data.len()) {
            Some((function, place)) => function.read_bar(place.bar, place.offset, data),
            None => data.fill(0xff),
        }
    }

    fn write_memory(&self, at: u64, data: &[u8]) {
        if let Some((function, place)) = self.at(at, data.len()) {
            function.write_bar(place.bar, place.offset, data);
        }
    }

    fn describe(&self, function: PciAddress, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        self.slot(function).map_or(Ok(()), |slot| slot.function.describe(node))
    }

    fn reset(&self) {
        let mut rests = self.rests();
        *rests = false;
        for (_, slot) in self.slots() {
            slot.function.reset();
            for assigned in &slot.assigned {
                assigned.write_to(&*slot.function);
            }
        }
        self.decode();
    }

    fn pause(&self, until: Instant) -> Result<(), StateError> {
        let mut rests = self.rests();
        let slots = self.slots();
        for (number, (_, slot)) in slots.iter().enumerate() {
            let Err(error) = slot.function.pause(until) else { continue };
            for (_, paused) in &slots[..number] {
                // Who cannot go on has told its driver, and the other reason is the first.
                let _ = paused.function.resume();
            }
            return Err(error.of(slot.function.id()));
        }
        *rests = true;
        Ok(())
    }

    fn resume(&self) -> Result<(), StateError> {
        let mut rests = self.rests();
        *rests = false;
        let resume = |(_, slot): (_, Arc<Slot>)| {
            slot.function.resume().map_err(|error| error.of(slot.function.id()))
        };
        self.slots().into_iter().map(resume).fold(Ok(()), Result::and)
    }

    fn state(&self) -> Option<&dyn SaveState> {
        self.read().iter().any(Option::is_some).then_some(self as _)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions = self.slots().into_iter();
        let functions = functions.map(|(address, slot)| (address, slot.function.id().to_owned()));
        f.debug_map().entries(functions).finish()
    }
}

/// Whether an access of configuration space is one that a bus makes.
fn is_register(register: u16, bytes: usize) -> bool {
    let natural = matches!(bytes, 1 | 2 | 4) && usize::from(register) % bytes == 0;
    natural && register < CONFIG_BYTES
}

#[cfg(test)]
mod tests;
