//! What a client gets at each limit, and beyond: "Beyond" in `src/limits.rs`. Those that are not
//! here are in the tests of what they bound; `docs/threat-model.md` has them all.

use arch_ppc64::cas::TreeChange;
use arch_ppc64::{Next, Status, StopReason};
use vof_device::limits::{
    MAX_BOOTSPEC_BYTES, MAX_CALL_CELLS, MAX_CALLBACKS, MAX_FREE_RANGES, MAX_INSTANCES,
    MAX_NEGOTIATED_BYTES, MAX_NODE_PROPERTIES, MAX_PATH_BYTES, MAX_PHRASE_BYTES,
    MAX_PROPERTY_NAME_BYTES, MAX_SERVICE_NAME_BYTES, MAX_SETPROP_BYTES, MAX_TRANSFER_BYTES,
};
use vof_device::test_utils::{Client, TestMachine, WORKSPACE, WORKSPACE_BYTES, sample_tree};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 64 << 20;
const UNDEFINED_WORD: u32 = -13_i32 as u32;

fn machine() -> TestMachine {
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder)
}

fn x(len: usize) -> String {
    "x".repeat(len)
}

fn setprop(client: &Client<'_>, node: u32, name: &str, len: usize) -> u32 {
    let arguments = [node.into(), name.into(), WORKSPACE.into(), (len as u32).into()];
    client.one("setprop", &arguments)
}

/// "Beyond: the call fails with H_PARAMETER."
#[test]
fn arrays_and_service_names() {
    let machine = machine();
    let client = machine.client();
    let cells = |count: usize| client.call("peer", &vec![0.into(); count], 1).status;
    assert_eq!(cells(MAX_CALL_CELLS - 1), Status::SUCCESS);
    assert_eq!(cells(MAX_CALL_CELLS), Status::PARAMETER);
    let service = |len: usize| client.call(&x(len), &[], 1).status;
    assert_eq!(service(MAX_SERVICE_NAME_BYTES), Status::FUNCTION);
    assert_eq!(service(MAX_SERVICE_NAME_BYTES + 1), Status::PARAMETER);
}

/// "Beyond: there is no such property or method, and none can be made."
#[test]
fn names_of_properties_and_methods() {
    let machine = machine();
    let client = machine.client();
    let options = client.phandle("/options");
    let (longest, longer) = (x(MAX_PROPERTY_NAME_BYTES), x(MAX_PROPERTY_NAME_BYTES + 1));
    assert_eq!(setprop(&client, options, &longest, 4), 4);
    assert_eq!(client.getprop(options, &longest).map(|value| value.len()), Some(4));
    assert_eq!(client.properties(options).iter().filter(|name| **name == longest).count(), 1);
    assert_eq!(setprop(&client, options, &longer, 4), NONE);
    assert_eq!(client.getprop(options, &longer), None);
    let next = [options.into(), longer.as_str().into(), client.buffer().into()];
    assert_eq!(client.one("nextprop", &next), NONE);
    let root = client.one("open", &["/".into()]);
    let method = |name: &str| client.one("call-method", &[name.into(), root.into()]);
    assert_eq!((method(&longest), method(&longer)), (UNDEFINED_WORD, NONE));
    assert_eq!(client.one("test-method", &[1.into(), longer.as_str().into()]), NONE);
}

/// "Beyond: the path names no device." Arguments are in it, and an alias stands for no longer one.
#[test]
fn paths_arguments_and_aliases() {
    struct Anything;

    impl vof_device::PropertyPolicy for Anything {
        fn may_set(&self, _: &str, _: &str, _: &[u8]) -> bool {
            true
        }
    }

    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.properties(Box::new(Anything))
    });
    let client = machine.client();
    let path = |len: usize| format!("/cpus:{}", x(len - "/cpus:".len()));
    let ihandle = client.one("open", &[path(MAX_PATH_BYTES).as_str().into()]);
    assert_eq!(client.path("instance-to-path", ihandle), path(MAX_PATH_BYTES));
    assert_eq!(client.one("open", &[path(MAX_PATH_BYTES + 1).as_str().into()]), 0);
    let canon = |len: usize| {
        let arguments = [client.buffer().into(), 64.into()];
        client.one("canon", &[path(len).as_str().into(), arguments[0], arguments[1]])
    };
    assert_eq!((canon(MAX_PATH_BYTES), canon(MAX_PATH_BYTES + 1)), (5, NONE));

    let aliases = client.phandle("/aliases");
    for (len, found) in
        [(MAX_PATH_BYTES, true), (MAX_PATH_BYTES + 1, false), (MAX_SETPROP_BYTES - 1, false)]
    {
        for end in [&b"\0"[..], b""] {
            let value = [path(len).as_bytes(), end].concat();
            let name = "alias".into();
            let set = [aliases.into(), name, value.as_slice().into(), (value.len() as u32).into()];
            assert_eq!(client.one("setprop", &set), value.len() as u32);
            assert_eq!(client.finddevice("alias").is_some(), found, "{len}");
            assert_eq!(client.finddevice("alias:1/").is_some(), found, "{len}");
        }
    }
}

/// "Beyond: `boot` returns." What the next start is given is no longer either.
#[test]
fn arguments_of_boot() {
    let machine = machine();
    let client = machine.client();
    let boot = |len: usize| client.call("boot", &[x(len).as_str().into()], 0).next;
    assert_eq!(boot(MAX_BOOTSPEC_BYTES + 1), Next::Resume);
    assert_eq!(machine.vof().boot_arguments(), None);
    assert_eq!(boot(MAX_BOOTSPEC_BYTES), Next::Stop(StopReason::Reset));
    let passed = machine.vof().boot_arguments();
    assert_eq!(passed.as_deref(), Some(x(MAX_BOOTSPEC_BYTES).as_str()));
    let machine =
        TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.boot_arguments(passed));
    let client = machine.client();
    let bootargs = client.getprop(client.phandle("/chosen"), "bootargs").unwrap();
    assert_eq!(bootargs.len(), MAX_BOOTSPEC_BYTES + 1);
}

/// "Beyond: it fails", where a phrase that is only unknown throws.
#[test]
fn phrases() {
    let machine = machine();
    let interpret = |len: usize| machine.client().one("interpret", &[x(len).as_str().into()]);
    assert_eq!(interpret(MAX_PHRASE_BYTES), UNDEFINED_WORD);
    assert_eq!(interpret(MAX_PHRASE_BYTES + 1), NONE);
}

/// "Beyond: the one before is forgotten, and the client gets it back."
#[test]
fn callbacks() {
    const { assert!(MAX_CALLBACKS == 1) };
    let machine = machine();
    let client = machine.client();
    for number in 0..1000_u32 {
        assert_eq!(client.one("set-callback", &[(number + 1).into()]), number);
    }
}

/// "Beyond: no further one is made"; those that are there can still be set.
#[test]
fn properties_of_a_node() {
    let machine = machine();
    let client = machine.client();
    let options = client.phandle("/options");
    let before = client.properties(options).len() - 1; // `name` is none of the tree's
    for number in before..MAX_NODE_PROPERTIES {
        assert_eq!(setprop(&client, options, &format!("p{number}"), 1), 1);
    }
    assert_eq!(setprop(&client, options, "one-more", 1), NONE);
    assert_eq!(setprop(&client, options, &format!("p{before}"), 3), 3);
    assert_eq!(client.properties(options).len(), MAX_NODE_PROPERTIES + 1);
}

/// "Beyond: `setprop` fails", before it reads what it is not to keep.
#[test]
fn values_of_properties() {
    let machine = machine();
    let client = machine.client();
    let options = client.phandle("/options");
    let longest = setprop(&client, options, "x", MAX_SETPROP_BYTES);
    assert_eq!(longest, MAX_SETPROP_BYTES as u32);
    for len in [MAX_SETPROP_BYTES + 1, NONE as usize] {
        assert_eq!(setprop(&client, options, "x", len), NONE);
    }
    assert_eq!(client.getprop(options, "x").unwrap().len(), MAX_SETPROP_BYTES);
}

/// "Beyond: `open` fails", until something is closed.
#[test]
fn instances() {
    let machine = machine();
    let client = machine.client();
    // `/chosen` has four.
    let open: Vec<u32> =
        (4..MAX_INSTANCES).map(|_| client.one("open", &["/cpus".into()])).collect();
    assert!(open.iter().all(|&ihandle| ihandle != 0));
    assert_eq!(client.one("open", &["/cpus".into()]), 0);
    client.call("close", &[open[7].into()], 0);
    assert_ne!(client.one("open", &["/cpus".into()]), 0);
    assert_eq!(client.one("open", &["/cpus".into()]), 0);
}

/// "Beyond: the transfer is partial, and its result says so."
#[test]
fn transfers() {
    let machine = machine();
    let client = machine.client();
    let vty = client.one("open", &["hvterm".into()]);
    for len in [MAX_TRANSFER_BYTES, MAX_TRANSFER_BYTES + 1, 32 << 20] {
        let write = [vty.into(), 0x10_0000.into(), (len as u32).into()];
        assert_eq!(client.one("write", &write), MAX_TRANSFER_BYTES as u32);
    }
}

/// "Beyond: a claim or release that would cut free memory once more fails": of memory, and of
/// virtual addresses.
#[test]
fn pieces_of_free_memory() {
    const STEP: u32 = 64;
    let machine = machine();
    let client = machine.client();
    let mmu = client.getprop(client.phandle("/chosen"), "mmu").unwrap();
    let mmu = u32::from_be_bytes(mmu.try_into().unwrap());
    // The array stays where it is, and only the address in it changes.
    let again = |address: u32, cells: usize, at: u32| {
        client.poke_cells(WORKSPACE + 12 + 4 * address, &[at]);
        client.call_array(WORKSPACE.into(), cells, 1).results[0]
    };
    let service = |at: u32| again(0, 3, at) == at;
    let method = |at: u32| again(4, 5, at) == 0;
    let arrays: [(&str, &[_]); 2] = [
        ("claim", &[0.into(), STEP.into(), 0.into()]),
        ("call-method", &["claim".into(), mmu.into(), 0.into(), STEP.into(), 0.into()]),
    ];
    let claims: [&dyn Fn(u32) -> bool; 2] = [&service, &method];
    for ((name, arguments), claim) in arrays.into_iter().zip(claims) {
        client.call(name, arguments, 1);
        let first = WORKSPACE + WORKSPACE_BYTES + STEP;
        let cuts = (MAX_FREE_RANGES - 1) as u32;
        for number in 0..cuts {
            assert!(claim(first + number * 2 * STEP), "{number}");
        }
        assert!(!claim(first + cuts * 2 * STEP));
        // What cuts nothing is still possible: at the end of RAM.
        assert!(claim(RAM_BYTES as u32 - STEP));
    }
    let available =
        client.one("getproplen", &[client.phandle("/memory@0").into(), "available".into()]);
    assert_eq!(available as usize, MAX_FREE_RANGES * 16);
}

/// "Beyond: it fails, and the tree stays as it is."
#[test]
fn bytes_of_a_negotiation() {
    for (surplus, answer) in [(0, 0), (1, NONE)] {
        let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
            builder.cas(Box::new(move |_: &[u8]| {
                let (path, name) = ("/chosen".to_owned(), "ibm,long".to_owned());
                let value = vec![1; MAX_NEGOTIATED_BYTES - name.len() + surplus];
                Ok(vec![TreeChange::Set { path, name, value }])
            }))
        });
        let client = machine.client();
        let root = client.one("open", &["/".into()]);
        let negotiate = ["ibm,client-architecture-support".into(), root.into(), WORKSPACE.into()];
        assert_eq!(client.call("call-method", &negotiate, 2).results, [0, answer]);
        let chosen = client.phandle("/chosen");
        let is_there = client.one("getproplen", &[chosen.into(), "ibm,long".into()]) != NONE;
        assert_eq!(is_there, answer == 0);
    }
}
