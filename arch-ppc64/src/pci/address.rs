//! Where a function is.

use std::fmt;

/// A function of one host bridge, by bus, device and function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    bus: u8,
    device: u8,
    function: u8,
}

impl PciAddress {
    /// The function of this number of a device; `None` where there is none: a bus has 32 devices
    /// with 8 functions each.
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device < 32 && function < 8 { Some(Self { bus, device, function }) } else { None }
    }

    /// Function 0 of a device on bus 0; `None` from device 32 on.
    pub const fn device_0(device: u8) -> Option<Self> {
        Self::new(0, device, 0)
    }

    /// The number of its bus.
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The number of its device on the bus, below 32.
    pub const fn device(self) -> u8 {
        self.device
    }

    /// Its number in the device, below 8.
    pub const fn function(self) -> u8 {
        self.function
    }

    /// The one whose bus number is in bits 23 to 16, whose device is in bits 15 to 11 and whose
    /// function is in bits 10 to 8 of a cell, as in a PCI address and in `config_addr` of RTAS
    /// (IEEE 1275, PCI bus binding §2.2.1.1; LoPAPR §7.3.4).
    pub const fn from_cell(cell: u32) -> Self {
        Self {
            bus: (cell >> 16) as u8,
            device: (cell >> 11) as u8 & 31,
            function: (cell >> 8) as u8 & 7,
        }
    }

    /// Its bits in such a cell.
    pub const fn cell(self) -> u32 {
        (self.bus as u32) << 16 | (self.device as u32) << 11 | (self.function as u32) << 8
    }
}

/// As `lspci` shows it, without the domain: `00:03.0`.
impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cells() {
        let address = PciAddress::new(1, 31, 7).unwrap();
        assert_eq!(address.cell(), 0x1_ff00);
        assert_eq!(PciAddress::from_cell(0xff01_ffff), address);
        assert_eq!(address.to_string(), "01:1f.7");
        assert_eq!(PciAddress::new(0, 32, 0), None);
        assert_eq!(PciAddress::new(0, 0, 8), None);
    }
}
