//! The methods of a disk (IEEE 1275-1994 §3.7.2, §3.8.2 and §3.8.3).

use std::sync::Arc;

use vof_device::test_utils::{TestDisk, TestMachine};

use super::{BUFFER, NONE, RAM_BYTES, machine, method, open, read, seek, support_tree};

const INVALID_ADDRESS: u32 = -9_i32 as u32;
const STACK_UNDERFLOW: u32 = -4_i32 as u32;
const ABORT: u32 = -1_i32 as u32;

#[test]
fn a_disk_says_how_large_it_is() {
    for (block_bytes, told) in
        [(512, 512), (2048, 2048), (16384, 16384), (0, 512), (513, 512), (32768, 512), (256, 512)]
    {
        let disk = Arc::new(TestDisk::numbered(1000).with_block_bytes(block_bytes));
        let machine = machine(&disk);
        let client = machine.client();
        let ihandle = open(&client, "");
        assert_eq!(method(&client, ihandle, "block-size", &[]), [0, told]);
        // Whole blocks.
        assert_eq!(method(&client, ihandle, "#blocks", &[]), [0, 1000 * 512 / told]);
        assert_eq!(method(&client, ihandle, "max-transfer", &[]), [0, 1 << 20]);
    }
}

/// "( addr block# #blocks -- #read )", and the like for writes.
#[test]
fn blocks_are_those_of_the_disk() {
    let disk = Arc::new(TestDisk::numbered(1000).with_block_bytes(2048));
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    seek(&client, ihandle, 5);
    let blocks = |name: &str, stack: &[u32]| method(&client, ihandle, name, stack);
    for is_at_hand in [true, false] {
        disk.set_at_hand(is_at_hand);
        assert_eq!(blocks("read-blocks", &[BUFFER, 3, 2]), [0, 2]);
        assert!(client.peek(BUFFER, 4096) == disk.bytes()[3 * 2048..5 * 2048]);
        client.poke(BUFFER, &[9; 4096]);
        assert_eq!(blocks("write-blocks", &[BUFFER, 100, 2]), [0, 2]);
        assert_eq!(disk.bytes()[100 * 2048..102 * 2048], [9; 4096]);
        // As many as there are. The buffer need not be for more.
        let last = RAM_BYTES as u32 - 2 * 2048;
        assert_eq!(blocks("read-blocks", &[last, 248, 100]), [0, 2]);
        assert!(client.peek(last, 4096) == disk.bytes()[248 * 2048..250 * 2048]);
        for (block, count) in [(250, 1), (NONE, 1), (NONE, NONE), (1 << 21, NONE), (3, 0)] {
            assert_eq!(blocks("read-blocks", &[BUFFER, block, count]), [0, 0]);
            assert_eq!(blocks("write-blocks", &[BUFFER, block, count]), [0, 0]);
        }
        assert_eq!(blocks("read-blocks", &[last, 0, 3]), [INVALID_ADDRESS]);
        assert_eq!(blocks("write-blocks", &[NONE, 0, 1]), [INVALID_ADDRESS]);
        assert_eq!(blocks("read-blocks", &[0, 1]), [STACK_UNDERFLOW]);
        // Nothing of it moves what `seek` has set.
        assert_eq!(read(&client, ihandle, 3).unwrap(), disk.bytes()[5..8]);
        seek(&client, ihandle, 5);
    }
    // Whole blocks are told of.
    disk.spoil(3 * 2048 + 600..3 * 2048 + 601);
    assert_eq!(blocks("read-blocks", &[BUFFER, 1, 8]), [0, 2]);
    assert_eq!(blocks("read-blocks", &[BUFFER, 3, 8]), [0, 0]);
}

/// "( addr -- size )"
#[test]
fn all_that_is_open_is_loaded() {
    let disk = Arc::new(TestDisk::numbered(5000));
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    for is_at_hand in [true, false] {
        disk.set_at_hand(is_at_hand);
        client.poke(BUFFER, &vec![0; 5000 * 512]);
        assert_eq!(method(&client, ihandle, "load", &[BUFFER]), [0, 5000 * 512]);
        assert!(client.peek(BUFFER, 5000 * 512) == disk.bytes());
        let late = RAM_BYTES as u32 - 4999 * 512;
        assert_eq!(method(&client, ihandle, "load", &[late]), [INVALID_ADDRESS]);
    }
    assert_eq!(method(&client, ihandle, "load", &[]), [STACK_UNDERFLOW]);
    // A part of a program is none.
    disk.spoil(4000 * 512..4000 * 512 + 1);
    assert_eq!(method(&client, ihandle, "load", &[BUFFER]), [ABORT]);
}

/// "( size -- virt )" and "( virt size -- )": memory as `claim` gives it.
#[test]
fn memory_for_transfers_is_claimed() {
    let machine = machine(&Arc::new(TestDisk::numbered(8)));
    let client = machine.client();
    let ihandle = open(&client, "");
    let available = || client.getprop(client.phandle("/memory@0"), "available").unwrap();
    let before = available();
    let [0, at] = method(&client, ihandle, "dma-alloc", &[10_000])[..] else { panic!() };
    assert_eq!(at % 4096, 0);
    assert_ne!(available(), before);
    assert_eq!(client.one("claim", &[at.into(), 1.into(), 0.into()]), NONE);
    assert_eq!(method(&client, ihandle, "dma-free", &[at, 10_000]), [0]);
    assert_eq!(available(), before);
    assert_eq!(method(&client, ihandle, "dma-free", &[at, 10_000]), [INVALID_ADDRESS]);
    for bytes in [0, RAM_BYTES as u32, NONE] {
        assert_eq!(method(&client, ihandle, "dma-alloc", &[bytes]), [ABORT], "{bytes:#x}");
    }
    assert_eq!(available(), before);
}

/// "( d.rel -- d.abs )": of the whole disk, a place is what it is.
#[test]
fn places_are_those_of_the_disk() {
    let machine = machine(&Arc::new(TestDisk::numbered(8)));
    let client = machine.client();
    let ihandle = open(&client, "");
    for place in [[0, 0], [5, 0], [4096, 0], [0, 1], [NONE, NONE]] {
        let [low, high] = place;
        assert_eq!(method(&client, ihandle, "offset", &place), [0, low, high]);
    }
    assert_eq!(method(&client, ihandle, "offset", &[1]), [STACK_UNDERFLOW]);
}

/// IEEE 1275 §3.8.3: they work for the package that opens them.
#[test]
fn support_packages_are_there_and_clients_cannot_open_them() {
    let machine = TestMachine::new(support_tree(), RAM_BYTES, |builder| builder);
    let client = machine.client();
    for name in ["deblocker", "disk-label"] {
        let path = format!("/packages/{name}");
        let phandle = client.phandle(&path);
        assert_eq!(client.one("open", &[path.as_str().into()]), 0);
        assert_eq!(client.one("test-method", &[phandle.into(), "open".into()]), 0);
    }
}
