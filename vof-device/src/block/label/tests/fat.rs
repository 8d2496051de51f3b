//! FAT12, FAT16 and FAT32.

use super::mbr::put_table;
use super::*;
use crate::limits::MAX_FILE_EXTENTS;

const CLUSTER: u64 = 1024;
const DIRECTORY: u8 = 0x10;

/// A file system with clusters of two sectors, in a disk of its own or in a partition.
struct NewFat {
    disk: SparseDisk,
    bits: u8,
    /// Where it begins, in bytes.
    start: u64,
    /// Its parts, in bytes from there.
    table: u64,
    data: u64,
}

impl NewFat {
    fn new(bits: u8) -> Self {
        Self::at(bits, 0)
    }

    fn at(bits: u8, start: u64) -> Self {
        let clusters: u32 = match bits {
            12 => 4084,
            16 => 65_524,
            _ => 200_000,
        };
        let table_sectors = ((clusters + 2) * u32::from(bits)).div_ceil(8 * 512);
        let reserved: u16 = if bits == 32 { 32 } else { 1 };
        let root_entries: u16 = if bits == 32 { 0 } else { 32 };
        let table = u64::from(reserved) * 512;
        let data = table + 2 * u64::from(table_sectors) * 512 + u64::from(root_entries) * 32;
        let sectors = (data / 512) as u32 + clusters * 2;
        let mut boot = [0; 512];
        boot[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
        boot[11..13].copy_from_slice(&512_u16.to_le_bytes());
        boot[13] = 2;
        boot[14..16].copy_from_slice(&reserved.to_le_bytes());
        boot[16] = 2;
        boot[17..19].copy_from_slice(&root_entries.to_le_bytes());
        boot[21] = 0xf8;
        match u16::try_from(sectors) {
            Ok(sectors) => boot[19..21].copy_from_slice(&sectors.to_le_bytes()),
            Err(_) => boot[32..36].copy_from_slice(&sectors.to_le_bytes()),
        }
        if bits == 32 {
            boot[36..40].copy_from_slice(&table_sectors.to_le_bytes());
            boot[44..48].copy_from_slice(&2_u32.to_le_bytes());
        } else {
            boot[22..24].copy_from_slice(&(table_sectors as u16).to_le_bytes());
        }
        let mut disk = SparseDisk::new(start + u64::from(sectors) * 512);
        disk.put(start, &boot);
        let mut fat = Self { disk, bits, start, table, data };
        fat.chain(&[2]);
        fat
    }

    /// Where the entries of the root are.
    fn root(&self) -> u64 {
        self.start + if self.bits == 32 { self.data } else { self.data - 32 * 32 }
    }

    /// Where a cluster is.
    fn cluster(&self, number: u32) -> u64 {
        self.start + self.data + u64::from(number - 2) * CLUSTER
    }

    fn link(&mut self, cluster: u32, next: u32) {
        let table = self.start + self.table;
        match self.bits {
            12 => {
                let at = table + u64::from(cluster) * 3 / 2;
                let old = self.disk.get(Extent::new(at, 2));
                let old = u16::from_le_bytes([old[0], old[1]]);
                let new = match cluster % 2 {
                    0 => old & 0xf000 | (next as u16 & 0xfff),
                    _ => old & 0xf | (next as u16) << 4,
                };
                self.disk.put(at, &new.to_le_bytes());
            }
            16 => self.disk.put(table + u64::from(cluster) * 2, &(next as u16).to_le_bytes()),
            // The four upper bits mean nothing.
            _ => {
                let next = next & 0x0fff_ffff | 0xa000_0000;
                self.disk.put(table + u64::from(cluster) * 4, &next.to_le_bytes());
            }
        }
    }

    /// Links these clusters, the last to the end.
    fn chain(&mut self, clusters: &[u32]) {
        for pair in clusters.windows(2) {
            self.link(pair[0], pair[1]);
        }
        self.link(*clusters.last().unwrap(), u32::MAX);
    }

    /// Writes an entry of a directory.
    fn entry(&mut self, at: u64, name: &[u8; 11], attributes: u8, cluster: u32, bytes: u32) {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
        entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
        entry[28..32].copy_from_slice(&bytes.to_le_bytes());
        self.disk.put(at, &entry);
    }

    /// Writes the entries of a long name; that of the file is behind them.
    fn long_name(&mut self, at: u64, name: &str, short: &[u8; 11]) -> u64 {
        let mut letters: Vec<u16> = name.encode_utf16().collect();
        if letters.len() % 13 != 0 {
            letters.push(0);
            letters.resize(letters.len().next_multiple_of(13), 0xffff);
        }
        let sum = short.iter().fold(0, |sum: u8, &it| sum.rotate_right(1).wrapping_add(it));
        let entries = letters.chunks(13).zip(1_u8..).collect::<Vec<_>>();
        for (index, (letters, order)) in entries.iter().rev().enumerate() {
            let mut entry = [0; 32];
            entry[0] = order | if index == 0 { 0x40 } else { 0 };
            (entry[11], entry[13]) = (0x0f, sum);
            let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]);
            for (place, letter) in places.zip(letters.iter()) {
                entry[place..place + 2].copy_from_slice(&letter.to_le_bytes());
            }
            self.disk.put(at + index as u64 * 32, &entry);
        }
        at + entries.len() as u64 * 32
    }
}

/// One with `\BOOT\FILE.ELF`, in clusters that are not in order, and what is in that.
fn with_file(bits: u8, start: u64) -> (NewFat, Vec<u8>) {
    let mut fat = NewFat::at(bits, start);
    let root = fat.root();
    fat.entry(root, b"LABEL      ", 0x08, 0, 0);
    fat.entry(root + 32, b"\xe5OOT       ", DIRECTORY, 9, 0);
    fat.entry(root + 64, b"BOOT       ", DIRECTORY, 3, 0);
    fat.chain(&[3, 11]);
    fat.entry(fat.cluster(3), b".          ", DIRECTORY, 3, 0);
    // The directory goes on in its second cluster.
    for entry in 1..CLUSTER / 32 {
        fat.entry(fat.cluster(3) + entry * 32, b"\xe5OMETHNGNEW", 0, 0, 0);
    }
    let content = pattern(4 * CLUSTER as usize + 100);
    fat.entry(fat.cluster(11), b"FILE    ELF", 0x21, 20, content.len() as u32);
    fat.chain(&[20, 21, 31, 30, 22]);
    for (cluster, bytes) in [20, 21, 31, 30, 22].into_iter().zip(content.chunks(1024)) {
        fat.disk.put(fat.cluster(cluster), bytes);
    }
    (fat, content)
}

#[test]
fn files_are_found_in_each_width() {
    for bits in [12, 16, 32] {
        for start in [0, 64 * 512] {
            let (mut fat, content) = with_file(bits, start);
            let length = ((fat.disk.bytes - start) / 512) as u32;
            put_table(&mut fat.disk, 0, &[(0, 0x0c, start as u32 / 512, length)]);
            for path in ["\\boot\\file.elf", "/BOOT/FILE.ELF", "boot\\.\\..//Boot/File.Elf"] {
                let region = fat.disk.find(&format!("1,{path}")).unwrap();
                assert_eq!(fat.disk.content(&region), content, "{bits} {start} {path}");
                // Two clusters one after the other are one piece.
                assert_eq!(region.extents().len(), 4);
            }
            assert_eq!(fat.disk.find(",\\boot\\file.elf").is_ok(), start == 0);
        }
    }
}

#[test]
fn what_is_no_file_is_told() {
    let (mut fat, _) = with_file(16, 0);
    assert_error!(fat.disk.find("\\boot"), LabelError::NotAFile);
    assert_error!(fat.disk.find("\\"), LabelError::NotAFile);
    for path in [
        "\\file.elf",
        "\\label",
        "\\boot\\file",
        "\\boot\\file.elf\\x",
        "\\boot\\file.elf.",
        "\\OOT",
    ] {
        assert_error!(fat.disk.find(path), LabelError::NoFile);
    }
    let empty = fat.root() + 96;
    fat.entry(empty, b"EMPTY      ", 0, 0, 0);
    assert_eq!(fat.disk.find("\\empty").unwrap().bytes(), 0);
    // What is behind the end of a directory is not there.
    fat.entry(empty, &[0; 11], 0, 0, 0);
    fat.entry(empty + 32, b"BEHIND     ", 0, 0, 0);
    assert_error!(fat.disk.find("\\behind"), LabelError::NoFile);
}

#[test]
fn long_names_are_found_in_either_case() {
    let mut fat = NewFat::new(12);
    let names = ["powerpc64le.elf", "thirteen.long", "Grün und Blau \u{1f600}"];
    let mut at = fat.root();
    for (name, cluster) in names.into_iter().zip(5..) {
        at = fat.long_name(at, name, b"SHORT~1 ELF");
        fat.entry(at, b"SHORT~1 ELF", 0, cluster, 1);
        fat.chain(&[cluster]);
        at += 32;
    }
    for (name, cluster) in names.into_iter().zip(5..) {
        for name in [name.to_lowercase(), name.to_uppercase()] {
            let region = fat.disk.find(&format!("\\{name}")).unwrap();
            assert_eq!(region.extents(), [Extent::new(fat.cluster(cluster), 1)]);
        }
    }
    assert_eq!(fat.disk.find("\\short~1.elf").unwrap().extents()[0].start, fat.cluster(5));
    assert_error!(fat.disk.find("\\powerpc64le"), LabelError::NoFile);
}

#[test]
fn long_names_of_other_entries_or_out_of_order_are_none() {
    let name = "a name in three entries, it is as long as that";
    let short = b"SHORT      ";
    let with = |change: &dyn Fn(&mut NewFat, u64)| {
        let mut fat = NewFat::new(12);
        let root = fat.root();
        let at = fat.long_name(root, name, short);
        fat.entry(at, short, 0, 5, 1);
        fat.chain(&[5]);
        change(&mut fat, root);
        let found = fat.disk.find(&format!("\\{name}")).is_ok();
        // In any case there is the other name.
        assert!(!found || fat.disk.find("\\short").is_ok());
        found
    };
    assert!(with(&|_, _| {}));
    assert!(!with(&|fat, root| fat.disk.put(root + 13, &[0])), "the sum of one entry");
    assert!(!with(&|fat, root| fat.disk.put(root + 4 * 32, b"OTHER")), "another file");
    assert!(!with(&|fat, root| fat.disk.put(root, &[0x04])), "no last entry");
    assert!(!with(&|fat, root| fat.disk.put(root + 32, &[0x02])), "one is missing");
    assert!(!with(&|fat, root| fat.disk.put(root + 32, &[0x00])), "the end");
    assert!(!with(&|fat, root| fat.disk.put(root, &[0x7f])), "63 entries");
    assert!(!with(&|fat, root| fat.disk.put(root, &[0x40])), "no entries");
    assert!(!with(&|fat, root| fat.disk.put(root + 96, &[0xe5])), "one was deleted");
}

#[test]
fn chains_that_go_in_circles_end() {
    for bits in [12, 16, 32] {
        let (mut fat, _) = with_file(bits, 0);
        // Of the file, to itself and to one before; of the directory.
        for (from, to) in [(22, 22), (22, 20), (22, 31), (20, 20)] {
            let (mut fat, _) = with_file(bits, 0);
            fat.link(from, to);
            fat.disk.put(fat.cluster(11) + 28, &u32::MAX.to_le_bytes());
            assert_error!(
                fat.disk.find("\\boot\\file.elf"),
                LabelError::Damaged { what: "a chain of clusters goes in a circle" }
            );
        }
        fat.link(3, 3);
        assert_error!(
            fat.disk.find("\\boot\\file.elf"),
            LabelError::Damaged { what: "a chain of clusters goes in a circle" }
        );
        // A directory that is its own parent is one that has no end of names, and nothing more.
        let (mut fat, content) = with_file(bits, 0);
        fat.entry(fat.cluster(3) + 32, b"LOOP       ", DIRECTORY, 3, 0);
        let path = format!("\\boot{}\\file.elf", "\\loop".repeat(1000));
        assert_eq!(fat.disk.file(&path), content);
    }
}

#[test]
fn chains_that_lead_nowhere_are_told() {
    for bits in [12, 16, 32] {
        // Free, reserved, bad, and beyond the last cluster (which FAT12 and FAT16 have not).
        let bad = match bits {
            12 => 0xff7,
            16 => 0xfff7,
            _ => 0x0fff_fff7,
        };
        for to in [0, 1, bad, bad - 1] {
            let (mut fat, _) = with_file(bits, 0);
            fat.link(31, to);
            assert_error!(
                fat.disk.find("\\boot\\file.elf"),
                LabelError::Damaged { what: "a chain of clusters leads nowhere" }
            );
        }
        let (mut fat, content) = with_file(bits, 0);
        fat.link(30, u32::MAX);
        assert_error!(
            fat.disk.find("\\boot\\file.elf"),
            LabelError::Damaged { what: "a file has too few clusters" }
        );
        // Clusters that two files share are nobody's business.
        fat.link(30, 22);
        fat.entry(fat.cluster(11) + 32, b"OTHER      ", 0, 30, 1024);
        assert_eq!(fat.disk.file("\\boot\\other"), content[3 * 1024..4 * 1024]);
        assert_eq!(fat.disk.file("\\boot\\file.elf"), content);
    }
}

#[test]
fn file_systems_that_cannot_be_are_none() {
    // Places in the boot sector, and what makes no sense there.
    let changes: [(u64, &[u8]); 13] = [
        (0, &[0x33]),
        (11, &[0, 0]),
        (11, &[1, 0]),
        (11, &[0, 0x80]),
        (13, &[0]),
        (13, &[3]),
        (14, &[0, 0]),
        (14, &[0xff, 0xff]),
        (16, &[0]),
        (19, &[1, 0]),
        (19, &[0, 0, 0xf8, 1, 0]),
        (21, &[0]),
        (22, &[1, 0]),
    ];
    for (at, bytes) in changes {
        let (mut fat, _) = with_file(12, 0);
        fat.disk.put(at, bytes);
        assert_error!(fat.disk.find("\\boot\\file.elf"), LabelError::NoFileSystem);
    }
    let wide: [(u64, &[u8]); 4] = [
        (32, &[0xff, 0xff, 0xff, 0xff]),
        (36, &[1, 0, 0, 0]),
        (36, &[0xff, 0xff, 0xff, 0xff]),
        (40, &[0x8f]),
    ];
    for (at, bytes) in wide {
        let (mut fat, _) = with_file(32, 0);
        fat.disk.put(at, bytes);
        assert_error!(fat.disk.find("\\boot\\file.elf"), LabelError::NoFileSystem);
    }
}

#[test]
fn the_table_that_counts_is_read() {
    let (mut fat, content) = with_file(32, 0);
    let copy = fat.disk.get(Extent::new(fat.table, 512));
    let second = fat.table + (fat.data - fat.table) / 2;
    fat.disk.put(second, &copy);
    fat.link(20, 0);
    assert!(fat.disk.find("\\boot\\file.elf").is_err());
    fat.disk.put(40, &[0x81]);
    assert_eq!(fat.disk.file("\\boot\\file.elf"), content);
}

#[test]
fn files_are_inside_of_their_file_system() {
    // The disk ends before the file does.
    for bits in [12, 16, 32] {
        let (mut fat, content) = with_file(bits, 0);
        fat.disk.bytes = fat.cluster(31) + CLUSTER;
        assert_eq!(fat.disk.file("\\boot\\file.elf"), content);
        fat.disk.bytes -= 512;
        assert_error!(
            fat.disk.find("\\boot\\file.elf"),
            LabelError::Damaged { what: "something is said to be where the file system is not" }
        );
    }
}

#[test]
fn files_in_many_pieces_have_a_limit() {
    let mut fat = NewFat::new(32);
    // Every other cluster; so many as are read, and one more.
    let clusters: Vec<_> = (0..=MAX_FILE_EXTENTS as u32).map(|index| 10 + index * 2).collect();
    fat.chain(&clusters);
    let most = MAX_FILE_EXTENTS as u32 * CLUSTER as u32;
    fat.entry(fat.root(), b"MOST       ", 0, 10, most);
    fat.entry(fat.root() + 32, b"MORE       ", 0, 10, most + 1);
    let region = fat.disk.find("\\most").unwrap();
    assert_eq!(region.extents().len(), MAX_FILE_EXTENTS);
    assert_error!(fat.disk.find("\\more"), LabelError::TooMuch { .. });
}

#[test]
fn large_files_are_found_and_reads_have_a_limit() {
    // All clusters of a directory are on other sides of the table.
    let mut fat = NewFat::new(32);
    let far = |index: u32| 3 + index % 40 * 4096 + index / 40;
    let clusters: Vec<_> = (0..MAX_LABEL_READS).map(far).collect();
    fat.chain(&clusters);
    fat.entry(fat.root(), b"LONG       ", DIRECTORY, 3, 0);
    for &cluster in &clusters {
        for entry in 0..CLUSTER / 32 {
            fat.entry(fat.cluster(cluster) + entry * 32, b"\xe5          ", 0, 0, 0);
        }
    }
    assert_error!(fat.disk.find("\\long\\none"), LabelError::TooMuch { .. });
    // A file of 256 MiB in one piece, in the smallest clusters: a sixteenth of the largest.
    let mut fat = NewFat::new(32);
    let file_bytes = 1_u32 << 28;
    let clusters = file_bytes / 512 + 2;
    let table_sectors = clusters.div_ceil(128);
    fat.disk.put(13, &[1]);
    fat.disk.put(36, &table_sectors.to_le_bytes());
    let sectors = 32 + 2 * table_sectors + clusters;
    fat.disk.put(32, &sectors.to_le_bytes());
    fat.disk.bytes = u64::from(sectors) * 512;
    let mut table: Vec<u8> = (1..=clusters).flat_map(u32::to_le_bytes).collect();
    table[2 * 4..3 * 4].copy_from_slice(&u32::MAX.to_le_bytes());
    fat.disk.put(32 * 512, &table);
    fat.data = 32 * 512 + u64::from(table_sectors) * 1024;
    fat.entry(fat.cluster(2), b"LARGE      ", 0, 3, file_bytes);
    let region = fat.disk.find("\\large").unwrap();
    assert_eq!(region.extents(), [Extent::new(fat.data + 512, file_bytes.into())]);
    assert!(fat.disk.reads.load(Ordering::Relaxed) < MAX_LABEL_READS / 16);
}

#[test]
fn a_table_or_directory_that_cannot_be_read_is_told() {
    let (mut fat, _) = with_file(32, 0);
    for bad in [fat.table, fat.root(), fat.cluster(11)] {
        fat.disk.bad = bad..bad + 1;
        assert_error!(fat.disk.find("\\boot\\file.elf"), LabelError::Read(_));
    }
}
