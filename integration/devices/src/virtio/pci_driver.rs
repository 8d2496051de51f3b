//! The driver's side of a function, for tests and fuzzers: all of it by configuration space and
//! registers, as a guest has it. (Feature `test-utils`.)

use std::fmt;

use arch_ppc64::pci::{PciAddress, PciBus};
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_F_VERSION_1,
};
use vm_memory::{GuestAddress, GuestAddressSpace};

use super::driver::DriverQueue;

const ACKNOWLEDGE: u8 = VIRTIO_CONFIG_S_ACKNOWLEDGE as u8;
const DRIVER: u8 = VIRTIO_CONFIG_S_DRIVER as u8;
const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;

/// Enables memory space and bus mastering.
const COMMAND_MEMORY_MASTER: u16 = 6;

/// Offsets of fields of the common configuration structure (Virtio 1.2 §4.1.4.3).
#[allow(missing_docs)] // They are named as there.
pub mod common {
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub const DEVICE_FEATURE: u64 = 0x04;
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub const DRIVER_FEATURE: u64 = 0x0c;
    pub const CONFIG_MSIX_VECTOR: u64 = 0x10;
    pub const NUM_QUEUES: u64 = 0x12;
    pub const DEVICE_STATUS: u64 = 0x14;
    pub const CONFIG_GENERATION: u64 = 0x15;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_SIZE: u64 = 0x18;
    pub const QUEUE_MSIX_VECTOR: u64 = 0x1a;
    pub const QUEUE_ENABLE: u64 = 0x1c;
    pub const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    pub const QUEUE_DESC: u64 = 0x20;
    pub const QUEUE_DRIVER: u64 = 0x28;
    pub const QUEUE_DEVICE: u64 = 0x30;
    /// The end of the structure.
    pub const END: u64 = 0x38;
}

/// A driver of one function. What it cannot find is a panic: it is for tests.
pub struct Driver<'a> {
    bus: &'a dyn PciBus,
    function: PciAddress,
    /// Where the structures are on the bus.
    pub common: u64,
    /// The ISR register.
    pub isr: u64,
    /// The configuration of the device.
    pub device: u64,
    /// The notification registers, and how far they are apart.
    pub notify: (u64, u64),
    /// The capability by which registers are reached in configuration space.
    pub window: u16,
    /// MSI-X.
    pub msix: MsixPlaces,
}

/// Where the registers of MSI-X are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixPlaces {
    /// The capability in configuration space.
    pub capability: u16,
    /// How many vectors there are.
    pub vectors: u16,
    /// The table, on the bus.
    pub table: u64,
    /// The pending bits, on the bus.
    pub pending: u64,
}

impl<'a> Driver<'a> {
    /// Enables the function, and finds its structures.
    ///
    /// # Panics
    /// If it is no modern virtio device.
    pub fn probe(bus: &'a dyn PciBus, function: PciAddress) -> Self {
        let mut driver = Self {
            bus,
            function,
            common: 0,
            isr: 0,
            device: 0,
            notify: (0, 0),
            window: 0,
            msix: MsixPlaces { capability: 0, vectors: 0, table: 0, pending: 0 },
        };
        assert_eq!(driver.config_16(0), 0x1af4, "{function} is no virtio device");
        assert!(driver.config_16(2) > 0x1040, "{function} is no modern device");
        driver.set_config_16(4, COMMAND_MEMORY_MASTER);
        let mut at = u16::from(driver.config_8(0x34));
        while at != 0 {
            driver.capability(at);
            at = u16::from(driver.config_8(at + 1));
        }
        assert!(driver.common != 0 && driver.isr != 0 && driver.notify.0 != 0, "{driver:?}");
        driver
    }

    fn capability(&mut self, at: u16) {
        match self.config_8(at) {
            9 => {
                let start = self.bar(self.config_8(at + 4)) + u64::from(self.config_32(at + 8));
                // The first of its kind is the one to take (§4.1.4.1).
                match self.config_8(at + 3) {
                    1 if self.common == 0 => self.common = start,
                    2 if self.notify.0 == 0 => {
                        self.notify = (start, self.config_32(at + 16).into());
                    }
                    3 if self.isr == 0 => self.isr = start,
                    4 if self.device == 0 => self.device = start,
                    5 => self.window = at,
                    _ => {}
                }
            }
            0x11 => {
                let place = |register| {
                    let place = self.config_32(register);
                    self.bar(place as u8 & 7) + u64::from(place & !7)
                };
                self.msix = MsixPlaces {
                    capability: at,
                    vectors: (self.config_16(at + 2) & 0x7ff) + 1,
                    table: place(at + 4),
                    pending: place(at + 8),
                };
            }
            _ => {}
        }
    }

    /// The address of a 64-bit base address register.
    pub fn bar(&self, bar: u8) -> u64 {
        let register = 0x10 + 4 * u16::from(bar);
        let low = self.config_32(register) & !0xf;
        u64::from(self.config_32(register + 4)) << 32 | u64::from(low)
    }

    /// Moves a 64-bit base address register, and what was found behind it.
    pub fn move_bar(&mut self, bar: u8, to: u64) {
        let from = self.bar(bar);
        let register = 0x10 + 4 * u16::from(bar);
        self.set_config_32(register, to as u32);
        self.set_config_32(register + 4, (to >> 32) as u32);
        let places = [
            &mut self.common,
            &mut self.isr,
            &mut self.device,
            &mut self.notify.0,
            &mut self.msix.table,
            &mut self.msix.pending,
        ];
        for place in places {
            *place = *place - from + to;
        }
    }

    /// Resets the device, and waits until it is done.
    pub fn reset(&self) {
        self.set_common_8(common::DEVICE_STATUS, 0);
        while self.status() != 0 {
            std::thread::yield_now();
        }
    }

    /// Resets the device and takes those of `features` that it offers, with `VIRTIO_F_VERSION_1`.
    /// Gives what it took; `None` if the device refuses them.
    pub fn negotiate(&self, features: u64) -> Option<u64> {
        let features = self.offered() & (features | 1 << VIRTIO_F_VERSION_1);
        self.insist(features).then_some(features)
    }

    /// Resets the device and takes these features, offered or not. Whether the device does.
    pub fn insist(&self, features: u64) -> bool {
        self.reset();
        self.add_status(ACKNOWLEDGE);
        self.add_status(DRIVER);
        for (page, value) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.set_common_32(common::DRIVER_FEATURE_SELECT, page);
            self.set_common_32(common::DRIVER_FEATURE, value);
        }
        self.add_status(FEATURES_OK);
        self.status() & FEATURES_OK != 0
    }

    /// The features that the device offers.
    pub fn offered(&self) -> u64 {
        let page = |page| {
            self.set_common_32(common::DEVICE_FEATURE_SELECT, page);
            u64::from(self.common_32(common::DEVICE_FEATURE))
        };
        page(0) | page(1) << 32
    }

    /// Makes a queue of `size` descriptors in memory, from `at` on, and enables it. It tells by the
    /// message after its number: vector 0 is for the configuration.
    ///
    /// # Panics
    /// If there is no memory there.
    pub fn queue<M: GuestAddressSpace>(
        &self,
        memory: M,
        index: u16,
        size: u16,
        at: GuestAddress,
    ) -> DriverQueue<M> {
        let queue = DriverQueue::new(memory, at, size);
        self.enable(index, size, queue.parts().map(|part| part.0));
        queue
    }

    /// Enables a queue with its parts at these places, whatever they are.
    pub fn enable(&self, index: u16, size: u16, places: [u64; 3]) {
        self.set_common_16(common::QUEUE_SELECT, index);
        self.set_common_16(common::QUEUE_SIZE, size);
        self.set_common_16(common::QUEUE_MSIX_VECTOR, index.wrapping_add(1));
        let fields = [common::QUEUE_DESC, common::QUEUE_DRIVER, common::QUEUE_DEVICE];
        for (field, place) in fields.into_iter().zip(places) {
            self.set_common_32(field, place as u32);
            self.set_common_32(field + 4, (place >> 32) as u32);
        }
        self.set_common_16(common::QUEUE_ENABLE, 1);
    }

    /// The device is set up.
    pub fn driver_ok(&self) {
        self.set_common_16(common::CONFIG_MSIX_VECTOR, 0);
        self.add_status(DRIVER_OK);
    }

    /// Notifies a queue.
    pub fn notify(&self, index: u16) {
        self.set_common_16(common::QUEUE_SELECT, index);
        let offset = u64::from(self.common_16(common::QUEUE_NOTIFY_OFF));
        let (start, multiplier) = self.notify;
        self.bus.write_memory(start + offset * multiplier, &index.to_le_bytes());
    }

    /// Has vector i write `first + i` to `doorbell`, and enables messages.
    pub fn enable_messages(&self, doorbell: u64, first: u32) {
        for vector in 0..self.msix.vectors {
            let entry = self.msix.table + 16 * u64::from(vector);
            self.bus.write_memory(entry, &doorbell.to_le_bytes());
            self.bus.write_memory(entry + 8, &(first + u32::from(vector)).to_le_bytes());
            self.mask(vector, false);
        }
        self.set_config_16(self.msix.capability + 2, 0x8000);
    }

    /// Masks a vector, or no longer.
    pub fn mask(&self, vector: u16, masked: bool) {
        let control = self.msix.table + 16 * u64::from(vector) + 12;
        self.bus.write_memory(control, &u32::from(masked).to_le_bytes());
    }

    /// Whether a vector is pending.
    pub fn is_pending(&self, vector: u16) -> bool {
        let mut data = [0];
        self.bus.read_memory(self.msix.pending + u64::from(vector / 8), &mut data);
        data[0] >> (vector % 8) & 1 != 0
    }

    /// Reads the ISR register.
    pub fn take_isr(&self) -> u8 {
        let mut data = [0];
        self.bus.read_memory(self.isr, &mut data);
        data[0]
    }

    /// The device status.
    pub fn status(&self) -> u8 {
        self.common_8(common::DEVICE_STATUS)
    }

    /// Adds a bit to the device status.
    pub fn add_status(&self, bit: u8) {
        self.set_common_8(common::DEVICE_STATUS, self.status() | bit);
    }

    /// A byte of configuration space.
    pub fn config_8(&self, register: u16) -> u8 {
        let mut data = [0];
        self.bus.read_config(self.function, register, &mut data);
        data[0]
    }

    /// Two bytes of configuration space.
    pub fn config_16(&self, register: u16) -> u16 {
        let mut data = [0; 2];
        self.bus.read_config(self.function, register, &mut data);
        u16::from_le_bytes(data)
    }

    /// Four bytes of configuration space.
    pub fn config_32(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.bus.read_config(self.function, register, &mut data);
        u32::from_le_bytes(data)
    }

    /// Writes two bytes of configuration space.
    pub fn set_config_16(&self, register: u16, value: u16) {
        self.bus.write_config(self.function, register, &value.to_le_bytes());
    }

    /// Writes four bytes of configuration space.
    pub fn set_config_32(&self, register: u16, value: u32) {
        self.bus.write_config(self.function, register, &value.to_le_bytes());
    }

    /// A field of the common configuration.
    pub fn common_8(&self, field: u64) -> u8 {
        let mut data = [0];
        self.bus.read_memory(self.common + field, &mut data);
        data[0]
    }

    /// A field of the common configuration.
    pub fn common_16(&self, field: u64) -> u16 {
        let mut data = [0; 2];
        self.bus.read_memory(self.common + field, &mut data);
        u16::from_le_bytes(data)
    }

    /// A field of the common configuration.
    pub fn common_32(&self, field: u64) -> u32 {
        let mut data = [0; 4];
        self.bus.read_memory(self.common + field, &mut data);
        u32::from_le_bytes(data)
    }

    /// Writes a field of the common configuration.
    pub fn set_common_8(&self, field: u64, value: u8) {
        self.bus.write_memory(self.common + field, &[value]);
    }

    /// Writes a field of the common configuration.
    pub fn set_common_16(&self, field: u64, value: u16) {
        self.bus.write_memory(self.common + field, &value.to_le_bytes());
    }

    /// Writes a field of the common configuration.
    pub fn set_common_32(&self, field: u64, value: u32) {
        self.bus.write_memory(self.common + field, &value.to_le_bytes());
    }

    /// Reads the configuration of the device.
    pub fn read_device(&self, offset: u64, data: &mut [u8]) {
        self.bus.read_memory(self.device + offset, data);
    }
}

impl fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("function", &self.function)
            .field("common", &self.common)
            .field("msix", &self.msix)
            .finish_non_exhaustive()
    }
}
