//! Clients that mean harm.

use std::sync::Arc;

use arch_ppc64::topology::{MemoryMap, MemoryRange};
use proptest::prelude::*;
use vm_memory::GuestAddress;
use vof_device::block::BlockPackage;
use vof_device::test_utils::{Argument, TestDisk, TestMachine, methods, sample_tree};

use super::{NODE, NONE, RAM_BYTES, client_of, machine, method, open, seek};

const INVALID_ADDRESS: u32 = -9_i32 as u32;

/// "The service fails, before it had an effect", whatever is asked for.
#[test]
fn buffers_are_ram_or_nothing_is_moved() {
    const MIB: u64 = 1 << 20;
    // 16 MiB, nothing, and 16 MiB more.
    let ranges = [(0, 16 * MIB), (32 * MIB, 16 * MIB)];
    let ranges = ranges.map(|(start, bytes)| MemoryRange::ram(GuestAddress(start), bytes));
    let memory = MemoryMap::new(ranges.to_vec()).unwrap();
    for is_at_hand in [true, false] {
        let disk = Arc::new(TestDisk::numbered(64 << 10));
        disk.set_at_hand(is_at_hand);
        let package = Arc::new(BlockPackage::new(disk.clone()));
        let machine = TestMachine::in_memory(sample_tree(), &memory, |builder| {
            builder.package(NODE, package)
        });
        let client = machine.client();
        let ihandle = open(&client, "");
        let hole = 16 * MIB as u32;
        for (at, len) in [
            (hole - 1, 2),
            (hole - (4 << 20), 4 << 20 | 1),
            (hole - 512, 33 << 20),
            (hole, 1),
            (2 * hole - 1, 2),
            (3 * hole - 1, 2),
            (3 * hole, 1),
            (NONE, 1),
            (NONE, NONE),
            (1 << 20, NONE),
        ] {
            for service in ["read", "write"] {
                let arguments = [ihandle.into(), at.into(), len.into()];
                assert_eq!(client.one(service, &arguments), NONE, "{service} {at:#x} {len:#x}");
                assert_eq!(method(&client, ihandle, service, &[at, len]), [INVALID_ADDRESS]);
            }
            assert_eq!(method(&client, ihandle, "load", &[at]), [INVALID_ADDRESS]);
        }
        // No byte of it, and no place was moved to.
        let counts = disk.counts();
        assert_eq!((counts.at_hand, counts.reads, counts.writes), (0, 0, 0));
        let read = [ihandle.into(), (hole - 3).into(), 3.into()];
        assert_eq!(client.one("read", &read), 3);
        assert!(client.peek(hole - 3, 3) == disk.bytes()[..3]);
        // Nothing can be moved anywhere.
        let nothing = [ihandle.into(), NONE.into(), 0.into()];
        assert_eq!(client.one("read", &nothing), 0);
    }
}

/// Some cells that programs do not pass.
fn cell() -> impl Strategy<Value = u32> {
    let near = |at: u32| (at.wrapping_sub(600)..at.wrapping_add(600)).boxed();
    prop_oneof![
        any::<u32>(),
        0..5_u32,
        near(RAM_BYTES as u32),
        near(1 << 20),
        near(0x8000_0000),
        Just(NONE),
        Just(1 << 31)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever it is called with, a method gives an answer, and the disk hears of nothing that it
    /// would have to refuse ([`TestDisk`] panics).
    #[test]
    fn any_arguments_are_answered(
        stack in prop::collection::vec(cell(), 0..6),
        position in any::<u64>(),
        is_at_hand in any::<bool>(),
        number in 0..12_usize,
        arguments in prop_oneof![Just("0"), Just("1"), Just("2")],
    ) {
        let disk = Arc::new(TestDisk::new(super::parts::partitioned()));
        disk.set_at_hand(is_at_hand);
        let machine = machine(&disk);
        let client = client_of(&machine, 0);
        let ihandle = open(&client, arguments);
        seek(&client, ihandle, position);
        let (_, name) = methods().filter(|(package, _)| *package == "block").nth(number).unwrap();
        let mut cells: Vec<Argument<'_>> = vec![name.into(), ihandle.into()];
        cells.extend(stack.iter().map(|&cell| Argument::Cell(cell)));
        client.call("call-method", &cells, 4);
        // It still works.
        prop_assert_eq!(seek(&client, ihandle, 512), 0);
        let read = [ihandle.into(), client.buffer().into(), 100.into()];
        prop_assert_eq!(client.one("read", &read), 100);
    }
}

/// A disk of nothing, and one of the most bytes that numbers tell.
#[test]
fn disks_of_any_size_are_disks() {
    struct Vast(u64);

    impl vof_device::block::BlockDevice for Vast {
        fn size_bytes(&self) -> u64 {
            self.0
        }

        fn is_read_only(&self) -> bool {
            false
        }

        fn read(&self, to: &mut [u8], offset: u64) -> std::io::Result<()> {
            assert!(offset.checked_add(to.len() as u64).is_some_and(|end| end <= self.0));
            to.fill(offset.to_be_bytes()[0]);
            Ok(())
        }

        fn write(&self, _: &[u8], _: u64) -> std::io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    for (bytes, blocks) in
        [(0, 0), (511, 0), (513, 1), (1 << 40, 1 << 31), (1 << 41, NONE), (u64::MAX, NONE)]
    {
        let package = Arc::new(BlockPackage::new(Arc::new(Vast(bytes))));
        let machine =
            TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, package));
        let client = machine.client();
        let ihandle = open(&client, "");
        assert_eq!(method(&client, ihandle, "#blocks", &[]), [0, blocks]);
        let whole = bytes / 512 * 512;
        for back in [0, 1, 512, 700] {
            seek(&client, ihandle, whole.saturating_sub(back));
            let read = [ihandle.into(), client.buffer().into(), 1000.into()];
            assert_eq!(client.one("read", &read), whole.min(back) as u32);
            seek(&client, ihandle, whole.saturating_sub(back));
            assert_eq!(client.one("write", &read), whole.min(back) as u32);
        }
        for block in [0, 1 << 31, NONE] {
            let left = (whole / 512).saturating_sub(block.into()).min(3) as u32;
            let stack = [client.buffer(), block, 3];
            assert_eq!(method(&client, ihandle, "read-blocks", &stack), [0, left]);
        }
        assert_eq!(method(&client, ihandle, "offset", &[NONE, NONE]), [0, NONE, NONE]);
    }
}
