//! `bootinfo.txt`: what a script says is what is booted, and no text makes more of itself than may
//! be.

use vof_device::block::label::bootinfo::{self, Boot, BootInfoError, Origin};
use vof_device::limits::{MAX_BOOTINFO_BYTES, MAX_BOOTSPEC_BYTES, MAX_PATH_BYTES};

use crate::Reach;
use crate::input::Input;

const GOALS: [&str; 11] = [
    "a script as made",
    "a script as made, with comments",
    "a script of anything that boots",
    "a script of anything that boots with arguments",
    "an entity in a script of anything",
    "no script",
    "no text",
    "nothing that is booted",
    "too long a file",
    "too long a path or arguments",
    "a script as made, with entities",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

const ORIGIN: Origin<'_> =
    Origin { device: "/pci@1/scsi@2", partition: Some(3), path: "\\ppc\\bootinfo.txt" };

/// Pieces of words, and what they stand for.
const PIECES: [(&str, &str); 16] = [
    ("&device;", "/pci@1/scsi@2"),
    ("&partition;", "3"),
    ("&directory;", "\\ppc"),
    ("&filename;", "bootinfo.txt"),
    ("&full-path;", "/pci@1/scsi@2:3,\\ppc\\bootinfo.txt"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&amp;", "&"),
    ("&quot;", "\""),
    ("&apos;", "'"),
    ("&none;", "&none;"),
    ("&", "&"),
    (";", ";"),
    (":\\boot\\grub\\powerpc.elf", ":\\boot\\grub\\powerpc.elf"),
    ("root=/dev/vda2", "root=/dev/vda2"),
    ("x", "x"),
];
/// What of them are entities.
const ENTITIES: std::ops::Range<usize> = 0..10;

/// `data` is a byte that says what is made, and what it is made of.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let choice = input.byte();
    if choice % 2 == 0 {
        made(choice, &mut input, &mut reach);
    } else {
        anything(choice, input, &mut reach);
    }
    reach
}

/// A script of words that are known.
fn made(choice: u8, input: &mut Input<'_>, reach: &mut Reach) {
    let case = |text: &str| if choice & 2 != 0 { text.to_uppercase() } else { text.to_owned() };
    let mut script = String::new();
    if choice & 4 != 0 {
        script.push_str("hex \\ boot this: not\n( boot\r that: not ) <!-- boot <none> -->");
        reach.add(1);
    }
    script += &format!(" {} ", case(if choice & 8 != 0 { "load" } else { "boot" }));
    let mut expected: Vec<String> = Vec::new();
    for word in 0..1 + input.byte() % 8 {
        let mut stands_for = String::new();
        // Its first piece is what is no `(` or `\`.
        let first = if word == 0 { 0 } else { 15 };
        script += PIECES[first].0;
        stands_for += PIECES[first].1;
        for _ in 0..input.byte() % 8 {
            let index = usize::from(input.byte()) % PIECES.len();
            // Two may be one entity that is not known, and is what it was.
            let piece = PIECES[index];
            if piece.0 == ";" && stands_for.ends_with('&') {
                continue;
            }
            if ENTITIES.contains(&index) {
                reach.add(10);
            }
            script += &if ENTITIES.contains(&index) { case(piece.0) } else { piece.0.to_owned() };
            stands_for += piece.1;
            if piece.0 == "&" {
                // So that no entity begins with it.
                script.push(' ');
                expected.push(std::mem::take(&mut stands_for));
                script.push('y');
                stands_for.push('y');
            }
        }
        script.push(' ');
        expected.push(stands_for);
    }
    script += "\n boot nothing more";
    let tag = |text| case(text);
    let text = format!(
        "{}\n<description>&device; <x></description>{}{script}{}",
        tag("<chrp-boot>"),
        tag("<boot-script>"),
        tag("</boot-script>"),
    );
    let specifier = expected.remove(0);
    match bootinfo::parse(text.as_bytes(), &ORIGIN) {
        Ok(boot) => {
            assert_eq!(boot.specifier, specifier);
            assert_eq!(boot.arguments, expected.join(" "));
            check(&boot);
            reach.add(0);
        }
        Err(BootInfoError::TooLongBoot) => {
            let arguments = expected.join(" ");
            assert!(specifier.len() > MAX_PATH_BYTES || arguments.len() > MAX_BOOTSPEC_BYTES);
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// Any text, in a script or by itself, once or again and again.
fn anything(choice: u8, input: Input<'_>, reach: &mut Reach) {
    let mut text = input.rest().to_vec();
    if choice & 0x80 != 0 {
        text = text.repeat(usize::from(choice & 0x70) * 16);
        text.truncate(2 * MAX_BOOTINFO_BYTES);
    }
    if choice & 2 != 0 {
        text = [&b"<boot-script>boot "[..], &text, b"</boot-script>"].concat();
    }
    let found = bootinfo::parse(&text, &ORIGIN);
    assert_eq!(format!("{:?}", bootinfo::parse(&text, &ORIGIN)), format!("{found:?}"));
    match found {
        Ok(boot) => {
            check(&boot);
            reach.add(2);
            if !boot.arguments.is_empty() {
                reach.add(3);
            }
            let all = boot.specifier + &boot.arguments;
            if all.contains("/pci@1/scsi@2") {
                reach.add(4);
            }
        }
        Err(BootInfoError::NoScript) => reach.add(5),
        Err(BootInfoError::NotText) => reach.add(6),
        Err(BootInfoError::NoBoot) => reach.add(7),
        Err(BootInfoError::TooLong) => {
            assert!(text.len() > MAX_BOOTINFO_BYTES);
            reach.add(8);
        }
        Err(BootInfoError::TooLongBoot) => reach.add(9),
        Err(other) => panic!("{other:?}"),
    }
}

/// What must hold of whatever is booted.
fn check(boot: &Boot) {
    assert!(!boot.specifier.is_empty() && boot.specifier.len() <= MAX_PATH_BYTES);
    assert!(boot.arguments.len() <= MAX_BOOTSPEC_BYTES);
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_word(&boot.specifier));
    assert!(boot.arguments.is_empty() || boot.arguments.split(' ').all(is_word));
    assert!(boot.arguments.split(' ').all(|word| !word.is_empty()) || boot.arguments.is_empty());
}
