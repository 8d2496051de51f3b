//! What a driver sees of the common configuration (Virtio 1.2 §4.1.4.3), and how it may change.

use std::ops::Range;

use pseries_devices::pci::PciFunction;
use pseries_devices::virtio::pci_driver::common;

use crate::descriptors::QueuePlaces;
use crate::pci_machine::Function;

/// Bits of the device status (§2.1).
pub(crate) const DRIVER_OK: u8 = 4;
pub(crate) const FEATURES_OK: u8 = 8;
pub(crate) const NEEDS_RESET: u8 = 0x40;

const VERSION_1: u64 = 1 << 32;

/// No vector (§4.1.5.1.3).
const NO_VECTOR: u16 = 0xffff;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommonState {
    pub(crate) status: u8,
    pub(crate) generation: u8,
    /// Whether a message waits.
    pub(crate) pending: bool,
    offered: u64,
    features: u64,
    configuration_vector: u16,
    queues: Vec<QueueState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct QueueState {
    places: QueuePlaces,
    vector: u16,
    enabled: u16,
}

impl CommonState {
    /// That of a function, whose registers are left as they are.
    pub(crate) fn of(function: &Function) -> Self {
        let device = &function.device;
        let read = |offset: u64, bytes: usize| {
            let mut data = [0; 8];
            device.read_bar(0, offset, &mut data[..bytes]);
            u64::from_le_bytes(data)
        };
        let features = |select: u64, value: u64| {
            let before = read(select, 4) as u32;
            let page = |page: u32| {
                device.write_bar(0, select, &page.to_le_bytes());
                read(value, 4)
            };
            let features = page(0) | page(1) << 32;
            device.write_bar(0, select, &before.to_le_bytes());
            features
        };
        let select = read(common::QUEUE_SELECT, 2) as u16;
        let queue = |index: u16| {
            device.write_bar(0, common::QUEUE_SELECT, &index.to_le_bytes());
            QueueState {
                places: QueuePlaces {
                    size: read(common::QUEUE_SIZE, 2) as u16,
                    descriptors: read(common::QUEUE_DESC, 8),
                    available: read(common::QUEUE_DRIVER, 8),
                    used: read(common::QUEUE_DEVICE, 8),
                },
                vector: read(common::QUEUE_MSIX_VECTOR, 2) as u16,
                enabled: read(common::QUEUE_ENABLE, 2) as u16,
            }
        };
        let queues = (0..function.queue_sizes.len() as u16).map(queue).collect();
        device.write_bar(0, common::QUEUE_SELECT, &select.to_le_bytes());
        // The pending bits are in the page behind the table.
        let pending = function.table.next_multiple_of(0x1000) + 0x1000;
        Self {
            status: read(common::DEVICE_STATUS, 1) as u8,
            generation: read(common::CONFIG_GENERATION, 1) as u8,
            pending: read(pending, 8) != 0,
            offered: features(common::DEVICE_FEATURE_SELECT, common::DEVICE_FEATURE),
            features: features(common::DRIVER_FEATURE_SELECT, common::DRIVER_FEATURE),
            configuration_vector: read(common::CONFIG_MSIX_VECTOR, 2) as u16,
            queues,
        }
    }

    /// Whether the status has a bit.
    pub(crate) fn has(&self, bit: u8) -> bool {
        self.status & bit != 0
    }

    /// The queues that are enabled, by their numbers.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = (usize, QueuePlaces)> {
        let queues = self.queues.iter().enumerate();
        queues.filter(|(_, queue)| queue.enabled != 0).map(|(index, queue)| (index, queue.places))
    }

    /// Where the device says what it has used.
    pub(crate) fn rings(&self) -> impl Iterator<Item = Range<u64>> {
        self.enabled().map(|(_, queue)| queue.written())
    }

    /// Whether nothing has been set up.
    pub(crate) fn is_fresh(&self, function: &Function) -> bool {
        let is_fresh = |(queue, &size): (&QueueState, &u16)| {
            let places = QueuePlaces { size, descriptors: 0, available: 0, used: 0 };
            *queue == QueueState { places, vector: NO_VECTOR, enabled: 0 }
        };
        self.status == 0
            && self.features == 0
            && self.configuration_vector == NO_VECTOR
            && !self.pending
            && self.queues.iter().zip(&function.queue_sizes).all(is_fresh)
    }

    /// "The driver MUST NOT" take features that are not offered, nor go without VERSION_1 (§2.2,
    /// §6.1).
    fn are_features_good(&self) -> bool {
        self.features & !self.offered == 0 && self.features & VERSION_1 != 0
    }

    /// What always holds.
    pub(crate) fn check(&self, function: &Function) {
        let is_vector = |vector: u16| vector < function.vectors || vector == NO_VECTOR;
        assert!(is_vector(self.configuration_vector));
        for (queue, &most) in self.queues.iter().zip(&function.queue_sizes) {
            let size = queue.places.size;
            assert!(size.is_power_of_two() && size <= most, "{size} descriptors of {most}");
            assert!(is_vector(queue.vector) && queue.enabled <= 1);
        }
        let features = self.features;
        assert!(!self.has(FEATURES_OK) || self.are_features_good(), "{features:#x} are accepted");
        assert!(!self.has(DRIVER_OK) || self.has(FEATURES_OK));
    }

    /// What holds from one access to the next.
    pub(crate) fn check_follows(&self, before: &Self, function: &Function) {
        assert_eq!(self.offered, before.offered, "what is offered changes");
        if self.status == 0 {
            let was_reset = before.status != 0;
            assert!(!was_reset || self.is_fresh(function), "a reset leaves {self:x?}");
            return;
        }
        assert_eq!(before.status & !self.status, 0, "status bits are cleared without a reset");
        if before.has(FEATURES_OK) {
            assert_eq!(self.features, before.features, "features change after FEATURES_OK");
        }
        for (queue, old) in self.queues.iter().zip(&before.queues) {
            if before.has(DRIVER_OK) || old.enabled != 0 {
                assert_eq!((queue.places, queue.enabled), (old.places, old.enabled));
            }
        }
    }
}
