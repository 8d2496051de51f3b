//! The services that change nothing take nothing from the host's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use arch_ppc64::hypercall::token;
use arch_ppc64::{CpuIndex, Hypercall, Next, Status};
use vof_device::block::BlockPackage;
use vof_device::test_utils::{Client, TestDisk, TestMachine, sample_tree};

thread_local! {
    // Of this thread only: the test harness has others, with a life of their own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator does everything; counting it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How much is allocated while the call that the client last made is made again.
fn allocations_of_last_call(machine: &TestMachine, at: u32) -> usize {
    let mut call = Hypercall::new(token::VOF_CLIENT, &[at.into()]);
    let before = ALLOCATIONS.get();
    let next = machine.bus.dispatch(CpuIndex(0), &machine.ram, &mut call);
    let after = ALLOCATIONS.get();
    assert_eq!(next, Next::Resume);
    assert!([Status::SUCCESS, Status::FUNCTION].contains(&call.status()));
    after - before
}

#[test]
fn services_that_change_nothing_do_not_allocate() {
    const AT: u32 = 0x10_0000;
    let disk = Arc::new(BlockPackage::new(Arc::new(TestDisk::numbered(4096))));
    let machine =
        TestMachine::new(sample_tree(), 16 << 20, |builder| builder.package("disk", disk));
    let client = Client::new(&machine.bus, &machine.ram, AT, 0x1_0000);
    let (buffer, room) = (client.buffer(), 1024);
    let (root, vty) = (1, client.phandle("/vdevice/vty"));
    let stdout = client.getprop(client.phandle("/chosen"), "stdout").unwrap();
    let stdout = u32::from_be_bytes(stdout.try_into().unwrap());
    let memory = client.phandle("/memory@0");
    let disk = client.one("open", &["disk:0".into()]);
    for number in 0..100 {
        client.one("claim", &[(0x20_0000 + number * 0x1000).into(), 0x800.into(), 0.into()]);
    }
    #[rustfmt::skip]
    let calls: &[(&str, &[vof_device::test_utils::Argument<'_>])] = &[
        ("test", &["getprop".into()]),
        ("peer", &[0.into()]),
        ("peer", &[vty.into()]),
        ("child", &[root.into()]),
        ("child", &[0x1234.into()]),
        ("parent", &[vty.into()]),
        ("getproplen", &[vty.into(), "name".into()]),
        ("getprop", &[root.into(), "device_type".into(), buffer.into(), room.into()]),
        ("getprop", &[root.into(), "name".into(), buffer.into(), room.into()]),
        ("getprop", &[root.into(), "no-such".into(), buffer.into(), room.into()]),
        ("getprop", &[root.into(), "device_type".into(), u32::MAX.into(), room.into()]),
        ("getproplen", &[memory.into(), "available".into()]),
        ("getprop", &[memory.into(), "available".into(), buffer.into(), 4096.into()]),
        ("nextprop", &[root.into(), "".into(), buffer.into()]),
        ("nextprop", &[root.into(), "#size-cells".into(), buffer.into()]),
        ("nextprop", &[root.into(), "no-such".into(), buffer.into()]),
        ("canon", &["hvterm:1".into(), buffer.into(), room.into()]),
        ("finddevice", &["/vdevice/vty@71000000".into()]),
        ("finddevice", &["/cpus/@1".into()]),
        ("finddevice", &["/vdevice/nvram@071000001:x".into()]),
        ("finddevice", &["/no/such/device".into()]),
        ("instance-to-package", &[stdout.into()]),
        ("instance-to-path", &[stdout.into(), buffer.into(), room.into()]),
        ("package-to-path", &[vty.into(), buffer.into(), room.into()]),
        ("test-method", &[vty.into(), "read".into()]),
        // What the host has at hand.
        ("read", &[disk.into(), 0x40_0000.into(), (1 << 20).into()]),
        ("read", &[disk.into(), 0x40_0000.into(), 1001.into()]),
        ("seek", &[disk.into(), 0.into(), 77.into()]),
        ("call-method", &["read-blocks".into(), disk.into(), 4.into(), 9.into(), 0x40_0000.into()]),
        ("call-method", &["block-size".into(), disk.into()]),
        ("milliseconds", &[]),
        ("quiesce", &[]),
        ("no-such-service", &[]),
    ];
    for (service, arguments) in calls {
        client.call(service, arguments, 1);
        assert_eq!(allocations_of_last_call(&machine, AT), 0, "{service} {arguments:?}");
    }
    // The count works: opening a package keeps its arguments.
    client.call("open", &["/cpus:arguments".into()], 1);
    assert_ne!(allocations_of_last_call(&machine, AT), 0);
}
