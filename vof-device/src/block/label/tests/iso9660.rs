//! ISO 9660.

use super::mbr::put_table;
use super::*;
use crate::block::label::iso9660::{DIRECTORY, MORE_SECTIONS};
use crate::limits::{LABEL_READ_BYTES, MAX_ISO_DIRECTORY_EXTENTS};
use crate::test_utils::iso::NewIso;

const SECTOR: u64 = 2048;
/// Where the primary descriptor is, and the record of the root in it.
const PRIMARY: u64 = 16 * SECTOR;
const ROOT: u64 = PRIMARY + 156;

const LONG: &str = "vmlinux-6.1.0-23-powerpc64le";

fn long_name() -> String {
    "a-name-of-230-bytes".repeat(13)[..230].to_owned()
}

/// The files of a medium: one with a short name, one with a long, and one whose name is longer than
/// a record has room for.
fn files() -> Vec<(String, Vec<u8>)> {
    vec![
        ("ppc/bootinfo.txt".into(), pattern(200)),
        (format!("install/{LONG}"), pattern(10_000)),
        (format!("boot/grub/{}", long_name()), pattern(1)),
        ("boot/grub/powerpc.elf".into(), pattern(4096)),
        ("boot/README".into(), vec![]),
    ]
}

/// A file system with them.
fn image(iso: NewIso) -> Vec<u8> {
    let files = files();
    let files: Vec<_> = files.iter().map(|(path, it)| (path.as_str(), it.as_slice())).collect();
    iso.image(&files)
}

const PLAIN: NewIso = NewIso { rock_ridge: false, joliet: false, section_bytes: 0 };
const ROCK_RIDGE: NewIso = NewIso { rock_ridge: true, ..PLAIN };
const JOLIET: NewIso = NewIso { joliet: true, ..PLAIN };

fn le32_at(disk: &SparseDisk, at: u64) -> u64 {
    u32::from_le_bytes(disk.get(Extent::new(at, 4)).try_into().unwrap()).into()
}

/// Where the record of this identifier is in a directory.
fn record(disk: &SparseDisk, directory: u64, id: &[u8]) -> u64 {
    let mut at = le32_at(disk, directory + 2) * SECTOR;
    while disk.get(Extent::new(at + 33, id.len() as u64)) != id {
        at += u64::from(disk.get(Extent::new(at, 1))[0]);
    }
    at
}

#[test]
fn files_are_found_by_the_names_that_there_are() {
    for (rock_ridge, joliet) in [(false, false), (true, false), (false, true), (true, true)] {
        for section_bytes in [0, 2048] {
            let iso = NewIso { rock_ridge, joliet, section_bytes };
            let disk = SparseDisk::of(&image(iso));
            for (path, content) in files() {
                let needs_rock_ridge = path.contains("name");
                let needs_either = needs_rock_ridge || path.contains(LONG);
                for path in [path.clone(), path.to_uppercase(), path.replace('/', "\\\\")] {
                    match disk.find(&format!(",{path}")) {
                        Ok(region) => {
                            assert_eq!(disk.content(&region), content, "{path}");
                            let sections = content.len().div_ceil(2048);
                            let expected = if section_bytes == 0 { 1 } else { sections };
                            assert_eq!(region.extents().len(), expected.min(sections));
                        }
                        Err(error) => {
                            assert!(!rock_ridge && needs_either, "{path}: {error}");
                            assert!(!joliet || needs_rock_ridge, "{path}: {error}");
                            assert!(matches!(error, LabelError::NoFile), "{error}");
                        }
                    }
                }
            }
            assert_eq!(disk.file("\\boot\\grub\\powerpc.elf;1"), pattern(4096));
            assert_error!(disk.find("\\boot\\grub"), LabelError::NotAFile);
            assert_error!(disk.find("\\boot\\grub\\none"), LabelError::NoFile);
            assert_error!(disk.find("\\boot\\readme\\x"), LabelError::NoFile);
        }
    }
}

#[test]
fn a_partition_has_a_file_system_of_its_own() {
    let image = image(ROCK_RIDGE);
    let mut disk = SparseDisk::new(100 * 512 + image.len() as u64);
    disk.put(100 * 512, &image);
    let sectors = (image.len() / 512) as u32;
    put_table(&mut disk, 0, &[(0x80, 0x96, 100, sectors)]);
    assert_eq!(disk.file("1,\\ppc\\bootinfo.txt"), pattern(200));
    assert_error!(disk.find("\\ppc\\bootinfo.txt"), LabelError::NoFileSystem);
    // One that begins where the disk does, as on media that are started from either way.
    let mut disk = SparseDisk::of(&image);
    put_table(&mut disk, 0, &[(0x80, 0x96, 0, sectors)]);
    for arguments in ["1,\\ppc\\bootinfo.txt", "\\ppc\\bootinfo.txt", "0,/ppc/bootinfo.txt"] {
        assert_eq!(disk.file(arguments), pattern(200));
    }
}

#[test]
fn a_fat_where_an_iso_was_is_a_fat() {
    let mut disk = SparseDisk::of(&image(ROCK_RIDGE));
    assert!(disk.find("\\ppc\\bootinfo.txt").is_ok());
    // A FAT12 of 200 sectors, with nothing in it.
    disk.put(0, b"\xeb\x3c\x90mkfs.fat\x00\x02\x01\x01\x00\x01\x10\x00\xc8\x00\xf8\x01");
    assert_error!(disk.find("\\ppc\\bootinfo.txt"), LabelError::NoFile);
}

#[test]
fn blocks_may_be_shorter_than_sectors() {
    for (block_bytes, shift) in [(512_u16, 2), (1024, 1)] {
        let mut disk = SparseDisk::of(&image(PLAIN));
        // The numbers of blocks on the way to a file.
        let ppc = record(&disk, ROOT, b"PPC");
        let file = record(&disk, ppc, b"BOOTINFO.TXT;1");
        for at in [ROOT, ppc, file] {
            let block = (le32_at(&disk, at + 2) as u32) << shift;
            disk.put(at + 2, &block.to_le_bytes());
        }
        disk.put(PRIMARY + 128, &block_bytes.to_le_bytes());
        assert_eq!(disk.file("\\ppc\\bootinfo.txt"), pattern(200));
    }
    for block_bytes in [0_u16, 1, 3, 256, 4096, 0x8000, 0xffff] {
        let mut disk = SparseDisk::of(&image(PLAIN));
        disk.put(PRIMARY + 128, &block_bytes.to_le_bytes());
        assert_error!(
            disk.find("\\ppc\\bootinfo.txt"),
            LabelError::Damaged { what: "blocks of the file system have no length" }
        );
    }
}

#[test]
fn descriptors_have_an_end() {
    let image = image(JOLIET);
    let find = |disk: &SparseDisk| disk.find(&format!("\\install\\{LONG}"));
    assert!(find(&SparseDisk::of(&image)).is_ok());
    // No primary descriptor; no Joliet; another standard; none at all.
    for (at, bytes) in [(0, &[0][..]), (SECTOR + 88, b"%/X"), (SECTOR + 1, b"BEA01"), (1, b"CD002")]
    {
        let mut disk = SparseDisk::of(&image);
        disk.put(PRIMARY + at, bytes);
        match at {
            0 => assert!(find(&disk).is_ok()),
            1 => assert_error!(find(&disk), LabelError::NoFileSystem),
            _ => assert_error!(find(&disk), LabelError::NoFile),
        }
    }
    // In the other order, both trees are still there: a version is known in the primary one only.
    let mut disk = SparseDisk::of(&image);
    for (from, to) in [(PRIMARY, PRIMARY + SECTOR), (PRIMARY + SECTOR, PRIMARY)] {
        disk.put(to, &image[from as usize..][..2048]);
    }
    assert_eq!(disk.file("\\boot\\grub\\powerpc.elf;1"), pattern(4096));
    // Descriptors without end, of something else.
    let mut disk = SparseDisk::new(100 << 20);
    for sector in 16..10_000 {
        disk.put(sector * SECTOR, b"\0CD001\x01");
    }
    assert_error!(find(&disk), LabelError::NoFileSystem);
    assert!(disk.reads.load(Ordering::Relaxed) < 20);
    // The disk ends among them.
    for sectors in 60..=68 {
        assert!(find(&SparseDisk::of(&image[..sectors * 512])).is_err());
    }
}

#[test]
fn directories_that_go_in_circles_end_with_the_path() {
    let mut disk = SparseDisk::of(&image(PLAIN));
    // `GRUB` is its own parent.
    let boot = record(&disk, ROOT, b"BOOT");
    let grub = record(&disk, boot, b"GRUB");
    let parent = disk.get(Extent::new(boot + 2, 16));
    disk.put(grub + 2, &parent);
    let path = format!("\\boot{}\\readme", "\\grub".repeat(1000));
    assert_eq!(disk.file(&path), b"");
    assert_error!(disk.find(&format!("{path}1")), LabelError::NoFile);
}

#[test]
fn records_have_to_make_sense() {
    let image = image(ROCK_RIDGE);
    let change = |at: u64, bytes: &[u8]| {
        let mut disk = SparseDisk::of(&image);
        let file = record(&disk, record(&disk, ROOT, b"PPC"), b"BOOTINFO.TXT;1");
        disk.put(file + at, bytes);
        disk.find("\\ppc\\bootinfo.txt").map(|region| region.extents().to_vec())
    };
    let no_length = "a record of a directory has no length";
    let outside = "something is said to be where the file system is not";
    assert!(change(0, &[]).is_ok());
    // A length of 0 ends the sector, and here the directory.
    assert_error!(change(0, &[0]), LabelError::NoFile);
    for length in [1, 33] {
        assert_error!(change(0, &[length]), LabelError::Damaged { what } if what == no_length);
    }
    assert_error!(
        change(32, &[0xff]),
        LabelError::Damaged { what: "a record of a directory is too short" }
    );
    // Beyond the disk, by block, by length, and by both so that it wraps.
    let far = [0xff; 4];
    assert_error!(change(2, &far), LabelError::Damaged { what } if what == outside);
    assert_error!(change(10, &far), LabelError::Damaged { what } if what == outside);
    assert_error!(change(2, &[0xff; 16]), LabelError::Damaged { what } if what == outside);
    // Extended attributes are in front of what is in it.
    assert_eq!(change(1, &[1]).unwrap()[0].start, change(0, &[]).unwrap()[0].start + SECTOR);
    // Interleaved with others; associated with another; a last section that is missing.
    assert_error!(change(26, &[1, 1]), LabelError::NotAFile);
    assert_error!(change(25, &[4]), LabelError::NoFile);
    assert_error!(change(25, &[0x80]), LabelError::Damaged { what: "a file has too few sections" });
}

#[test]
fn directories_are_inside_of_the_disk_and_have_a_limit() {
    let mut disk = SparseDisk::of(&image(PLAIN));
    disk.put(ROOT + 10, &[0xff; 4]);
    assert_error!(disk.find("\\a"), LabelError::Damaged { .. });
    // The root is 4 GiB of nothing, and of short records.
    disk.bytes = 8 << 30;
    assert_error!(disk.find("\\none"), LabelError::TooMuch { .. });
    // Each of its pieces counts twice: it is read, and gone through.
    let reads = disk.reads.load(Ordering::Relaxed);
    assert!((MAX_LABEL_READS / 2..MAX_LABEL_READS / 2 + 10).contains(&reads), "{reads}");
    let mut disk = SparseDisk::of(&image(PLAIN));
    // It is cut in the middle of a record.
    for bytes in 1..34_u32 {
        disk.put(ROOT + 10, &bytes.to_le_bytes());
        assert_error!(disk.find("\\none"), LabelError::Damaged { .. });
    }
}

#[test]
fn rock_ridge_goes_on_elsewhere_but_not_for_ever() {
    let image = image(ROCK_RIDGE);
    let mut disk = SparseDisk::of(&image);
    let path = format!("\\boot\\grub\\{}", long_name());
    assert_eq!(disk.file(&path), pattern(1));
    // Where it goes on, it goes on there, and so for ever.
    let end = image.len() as u64;
    disk.bytes += SECTOR;
    let mut circle = b"CE\x1c\x01".to_vec();
    for number in [(end / SECTOR) as u32, 0, 28] {
        circle.extend(number.to_le_bytes());
        circle.extend(number.to_be_bytes());
    }
    disk.put(end, &circle);
    let grub = record(&disk, record(&disk, ROOT, b"BOOT"), b"GRUB");
    let at = le32_at(&disk, grub + 2) * SECTOR;
    let directory = disk.get(Extent::new(at, SECTOR));
    let link = directory.windows(4).position(|it| it == b"CE\x1c\x01").unwrap() as u64;
    disk.put(at + link, &circle);
    assert_error!(disk.find(&path), LabelError::NoFile);
    assert_eq!(disk.file("\\boot\\grub\\powerpc.elf"), pattern(4096));
    // And where it leads nowhere.
    disk.put(at + link + 4, &[0xff; 4]);
    assert_error!(disk.find(&path), LabelError::Damaged { .. });
}

#[test]
fn links_are_no_files() {
    let mut disk = SparseDisk::of(&image(ROCK_RIDGE));
    let file = record(&disk, record(&disk, ROOT, b"PPC"), b"BOOTINFO.TXT;1");
    assert_eq!(disk.get(Extent::new(file + 48, 2)), b"NM");
    disk.put(file + 48, b"SL");
    assert_error!(disk.find("\\ppc\\bootinfo.txt"), LabelError::NotAFile);
}

#[test]
fn a_directory_that_cannot_be_read_is_told() {
    let files: [(&str, &[u8]); 2] = [("far", &pattern(1 << 20)), ("near", b"")];
    let mut disk = SparseDisk::of(&PLAIN.image(&files));
    let root = le32_at(&disk, ROOT + 2) * SECTOR;
    disk.bad = root..root + 1;
    assert_error!(disk.find("\\near"), LabelError::Read(_));
}

#[test]
fn what_goes_on_elsewhere_counts_as_read() {
    // So many files whose names go on elsewhere that they are too many, all in one place.
    let name = long_name();
    let names: Vec<_> = (0..MAX_LABEL_READS).map(|file| format!("{file:05}{name}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let few = SparseDisk::of(&ROCK_RIDGE.image(&files[..1000]));
    assert_error!(few.find("\\none"), LabelError::NoFile);
    let many = SparseDisk::of(&ROCK_RIDGE.image(&files));
    assert_error!(many.find("\\none"), LabelError::TooMuch { .. });
}

/// A file system whose root has itself as `BOOT`, behind so many pieces that are all the same
/// `bytes` zeros.
fn behind_pieces(pieces: u32, bytes: u32) -> SparseDisk {
    const RECORDS: u64 = 2048 / 38;
    let mut disk = SparseDisk::of(&image(PLAIN));
    let record = disk.get(Extent::new(record(&disk, ROOT, b"BOOT"), 38));
    let sectors = u64::from(pieces + 1).div_ceil(RECORDS);
    let root = (disk.bytes / SECTOR) as u32;
    let zeros = root + sectors as u32;
    let root_bytes = (sectors * SECTOR) as u32;
    let section = |start: u32, bytes: u32, flags: u8| {
        let mut record = record.clone();
        record[0] = 38;
        record[2..6].copy_from_slice(&start.to_le_bytes());
        record[10..14].copy_from_slice(&bytes.to_le_bytes());
        record[25] = flags;
        record
    };
    let mut sections = vec![section(zeros, bytes, DIRECTORY | MORE_SECTIONS); pieces as usize];
    sections.push(section(root, root_bytes, DIRECTORY));
    for (number, section) in sections.iter().enumerate() {
        let (sector, place) = (number as u64 / RECORDS, number as u64 % RECORDS);
        disk.put(u64::from(root) * SECTOR + sector * SECTOR + place * 38, section);
    }
    disk.bytes = u64::from(zeros) * SECTOR + u64::from(bytes);
    disk.put(ROOT + 2, &root.to_le_bytes());
    disk.put(ROOT + 10, &root_bytes.to_le_bytes());
    disk
}

#[test]
fn directories_in_many_pieces_have_a_limit() {
    let most = MAX_ISO_DIRECTORY_EXTENTS as u32 - 1;
    assert_error!(behind_pieces(most, 2048).find("\\boot\\none"), LabelError::NoFile);
    let more = behind_pieces(most + 1, 2048).find("\\boot\\none");
    let expected = "a directory is in too many pieces";
    assert_error!(more, LabelError::TooMuch { what } if what == expected);
}

#[test]
fn what_is_gone_through_again_counts_as_read() {
    let disk = behind_pieces(63, LABEL_READ_BYTES as u32);
    let path = |names: usize| format!("{}\\none", "\\boot".repeat(names));
    assert_error!(disk.find(&path(50)), LabelError::NoFile);
    // There is next to nothing to be read.
    assert_error!(disk.find(&path(100)), LabelError::TooMuch { .. });
    assert!(disk.reads.load(Ordering::Relaxed) < 10);
}
