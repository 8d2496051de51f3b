//! What descriptors say, read apart from how devices read them.

use std::collections::HashSet;
use std::ops::Range;

use crate::device_ram::DeviceRam;

/// The bytes of a descriptor.
pub(crate) const DESCRIPTOR_BYTES: u64 = 16;

/// Flags of a descriptor (Virtio 1.2 §2.7.5).
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// Where a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueuePlaces {
    pub(crate) size: u16,
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
}

/// What a chain leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reached {
    /// Buffers that the device may write.
    pub(crate) writable: Vec<Range<u64>>,
    /// Descriptors.
    pub(crate) descriptors: Vec<Range<u64>>,
}

impl QueuePlaces {
    /// What the driver writes for the device to read.
    pub(crate) fn read(&self) -> [Range<u64>; 2] {
        let bytes = DESCRIPTOR_BYTES * u64::from(self.size);
        [self.descriptors..self.descriptors.saturating_add(bytes), self.available_ring()]
    }

    /// What of it is the available ring.
    pub(crate) fn available_ring(&self) -> Range<u64> {
        self.available..self.available.saturating_add(6 + 2 * u64::from(self.size))
    }

    /// Where the device writes.
    pub(crate) fn written(&self) -> Range<u64> {
        self.used..self.used.saturating_add(6 + 8 * u64::from(self.size))
    }

    /// What is in the available ring by now, in the slot of this number, whatever it is.
    pub(crate) fn head(&self, ram: &DeviceRam, number: u16) -> u16 {
        let slot = 4 + 2 * u64::from(number % self.size.max(1));
        ram.peek_u16(self.available.saturating_add(slot))
    }

    /// What the driver says to have made available.
    pub(crate) fn available_index(&self, ram: &DeviceRam) -> u16 {
        ram.peek_u16(self.available.saturating_add(2))
    }

    /// What the device says to have used.
    pub(crate) fn used_index(&self, ram: &DeviceRam) -> u16 {
        ram.peek_u16(self.used.saturating_add(2))
    }

    /// What a chain leads to, as far as it makes sense: one that comes back to where it was leads to
    /// nothing more.
    pub(crate) fn reached(&self, ram: &DeviceRam, head: u16) -> Reached {
        let mut reached = Reached::default();
        let (mut table, mut entries) = (self.descriptors, u64::from(self.size));
        let mut index = u64::from(head);
        let mut is_indirect = false;
        // A table may claim to be of any length; memory has room for some descriptors.
        let mut seen = HashSet::new();
        while index < entries {
            let at = table.saturating_add(DESCRIPTOR_BYTES * index);
            if !ram.has(at, DESCRIPTOR_BYTES) || !seen.insert((is_indirect, at)) {
                break;
            }
            reached.descriptors.push(at..at + DESCRIPTOR_BYTES);
            let (start, bytes, flags, next) = descriptor(ram, at);
            if flags & INDIRECT != 0 {
                if is_indirect {
                    break;
                }
                is_indirect = true;
                (table, entries) = (start, u64::from(bytes) / DESCRIPTOR_BYTES);
                index = 0;
                continue;
            }
            if flags & WRITE != 0 {
                reached.writable.push(start..start.saturating_add(bytes.into()));
            }
            if flags & NEXT == 0 {
                break;
            }
            index = next.into();
        }
        reached
    }
}

/// A descriptor: address, length, flags, next.
fn descriptor(ram: &DeviceRam, at: u64) -> (u64, u32, u16, u16) {
    let data = ram.peek(at, DESCRIPTOR_BYTES as usize);
    let number = |place: Range<usize>| {
        data[place].iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
    };
    (number(0..8), number(8..12) as u32, number(12..14) as u16, number(14..16) as u16)
}

/// The bytes of a descriptor.
pub(crate) fn bytes_of(at: u64, bytes: u32, flags: u16, next: u16) -> [u8; 16] {
    let mut data = [0; DESCRIPTOR_BYTES as usize];
    data[..8].copy_from_slice(&at.to_le_bytes());
    data[8..12].copy_from_slice(&bytes.to_le_bytes());
    data[12..14].copy_from_slice(&flags.to_le_bytes());
    data[14..].copy_from_slice(&next.to_le_bytes());
    data
}

/// Whether any two of them share a byte.
pub(crate) fn overlap(some: &[Range<u64>], others: &[Range<u64>]) -> bool {
    some.iter().any(|one| others.iter().any(|other| one.start < other.end && other.start < one.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_followed() {
        let ram = DeviceRam::new();
        let places = QueuePlaces { size: 4, descriptors: 0, available: 0x100, used: 0x200 };
        ram.poke(0x10, &bytes_of(0x1000, 8, NEXT, 3));
        ram.poke(0x30, &bytes_of(0x2000, 8, WRITE | NEXT, 0));
        ram.poke(0, &bytes_of(0xc000, 32, INDIRECT, 0));
        ram.poke(0xc000, &bytes_of(0x3000, 1, WRITE | NEXT, 1));
        ram.poke(0xc010, &bytes_of(0x4000, 2, WRITE | NEXT, 0));
        let reached = places.reached(&ram, 1);
        let begin = [0x2000..0x2008, 0x3000..0x3001, 0x4000..0x4002];
        assert_eq!(reached.writable, begin);
        assert_eq!(reached.descriptors[..2], [0x10..0x20, 0x30..0x40]);
        assert_eq!(places.reached(&ram, 4), Reached::default());

        // Whatever its table claims to be.
        ram.poke(0, &bytes_of(0xc000, u32::MAX, INDIRECT, 0));
        let again = places.reached(&ram, 1);
        assert_eq!((again.writable, again.descriptors.len()), (reached.writable.clone(), 5));
        let is_over = |other| overlap(&reached.writable, std::slice::from_ref(&other));
        assert!(is_over(0x4001..0x5000) && !is_over(0x4002..0x5000));
    }
}
