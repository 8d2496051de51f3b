//! Configuration space of a function with a type 0 header (PCI Local Bus Specification 3.0, §6).

use super::bar::{self, BARS, Bar, BarWidth};
use super::function::BarPlace;

/// How many bytes there are: those of a conventional function.
const BYTES: usize = 256;

const VENDOR: usize = 0x00;
const DEVICE: usize = 0x02;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const REVISION: usize = 0x08;
const CLASS: usize = 0x09;
const CACHE_LINE: usize = 0x0c;
const SUBSYSTEM_VENDOR: usize = 0x2c;
const SUBSYSTEM: usize = 0x2e;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;

/// The end of the header: capabilities are behind it.
const HEADER_END: usize = 0x40;

const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_PARITY: u16 = 1 << 6;
const COMMAND_SERR: u16 = 1 << 8;
const COMMAND_NO_INTX: u16 = 1 << 10;

const STATUS_INTERRUPT: u8 = 1 << 3;
const STATUS_CAPABILITIES: u16 = 1 << 4;

/// What a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Who made it.
    pub vendor: u16,
    /// Its number at the vendor's.
    pub device: u16,
    /// Its revision.
    pub revision: u8,
    /// Class, subclass and programming interface, 24 bits.
    pub class: u32,
    /// Who made the card that it is on.
    pub subsystem_vendor: u16,
    /// The number of the card at that vendor's.
    pub subsystem: u16,
    /// Its interrupt pin, 1 for INTA to 4 for INTD; 0 if it has none.
    pub interrupt_pin: u8,
}

impl Identity {
    /// The function of this vendor, number and class; it is a card of its own, without an interrupt
    /// pin.
    pub const fn new(vendor: u16, device: u16, class: u32) -> Self {
        Self {
            vendor,
            device,
            revision: 0,
            class,
            subsystem_vendor: vendor,
            subsystem: device,
            interrupt_pin: 0,
        }
    }
}

/// An entry of the list of capabilities.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Capability<'a> {
    /// Which it is.
    pub id: u8,
    /// What follows its number and its link, from offset 2 on.
    pub body: &'a [u8],
    /// Which bits of the body can be written, byte by byte; those that are missing cannot.
    pub writable: &'a [u8],
}

impl<'a> Capability<'a> {
    /// One that cannot be written.
    pub const fn new(id: u8, body: &'a [u8]) -> Self {
        Self { id, body, writable: &[] }
    }

    /// The same, with these bits writable.
    #[must_use]
    pub const fn with_writable(mut self, writable: &'a [u8]) -> Self {
        self.writable = writable;
        self
    }
}

/// What configuration space cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No base address register has this number, or it is taken.
    #[error("base address register {0} is taken or not there: there are {BARS}")]
    BarIndex(usize),
    /// No base address register can say this size.
    #[error(
        "a base address register cannot have {0:#x} bytes: a power of two from 16 on, below 4 GiB for 32 bits"
    )]
    BarBytes(u64),
    /// The list of capabilities is full.
    #[error("capability {0:#x} does not fit into configuration space")]
    Capability(u8),
}

/// The registers that every function has, by byte: what each says, and which of its bits can be
/// written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSpace {
    bytes: [u8; BYTES],
    writable: [u8; BYTES],
    /// What [`reset`](Self::reset) goes back to.
    fresh: [u8; BYTES],
    bars: [Option<Bar>; BARS],
    /// Where the link to the next capability is.
    link: usize,
    /// Where the next capability can be.
    free: usize,
}

impl ConfigSpace {
    /// That of this function, with nothing enabled.
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            bytes: [0; BYTES],
            writable: [0; BYTES],
            fresh: [0; BYTES],
            bars: [None; BARS],
            link: CAPABILITIES,
            free: HEADER_END,
        };
        let [class_low, class_middle, class_high, _] = identity.class.to_le_bytes();
        space.put(VENDOR, &identity.vendor.to_le_bytes());
        space.put(DEVICE, &identity.device.to_le_bytes());
        space.put(REVISION, &[identity.revision]);
        space.put(CLASS, &[class_low, class_middle, class_high]);
        space.put(SUBSYSTEM_VENDOR, &identity.subsystem_vendor.to_le_bytes());
        space.put(SUBSYSTEM, &identity.subsystem.to_le_bytes());
        space.put(INTERRUPT_PIN, &[identity.interrupt_pin]);
        let command =
            COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR | COMMAND_NO_INTX;
        space.allow(COMMAND, &command.to_le_bytes());
        space.allow(CACHE_LINE, &[0xff]);
        space.allow(INTERRUPT_LINE, &[0xff]);
        space
    }

    /// Adds base address register `index`, unset.
    ///
    /// # Errors
    /// [`ConfigError`] where it is taken, or cannot be.
    pub fn add_bar(&mut self, index: usize, bar: Bar) -> Result<(), ConfigError> {
        if !bar.is_valid() {
            return Err(ConfigError::BarBytes(bar.bytes));
        }
        let registers = match bar.width {
            BarWidth::Bits32 => 1,
            BarWidth::Bits64 => 2,
        };
        let is_upper_half = |index: usize| {
            index.checked_sub(1).is_some_and(|below| {
                self.bars[below].is_some_and(|bar| bar.width == BarWidth::Bits64)
            })
        };
        let is_free =
            |index: usize| index < BARS && self.bars[index].is_none() && !is_upper_half(index);
        if !(index..index.saturating_add(registers)).all(is_free) {
            return Err(ConfigError::BarIndex(index));
        }
        self.bars[index] = Some(bar);
        let at = bar_register(index);
        let address_bits = !(bar.bytes - 1);
        self.put(at, &bar.flags().to_le_bytes());
        self.allow(at, &address_bits.to_le_bytes()[..4 * registers]);
        Ok(())
    }

    /// Adds a capability at the end of the list. Returns where it is.
    ///
    /// # Errors
    /// [`ConfigError::Capability`] if there is no room.
    pub fn add_capability(&mut self, capability: Capability<'_>) -> Result<u16, ConfigError> {
        let Capability { id, body, writable } = capability;
        let at = self.free;
        let end = at + 2 + body.len();
        if end > BYTES || writable.len() > body.len() {
            return Err(ConfigError::Capability(id));
        }
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        self.allow(at + 2, writable);
        self.put(self.link, &[at as u8]);
        let status = u16::from_le_bytes([self.bytes[STATUS], self.bytes[STATUS + 1]]);
        self.put(STATUS, &(status | STATUS_CAPABILITIES).to_le_bytes());
        self.link = at + 1;
        self.free = end.next_multiple_of(4);
        Ok(at as u16)
    }

    /// Reads what is at `register`; all ones behind the end.
    pub fn read(&self, register: u16, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(usize::from(register)..) {
            *byte = self.bytes.get(at).copied().unwrap_or(0xff);
        }
    }

    /// Writes the bits that can be written.
    pub fn write(&mut self, register: u16, data: &[u8]) {
        for (&byte, at) in data.iter().zip(usize::from(register)..) {
            if let (Some(now), Some(&mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *now = *now & !mask | byte & mask;
            }
        }
    }

    /// Where the memory registers are: nowhere while the function does not answer to memory space.
    pub fn bars(&self) -> Vec<BarPlace> {
        let answers = self.command() & COMMAND_MEMORY != 0;
        let places = self.bars.iter().enumerate().filter_map(|(index, bar)| {
            bar.map(|bar| BarPlace::new(index, self.bar_address(index, bar), bar.bytes))
        });
        places.filter(|_| answers).collect()
    }

    /// Whether the function may access memory by itself, and so write messages.
    pub fn is_bus_master(&self) -> bool {
        self.command() & COMMAND_MASTER != 0
    }

    /// Whether it must not assert its interrupt pin.
    pub fn is_intx_disabled(&self) -> bool {
        self.command() & COMMAND_NO_INTX != 0
    }

    /// Says in STATUS whether the function has an interrupt for its pin, disabled or not.
    pub fn set_interrupt_status(&mut self, pending: bool) {
        let status = &mut self.bytes[STATUS];
        *status = if pending { *status | STATUS_INTERRUPT } else { *status & !STATUS_INTERRUPT };
    }

    /// Everything is as after a reset of the bus.
    pub fn reset(&mut self) {
        self.bytes = self.fresh;
    }

    /// What all registers say.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What they say after a reset, and the bits that may differ from that: those that a guest can
    /// write, and the one by which the function says that it has an interrupt.
    pub(super) fn shape(&self) -> ([u8; BYTES], [u8; BYTES]) {
        let mut writable = self.writable;
        writable[STATUS] |= STATUS_INTERRUPT;
        (self.fresh, writable)
    }

    /// They say this from here on.
    pub(super) fn set_bytes(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    fn command(&self) -> u16 {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]])
    }

    fn bar_address(&self, index: usize, bar: Bar) -> u64 {
        let half = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&self.bytes[at..at + 4]);
            u32::from_le_bytes(bytes)
        };
        let at = bar_register(index);
        let low = u64::from(half(at) & !bar::FLAGS);
        match bar.width {
            BarWidth::Bits32 => low,
            BarWidth::Bits64 => u64::from(half(at + 4)) << 32 | low,
        }
    }

    /// What the registers from `at` on say from the beginning.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.fresh[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Which bits of the registers from `at` on can be written. The flags of a base address cannot.
    fn allow(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }
}

fn bar_register(index: usize) -> usize {
    usize::from(bar::FIRST) + 4 * index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        let mut identity = Identity::new(0x1af4, 0x1042, 0x01_80_00);
        identity.interrupt_pin = 1;
        ConfigSpace::new(identity)
    }

    fn read_32(space: &ConfigSpace, register: u16) -> u32 {
        let mut data = [0; 4];
        space.read(register, &mut data);
        u32::from_le_bytes(data)
    }

    fn write_32(space: &mut ConfigSpace, register: u16, value: u32) {
        space.write(register, &value.to_le_bytes());
    }

    #[test]
    fn the_header_says_what_it_is() {
        let space = space();
        assert_eq!(read_32(&space, 0), 0x1042_1af4);
        assert_eq!(read_32(&space, 8), 0x0180_0000);
        assert_eq!(read_32(&space, 0x2c), 0x1042_1af4);
        assert_eq!(read_32(&space, 0x3c), 0x100);
        assert_eq!(read_32(&space, 0x30), 0, "no expansion ROM");
    }

    #[test]
    fn what_is_not_writable_stays() {
        let mut space = space();
        let before: Vec<u32> = (0..64).map(|word| read_32(&space, 4 * word)).collect();
        for register in 0..BYTES as u16 {
            space.write(register, &[0xff]);
        }
        for (word, before) in before.into_iter().enumerate() {
            let expected = match word {
                1 => before | 0x0546,
                3 | 15 => before | 0xff,
                _ => before,
            };
            assert_eq!(read_32(&space, 4 * word as u16), expected, "word {word}");
        }
        space.reset();
        assert_eq!(space, self::space());
    }

    /// "Power-up software can determine how much address space the device requires by writing a
    /// value of all 1's to the register and then reading the value back" (§6.2.5.1).
    #[test]
    fn base_addresses_are_sized_by_all_ones() {
        let mut space = space();
        space.add_bar(0, Bar::new(BarWidth::Bits64, 0x1_0000).prefetchable()).unwrap();
        space.add_bar(2, Bar::new(BarWidth::Bits32, 0x100)).unwrap();
        space.add_bar(4, Bar::new(BarWidth::Bits64, 1 << 36)).unwrap();
        for index in 0..6 {
            write_32(&mut space, 0x10 + 4 * index, u32::MAX);
        }
        let registers: Vec<u32> = (0..6).map(|index| read_32(&space, 0x10 + 4 * index)).collect();
        assert_eq!(registers, [0xffff_000c, 0xffff_ffff, 0xffff_ff00, 0, 0x0000_0004, 0xffff_fff0]);
        write_32(&mut space, 0x10, 0x8001_0000);
        write_32(&mut space, 0x14, 0x2100);
        assert_eq!(space.bars(), [], "memory space is disabled");
        write_32(&mut space, 4, 2);
        let places = space.bars();
        assert_eq!(places[0], BarPlace::new(0, 0x2100_8001_0000, 0x1_0000));
        assert_eq!(places[1], BarPlace::new(2, 0xffff_ff00, 0x100));
    }

    #[test]
    fn base_addresses_that_cannot_be_are_refused() {
        let mut space = space();
        for bytes in [0, 8, 24, 1 << 32] {
            let bar = Bar::new(BarWidth::Bits32, bytes);
            assert_eq!(space.add_bar(0, bar), Err(ConfigError::BarBytes(bytes)));
        }
        let wide = Bar::new(BarWidth::Bits64, 16);
        let narrow = Bar::new(BarWidth::Bits32, 16);
        assert_eq!(space.add_bar(5, wide), Err(ConfigError::BarIndex(5)));
        assert_eq!(space.add_bar(6, narrow), Err(ConfigError::BarIndex(6)));
        space.add_bar(1, wide).unwrap();
        for index in [1, 2] {
            assert_eq!(space.add_bar(index, narrow), Err(ConfigError::BarIndex(index)));
        }
        assert_eq!(space.add_bar(0, wide), Err(ConfigError::BarIndex(0)));
    }

    #[test]
    fn capabilities_are_a_list() {
        let mut space = space();
        assert_eq!(read_32(&space, 4), 0, "there is no list");
        let first = space.add_capability(Capability::new(9, &[7, 1, 2, 3, 4])).unwrap();
        let second = Capability::new(0x11, &[0; 10]).with_writable(&[0, 0xc0]);
        let second = space.add_capability(second).unwrap();
        assert_eq!(read_32(&space, 4) >> 16, 0x10);
        assert_eq!(read_32(&space, 0x34), u32::from(first));
        assert_eq!(read_32(&space, first), 0x0107_0009 | u32::from(second) << 8);
        write_32(&mut space, second, u32::MAX);
        assert_eq!(read_32(&space, second), 0xc000_0011);
        let long = Capability::new(9, &[0; 180]);
        assert_eq!(space.add_capability(long), Err(ConfigError::Capability(9)));
    }

    #[test]
    fn behind_the_end_are_all_ones() {
        let mut space = space();
        write_32(&mut space, 254, 0);
        write_32(&mut space, u16::MAX, 0);
        assert_eq!(read_32(&space, 254), 0xffff_0000);
        assert_eq!(read_32(&space, u16::MAX), u32::MAX);
    }
}
