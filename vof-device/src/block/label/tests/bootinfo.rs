//! `bootinfo.txt`.

use super::mbr::put_table;
use super::*;
use crate::block::label::bootinfo::{Boot, BootInfoError, Origin, PATH, parse, read};
use crate::limits::{MAX_BOOTINFO_BYTES, MAX_BOOTINFO_EXTENTS, MAX_BOOTSPEC_BYTES, MAX_PATH_BYTES};
use crate::test_utils::iso::NewIso;

const ORIGIN: Origin<'_> = Origin { device: "/pci/scsi@1", partition: Some(2), path: PATH };

fn boot(specifier: &str, arguments: &str) -> Boot {
    Boot { specifier: specifier.to_owned(), arguments: arguments.to_owned() }
}

/// What a file with this script boots.
fn script(script: &str) -> Result<Boot, BootInfoError> {
    let text = format!(
        "<chrp-boot>\n<description>A & B</description>\n<boot-script>{script}</boot-script>\n\
         <icon size=64,64 color-space=3,3,2>\n00FF00</icon></chrp-boot>\n"
    );
    parse(text.as_bytes(), &ORIGIN)
}

#[test]
fn scripts_of_media_are_understood() {
    for (text, specifier, arguments) in [
        // Debian, Fedora, SUSE, Red Hat, and the binding's own example.
        ("boot &device;:\\boot\\grub\\powerpc.elf", "/pci/scsi@1:\\boot\\grub\\powerpc.elf", ""),
        (
            "boot &device;:1,\\boot\\grub2-ieee1275\\core.elf",
            "/pci/scsi@1:1,\\boot\\grub2-ieee1275\\core.elf",
            "",
        ),
        (
            "\nboot &device;:\\suseboot\\inst64 install=hd\r\n",
            "/pci/scsi@1:\\suseboot\\inst64",
            "install=hd",
        ),
        (
            "\r  boot\t&device;:\\ppc\\chrp\\yaboot  a   b=\"c d\"  \r",
            "/pci/scsi@1:\\ppc\\chrp\\yaboot",
            "a b=\"c d\"",
        ),
        ("BOOT &DEVICE;:&Partition;,&directory;\\yaboot", "/pci/scsi@1:2,\\ppc\\yaboot", ""),
        ("load &full-path;.elf x\ngo", "/pci/scsi@1:2,\\ppc\\bootinfo.txt.elf", "x"),
        (
            "boot hd:2,\\&filename; &lt;&gt;&amp;&quot;&apos; a&b &none; &",
            "hd:2,\\bootinfo.txt",
            "<>&\"' a&b &none; &",
        ),
        ("\" output\" select-dev ( a comment ) boot x:y z", "x:y", "z"),
        ("\\ boot this:\nhex ( boot\nthat: ) boot x", "x", ""),
        ("<!-- boot this:x -->boot x<!-- y\n-->z", "x", "z"),
    ] {
        assert_eq!(script(text).unwrap(), boot(specifier, arguments), "{text}");
    }
}

#[test]
fn tags_are_found_whatever_is_around_them() {
    for text in [
        "<CHRP-BOOT><BOOT-SCRIPT>boot x</BOOT-SCRIPT></CHRP-BOOT>",
        "<boot-script >boot x</Boot-Script>",
        "<boot-script lang=forth\n>boot x</boot-script>",
        "\0\u{ff}<boot-script>boot x</boot-script>\0\0\0",
        "<boot-scripts>boot a</boot-scripts><boot-script>boot x</boot-script>",
        "<boot-script>boot x</boot-script><boot-script>boot y</boot-script>",
        "<!-- <boot-script>boot y</boot-script> --><boot-script>boot x</boot-script><!-- ",
    ] {
        assert_eq!(parse(text.as_bytes(), &ORIGIN).unwrap(), boot("x", ""), "{text}");
    }
}

#[test]
fn what_is_no_script_is_told() {
    let wide: Vec<u8> =
        "<boot-script>boot x</boot-script>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for text in [
        &b""[..],
        b"<chrp-boot></chrp-boot>",
        b"<boot-script>boot x",
        b"<boot-script>boot x<boot-script>",
        b"<boot-script boot x</boot-script",
        b"<boot-script",
        b"</boot-script>boot x<boot-script>",
        b"<!--<boot-script>boot x</boot-script>",
        b"<boot-scriptx>boot x</boot-script>",
        &wide,
    ] {
        assert_error!(parse(text, &ORIGIN), BootInfoError::NoScript);
    }
    for text in [
        "",
        "\n\n",
        "bootx y",
        "\\ boot x",
        "( boot x )",
        "( boot x",
        "boot",
        "boot\nx",
        "load ( x )",
    ] {
        assert_error!(script(text), BootInfoError::NoBoot);
    }
    for text in ["boot x\0", "boot \u{e9}", "\u{1b}[2J boot x", "\u{7f}"] {
        assert_error!(script(text), BootInfoError::NotText);
    }
}

#[test]
fn lengths_have_limits() {
    let mut text = b"<boot-script>boot x</boot-script>".to_vec();
    text.resize(MAX_BOOTINFO_BYTES, b' ');
    assert_eq!(parse(&text, &ORIGIN).unwrap(), boot("x", ""));
    text.push(0);
    assert_error!(parse(&text, &ORIGIN), BootInfoError::TooLong);

    let longest = format!("{} {}", "x".repeat(MAX_PATH_BYTES), "y".repeat(MAX_BOOTSPEC_BYTES));
    assert_eq!(script(&format!("boot {longest}")).unwrap().specifier.len(), MAX_PATH_BYTES);
    assert_error!(script(&format!("boot {longest}y")), BootInfoError::TooLongBoot);
    assert_error!(script(&format!("boot x{longest}")), BootInfoError::TooLongBoot);
    // Entities that make much of little.
    let many = "&full-path;".repeat(5_000);
    assert_error!(script(&format!("boot {many}")), BootInfoError::TooLongBoot);
    assert_error!(script(&format!("boot x {many}")), BootInfoError::TooLongBoot);
    assert_error!(script(&format!("boot x {}", "& ".repeat(5_000))), BootInfoError::TooLongBoot);
}

#[test]
fn pieces_have_a_limit() {
    let read = |pieces: usize| {
        let iso = NewIso { section_bytes: 2048, ..NewIso::default() };
        let name = b"BOOTINFO.TXT;1";
        let mut image = iso.image(&[("PPC/BOOTINFO.TXT", &vec![b' '; pieces * 2048])]);
        // They are shorter than a sector: the file is not too long.
        for at in 33..image.len() - name.len() {
            if image[at..].starts_with(name) {
                image[at - 33 + 10..][..4].copy_from_slice(&16_u32.to_le_bytes());
            }
        }
        read(&SparseDisk::of(&image), "/disk", None)
    };
    assert_error!(read(MAX_BOOTINFO_EXTENTS), BootInfoError::NoScript);
    assert_error!(
        read(MAX_BOOTINFO_EXTENTS + 1),
        BootInfoError::Label(LabelError::TooMuch { what: "the file is in too many pieces" })
    );
}

#[test]
fn scripts_are_read_from_disks() {
    let text = b"<boot-script>boot &device;:&partition;,\\a</boot-script>";
    let iso = NewIso { section_bytes: 2048, ..NewIso::default() };
    let disk = SparseDisk::of(&iso.image(&[("PPC/BOOTINFO.TXT", text)]));
    assert_eq!(read(&disk, "/disk", None).unwrap(), boot("/disk:0,\\a", ""));
    assert_error!(
        read(&disk, "/disk", Some(1)),
        BootInfoError::Label(LabelError::NoPartition { number: 1 })
    );
    // It is in several sections, and ends where its bytes do, not where the sector does.
    let mut long = vec![b' '; MAX_BOOTINFO_BYTES - 100 - text.len()];
    long.extend(text);
    let image = iso.image(&[("ppc/bootinfo.txt", &long)]);
    let mut disk = SparseDisk::of(&image);
    put_table(&mut disk, 0, &[(0x80, 0x96, 0, image.len() as u32 / 512)]);
    assert_eq!(read(&disk, "/disk", Some(1)).unwrap(), boot("/disk:1,\\a", ""));
    disk.bad = 20 * 2048..21 * 2048;
    assert_error!(read(&disk, "/disk", Some(1)), BootInfoError::Label(LabelError::Read(_)));
    let long = vec![b' '; MAX_BOOTINFO_BYTES + 1];
    let disk = SparseDisk::of(&iso.image(&[("ppc/bootinfo.txt", &long)]));
    assert_error!(read(&disk, "/disk", None), BootInfoError::TooLong);
}

#[test]
fn beginnings_without_an_end_are_no_script() {
    for piece in ["<boot-scriptx", "<boot-script", "<!--", "<boot-script>", "&"] {
        let mut text = piece.repeat(MAX_BOOTINFO_BYTES / piece.len());
        text.truncate(MAX_BOOTINFO_BYTES - 3);
        text.push_str("-->");
        assert_error!(parse(text.as_bytes(), &ORIGIN), BootInfoError::NoScript);
    }
}
