//! The master boot record.

use super::*;
use crate::limits::{MAX_EXTENDED_LINKS, MAX_MBR_PARTITIONS};

/// Writes a table into this sector: flag, type, start and length of up to four entries.
pub(super) fn put_table(disk: &mut SparseDisk, sector: u64, entries: &[(u8, u8, u32, u32)]) {
    for (index, &(flag, kind, start, sectors)) in (0..).zip(entries) {
        let mut entry = [flag, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff].to_vec();
        entry.extend(start.to_le_bytes());
        entry.extend(sectors.to_le_bytes());
        disk.put(sector * 512 + 446 + index * 16, &entry);
    }
    disk.put(sector * 512 + 510, &[0x55, 0xaa]);
}

/// A disk of 10,000 sectors with this table.
fn disk(entries: &[(u8, u8, u32, u32)]) -> SparseDisk {
    let mut disk = SparseDisk::new(10_000 * 512);
    put_table(&mut disk, 0, entries);
    disk
}

#[test]
fn partitions_have_the_number_of_their_entry() {
    let disk =
        disk(&[(0x80, 0x41, 64, 100), (0, 0, 0, 0), (0, 0x83, 200, 300), (0, 0x96, 0, 10_000)]);
    let partition = |number, start: u64, bytes: u64, kind, is_active| Partition {
        number,
        extent: Extent::new(start * 512, bytes * 512),
        kind,
        is_active,
        table: Table::Mbr,
    };
    assert_eq!(
        partitions(&disk).unwrap(),
        [
            partition(1, 64, 100, PartitionKind::Prep, true),
            partition(3, 200, 300, PartitionKind::Linux, false),
            partition(4, 0, 10_000, PartitionKind::Chrp, false),
        ]
    );
    for arguments in ["3", "c", "C", "03", "3,"] {
        let region = disk.find(arguments).unwrap();
        assert_eq!(region.extents(), [Extent::new(200 * 512, 300 * 512)]);
    }
    for number in [2, 5, u32::MAX] {
        assert_error!(disk.find(&number.to_string()), LabelError::NoPartition { .. });
    }
}

#[test]
fn types_that_mean_something_are_told() {
    let kind = |kind| partitions(&disk(&[(0, kind, 1, 1)])).unwrap()[0].kind;
    assert_eq!(kind(0xef), PartitionKind::EfiSystem);
    for data in [0x01, 0x04, 0x06, 0x0b, 0x0c, 0x0e] {
        assert_eq!(kind(data), PartitionKind::Data);
    }
    for other in [0x07, 0x82, 0x8e, 0xa5, 0xff] {
        assert_eq!(kind(other), PartitionKind::Other);
    }
}

#[test]
fn partitions_inside_of_extended_ones_have_numbers_from_5() {
    for kind in [0x05, 0x0f, 0x85] {
        let mut disk = disk(&[(0, 0x83, 64, 100), (0, kind, 1000, 5000)]);
        put_table(&mut disk, 1000, &[(0, 0x83, 10, 90), (0, 0x05, 100, 500)]);
        // An empty one has no number.
        put_table(&mut disk, 1100, &[(0, 0, 0, 0), (0, kind, 600, 500)]);
        put_table(&mut disk, 1600, &[(0x80, 0x41, 20, 80)]);
        assert_eq!(disk.partitions(), [(1, 64, 100), (5, 1010, 90), (6, 1620, 80)]);
        let last = partitions(&disk).unwrap()[2];
        assert!(last.is_active && last.kind == PartitionKind::Prep);
    }
}

#[test]
fn extended_partitions_that_go_in_circles_end() {
    // To itself, and to one before.
    for next in [0, 100] {
        let mut disk = disk(&[(0, 0x05, 1000, 5000)]);
        put_table(&mut disk, 1000, &[(0, 0x83, 10, 90), (0, 0x05, 100, 500)]);
        put_table(&mut disk, 1100, &[(0, 0x83, 10, 90), (0, 0x05, next, 500)]);
        assert_eq!(disk.partitions(), [(5, 1010, 90), (6, 1110, 90)]);
    }
    // The first table of the disk is one of them.
    let mut disk = disk(&[(0, 0x05, 0, 5000), (0, 0x83, 1, 1)]);
    assert_eq!(disk.partitions(), [(2, 1, 1), (5, 1, 1)]);
    // Two extended partitions are the same.
    put_table(&mut disk, 0, &[(0, 0x05, 1000, 10), (0, 0x0f, 1000, 10)]);
    put_table(&mut disk, 1000, &[(0, 0x83, 1, 1)]);
    assert_eq!(disk.partitions(), [(5, 1001, 1)]);
}

#[test]
fn extended_partitions_have_a_limit() {
    let mut disk = disk(&[(0, 0x83, 1, 1), (0, 0x05, 1000, 5000)]);
    for link in 0..1000 {
        put_table(&mut disk, 1000 + u64::from(link), &[(0, 0x83, 1, 1), (0, 0x05, link + 1, 1)]);
    }
    assert_eq!(disk.partitions().len(), MAX_MBR_PARTITIONS);
    for link in 0..1000 {
        let kind = if link < MAX_EXTENDED_LINKS as u32 - 1 { 0 } else { 0x83 };
        put_table(&mut disk, 1000 + u64::from(link), &[(0, kind, 1, 1), (0, 0x05, link + 1, 1)]);
    }
    assert_eq!(disk.partitions(), [(1, 1, 1), (5, 1000 + MAX_EXTENDED_LINKS as u64, 1)]);
}

#[test]
fn links_that_lead_nowhere_end_the_partitions_before_them() {
    let mut disk = disk(&[(0, 0x05, 1000, 5000)]);
    // Beyond the disk, beyond 32 bits, and to what is no table.
    for next in [9000, 8999, u32::MAX, 5] {
        put_table(&mut disk, 1000, &[(0, 0x83, 10, 90), (0, 0x05, next, 500)]);
        assert_eq!(disk.partitions(), [(5, 1010, 90)], "{next}");
    }
    disk.bad = 2000 * 512..2001 * 512;
    put_table(&mut disk, 1000, &[(0, 0x83, 10, 90), (0, 0x05, 1000, 500)]);
    assert_error!(partitions(&disk), LabelError::Read(_));
}

#[test]
fn what_is_not_inside_of_the_disk_is_left_out() {
    let mut disk = disk(&[
        (0, 0x83, 9_000, 1_001),
        (0, 0x83, u32::MAX, u32::MAX),
        (0, 0x83, 9_000, 1_000),
        (0, 0x05, 8_000, 10),
    ]);
    put_table(&mut disk, 8_000, &[(0, 0x83, u32::MAX, 1), (0, 0x05, 1, 1)]);
    put_table(&mut disk, 8_001, &[(0, 0x83, 1, 1)]);
    assert_eq!(disk.partitions(), [(3, 9_000, 1_000), (6, 8_002, 1)]);
    assert_error!(disk.find("1"), LabelError::NoPartition { number: 1 });
}

#[test]
fn numbers_count_blocks_of_the_disk() {
    let mut disk = disk(&[(0, 0x83, 100, 200)]);
    for (block_bytes, unit) in [(512, 1), (1024, 2), (4096, 8), (8192, 16), (16384, 32)] {
        disk.block_bytes = block_bytes;
        assert_eq!(disk.partitions(), [(1, 100 * unit, 200 * unit)]);
    }
    // Blocks as a CD has them: its image was made for other disks as well. And what is no block.
    for block_bytes in [2048, 0, 1, 513, 32768, u32::MAX] {
        disk.block_bytes = block_bytes;
        assert_eq!(disk.partitions(), [(1, 100, 200)]);
    }
}

#[test]
fn what_has_no_signature_or_other_flags_is_no_table() {
    let mut disk = disk(&[(0, 0x83, 1, 1)]);
    disk.put(510, &[0x55, 0x55]);
    assert_eq!(disk.partitions(), []);
    put_table(&mut disk, 0, &[(0, 0x83, 1, 1), (0x20, 0x61, 1, 1)]);
    assert_eq!(disk.partitions(), []);
}
