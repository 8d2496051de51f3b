//! The devices.

use pseries_devices::virtio::VirtioDevice;

use crate::device_ram::{DeviceRam, Memory};
use crate::input::Input;

use super::Goals;

/// A device, and how it is made.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// What inputs reach of it besides what they do of all.
    pub(super) goals: &'static [&'static str],
    /// Makes one, by a byte of flags.
    pub(super) make: fn(u8) -> Made,
}

/// A device, and what it works with.
pub(super) struct Made {
    pub(super) device: Box<dyn VirtioDevice<Memory>>,
    pub(super) host: Box<dyn Host>,
}

/// What is on the other side of a device, and how a driver talks to it.
pub(super) trait Host {
    /// A request that makes sense, as far as the input does. What the device is to read is written
    /// to memory; `slot` is a place for it that is not used for a while.
    fn request(&self, ram: &DeviceRam, slot: u64, queue: usize, input: &mut Input<'_>) -> Request;

    /// The device has had its turn: sees what came of a request.
    fn judge(&mut self, ram: &DeviceRam, request: &Request, goals: &mut Goals) {
        let _ = (ram, request, goals);
    }

    /// A buffer was used: what the device wrote to it first, and how much it says.
    fn used(&mut self, queue: usize, data: &[u8], bytes: u32, goals: &mut Goals) {
        let _ = (queue, data, bytes, goals);
    }

    /// Something happens there.
    fn act(&mut self, input: &mut Input<'_>, goals: &mut Goals) {
        let _ = (input, goals);
    }

    /// What always holds there.
    fn check(&self) {}

    /// Whether a queue that makes no sense leaves the others as they are.
    fn queues_are_apart(&self) -> bool {
        false
    }
}

/// What a driver asks for.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) queue: usize,
    pub(super) buffers: Vec<Buffer>,
    /// What it is, as the device counts.
    pub(super) what: u32,
    /// Where the answer is, of those that have one.
    pub(super) answer: u64,
}

/// A buffer of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer {
    pub(super) at: u64,
    pub(super) bytes: u32,
    pub(super) is_writable: bool,
}

impl Buffer {
    pub(super) const fn readable(at: u64, bytes: u32) -> Self {
        Self { at, bytes, is_writable: false }
    }

    pub(super) const fn writable(at: u64, bytes: u32) -> Self {
        Self { at, bytes, is_writable: true }
    }
}
