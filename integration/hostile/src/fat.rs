//! FAT: files that another implementation has written are found, and nothing leads outside.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::sync::OnceLock;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use vof_device::block::label::{Arguments, LabelError};

use crate::Reach;
use crate::input::Input;
use crate::media::Media;

const GOALS: [&str; 15] = [
    "a file of FAT12",
    "a file of FAT16",
    "a file of FAT32",
    "a file in several pieces",
    "a file that was written to in turn with others",
    "a changed file system, with a file",
    "no file system",
    "no file",
    "no file but a directory",
    "a chain in a circle",
    "a chain that leads nowhere",
    "too few clusters",
    "something beyond the file system",
    "a link that was changed",
    "a path of anything",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

const NAMES: [&str; 6] = [
    "BOOT.ELF",
    "boot/grub/powerpc.elf",
    "boot/grub/a name with blanks, and.more.dots",
    "boot/Grün.txt",
    "boot/grub/many/0123456789",
    "boot/vmlinux-6.1.0-23-powerpc64le",
];

/// A file system, and what is in its files.
struct Made {
    image: Vec<u8>,
    /// Its size; what is missing of the image are zeros.
    bytes: u64,
    files: BTreeMap<&'static str, Vec<u8>>,
}

/// `data` is a byte that chooses the width, what is done, and where the disk ends; then what another
/// implementation does with files, or a path and what is changed.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let choice = input.byte();
    if choice % 4 == 3 {
        let written = written(&mut input);
        let pieces = find_all(&written, &mut reach);
        if pieces > 1 {
            reach.add(4);
        }
        return reach;
    }
    let width = usize::from(choice % 4);
    let made = made(width);
    let path = input.byte();
    if input.is_empty() {
        if find_all(made, &mut reach) > 1 {
            reach.add(3);
        }
        reach.add(width);
        return reach;
    }
    // The disk may end before the files do.
    let cut = u64::from(choice >> 5) * 0x1000;
    let bytes = if cut > 0 { made.image.len() as u64 - cut } else { made.bytes };
    let mut media = Media::new(&made.image[..], bytes);
    let text;
    let path = match path {
        0..0xf0 => NAMES[usize::from(path) % NAMES.len()],
        _ => {
            text = String::from_utf8_lossy(input.bytes(usize::from(path & 0xf) * 4)).into_owned();
            reach.add(14);
            &text
        }
    };
    change(&mut media, width, &mut input, &mut reach);
    match media.find(&Arguments::default().with_path(path)) {
        Ok(_) => reach.add(5),
        Err(LabelError::NoFileSystem) => reach.add(6),
        Err(LabelError::NoFile) => reach.add(7),
        Err(LabelError::NotAFile) => reach.add(8),
        Err(LabelError::Damaged { what }) => match what {
            "a chain of clusters goes in a circle" => reach.add(9),
            "a chain of clusters leads nowhere" => reach.add(10),
            "a file has too few clusters" => reach.add(11),
            "something is said to be where the file system is not" => reach.add(12),
            other => panic!("{other}"),
        },
        Err(LabelError::TooMuch { .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
    reach
}

/// Links clusters to others, and changes a few bytes, as long as the input says.
fn change(media: &mut Media<'_>, width: usize, input: &mut Input<'_>, reach: &mut Reach) {
    let number = |at: u64, len: usize| {
        let bytes = media.get(at, len);
        bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
    };
    // Its parts, as the boot sector says where they are.
    let table = number(14, 2) * 512;
    let table_bytes = if width == 2 { number(36, 4) } else { number(22, 2) } * 512;
    let root = table + number(16, 1) * table_bytes;
    let data = root + number(17, 2) * 32;
    for _ in 0..input.byte() % 8 {
        let (from, to) = (u64::from(input.u16() % 512), input.u16());
        // The last numbers mean what they do in each width.
        let to = if to >= 0xff00 { u32::from(to) | 0x0fff_0000 } else { u32::from(to) % 512 };
        match width {
            0 => {
                let at = table + from * 3 / 2;
                let old = media.get(at, 2);
                let (to, old) = (to as u16 & 0xfff, u16::from_le_bytes([old[0], old[1]]));
                let new = if from % 2 == 0 { old & 0xf000 | to } else { old & 0xf | to << 4 };
                media.put(at, &new.to_le_bytes());
            }
            1 => media.put(table + from * 2, &(to as u16).to_le_bytes()),
            _ => media.put(table + from * 4, &to.to_le_bytes()),
        }
        reach.add(13);
    }
    media.put_any(input, &[0, table, root, data, data + 0x4000]);
}

/// That each file is found, with what is in it; the most pieces of one.
fn find_all(made: &Made, reach: &mut Reach) -> usize {
    let mut media = Media::new(&made.image[..], made.bytes);
    let mut pieces = 0;
    for name in NAMES {
        for name in [name.to_owned(), name.to_uppercase()] {
            let found = media.find(&Arguments::default().with_path(&name));
            match (made.files.get(NAMES[index(&name)]), found) {
                (Some(content), Ok(region)) => {
                    assert_eq!(&media.content(&region), content, "{name}");
                    pieces = pieces.max(region.extents().len());
                }
                (None, Err(LabelError::NoFile)) => reach.add(7),
                (expected, found) => panic!("{name}: {:?}, {found:?}", expected.map(Vec::len)),
            }
        }
    }
    pieces
}

fn index(name: &str) -> usize {
    let is_same = |it: &&str| it.to_uppercase() == name.to_uppercase();
    NAMES.iter().position(is_same).expect("it is one of them")
}

type Files<'a> = FileSystem<&'a mut Cursor<Vec<u8>>>;

/// A file system that somebody else made and wrote files to.
fn make(bytes: usize, width: FatType, write: impl FnOnce(&Files<'_>) -> Written) -> Made {
    let mut cursor = Cursor::new(vec![0; bytes]);
    let options = FormatVolumeOptions::new().fat_type(width).bytes_per_cluster(512);
    fatfs::format_volume(&mut cursor, options).expect("it has a size that it can have");
    cursor.set_position(0);
    let files = {
        let system = FileSystem::new(&mut cursor, FsOptions::new()).expect("it was just made");
        write(&system)
    };
    let mut image = cursor.into_inner();
    image.truncate(image.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1));
    Made { image, bytes: bytes as u64, files }
}

type Written = BTreeMap<&'static str, Vec<u8>>;

/// Appends to a file, which is made with the directories that it is in; `false` where there is no
/// room.
fn append(system: &Files<'_>, written: &mut Written, name: &'static str, bytes: &[u8]) -> bool {
    let root = system.root_dir();
    for (end, _) in name.match_indices('/') {
        if root.create_dir(&name[..end]).is_err() {
            return false;
        }
    }
    let Ok(mut file) = root.create_file(name) else { return false };
    let content = written.entry(name).or_default();
    file.seek(SeekFrom::End(0)).expect("a file has an end");
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) | Err(_) => return false,
            Ok(done) => {
                content.extend(&rest[..done]);
                rest = &rest[done..];
            }
        }
    }
    true
}

/// The file systems that are changed, of each width: made once.
fn made(width: usize) -> &'static Made {
    static MADE: [OnceLock<Made>; 3] = [const { OnceLock::new() }; 3];
    MADE[width].get_or_init(|| {
        let (bytes, width) =
            [(256 << 10, FatType::Fat12), (4 << 20, FatType::Fat16), (36 << 20, FatType::Fat32)]
                [width];
        make(bytes, width, |system| {
            let mut written = Written::new();
            for round in 0..12_u8 {
                for (index, name) in (0..).zip(NAMES) {
                    let bytes: Vec<_> =
                        (0..400 + 50 * index).map(|at: u32| at as u8 ^ round).collect();
                    assert!(append(system, &mut written, name, &bytes), "there is room");
                }
                let directory = system.root_dir().open_dir("boot/grub/many").expect("it is there");
                directory
                    .create_file(&format!("one more of many files, {round}"))
                    .expect("there is room");
            }
            written
        })
    })
}

/// A small file system with what the input says: files that grow in turn, and that are removed.
fn written(input: &mut Input<'_>) -> Made {
    make(64 << 10, FatType::Fat12, |system| {
        let mut written = Written::new();
        for _ in 0..64 {
            if input.is_empty() {
                break;
            }
            let action = input.byte();
            let name = NAMES[usize::from(action >> 2) % NAMES.len()];
            if action % 4 == 3 {
                let is_removed = system.root_dir().remove(name).is_ok();
                assert_eq!(is_removed, written.remove(name).is_some(), "{name}");
                continue;
            }
            let size = usize::from(input.byte()) * 9;
            let bytes: Vec<_> = (0..size).map(|at| at as u8 ^ action).collect();
            if !append(system, &mut written, name, &bytes) {
                break;
            }
        }
        // What the other implementation reads is what was written.
        for (name, content) in &written {
            let mut read = Vec::new();
            let mut file = system.root_dir().open_file(name).expect("it was written");
            file.read_to_end(&mut read).expect("it can be read");
            assert_eq!(&read, content);
        }
        written
    })
}
