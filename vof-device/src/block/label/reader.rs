//! How labels are read: by few reads of a disk, and never by more than the limits allow.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::block::{BlockDevice, Extent, SECTOR_BYTES};
use crate::limits::{LABEL_READ_BYTES, MAX_LABEL_READS};

use super::LabelError;

/// A disk that is looked through once. What was read last is kept: tables and directories are
/// read in small pieces that lie close together.
pub(super) struct Reader<'a> {
    device: &'a dyn BlockDevice,
    bytes: u64,
    reads_left: u32,
    /// Nobody wants to know any more: it ends at the next piece.
    is_given_up: &'a AtomicBool,
    /// The one that was used last comes first. There are two, so that a directory and the table
    /// that says where it goes on can be read in turn.
    windows: [Window; 2],
}

#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// What it has from `at` on.
    fn from(&self, at: u64) -> Option<&[u8]> {
        let skipped = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.bytes.get(skipped..).filter(|rest| !rest.is_empty())
    }
}

impl<'a> Reader<'a> {
    /// One that looks until `is_given_up` says that nobody waits for it.
    pub(super) fn new(device: &'a dyn BlockDevice, is_given_up: &'a AtomicBool) -> Self {
        let bytes = device.size_bytes() / SECTOR_BYTES * SECTOR_BYTES;
        let windows = Default::default();
        Self { device, bytes, reads_left: MAX_LABEL_READS, is_given_up, windows }
    }

    /// All of the disk.
    pub(super) fn disk(&self) -> Extent {
        Extent::new(0, self.bytes)
    }

    /// The unit that tables of partitions count in.
    ///
    /// It is the disk's block, but on disks with blocks as those of a CD: what is on them was
    /// written for disks of 512 as well.
    pub(super) fn table_block_bytes(&self) -> u64 {
        match self.device.block_bytes() {
            bytes @ (512 | 1024 | 4096 | 8192 | 16384) => bytes.into(),
            _ => SECTOR_BYTES,
        }
    }

    /// Fills `to` with what is there from `at` on.
    pub(super) fn read(&mut self, mut at: u64, mut to: &mut [u8]) -> Result<(), LabelError> {
        while !to.is_empty() {
            let rest = self.window(at)?.from(at).ok_or(OUTSIDE)?;
            let (now, later) = to.split_at_mut(rest.len().min(to.len()));
            now.copy_from_slice(&rest[..now.len()]);
            at += now.len() as u64;
            to = later;
        }
        Ok(())
    }

    /// The bytes that are there from `at` on.
    pub(super) fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], LabelError> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Counts as a read what is as much work, though it may have been read already.
    pub(super) fn count(&mut self) -> Result<(), LabelError> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return Err(LabelError::Read(ErrorKind::Interrupted.into()));
        }
        let left = self.reads_left.checked_sub(1);
        self.reads_left = left.ok_or(LabelError::too_much("too much has to be read"))?;
        Ok(())
    }

    /// A window with the byte at `at`.
    fn window(&mut self, at: u64) -> Result<&Window, LabelError> {
        if self.windows[0].from(at).is_none() {
            self.windows.swap(0, 1);
        }
        if self.windows[0].from(at).is_none() {
            let start = at / LABEL_READ_BYTES * LABEL_READ_BYTES;
            let bytes = self.bytes.saturating_sub(start).min(LABEL_READ_BYTES);
            if at >= self.bytes {
                return Err(OUTSIDE);
            }
            self.count()?;
            let window = &mut self.windows[0];
            window.start = start;
            window.bytes.resize(bytes as usize, 0);
            if let Err(error) = self.device.read(&mut window.bytes, start) {
                window.bytes.clear();
                return Err(LabelError::Read(error));
            }
        }
        Ok(&self.windows[0])
    }
}

/// What is read or found is not inside of the disk.
pub(super) const OUTSIDE: LabelError =
    LabelError::damaged("something is said to be where the disk is not");

/// The little-endian number at `at`; 0 where the bytes end before.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// The little-endian number at `at`; 0 where the bytes end before.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// The little-endian number at `at`; 0 where the bytes end before.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
