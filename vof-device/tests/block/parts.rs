//! Parts of a disk, by the arguments of its path (IEEE 1275-1994 §3.8.2).

use std::sync::{Arc, LazyLock};

use vof_device::test_utils::TestDisk;
use vof_device::test_utils::iso::NewIso;

use super::{BUFFER, machine, method, open, read, seek, write};

/// Sectors of the two partitions: the first one, and how many.
const PARTITIONS: [(u32, u32); 2] = [(10, 20), (40, 3000)];

/// A disk with a master boot record of two partitions, and bytes that say where they are.
pub(super) fn partitioned() -> Vec<u8> {
    static NUMBERED: LazyLock<Vec<u8>> = LazyLock::new(|| TestDisk::numbered(4000).bytes());
    let mut bytes = NUMBERED.clone();
    bytes[..512].fill(0);
    for (entry, (first, sectors)) in bytes[446..].chunks_exact_mut(16).zip(PARTITIONS) {
        entry[4] = 0x41;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

#[test]
fn a_partition_is_a_disk_of_its_own() {
    let disk = Arc::new(TestDisk::new(partitioned()));
    let machine = machine(&disk);
    let client = machine.client();
    for (arguments, number) in [("1", 0), ("01", 0), ("a", 0), ("2", 1), ("b", 1), ("002,", 1)] {
        let (first, sectors) = PARTITIONS[number];
        let (start, bytes) = (first as usize * 512, sectors as usize * 512);
        let ihandle = open(&client, arguments);
        assert_ne!(ihandle, 0, "{arguments}");
        let all = disk.bytes();
        assert!(read(&client, ihandle, 700).unwrap() == all[start..start + 700]);
        seek(&client, ihandle, bytes as u64 - 10);
        assert_eq!(read(&client, ihandle, 700).unwrap(), all[start + bytes - 10..start + bytes]);
        assert!(read(&client, ihandle, 700).unwrap().is_empty());
        // Nothing behind it is written.
        seek(&client, ihandle, bytes as u64 - 3);
        assert_eq!(write(&client, ihandle, b"12345"), 3);
        assert_eq!(disk.bytes()[start + bytes - 3..start + bytes], *b"123");
        assert!(disk.bytes()[start + bytes..] == all[start + bytes..]);
        // Blocks are those of the disk.
        assert_eq!(method(&client, ihandle, "read-blocks", &[BUFFER, 0, 1]), [0, 1]);
        assert!(client.peek(BUFFER, 512) == all[..512]);
        assert_eq!(method(&client, ihandle, "offset", &[7, 0]), [0, start as u32 + 7, 0]);
        assert_eq!(method(&client, ihandle, "load", &[BUFFER]), [0, bytes as u32]);
        assert!(client.peek(BUFFER, bytes) == disk.bytes()[start..start + bytes]);
        client.call("close", &[ihandle.into()], 0);
    }
    for arguments in ["0", "", "00", ",", "0,"] {
        let ihandle = open(&client, arguments);
        assert!(read(&client, ihandle, 512).unwrap() == disk.bytes()[..512], "{arguments}");
    }
}

/// Bytes of a file, in pieces that do not end where sectors do.
#[test]
fn a_file_is_a_disk_of_its_own() {
    let content: Vec<u8> = (0..5_000_u32).map(|at| (at ^ at >> 8) as u8).collect();
    for section_bytes in [0, 2048] {
        let iso = NewIso { rock_ridge: true, section_bytes, ..NewIso::default() };
        let files: [(&str, &[u8]); 2] = [("boot/other", b"other"), ("boot/core.elf", &content)];
        let disk = Arc::new(TestDisk::new(iso.image(&files)));
        let machine = machine(&disk);
        let client = machine.client();
        for is_at_hand in [true, false] {
            disk.set_at_hand(is_at_hand);
            for arguments in ["\\boot\\core.elf", ",\\boot\\core.elf", "0,boot\\core.elf"] {
                let ihandle = open(&client, arguments);
                assert_ne!(ihandle, 0, "{arguments}");
                assert!(read(&client, ihandle, 0x8000).unwrap() == content, "{arguments}");
                assert!(read(&client, ihandle, 1).unwrap().is_empty());
                for place in [1, 511, 2047, 4095, 4999] {
                    seek(&client, ihandle, place as u64);
                    assert!(
                        read(&client, ihandle, 3000).unwrap()[..]
                            == content[place..][..(5000 - place).min(3000)]
                    );
                    // Where it lies on the disk.
                    let [0, low, 0] = method(&client, ihandle, "offset", &[place as u32, 0])[..]
                    else {
                        panic!("the disk is small")
                    };
                    assert_eq!(disk.bytes()[low as usize], content[place]);
                }
                client.poke(BUFFER, &[0xaa; 6000]);
                assert_eq!(method(&client, ihandle, "load", &[BUFFER]), [0, 5000]);
                assert!(client.peek(BUFFER, 5000) == content);
                assert_eq!(client.peek(BUFFER + 5000, 1000), [0xaa; 1000]);
                client.call("close", &[ihandle.into()], 0);
            }
        }
        assert_eq!(open(&client, "\\boot\\core"), 0);
        assert_eq!(open(&client, "\\boot"), 0);
        // A slash ends the arguments (§4.3.3): this is a node below the disk's.
        assert_eq!(open(&client, ",/boot/core.elf"), 0);
        assert_eq!(open(&client, "1,\\boot\\core.elf"), 0);
    }
}

#[test]
fn what_is_no_part_of_a_disk_is_not_opened() {
    let disk = Arc::new(TestDisk::new(partitioned()));
    let machine = machine(&disk);
    let client = machine.client();
    for arguments in ["3", "4294967295", "4294967296", "z", "-1", "x1", "1,\\file", "\\file", "%"] {
        assert_eq!(open(&client, arguments), 0, "{arguments}");
    }
    // The disk says so each time.
    disk.change(|bytes| bytes[510] = 0);
    assert_eq!(open(&client, "1"), 0);
    disk.change(|bytes| bytes[510] = 0x55);
    assert_ne!(open(&client, "1"), 0);
    disk.spoil(0..1);
    assert_eq!(open(&client, "1"), 0);
}
