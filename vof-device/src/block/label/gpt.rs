//! The GUID partition table (UEFI 2.10 §5.3).
//!
//! The crate `gptman` 3.1 allocates by what the header says, up to hundreds of GiB, and `gpt` 4.1
//! looks at no sum of the entries.

use crate::block::Extent;
use crate::limits::{LABEL_READ_BYTES, MAX_GPT_TABLE_BYTES};

use super::reader::{Reader, le32, le64};
use super::{LabelError, Partition, PartitionKind, Table};

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// How many bytes of a header have a meaning.
const HEADER_BYTES: usize = 92;
/// The shortest entry; longer ones are this times a power of two.
const ENTRY_BYTES: u64 = 128;

/// The types that mean something to a boot.
const KINDS: [(u128, PartitionKind); 4] = [
    (0x9e1a_2d38_c612_4316_aa26_8b49_521e_5a8b, PartitionKind::Prep),
    (0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b, PartitionKind::EfiSystem),
    (0xebd0_a0a2_b9e5_4433_87c0_68b6_b726_99c7, PartitionKind::Data),
    (0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4, PartitionKind::Linux),
];

/// What a header says that counts here.
struct Header {
    /// Where the entries are, in bytes.
    entries: u64,
    entry_count: u64,
    entry_bytes: u64,
    entries_sum: u32,
}

/// The partitions of a disk whose first block says that it has such a table: by its header in the
/// second block and, where that or its entries are damaged, by the one in the last.
pub(super) fn partitions(reader: &mut Reader<'_>) -> Result<Vec<Partition>, LabelError> {
    let last = (reader.disk().bytes / reader.table_block_bytes()).saturating_sub(1);
    read_table(reader, 1).or_else(|error| match error {
        LabelError::Damaged { .. } | LabelError::TooMuch { .. } => {
            read_table(reader, last).map_err(|_| error)
        }
        _ => Err(error),
    })
}

/// The partitions by the header in this block.
fn read_table(reader: &mut Reader<'_>, block: u64) -> Result<Vec<Partition>, LabelError> {
    let header = read_header(reader, block)?;
    let mut sum = crc32fast::Hasher::new();
    let mut partitions = Vec::new();
    let mut entry = vec![0; header.entry_bytes as usize];
    for index in 0..header.entry_count {
        reader.read(header.entries + index * header.entry_bytes, &mut entry)?;
        sum.update(&entry);
        partitions.extend(partition(reader, index as u32 + 1, &entry));
    }
    if sum.finalize() != header.entries_sum {
        return Err(LabelError::damaged("the sum of the GUID partition table is wrong"));
    }
    Ok(partitions)
}

fn read_header(reader: &mut Reader<'_>, block: u64) -> Result<Header, LabelError> {
    let unit = reader.table_block_bytes();
    let mut bytes = vec![0; unit as usize];
    reader.read(block * unit, &mut bytes)?;
    let header_bytes = le32(&bytes, 12) as usize;
    if !bytes.starts_with(SIGNATURE) || !(HEADER_BYTES..=bytes.len()).contains(&header_bytes) {
        return Err(LabelError::damaged("there is no header of a GUID partition table"));
    }
    let sum = le32(&bytes, 16);
    bytes[16..20].fill(0);
    if crc32fast::hash(&bytes[..header_bytes]) != sum || le64(&bytes, 24) != block {
        return Err(LabelError::damaged("the sum or place of the GUID partition table is wrong"));
    }
    let (entry_count, entry_bytes) = (u64::from(le32(&bytes, 80)), u64::from(le32(&bytes, 84)));
    if !entry_bytes.is_power_of_two() || entry_bytes < ENTRY_BYTES {
        return Err(LabelError::damaged("entries of the GUID partition table have no length"));
    }
    let table_bytes = entry_count * entry_bytes;
    if entry_bytes > LABEL_READ_BYTES || table_bytes > MAX_GPT_TABLE_BYTES {
        return Err(LabelError::too_much("the GUID partition table is too long"));
    }
    let entries = le64(&bytes, 72).checked_mul(unit);
    let entries = entries.and_then(|start| {
        let end = start.checked_add(table_bytes)?;
        (end <= reader.disk().bytes).then_some(start)
    });
    let entries = entries.ok_or(LabelError::damaged("the GUID partition table is not on the disk"));
    Ok(Header { entries: entries?, entry_count, entry_bytes, entries_sum: le32(&bytes, 88) })
}

/// A partition by its entry; `None` where it is none, or not inside of the disk.
fn partition(reader: &Reader<'_>, number: u32, entry: &[u8]) -> Option<Partition> {
    let kind = guid(entry);
    if kind == 0 {
        return None;
    }
    let unit = reader.table_block_bytes();
    let start = le64(entry, 32).checked_mul(unit)?;
    let end = le64(entry, 40).checked_add(1)?.checked_mul(unit)?;
    let bytes = end.checked_sub(start).filter(|&bytes| bytes > 0 && end <= reader.disk().bytes)?;
    let kind = KINDS.iter().find(|known| known.0 == kind).map_or(PartitionKind::Other, |it| it.1);
    let extent = Extent::new(start, bytes);
    Some(Partition { number, extent, kind, is_active: false, table: Table::Gpt })
}

/// A GUID, by how it is written: its first three numbers are little-endian.
fn guid(bytes: &[u8]) -> u128 {
    let mut guid: [u8; 16] = std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0));
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    u128::from_be_bytes(guid)
}
