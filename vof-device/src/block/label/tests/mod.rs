//! What is on disks, well made and not.

mod bootinfo;
mod fat;
mod gpt;
mod iso9660;
mod mbr;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::block::{BlockDevice, Extent, Region};
use crate::limits::MAX_LABEL_READS;

use super::*;

/// A disk that has zeros where nothing was written.
struct SparseDisk {
    bytes: u64,
    block_bytes: u32,
    sectors: BTreeMap<u64, [u8; 512]>,
    /// What cannot be read.
    bad: Range<u64>,
    reads: AtomicU32,
}

impl SparseDisk {
    fn new(bytes: u64) -> Self {
        let reads = AtomicU32::new(0);
        Self { bytes, block_bytes: 512, sectors: BTreeMap::new(), bad: 0..0, reads }
    }

    /// A disk of this and nothing else.
    fn of(image: &[u8]) -> Self {
        let mut disk = Self::new(image.len().next_multiple_of(512) as u64);
        disk.put(0, image);
        disk
    }

    fn put(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let sector = self.sectors.entry(at / 512).or_insert([0; 512]);
            let place = &mut sector[(at % 512) as usize..];
            let (now, later) = bytes.split_at(place.len().min(bytes.len()));
            place[..now.len()].copy_from_slice(now);
            at += now.len() as u64;
            bytes = later;
        }
    }

    fn get(&self, extent: Extent) -> Vec<u8> {
        let end = extent.start + extent.bytes;
        let mut bytes = Vec::new();
        while extent.start + (bytes.len() as u64) < end {
            let at = extent.start + bytes.len() as u64;
            let rest = (512 - at % 512).min(end - at) as usize;
            let sector = self.sectors.get(&(at / 512)).unwrap_or(&[0; 512]);
            bytes.extend_from_slice(&sector[(at % 512) as usize..][..rest]);
        }
        bytes
    }

    /// What a region has in it.
    fn content(&self, region: &Region) -> Vec<u8> {
        region.extents().iter().flat_map(|&extent| self.get(extent)).collect()
    }

    /// What these arguments find. That no more is read than may be, and that the same is found
    /// again, is looked at each time.
    fn find(&self, arguments: &str) -> Result<Region, LabelError> {
        let arguments = Arguments::parse(arguments).unwrap();
        self.reads.store(0, Ordering::Relaxed);
        let found = find(self, &arguments);
        let reads = self.reads.load(Ordering::Relaxed);
        assert!(reads <= MAX_LABEL_READS);
        if let Ok(region) = &found {
            assert_eq!(Region::new(region.extents().to_vec(), self.bytes).as_ref(), Some(region));
        }
        let again = find(self, &arguments);
        assert_eq!(format!("{found:?}"), format!("{again:?}"));
        self.reads.store(reads, Ordering::Relaxed);
        found
    }

    /// What is in the file that these arguments find.
    fn file(&self, arguments: &str) -> Vec<u8> {
        self.content(&self.find(arguments).unwrap_or_else(|error| panic!("{arguments}: {error}")))
    }

    /// Number, start and length in sectors of the partitions.
    fn partitions(&self) -> Vec<(u32, u64, u64)> {
        let partitions = partitions(self).unwrap();
        let sectors = |it: &Partition| (it.number, it.extent.start / 512, it.extent.bytes / 512);
        partitions.iter().map(sectors).collect()
    }
}

impl BlockDevice for SparseDisk {
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
        self.reads.fetch_add(1, Ordering::Relaxed);
        let end = offset + to.len() as u64;
        assert!(offset % 512 == 0 && end % 512 == 0 && end <= self.bytes, "{offset} to {end}");
        if offset < self.bad.end && self.bad.start < end {
            return Err(io::Error::other("a bad sector"));
        }
        to.copy_from_slice(&self.get(Extent::new(offset, end - offset)));
        Ok(())
    }

    fn write(&self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("labels are only read");
    }

    fn flush(&self) -> io::Result<()> {
        panic!("labels are only read");
    }
}

/// Bytes that are different at each place.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u32)
        .flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 7).to_le_bytes())
        .take(bytes)
        .collect()
}

macro_rules! assert_error {
    ($found:expr, $error:pat $(if $condition:expr)? $(,)?) => {{
        let found = $found;
        assert!(matches!(found, Err($error) $(if $condition)?), "{found:?}");
    }};
}
use assert_error;

#[test]
fn the_whole_disk_needs_no_label() {
    let disk = SparseDisk::new(1 << 40);
    for arguments in ["", "0", ","] {
        let region = disk.find(arguments).unwrap();
        assert_eq!(region.extents(), [Extent::new(0, 1 << 40)]);
    }
    // Part of a sector is none.
    assert_eq!(SparseDisk::new(1025).find("").unwrap().bytes(), 1024);
    assert_eq!(partitions(&disk).unwrap(), []);
    assert_error!(disk.find("1"), LabelError::NoPartition { number: 1 });
    assert_error!(disk.find("1,\\a"), LabelError::NoPartition { number: 1 });
    assert_error!(disk.find("\\a"), LabelError::NoFileSystem);
}

#[test]
fn disks_of_no_or_few_sectors_have_nothing() {
    for sectors in (0..35).chain(64..67) {
        for fill in [0, 0xff, 0xee, 0x55, 0xaa] {
            let mut disk = SparseDisk::of(&vec![fill; sectors * 512]);
            for block_bytes in [512, 4096, 0, u32::MAX] {
                disk.block_bytes = block_bytes;
                assert_eq!(partitions(&disk).unwrap(), []);
                assert_error!(disk.find("\\a"), LabelError::NoFileSystem);
            }
        }
    }
}

#[test]
fn a_disk_that_cannot_be_read_says_so() {
    let mut disk = SparseDisk::new(1 << 20);
    disk.bad = 0..512;
    assert_error!(partitions(&disk), LabelError::Read(_));
    assert_error!(disk.find("1"), LabelError::Read(_));
    assert_error!(disk.find("\\a"), LabelError::Read(_));
    // What is not looked at need not be read.
    assert!(disk.find("").is_ok());
}
