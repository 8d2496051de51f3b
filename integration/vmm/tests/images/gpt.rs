//! GUID partition tables (UEFI 2.10 §5.3).

use std::ops::Range;

use super::{Image, SECTOR};

/// 9E1A2D38-C612-4316-AA26-8B49521E5A8B, as its bytes are on a disk.
pub(super) const PREP: [u8; 16] = guid(0x9e1a_2d38_c612_4316_aa26_8b49_521e_5a8b);
/// 516E7CB6-6ECF-11D6-8FF8-00022D09712B.
pub(super) const FREEBSD_UFS: [u8; 16] = guid(0x516e_7cb6_6ecf_11d6_8ff8_0002_2d09_712b);

const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;
const TABLE_SECTORS: u64 = (ENTRIES * ENTRY_BYTES) as u64 / SECTOR;

/// Writes both tables of a disk: kind and sectors of each partition.
pub(super) fn write(image: &Image, sectors: u64, partitions: &[([u8; 16], Range<u64>)]) {
    image.partition(1, 0xee, false, 1, (sectors - 1) as u32);
    let mut table = vec![0; (ENTRIES * ENTRY_BYTES) as usize];
    let places = table.chunks_exact_mut(ENTRY_BYTES as usize);
    for (number, (place, (kind, sectors))) in places.zip(partitions).enumerate() {
        place[..16].copy_from_slice(kind);
        place[16..32].copy_from_slice(&[number as u8 + 1; 16]);
        place[32..40].copy_from_slice(&sectors.start.to_le_bytes());
        place[40..48].copy_from_slice(&(sectors.end - 1).to_le_bytes());
    }
    let last = sectors - 1;
    for (own, other, table_at) in [(1, last, 2), (last, 1, last - TABLE_SECTORS)] {
        let mut header = Vec::new();
        header.extend(b"EFI PART");
        header.extend([0, 0, 1, 0, 92, 0, 0, 0]);
        header.extend([0; 8]);
        for sector in [own, other, 2 + TABLE_SECTORS, last - TABLE_SECTORS - 1] {
            header.extend(sector.to_le_bytes());
        }
        header.extend([0x42; 16]);
        header.extend(table_at.to_le_bytes());
        for number in [ENTRIES, ENTRY_BYTES, crc32(&table)] {
            header.extend(number.to_le_bytes());
        }
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        image.write(own * SECTOR, &header);
        image.write(table_at * SECTOR, &table);
    }
}

/// A GUID as it is written, as it is stored: its first three groups have the lowest byte first.
const fn guid(written: u128) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = written.to_be_bytes();
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// CRC-32 as Ethernet has it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes.iter().fold(!0, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), step))
}
