//! Tables of partitions: what was made is read, and whatever else there is leads to nothing
//! outside of the disk.

use vof_device::block::label::{Arguments, LabelError, PartitionKind, Table};

use crate::Reach;
use crate::input::Input;
use crate::media::Media;

const GOALS: [&str; 16] = [
    "a master boot record as made",
    "a partition inside of an extended one",
    "a partition beyond the disk",
    "an active PReP partition",
    "a GUID partition table as made",
    "its copy as made",
    "both damaged",
    "a PReP partition by its GUID",
    "a header of anything, with partitions",
    "a table that is too long",
    "a table that is nowhere",
    "entries without a length",
    "anything, with a master boot record",
    "anything, with extended partitions",
    "anything, without a table",
    "blocks of 4096 bytes",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

/// The disk's size in blocks.
const BLOCKS: u64 = 20_000;
/// Where the extended partition of a table that is made begins.
const EXTENDED: u32 = 10_000;

/// A partition as it was made: number, first block, blocks, kind, whether it is active.
type Made = (u32, u64, u64, PartitionKind, bool);

/// `data` is a byte that chooses the size of blocks and what is made, and what that is made of.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let choice = input.byte();
    let unit = [512, 4096, 1024, 16384][usize::from(choice >> 6)];
    let mut media = Media::new(&[][..], BLOCKS * u64::from(unit)).with_blocks(unit);
    let mut disk = Disk { media: &mut media, unit: unit.into() };
    match choice % 4 {
        0 => made_mbr(&mut disk, &mut input, &mut reach),
        1 => made_gpt(&mut disk, &mut input, &mut reach),
        2 => any_gpt(&mut disk, &mut input, &mut reach),
        _ => anything(&mut disk, &mut input, &mut reach),
    }
    if unit == 4096 && !disk.check(&mut reach).is_empty() {
        reach.add(15);
    }
    reach
}

struct Disk<'a, 'b> {
    media: &'a mut Media<'b>,
    unit: u64,
}

impl Disk<'_, '_> {
    fn put(&mut self, block: u64, at: u64, bytes: &[u8]) {
        self.media.put(block * self.unit + at, bytes);
    }

    /// Writes an entry of a master boot record.
    fn put_mbr(&mut self, block: u64, index: u64, flag: u8, kind: u8, start: u32, blocks: u32) {
        let mut entry = vec![flag, 0, 2, 0, kind, 0xff, 0xff, 0xff];
        entry.extend(start.to_le_bytes());
        entry.extend(blocks.to_le_bytes());
        self.put(block, 446 + index * 16, &entry);
        self.put(block, 510, &[0x55, 0xaa]);
    }

    /// That the partitions are these, but for those that are not inside of the disk.
    fn is_as_made(&mut self, made: &[Made], table: Table, reach: &mut Reach) {
        let (inside, beyond): (Vec<_>, Vec<_>) =
            made.iter().partition(|it| it.1 + it.2 <= BLOCKS && it.2 > 0);
        let found = self.media.partitions().expect("the table is whole");
        assert!(found.iter().all(|it| it.table == table));
        let found: Vec<Made> = found
            .iter()
            .map(|it| {
                let Extents(start, blocks) = self.blocks(it.extent);
                (it.number, start, blocks, it.kind, it.is_active)
            })
            .collect();
        assert_eq!(found, inside);
        for made in beyond {
            let number = made.0;
            let found = self.media.find(&Arguments::of_partition(Some(number)));
            assert!(matches!(found, Err(LabelError::NoPartition { number: it }) if it == number));
            reach.add(2);
        }
    }

    fn blocks(&self, extent: vof_device::block::Extent) -> Extents {
        assert!(extent.start % self.unit == 0 && extent.bytes % self.unit == 0);
        Extents(extent.start / self.unit, extent.bytes / self.unit)
    }

    /// That what is told of partitions is true; their numbers.
    fn check(&mut self, reach: &mut Reach) -> Vec<u32> {
        let partitions = match self.media.partitions() {
            Ok(partitions) => partitions,
            Err(LabelError::TooMuch { .. }) => {
                reach.add(9);
                return Vec::new();
            }
            Err(LabelError::Damaged { what }) => {
                match what {
                    "the GUID partition table is not on the disk" => reach.add(10),
                    "entries of the GUID partition table have no length" => reach.add(11),
                    _ => {}
                }
                return Vec::new();
            }
            Err(other) => panic!("{other:?}"),
        };
        for partition in partitions.iter().take(4) {
            let arguments = Arguments::of_partition(Some(partition.number));
            let region = self.media.find(&arguments).expect("it is there");
            assert_eq!(region.extents(), [partition.extent]);
        }
        let next = partitions.last().map_or(1, |it| it.number.wrapping_add(1).max(1));
        let none = self.media.find(&Arguments::of_partition(Some(next)));
        assert!(matches!(none, Err(LabelError::NoPartition { .. })));
        partitions.iter().map(|it| it.number).collect()
    }
}

/// First block and number of blocks.
struct Extents(u64, u64);

const MBR_KINDS: [(u8, PartitionKind); 6] = [
    (0x41, PartitionKind::Prep),
    (0x96, PartitionKind::Chrp),
    (0x83, PartitionKind::Linux),
    (0x0c, PartitionKind::Data),
    (0xef, PartitionKind::EfiSystem),
    (0x82, PartitionKind::Other),
];

fn made_mbr(disk: &mut Disk<'_, '_>, input: &mut Input<'_>, reach: &mut Reach) {
    let mut made: Vec<Made> = Vec::new();
    // The fourth entry may be an extended partition.
    let links = u32::from(input.byte() % 8);
    let primary = if links > 0 { 3 } else { 4 };
    disk.put(0, 510, &[0x55, 0xaa]);
    for index in 0..primary {
        let flags = input.byte();
        let (number, kind) = input.pick(&MBR_KINDS);
        let (start, blocks) = (input.u16(), input.u16());
        if flags & 1 != 0 || blocks == 0 {
            continue;
        }
        let is_active = flags & 2 != 0;
        let flag = if is_active { 0x80 } else { 0 };
        disk.put_mbr(0, index, flag, number, start.into(), blocks.into());
        made.push((index as u32 + 1, start.into(), blocks.into(), kind, is_active));
        if is_active
            && kind == PartitionKind::Prep
            && u64::from(start) + u64::from(blocks) <= BLOCKS
        {
            reach.add(3);
        }
    }
    if links > 0 {
        disk.put_mbr(0, 3, 0, 0x05, EXTENDED, 5000);
    }
    let mut number = 5;
    for link in 0..links {
        let at = EXTENDED + link * 2;
        let (kind_number, kind) = input.pick(&MBR_KINDS);
        let (start, blocks) = (input.u16(), input.byte());
        disk.put_mbr(at.into(), 0, 0, kind_number, start.into(), blocks.into());
        if link + 1 < links {
            disk.put_mbr(at.into(), 1, 0, 0x0f, (link + 1) * 2, 1);
        }
        if blocks > 0 {
            made.push((number, u64::from(at) + u64::from(start), blocks.into(), kind, false));
            number += 1;
            reach.add(1);
        }
    }
    disk.is_as_made(&made, Table::Mbr, reach);
    reach.add(0);
}

const GUIDS: [([u8; 16], PartitionKind); 5] = [
    (*b"\x38\x2d\x1a\x9e\x12\xc6\x16\x43\xaa\x26\x8b\x49\x52\x1e\x5a\x8b", PartitionKind::Prep),
    (
        *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b",
        PartitionKind::EfiSystem,
    ),
    (*b"\xa2\xa0\xd0\xeb\xe5\xb9\x33\x44\x87\xc0\x68\xb6\xb7\x26\x99\xc7", PartitionKind::Data),
    (*b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4", PartitionKind::Linux),
    ([0x11; 16], PartitionKind::Other),
];

/// A header with the right sum of itself; its numbers are in the order of UEFI 2.10 §5.3.2.
fn header(bytes: u32, own: u64, entries: u64, count: u32, entry_bytes: u32, sum: u32) -> Vec<u8> {
    let mut header = b"EFI PART\x00\x00\x01\x00".to_vec();
    header.extend(bytes.to_le_bytes());
    header.extend([0; 8]);
    header.extend(own.to_le_bytes());
    header.resize(72, 0);
    header.extend(entries.to_le_bytes());
    for number in [count, entry_bytes, sum] {
        header.extend(number.to_le_bytes());
    }
    header.resize(512, 0);
    let sum = crc(&header[..(bytes as usize).min(512)]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

fn made_gpt(disk: &mut Disk<'_, '_>, input: &mut Input<'_>, reach: &mut Reach) {
    let (count, entry_bytes) = input.pick(&[(128, 128), (8, 256), (256, 512), (1024, 128)]);
    let damage = input.byte();
    let bytes = input.pick(&[92, 93, 512]);
    let mut table = vec![0; count as usize * entry_bytes as usize];
    let mut made: Vec<Made> = Vec::new();
    let mut index = 0;
    while !input.is_empty() && made.len() < 8 {
        index += usize::from(input.byte() % 8);
        let (guid, kind) = input.pick(&GUIDS);
        let (start, blocks) = (u64::from(input.u16()), u64::from(input.u16()));
        let Some(entry) = table.chunks_exact_mut(entry_bytes as usize).nth(index) else { break };
        entry[..16].copy_from_slice(&guid);
        entry[32..40].copy_from_slice(&start.to_le_bytes());
        entry[40..48].copy_from_slice(&(start + blocks).to_le_bytes());
        index += 1;
        made.push((index as u32, start, blocks + 1, kind, false));
        if kind == PartitionKind::Prep {
            reach.add(7);
        }
    }
    let sum = crc(&table);
    disk.put_mbr(0, 0, 0, 0xee, 1, u32::MAX);
    let last = BLOCKS - 1;
    let (first_entries, last_entries) = (2, last - (table.len() as u64).div_ceil(disk.unit));
    for (own, entries) in [(1, first_entries), (last, last_entries)] {
        disk.put(entries, 0, &table);
        disk.put(own, 0, &header(bytes, own, entries, count, entry_bytes, sum));
    }
    // One byte of a header or of entries is another one.
    let at = u64::from(damage >> 2);
    for (bit, own, entries) in [(0, 1, first_entries), (1, last, last_entries)] {
        if damage >> bit & 1 != 0 {
            let block = if damage & 4 != 0 { own } else { entries };
            let old = disk.media.get(block * disk.unit + at, 1)[0];
            disk.put(block, at, &[!old]);
        }
    }
    match damage & 3 {
        3 => {
            let found = disk.media.partitions();
            assert!(matches!(found, Err(LabelError::Damaged { .. } | LabelError::TooMuch { .. })));
            reach.add(6);
        }
        damage => {
            disk.is_as_made(&made, Table::Gpt, reach);
            reach.add(if damage == 1 { 5 } else { 4 });
        }
    }
}

/// A header of anything, whose sums are right where they can be.
fn any_gpt(disk: &mut Disk<'_, '_>, input: &mut Input<'_>, reach: &mut Reach) {
    disk.put_mbr(0, 0, 0, 0xee, 1, u32::MAX);
    let blocks = input.pick(&[1, 1, 1, BLOCKS - 1]);
    let bytes = input.pick(&[92, 92, 92, 0, 91, 512, 513, u32::MAX]);
    let own = if input.byte() < 0xe0 { blocks } else { input.number(BLOCKS) };
    let entries = input.number(BLOCKS);
    let count = input.number(1024) as u32;
    let entry_bytes = match input.byte() {
        shift @ 0..0x20 => 1 << shift,
        0x20..0xc0 => 128,
        _ => input.number(512) as u32,
    };
    let mut rest = input.clone();
    disk.media.put_any(&mut rest, &[0, entries.wrapping_mul(disk.unit) % disk.media.bytes()]);
    let table_bytes = u64::from(count) * u64::from(entry_bytes);
    let at = entries.saturating_mul(disk.unit);
    let table =
        if table_bytes <= 1 << 20 { disk.media.get(at, table_bytes as usize) } else { vec![] };
    disk.put(blocks, 0, &header(bytes, own, entries, count, entry_bytes, crc(&table)));
    if !disk.check(reach).is_empty()
        && disk.media.partitions().is_ok_and(|it| it[0].table == Table::Gpt)
    {
        reach.add(8);
    }
}

fn anything(disk: &mut Disk<'_, '_>, input: &mut Input<'_>, reach: &mut Reach) {
    disk.put(0, 510, &[0x55, 0xaa]);
    let unit = disk.unit;
    let tables: Vec<_> = (1..8).map(|block| block * unit + 446).collect();
    for table in &tables {
        disk.media.put(table + 64, &[0x55, 0xaa]);
    }
    disk.media.put_any(input, &[&[446][..], &tables].concat());
    let numbers = disk.check(reach);
    match numbers.last() {
        None => reach.add(14),
        Some(0..5) => reach.add(12),
        Some(_) => reach.add(13),
    }
}

/// CRC-32, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            sum >> 1 ^ if sum & 1 != 0 { 0xedb8_8320 } else { 0 }
        })
    })
}
