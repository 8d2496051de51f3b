//! Disks in memory, and what is found on them.

use std::sync::Arc;

use vm_fdt::FdtWriter;

use super::*;
use crate::block::label::LabelError;
use crate::block::{Extent, Region};
use crate::limits::MAX_PREP_PARTITIONS;
use crate::test_utils::TestDisk;
use crate::test_utils::iso::NewIso;
use crate::test_utils::labels::{NewPartition, gpt_disk, mbr_disk};

const FIRST: &str = "/pci@800000020000000/scsi@0";
const SECOND: &str = "/pci@800000020000000/scsi@1";
const PROGRAM: &[u8] = b"\x7fELF and so on";

/// Two disks with aliases, something else, and these variables.
fn tree(variables: &[(&str, &str)]) -> DeviceTree {
    let mut fdt = FdtWriter::new().unwrap();
    let mut phandle = 0;
    let mut node = |fdt: &mut FdtWriter, name: &str| {
        phandle += 1;
        let node = fdt.begin_node(name).unwrap();
        fdt.property_phandle(phandle).unwrap();
        node
    };
    let root = node(&mut fdt, "");
    let aliases = node(&mut fdt, "aliases");
    for (name, path) in [("disk", FIRST), ("disk1", SECOND), ("hvterm", "/vdevice")] {
        fdt.property_string(name, path).unwrap();
    }
    fdt.end_node(aliases).unwrap();
    let options = node(&mut fdt, "options");
    for (name, value) in variables {
        fdt.property_string(name, value).unwrap();
    }
    fdt.end_node(options).unwrap();
    let vdevice = node(&mut fdt, "vdevice");
    fdt.end_node(vdevice).unwrap();
    let pci = node(&mut fdt, "pci@800000020000000");
    for name in ["scsi@0", "scsi@1"] {
        let disk = node(&mut fdt, name);
        fdt.end_node(disk).unwrap();
    }
    fdt.end_node(pci).unwrap();
    fdt.end_node(root).unwrap();
    DeviceTree::from_blob(&fdt.finish().unwrap()).unwrap()
}

fn disk(path: &str, bytes: Vec<u8>) -> BootDevice {
    BootDevice::disk(path, Arc::new(TestDisk::new(bytes)))
}

/// The name of an attempt; the bootpath and the begin of what was found, or the error.
type Tried = (String, Result<(String, Vec<u8>), AttemptError>);

/// Each attempt.
fn tried(variables: &[(&str, &str)], devices: &[BootDevice], choice: &Choice) -> Vec<Tried> {
    let tree = tree(variables);
    let attempts = Attempts::new(&tree, devices, choice).map(|attempt| {
        let found = attempt.result.map(|image| {
            let mut begin = vec![0; PROGRAM.len()];
            image.source().read_bytes(0, &mut begin).unwrap();
            (image.bootpath().to_owned(), begin)
        });
        (attempt.name, found)
    });
    attempts.collect()
}

/// That every attempt found a program, in these places.
fn found_at(attempts: Vec<Tried>, places: &[&str]) {
    let attempts: Vec<_> =
        attempts.into_iter().map(|(name, found)| (name, found.unwrap())).collect();
    let names: Vec<_> = attempts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, places);
    for (name, (bootpath, begin)) in &attempts {
        assert_eq!((bootpath, &begin[..]), (name, PROGRAM));
    }
}

fn programs() -> [Vec<u8>; 2] {
    let (program, other) = (NewPartition::prep(PROGRAM), NewPartition::linux(b"files"));
    [mbr_disk(&[other, program]), gpt_disk(&[other, program])]
}

#[test]
fn prep_partitions_of_both_tables_are_found() {
    for bytes in programs() {
        let devices = [disk(FIRST, bytes)];
        let places = [format!("{FIRST}:2")];
        found_at(tried(&[], &devices, &Choice::automatic()), &[&places[0]]);
    }
}

/// One that is marked as active comes first, whatever its number. None has to be.
#[test]
fn the_active_partition_comes_first() {
    let program = NewPartition::prep(PROGRAM);
    let places = |bytes: Vec<u8>, numbers: [u32; 2]| {
        let places = numbers.map(|number| format!("{FIRST}:{number}"));
        let attempts = tried(&[], &[disk(FIRST, bytes)], &Choice::automatic());
        found_at(attempts, &places.each_ref().map(String::as_str));
    };
    places(mbr_disk(&[program, NewPartition::linux(b""), program]), [1, 3]);
    places(mbr_disk(&[program, NewPartition::linux(b""), program.active()]), [3, 1]);
    places(gpt_disk(&[program, program]), [1, 2]);
}

#[test]
fn disks_are_tried_in_their_order() {
    let [mbr, gpt] = programs();
    let places = [format!("{SECOND}:2"), format!("{FIRST}:2")];
    let devices = [disk(SECOND, mbr), disk(FIRST, gpt)];
    found_at(tried(&[], &devices, &Choice::automatic()), &[&places[0], &places[1]]);
}

/// Device specifiers with blanks between them; what is tried twice is one.
#[test]
fn boot_device_comes_before_all_others() {
    let [mbr, gpt] = programs();
    let devices = [disk(FIRST, mbr), disk(SECOND, gpt)];
    let (first, second) = (format!("{FIRST}:2"), format!("{SECOND}:2"));
    for (value, places) in [
        ("disk1", [&second, &first]),
        ("  disk1   disk ", [&second, &first]),
        ("/pci@800000020000000/scsi@01 disk1", [&second, &first]),
        ("/pci/@1", [&second, &first]),
        ("", [&first, &second]),
    ] {
        let attempts = tried(&[("boot-device", value)], &devices, &Choice::automatic());
        found_at(attempts, &places.map(String::as_str));
    }
    // A part of a disk, and the disk.
    let attempts = tried(&[("boot-device", "disk1:2")], &devices, &Choice::automatic());
    found_at(attempts, &[&second, &first, &second]);
}

/// What the variable names may not be there any more, or be no text: the machine starts all the
/// same.
#[test]
fn a_boot_device_that_is_none_is_told() {
    let [mbr, _] = programs();
    let devices = [disk(FIRST, mbr)];
    let long = "x".repeat(2000);
    let value = format!("cdrom hvterm disk1:1 disk:9 disk:- {long}");
    let mut attempts = tried(&[("boot-device", &value)], &devices, &Choice::automatic());
    let last = attempts.pop().unwrap();
    found_at(vec![last], &[&format!("{FIRST}:2")]);
    let reasons: Vec<_> = attempts.into_iter().map(|(_, found)| found.unwrap_err()).collect();
    assert!(
        matches!(
            reasons[..],
            [
                AttemptError::NoDevice,
                AttemptError::NotBootable,
                AttemptError::NotBootable,
                AttemptError::Label(LabelError::NoPartition { number: 9 }),
                AttemptError::Label(LabelError::Arguments),
                AttemptError::TooLong
            ]
        ),
        "{reasons:?}"
    );
    let many: Vec<String> = (0..1000).map(|number| format!("disk:{number}")).collect();
    let attempts = tried(&[("boot-device", &many.join(" "))], &devices, &Choice::automatic());
    // And then the disk.
    assert_eq!(attempts.len(), crate::limits::MAX_BOOT_DEVICES + 1);
}

#[test]
fn boot_file_is_for_what_boot_device_names() {
    let [mbr, gpt] = programs();
    let devices = [disk(FIRST, mbr), disk(SECOND, gpt)];
    let arguments = |variables: &[(&str, &str)]| {
        let tree = tree(variables);
        let attempts = Attempts::new(&tree, &devices, &Choice::automatic());
        let arguments =
            attempts.map(|attempt| attempt.result.unwrap().arguments().map(str::to_owned));
        arguments.collect::<Vec<_>>()
    };
    assert_eq!(arguments(&[("boot-file", "a b")]), [None, None]);
    let both = [("boot-device", "disk1"), ("boot-file", "a b")];
    assert_eq!(arguments(&both), [Some("a b".to_owned()), None]);
}

/// Nothing else is tried then.
#[test]
fn an_explicit_choice_is_the_only_one() {
    let [mbr, gpt] = programs();
    let devices = [disk(FIRST, mbr), disk(SECOND, gpt)];
    let variables = [("boot-device", "disk")];
    let second = format!("{SECOND}:2");
    for specifier in ["disk1", "disk1:2", "disk1:b", "disk1:0", SECOND, &second] {
        found_at(tried(&variables, &devices, &Choice::only(specifier)), &[&second]);
    }
    for specifier in ["disk2", "disk1:3", "disk1:2,\\file", "disk1:\\file"] {
        let attempts = tried(&variables, &devices, &Choice::only(specifier));
        assert!(matches!(attempts[..], [(_, Err(_))]), "{specifier}: {attempts:?}");
    }
    // A client's wish is one for one start.
    let choice = Choice::only("disk1").with_first(Some("disk".to_owned()));
    found_at(tried(&[], &devices, &choice), &[&format!("{FIRST}:2"), &second]);
}

#[test]
fn disks_with_nothing_say_why() {
    let reason = |device: BootDevice| {
        let mut attempts = tried(&[], &[device], &Choice::automatic());
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        attempts.remove(0).1.unwrap_err()
    };
    for bytes in [vec![0; 1 << 20], vec![0; 512], mbr_disk(&[NewPartition::linux(b"files")])] {
        assert!(matches!(reason(disk(FIRST, bytes)), AttemptError::Nothing));
    }
    // What is on it is not even looked at.
    let unreadable = TestDisk::new(programs()[0].clone());
    unreadable.spoil(0..512);
    let error = reason(BootDevice::disk(FIRST, Arc::new(unreadable)));
    assert!(matches!(error, AttemptError::Label(LabelError::Read(_))), "{error:?}");
}

/// A table can say that all of its partitions are programs.
#[test]
fn programs_have_a_limit() {
    let of = |partitions: usize| {
        let nothing = vec![NewPartition::prep(&[0; 512]); partitions];
        tried(&[], &[disk(FIRST, gpt_disk(&nothing))], &Choice::automatic()).len()
    };
    assert_eq!(of(MAX_PREP_PARTITIONS), MAX_PREP_PARTITIONS);
    assert_eq!(of(MAX_PREP_PARTITIONS + 4), MAX_PREP_PARTITIONS);
}

/// Links of extended partitions that lead in a circle end somewhere.
#[test]
fn circular_tables_end() {
    let mut bytes = mbr_disk(&[NewPartition { mbr_type: 5, ..NewPartition::linux(&[0; 2048]) }]);
    let (start, end) = (64 * 512, 65 * 512);
    bytes[start + 510..end].copy_from_slice(&[0x55, 0xaa]);
    // A link to itself.
    let link = &mut bytes[start + 446 + 16..][..16];
    link[4] = 5;
    link[12..16].copy_from_slice(&4_u32.to_le_bytes());
    let attempts = tried(&[], &[disk(FIRST, bytes)], &Choice::automatic());
    assert!(attempts.iter().all(|(_, found)| found.is_err()), "{attempts:?}");
}

/// Wherever a file's pieces begin, and whatever is asked for of it.
#[test]
fn images_are_read_at_any_offset() {
    let disk_bytes: Vec<u8> = (0..400_u32 << 10).map(|at| (at * 7 + at / 512) as u8).collect();
    let pieces = [(1_u64, 700_u64), (300_000, 3), (2048, 200_000), (512, 512), (390_000, 10_000)];
    let region = Region::new(
        pieces.iter().map(|&(start, bytes)| Extent::new(start, bytes)).collect(),
        disk_bytes.len() as u64,
    );
    let expected: Vec<u8> = pieces
        .iter()
        .flat_map(|&(start, bytes)| disk_bytes[start as usize..][..bytes as usize].to_vec())
        .collect();
    let disk = Arc::new(TestDisk::new(disk_bytes));
    let image = BootImage::on_disk(String::new(), None, disk, region.unwrap());
    let source = image.source();
    assert_eq!(source.size_bytes().unwrap(), expected.len() as u64);
    for (offset, bytes) in [(0, expected.len()), (0, 1), (699, 5), (703, 512), (500, 150_000)] {
        let mut read = vec![0; bytes];
        source.read_bytes(offset as u64, &mut read).unwrap();
        assert!(read == expected[offset..][..bytes], "{offset} {bytes}");
    }
    let error = source.read_bytes(expected.len() as u64 - 1, &mut [0; 2]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

/// The whole disk's is before PReP partitions, those of other partitions are behind them.
#[test]
fn bootinfo_names_files_with_their_arguments() {
    let iso = |script: &str| {
        let text = format!("<chrp-boot><boot-script>{script}</boot-script></chrp-boot>");
        let files: [(&str, &[u8]); 2] =
            [("ppc/bootinfo.txt", text.as_bytes()), ("boot/image", PROGRAM)];
        NewIso::default().image(&files)
    };
    let found = |bytes: Vec<u8>, choice: &Choice| {
        let tree = tree(&[]);
        let devices = [disk(FIRST, bytes)];
        let mut attempts = Attempts::new(&tree, &devices, choice);
        let attempt = attempts.next().unwrap();
        assert!(attempts.next().is_none());
        attempt.result.map(|image| {
            let arguments = image.arguments().map(str::to_owned);
            let mut begin = vec![0; PROGRAM.len()];
            image.source().read_bytes(0, &mut begin).unwrap();
            assert_eq!(begin, PROGRAM);
            (image.bootpath()[FIRST.len()..].to_owned(), arguments)
        })
    };
    let whole = iso("boot &device;:\\boot\\image a  b");
    let automatic = Choice::automatic();
    let expected = (":\\boot\\image".to_owned(), Some("a b".to_owned()));
    assert_eq!(found(whole.clone(), &automatic).unwrap(), expected);
    let explicit = found(whole, &Choice::only("disk:/boot/image")).unwrap();
    assert_eq!(explicit, (":\\boot\\image".to_owned(), None));
    let inner = iso("boot &device;:&partition;,\\boot\\image");
    let bytes = mbr_disk(&[NewPartition::linux(b""), NewPartition::linux(&inner)]);
    let expected = (":2,\\boot\\image".to_owned(), None);
    for choice in [automatic.clone(), Choice::only("disk:2")] {
        assert_eq!(found(bytes.clone(), &choice).unwrap(), expected);
    }
    // What it names has to be on its disk, and is no other bootinfo.txt.
    for script in ["boot /vdevice:1", "boot &device;", "boot hd:,\\boot\\image"] {
        let error = found(iso(script), &automatic).unwrap_err();
        assert!(matches!(error, AttemptError::BootInfoDevice), "{script}: {error:?}");
    }
    let error = found(iso("boot &device;:\\none"), &automatic).unwrap_err();
    assert!(matches!(error, AttemptError::Label(LabelError::NoFile)), "{error:?}");
    let error = found(iso("halt"), &automatic).unwrap_err();
    assert!(matches!(error, AttemptError::BootInfo(_)), "{error:?}");
}

/// After the disks, as the devices are in order.
#[cfg(feature = "netboot")]
#[test]
fn networks_give_what_their_servers_name() {
    use crate::network::netboot::NetbootError;
    use crate::network::netboot::mock::{CLIENT, FILE, Manners, MockNetwork, SERVER};

    let network = || Arc::new(MockNetwork::new(Manners::good(PROGRAM)));
    let devices = [disk(FIRST, vec![0; 4096]), BootDevice::network(SECOND, network())];
    let tree = tree(&[]);
    let mut told = Vec::new();
    let choice = Choice::automatic();
    let attempts = Attempts::new(&tree, &devices, &choice).with_watch(|path, event| {
        assert_eq!(path, SECOND);
        told.extend(event.line());
        ControlFlow::Continue(())
    });
    let attempts: Vec<_> = attempts.collect();
    assert!(matches!(attempts[0].result, Err(AttemptError::Nothing)));
    let image = attempts[1].result.as_ref().unwrap();
    assert!(image.bootpath().starts_with(&format!("{SECOND}:{SERVER},{FILE},{CLIENT},")));
    assert!(image.bootp_response().is_some_and(|reply| reply.len() > 200));
    let mut begin = vec![0; PROGRAM.len()];
    image.source().read_bytes(0, &mut begin).unwrap();
    assert_eq!(begin, PROGRAM);
    assert_eq!(attempts.len(), 2);
    drop(attempts);
    // Whoever watches can end it.
    let choice = Choice::only("disk1:,other");
    let mut attempts = Attempts::new(&tree, &devices, &choice)
        .with_watch(|_, _| ControlFlow::Break(()))
        .with_network_limits(Limits::default().with_image_bytes(4));
    let attempt = attempts.next().unwrap();
    assert_eq!(attempt.name, format!("{SECOND}:,other"));
    let error = attempt.result.unwrap_err();
    let is_expected = matches!(
        error,
        AttemptError::Network(NetbootError::Cancelled | NetbootError::TooLarge { .. })
    );
    assert!(is_expected, "{error:?}");
}
