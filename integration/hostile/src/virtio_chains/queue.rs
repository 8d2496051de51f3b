//! A queue, and the chains in it that the device has not given back.

use std::ops::Range;

use crate::descriptors::{DESCRIPTOR_BYTES, INDIRECT, NEXT, QueuePlaces, WRITE, bytes_of};
use crate::device_ram::DeviceRam;

use super::kind::Buffer;

/// Where the first queue is, and how far the others are.
const PLACES: u64 = 0;
const QUEUE_BYTES: u64 = 0x800;
const AVAILABLE: u64 = 0x400;
const USED: u64 = 0x500;

/// How large it is at most.
const SIZE_MAX: u16 = 64;

/// The driver's side.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) places: QueuePlaces,
    next_descriptor: u16,
    /// What was looked at of the available ring.
    looked: u16,
    used: u16,
    pub(super) waiting: Vec<Waiting>,
    /// More was said to be available than there is room for.
    pub(super) is_overrun: bool,
}

/// A chain that the device may have.
#[derive(Debug)]
pub(super) struct Waiting {
    head: u16,
    /// What its descriptors have said to be writable, since it was available: each place once.
    pub(super) writable: Vec<Range<u64>>,
    pub(super) descriptors: Vec<Range<u64>>,
    /// How much that was, each time.
    room: u64,
    /// What they say now.
    now: Vec<Range<u64>>,
}

/// A chain that was given back.
#[derive(Debug)]
pub(super) struct Used {
    /// How much the device says to have written.
    pub(super) bytes: u32,
    /// Where.
    pub(super) writable: Vec<Range<u64>>,
}

impl Queue {
    /// The one of this number, empty.
    pub(super) fn new(ram: &DeviceRam, number: u64, size: u16) -> Self {
        let descriptors = PLACES + number * QUEUE_BYTES;
        let places = QueuePlaces {
            size: size.min(SIZE_MAX),
            descriptors,
            available: descriptors + AVAILABLE,
            used: descriptors + USED,
        };
        ram.poke(descriptors, &[0; QUEUE_BYTES as usize]);
        Self {
            places,
            next_descriptor: 0,
            looked: 0,
            used: 0,
            waiting: Vec::new(),
            is_overrun: false,
        }
    }

    /// Writes the descriptors of a chain, in turn, or into a table at some place; gives the first.
    pub(super) fn put(&mut self, ram: &DeviceRam, buffers: &[Buffer], table: Option<u64>) -> u16 {
        let head = self.next_descriptor;
        let size = self.places.size;
        let count = buffers.len() as u16;
        for (number, buffer) in (0..).zip(buffers) {
            let (place, next) = match table {
                Some(table) => (table + DESCRIPTOR_BYTES * u64::from(number), number + 1),
                None => (self.place(head.wrapping_add(number)), (head + number + 1) % size),
            };
            let flags = if number + 1 < count { NEXT } else { 0 };
            let flags = flags | if buffer.is_writable { WRITE } else { 0 };
            ram.poke(place, &bytes_of(buffer.at, buffer.bytes, flags, next));
        }
        let taken = match table {
            Some(table) => {
                let bytes = u32::from(count) * DESCRIPTOR_BYTES as u32;
                ram.poke(self.place(head), &bytes_of(table, bytes, INDIRECT, 0));
                1
            }
            None => count,
        };
        self.next_descriptor = (head + taken) % size;
        head
    }

    /// Where a descriptor is.
    pub(super) fn place(&self, index: u16) -> u64 {
        self.places.descriptors + DESCRIPTOR_BYTES * u64::from(index % self.places.size)
    }

    /// Makes the chain available that begins with a descriptor, whatever that is.
    pub(super) fn make_available(&mut self, ram: &DeviceRam, head: u16) {
        let index = self.places.available_index(ram);
        let slot = 4 + 2 * u64::from(index % self.places.size);
        ram.poke(self.places.available + slot, &head.to_le_bytes());
        self.set_available(ram, index.wrapping_add(1));
    }

    pub(super) fn set_available(&mut self, ram: &DeviceRam, index: u16) {
        ram.poke(self.places.available + 2, &index.to_le_bytes());
    }

    /// Sees what is available, as the device might by now.
    pub(super) fn look(&mut self, ram: &DeviceRam) {
        let index = self.places.available_index(ram);
        let new = index.wrapping_sub(self.looked);
        if usize::from(new) + self.waiting.len() > usize::from(self.places.size) {
            self.is_overrun = true;
        } else {
            for number in 0..new {
                let head = self.places.head(ram, self.looked.wrapping_add(number));
                let (writable, descriptors, now) = (vec![], vec![], vec![]);
                self.waiting.push(Waiting { head, writable, descriptors, room: 0, now });
            }
            self.looked = index;
        }
        for chain in &mut self.waiting {
            let reached = self.places.reached(ram, chain.head);
            chain.room = chain.room.saturating_add(total(&reached.writable));
            chain.now.clone_from(&reached.writable);
            add(&mut chain.writable, reached.writable);
            add(&mut chain.descriptors, reached.descriptors);
        }
    }

    /// Takes what the device has given back: each is one that it had.
    pub(super) fn take_used(&mut self, ram: &DeviceRam) -> Vec<Used> {
        let index = self.places.used_index(ram);
        let count = index.wrapping_sub(self.used);
        assert!(usize::from(count) <= self.waiting.len(), "{count} chains are used of {self:x?}");
        let mut all = Vec::new();
        for _ in 0..count {
            let slot = 4 + 8 * u64::from(self.used % self.places.size);
            let element = ram.peek(self.places.used + slot, 8);
            let number = |at: usize| {
                element[at..at + 4].iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
            };
            let (head, bytes) = (number(0), number(4));
            let place = self.waiting.iter().position(|chain| u32::from(chain.head) == head);
            let place = place.unwrap_or_else(|| panic!("{head:#x} is used, and was not available"));
            let Waiting { now, room, .. } = self.waiting.remove(place);
            assert!(u64::from(bytes) <= room, "{bytes:#x} bytes in {now:x?}");
            all.push(Used { bytes, writable: now });
            self.used = self.used.wrapping_add(1);
        }
        all
    }

    /// Whether the driver wants no interrupts, where that is said by flags.
    pub(super) fn wants_silence(&self, ram: &DeviceRam) -> bool {
        ram.peek_u16(self.places.available) & 1 != 0
    }
}

/// Adds what is not there yet.
fn add(ranges: &mut Vec<Range<u64>>, more: Vec<Range<u64>>) {
    ranges.extend(more);
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    ranges.dedup();
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}
