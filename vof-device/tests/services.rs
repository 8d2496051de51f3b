//! The other services as a client sees them (IEEE 1275-1994 §6.3.2).

use std::time::{Duration, Instant};

use arch_ppc64::cas::{self, TreeChange};
use arch_ppc64::config::Memory;
use arch_ppc64::{Machine, Next, Status, layout};
use pseries::Config;
use vof_device::test_utils::{
    Client, FIRMWARE_BYTES, TestMachine, UNTOUCHED, WORKSPACE, WORKSPACE_BYTES, sample_tree,
};
use vof_device::{CasRefusal, limits};

mod pseries;

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;

fn machine() -> TestMachine {
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder)
}

fn available(client: &Client<'_>) -> Vec<(u64, u64)> {
    let memory = client.phandle("/memory@0");
    let value = client.getprop(memory, "available").unwrap();
    assert_eq!(value.len() % 16, 0);
    let word = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    value.chunks(16).map(|entry| (word(&entry[..8]), word(&entry[8..]))).collect()
}

#[test]
fn test_knows_which_services_there_are() {
    let machine = machine();
    let client = machine.client();
    for service in ["test", "getprop", "claim", "call-method", "milliseconds", "quiesce"] {
        assert_eq!(client.one("test", &[service.into()]), 0, "{service}");
    }
    for service in ["", "TEST", "gettprop", "interprets", "set-symbol-lookup"] {
        assert_eq!(client.one("test", &[service.into()]), NONE, "{service}");
    }
}

/// §6.3.1: the handler says −1 if there is no such service.
#[test]
fn unknown_services_are_told() {
    let machine = machine();
    let client = machine.client();
    let outcome = client.call("no-such-service", &[1.into()], 2);
    assert_eq!(outcome.status, Status::FUNCTION);
    assert_eq!(outcome.results, [NONE, UNTOUCHED]);
    assert_eq!(client.call("no-such-service", &[], 0).status, Status::FUNCTION);
    let long = "x".repeat(limits::MAX_SERVICE_NAME_BYTES);
    assert_eq!(client.call(&long, &[], 1).status, Status::FUNCTION);
    let too_long = "x".repeat(limits::MAX_SERVICE_NAME_BYTES + 1);
    let outcome = client.call(&too_long, &[], 1);
    assert_eq!((outcome.status, outcome.results[0]), (Status::PARAMETER, NONE));
}

#[test]
fn too_few_arguments_make_no_call_and_other_counts_do_no_harm() {
    let machine = machine();
    let client = machine.client();
    let outcome = client.call("claim", &[0x10_0000.into(), 0x1000.into()], 1);
    assert_eq!((outcome.status, outcome.results[0]), (Status::PARAMETER, NONE));
    let outcome = client.call("peer", &[0.into(), 7.into()], 3);
    assert_eq!(outcome.status, Status::SUCCESS);
    assert_eq!(outcome.results, [1, UNTOUCHED, UNTOUCHED]);
    let outcome = client.call("peer", &[0.into()], 0);
    assert_eq!((outcome.status, outcome.results), (Status::SUCCESS, vec![]));
}

#[test]
fn open_instances_lead_to_their_packages() {
    let machine = machine();
    let client = machine.client();
    // "open … returns zero if the operation fails".
    assert_eq!(client.one("open", &["/nothing".into()]), 0);
    let one = client.one("open", &["/cpus".into()]);
    let two = client.one("open", &["/cpus".into()]);
    assert_ne!(one, two);
    let cpus = client.phandle("/cpus");
    assert_eq!(client.one("instance-to-package", &[one.into()]), cpus);
    assert_eq!(client.call("close", &[one.into()], 0).status, Status::SUCCESS);
    assert_eq!(client.one("instance-to-package", &[one.into()]), NONE);
    assert_eq!(client.one("instance-to-package", &[two.into()]), cpus);
    for wrong in [0, NONE, one, cpus] {
        assert_eq!(client.one("instance-to-package", &[wrong.into()]), NONE);
        assert_eq!(client.call("close", &[wrong.into()], 0).status, Status::SUCCESS);
    }
    // `two`, and `stdin`, `stdout`, `memory` and `mmu` of `/chosen`.
    let mut open = 5;
    while client.one("open", &["/".into()]) != 0 {
        open += 1;
    }
    assert_eq!(open, limits::MAX_INSTANCES);
}

fn stdout(client: &Client<'_>) -> u32 {
    handle(client, "stdout")
}

fn handle(client: &Client<'_>, name: &str) -> u32 {
    let value = client.getprop(client.phandle("/chosen"), name).unwrap();
    u32::from_be_bytes(value.try_into().unwrap())
}

/// Linux closes stdin before its last words, "Booting Linux via __start()".
#[test]
fn closing_stdin_leaves_stdout() {
    let machine = machine();
    let client = machine.client();
    assert_eq!(client.call("close", &[handle(&client, "stdin").into()], 0).status, Status::SUCCESS);
    let write = [stdout(&client).into(), "Booting Linux".into(), 13.into()];
    assert_eq!(client.one("write", &write), 13);
    assert_eq!(machine.console.shown(), "Booting Linux");
}

#[test]
fn write_shows_text_on_the_console() {
    let machine = machine();
    let client = machine.client();
    let stdout = stdout(&client);
    let vty = client.phandle("/vdevice/vty");
    assert_eq!(client.one("instance-to-package", &[stdout.into()]), vty);
    let write = |ihandle: u32, text: &str, len: u32| {
        client.one("write", &[ihandle.into(), text.into(), len.into()])
    };
    assert_eq!(write(stdout, "Preparing to boot Linux\r\n", 25), 25);
    assert_eq!(write(stdout, "unused", 0), 0);
    let long = "0123456789".repeat(100);
    assert_eq!(write(stdout, &long, 999), 999);
    let again = client.one("open", &["hvterm".into()]);
    assert_eq!(write(again, "!", 1), 1);
    let expected = format!("Preparing to boot Linux\r\n{}!", &long[..999]);
    assert_eq!(machine.console.shown(), expected);
    machine.console.limit(300);
    assert_eq!(write(stdout, &long, 1000), 300);
    // A console that is only slow gets all of it.
    machine.console.limit_later(20, 700);
    assert_eq!(write(stdout, &long[300..], 700), 700);
    assert_eq!(write(stdout, &long, 1000), 0);
    let plain = client.one("open", &["/cpus".into()]);
    for wrong in [0, NONE, plain, vty] {
        assert_eq!(write(wrong, "lost", 4), NONE);
    }
    // The end of RAM is within the text: nothing of it is shown.
    let shown = machine.console.shown();
    let end = RAM_BYTES as u32;
    assert_eq!(client.one("write", &[stdout.into(), (end - 8).into(), 9.into()]), NONE);
    assert_eq!(client.one("write", &[stdout.into(), NONE.into(), 9.into()]), NONE);
    assert_eq!(machine.console.shown(), shown);
}

#[test]
fn transfers_beyond_the_limit_are_partial() {
    let machine = machine();
    let client = machine.client();
    let (stdout, at) = (stdout(&client), 0x10_0000_u32);
    let max = limits::MAX_TRANSFER_BYTES as u32;
    assert_eq!(client.one("write", &[stdout.into(), at.into(), (max + 5).into()]), max);
    machine.console.type_in(&"y".repeat(max as usize + 5));
    assert_eq!(client.one("read", &[stdout.into(), at.into(), (max + 5).into()]), max);
    assert_eq!(client.one("read", &[stdout.into(), at.into(), 10.into()]), 5);
}

/// "−2 if no input was available", −1 where there never is any.
#[test]
fn read_gives_what_was_typed() {
    let machine = machine();
    let client = machine.client();
    let stdin = stdout(&client);
    let buffer = client.buffer();
    let read = |ihandle: u32, at: u32, len: u32| {
        client.one("read", &[ihandle.into(), at.into(), len.into()])
    };
    assert_eq!(read(stdin, buffer, 10), -2_i32 as u32);
    assert_eq!(read(stdin, buffer, 0), 0);
    machine.console.type_in("boot\r");
    // A bad buffer loses nothing.
    assert_eq!(read(stdin, RAM_BYTES as u32 - 2, 3), NONE);
    assert_eq!(read(stdin, buffer, 3), 3);
    assert_eq!(client.peek(buffer, 3), b"boo");
    assert_eq!(read(stdin, buffer, 300), 2);
    assert_eq!(client.peek(buffer, 3), b"t\ro");
    assert_eq!(read(stdin, buffer, 300), -2_i32 as u32);
    let plain = client.one("open", &["/cpus".into()]);
    assert_eq!(read(plain, buffer, 1), NONE);
    assert_eq!(read(0, buffer, 1), NONE);
    assert_eq!(client.one("seek", &[stdin.into(), 0.into(), 0.into()]), NONE);
}

#[test]
fn claim_and_release_show_in_available() {
    let machine = machine();
    let client = machine.client();
    let claim = |virt: u32, size: u32, align: u32| {
        client.one("claim", &[virt.into(), size.into(), align.into()])
    };
    let start = FIRMWARE_BYTES + u64::from(WORKSPACE_BYTES);
    assert_eq!(available(&client), [(start, RAM_BYTES - start)]);
    let memory = client.phandle("/memory@0");
    let properties = client.properties(memory);
    assert_eq!(properties, ["phandle", "device_type", "reg", "available", "name"]);

    assert_eq!(claim(0x40_0000, 0x10_0000, 0), 0x40_0000);
    assert_eq!(claim(0x4f_ffff, 1, 0), NONE);
    assert_eq!(claim(0x1234, 0x1000, 0x1000), start as u32);
    assert_eq!(claim(0x1234, 0x1000, 0x10_0000), 0x10_0000);
    let page = 0x1000;
    let expected = [
        (start + page, 0x10_0000 - start - page),
        (0x10_1000, 0x40_0000 - 0x10_1000),
        (0x50_0000, RAM_BYTES - 0x50_0000),
    ];
    assert_eq!(available(&client), expected);
    // Only what is asked for is written: whole entries or not.
    let buffer = client.buffer();
    client.poke(buffer, &[0xaa; 64]);
    let arguments = [memory.into(), "available".into(), buffer.into(), 20.into()];
    assert_eq!(client.one("getprop", &arguments), 48);
    assert_eq!(client.peek(buffer + 16, 6), [0, 0, 0, 0, 0xaa, 0xaa]);

    let release = |virt: u32, size: u32| {
        let outcome = client.call("release", &[virt.into(), size.into()], 0);
        assert_eq!(outcome.status, Status::SUCCESS);
    };
    release(0x40_0000, 0x10_0001);
    assert_eq!(available(&client), expected);
    release(0x48_0000, 0x1000);
    assert_eq!(available(&client)[2], (0x48_0000, 0x1000));
    release(0x40_0000, 0x8_0000);
    release(0x48_1000, 0x7_f000);
    release(start as u32, 0x1000);
    release(0x10_0000, 0x1000);
    assert_eq!(available(&client), [(start, RAM_BYTES - start)]);
    // What the loader reserved for the client is the client's.
    let all = RAM_BYTES - FIRMWARE_BYTES;
    release(WORKSPACE, WORKSPACE_BYTES);
    assert_eq!(available(&client), [(FIRMWARE_BYTES, all)]);
    assert_eq!(claim(0, 0, 0), NONE);
    assert_eq!(claim(0, 0, 16), NONE);
    assert_eq!(claim(0, all as u32, 1), FIRMWARE_BYTES as u32);
    assert_eq!(available(&client), []);
    assert_eq!(client.getprop(memory, "available").unwrap(), b"");
    assert_eq!(claim(0, 1, 1), NONE);
}

#[test]
fn the_flattened_tree_lists_free_memory_too() {
    let machine = machine();
    let client = machine.client();
    client.one("claim", &[0x40_0000.into(), 0x10_0000.into(), 0.into()]);
    let memory = client.phandle("/memory@0");
    let tree = vof_device::DeviceTree::from_blob(&machine.vof().to_blob()).unwrap();
    let node = tree.node_by_phandle(memory).unwrap();
    assert_eq!(tree.property(node, "available"), client.getprop(memory, "available").as_deref());
}

#[test]
fn milliseconds_pass_and_quiesce_changes_nothing() {
    let start = Instant::now();
    let machine = machine();
    let client = machine.client();
    let before = client.one("milliseconds", &[]);
    std::thread::sleep(Duration::from_millis(20));
    let after = client.one("milliseconds", &[]);
    assert!(after >= before + 20 && u128::from(after) <= start.elapsed().as_millis());
    let outcome = client.call("quiesce", &[], 0);
    assert_eq!((outcome.status, outcome.next), (Status::SUCCESS, Next::Resume));
    assert!(client.finddevice("/chosen").is_some());
}

const CAS: &str = "ibm,client-architecture-support";

fn set(path: &str, name: &str, value: &[u8]) -> TreeChange {
    TreeChange::Set { path: path.to_owned(), name: name.to_owned(), value: value.to_vec() }
}

#[test]
fn negotiation_changes_the_tree_and_nothing_else() {
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.cas(Box::new(|vectors: &[u8]| {
            assert_eq!(vectors.len(), limits::MAX_ARCHITECTURE_VECTOR_BYTES);
            if vectors[0] != b'v' {
                return Err(CasRefusal::new("these are no vectors"));
            }
            let path = if vectors[1] == b'!' { "/nothing" } else { "/rtas" };
            Ok(vec![
                set("/chosen", "ibm,architecture-vec-5", &vectors[1..4]),
                TreeChange::Remove { path: path.to_owned(), name: "rtas-size".to_owned() },
                set("/", "compatible", b"x\0"),
            ])
        }))
    });
    let client = machine.client();
    let root = client.one("open", &["/".into()]);
    let stdout_before = stdout(&client);
    let (chosen, rtas) = (client.phandle("/chosen"), client.phandle("/rtas"));
    let negotiate =
        |vectors: &[u8]| client.call("call-method", &[CAS.into(), root.into(), vectors.into()], 2);
    // Nothing is done by halves: /nothing is no node, so /chosen is as it was.
    assert_eq!(negotiate(b"v!..").results, [0, NONE]);
    assert_eq!(client.getprop(chosen, "ibm,architecture-vec-5"), None);
    assert_eq!(negotiate(b"w").results, [0, NONE]);
    for vectors in [b"v123", b"v456"] {
        assert_eq!(negotiate(vectors).results, [0, 0]);
        assert_eq!(client.getprop(chosen, "ibm,architecture-vec-5").unwrap(), vectors[1..]);
    }
    assert_eq!(client.getprop(rtas, "rtas-size"), None);
    assert_eq!(client.getprop(1, "compatible").unwrap(), b"x\0");
    assert_eq!(stdout(&client), stdout_before);
    assert_eq!(client.one("instance-to-package", &[root.into()]), 1);
    // Not of any other package, not of an address that is no RAM.
    let cpus = client.one("open", &["/cpus".into()]);
    let outcome = client.call("call-method", &[CAS.into(), cpus.into(), "v".into()], 2);
    assert_eq!(outcome.results, [-13_i32 as u32, UNTOUCHED]);
    let outcome = client.call("call-method", &[CAS.into(), root.into(), NONE.into()], 2);
    assert_eq!(outcome.results, [-9_i32 as u32, UNTOUCHED]);
}

/// What services go by stays as it was built, and nothing else of the changes is made either.
#[test]
fn negotiation_cannot_change_what_is_fixed() {
    let remove = |path: &str, name: &str| TreeChange::Remove {
        path: path.to_owned(),
        name: name.to_owned(),
    };
    for wrong in [
        set("/memory@0", "reg", &[0; 16]),
        set("/", "#address-cells", &[0, 0, 0, 1]),
        set("/chosen", "stdout", &[0, 0, 0, 9]),
        set("/vdevice", "device_type", b"cpu\0"),
        remove("/cpus/PowerPC,POWER9@0", "device_type"),
        remove("/memory@0", "available"),
        remove("/chosen", "mmu"),
    ] {
        let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
            let wrong = wrong.clone();
            let may = set("/vdevice", "device_type", b"vdevice\0");
            builder.cas(Box::new(move |_: &[u8]| Ok(vec![may.clone(), wrong.clone()])))
        });
        let before = machine.vof().to_blob();
        let client = machine.client();
        let root = client.one("open", &["/".into()]);
        let outcome = client.call("call-method", &[CAS.into(), root.into(), WORKSPACE.into()], 2);
        assert_eq!(outcome.results, [0, NONE], "{wrong:?}");
        assert_eq!(machine.vof().to_blob(), before, "{wrong:?}");
    }
}

#[test]
fn vectors_end_where_ram_does() {
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.cas(Box::new(|vectors: &[u8]| {
            assert_eq!(vectors, b"end");
            Ok(vec![])
        }))
    });
    let client = machine.client();
    client.poke(RAM_BYTES as u32 - 3, b"end");
    let root = client.one("open", &["/".into()]);
    let at = RAM_BYTES as u32 - 3;
    let outcome = client.call("call-method", &[CAS.into(), root.into(), at.into()], 2);
    assert_eq!(outcome.results, [0, 0]);
}

#[test]
fn rtas_is_put_where_the_client_wants_it() {
    let machine = machine();
    let client = machine.client();
    let rtas = client.one("open", &["/rtas".into()]);
    let base = client.one("claim", &[0.into(), 4096.into(), 4096.into()]);
    let instantiate = |base: u32| {
        client.call("call-method", &["instantiate-rtas".into(), rtas.into(), base.into()], 2)
    };
    assert_eq!(instantiate(base).results, [0, base]);
    assert_ne!(client.peek(base, 20), [0; 20]);
    for wrong in [base + 1, RAM_BYTES as u32 - 4092, NONE & !3] {
        assert_eq!(instantiate(wrong).results, [-1_i32 as u32, UNTOUCHED]);
    }
}

#[test]
fn methods_are_tested_for_and_missed() {
    let machine = machine();
    let client = machine.client();
    let (root, rtas) = (1, client.phandle("/rtas"));
    let test = |node: u32, name: &str| client.one("test-method", &[node.into(), name.into()]);
    assert_eq!(test(rtas, "instantiate-rtas"), 0);
    assert_eq!(test(root, "instantiate-rtas"), NONE);
    // Nobody negotiates for this machine.
    assert_eq!(test(root, CAS), NONE);
    assert_eq!(test(0, "instantiate-rtas"), NONE);
    for every in ["open", "close"] {
        assert_eq!(test(rtas, every), 0);
    }
    let root = client.one("open", &["/".into()]);
    let outcome = client.call("call-method", &[CAS.into(), root.into(), 0.into()], 2);
    assert_eq!(outcome.results, [-13_i32 as u32, UNTOUCHED]);
    let outcome = client.call("call-method", &["no-method".into(), root.into()], 1);
    assert_eq!(outcome.results, [-13_i32 as u32]);
    for wrong in [0, NONE, 7] {
        let outcome = client.call("call-method", &["x".into(), wrong.into()], 1);
        assert_eq!(outcome.results, [NONE]);
    }
}

#[test]
fn nothing_of_a_client_is_in_the_next_interface() {
    let before = {
        let machine = machine();
        (stdout(&machine.client()), available(&machine.client()), machine.vof().to_blob())
    };
    let machine = machine();
    let client = machine.client();
    let ihandle = client.one("open", &["/cpus".into()]);
    client.one("claim", &[0.into(), 0x1000.into(), 1.into()]);
    client.call("release", &[WORKSPACE.into(), 64.into()], 0);
    let chosen = client.phandle("/chosen");
    client.one("setprop", &[chosen.into(), "linux,x".into(), 0.into(), 4.into()]);
    client.call("close", &[before.0.into()], 0);
    assert_ne!(machine.vof().to_blob(), before.2);
    let machine = self::machine();
    let client = machine.client();
    assert_eq!((stdout(&client), available(&client), machine.vof().to_blob()), before);
    assert_eq!(client.one("instance-to-package", &[ihandle.into()]), NONE);
    assert_eq!(client.one("write", &[before.0.into(), "x".into(), 1.into()]), 1);
}

/// The real machine's tree and its real negotiation, as Linux starts it.
#[test]
fn the_pseries_machine_negotiates() {
    let memory = Memory::of_size(64 << 20);
    let machine = Machine::new(&Config { memory, boot_cpus: 2, max_cpus: 4 }).unwrap();
    let tree = pseries::tree(&machine, 1);
    let platform = cas::Platform::of(&machine);
    let map = machine.memory_map();
    let ram_bytes = map.ram_bytes();
    let machine = TestMachine::in_memory(tree, map, |builder| builder.cas(Box::new(platform)));
    let client = machine.client();
    assert_eq!(machine.client().finddevice(layout::VTY_PATH), client.finddevice("/vdevice/vty"));
    let root = client.one("open", &["/".into()]);
    // A boot loader's vectors: no processor, and one that says "ignore me".
    let vectors = &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80][..];
    let negotiate = |vectors: &[u8]| {
        client.call("call-method", &[CAS.into(), root.into(), vectors.into()], 2).results
    };
    let chosen = client.phandle("/chosen");
    assert_eq!(client.getprop(chosen, "ibm,architecture-vec-5"), None);
    let before = stdout(&client);
    assert_eq!(negotiate(vectors), [0, 0]);
    assert!(client.getprop(chosen, "ibm,architecture-vec-5").is_some());
    assert_eq!(stdout(&client), before);
    assert_eq!(negotiate(vectors), [0, 0]);
    // A vector that runs out of RAM's end is the client's mistake, and is told.
    let end = ram_bytes as u32 - 9;
    client.poke(end, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 5]);
    let outcome = client.call("call-method", &[CAS.into(), root.into(), end.into()], 2);
    assert_eq!(outcome.results, [0, NONE]);
}
