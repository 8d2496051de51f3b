//! The GUID partition table.

use super::mbr::put_table;
use super::*;
use crate::limits::MAX_GPT_TABLE_BYTES;

const PREP: [u8; 16] = *b"\x38\x2d\x1a\x9e\x12\xc6\x16\x43\xaa\x26\x8b\x49\x52\x1e\x5a\x8b";
const EFI_SYSTEM: [u8; 16] = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
const DATA: [u8; 16] = *b"\xa2\xa0\xd0\xeb\xe5\xb9\x33\x44\x87\xc0\x68\xb6\xb7\x26\x99\xc7";
const LINUX: [u8; 16] = *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4";

/// A table, before it is written.
#[derive(Clone)]
struct NewTable {
    unit: u64,
    /// The block of its header, and the one that the header says.
    block: u64,
    own_block: u64,
    header_bytes: u32,
    /// The block of its entries.
    entries_block: u64,
    entry_count: u32,
    entry_bytes: u32,
    /// Type, first and last block.
    entries: Vec<([u8; 16], u64, u64)>,
}

impl NewTable {
    fn new(entries: &[([u8; 16], u64, u64)]) -> Self {
        Self {
            unit: 512,
            block: 1,
            own_block: 1,
            header_bytes: 92,
            entries_block: 2,
            entry_count: 128,
            entry_bytes: 128,
            entries: entries.to_vec(),
        }
    }

    /// Writes it, with the right sums: of as many entries as fit into the limit.
    fn put(&self, disk: &mut SparseDisk) {
        let bytes = u64::from(self.entry_count) * u64::from(self.entry_bytes);
        let mut table = vec![0; bytes.min(2 * MAX_GPT_TABLE_BYTES) as usize];
        for (index, (kind, first, last)) in self.entries.iter().enumerate() {
            let entry = &mut table[index * self.entry_bytes as usize..];
            entry[..16].copy_from_slice(kind);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        let mut header = b"EFI PART\x00\x00\x01\x00".to_vec();
        header.extend(self.header_bytes.to_le_bytes());
        header.extend([0; 8]);
        header.extend(self.own_block.to_le_bytes());
        header.resize(72, 0);
        header.extend(self.entries_block.to_le_bytes());
        header.extend(self.entry_count.to_le_bytes());
        header.extend(self.entry_bytes.to_le_bytes());
        header.extend(crc32fast::hash(&table).to_le_bytes());
        header.resize(4096, 0);
        let sum = crc32fast::hash(&header[..(self.header_bytes as usize).min(4096)]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        disk.put(self.block * self.unit, &header[..self.unit as usize]);
        if self.entries_block < 1 << 32 {
            disk.put(self.entries_block * self.unit, &table);
        }
    }
}

/// A disk of 10,000 sectors whose first says that it has such a table.
fn protective() -> SparseDisk {
    let mut disk = SparseDisk::new(10_000 * 512);
    put_table(&mut disk, 0, &[(0, 0xee, 1, u32::MAX)]);
    disk
}

fn damage(disk: &SparseDisk) -> &'static str {
    match partitions(disk) {
        Err(LabelError::Damaged { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn partitions_have_the_number_of_their_entry() {
    let none = ([0; 16], 100, 200);
    let entries =
        [(PREP, 100, 199), none, (EFI_SYSTEM, 200, 299), (DATA, 300, 300), (LINUX, 301, 302)];
    let mut disk = protective();
    NewTable::new(&entries).put(&mut disk);
    let found = partitions(&disk).unwrap();
    let kinds: Vec<_> = found.iter().map(|it| (it.number, it.kind)).collect();
    assert_eq!(
        kinds,
        [
            (1, PartitionKind::Prep),
            (3, PartitionKind::EfiSystem),
            (4, PartitionKind::Data),
            (5, PartitionKind::Linux),
        ]
    );
    assert!(found.iter().all(|it| it.table == Table::Gpt && !it.is_active));
    assert_eq!(disk.partitions(), [(1, 100, 100), (3, 200, 100), (4, 300, 1), (5, 301, 2)]);
    let region = disk.find("c").unwrap();
    assert_eq!(region.extents(), [Extent::new(200 * 512, 100 * 512)]);
    assert_error!(disk.find("2"), LabelError::NoPartition { number: 2 });
}

#[test]
fn the_first_block_says_whether_the_table_counts() {
    let mut disk = protective();
    NewTable::new(&[(PREP, 100, 199)]).put(&mut disk);
    // A hybrid: the partitions are those of the GUID partition table.
    put_table(&mut disk, 0, &[(0, 0x83, 300, 1), (0, 0xee, 1, 99)]);
    assert_eq!(disk.partitions(), [(1, 100, 100)]);
    // No protective entry: what was there before is forgotten.
    put_table(&mut disk, 0, &[(0, 0x83, 300, 1), (0, 0, 0, 0)]);
    assert_eq!(disk.partitions(), [(1, 300, 1)]);
}

#[test]
fn blocks_are_those_of_the_disk() {
    let mut disk = protective();
    disk.block_bytes = 4096;
    let table = NewTable { unit: 4096, ..NewTable::new(&[(PREP, 10, 19)]) };
    table.put(&mut disk);
    assert_eq!(disk.partitions(), [(1, 80, 80)]);
    // The copy, too: the last whole block.
    disk.put(4096, &[0; 92]);
    let last = disk.bytes / 4096 - 1;
    NewTable { block: last, own_block: last, ..table }.put(&mut disk);
    assert_eq!(disk.partitions(), [(1, 80, 80)]);
}

#[test]
fn a_damaged_table_has_a_copy_in_the_last_block() {
    let mut disk = protective();
    let good = NewTable::new(&[(PREP, 100, 199)]);
    let copy = NewTable { block: 9_999, own_block: 9_999, entries_block: 9_967, ..good.clone() };
    copy.put(&mut disk);
    assert_eq!(disk.partitions(), [(1, 100, 100)]);
    // The header is whole, and an entry is not.
    good.put(&mut disk);
    disk.put(2 * 512 + 32, &[101]);
    assert_eq!(disk.partitions(), [(1, 100, 100)]);
    // The copy is damaged as well: what is told is of the first.
    disk.put(9_999 * 512 + 30, &[1]);
    assert_eq!(damage(&disk), "the sum of the GUID partition table is wrong");
    // A copy in another place does not count, whatever the header says.
    disk.put(9_999 * 512, &[0; 512]);
    NewTable { block: 9_998, own_block: 9_998, ..copy }.put(&mut disk);
    assert_eq!(damage(&disk), "the sum of the GUID partition table is wrong");
}

#[test]
fn headers_have_to_make_sense() {
    let good = NewTable::new(&[(PREP, 100, 199)]);
    let place = "the sum or place of the GUID partition table is wrong";
    let none = "there is no header of a GUID partition table";
    let no_length = "entries of the GUID partition table have no length";
    let not_on_disk = "the GUID partition table is not on the disk";
    for (table, what) in [
        (NewTable { own_block: 2, ..good.clone() }, place),
        (NewTable { header_bytes: 91, ..good.clone() }, none),
        (NewTable { header_bytes: 513, ..good.clone() }, none),
        (NewTable { header_bytes: u32::MAX, ..good.clone() }, none),
        (NewTable { entry_bytes: 0, entries: vec![], ..good.clone() }, no_length),
        (NewTable { entry_bytes: 1, entries: vec![], ..good.clone() }, no_length),
        (NewTable { entry_bytes: 64, entries: vec![], ..good.clone() }, no_length),
        (NewTable { entry_bytes: 129, ..good.clone() }, no_length),
        (NewTable { entries_block: 10_000, ..good.clone() }, not_on_disk),
        (NewTable { entries_block: 9_969, ..good.clone() }, not_on_disk),
        (NewTable { entries_block: 1 << 55, ..good.clone() }, not_on_disk),
        (NewTable { entries_block: u64::MAX, ..good.clone() }, not_on_disk),
    ] {
        let mut disk = protective();
        table.put(&mut disk);
        assert_eq!(damage(&disk), what);
        assert_error!(disk.find("1"), LabelError::Damaged { .. });
    }
    assert_eq!(damage(&protective()), none);
}

#[test]
fn tables_have_a_limit() {
    let most = (MAX_GPT_TABLE_BYTES / 128) as u32;
    let good = NewTable::new(&[(PREP, 9_000, 9_001)]);
    for (entry_count, entry_bytes) in [(most, 128), (most / 2, 256), (8, 16 << 10), (1, 128)] {
        let mut disk = protective();
        NewTable { entry_count, entry_bytes, ..good.clone() }.put(&mut disk);
        assert_eq!(disk.partitions(), [(1, 9_000, 2)]);
    }
    for (entry_count, entry_bytes) in [
        (most + 1, 128),
        (4_000_000, 128),
        (u32::MAX, 128),
        (8, 32 << 10),
        (1, 1 << 31),
        (u32::MAX, 1 << 31),
    ] {
        let mut disk = protective();
        NewTable { entry_count, entry_bytes, entries: vec![], ..good.clone() }.put(&mut disk);
        assert_error!(partitions(&disk), LabelError::TooMuch { .. });
    }
    let mut disk = protective();
    NewTable { entry_count: 0, entries: vec![], ..good }.put(&mut disk);
    assert_eq!(disk.partitions(), []);
}

#[test]
fn what_is_not_inside_of_the_disk_is_left_out() {
    let mut disk = protective();
    let entries = [
        (PREP, 9_999, 10_000),
        (PREP, 9_999, 9_999),
        (PREP, 200, 198),
        (PREP, 0, u64::MAX),
        (PREP, u64::MAX, u64::MAX),
        (PREP, 1 << 55, 1 << 55),
        (PREP, 200, 199),
    ];
    NewTable::new(&entries).put(&mut disk);
    assert_eq!(disk.partitions(), [(2, 9_999, 1)]);
}

#[test]
fn a_table_that_cannot_be_read_is_told() {
    let mut disk = protective();
    NewTable { entries_block: 5_000, ..NewTable::new(&[(PREP, 100, 199)]) }.put(&mut disk);
    assert_eq!(disk.partitions(), [(1, 100, 100)]);
    disk.bad = 5_000 * 512..5_001 * 512;
    assert_error!(partitions(&disk), LabelError::Read(_));
}
