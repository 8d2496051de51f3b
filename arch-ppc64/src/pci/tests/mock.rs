//! A bus of functions made of bytes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::fdt::{FdtError, NodeBuilder};
use crate::pci::{PciAddress, PciBus};

/// A function: its configuration space, which of its bits can be written, and what is behind its
/// base address registers.
pub(crate) struct MockFunction {
    config: Vec<u8>,
    writable: Vec<u8>,
    memories: Vec<Memory>,
    last_capability: u16,
}

struct Memory {
    register: u16,
    is_64_bits: bool,
    bytes: Vec<u8>,
}

impl MockFunction {
    /// One of virtio's vendor.
    pub(crate) fn new(device: u16, class_code: u32) -> Self {
        let mut function = Self {
            config: vec![0; 0x100],
            writable: vec![0; 0x100],
            memories: Vec::new(),
            last_capability: 0x33,
        };
        function.put(0x00, &0x1af4_u16.to_le_bytes());
        function.put(0x02, &device.to_le_bytes());
        function.put(0x08, &[1]);
        function.put(0x09, &class_code.to_le_bytes()[..3]);
        function.put(0x2c, &0x1af4_u16.to_le_bytes());
        function.put(0x2e, &0x1100_u16.to_le_bytes());
        function.allow(0x04, &0x0407_u16.to_le_bytes());
        function
    }

    pub(crate) fn with_pin(mut self, pin: u8) -> Self {
        self.put(0x3d, &[pin]);
        self
    }

    /// With memory of so many bytes behind a register; `flags` as in its low bits.
    pub(crate) fn with_bar(mut self, number: u16, flags: u8, bytes: u64) -> Self {
        let register = 0x10 + 4 * number;
        let is_64_bits = flags & 7 == 4;
        let mask = !(bytes - 1);
        self.put(register, &[flags]);
        self.allow(register, &(mask as u32).to_le_bytes());
        if is_64_bits {
            self.allow(register + 4, &((mask >> 32) as u32).to_le_bytes());
        }
        if flags & 1 == 0 {
            let bytes = vec![0; bytes.min(0x1_0000) as usize];
            self.memories.push(Memory { register, is_64_bits, bytes });
        }
        self
    }

    pub(crate) fn with_rom(mut self, bytes: u32) -> Self {
        self.allow(0x30, &(!(bytes - 1) | 1).to_le_bytes());
        self
    }

    /// With an MSI capability at 0x50, of 64 bits or 32, for two to the power of `order` messages.
    pub(crate) fn with_msi(mut self, order: u8, has_64_bits: bool) -> Self {
        self.capability(0x50, 0x05);
        self.put(0x52, &[order << 1 | u8::from(has_64_bits) << 7]);
        self.allow(0x52, &[0x71]);
        self.allow(0x54, &[0xfc, 0xff, 0xff, 0xff]);
        self.allow(0x58, if has_64_bits { &[0xff; 6] } else { &[0xff; 2] });
        self
    }

    /// With an MSI-X capability at 0x70 and such a table.
    pub(crate) fn with_msi_x(mut self, entries: u16, bar: u32, offset: u32) -> Self {
        self.capability(0x70, 0x11);
        self.put(0x72, &(entries - 1).to_le_bytes());
        self.allow(0x72, &[0, 0xc0]);
        self.put(0x74, &(offset | bar).to_le_bytes());
        self
    }

    /// With a PCI Express capability at 0x90, and with registers from 256 on.
    pub(crate) fn with_express(mut self) -> Self {
        self.config.resize(0x1000, 0);
        self.writable.resize(0x1000, 0);
        self.capability(0x90, 0x10);
        self
    }

    /// With a byte of configuration space.
    pub(crate) fn with_byte(mut self, register: u16, byte: u8) -> Self {
        self.put(register, &[byte]);
        self
    }

    fn capability(&mut self, at: u8, id: u8) {
        self.put(0x06, &[0x10]);
        let link = self.last_capability + 1;
        self.put(link, &[at]);
        self.put(at.into(), &[id, 0]);
        self.last_capability = at.into();
    }

    pub(crate) fn put(&mut self, register: u16, bytes: &[u8]) {
        self.config[register.into()..][..bytes.len()].copy_from_slice(bytes);
    }

    fn allow(&mut self, register: u16, bits: &[u8]) {
        self.writable[register.into()..][..bits.len()].copy_from_slice(bits);
    }

    fn number(&self, register: u16) -> u32 {
        u32::from_le_bytes(self.config[register.into()..][..4].try_into().unwrap())
    }

    /// The memory at an address of the bus, and how far in it that is.
    fn memory(&mut self, at: u64) -> Option<(&mut Memory, usize)> {
        if self.number(0x04) & 2 == 0 {
            return None;
        }
        let addresses: Vec<u64> = self.memories.iter().map(|memory| self.address(memory)).collect();
        let mut memories = self.memories.iter_mut().zip(addresses);
        let found = memories.find(|(memory, address)| {
            at.checked_sub(*address).is_some_and(|offset| offset < memory.bytes.len() as u64)
        });
        found.map(|(memory, address)| (memory, (at - address) as usize))
    }

    fn address(&self, memory: &Memory) -> u64 {
        let low = u64::from(self.number(memory.register) & !15);
        let high = if memory.is_64_bits { self.number(memory.register + 4) } else { 0 };
        u64::from(high) << 32 | low
    }
}

/// The bus, which remembers what was written to its functions' configuration.
#[derive(Default)]
pub(crate) struct MockBus {
    functions: BTreeMap<PciAddress, Mutex<MockFunction>>,
    /// Says the functions of the bus twice.
    pub(crate) repeats: bool,
    pub(crate) writes: Mutex<Vec<(PciAddress, u16, Vec<u8>)>>,
    pub(crate) resets: Mutex<u32>,
}

impl MockBus {
    pub(crate) fn with(mut self, device: u8, function: u8, mock: MockFunction) -> Self {
        self.functions.insert(address(device, function), Mutex::new(mock));
        self
    }

    pub(crate) fn without(mut self, device: u8) -> Self {
        self.functions.retain(|address, _| address.device() != device);
        self
    }

    pub(crate) fn function(&self, device: u8) -> MutexGuard<'_, MockFunction> {
        self.functions[&address(device, 0)].lock().unwrap()
    }

    /// Everything that is in the configuration spaces.
    pub(crate) fn config(&self) -> Vec<Vec<u8>> {
        self.functions.values().map(|function| function.lock().unwrap().config.clone()).collect()
    }

    /// The entry of an MSI-X table: address, data, control.
    pub(crate) fn entry(&self, table: u64, number: u64) -> (u64, u32, u32) {
        let mut bytes = [0; 16];
        self.read_memory(table + 16 * number, &mut bytes);
        let number = u128::from_le_bytes(bytes);
        (number as u64, (number >> 64) as u32, (number >> 96) as u32)
    }
}

pub(crate) fn address(device: u8, function: u8) -> PciAddress {
    PciAddress::new(0, device, function).unwrap()
}

impl PciBus for MockBus {
    fn functions(&self) -> Vec<PciAddress> {
        let times = if self.repeats { 2 } else { 1 };
        self.functions.keys().rev().copied().cycle().take(times * self.functions.len()).collect()
    }

    fn read_config(&self, function: PciAddress, register: u16, data: &mut [u8]) {
        assert!(matches!(data.len(), 1 | 2 | 4), "{} bytes", data.len());
        assert!(register < 0x1000 && usize::from(register) % data.len() == 0, "{register:#x}");
        data.fill(0xff);
        if let Some(function) = self.functions.get(&function) {
            let function = function.lock().unwrap();
            let register = usize::from(register);
            if let Some(bytes) = function.config.get(register..register + data.len()) {
                data.copy_from_slice(bytes);
            }
        }
    }

    fn write_config(&self, function: PciAddress, register: u16, data: &[u8]) {
        assert!(matches!(data.len(), 1 | 2 | 4), "{} bytes", data.len());
        assert!(register < 0x1000 && usize::from(register) % data.len() == 0, "{register:#x}");
        self.writes.lock().unwrap().push((function, register, data.to_vec()));
        let Some(function) = self.functions.get(&function) else { return };
        let mut function = function.lock().unwrap();
        for (place, &byte) in (usize::from(register)..).zip(data) {
            if let Some(&bits) = function.writable.get(place) {
                let before = function.config[place];
                function.config[place] = before & !bits | byte & bits;
            }
        }
    }

    fn read_memory(&self, at: u64, data: &mut [u8]) {
        data.fill(0xff);
        for function in self.functions.values() {
            if let Some((memory, offset)) = function.lock().unwrap().memory(at) {
                data.copy_from_slice(&memory.bytes[offset..][..data.len()]);
            }
        }
    }

    fn write_memory(&self, at: u64, data: &[u8]) {
        for function in self.functions.values() {
            if let Some((memory, offset)) = function.lock().unwrap().memory(at) {
                memory.bytes[offset..][..data.len()].copy_from_slice(data);
            }
        }
    }

    fn describe(&self, function: PciAddress, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        if function == address(2, 0) {
            node.bytes("local-mac-address", &[2, 0, 0, 0, 0, 1])?;
        }
        Ok(())
    }

    fn reset(&self) {
        *self.resets.lock().unwrap() += 1;
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }
}

/// The bytes of configuration spaces.
#[cfg(feature = "serde")]
impl crate::platform::SaveState for MockBus {
    fn save(&self) -> Result<crate::platform::StateValue, crate::platform::StateError> {
        crate::platform::StateValue::of(&self.config())
    }

    fn restore(
        &self,
        _: u32,
        state: &crate::platform::StateValue,
    ) -> Result<(), crate::platform::StateError> {
        let saved: Vec<Vec<u8>> = state.get()?;
        for (function, config) in self.functions.values().zip(saved) {
            function.lock().unwrap().config = config;
        }
        Ok(())
    }
}
