//! Disks that are files, through a queue.

use std::fs::OpenOptions;
use std::path::PathBuf;

use super::*;
use crate::disk::{DiskError, DiskFault, DiskOptions, FileDisk};

const BYTES: usize = 8 << 20;

/// An image that is gone when this is.
struct Image(PathBuf);

impl Image {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pseries-devices-blk-{}-{count}", std::process::id());
        let image = Self(std::env::temp_dir().join(name));
        std::fs::write(&image.0, vec![0; BYTES]).unwrap();
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads and writes of any length, at any place, in any pieces: the file holds what a plain model
/// holds.
#[test]
fn a_file_keeps_what_is_written() {
    for direct in [false, true] {
        let image = Image::new();
        let disk = match FileDisk::open(&image.0, &DiskOptions::new().direct(direct)) {
            Err(DiskError { reason: DiskFault::NoDirectIo, .. }) => continue,
            disk => Arc::new(disk.unwrap()),
        };
        let mut rig = Rig::new(disk);
        let mut model = vec![0; BYTES];
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let room = MEMORY_BYTES as u64 - DATA;
        for _ in 0..400 {
            let share = 1 + numbers.below(64);
            let sectors = 1 + numbers.below(room / 512 / share);
            let sector = numbers.below(BYTES as u64 / 512 - sectors + 1);
            let bytes = sectors * 512;
            let is_write = numbers.below(2) == 0;
            // Pieces that follow each other, cut anywhere or in sectors.
            let unit = [1, 512][numbers.below(2) as usize];
            let start = DATA + numbers.below((room - bytes) / unit + 1) * unit;
            let (mut pieces, mut at) = (Vec::new(), start);
            while at < start + bytes {
                let left = start + bytes - at;
                let part = if pieces.len() == 100 {
                    left
                } else {
                    (unit * (1 + numbers.below(bytes / unit))).min(left)
                };
                pieces.push(if is_write {
                    Buffer::readable(at, part as u32)
                } else {
                    Buffer::writable(at, part as u32)
                });
                at += part;
            }
            let range = (sector * 512) as usize..(sector * 512 + bytes) as usize;
            if is_write {
                let data: Vec<u8> = (0..bytes).map(|_| numbers.below(256) as u8).collect();
                rig.memory.write_slice(&data, GuestAddress(start)).unwrap();
                assert_eq!(rig.ask(VIRTIO_BLK_T_OUT, sector, &pieces), (OK, 1));
                model[range].copy_from_slice(&data);
            } else {
                assert_eq!(rig.ask(VIRTIO_BLK_T_IN, sector, &pieces), (OK, bytes as u32 + 1));
                assert!(rig.bytes(start, bytes as usize) == model[range]);
            }
        }
        assert_eq!(rig.ask(VIRTIO_BLK_T_FLUSH, 0, &[]), (OK, 1));
        assert!(std::fs::read(&image.0).unwrap() == model);
    }
}

/// A file that was truncated while it is in use: its guest sees errors of a disk.
#[test]
fn a_truncated_file_is_an_error() {
    let image = Image::new();
    let disk = Arc::new(FileDisk::open(&image.0, &DiskOptions::new()).unwrap());
    let mut rig = Rig::new(disk);
    OpenOptions::new().write(true).open(&image.0).unwrap().set_len(1000).unwrap();
    let data = [Buffer::writable(DATA, 512)];
    assert_eq!(rig.ask(VIRTIO_BLK_T_IN, 0, &data), (OK, 513));
    assert_eq!(rig.ask(VIRTIO_BLK_T_IN, 1, &data), (IOERR, 0));
    assert_eq!(rig.ask(VIRTIO_BLK_T_IN, 100, &data), (IOERR, 0));
    assert_eq!(rig.ask(VIRTIO_BLK_T_FLUSH, 0, &[]), (OK, 1));
}
