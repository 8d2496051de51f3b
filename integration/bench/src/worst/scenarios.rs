//! What a client does to make calls slow.

use arch_ppc64::cas::{self, MAX_PROCESSORS, TreeChange};
use vof_device::test_utils::sample_tree;
use vof_device::{CasPolicy, DeviceTree, limits};

use super::trees::{
    CHOSEN, FIRST_DEVICE, MEMORY, RTAS, deep, large, largest_list, largest_machine,
    largest_pseries, middle, pseries, pseries_machine, small, wide,
};
use super::{BUFFER, NONE, Recorder, WORKSPACE, WORKSPACE_BYTES};

/// A scenario: its name, its tree, and what the client does.
pub(super) struct Scenario {
    pub(super) state: &'static str,
    pub(super) tree: fn() -> DeviceTree,
    pub(super) cas: fn() -> Box<dyn CasPolicy>,
    pub(super) run: fn(&mut Recorder<'_>),
}

const fn scenario(
    state: &'static str,
    tree: fn() -> DeviceTree,
    run: fn(&mut Recorder<'_>),
) -> Scenario {
    Scenario { state, tree, cas: some_changes, run }
}

/// All of them.
pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("4,096 properties of a node", small, full_node),
    scenario("tree full of empty properties", small, full_of_names),
    scenario("tree full of small values", middle, full_of_small_values),
    scenario("tree full of large values", small, full_of_large_values),
    scenario("100,000 nodes, one property each", large, one_each),
    Scenario { cas: machines, ..scenario("950 processors", pseries, negotiate_longest) },
    Scenario {
        cas: largest_machines,
        ..scenario("2,048 processors, 16 TiB to be plugged", largest_pseries, negotiate_longest)
    },
    scenario("free memory in most pieces", small, most_pieces),
    scenario("bounds of all pieces too high", small, stale_bounds),
    scenario("chunks of pieces split and joined", small, split_and_join),
    scenario("virtual addresses in most pieces", small, most_virtual_pieces),
    scenario("all instances open", small, all_open),
    scenario("deepest node, longest names", deep, deepest),
    scenario("longest paths and aliases", wide, longest_paths),
    scenario("longest transfers", small, transfers),
    scenario("longest transfers of a disk", sample_tree, disk_transfers),
    scenario("largest machine's list of memory", largest_list, read_all),
    scenario("any", small, the_rest),
];

/// What a pseries machine changes in negotiation, more or less.
fn some_changes() -> Box<dyn CasPolicy> {
    let set = |path: &str, name: &str, len: usize| TreeChange::Set {
        path: path.to_owned(),
        name: name.to_owned(),
        value: vec![1; len],
    };
    let mut changes = vec![set("/chosen", "ibm,architecture-vec-5", 27)];
    changes.extend((0..20).map(|number| set("/rtas", &format!("ibm,changed-{number}"), 64)));
    changes.push(TreeChange::Remove { path: "/rtas".to_owned(), name: "ibm,changed-0".to_owned() });
    Box::new(move |_: &[u8]| Ok(changes.clone()))
}

/// What a pseries machine does.
fn machines() -> Box<dyn CasPolicy> {
    Box::new(cas::Platform::of(&pseries_machine()))
}

/// What the largest pseries machine does.
fn largest_machines() -> Box<dyn CasPolicy> {
    Box::new(cas::Platform::of(&largest_machine()))
}

/// As short a name as there is for `number`.
fn name(number: usize) -> String {
    format!("p{number:x}")
}

fn full_node(recorder: &mut Recorder<'_>) {
    let mut last = 0;
    for number in 0..limits::MAX_NODE_PROPERTIES {
        if recorder.setprop(CHOSEN, &name(number), 0) == NONE {
            break;
        }
        last = number;
    }
    let last = name(last);
    let room = [BUFFER.into(), 4096.into()];
    for _ in 0..20 {
        recorder.call("getprop", &[CHOSEN.into(), last.as_str().into(), room[0], room[1]]);
        recorder.call("getprop", &[CHOSEN.into(), "absent".into(), room[0], room[1]]);
        recorder.call("getproplen", &[CHOSEN.into(), last.as_str().into()]);
        recorder.call("nextprop", &[CHOSEN.into(), last.as_str().into(), BUFFER.into()]);
        recorder.setprop(CHOSEN, &last, 4);
        recorder.setprop(CHOSEN, "one-more", 4);
    }
    negotiate(recorder);
}

fn negotiate(recorder: &mut Recorder<'_>) {
    let root = recorder.prepare("open", &["/".into()]);
    for _ in 0..5 {
        let method = "ibm,client-architecture-support".into();
        recorder.call("call-method", &[method, root.into(), BUFFER.into()]);
    }
}

/// As many processors as there can be, and the last is the one.
fn negotiate_longest(recorder: &mut Recorder<'_>) {
    let other = [0xff, 0xff, 0xff, 0xff, 0x12, 0x34, 0x56, 0x78];
    let mut vectors = other.repeat(MAX_PROCESSORS - 2);
    vectors.extend([0xff, 0xff, 0, 0, 0, 0x4e, 0, 0]);
    // The end of the list; one vector, which says nothing.
    vectors.extend([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80]);
    recorder.client.poke(BUFFER, &vectors);
    negotiate(recorder);
    let chosen = recorder.prepare("finddevice", &["/chosen".into()]);
    let agreed = [chosen.into(), "ibm,architecture-vec-5".into()];
    assert_ne!(recorder.prepare("getproplen", &agreed), NONE, "they agree");
}

/// New names on as many nodes as it takes, as short as can be.
fn full_of_names(recorder: &mut Recorder<'_>) {
    let nodes = [CHOSEN, RTAS, MEMORY].into_iter().chain(FIRST_DEVICE..FIRST_DEVICE + 10);
    let mut number = 0;
    'all: for node in nodes {
        loop {
            match recorder.setprop(node, &name(number), 0) {
                NONE if node == FIRST_DEVICE + 9 => break 'all,
                NONE => break,
                _ => number += 1,
            }
        }
    }
    negotiate(recorder);
}

/// Everything that is there gets a value that needs memory of its own, then there is more of it.
fn full_of_small_values(recorder: &mut Recorder<'_>) {
    let nodes = || FIRST_DEVICE..FIRST_DEVICE + 990;
    for name in ["ibm-loc", "vendor", "revision", "slot-names", "label"] {
        for node in nodes() {
            recorder.setprop(node, name, 5);
        }
    }
    let mut number = 0;
    for node in nodes() {
        while number < 100_000 && recorder.setprop(node, &name(number), 5) != NONE {
            number += 1;
        }
    }
    negotiate(recorder);
}

/// Each node's list of properties becomes its own.
fn one_each(recorder: &mut Recorder<'_>) {
    for node in FIRST_DEVICE..FIRST_DEVICE + 100_000 {
        if recorder.setprop(node, "linux,phandles", 4) == NONE {
            break;
        }
    }
}

fn full_of_large_values(recorder: &mut Recorder<'_>) {
    let mut number = 0;
    while recorder.setprop(RTAS, &name(number), limits::MAX_SETPROP_BYTES) != NONE {
        number += 1;
    }
    for _ in 0..20 {
        recorder.setprop(RTAS, &name(0), 5);
        recorder.setprop(RTAS, &name(0), limits::MAX_SETPROP_BYTES);
    }
    negotiate(recorder);
}

/// The first address that is free.
const FREE: u32 = WORKSPACE + WORKSPACE_BYTES;
/// From one claim to the next.
const STEP: u32 = 0x100;

/// Claims every other piece, until no more can be.
fn fill(recorder: &mut Recorder<'_>) -> u32 {
    let mut count = 0;
    while recorder.claim(FREE + STEP + count * 2 * STEP, STEP, 0) != NONE {
        count += 1;
    }
    count
}

fn most_pieces(recorder: &mut Recorder<'_>) {
    let count = fill(recorder);
    let available = |room: u32| [MEMORY.into(), "available".into(), BUFFER.into(), room.into()];
    for _ in 0..10 {
        recorder.call("getproplen", &[MEMORY.into(), "available".into()]);
        recorder.call("getprop", &available(16 << 20));
        recorder.call("getprop", &available(15));
    }
    // In the middle: nothing more, and what joins two pieces.
    for number in (count / 2..).step_by(7).take(500) {
        let at = FREE + STEP + number * 2 * STEP;
        recorder.release(at + 16, 16);
        recorder.release(at, STEP);
        recorder.claim(at, STEP, 0);
    }
    for align in (0..32).map(|power| 1 << power) {
        for size in [1, STEP, STEP + 1, 0x1000_0000, NONE] {
            let at = recorder.claim(0, size, align);
            if at != NONE {
                recorder.release(at, size);
            }
        }
    }
}

/// In every chunk is a piece that was large and is no more; then somebody asks for a large one.
fn stale_bounds(recorder: &mut Recorder<'_>) {
    // Every 64th piece is of twice the size; the last takes what is left.
    let mut at = FREE;
    let mut large = Vec::new();
    let mut count = 0;
    loop {
        let is_large = count % 64 == 0;
        let size = if is_large { 4 * STEP } else { STEP };
        let place = at + size;
        if recorder.claim(place, STEP, 0) == NONE {
            break;
        }
        if is_large {
            large.push(at);
        }
        at = place + STEP;
        count += 1;
    }
    for align in [1, 2, 0x10, 0x100] {
        // Half of each large piece goes, and comes back.
        for &piece in &large {
            recorder.claim(piece, 2 * STEP, 0);
        }
        recorder.claim(0, 3 * STEP, align);
        recorder.claim(0, 0x3000_0000, align);
        for &piece in &large {
            recorder.release(piece, 2 * STEP);
        }
    }
}

/// Chunks as small as they get, then as large.
fn split_and_join(recorder: &mut Recorder<'_>) {
    let count = fill(recorder);
    let at = |number: u32| FREE + STEP + number * 2 * STEP;
    // From the back, so that splits move all that is behind.
    for number in 0..count {
        if number % 4 != 0 {
            recorder.release(at(number), STEP);
        }
    }
    for number in (0..count).rev() {
        if number % 4 != 0 {
            recorder.claim(at(number), STEP, 0);
        }
    }
    for number in 0..count {
        recorder.release(at(number), STEP);
    }
}

fn most_virtual_pieces(recorder: &mut Recorder<'_>) {
    let arguments = [CHOSEN.into(), "mmu".into(), BUFFER.into(), 4.into()];
    recorder.prepare("getprop", &arguments);
    let mmu = recorder.client.peek(BUFFER, 4);
    let mmu = u32::from_be_bytes(mmu.try_into().expect("four bytes"));
    let at = |number: u32| FREE + STEP + number * 2 * STEP;
    let mut count = 0;
    // The top of the stack first: align, size, virt.
    let claim = |at: u32| ["claim".into(), mmu.into(), 0.into(), STEP.into(), at.into()];
    while recorder.call("call-method", &claim(at(count))) == 0 {
        count += 1;
    }
    for number in (count / 2..).take(500) {
        recorder
            .call("call-method", &["release".into(), mmu.into(), STEP.into(), at(number).into()]);
    }
    for align in (0..32).map(|power| 1 << power) {
        let size = 0x1000_0000;
        recorder.call("call-method", &["claim".into(), mmu.into(), align.into(), size.into()]);
    }
}

fn all_open(recorder: &mut Recorder<'_>) {
    let path = format!("/vdevice:{}", "a".repeat(limits::MAX_PATH_BYTES - 9));
    let mut last = 0;
    loop {
        match recorder.call("open", &[path.as_str().into()]) {
            0 => break,
            ihandle => last = ihandle,
        }
    }
    for _ in 0..20 {
        recorder.call("instance-to-package", &[last.into()]);
        recorder.call("instance-to-path", &[last.into(), BUFFER.into(), 0x10000.into()]);
        recorder.call("close", &[last.into()]);
        last = recorder.call("open", &[path.as_str().into()]);
    }
}

fn deepest(recorder: &mut Recorder<'_>) {
    let deepest = limits::MAX_DEPTH as u32 + 1;
    let prepared =
        recorder.prepare("package-to-path", &[deepest.into(), BUFFER.into(), 0x10000.into()]);
    assert!(prepared != NONE);
    // Two nodes of it are as much as a client can pass.
    let path = format!(
        "/{}/{}",
        "d".repeat(limits::MAX_NODE_NAME_BYTES),
        "d".repeat(limits::MAX_NODE_NAME_BYTES)
    );
    for _ in 0..20 {
        recorder.call("package-to-path", &[deepest.into(), BUFFER.into(), 0x10000.into()]);
        recorder.call("canon", &[path.as_str().into(), BUFFER.into(), 0x10000.into()]);
        recorder.call("parent", &[deepest.into()]);
        recorder.call("child", &[deepest.into()]);
        recorder.call("peer", &[deepest.into()]);
    }
    recorder.setprop(deepest, "x", 5);
}

fn longest_paths(recorder: &mut Recorder<'_>) {
    let fill = |piece: &str| {
        let mut path = String::new();
        while path.len() + piece.len() <= limits::MAX_PATH_BYTES {
            path.push_str(piece);
        }
        path
    };
    let paths = [
        fill("/"),
        fill("/:"),
        fill("a"),
        format!("/{}", "a".repeat(limits::MAX_PATH_BYTES - 1)),
        "/device@c34f".to_owned(),
        "/device@c350".to_owned(),
        "/device@1".to_owned(),
        "/other@c34f".to_owned(),
        "/z,other@c34f".to_owned(),
        "/other@c350".to_owned(),
        "/device@71000000".to_owned(),
    ];
    // As long an alias as a client can make, of components without names.
    let long: Vec<u8> = b"/:".repeat(limits::MAX_SETPROP_BYTES / 2);
    recorder.client.poke(BUFFER, &long);
    let aliases = recorder.prepare("finddevice", &["/aliases".into()]);
    recorder.setprop(aliases, "long", long.len());
    for _ in 0..5 {
        for path in paths.iter().map(String::as_str).chain(["long", "long:x", "long/:"]) {
            recorder.call("finddevice", &[path.into()]);
            recorder.call("canon", &[path.into(), BUFFER.into(), 0x10000.into()]);
            let ihandle = recorder.call("open", &[path.into()]);
            recorder.call("close", &[ihandle.into()]);
            recorder.call("interpret", &[path.into()]);
            recorder.call("boot", &[path.into()]);
        }
    }
}

fn transfers(recorder: &mut Recorder<'_>) {
    let vty = recorder.prepare("open", &["/vdevice/vty".into()]);
    let typed = "t".repeat(limits::MAX_TRANSFER_BYTES);
    for _ in 0..10 {
        recorder.machine.console.type_in(&typed);
        recorder.call("write", &[vty.into(), BUFFER.into(), NONE.into()]);
        recorder.call("read", &[vty.into(), BUFFER.into(), NONE.into()]);
    }
}

/// What is at hand; what is not is waited for, and not by the call.
fn disk_transfers(recorder: &mut Recorder<'_>) {
    let disk = recorder.prepare("open", &["disk".into()]);
    for place in [0, 1, 511] {
        recorder.call("seek", &[disk.into(), 0.into(), place.into()]);
        recorder.call("read", &[disk.into(), BUFFER.into(), (2 << 20).into()]);
        let blocks = ["read-blocks".into(), disk.into(), NONE.into(), 0.into(), BUFFER.into()];
        recorder.call("call-method", &blocks);
        recorder.call("call-method", &["load".into(), disk.into(), BUFFER.into()]);
    }
}

fn read_all(recorder: &mut Recorder<'_>) {
    for _ in 0..10 {
        let arguments =
            [MEMORY.into(), "ibm,dynamic-memory".into(), BUFFER.into(), (16 << 20).into()];
        recorder.call("getprop", &arguments);
    }
    negotiate(recorder);
}

fn the_rest(recorder: &mut Recorder<'_>) {
    let rtas = recorder.prepare("open", &["/rtas".into()]);
    let method = "m".repeat(limits::MAX_PROPERTY_NAME_BYTES);
    for _ in 0..20 {
        recorder.call("test", &["instance-to-interposed-path".into()]);
        recorder.call("test-method", &[RTAS.into(), method.as_str().into()]);
        let call = ["instantiate-rtas".into(), rtas.into(), BUFFER.into()];
        recorder.call("call-method", &call);
        recorder.call("seek", &[rtas.into(), 0.into(), 0.into()]);
        recorder.call("enter", &[]);
        recorder.call("exit", &[]);
        recorder.call("quiesce", &[]);
        recorder.call("start-cpu", &[FIRST_DEVICE.into(), 0.into(), 0.into()]);
        recorder.call("set-callback", &[1.into()]);
        recorder.call("milliseconds", &[]);
    }
}
