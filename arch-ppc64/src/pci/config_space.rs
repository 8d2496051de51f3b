//! Registers of a function's configuration space (PCI Local Bus Specification 3.0, chapter 6).

use super::{PciAddress, PciBus};

pub(super) const VENDOR_ID: u16 = 0x00;
pub(super) const DEVICE_ID: u16 = 0x02;
pub(super) const COMMAND: u16 = 0x04;
pub(super) const STATUS: u16 = 0x06;
pub(super) const REVISION_ID: u16 = 0x08;
pub(super) const CLASS_CODE: u16 = 0x09;
pub(super) const HEADER_TYPE: u16 = 0x0e;
pub(super) const BASE_ADDRESSES: u16 = 0x10;
pub(super) const SUBSYSTEM_VENDOR_ID: u16 = 0x2c;
pub(super) const SUBSYSTEM_ID: u16 = 0x2e;
pub(super) const ROM_BASE_ADDRESS: u16 = 0x30;
pub(super) const INTERRUPT_PIN: u16 = 0x3d;
pub(super) const MIN_GRANT: u16 = 0x3e;
pub(super) const MAX_LATENCY: u16 = 0x3f;

/// [`COMMAND`]: the function answers at the addresses in its registers (§6.2.2).
pub(super) const COMMAND_IO: u16 = 1 << 0;
pub(super) const COMMAND_MEMORY: u16 = 1 << 1;
/// [`COMMAND`]: it does not assert its pin.
pub(super) const COMMAND_INTERRUPT_DISABLE: u16 = 1 << 10;

/// [`STATUS`]: there is a list of capabilities (§6.2.3).
const STATUS_CAPABILITIES: u16 = 1 << 4;
/// [`STATUS`]: how fast the function answers a cycle of its bus, from this bit on (§6.2.3).
pub(super) const STATUS_DEVSEL_SHIFT: u32 = 9;

const CAPABILITIES: u16 = 0x34;
/// Where the first capability can be, and the most that fit behind.
const CAPABILITIES_START: u8 = 0x40;
const CAPABILITIES_MAX: usize = 48;

/// Identifiers of capabilities (§H).
pub(super) const MSI: u8 = 0x05;
pub(super) const PCI_EXPRESS: u8 = 0x10;
pub(super) const MSI_X: u8 = 0x11;

/// Reads and writes numbers in the configuration space of a function.
#[derive(Clone, Copy)]
pub(super) struct ConfigSpace<'b> {
    bus: &'b dyn PciBus,
    function: PciAddress,
}

impl<'b> ConfigSpace<'b> {
    pub(super) fn new(bus: &'b dyn PciBus, function: PciAddress) -> Self {
        Self { bus, function }
    }

    pub(super) fn u8(&self, register: u16) -> u8 {
        let [value] = self.bytes(register);
        value
    }

    pub(super) fn u16(&self, register: u16) -> u16 {
        u16::from_le_bytes(self.bytes(register))
    }

    pub(super) fn u32(&self, register: u16) -> u32 {
        u32::from_le_bytes(self.bytes(register))
    }

    pub(super) fn set_u16(&self, register: u16, value: u16) {
        self.bus.write_config(self.function, register, &value.to_le_bytes());
    }

    pub(super) fn set_u32(&self, register: u16, value: u32) {
        self.bus.write_config(self.function, register, &value.to_le_bytes());
    }

    /// Sets and clears bits; nothing is written where they are so already.
    pub(super) fn change_u16(&self, register: u16, clear: u16, set: u16) {
        let before = self.u16(register);
        let after = before & !clear | set;
        if after != before {
            self.set_u16(register, after);
        }
    }

    /// Base class, sub-class and programming interface.
    pub(super) fn class_code(&self) -> u32 {
        u32::from(self.u16(CLASS_CODE + 1)) << 8 | u32::from(self.u8(CLASS_CODE))
    }

    /// Where the first capability of this identifier is (§6.7).
    pub(super) fn capability(&self, id: u8) -> Option<u16> {
        if self.u16(STATUS) & STATUS_CAPABILITIES == 0 {
            return None;
        }
        let mut pointer = CAPABILITIES;
        // A list may loop.
        for _ in 0..CAPABILITIES_MAX {
            let at = self.u8(pointer) & !3;
            if at < CAPABILITIES_START {
                return None;
            }
            let at = u16::from(at);
            if self.u8(at) == id {
                return Some(at);
            }
            pointer = at + 1;
        }
        None
    }

    fn bytes<const N: usize>(&self, register: u16) -> [u8; N] {
        let mut bytes = [0xff; N];
        self.bus.read_config(self.function, register, &mut bytes);
        bytes
    }
}
