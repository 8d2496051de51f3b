//! What is on disks with tables of partitions.

use crate::block::SECTOR_BYTES;

/// A partition of a disk to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewPartition<'a> {
    /// The type of a master boot record.
    pub mbr_type: u8,
    /// The type of a GUID partition table, as it is on the disk.
    pub guid: [u8; 16],
    /// Whether a master boot record marks it.
    pub is_active: bool,
    /// What is in it; it is as long as that, in whole sectors.
    pub content: &'a [u8],
}

impl<'a> NewPartition<'a> {
    /// A PReP partition that holds a program.
    pub const fn prep(content: &'a [u8]) -> Self {
        let guid = *b"\x38\x2d\x1a\x9e\x12\xc6\x16\x43\xaa\x26\x8b\x49\x52\x1e\x5a\x8b";
        Self { mbr_type: 0x41, guid, is_active: false, content }
    }

    /// One of Linux.
    pub const fn linux(content: &'a [u8]) -> Self {
        let guid = *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4";
        Self { mbr_type: 0x83, guid, is_active: false, content }
    }

    /// The same, marked as active.
    #[must_use]
    pub const fn active(self) -> Self {
        Self { is_active: true, ..self }
    }

    fn sectors(&self) -> u64 {
        (self.content.len() as u64).div_ceil(SECTOR_BYTES).max(1)
    }
}

/// Where the first partition begins, in sectors.
const FIRST: u64 = 64;

/// A disk with a master boot record, and up to four partitions.
pub fn mbr_disk(partitions: &[NewPartition<'_>]) -> Vec<u8> {
    let mut disk = with_contents(partitions, 0);
    let places = places(partitions);
    for (number, (partition, start)) in partitions.iter().zip(places).enumerate() {
        mbr_entry(&mut disk, number, partition.mbr_type, start, partition.sectors());
        disk[446 + 16 * number] = if partition.is_active { 0x80 } else { 0 };
    }
    disk
}

/// A disk with a GUID partition table and its copy (UEFI specification §5.3).
pub fn gpt_disk(partitions: &[NewPartition<'_>]) -> Vec<u8> {
    const ENTRIES: usize = 128;
    const ENTRY_BYTES: usize = 128;
    // Behind the partitions: the entries, and the header.
    let mut disk = with_contents(partitions, 33);
    let sectors = disk.len() as u64 / SECTOR_BYTES;
    mbr_entry(&mut disk, 0, 0xee, 1, sectors - 1);
    let mut entries = vec![0; ENTRIES * ENTRY_BYTES];
    for (number, (partition, start)) in partitions.iter().zip(places(partitions)).enumerate() {
        let entry = &mut entries[number * ENTRY_BYTES..][..ENTRY_BYTES];
        entry[..16].copy_from_slice(&partition.guid);
        entry[16..32].fill(number as u8 + 1);
        entry[32..40].copy_from_slice(&start.to_le_bytes());
        entry[40..48].copy_from_slice(&(start + partition.sectors() - 1).to_le_bytes());
    }
    for (own, other, entries_at) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)] {
        let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        for lba in [own, other, 34, sectors - 34] {
            header.extend(u64::to_le_bytes(lba));
        }
        header.extend([0xd1; 16]);
        header.extend(entries_at.to_le_bytes());
        header.extend((ENTRIES as u32).to_le_bytes());
        header.extend((ENTRY_BYTES as u32).to_le_bytes());
        header.extend(crc32fast::hash(&entries).to_le_bytes());
        let sum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        put(&mut disk, own, &header);
        put(&mut disk, entries_at, &entries);
    }
    disk
}

/// The sectors that partitions begin at.
fn places(partitions: &[NewPartition<'_>]) -> Vec<u64> {
    let starts = partitions.iter().scan(FIRST, |next, partition| {
        let start = *next;
        *next += partition.sectors();
        Some(start)
    });
    starts.collect()
}

/// A disk with what is in the partitions, and so many sectors behind them.
fn with_contents(partitions: &[NewPartition<'_>], more: u64) -> Vec<u8> {
    let sectors = FIRST + partitions.iter().map(NewPartition::sectors).sum::<u64>() + more;
    let mut disk = vec![0; (sectors * SECTOR_BYTES) as usize];
    for (partition, start) in partitions.iter().zip(places(partitions)) {
        put(&mut disk, start, partition.content);
    }
    disk
}

fn mbr_entry(disk: &mut [u8], number: usize, kind: u8, start: u64, sectors: u64) {
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let entry = &mut disk[446 + 16 * number..][..16];
    entry[4] = kind;
    entry[8..12].copy_from_slice(&(start as u32).to_le_bytes());
    entry[12..16].copy_from_slice(&(sectors as u32).to_le_bytes());
}

fn put(disk: &mut [u8], sector: u64, bytes: &[u8]) {
    disk[(sector * SECTOR_BYTES) as usize..][..bytes.len()].copy_from_slice(bytes);
}
