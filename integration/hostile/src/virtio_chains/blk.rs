//! The block device, with a file.

use std::sync::Arc;

use pseries_devices::blk::Block;
use pseries_devices::disk::{DiskOptions, FileDisk};
use vmm_sys_util::tempfile::TempFile;

use crate::device_ram::{DeviceRam, address};
use crate::input::Input;

use super::kind::{Buffer, Host, Made, Request};
use super::{Goals, length};

pub(super) const GOALS: &[&str] = &[
    "a read",
    "a write",
    "a flush",
    "an id",
    "a discard",
    "zeroes",
    "a request is refused",
    "a request is unknown",
];
const REFUSED: usize = 6;
const UNKNOWN: usize = 7;

/// Kinds of requests (Virtio 1.2 §5.2.6), in the order of the goals.
const TYPES: [u32; 6] = [0, 1, 4, 8, 11, 13];

const DISK_BYTES: u64 = 1 << 20;
const SECTORS: u64 = DISK_BYTES / 512;
const HEADER_BYTES: u32 = 16;
const RANGE_BYTES: u32 = 16;

/// What is in an answer before there is one.
const NO_ANSWER: u8 = 0x77;

pub(super) fn make(flags: u8) -> Made {
    let file = TempFile::new().expect("a file");
    file.as_file().set_len(DISK_BYTES).expect("room for a file");
    let options = DiskOptions::new().read_only(flags & 1 != 0).id("a disk of the fuzzer's");
    let disk = FileDisk::open(file.as_path(), &options).expect("a disk");
    let queues = 1 + u16::from(flags >> 1 & 1);
    let device = Box::new(Block::new(Arc::new(disk), queues));
    Made { device, host: Box::new(Disk { queues, file }) }
}

struct Disk {
    queues: u16,
    file: TempFile,
}

impl Host for Disk {
    fn request(&self, ram: &DeviceRam, slot: u64, queue: usize, input: &mut Input<'_>) -> Request {
        let what = match input.byte() {
            few @ 0..=0xef => TYPES[usize::from(few) % TYPES.len()],
            _ => input.u32(),
        };
        let sector = sector(input);
        let mut header = [0; HEADER_BYTES as usize];
        header[..4].copy_from_slice(&what.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        ram.poke(slot, &header);
        let mut buffers = vec![Buffer::readable(slot, HEADER_BYTES)];
        let shape = input.byte();
        match what {
            // The ranges that it is for.
            11 | 13 => {
                let count = u32::from(shape % 3) + 1;
                let at = address(input);
                for number in 0..count {
                    let range = u64::from(number * RANGE_BYTES);
                    ram.poke(at.wrapping_add(range), &sector_range(input));
                }
                buffers.push(Buffer::readable(at, count * RANGE_BYTES));
            }
            _ => {
                for _ in 0..shape % 5 {
                    let at = address(input);
                    let bytes = match input.byte() {
                        few @ 0..=0xbf => u32::from(few % 8) << 9,
                        _ => length(input),
                    };
                    let is_writable = what != 1 && input.byte() < 0xf0;
                    buffers.push(Buffer { at, bytes, is_writable });
                }
            }
        }
        let answer = slot + u64::from(HEADER_BYTES);
        ram.poke(answer, &[NO_ANSWER]);
        if shape & 0x80 == 0 {
            buffers.push(Buffer::writable(answer, 1));
        }
        Request { queue, buffers, what, answer }
    }

    fn judge(&mut self, ram: &DeviceRam, request: &Request, goals: &mut Goals) {
        let goal = match ram.peek(request.answer, 1)[0] {
            0 => TYPES.iter().position(|&known| known == request.what),
            1 => Some(REFUSED),
            2 => Some(UNKNOWN),
            _ => None,
        };
        if let Some(goal) = goal {
            goals.own(goal);
        }
    }

    fn check(&self) {
        let bytes = self.file.as_file().metadata().expect("a file").len();
        assert_eq!(bytes, DISK_BYTES, "the disk changes its size");
    }

    fn queues_are_apart(&self) -> bool {
        self.queues > 1
    }
}

/// A sector of the disk, mostly.
fn sector(input: &mut Input<'_>) -> u64 {
    match input.byte() {
        few @ 0..=0x9f => few.into(),
        few @ 0xa0..=0xcf => SECTORS - u64::from(few & 15),
        _ => input.number(SECTORS),
    }
}

/// One of those that a discard has: sector, how many, and flags.
fn sector_range(input: &mut Input<'_>) -> [u8; RANGE_BYTES as usize] {
    let mut range = [0; RANGE_BYTES as usize];
    range[..8].copy_from_slice(&sector(input).to_le_bytes());
    range[8..12].copy_from_slice(&length(input).to_le_bytes());
    range[12] = input.byte() % 4;
    range
}
