//! ISO 9660: files that are on it are found by each of their names, and nothing leads outside.

use vof_device::block::label::{Arguments, LabelError};
use vof_device::test_utils::iso::NewIso;

use crate::Reach;
use crate::input::Input;
use crate::media::Media;

const GOALS: [&str; 12] = [
    "a file by its identifier",
    "a file by Rock Ridge",
    "a file by Joliet",
    "a file of several sections",
    "a changed file system, with a file",
    "no file system",
    "no file",
    "no file but a directory or link",
    "damaged records",
    "something beyond the file system",
    "too much to read",
    "a path of anything",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

const NAMES: [&str; 8] = [
    "ppc/bootinfo.txt",
    "boot/grub/powerpc.elf",
    "boot/README",
    "install/vmlinux-6.1.0-23-powerpc64le",
    "install/initrd.gz",
    "a name with blanks/and.more.dots.than.one",
    "1/2/3/4/5/6/7/8/9",
    "boot/grub/one-name-that-is-so-long-that-no-record-has-room-for-all-of-it-and-it-goes-on-elsewhere-\
     one-name-that-is-so-long-that-no-record-has-room-for-all-of-it-and-it-goes-on-elsewhere-end-of-it",
];
/// Those of them that are identifiers.
const IDS: [usize; 5] = [0, 1, 2, 4, 6];
/// The one that is too long for Joliet.
const LONGEST: usize = 7;

/// `data` is a byte of flags, one that says which files there are, one each for their sizes, one
/// that chooses a path; and what is changed.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let flags = input.byte();
    let files = input.byte();
    let iso = NewIso {
        rock_ridge: flags & 1 != 0,
        joliet: flags & 2 != 0,
        section_bytes: if flags & 4 != 0 { 2048 } else { 0 },
    };
    let contents: Vec<_> = (0..NAMES.len())
        .map(|index| {
            let bytes = usize::from(input.byte()) * 40;
            (0..bytes).map(|at| (at / 7 + index * 31) as u8).collect::<Vec<_>>()
        })
        .collect();
    let there: Vec<_> = (0..NAMES.len()).filter(|index| files >> index & 1 != 0).collect();
    let listed: Vec<_> = there.iter().map(|&it| (NAMES[it], contents[it].as_slice())).collect();
    let image = iso.image(&listed);
    let more = if flags & 8 != 0 { 6 << 30 } else { 0 };
    let mut media = Media::new(&image[..], image.len() as u64 + more);
    let whole = Arguments::default();

    let choice = input.byte();
    if input.is_empty() {
        for &index in &there {
            let is_id = IDS.contains(&index);
            let is_there = is_id || iso.rock_ridge || (iso.joliet && index != LONGEST);
            let name =
                if choice & 1 != 0 { NAMES[index].to_uppercase() } else { NAMES[index].into() };
            match media.find(&whole.clone().with_path(&name)) {
                Ok(region) => {
                    assert!(is_there);
                    assert_eq!(media.content(&region), contents[index], "{name}");
                    match () {
                        () if is_id => reach.add(0),
                        () if iso.rock_ridge => reach.add(1),
                        () => reach.add(2),
                    }
                    if region.extents().len() > 1 {
                        reach.add(3);
                    }
                }
                Err(LabelError::NoFile) => assert!(!is_there, "{name}"),
                Err(other) => panic!("{name}: {other:?}"),
            }
        }
        return reach;
    }

    let text;
    let path = match choice {
        0..0xf0 => NAMES[usize::from(choice) % NAMES.len()],
        _ => {
            text = String::from_utf8_lossy(input.bytes(usize::from(choice & 0xf) * 4)).into_owned();
            reach.add(11);
            &text
        }
    };
    // The descriptors, the directories, and their end.
    let places = [16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 28].map(|sector| sector * 2048);
    media.put_any(&mut input, &places);
    match media.find(&whole.with_path(path)) {
        Ok(_) => reach.add(4),
        Err(LabelError::NoFileSystem) => reach.add(5),
        Err(LabelError::NoFile) => reach.add(6),
        Err(LabelError::NotAFile) => reach.add(7),
        Err(LabelError::TooMuch { .. }) => reach.add(10),
        Err(LabelError::Damaged { what }) if what.contains("record") => reach.add(8),
        Err(LabelError::Damaged { what }) if what.contains("where the file system is not") => {
            reach.add(9);
        }
        Err(_) => {}
    }
    reach
}
