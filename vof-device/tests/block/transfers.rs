//! Bytes, wherever they are.

use std::sync::Arc;

use proptest::prelude::*;
use vof_device::test_utils::TestDisk;

use super::{NONE, machine, open, read, seek, write};

const SECTORS: u64 = 300;
const BYTES: u64 = SECTORS * 512;

/// A read or write of any bytes, at any place.
#[derive(Debug, Clone)]
enum Step {
    Seek(u64),
    Read(u32),
    Write(Vec<u8>),
    AtHand(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let position = prop_oneof![0..BYTES + 700, (0..=SECTORS).prop_map(|sector| sector * 512)];
    let len = prop_oneof![0..3000_u32, 60_000..100_000_u32];
    let data = prop::collection::vec(any::<u8>(), 0..2000);
    prop_oneof![
        position.prop_map(Step::Seek),
        len.prop_map(Step::Read),
        data.prop_map(Step::Write),
        any::<bool>().prop_map(Step::AtHand),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// As in a plain model: sectors are not to be seen.
    #[test]
    fn bytes_are_read_and_written_anywhere(steps in prop::collection::vec(step(), 1..40)) {
        let disk = Arc::new(TestDisk::numbered(SECTORS));
        let machine = machine(&disk);
        let client = machine.client();
        let ihandle = open(&client, "");
        let (mut model, mut position) = (disk.bytes(), 0);
        for step in steps {
            let place = (position as usize).min(model.len());
            match step {
                Step::Seek(to) => {
                    prop_assert_eq!(seek(&client, ihandle, to), 0);
                    position = to;
                }
                Step::Read(len) => {
                    let end = (place + len as usize).min(model.len());
                    let got = read(&client, ihandle, len).unwrap();
                    prop_assert!(got == model[place..end]);
                    position += got.len() as u64;
                }
                Step::Write(data) => {
                    let taken = data.len().min(model.len() - place);
                    prop_assert_eq!(write(&client, ihandle, &data), taken as u32);
                    model[place..place + taken].copy_from_slice(&data[..taken]);
                    position += taken as u64;
                }
                Step::AtHand(is_at_hand) => disk.set_at_hand(is_at_hand),
            }
        }
        prop_assert!(disk.bytes() == model);
    }
}

#[test]
fn reads_beyond_the_end_are_short_and_any_place_can_be_gone_to() {
    let disk = Arc::new(TestDisk::numbered(SECTORS));
    let machine = machine(&disk);
    let client = machine.client();
    for is_at_hand in [true, false] {
        disk.set_at_hand(is_at_hand);
        let ihandle = open(&client, "0");
        seek(&client, ihandle, BYTES - 5);
        assert_eq!(read(&client, ihandle, 4096).unwrap(), disk.bytes()[BYTES as usize - 5..]);
        for position in [BYTES, BYTES + 1, 1 << 32, i64::MAX as u64, u64::MAX - 1, u64::MAX] {
            assert_eq!(seek(&client, ihandle, position), 0);
            assert!(read(&client, ihandle, 4096).unwrap().is_empty());
            assert_eq!(write(&client, ihandle, b"x"), 0);
        }
        seek(&client, ihandle, 0);
        assert_eq!(read(&client, ihandle, 3).unwrap(), disk.bytes()[..3]);
    }
}

/// GRUB, yaboot and the BSDs' loaders take a read for all that they asked for.
#[test]
fn transfers_are_made_in_full_whatever_their_length() {
    const LEN: usize = (5 << 20) + 777;
    let disk = Arc::new(TestDisk::numbered(16 << 11));
    let machine = machine(&disk);
    let client = machine.client();
    for is_at_hand in [true, false] {
        disk.set_at_hand(is_at_hand);
        let ihandle = open(&client, "");
        seek(&client, ihandle, 1001);
        let got = read(&client, ihandle, LEN as u32).unwrap();
        assert!(got == disk.bytes()[1001..1001 + LEN]);
        let data: Vec<u8> = got.iter().rev().copied().collect();
        let mut expected = disk.bytes();
        expected[1001 + LEN..1001 + 2 * LEN].copy_from_slice(&data);
        assert_eq!(write(&client, ihandle, &data), LEN as u32);
        assert!(disk.bytes() == expected);
    }
}

/// "[The client] learns how much was moved before."
#[test]
fn what_the_host_fails_at_ends_a_transfer() {
    const BAD: u64 = 777 * 512;
    let disk = Arc::new(TestDisk::numbered(4096));
    let machine = machine(&disk);
    let client = machine.client();
    disk.spoil(BAD..BAD + 1);
    for is_at_hand in [true, false] {
        disk.set_at_hand(is_at_hand);
        let ihandle = open(&client, "");
        for start in [0, 3, BAD - 512, BAD - 100] {
            seek(&client, ihandle, start);
            let got = read(&client, ihandle, 1 << 20).unwrap();
            assert!(got == disk.bytes()[start as usize..BAD as usize], "{start}: {}", got.len());
            // It is where it failed, and nothing more comes.
            assert_eq!(read(&client, ihandle, 1), None);
            assert_eq!(write(&client, ihandle, b"x"), NONE);
        }
        seek(&client, ihandle, BAD + 512);
        assert_eq!(read(&client, ihandle, 2).unwrap().len(), 2);
        // What of a longer piece that cannot be written is there, nobody knows.
        seek(&client, ihandle, BAD - 100);
        assert_eq!(write(&client, ihandle, &[7; 1000]), 100);
        assert_eq!(disk.bytes()[BAD as usize - 100..BAD as usize], [7; 100]);
    }
    disk.spoil(0..0);
    disk.spoil_flushes();
    let ihandle = open(&client, "");
    assert_eq!(write(&client, ihandle, b"x"), NONE);
    assert_eq!(read(&client, ihandle, 1).unwrap(), b"x");
}

#[test]
fn a_disk_that_is_only_read_is_not_written() {
    let disk = Arc::new(TestDisk::numbered(SECTORS).read_only());
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    assert_eq!(write(&client, ihandle, b"x"), NONE);
    assert_eq!(super::method(&client, ihandle, "write-blocks", &[super::BUFFER, 0, 1]), [0, 0]);
    assert_eq!(read(&client, ihandle, 1).unwrap(), disk.bytes()[..1]);
}

/// "Makes last": clients have no word for it.
#[test]
fn what_is_written_is_flushed() {
    let disk = Arc::new(TestDisk::numbered(SECTORS));
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    write(&client, ihandle, &[1; 512]);
    assert_eq!((disk.counts().writes, disk.counts().flushes), (1, 1));
    // Nothing of a sector's rest is lost: it is read before.
    write(&client, ihandle, &[1; 600]);
    assert_eq!((disk.counts().writes, disk.counts().flushes, disk.counts().reads), (3, 2, 1));
}

/// Calls that have nothing to read do not bother the disk.
#[test]
fn what_is_at_hand_is_read_once() {
    let disk = Arc::new(TestDisk::numbered(64));
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    let mut before = 0;
    for (position, len, expected) in [
        (0, 4096, 1),
        (700, 100, 1),
        (700, 4096, 1),
        (64 * 512 - 512, 4096, 1),
        (64 * 512, 4096, 0),
        (0, 0, 0),
    ] {
        seek(&client, ihandle, position);
        read(&client, ihandle, len).unwrap();
        let made = disk.counts().at_hand - before;
        assert_eq!(made, expected, "{len} bytes at {position}");
        before += made;
    }
}
