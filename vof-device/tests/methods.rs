//! The methods of `/chosen`'s instances as a client sees them (IEEE 1275-1994 §3.5, §6.3.2.2 and
//! Annex A; PowerPC binding §8).

use std::sync::Arc;

use vof_device::block::BlockPackage;
use vof_device::test_utils::{
    Argument, Client, Outcome, TestDisk, TestMachine, UNTOUCHED, WORKSPACE, WORKSPACE_BYTES,
    methods, sample_tree,
};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;
/// What `translate` says of RAM: coherent, read and write.
const MODE: u32 = 0x12;

const STACK_UNDERFLOW: u32 = -4_i32 as u32;
const INVALID_ADDRESS: u32 = -9_i32 as u32;
const ABORT: u32 = -1_i32 as u32;

fn machine() -> TestMachine {
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder)
}

fn handle(client: &Client<'_>, name: &str) -> u32 {
    let value = client.getprop(client.phandle("/chosen"), name).unwrap();
    u32::from_be_bytes(value.try_into().unwrap())
}

/// Calls a method of an instance in `/chosen`; `stack` has the top last, as Forth writes it. The
/// results come in the same order, behind what was caught.
fn method(client: &Client<'_>, instance: &str, name: &str, stack: &[u32]) -> Vec<u32> {
    let mut arguments: Vec<Argument<'_>> = vec![name.into(), handle(client, instance).into()];
    arguments.extend(stack.iter().rev().map(|&cell| Argument::Cell(cell)));
    let Outcome { results, .. } = client.call("call-method", &arguments, 6);
    let left = results.iter().skip(1).rev().filter(|&&cell| cell != UNTOUCHED);
    results[..1].iter().chain(left).copied().collect()
}

fn available(client: &Client<'_>) -> Vec<u8> {
    client.getprop(client.phandle("/memory@0"), "available").unwrap()
}

/// §3.5: the ihandles of "the console input device", "console output device", "memory" and "mmu".
#[test]
fn chosen_has_an_instance_of_each() {
    let machine = machine();
    let client = machine.client();
    let mut seen = Vec::new();
    for (name, path) in [
        ("stdin", "/vdevice/vty@71000000"),
        ("stdout", "/vdevice/vty@71000000"),
        ("memory", "/memory@0"),
        ("mmu", "/cpus/PowerPC,POWER9@0"),
    ] {
        let ihandle = handle(&client, name);
        assert!(!seen.contains(&ihandle), "{name}");
        seen.push(ihandle);
        let package = client.one("instance-to-package", &[ihandle.into()]);
        assert_eq!(package, client.phandle(path), "{name}");
    }
}

#[test]
fn every_method_is_found_in_its_package_and_in_no_other() {
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder
            .cas(Box::new(|_: &[u8]| Ok(Vec::new())))
            .package("disk", Arc::new(BlockPackage::new(Arc::new(TestDisk::numbered(8)))))
    });
    let client = machine.client();
    let packages = [
        ("/", "/"),
        ("/rtas", "/rtas"),
        ("memory", "/memory@0"),
        ("mmu", "/cpus/PowerPC,POWER9@1"),
        ("console", "hvterm"),
        ("block", "disk"),
        ("none", "/vdevice"),
    ];
    for (_, name) in methods() {
        for (package, path) in packages {
            let arguments = [client.phandle(path).into(), name.into()];
            let expected = if methods().any(|row| row == (package, name)) { 0 } else { NONE };
            assert_eq!(client.one("test-method", &arguments), expected, "{name} of {path}");
        }
    }
}

#[test]
fn memory_is_claimed_and_released_by_real_addresses() {
    let machine = machine();
    let client = machine.client();
    let before = available(&client);
    // ( phys.lo phys.hi size align -- base.lo base.hi )
    let exact = method(&client, "memory", "claim", &[0x80_0000, 0, 0x2000, 0]);
    assert_eq!(exact, [0, 0x80_0000, 0]);
    assert_eq!(method(&client, "memory", "claim", &[0x80_1000, 0, 0x2000, 0]), [ABORT]);
    // The service knows of it.
    let again = [0x80_0000.into(), 0x1000.into(), 0.into()];
    assert_eq!(client.one("claim", &again), NONE);
    let aligned = method(&client, "memory", "claim", &[0x1000, 0x40_0000]);
    assert_eq!(aligned, [0, 0x40_0000, 0]);
    assert_eq!(method(&client, "memory", "release", &[0x40_0000, 0, 0x1000]), [0]);
    assert_eq!(method(&client, "memory", "release", &[0x40_0000, 0, 0x1000]), [INVALID_ADDRESS]);
    assert_eq!(method(&client, "memory", "release", &[0x80_0000, 0, 0x2000]), [0]);
    assert_eq!(available(&client), before);
}

#[test]
fn memory_beyond_4_gib_or_without_an_address_is_not_claimed() {
    let machine = machine();
    let client = machine.client();
    assert_eq!(method(&client, "memory", "claim", &[0x80_0000, 1, 0x1000, 0]), [INVALID_ADDRESS]);
    assert_eq!(method(&client, "memory", "claim", &[0x1000, 0]), [STACK_UNDERFLOW]);
    assert_eq!(method(&client, "memory", "claim", &[0x1000]), [STACK_UNDERFLOW]);
    assert_eq!(method(&client, "memory", "claim", &[0, 1]), [ABORT]);
    assert_eq!(method(&client, "memory", "release", &[0x1000]), [STACK_UNDERFLOW]);
    // The firmware's own.
    assert_eq!(method(&client, "memory", "release", &[0, 0, 0x1000]), [INVALID_ADDRESS]);
}

/// A client of 32 bits passes one cell where the root has two, and expects one.
#[test]
fn real_addresses_of_one_cell_are_taken_and_given() {
    let machine = machine();
    let client = machine.client();
    assert_eq!(method(&client, "memory", "claim", &[0x80_0000, 0x1000, 0]), [0, 0x80_0000]);
    assert_eq!(method(&client, "memory", "release", &[0x80_0000, 0x1000]), [0]);
    assert_eq!(method(&client, "memory", "claim", &[0, 0x1000, 0x80_0000]), [0, 0x80_0000]);
}

/// "claim [of the mmu]: allocates … virtual address space" – and no memory.
#[test]
fn virtual_addresses_are_claimed_apart_from_memory() {
    let machine = machine();
    let client = machine.client();
    let before = available(&client);
    // As a client does that takes the two one after the other.
    assert_eq!(method(&client, "memory", "claim", &[0x80_0000, 0, 0x2000, 0]), [0, 0x80_0000, 0]);
    assert_eq!(method(&client, "mmu", "claim", &[0x80_0000, 0x2000, 0]), [0, 0x80_0000]);
    let mode = NONE;
    let map = [0x80_0000, 0, 0x80_0000, 0x2000, mode];
    assert_eq!(method(&client, "mmu", "map", &map), [0]);
    assert_eq!(method(&client, "mmu", "claim", &[0x80_0000, 0x2000, 0]), [ABORT]);
    assert_eq!(method(&client, "mmu", "unmap", &[0x80_0000, 0x2000]), [0]);
    assert_eq!(method(&client, "mmu", "release", &[0x80_0000, 0x2000]), [0]);
    assert_eq!(method(&client, "mmu", "release", &[0x80_0000, 0x2000]), [INVALID_ADDRESS]);
    assert_eq!(method(&client, "memory", "release", &[0x80_0000, 0, 0x2000]), [0]);
    assert_eq!(available(&client), before);

    let aligned = method(&client, "mmu", "claim", &[0x1000, 0x10_0000]);
    assert_eq!(aligned, [0, 0x10_0000]);
    assert_eq!(available(&client), before);
    assert_eq!(method(&client, "mmu", "claim", &[0x1000, 0]), [STACK_UNDERFLOW]);
    // The next interface knows nothing of them.
    let machine = self::machine();
    let client = machine.client();
    assert_eq!(method(&client, "mmu", "claim", &[0x10_0000, 0x1000, 0]), [0, 0x10_0000]);
}

/// translate ( virt -- false | phys.lo phys.hi mode true )
#[test]
fn ram_is_translated_to_itself() {
    let machine = machine();
    let client = machine.client();
    let last = RAM_BYTES as u32 - 1;
    for virt in [0, 1, WORKSPACE + WORKSPACE_BYTES, last] {
        assert_eq!(method(&client, "mmu", "translate", &[virt]), [0, virt, 0, MODE, NONE]);
    }
    for virt in [last + 1, NONE] {
        assert_eq!(method(&client, "mmu", "translate", &[virt]), [0, 0]);
    }
    assert_eq!(method(&client, "mmu", "translate", &[]), [STACK_UNDERFLOW]);
}

#[test]
fn nothing_is_mapped_elsewhere_or_otherwise() {
    let machine = machine();
    let client = machine.client();
    let map = |stack: &[u32]| method(&client, "mmu", "map", stack);
    for mode in [NONE, 0, MODE, 0x10] {
        assert_eq!(map(&[0x80_0000, 0, 0x80_0000, 0x1000, mode]), [0], "{mode:#x}");
        // As 32-bit clients pass it.
        assert_eq!(map(&[0x80_0000, 0x80_0000, 0x1000, mode]), [0], "{mode:#x}");
        assert_eq!(method(&client, "mmu", "modify", &[0x80_0000, 0x1000, mode]), [0]);
    }
    assert_eq!(map(&[0x90_0000, 0, 0x80_0000, 0x1000, NONE]), [INVALID_ADDRESS]);
    assert_eq!(map(&[0x80_0000, 1, 0x80_0000, 0x1000, NONE]), [INVALID_ADDRESS]);
    let end = RAM_BYTES as u32;
    assert_eq!(map(&[end - 0x1000, 0, end - 0x1000, 0x1001, NONE]), [INVALID_ADDRESS]);
    // Caching inhibited, as a device is.
    assert_eq!(map(&[0x80_0000, 0, 0x80_0000, 0x1000, 0x2a]), [ABORT]);
    assert_eq!(method(&client, "mmu", "modify", &[0x80_0000, 0x1000, 0x2a]), [ABORT]);
    assert_eq!(method(&client, "mmu", "unmap", &[end, 1]), [INVALID_ADDRESS]);
    assert_eq!(map(&[0x80_0000, 0x1000, NONE]), [STACK_UNDERFLOW]);
}

#[test]
fn the_console_reads_and_writes_by_methods_too() {
    let machine = machine();
    let client = machine.client();
    // Behind what `handle` reads.
    let buffer = client.buffer() + 0x1000;
    client.poke(buffer, b"hello");
    assert_eq!(method(&client, "stdout", "write", &[buffer, 5]), [0, 5]);
    assert_eq!(machine.console.shown(), "hello");
    assert_eq!(method(&client, "stdin", "read", &[buffer, 8]), [0, -2_i32 as u32]);
    machine.console.type_in("key");
    assert_eq!(method(&client, "stdin", "read", &[buffer, 8]), [0, 3]);
    assert_eq!(client.peek(buffer, 5), b"keylo");
    let nowhere = RAM_BYTES as u32;
    assert_eq!(method(&client, "stdout", "write", &[nowhere, 1]), [INVALID_ADDRESS]);
    assert_eq!(method(&client, "stdout", "write", &[buffer]), [STACK_UNDERFLOW]);
    assert_eq!(method(&client, "stdout", "seek", &[0, 0]), [0, NONE]);
    for nothing in ["install-abort", "remove-abort", "restore"] {
        assert_eq!(method(&client, "stdin", nothing, &[]), [0], "{nothing}");
    }
    assert_eq!(method(&client, "stdout", "ring-bell", &[]), [0]);
    assert_eq!(machine.console.shown(), "hello\x07");
}

/// "Surplus arguments mean nothing": a method takes what it needs from the top of the stack.
#[test]
fn methods_leave_what_else_is_on_the_stack() {
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.cas(Box::new(|_: &[u8]| Ok(Vec::new())))
    });
    let client = machine.client();
    for (path, method) in [("/", "ibm,client-architecture-support"), ("/rtas", "instantiate-rtas")]
    {
        let ihandle = client.one("open", &[path.into()]);
        let arguments = [method.into(), ihandle.into(), 0x20_0000.into(), 7.into(), 8.into()];
        let results = client.call("call-method", &arguments, 2).results;
        assert_eq!(results[0], 0, "{method}");
    }
}

/// A client that waits for a key in a loop is made to sleep, but not one that looks now and then.
#[test]
fn a_client_that_polls_is_made_to_wait() {
    let machine = machine();
    let client = machine.client();
    let read = || method(&client, "stdin", "read", &[client.buffer(), 1]);
    for _ in 0..10 {
        read();
    }
    assert_eq!(machine.console.waits(), 0);
    for _ in 0..50 {
        read();
    }
    let waits = machine.console.waits();
    assert!(waits > 0);
    machine.console.type_in("k");
    assert_eq!(read(), [0, 1]);
    read();
    assert_eq!(machine.console.waits(), waits);
}
