//! Disks that hold anything, and what must hold of whatever is found on them.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use vof_device::block::label::{self, Arguments, LabelError, Partition};
use vof_device::block::{BlockDevice, Region, SECTOR_BYTES};
use vof_device::limits::{LABEL_READ_BYTES, MAX_FILE_EXTENTS, MAX_LABEL_READS};

use crate::input::Input;

/// A disk: what is on it, with changes, and zeros behind that.
pub(crate) struct Media<'a> {
    base: Cow<'a, [u8]>,
    bytes: u64,
    block_bytes: u32,
    changes: Vec<(u64, Vec<u8>)>,
    /// How many reads there were, and the one that fails.
    reads: AtomicU32,
    failing: Option<u32>,
}

impl<'a> Media<'a> {
    pub(crate) fn new(base: impl Into<Cow<'a, [u8]>>, bytes: u64) -> Self {
        let bytes = bytes / SECTOR_BYTES * SECTOR_BYTES;
        let reads = AtomicU32::new(0);
        let base = base.into();
        Self { base, bytes, block_bytes: 512, changes: Vec::new(), reads, failing: None }
    }

    pub(crate) fn with_blocks(self, block_bytes: u32) -> Self {
        Self { block_bytes, ..self }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.changes.push((at, bytes.to_vec()));
    }

    /// Changes of a few bytes each, as long as the input says: close to one of these places, or
    /// anywhere.
    pub(crate) fn put_any(&mut self, input: &mut Input<'_>, places: &[u64]) {
        while !input.is_empty() && self.changes.len() < CHANGES_MAX {
            let place = input.byte();
            let at = match places.get(usize::from(place >> 4)) {
                Some(&place) => place + u64::from(input.u16()),
                None => input.number(self.bytes),
            };
            let bytes = input.bytes(usize::from(place & 0xf) + 1);
            self.put(at, bytes);
        }
    }

    /// What is there, read past all that is counted.
    pub(crate) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        overlay(&mut bytes, at, 0, &self.base);
        for (start, change) in &self.changes {
            overlay(&mut bytes, at, *start, change);
        }
        bytes
    }

    /// What a region has in it.
    pub(crate) fn content(&self, region: &Region) -> Vec<u8> {
        let extents = region.extents().iter();
        extents.flat_map(|it| self.get(it.start, it.bytes as usize)).collect()
    }

    /// What a part is, and that what must hold of it does.
    pub(crate) fn find(&mut self, arguments: &Arguments) -> Result<Region, LabelError> {
        let found = self.looked_at(|media| label::find(media, arguments));
        if let Ok(region) = &found {
            let extents = region.extents();
            assert!(extents.len() <= MAX_FILE_EXTENTS);
            assert!(extents.iter().all(|it| it.bytes > 0));
            assert!(extents.iter().all(|it| it.end().is_some_and(|end| end <= self.bytes)));
            assert_eq!(region.bytes(), extents.iter().map(|it| it.bytes).sum::<u64>());
        }
        found
    }

    /// The partitions, and that what must hold of them does.
    pub(crate) fn partitions(&mut self) -> Result<Vec<Partition>, LabelError> {
        let found = self.looked_at(|media| label::partitions(media))?;
        assert!(found.iter().all(|it| it.number > 0 && it.extent.bytes > 0));
        assert!(found.iter().all(|it| it.extent.end().is_some_and(|end| end <= self.bytes)));
        assert!(found.windows(2).all(|two| two[0].number < two[1].number));
        Ok(found)
    }

    /// What is found: within the limits, the same twice, and not where a read of it fails.
    fn looked_at<T: std::fmt::Debug>(
        &mut self,
        look: impl Fn(&dyn BlockDevice) -> Result<T, LabelError>,
    ) -> Result<T, LabelError> {
        self.reads.store(0, Ordering::Relaxed);
        let found = look(self);
        let reads = self.reads.swap(0, Ordering::Relaxed);
        assert!(reads <= MAX_LABEL_READS, "{reads} reads");
        if let Err(error) = &found {
            assert!(!matches!(error, LabelError::Read(_)), "nothing failed");
            assert!(!error.to_string().is_empty());
        }
        assert_eq!(format!("{:?}", look(self)), format!("{found:?}"));
        if let Some(last) = reads.checked_sub(1) {
            for failing in [0, last / 2, last] {
                self.reads.store(0, Ordering::Relaxed);
                self.failing = Some(failing);
                assert!(look(self).is_err(), "read {failing} of {reads} failed");
            }
            self.failing = None;
        }
        found
    }
}

/// More changes than this are not made.
const CHANGES_MAX: usize = 64;

/// Puts what is at `start` over the bytes that are at `at`, as far as they are the same places.
fn overlay(bytes: &mut [u8], at: u64, start: u64, from: &[u8]) {
    let end = at.saturating_add(bytes.len() as u64).min(start.saturating_add(from.len() as u64));
    let first = at.max(start);
    if first < end {
        let len = (end - first) as usize;
        let from = &from[(first - start) as usize..][..len];
        bytes[(first - at) as usize..][..len].copy_from_slice(from);
    }
}

impl BlockDevice for Media<'_> {
    fn size_bytes(&self) -> u64 {
        self.bytes
    }

    fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        let len = to.len() as u64;
        assert!(len > 0 && len <= LABEL_READ_BYTES, "{len} bytes at a time");
        assert!(offset % SECTOR_BYTES == 0 && len % SECTOR_BYTES == 0, "{offset}, {len}");
        assert!(offset + len <= self.bytes, "beyond the disk");
        if self.failing == Some(read) {
            return Err(io::Error::other("a bad sector"));
        }
        to.copy_from_slice(&self.get(offset, to.len()));
        Ok(())
    }

    fn write(&self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("labels are only read");
    }

    fn flush(&self) -> io::Result<()> {
        panic!("labels are only read");
    }
}
