//! The table in the first block of a disk (master boot record), with its extended partitions.
//!
//! The crate `mbrman` 0.6 adds numbers of the disk without looking whether they fit, and follows
//! an extended partition as long as its links grow, which can be two thousand million times.

use crate::block::Extent;
use crate::limits::{MAX_EXTENDED_LINKS, MAX_MBR_PARTITIONS};

use super::reader::{Reader, le16, le32};
use super::{LabelError, Partition, PartitionKind, Table};

/// Where the table is in its block, how many entries it has, and how long they are.
const TABLE: usize = 446;
const ENTRIES: usize = 4;
const ENTRY_BYTES: usize = 16;
/// Where the signature is, and what it is.
const SIGNATURE: (usize, u16) = (510, 0xaa55);
/// The number of the first partition inside of an extended one.
const FIRST_LOGICAL: u32 = 5;

const PREP: u8 = 0x41;
const CHRP: u8 = 0x96;
const LINUX: u8 = 0x83;
const EFI_SYSTEM: u8 = 0xef;
/// All of the disk, which has a GUID partition table.
const PROTECTIVE: u8 = 0xee;

/// The first block, where it is one that has a table.
pub(super) struct Mbr([Entry; ENTRIES]);

#[derive(Clone, Copy)]
struct Entry {
    flag: u8,
    kind: u8,
    start: u32,
    blocks: u32,
}

impl Entry {
    fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85) && self.blocks != 0
    }

    fn is_partition(self) -> bool {
        self.kind != 0 && self.blocks != 0 && !self.is_extended() && self.kind != PROTECTIVE
    }
}

impl Mbr {
    /// The table of the disk; `None` where it has none.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, LabelError> {
        if reader.disk().bytes == 0 {
            return Ok(None);
        }
        read_entries(reader, 0).map(|entries| entries.map(Self))
    }

    /// Whether what counts is a GUID partition table (UEFI 2.10 §5.2.3).
    pub(super) fn is_protective(&self) -> bool {
        self.0.iter().any(|entry| entry.kind == PROTECTIVE)
    }

    /// Its partitions: 1 to 4, then those in extended ones.
    pub(super) fn partitions(&self, reader: &mut Reader<'_>) -> Result<Vec<Partition>, LabelError> {
        let mut partitions = Vec::new();
        for (number, entry) in (1..).zip(self.0) {
            partitions.extend(partition(reader, number, entry, 0));
        }
        let mut chain = Chain { next_number: FIRST_LOGICAL, links: Vec::new() };
        for entry in self.0.into_iter().filter(|entry| entry.is_extended()) {
            chain.follow(reader, entry.start, &mut partitions)?;
        }
        Ok(partitions)
    }
}

/// The links of extended partitions: blocks with a table each, of a partition and where the next
/// such block is.
struct Chain {
    next_number: u32,
    links: Vec<u64>,
}

impl Chain {
    /// Adds the partitions of an extended one. Where it makes no sense any more, as its next link
    /// is none or was there before, it ends.
    fn follow(
        &mut self,
        reader: &mut Reader<'_>,
        first: u32,
        partitions: &mut Vec<Partition>,
    ) -> Result<(), LabelError> {
        let mut next = Some(u64::from(first));
        while let Some(link) = next.filter(|link| !self.links.contains(link)) {
            let at = link * reader.table_block_bytes();
            if self.links.len() >= MAX_EXTENDED_LINKS || at >= reader.disk().bytes {
                break;
            }
            self.links.push(link);
            let Some(entries) = read_entries(reader, at)? else { break };
            for entry in entries.into_iter().filter(|entry| entry.is_partition()) {
                if partitions.len() >= MAX_MBR_PARTITIONS {
                    return Ok(());
                }
                partitions.extend(partition(reader, self.next_number, entry, link));
                self.next_number += 1;
            }
            let entry = entries.into_iter().find(|entry| entry.is_extended());
            next = entry.map(|entry| u64::from(first) + u64::from(entry.start));
        }
        Ok(())
    }
}

/// The entries of the block at `at`; `None` where it has no table: its signature is missing, or a
/// flag of an entry is none, as in the first block of a file system.
fn read_entries(reader: &mut Reader<'_>, at: u64) -> Result<Option<[Entry; ENTRIES]>, LabelError> {
    let block: [u8; 512] = reader.array(at)?;
    let entries: [Entry; ENTRIES] = std::array::from_fn(|index| {
        let entry = &block[TABLE + index * ENTRY_BYTES..][..ENTRY_BYTES];
        Entry { flag: entry[0], kind: entry[4], start: le32(entry, 8), blocks: le32(entry, 12) }
    });
    let is_table = le16(&block, SIGNATURE.0) == SIGNATURE.1
        && entries.iter().all(|entry| matches!(entry.flag, 0 | 0x80));
    Ok(is_table.then_some(entries))
}

/// A partition by its entry in the table of block `base`; `None` where it is none, or not inside
/// of the disk.
fn partition(reader: &Reader<'_>, number: u32, entry: Entry, base: u64) -> Option<Partition> {
    if !entry.is_partition() {
        return None;
    }
    // Both are numbers of 32 bits, and a block has 14: nothing overflows.
    let unit = reader.table_block_bytes();
    let start = (base + u64::from(entry.start)) * unit;
    let extent = Extent::new(start, u64::from(entry.blocks) * unit);
    extent.end().filter(|&end| end <= reader.disk().bytes)?;
    let kind = match entry.kind {
        PREP => PartitionKind::Prep,
        CHRP => PartitionKind::Chrp,
        LINUX => PartitionKind::Linux,
        EFI_SYSTEM => PartitionKind::EfiSystem,
        0x01 | 0x04 | 0x06 | 0x0b | 0x0c | 0x0e => PartitionKind::Data,
        _ => PartitionKind::Other,
    };
    let is_active = entry.flag == 0x80;
    Some(Partition { number, extent, kind, is_active, table: Table::Mbr })
}
