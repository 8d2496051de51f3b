//! Machines that start from their disks: small disks that are made here, with guest programs on
//! them, and with what is none. `guests/bootpath.c` says where it came from.
#![cfg(feature = "vof")]

use std::fs;
use std::path::PathBuf;

use run::{Run, program};
use vof_device::test_utils::iso::NewIso;
use vof_device::test_utils::labels::{NewPartition, gpt_disk, mbr_disk};

mod run;

/// The node of the first disk, without its number.
const DISK: &str = "/pci@800000020000000/scsi@";
const NOTHING: &str = "there is neither a PReP partition nor \\ppc\\bootinfo.txt on it";

/// Disks of one test.
struct Disks(PathBuf);

impl Disks {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("autoboot-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// The argument of `--disk` of a new one.
    fn with(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.0.join(name), bytes).unwrap();
        format!("path={}", self.0.join(name).display())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn guest(name: &str) -> Vec<u8> {
    fs::read(program(name)).unwrap()
}

/// A machine with these disks and more arguments, to its end: status, console, standard error.
fn boot(disks: &[String], arguments: &[&str]) -> (Option<i32>, String, String) {
    let (status, shown, complaint) = start(disks, arguments).end();
    (status.code(), shown.replace('\r', ""), complaint)
}

fn start(disks: &[String], arguments: &[&str]) -> Run {
    let disks = disks.iter().flat_map(|disk| ["--disk", disk.as_str()]);
    let all: Vec<&str> = ["--memory", "size=64M"].into_iter().chain(disks).collect();
    Run::of_arguments(&[&all, arguments].concat())
}

fn tried(place: &str, what: &str) -> String {
    format!("Trying {DISK}{place} ... {what}\n")
}

/// What is shown when `guests/bootpath.c` was found.
fn found(place: &str, arguments: &str) -> String {
    let loaded = tried(place, "loaded");
    format!("{loaded}bootpath: {DISK}{place}\nbootargs: {arguments}\n")
}

/// The bootpath names what can be opened, and the program reads itself there.
#[test]
fn prep_partitions_are_started() {
    let disks = Disks::new("prep");
    let program = guest("bootpath.elf");
    let (prep, other) = (NewPartition::prep(&program), NewPartition::linux(b"files"));
    for (table, bytes) in [("mbr", mbr_disk(&[other, prep])), ("gpt", gpt_disk(&[other, prep]))] {
        let disk = [disks.with(table, &bytes)];
        let (status, shown, complaint) = boot(&disk, &[]);
        assert_eq!((status, shown), (Some(0), found("0:2", "")), "{table}: {complaint}");
        let (_, shown, _) = boot(&disk, &["--cmdline", "a=b c"]);
        assert_eq!(shown, found("0:2", "a=b c"), "{table}");
    }
}

/// The same in 64 bits: linked at fixed addresses, in either byte order of the file. Code begins
/// big-endian in any case, as that of Linux does.
#[test]
fn programs_of_64_bits_are_started() {
    let disks = Disks::new("64");
    let big = guest("client64.elf");
    for (name, program) in [("big", big.clone()), ("little", with_little_endian_headers(big))] {
        let disk = [disks.with(name, &mbr_disk(&[NewPartition::prep(&program)]))];
        let (status, shown, complaint) = boot(&disk, &["--cmdline", "power off"]);
        assert_eq!(status, Some(0), "{name}: {shown} {complaint}");
        assert_eq!(shown, tried("0:1", "loaded") + "client interface works\n", "{name}");
    }
}

/// Turns the numbers of an ELF64 file around, with one program header.
fn with_little_endian_headers(mut file: Vec<u8>) -> Vec<u8> {
    let header = [2, 2, 4, 8, 8, 8, 4, 2, 2, 2, 2, 2, 2];
    let program_header = [4, 4, 8, 8, 8, 8, 8, 8];
    file[5] = 1;
    let at = u64::from_be_bytes(file[32..40].try_into().unwrap()) as usize;
    for (mut at, fields) in [(16, &header[..]), (at, &program_header[..])] {
        for &bytes in fields {
            file[at..at + bytes].reverse();
            at += bytes;
        }
    }
    file
}

/// Each attempt is told with its reason, and the next disk is tried.
#[test]
fn what_cannot_be_started_is_told_and_the_next_is_tried() {
    let disks = Disks::new("next");
    let program = guest("bootpath.elf");
    let mut over_firmware = program.clone();
    let mut outside = program.clone();
    // The first program header: its virtual and its physical address. And the entry point.
    for (file, address) in [(&mut over_firmware, 0x8000_u32), (&mut outside, 0x7000_0000)] {
        for at in [24, 52 + 8, 52 + 12] {
            file[at..at + 4].copy_from_slice(&address.to_be_bytes());
        }
    }
    let prep = |program: &[u8]| mbr_disk(&[NewPartition::prep(program)]);
    let list = [
        disks.with("zeros", &[0; 4096]),
        disks.with("no-partition", &mbr_disk(&[NewPartition::linux(b"files")])),
        disks.with("script", &prep(b"#!/bin/sh")),
        disks.with("cut", &prep(&program[..1024])),
        disks.with("firmware", &prep(&over_firmware)),
        disks.with("outside", &prep(&outside)),
        disks.with("good", &prep(&program)),
    ];
    let (status, shown, complaint) = boot(&list, &[]);
    assert_eq!(status, Some(0), "{shown} {complaint}");
    let expected = [
        (0, "0 ... ", NOTHING),
        (1, "1 ... ", NOTHING),
        (2, "2:1 ... ", "not an ELF file"),
        (3, "3:1 ... ", "the ELF file is incomplete"),
        (4, "4:1 ... ", "where the firmware is"),
        (5, "5:1 ... ", "RAM ends at"),
    ];
    let lines: Vec<&str> = shown.lines().collect();
    for (number, place, reason) in expected {
        let line = lines[number];
        assert!(line.starts_with(&format!("Trying {DISK}{place}")), "{line}");
        assert!(line.contains(reason), "{line}");
    }
    assert_eq!(lines[6..].join("\n") + "\n", found("6:1", ""));

    // And where there is no other, that is the end, with the same list.
    let (status, shown, complaint) = boot(&list[..6], &[]);
    assert_eq!((status, shown.lines().collect::<Vec<_>>()), (Some(3), lines[..6].to_vec()));
    assert!(complaint.contains("nothing to start"), "{complaint}");
}

/// Partitions that are said to be where no disk is, and links that lead in a circle.
#[test]
fn tables_that_make_no_sense_are_told() {
    let disks = Disks::new("tables");
    let mut circular = mbr_disk(&[NewPartition { mbr_type: 5, ..NewPartition::linux(&[0; 2048]) }]);
    let link = &mut circular[64 * 512..65 * 512];
    link[510..].copy_from_slice(&[0x55, 0xaa]);
    link[446 + 16 + 4] = 5;
    let mut beyond = mbr_disk(&[NewPartition::prep(b"x")]);
    beyond[446 + 11] = 0x7f;
    let mut gpt = gpt_disk(&[NewPartition::prep(b"x")]);
    let sectors = gpt.len() / 512;
    for header in [1, sectors - 1] {
        gpt[header * 512 + 16] ^= 1;
    }
    for (name, bytes) in [("circular", circular), ("beyond", beyond), ("gpt", gpt)] {
        let (status, shown, complaint) = boot(&[disks.with(name, &bytes)], &[]);
        assert_eq!(status, Some(3), "{name}: {shown} {complaint}");
        assert_eq!(shown.lines().count(), 1, "{name}: {shown}");
        assert!(shown.starts_with(&format!("Trying {DISK}0 ... ")), "{name}: {shown}");
    }
}

/// Installation media: what `\ppc\bootinfo.txt` says, with its arguments.
#[test]
fn media_are_started_by_their_bootinfo() {
    let disks = Disks::new("media");
    let program = guest("bootpath.elf");
    let script =
        b"<chrp-boot><boot-script>boot &device;:\\boot\\image.elf from media</boot-script>\
                   </chrp-boot>";
    let files: [(&str, &[u8]); 2] = [("ppc/bootinfo.txt", script), ("boot/image.elf", &program)];
    let media = disks.with("media", &NewIso::default().image(&files)) + ",readonly=on";
    let place = "0:\\boot\\image.elf";
    let (status, shown, complaint) = boot(std::slice::from_ref(&media), &[]);
    assert_eq!((status, shown), (Some(0), found(place, "from media")), "{complaint}");
    // It is called a CD, and a file on it can be named.
    for device in ["cdrom", "disk0", "disk"] {
        let choice = format!("device={device},file=\\boot\\image.elf");
        let (_, shown, _) = boot(std::slice::from_ref(&media), &["--boot", &choice]);
        assert_eq!(shown, found(place, ""), "{device}");
    }
    // The user's arguments are in place of its own.
    let (_, shown, _) = boot(std::slice::from_ref(&media), &["--cmdline", "mine"]);
    assert_eq!(shown, found(place, "mine"));
    let (status, shown, _) = boot(&[media], &["--boot", "device=cdrom,file=\\none"]);
    assert_eq!((status, shown), (Some(3), tried("0:\\none", "there is no such file")));
}

#[test]
fn one_device_can_be_chosen() {
    let disks = Disks::new("chosen");
    let program = guest("bootpath.elf");
    let disk = |name: &str| disks.with(name, &mbr_disk(&[NewPartition::prep(&program)]));
    let list = [disk("first"), disk("second") + ",id=root", disks.with("zeros", &[0; 512])];
    let path = format!("device={DISK}1");
    for choice in ["device=root", "device=root:1", "device=disk1:1", &path] {
        let (status, shown, complaint) = boot(&list, &["--boot", choice]);
        assert_eq!((status, shown), (Some(0), found("1:1", "")), "{choice}: {complaint}");
    }
    let file = disks.0.join("machine.json");
    let json = r#"{"memory": {"size": "64M"}, "payload": {"boot": {"device": "root"}}}"#;
    fs::write(&file, json).unwrap();
    let (_, shown, _) = boot(&list, &["--config", file.to_str().unwrap()]);
    assert_eq!(shown, found("1:1", ""));
    // No other is tried then.
    let (status, shown, _) = boot(&list, &["--boot", "device=disk2"]);
    assert_eq!((status, shown), (Some(3), tried("2", NOTHING)));
}

/// A choice that names nothing is a mistake of the user's, who is told what there is.
#[test]
fn a_choice_that_names_nothing_is_a_mistake() {
    let disks = Disks::new("no-device");
    let disk = [disks.with("zeros", &[0; 4096]) + ",id=root"];
    let names =
        "there are root, disk, disk0 (cdrom would be a disk with readonly=on and an ISO 9660";
    for (choice, reason) in [
        ("device=cdrom", "there is no such device"),
        ("device=disk1:1", "there is no such device"),
        ("device=net0,file=a", "there is no such device"),
        ("device=/pci/scsi@9", "there is no such device"),
        ("device=/vdevice/vty", "this device is nothing to start from"),
        ("device=/", "this device is nothing to start from"),
    ] {
        let (status, shown, complaint) = boot(&disk, &["--boot", choice]);
        assert_eq!((status, shown.as_str()), (Some(2), ""), "{choice}: {complaint}");
        let said = format!("--boot {choice}: {reason}; {names}");
        assert!(complaint.contains(&said), "{choice}: no {said:?} in {complaint}");
    }
}

/// `--boot` is in place of all that a file has for its kernel.
#[test]
fn a_choice_is_in_place_of_a_files_kernel() {
    let disks = Disks::new("in-place");
    let program = guest("bootpath.elf");
    let list = [disks.with("disk", &mbr_disk(&[NewPartition::prep(&program)]))];
    let file = disks.0.join("machine.json");
    let json = r#"{"memory": {"size": "64M"},
        "payload": {"kernel": "/none/k", "initramfs": "/none/i", "cmdline": "root=/dev/vda"}}"#;
    fs::write(&file, json).unwrap();
    let file = file.to_str().unwrap();
    let choice = ["--config", file, "--boot", "device=disk0"];
    let (status, shown, complaint) = boot(&list, &choice);
    assert_eq!((status, shown), (Some(0), found("0:1", "")), "{complaint}");
    let (_, shown, _) = boot(&list, &[&choice[..], &["--cmdline", "mine"]].concat());
    assert_eq!(shown, found("0:1", "mine"));
}

/// Where the console is elsewhere, the reasons are on standard error, and only if nothing starts.
#[test]
fn reasons_are_told_where_the_console_is_not_seen() {
    let disks = Disks::new("elsewhere");
    let program = guest("bootpath.elf");
    let list = [
        disks.with("zeros", &[0; 4096]),
        disks.with("good", &mbr_disk(&[NewPartition::prep(&program)])),
    ];
    let told = tried("0", NOTHING);
    let null = ["--serial", "null"];
    let (status, _, complaint) = boot(&list[..1], &null);
    assert_eq!(status, Some(3), "{complaint}");
    assert_eq!(complaint.matches(told.trim_end()).count(), 1, "{complaint}");
    let (_, _, complaint) = boot(&list[..1], &["--serial", "null", "--log", "info"]);
    assert_eq!(complaint.matches(told.trim_end()).count(), 1, "{complaint}");
    let (status, _, complaint) = boot(&list, &null);
    assert_eq!((status, complaint.as_str()), (Some(0), ""));
    let (status, shown, complaint) = boot(&list[..1], &[]);
    assert_eq!((status, shown), (Some(3), told), "{complaint}");
    assert!(!complaint.contains("Trying"), "{complaint}");
}

/// The service `boot` with a device: for one start, with its arguments. What cannot be there is
/// told, and the machine starts as it would without.
#[test]
fn a_client_chooses_what_is_next() {
    let disks = Disks::new("client");
    let program = guest("bootpath.elf");
    let disk = |name: &str| disks.with(name, &mbr_disk(&[NewPartition::prep(&program)]));
    let list = [disk("first"), disk("second")];
    for (next, shown_next) in [
        ("disk1:1 second start", found("1:1", "second start")),
        ("disk1 second start", found("1:1", "second start")),
        ("second start", found("0:1", "second start")),
        ("disk1:1", found("1:1", "mine")),
        ("disk1:3 x", tried("1:3", "the disk has no partition 3") + &found("0:1", "x")),
    ] {
        let cmdline = format!("then {next}");
        // With the machine's arguments again, it would go round for ever.
        let (cmdline, expected) = match next {
            "disk1:1" => continue,
            _ => (cmdline.clone(), found("0:1", &cmdline) + &shown_next),
        };
        let (status, shown, complaint) = boot(&list, &["--cmdline", &cmdline]);
        assert_eq!((status, shown), (Some(0), expected), "{next}: {complaint}");
    }
}

/// A restart looks at the disks anew.
#[test]
fn a_disk_that_was_changed_is_started_as_it_is() {
    let disks = Disks::new("changed");
    let program = guest("bootpath.elf");
    let image = mbr_disk(&[NewPartition::prep(&program)]);
    let list = [disks.with("first", &vec![0; image.len()]), disks.with("second", &image)];
    let mut vmm = start(&list, &["--cmdline", "wait now"]);
    vmm.expect("waiting");
    fs::write(disks.0.join("first"), &image).unwrap();
    vmm.type_in("x");
    let (status, shown, complaint) = vmm.end();
    assert_eq!(status.code(), Some(0), "{shown} {complaint}");
    let shown = shown.replace('\r', "");
    let expected = tried("0", NOTHING) + &found("1:1", "wait now") + "waiting\n";
    assert_eq!(shown, expected + &found("0:1", "now"));
}

/// Two runs are the same, reads of the client included.
#[test]
fn runs_can_be_repeated() {
    let disks = Disks::new("icount");
    let disk = [disks.with("disk", &mbr_disk(&[NewPartition::prep(&guest("bootpath.elf"))]))];
    let run = || {
        let (status, shown, told) = boot(&disk, &["--icount", "--stats"]);
        assert_eq!((status, shown), (Some(0), found("0:1", "")), "{told}");
        let count = told.lines().find(|line| line.contains("instructions")).unwrap();
        count.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty()).unwrap().to_owned()
    };
    assert_eq!(run(), run());
}

#[test]
fn without_anything_to_start_from_it_is_a_mistake() {
    let disks = Disks::new("mistake");
    let disk = disks.with("disk", &[0; 512]);
    let kernel = program("bootpath.elf");
    let kernel = kernel.to_str().unwrap();
    let json = |name: &str, text: &str| {
        fs::write(disks.0.join(name), text).unwrap();
        disks.0.join(name).to_str().unwrap().to_owned()
    };
    let none = json("none.json", "{}");
    let both = json("both.json", r#"{"payload": {"kernel": "k", "boot": {"device": "disk"}}}"#);
    for (arguments, words) in [
        (
            vec!["--disk", &disk, "--machine", "x-vof=off"],
            "x-vof=off: without the client interface",
        ),
        (vec!["--config", &both], "both.json, at \"payload\": there can be"),
        (vec!["--config", &none], "--kernel FILE, --disk path=FILE, --net socket=PATH or --net"),
        (vec!["--disk", &disk, "--initramfs", kernel], "no kernel is given"),
        (
            vec!["--disk", &disk, "--initramfs", kernel, "--boot", "device=disk0"],
            "cannot be used with",
        ),
        (
            vec!["--disk", &disk, "--kernel", kernel, "--boot", "device=disk0"],
            "cannot be used with",
        ),
        (vec!["--disk", &disk, "--boot", "file=x"], "\"device\" is missing"),
        (vec!["--disk", &disk, "--boot", "disk0"], "key=value"),
    ] {
        let (status, shown, complaint) = Run::of_arguments(&arguments).end();
        assert_eq!(status.code(), Some(2), "{arguments:?}: {shown} {complaint}");
        assert!(complaint.contains(words), "{arguments:?}: {complaint}");
    }
}
