//! Configuration space and registers of the function.

use std::time::Instant;

use arch_ppc64::fdt::{FdtError, NodeBuilder};
use arch_ppc64::platform::{SaveState, StateError};
use vm_memory::GuestAddressSpace;

use super::common::Common;
use super::layout::{BAR, Layout, Registers};
use super::port::Port;
use super::threads::Wait;
use super::{Run, VirtioPci};
use crate::pci::{BarPlace, PciFunction};

/// Where the fields of the capability are by which a driver reaches registers in configuration space
/// (Virtio 1.2 §4.1.4.9).
const WINDOW_BAR: u16 = 4;
const WINDOW_OFFSET: u16 = 8;
const WINDOW_LENGTH: u16 = 12;
const WINDOW_DATA: u16 = 16;

impl<M: GuestAddressSpace + Send + Sync> PciFunction for VirtioPci<M> {
    fn id(&self) -> &str {
        &self.id
    }

    fn read_config(&self, register: u16, data: &mut [u8]) {
        if register == self.places.window + WINDOW_DATA {
            self.read_window();
        }
        let pending = self.signals.is_pin_pending();
        let mut config = self.config();
        config.set_interrupt_status(pending);
        config.read(register, data);
    }

    fn write_config(&self, register: u16, data: &[u8]) -> bool {
        let moved = {
            let mut config = self.config();
            let before = config.bars();
            config.write(register, data);
            config.bars() != before
        };
        if register == self.places.window + WINDOW_DATA {
            self.write_window();
        } else {
            self.config_changed();
        }
        moved
    }

    fn bars(&self) -> Vec<BarPlace> {
        self.config().bars()
    }

    fn read_bar(&self, bar: usize, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if bar != BAR {
            return;
        }
        let Some((registers, offset, left)) = self.layout.at(offset) else { return };
        let bytes = clip(data.len(), left);
        let data = &mut data[..bytes];
        match registers {
            Registers::Common => self.read_common(offset, data),
            Registers::Isr => data.fill(self.signals.take_isr()),
            Registers::Device => self.device().read_config(offset, data),
            // What is written there is all that there is.
            Registers::Notify => {}
            Registers::MsixTable => self.signals.msix().read_table(offset, data),
            Registers::MsixPending => self.signals.msix().read_pending(offset, data),
        }
    }

    fn write_bar(&self, bar: usize, offset: u64, data: &[u8]) {
        if bar != BAR {
            return;
        }
        let Some((registers, offset, left)) = self.layout.at(offset) else { return };
        let data = &data[..clip(data.len(), left)];
        match registers {
            Registers::Common => self.write_common(offset, data),
            Registers::Device => self.device().write_config(offset, data),
            Registers::Notify => self.notify(offset),
            Registers::MsixTable => {
                self.signals.msix().write_table(offset, data);
                self.follow_messages(&self.state());
            }
            // They are read-only.
            Registers::Isr | Registers::MsixPending => {}
        }
    }

    fn describe(&self, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        self.device().describe(node)
    }

    fn pause(&self, until: Instant) -> Result<(), StateError> {
        self.rest(until)
    }

    fn resume(&self) -> Result<(), StateError> {
        self.go_on()
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }

    fn reset(&self) {
        let mut state = self.state();
        self.reset_device(&mut state, Wait::ForEver);
        self.config().reset();
        self.signals.reset_bus();
        state.rests = false;
        self.ports.iter().for_each(Port::go_on);
    }
}

impl<M: GuestAddressSpace + Send + Sync> VirtioPci<M> {
    fn read_common(&self, offset: u64, data: &mut [u8]) {
        let mut state = self.state();
        self.finish(&mut state, Wait::No);
        let status = self.status(&state);
        let setup = &mut state.setup;
        Common { setup, signals: &self.signals, offered: self.offered, status }.read(offset, data);
    }

    fn write_common(&self, offset: u64, data: &[u8]) {
        let mut state = self.state();
        self.finish(&mut state, Wait::No);
        let status = self.status(&state);
        // Until a reset is done, there is nothing to be set up.
        let is_resetting = matches!(state.run, Run::Ending { reset: true, .. });
        if is_resetting {
            return;
        }
        let setup = &mut state.setup;
        let mut common = Common { setup, signals: &self.signals, offered: self.offered, status };
        let status = common.write(offset, data);
        // It may have been a vector that was written.
        self.follow_messages(&state);
        if let Some(status) = status {
            self.set_status(&mut state, status);
        }
    }

    fn notify(&self, offset: u64) {
        let port = Layout::notified(offset).and_then(|queue| self.ports.get(usize::from(queue)));
        if let Some(port) = port {
            port.notify();
        }
    }

    /// A driver reads registers in configuration space (Virtio 1.2 §4.1.4.9): the data is what they
    /// say, if the place and the length make sense.
    fn read_window(&self) {
        if let Some((offset, bytes)) = self.window() {
            let mut data = [0; 4];
            self.read_bar(BAR, offset, &mut data[..bytes]);
            self.config().write(self.places.window + WINDOW_DATA, &data[..bytes]);
        }
    }

    /// A driver has written such data.
    fn write_window(&self) {
        if let Some((offset, bytes)) = self.window() {
            let mut data = [0; 4];
            self.config().read(self.places.window + WINDOW_DATA, &mut data);
            self.write_bar(BAR, offset, &data[..bytes]);
        }
    }

    /// The place and the length that the driver wrote.
    fn window(&self) -> Option<(u64, usize)> {
        let config = self.config();
        let number = |field| {
            let mut data = [0; 4];
            config.read(self.places.window + field, &mut data);
            u32::from_le_bytes(data)
        };
        let (offset, bytes) = (number(WINDOW_OFFSET), number(WINDOW_LENGTH));
        let is_natural = matches!(bytes, 1 | 2 | 4) && offset % bytes == 0;
        let is_bar = number(WINDOW_BAR) & 0xff == BAR as u32;
        (is_natural && is_bar).then_some((offset.into(), bytes as usize))
    }
}

/// How much of an access is to registers that have so many bytes left.
fn clip(bytes: usize, left: u64) -> usize {
    usize::try_from(left).map_or(bytes, |left| bytes.min(left))
}
