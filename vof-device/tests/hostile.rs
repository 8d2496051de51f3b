//! Clients that mean harm, or do not know what they do: every call comes back, and the machine is
//! as it was.

use arch_ppc64::{Next, Status};
use proptest::prelude::*;
use vof_device::test_utils::{
    TestMachine, UNTOUCHED, WORKSPACE, methods, phrases, sample_tree, services,
};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;
const END: u32 = RAM_BYTES as u32;

fn machine() -> TestMachine {
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.cas(Box::new(|_: &[u8]| Ok(vec![])))
    })
}

#[test]
fn arrays_that_are_none_are_told() {
    let machine = machine();
    let client = machine.client();
    client.poke(WORKSPACE, b"peer\0");
    for at in [RAM_BYTES, RAM_BYTES - 11, u64::from(u32::MAX), 1 << 32, u64::MAX, u64::MAX - 40] {
        let outcome = client.call_array(at, 0, 0);
        assert_eq!((outcome.status, outcome.next), (Status::PARAMETER, Next::Resume), "{at:#x}");
    }
    let at = 0x10_0000;
    for (arguments, results) in [
        (17, 0),
        (0, 17),
        (16, 1),
        (NONE, 0),
        (0, NONE),
        (NONE, NONE),
        (1, NONE),
        (0x8000_0000, 0x8000_0000),
    ] {
        client.poke_cells(at, &[WORKSPACE, arguments, results, 0, UNTOUCHED]);
        let outcome = client.call_array(at.into(), 1, 1);
        assert_eq!(outcome.status, Status::PARAMETER);
        assert_eq!(outcome.results, [UNTOUCHED]);
    }
    // The places of the results are not RAM: no call is made.
    client.poke_cells(END - 16, &[WORKSPACE, 1, 1, 0]);
    assert_eq!(client.call_array(u64::from(END) - 16, 1, 1).status, Status::PARAMETER);
    // The name is not: there, without an end before RAM's, or at all.
    client.poke(END - 4, b"peer");
    for name in [END, END - 4, NONE, 0x8000_0000] {
        client.poke_cells(at, &[name, 1, 1, 0, UNTOUCHED]);
        let outcome = client.call_array(at.into(), 1, 1);
        assert_eq!((outcome.status, outcome.results), (Status::PARAMETER, vec![NONE]));
    }
}

/// Sixteen cells are the most, and all of them are passed on.
#[test]
fn the_longest_array_is_taken() {
    let machine = machine();
    let client = machine.client();
    let outcome = client.call("peer", &[0.into(); 15], 1);
    assert_eq!((outcome.status, outcome.results), (Status::SUCCESS, vec![1]));
    assert_eq!(client.call("peer", &[0.into(); 15], 2).status, Status::PARAMETER);
}

#[test]
fn wrong_pointers_fail_before_anything_is_done() {
    let machine = machine();
    let client = machine.client();
    let chosen = client.finddevice("/chosen").unwrap();
    let vty = client.one("open", &["hvterm".into()]);
    machine.console.type_in("typed");
    let before = machine.vof().to_blob();
    client.poke(END - 4, b"\xaa\xaa\xaa\xaa");
    for wrong in [END, END - 2, NONE, NONE - 1, 0x8000_0000] {
        let calls: [(&str, &[_]); 12] = [
            ("test", &[wrong.into()]),
            ("finddevice", &[wrong.into()]),
            ("canon", &["/chosen".into(), wrong.into(), 64.into()]),
            ("getproplen", &[chosen.into(), wrong.into()]),
            ("getprop", &[chosen.into(), "bootargs".into(), wrong.into(), 64.into()]),
            ("getprop", &[chosen.into(), "name".into(), wrong.into(), 64.into()]),
            ("nextprop", &[chosen.into(), "".into(), wrong.into()]),
            ("nextprop", &[chosen.into(), wrong.into(), WORKSPACE.into()]),
            ("setprop", &[chosen.into(), "bootargs".into(), wrong.into(), 64.into()]),
            ("package-to-path", &[chosen.into(), wrong.into(), 64.into()]),
            ("read", &[vty.into(), wrong.into(), 64.into()]),
            ("write", &[vty.into(), wrong.into(), 64.into()]),
        ];
        for (service, arguments) in calls {
            assert_eq!(client.one(service, arguments), NONE, "{service} with {wrong:#x}");
        }
        assert_eq!(client.one("open", &[wrong.into()]), 0);
    }
    assert_eq!(client.peek(END - 4, 4), [0xaa; 4]);
    assert_eq!(machine.console.shown(), "");
    assert_eq!(machine.vof().to_blob(), before);
    assert_eq!(client.one("read", &[vty.into(), client.buffer().into(), 64.into()]), 5);
}

/// Numbers that are close to something.
fn cell() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0..40_u32,
        (WORKSPACE..WORKSPACE + 0x200),
        (END - 80..END + 80),
        (0x7fff_ff00..0x8000_0100_u32),
        (NONE - 80..=NONE),
        Just(0x800),
        Just(0x801),
    ]
}

/// Words that lead somewhere: paths, properties, methods, phrases, services.
fn texts() -> Vec<&'static str> {
    let methods = methods().map(|(_, method)| method);
    let services = services().map(|(service, _)| service);
    ["/", "/chosen", "hvterm:x", "name", "bootargs", "linux,x", "available", "reg"]
        .into_iter()
        .chain(methods)
        .chain(phrases())
        .chain(services)
        .collect()
}

#[derive(Debug, Clone)]
enum Wild {
    Cell(u32),
    Text(&'static str),
}

fn wild() -> impl Strategy<Value = Wild> {
    prop_oneof![
        2 => cell().prop_map(Wild::Cell),
        1 => prop::sample::select(texts()).prop_map(Wild::Text),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Services with arguments of every kind: they come back, and never write past the array.
    #[test]
    fn any_arguments_are_answered(
        calls in prop::collection::vec(
            (prop::sample::select(services().collect::<Vec<_>>()), prop::collection::vec(wild(), 5..10), 0..6_usize),
            1..30,
        ),
    ) {
        let machine = machine();
        let client = machine.client();
        for ((service, needs), arguments, results) in calls {
            let arguments: Vec<_> = arguments
                .iter()
                .take(needs.max(8))
                .map(|argument| match argument {
                    Wild::Cell(cell) => (*cell).into(),
                    Wild::Text(text) => (*text).into(),
                })
                .collect();
            let outcome = client.call(service, &arguments, results);
            if !matches!(service, "exit" | "boot" | "interpret") {
                prop_assert_eq!(outcome.next, Next::Resume);
            }
            // The workspace is RAM, so the array is one, unless the call wrote over it.
            let is_expected = match service {
                "call-method" => true,
                "chain" => matches!(outcome.status, Status::SUCCESS | Status(vof_firmware::ENTER_PROGRAM)),
                _ => outcome.status == Status::SUCCESS,
            };
            prop_assert!(is_expected, "{} {:?}", service, outcome);
        }
        // The interface is as usable as before.
        prop_assert_eq!(client.one("peer", &[0.into()]), 1);
        prop_assert!(client.finddevice("/chosen").is_some());
    }

    /// Arrays of anything, anywhere.
    #[test]
    fn any_array_is_answered(
        at in cell(),
        cells in prop::collection::vec(cell(), 0..24),
        place in 0..4_u32,
    ) {
        let machine = machine();
        let client = machine.client();
        client.poke(WORKSPACE, b"getprop\0claim\0release\0write\0");
        let array = END - 4 * place - 4 * cells.len() as u32;
        client.poke_cells(array, &cells);
        let _ = client.call_array(array.into(), 0, 0);
        let _ = client.call_array(at.into(), 0, 0);
        prop_assert_eq!(client.one("peer", &[0.into()]), 1);
    }
}
