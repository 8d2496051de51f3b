//! Loads and stores where there is no RAM: which device answers them.

use std::sync::Arc;

use vm_memory::GuestAddress;

use super::device::Device;
use super::error::PlatformError;
use super::mmio::MmioHandler;
use crate::topology::MemoryMap;
use crate::vcpu::CpuIndex;

/// The registers of all devices, by their addresses.
pub struct MmioBus {
    /// In the order of addresses.
    ranges: Vec<Range>,
}

struct Range {
    start: u64,
    /// The last address.
    last: u64,
    device: Arc<dyn Device>,
    number: usize,
}

impl MmioBus {
    /// The registers of these devices, none of which may be where there is RAM, or may come to be.
    pub(super) fn new(
        devices: &[Arc<dyn Device>],
        memory: &MemoryMap,
    ) -> Result<Self, PlatformError> {
        let is_free = |start: u64, last: u64| {
            let mut taken = memory.ram().chain(memory.hotplug());
            !taken.any(|range| range.start.0 <= last && start < range.start.0 + range.bytes)
        };
        let mut ranges = Vec::new();
        for device in devices {
            let own = device.mmio().map_or(&[][..], |mmio| mmio.ranges());
            for (number, range) in own.iter().enumerate() {
                let start = range.start.0;
                let last = range.bytes.checked_sub(1).and_then(|most| start.checked_add(most));
                let device = device.clone();
                match last {
                    Some(last) if is_free(start, last) => {
                        ranges.push(Range { start, last, device, number });
                    }
                    _ => {
                        let (device, bytes) = (device.id().to_owned(), range.bytes);
                        return Err(PlatformError::MmioPlace { device, start, bytes });
                    }
                }
            }
        }
        ranges.sort_by_key(|range| range.start);
        match ranges.windows(2).find(|pair| pair[0].last >= pair[1].start) {
            Some(pair) => Err(PlatformError::DuplicateMmio {
                at: pair[1].start,
                first: pair[0].device.id().to_owned(),
                second: pair[1].device.id().to_owned(),
            }),
            None => Ok(Self { ranges }),
        }
    }

    /// A load: fills `data`, with all ones where nobody answers. Tells whether somebody does.
    pub fn read(&self, at: GuestAddress, data: &mut [u8]) -> bool {
        match self.find(at, data.len()) {
            Some((range, mmio)) => mmio.read(range.number, at.0 - range.start, data),
            None => {
                data.fill(0xff);
                return false;
            }
        }
        true
    }

    /// A store of `data`. Nothing happens where nobody answers. Tells whether somebody does.
    pub fn write(&self, at: GuestAddress, data: &[u8]) -> bool {
        let Some((range, mmio)) = self.find(at, data.len()) else { return false };
        mmio.write(range.number, at.0 - range.start, data);
        true
    }

    /// As [`read`](Self::read), by a CPU: what each CPU has for itself is that of `caller`.
    pub fn read_by(&self, caller: CpuIndex, at: GuestAddress, data: &mut [u8]) -> bool {
        let Some((range, mmio)) = self.find(at, data.len()) else {
            data.fill(0xff);
            return false;
        };
        mmio.read_by(caller, range.number, at.0 - range.start, data);
        true
    }

    /// As [`write`](Self::write), by a CPU.
    pub fn write_by(&self, caller: CpuIndex, at: GuestAddress, data: &[u8]) -> bool {
        let Some((range, mmio)) = self.find(at, data.len()) else { return false };
        mmio.write_by(caller, range.number, at.0 - range.start, data);
        true
    }

    /// The range that an access is wholly in, and who answers there.
    fn find(&self, at: GuestAddress, bytes: usize) -> Option<(&Range, &dyn MmioHandler)> {
        let last = at.0.checked_add((bytes as u64).checked_sub(1)?)?;
        let behind = self.ranges.partition_point(|range| range.start <= at.0);
        let range = &self.ranges[behind.checked_sub(1)?];
        if last > range.last {
            return None;
        }
        Some((range, range.device.mmio()?))
    }
}

impl std::fmt::Debug for MmioBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MmioBus").field("ranges", &self.ranges.len()).finish_non_exhaustive()
    }
}
