//! The common configuration structure (Virtio 1.2 §4.1.4.3).
//!
//! A driver accesses each field by its own width, and a 64-bit field by its halves. Here each access
//! is of the fields that it is over, lowest first, but for the status, whose turn is last: what it
//! reads is those bytes of them, and what it writes takes the place of those bytes.

use super::setup::Setup;
use super::signals::{NO_VECTOR, Signals};

/// A field, with 64-bit fields by halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    DeviceFeatureSelect,
    DeviceFeature,
    DriverFeatureSelect,
    DriverFeature,
    ConfigMsixVector,
    NumQueues,
    DeviceStatus,
    ConfigGeneration,
    QueueSelect,
    QueueSize,
    QueueMsixVector,
    QueueEnable,
    QueueNotifyOff,
    QueueDescLow,
    QueueDescHigh,
    QueueDriverLow,
    QueueDriverHigh,
    QueueDeviceLow,
    QueueDeviceHigh,
}

/// Where each is, and how many bytes it has.
const FIELDS: [(u64, usize, Field); 19] = [
    (0x00, 4, Field::DeviceFeatureSelect),
    (0x04, 4, Field::DeviceFeature),
    (0x08, 4, Field::DriverFeatureSelect),
    (0x0c, 4, Field::DriverFeature),
    (0x10, 2, Field::ConfigMsixVector),
    (0x12, 2, Field::NumQueues),
    (0x14, 1, Field::DeviceStatus),
    (0x15, 1, Field::ConfigGeneration),
    (0x16, 2, Field::QueueSelect),
    (0x18, 2, Field::QueueSize),
    (0x1a, 2, Field::QueueMsixVector),
    (0x1c, 2, Field::QueueEnable),
    (0x1e, 2, Field::QueueNotifyOff),
    (0x20, 4, Field::QueueDescLow),
    (0x24, 4, Field::QueueDescHigh),
    (0x28, 4, Field::QueueDriverLow),
    (0x2c, 4, Field::QueueDriverHigh),
    (0x30, 4, Field::QueueDeviceLow),
    (0x34, 4, Field::QueueDeviceHigh),
];

/// The structure, over what it shows.
pub(super) struct Common<'a> {
    pub(super) setup: &'a mut Setup,
    pub(super) signals: &'a Signals,
    /// The features of the device.
    pub(super) offered: u64,
    /// What the driver reads of the status.
    pub(super) status: u8,
}

impl Common<'_> {
    /// Reads from `offset` on; bytes behind the last field stay as they are.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, bytes, field) in fields(offset, data.len()) {
            let value = self.get(field).to_le_bytes();
            for (place, byte) in (at..).zip(&value[..bytes]) {
                let within = place.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
                if let Some(target) = within.and_then(|at| data.get_mut(at)) {
                    *target = *byte;
                }
            }
        }
    }

    /// Writes likewise. Gives the status that was written, if one was.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Option<u8> {
        let mut status = None;
        for (at, bytes, field) in fields(offset, data.len()) {
            let mut value = self.get(field).to_le_bytes();
            for (place, byte) in (at..).zip(&mut value[..bytes]) {
                let within = place.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
                if let Some(source) = within.and_then(|at| data.get(at)) {
                    *byte = *source;
                }
            }
            if field == Field::DeviceStatus {
                status = Some(value[0]);
            } else {
                self.set(field, u32::from_le_bytes(value));
            }
        }
        status
    }

    /// "If the virtqueue corresponding to the current queue_select is unavailable", its size is 0
    /// (§4.1.4.3.1), and so is everything else of it.
    fn get(&self, field: Field) -> u32 {
        let Setup { queue_select, device_feature_select, driver_feature_select, .. } = *self.setup;
        let queue = self.setup.selected();
        let page = |features: u64, select| match select {
            0 => features as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        match field {
            Field::DeviceFeatureSelect => device_feature_select,
            Field::DeviceFeature => page(self.offered, device_feature_select),
            Field::DriverFeatureSelect => driver_feature_select,
            Field::DriverFeature => page(self.setup.features, driver_feature_select),
            Field::ConfigMsixVector => self.signals.configuration_vector().into(),
            Field::NumQueues => self.setup.queues.len() as u32,
            Field::DeviceStatus => self.status.into(),
            Field::ConfigGeneration => self.signals.generation().into(),
            Field::QueueSelect => queue_select.into(),
            Field::QueueSize => queue.map_or(0, |queue| queue.size.into()),
            Field::QueueMsixVector => match queue {
                Some(_) => self.signals.queue_vector(queue_select).into(),
                None => NO_VECTOR.into(),
            },
            Field::QueueEnable => queue.map_or(0, |queue| queue.enabled.into()),
            Field::QueueNotifyOff => queue.map_or(0, |_| queue_select.into()),
            Field::QueueDescLow => queue.map_or(0, |queue| queue.descriptors as u32),
            Field::QueueDescHigh => queue.map_or(0, |queue| (queue.descriptors >> 32) as u32),
            Field::QueueDriverLow => queue.map_or(0, |queue| queue.driver as u32),
            Field::QueueDriverHigh => queue.map_or(0, |queue| (queue.driver >> 32) as u32),
            Field::QueueDeviceLow => queue.map_or(0, |queue| queue.device as u32),
            Field::QueueDeviceHigh => queue.map_or(0, |queue| (queue.device >> 32) as u32),
        }
    }

    fn set(&mut self, field: Field, value: u32) {
        let half = value as u16;
        match field {
            Field::DeviceFeatureSelect => self.setup.device_feature_select = value,
            Field::DriverFeatureSelect => self.setup.driver_feature_select = value,
            Field::DriverFeature => self.setup.take_features(value),
            Field::ConfigMsixVector => self.signals.set_configuration_vector(half),
            Field::QueueSelect => self.setup.queue_select = half,
            // A driver that gives a queue up takes its vector away while it is enabled.
            Field::QueueMsixVector => {
                self.signals.set_queue_vector(self.setup.queue_select, half);
            }
            Field::DeviceFeature
            | Field::NumQueues
            | Field::DeviceStatus
            | Field::ConfigGeneration
            | Field::QueueNotifyOff => {}
            Field::QueueSize
            | Field::QueueEnable
            | Field::QueueDescLow
            | Field::QueueDescHigh
            | Field::QueueDriverLow
            | Field::QueueDriverHigh
            | Field::QueueDeviceLow
            | Field::QueueDeviceHigh => self.set_up_queue(field, value),
        }
    }

    /// The queue that is selected is set up until it is enabled.
    fn set_up_queue(&mut self, field: Field, value: u32) {
        let Some(queue) = self.setup.selected_to_set_up() else { return };
        let low = |address: &mut u64| *address = *address & !u64::from(u32::MAX) | u64::from(value);
        let high =
            |address: &mut u64| *address = *address & u64::from(u32::MAX) | u64::from(value) << 32;
        match field {
            Field::QueueSize => queue.set_size(value as u16),
            // "The driver MUST NOT write a 0 to queue_enable" (§4.1.4.3.2).
            Field::QueueEnable => queue.enabled = value == 1,
            Field::QueueDescLow => low(&mut queue.descriptors),
            Field::QueueDescHigh => high(&mut queue.descriptors),
            Field::QueueDriverLow => low(&mut queue.driver),
            Field::QueueDriverHigh => high(&mut queue.driver),
            Field::QueueDeviceLow => low(&mut queue.device),
            Field::QueueDeviceHigh => high(&mut queue.device),
            _ => {}
        }
    }
}

/// The fields that an access is over.
fn fields(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, Field)> {
    let end = offset.saturating_add(bytes as u64);
    FIELDS.into_iter().filter(move |&(at, bytes, _)| at < end && offset < at + bytes as u64)
}
