//! A state can be saved after any calls, and whoever takes it up answers as the one that saved it.

use arch_ppc64::Machine;
use arch_ppc64::cas::{self, TreeChange};
use arch_ppc64::config::Memory;
use proptest::collection::vec;
use proptest::prelude::*;
use pseries::Config;
use vof_device::test_utils::{Client, TestMachine, WORKSPACE, of_size, sample_blob, sample_tree};
use vof_device::{DeviceTree, VofBuilder, limits};

mod pseries;

const RAM_BYTES: u64 = 16 << 20;
const CAS: &str = "ibm,client-architecture-support";
/// Where the made-up vectors of a negotiation are.
const VECTORS: u32 = WORKSPACE + 0x1_f000;

/// What one call is made of.
type Step = (u8, u32, u32);

/// Makes one call; gives what came of it.
fn call(client: &Client<'_>, (what, one, two): Step) -> Vec<u32> {
    const PATHS: [&str; 7] =
        ["/", "hvterm:abc", "disk", "/cpus/PowerPC,POWER9@1", "/memory@0:1", "/rtas", "/vdevice:é"];
    const NAMES: [&str; 7] =
        ["linux,a", "linux,b", "bootargs", "boot-command", "linux,rtas-base", "q", "r"];
    let pick = |of: usize| one as usize % of;
    match what % 9 {
        0 => vec![client.one("open", &[PATHS[pick(7)].into()])],
        1 => client.call("close", &[(one % 12).into()], 1).results,
        2 => {
            let node = client.phandle(["/chosen", "/options", "/rtas"][pick(3)]);
            client.poke(client.buffer(), &two.to_be_bytes());
            let name = NAMES[two as usize % 7];
            let arguments = [node.into(), name.into(), client.buffer().into(), (two % 9).into()];
            vec![client.one("setprop", &arguments)]
        }
        3 => {
            let (at, size) = (one % 32 * 0x8_0000, 1 + two % 0x10_0000);
            vec![client.one("claim", &[at.into(), size.into(), (one % 3 * 0x100).into()])]
        }
        4 => {
            let (at, size) = (one % 0x100_0000, 1 + two % 0x1000);
            client.call("release", &[at.into(), size.into()], 1).results
        }
        5 => {
            client.poke(VECTORS, &[one as u8, two as u8]);
            let root = client.one("open", &["/".into()]);
            let negotiate = [CAS.into(), root.into(), VECTORS.into()];
            let results = client.call("call-method", &negotiate, 2).results;
            client.call("close", &[root.into()], 0);
            results
        }
        6 => {
            let chosen = client.phandle("/chosen");
            let mmu = client.getprop(chosen, "mmu").unwrap();
            let mmu = u32::from_be_bytes(mmu.try_into().unwrap());
            let (align, size, at) = (one % 2 * 0x1000, 1 + two % 0x1_0000, two % 0x100_0000);
            let claim = ["claim".into(), mmu.into(), align.into(), size.into(), at.into()];
            client.call("call-method", &claim, 2).results
        }
        7 => vec![client.one("set-callback", &[one.into()])],
        _ => client.call("boot", &[["", "quiet", "disk single"][pick(3)].into()], 0).results,
    }
}

/// Sets and removes what the first two bytes of the vectors say.
fn negotiates(builder: VofBuilder) -> VofBuilder {
    const CHANGED: [(&str, &str); 6] = [
        ("/chosen", "ibm,x"),
        ("/rtas", "rtas-size"),
        ("/chosen", "bootargs"),
        ("/cpus/PowerPC,POWER9@0", "ibm,a-flag"),
        ("/vdevice", "compatible"),
        ("/vdevice/vty@71000000", "status"),
    ];
    builder.cas(Box::new(|vectors: &[u8]| {
        let bit = |byte: usize, bit: usize| vectors[byte] >> bit & 1 == 1;
        let changed = CHANGED.iter().enumerate().filter(|(at, _)| bit(0, *at));
        let changes = changed.map(|(at, (path, name))| {
            let (path, name) = ((*path).to_owned(), (*name).to_owned());
            match bit(1, at) {
                false => TreeChange::Remove { path, name },
                true => {
                    let value = vectors[..2].repeat(usize::from(vectors[1]) % 7);
                    TreeChange::Set { path, name, value }
                }
            }
        });
        Ok(changes.collect::<Vec<_>>())
    }))
}

/// The sample with the phandle of each node behind its other properties, as dtc writes it.
fn phandles_last() -> DeviceTree {
    DeviceTree::from_blob(&turned(&sample_blob())).unwrap()
}

/// A blob with the first property of each node made its last.
fn turned(blob: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize;
    let (start, len) = (word(8), word(36));
    let mut out = blob.to_vec();
    let (mut at, mut properties): (usize, Vec<&[u8]>) = (start, Vec::new());
    let mut to = start;
    while at < start + len {
        let begin = at;
        let is_property = word(at) == 3;
        at += 4;
        match word(begin) {
            1 => {
                let len = blob[at..].iter().position(|&byte| byte == 0).unwrap() + 1;
                at += len.next_multiple_of(4);
            }
            3 => at += 8 + word(at).next_multiple_of(4),
            _ => {}
        }
        if is_property {
            properties.push(&blob[begin..at]);
            continue;
        }
        if !properties.is_empty() {
            properties.rotate_left(1);
        }
        for piece in properties.drain(..).chain([&blob[begin..at]]) {
            out[to..to + piece.len()].copy_from_slice(piece);
            to += piece.len();
        }
    }
    out
}

fn save_and_go_on(tree: fn() -> DeviceTree, before: &[Step], after: &[Step]) {
    let machine = TestMachine::new(tree(), RAM_BYTES, negotiates);
    for step in before {
        call(&machine.client(), *step);
    }
    let state = machine.vof().state().unwrap();
    // Twice over: what was taken up can be saved and taken up again.
    let between = TestMachine::restored(tree(), &of_size(RAM_BYTES), negotiates, &state).unwrap();
    let mut again = between.vof().state().unwrap();
    again.vof.milliseconds = state.vof.milliseconds;
    assert_eq!(again, state);
    let other = TestMachine::restored(tree(), &of_size(RAM_BYTES), negotiates, &again).unwrap();
    for step in after {
        let answers = call(&machine.client(), *step);
        assert_eq!(call(&other.client(), *step), answers, "{step:x?}");
    }
    assert_eq!(other.vof().to_blob(), machine.vof().to_blob());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn calls_before_and_after_make_no_difference(
        before in vec(any::<Step>(), 0..80),
        after in vec(any::<Step>(), 0..80),
    ) {
        save_and_go_on(sample_tree, &before, &after);
        save_and_go_on(phandles_last, &before, &after);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is in a state: it is refused, or what takes it up answers.
    #[test]
    fn a_state_that_was_tampered_with_is_refused_or_works(
        before in vec(any::<Step>(), 0..20),
        after in vec(any::<Step>(), 0..20),
        bytes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        numbers in vec((0..6_u8, any::<prop::sample::Index>(), any::<u32>()), 0..3),
    ) {
        let machine = TestMachine::new(sample_tree(), RAM_BYTES, negotiates);
        for step in &before {
            call(&machine.client(), *step);
        }
        let mut state = machine.vof().state().unwrap();
        let saved = &mut state.vof;
        for (at, byte) in bytes {
            *at.get_mut(&mut saved.tree) = byte;
        }
        for (what, at, number) in numbers {
            let slots = &mut saved.instances.slots;
            match what {
                0 => saved.added_bytes = u64::from(number % (2 << 20)),
                1 => at.get_mut(&mut saved.free_memory).start = number.into(),
                2 => at.get_mut(&mut saved.free_virtual).end = number.into(),
                3 => at.get_mut(slots).generation = number,
                4 => at.get_mut(slots).instance = None,
                _ => at.get_mut(&mut saved.changed).phandle = number % 16,
            }
        }
        let restored = TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), negotiates, &state);
        if let Ok(machine) = restored {
            // The client looks for nodes that may be others by now.
            for path in ["/chosen", "/options", "/rtas", "/", "/memory@0", "/cpus/@1", "hvterm"] {
                let client = machine.client();
                let ihandle = client.one("open", &[path.into()]);
                let (at, len) = (client.buffer().into(), 64.into());
                client.one("instance-to-path", &[ihandle.into(), at, len]);
                client.one("write", &[ihandle.into(), at, len]);
                let Some(node) = client.finddevice(path) else { continue };
                client.properties(node);
                client.call("start-cpu", &[node.into(), 0x60.into(), 0.into()], 0);
            }
            let needed = ["/chosen", "/options", "/rtas"];
            if needed.iter().all(|path| machine.client().finddevice(path).is_some()) {
                for step in after.iter().filter(|(what, ..)| what % 9 != 6) {
                    call(&machine.client(), *step);
                }
            }
            let again = machine.vof().state().unwrap();
            prop_assert!(TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), negotiates, &again).is_ok());
        }
    }
}

/// Properties that a client sets until no more is taken; how many there were.
fn fill(client: &Client<'_>, path: &str, bytes: u32) -> usize {
    let node = client.phandle(path);
    let set = |number: &u32| {
        let name = format!("linux,{number}");
        let arguments = [node.into(), name.as_str().into(), client.buffer().into(), bytes.into()];
        client.one("setprop", &arguments) == bytes
    };
    (0..limits::MAX_NODE_PROPERTIES as u32).take_while(set).count()
}

/// What is left of the budget is the same to the byte.
#[test]
fn the_budget_of_clients_is_carried_over_exactly() {
    let set = |machine: &TestMachine, name: &str, bytes: u32| {
        let client = machine.client();
        let options = client.phandle("/options");
        let arguments = [options.into(), name.into(), client.buffer().into(), bytes.into()];
        client.one("setprop", &arguments) == bytes
    };
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder);
    // To the value that it has.
    machine.client().poke(machine.client().buffer(), b"boot\0");
    assert!(set(&machine, "boot-command", 5));
    assert!(fill(&machine.client(), "/chosen", 48_000) > 0);
    assert!(fill(&machine.client(), "/options", 1000) > 0);
    let state = machine.vof().state().unwrap();
    let other =
        TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), |builder| builder, &state)
            .unwrap();
    for bytes in (0..1000).rev() {
        let is_taken = set(&machine, "last", bytes);
        assert_eq!(set(&other, "last", bytes), is_taken, "{bytes}");
        if is_taken {
            break;
        }
    }
}

/// A guest has no way to make its own machine one that cannot be saved.
#[test]
fn a_full_tree_that_negotiation_makes_longer_is_taken_up() {
    // So much memory is to come that negotiation makes the tree much longer.
    let memory = Memory::of_size(256 << 20).with_hotplug(1 << 40);
    let machine = Machine::new(&Config { memory, boot_cpus: 1, max_cpus: 4 }).unwrap();
    let tree = |boot_count| pseries::tree(&machine, boot_count);
    let policy = |builder: VofBuilder| builder.cas(Box::new(cas::Platform::of(&machine)));
    let first = TestMachine::new(tree(1), 256 << 20, policy);
    let client = first.client();
    let root = client.one("open", &["/".into()]);
    let negotiate = |vector_5: &[(usize, u8)]| {
        // Any processor; vectors 1 to 4 of one byte; the fifth.
        let mut structure = vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4];
        structure.extend([[0, 0x80]; 4].concat());
        let mut fifth = [0; 26];
        for &(byte, value) in vector_5 {
            fifth[byte - 1] = value;
        }
        structure.push(25);
        structure.extend(fifth);
        client.poke(client.buffer(), &structure);
        let arguments = [CAS.into(), root.into(), client.buffer().into()];
        assert_eq!(client.call("call-method", &arguments, 2).results, [0, 0]);
    };
    // With the short list of memory, then, when nothing more can be set, with the long one.
    negotiate(&[(2, 0xf3), (5, 0xe0), (22, 0xc0), (24, 0x40), (26, 0x40)]);
    fill(&client, "/chosen", 64 << 10);
    fill(&client, "/options", 1000);
    negotiate(&[(2, 0x03), (5, 0xe0), (24, 0x40), (26, 0x40)]);
    let state = first.vof().state().unwrap();
    let second = TestMachine::restored(tree(2), &of_size(256 << 20), policy, &state).unwrap();
    assert_eq!(second.vof().to_blob(), first.vof().to_blob());
    let third =
        TestMachine::restored(tree(3), &of_size(256 << 20), policy, &second.vof().state().unwrap())
            .unwrap();
    assert_eq!(third.vof().to_blob(), first.vof().to_blob());
}

/// Free ranges above 4 GiB, and the handles of a machine whose `stdin` was closed.
#[test]
fn more_ram_than_clients_can_name_is_taken_up() {
    let machine = TestMachine::new(sample_tree(), 6 << 30, |builder| builder);
    let client = machine.client();
    client.one("claim", &[0.into(), 0x1000.into(), 0x1000.into()]);
    client.call("close", &[1.into()], 0);
    let state = machine.vof().state().unwrap();
    let other =
        TestMachine::restored(sample_tree(), &of_size(6 << 30), |builder| builder, &state).unwrap();
    assert_eq!(other.vof().to_blob(), machine.vof().to_blob());
    assert_eq!(other.client().one("instance-to-package", &[1.into()]), u32::MAX);
}
