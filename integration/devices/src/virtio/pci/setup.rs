//! What a driver has set up of a device: status, features and queues (Virtio 1.2 §2.1, §3.1,
//! §4.1.4.3).

use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemory, Permissions};

/// Bits of the device status.
pub(super) const ACKNOWLEDGE: u8 = VIRTIO_CONFIG_S_ACKNOWLEDGE as u8;
pub(super) const DRIVER: u8 = VIRTIO_CONFIG_S_DRIVER as u8;
pub(super) const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
pub(super) const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;
pub(super) const NEEDS_RESET: u8 = VIRTIO_CONFIG_S_NEEDS_RESET as u8;
pub(super) const FAILED: u8 = VIRTIO_CONFIG_S_FAILED as u8;

pub(super) const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;

/// Mistakes of drivers.
pub(super) static MISTAKES: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("virtio-pci");

/// What the driver wrote, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setup {
    /// All bits but DEVICE_NEEDS_RESET, which is the device's.
    pub(super) status: u8,
    pub(super) device_feature_select: u32,
    pub(super) driver_feature_select: u32,
    /// The features that the driver takes.
    pub(super) features: u64,
    pub(super) queue_select: u16,
    pub(super) queues: Vec<QueueSetup>,
}

/// What the driver wrote of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueSetup {
    pub(super) max_size: u16,
    pub(super) size: u16,
    pub(super) enabled: bool,
    /// Descriptor table.
    pub(super) descriptors: u64,
    /// Available ring, which the driver writes.
    pub(super) driver: u64,
    /// Used ring, which the device writes.
    pub(super) device: u64,
}

/// What a status that was written leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing more.
    Done,
    /// The device becomes active.
    Activate,
}

impl Setup {
    /// Nothing is set up of queues with these most descriptors.
    pub(super) fn new(queue_sizes: &[u16]) -> Self {
        Self {
            status: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            features: 0,
            queue_select: 0,
            queues: queue_sizes.iter().map(|&size| QueueSetup::new(size)).collect(),
        }
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        let sizes: Vec<u16> = self.queues.iter().map(|queue| queue.max_size).collect();
        *self = Self::new(&sizes);
    }

    /// The queue that is selected; none if there is no such.
    pub(super) fn selected(&self) -> Option<&QueueSetup> {
        self.queues.get(usize::from(self.queue_select))
    }

    /// The queue that is selected, if it may still be set up.
    pub(super) fn selected_to_set_up(&mut self) -> Option<&mut QueueSetup> {
        if self.status & DRIVER_OK != 0 {
            return None;
        }
        let queue = self.queues.get_mut(usize::from(self.queue_select))?;
        (!queue.enabled).then_some(queue)
    }

    /// The driver takes these features of a page of 32, as long as it has not said that it has taken
    /// all that it wants.
    pub(super) fn take_features(&mut self, value: u32) {
        if self.status & FEATURES_OK != 0 {
            return;
        }
        match self.driver_feature_select {
            0 => self.features = self.features & !u64::from(u32::MAX) | u64::from(value),
            1 => self.features = self.features & u64::from(u32::MAX) | u64::from(value) << 32,
            // Nothing is offered there.
            _ => {}
        }
    }

    /// The driver writes a status other than 0. Bits that were set stay so until a reset: "The driver
    /// MUST NOT clear a device status bit" (§2.1.1).
    pub(super) fn set_status(&mut self, status: u8, offered: u64, needs_reset: bool) -> Step {
        let new = status & !self.status;
        self.status |= new & (ACKNOWLEDGE | DRIVER | FAILED);
        if new & FEATURES_OK != 0 && self.are_features_good(offered) {
            self.status |= FEATURES_OK;
        }
        if new & DRIVER_OK == 0 {
            return Step::Done;
        }
        if self.status & FEATURES_OK == 0 || self.status & FAILED != 0 || needs_reset {
            MISTAKES.warn(format_args!("DRIVER_OK with status {:#x}", self.status));
            return Step::Done;
        }
        self.status |= DRIVER_OK;
        Step::Activate
    }

    /// "The device SHOULD accept any valid subset of features the driver accepts, otherwise it MUST
    /// fail to set the FEATURES_OK device status bit" (§2.2.2); a device without VIRTIO_F_VERSION_1
    /// is a legacy one, which this is not (§6.1).
    fn are_features_good(&self, offered: u64) -> bool {
        let good = self.features & !offered == 0 && self.features & VERSION_1 != 0;
        if !good {
            let features = self.features;
            MISTAKES.warn(format_args!("features {features:#x} of {offered:#x} are refused"));
        }
        good
    }

    /// The queues that are enabled, with their numbers, or the number of one that cannot be. So many
    /// buffers of each were used before; of those that are not named, none.
    pub(super) fn active_queues<M: GuestMemory>(
        &self,
        memory: &M,
        used: &[u16],
    ) -> Result<Vec<(u16, Queue)>, u16> {
        let event_idx = self.features >> VIRTIO_RING_F_EVENT_IDX & 1 != 0;
        let used = used.iter().copied().chain(std::iter::repeat(0));
        let numbered = (0..).zip(self.queues.iter().zip(used));
        numbered
            .filter(|(_, (queue, _))| queue.enabled)
            .map(|(index, (queue, used))| {
                let mut queue = queue.active(memory, event_idx).ok_or(index)?;
                queue.set_next_avail(used);
                queue.set_next_used(used);
                Ok((index, queue))
            })
            .collect()
    }
}

impl QueueSetup {
    fn new(max_size: u16) -> Self {
        Self { max_size, size: max_size, enabled: false, descriptors: 0, driver: 0, device: 0 }
    }

    /// The driver wants so many descriptors. What cannot be is left alone: a split queue has a power
    /// of two of them, and no more than it said it may (§2.7, §4.1.4.3.1).
    pub(super) fn set_size(&mut self, size: u16) {
        if size.is_power_of_two() && size <= self.max_size {
            self.size = size;
        } else {
            MISTAKES
                .warn(format_args!("a queue of {size} descriptors of at most {}", self.max_size));
        }
    }

    /// The queue, if all of it is in memory, and aligned (§2.7).
    fn active<M: GuestMemory>(&self, memory: &M, event_idx: bool) -> Option<Queue> {
        let size = usize::from(self.size);
        let parts = [
            (self.descriptors, 16 * size, Permissions::Read),
            (self.driver, 6 + 2 * size, Permissions::Read),
            (self.device, 6 + 8 * size, Permissions::Write),
        ];
        for (start, bytes, access) in parts {
            if !memory.check_range(GuestAddress(start), bytes, access) {
                return None;
            }
        }
        let mut queue = Queue::new(self.max_size).ok()?;
        queue.try_set_size(self.size).ok()?;
        queue.try_set_desc_table_address(GuestAddress(self.descriptors)).ok()?;
        queue.try_set_avail_ring_address(GuestAddress(self.driver)).ok()?;
        queue.try_set_used_ring_address(GuestAddress(self.device)).ok()?;
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        Some(queue)
    }
}
