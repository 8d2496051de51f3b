//! A client's work goes on in another process, and a state that cannot be is refused.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use arch_ppc64::cas::TreeChange;
use vof_device::test_utils::{Argument, Client, TestMachine, WORKSPACE, sample_tree};
use vof_device::{
    DeviceTree, RestoreError, STATE_VERSION, SavedInstance, SavedNode, SavedRange, SavedTable,
    VofBuilder, VofState, limits,
};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;

fn negotiates(builder: VofBuilder) -> VofBuilder {
    builder.cas(Box::new(|_: &[u8]| {
        let set = |name: &str, value: &[u8]| TreeChange::Set {
            path: "/chosen".to_owned(),
            name: name.to_owned(),
            value: value.to_vec(),
        };
        Ok(vec![
            set("ibm,architecture-vec-5", &[0x17; 40]),
            TreeChange::Remove { path: "/rtas".to_owned(), name: "rtas-size".to_owned() },
            set("bootargs", b"as negotiated\0"),
        ])
    }))
}

fn machine() -> TestMachine {
    TestMachine::new(sample_tree(), RAM_BYTES, negotiates)
}

fn restored(state: &VofState) -> Result<TestMachine, RestoreError> {
    TestMachine::restored(sample_tree(), RAM_BYTES, negotiates, state)
}

/// The first part of a client's work; what it holds from then on.
fn begin(client: &Client<'_>) -> Vec<u32> {
    let chosen = client.phandle("/chosen");
    let mut handles = Vec::new();
    for path in ["/", "/cpus", "hvterm:9600", "/vdevice/v-scsi@2000:1,2", "/rtas"] {
        handles.push(client.one("open", &[path.into()]));
    }
    client.call("close", &[handles[1].into()], 0);
    let cas = ["ibm,client-architecture-support".into(), handles[0].into(), WORKSPACE.into()];
    assert_eq!(client.call("call-method", &cas, 2).results, [0, 0]);
    for (name, value) in [
        ("linux,x", "1"),
        ("bootargs", "of the client, which are longer"),
        ("linux,long", "4567890"),
    ] {
        let len = value.len() as u32 + 1;
        let arguments = [chosen.into(), name.into(), value.into(), len.into()];
        assert_eq!(client.one("setprop", &arguments), len);
    }
    for size in [0x1000, 0x123, 0x8_0000] {
        assert_ne!(client.one("claim", &[0.into(), size.into(), 0x1000.into()]), NONE);
    }
    client.call("release", &[(WORKSPACE + 0x3_0000).into(), 0x100.into()], 0);
    client.one("set-callback", &[0x1234.into()]);
    handles
}

/// The second part: all answers.
fn go_on(client: &Client<'_>, handles: &[u32]) -> Vec<String> {
    let mut answers = Vec::new();
    let mut note = |what: &str, results: &[u32]| answers.push(format!("{what}: {results:x?}"));
    for &ihandle in handles {
        let buffer = client.buffer();
        note("package", &[client.one("instance-to-package", &[ihandle.into()])]);
        let path = [ihandle.into(), buffer.into(), 64.into()];
        let len = client.one("instance-to-path", &path);
        let text = client.peek(buffer, 64);
        note(&format!("{}", text.escape_ascii()), &[len]);
    }
    // All properties of all nodes, in their order.
    let mut nodes = vec![client.one("peer", &[0.into()])];
    while let Some(node) = nodes.pop() {
        let mut name = String::new();
        loop {
            let arguments = [node.into(), name.as_str().into(), client.buffer().into()];
            if client.one("nextprop", &arguments) != 1 {
                break;
            }
            let text = client.peek(client.buffer(), 64);
            name =
                String::from_utf8(text.split(|&byte| byte == 0).next().unwrap().to_vec()).unwrap();
            let value = client.getprop(node, &name).unwrap();
            note(&format!("{node:x} {name} {}", value.escape_ascii()), &[]);
        }
        nodes.extend([client.one("peer", &[node.into()]), client.one("child", &[node.into()])]);
        nodes.retain(|&node| node != 0);
    }
    for size in [0x1000, 0x40, 0x20_0000, 7] {
        note("claim", &[client.one("claim", &[0.into(), size.into(), 8.into()])]);
    }
    for _ in 0..5 {
        note("open", &[client.one("open", &["/vdevice".into()])]);
    }
    note("callback", &[client.one("set-callback", &[7.into()])]);
    let mmu: [Argument<'_>; 5] =
        ["claim".into(), 4.into(), 0.into(), 0x1000.into(), 0x30_0000.into()];
    note("mmu", &client.call("call-method", &mmu, 2).results);
    let chosen = client.phandle("/chosen");
    let arguments = [chosen.into(), "linux,y".into(), "22".into(), 2.into()];
    note("setprop", &[client.one("setprop", &arguments)]);
    let value = client.getprop(chosen, "linux,y").unwrap();
    note(&format!("{}", value.escape_ascii()), &[]);
    answers
}

#[test]
fn the_next_calls_get_the_same_answers() {
    let machine = machine();
    let handles = begin(&machine.client());
    let state = machine.vof().state();
    let json = serde_json::to_string(&state).unwrap();
    let read: VofState = serde_json::from_str(&json).unwrap();
    assert_eq!(read, state);
    let other = restored(&read).unwrap();
    // What is saved of it is the same, but for the time.
    let mut again = other.vof().state();
    assert!(again.vof.milliseconds >= state.vof.milliseconds);
    again.vof.milliseconds = state.vof.milliseconds;
    assert_eq!(again, state);
    assert_eq!(go_on(&other.client(), &handles), go_on(&machine.client(), &handles));
    assert_eq!(other.vof().to_blob(), machine.vof().to_blob());
    let calls = |machine: &TestMachine| machine.vof().calls().collect::<Vec<_>>();
    assert_eq!(calls(&other), calls(&machine));
}

/// Makes `other_process` below what it is called.
const IS_OTHER: &str = "VOF_DEVICE_TEST_IS_THE_OTHER_PROCESS";

/// No test by itself: the other process of the test below. Reads a state and the handles, and tells
/// the answers.
#[test]
fn other_process() {
    if std::env::var_os(IS_OTHER).is_none() {
        return;
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let (state, handles): (VofState, Vec<u32>) = serde_json::from_str(&text).unwrap();
    let machine = restored(&state).unwrap();
    let answers = go_on(&machine.client(), &handles);
    println!("\nanswers {}", serde_json::to_string(&answers).unwrap());
}

#[test]
fn the_next_calls_get_the_same_answers_in_another_process() {
    let machine = machine();
    let handles = begin(&machine.client());
    let state = machine.vof().state();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "other_process", "--nocapture"])
        .env(IS_OTHER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = serde_json::to_string(&(&state, &handles)).unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).unwrap();
    let answers = shown.lines().find_map(|line| line.strip_prefix("answers ")).unwrap();
    let answers: Vec<String> = serde_json::from_str(answers).unwrap();
    assert!(answers.len() > 50);
    assert_eq!(answers, go_on(&machine.client(), &handles));
}

#[test]
fn time_goes_on_where_it_was() {
    let machine = machine();
    let mut state = machine.vof().state();
    state.vof.milliseconds = 5_000_000_000;
    let other = restored(&state).unwrap();
    let now = other.client().one("milliseconds", &[]);
    // "Returns the number of milliseconds", modulo 2^32.
    assert!(now.wrapping_sub(5_000_000_000_u64 as u32) < 60_000, "{now}");
    state.vof.milliseconds = u64::MAX;
    assert!(restored(&state).is_ok());
}

#[test]
fn a_reset_goes_back_to_the_machine_that_was_built() {
    let machine = machine();
    let before = machine.vof().to_blob();
    begin(&machine.client());
    let other = restored(&machine.vof().state()).unwrap();
    assert_ne!(other.vof().to_blob(), before);
    other.bus.reset();
    assert_eq!(other.vof().to_blob(), before);
}

/// "An older version is refused with both version numbers named."
#[test]
fn another_version_is_refused_by_its_number_whatever_it_is_made_of() {
    let state = machine().vof().state();
    let mut value = serde_json::to_value(&state).unwrap();
    for version in [0, STATE_VERSION + 1, u32::MAX] {
        value["version"] = version.into();
        let error = serde_json::from_value::<VofState>(value.clone()).unwrap_err().to_string();
        let numbers = format!("version {version}, and this is version {STATE_VERSION}");
        assert!(error.contains(&numbers), "{error}");
        let old = format!("{{\"version\": {version}, \"nodes\": [1, 2, 3]}}");
        let error = serde_json::from_str::<VofState>(&old).unwrap_err().to_string();
        assert!(error.contains(&numbers), "{error}");
        let mut built = state.clone();
        built.version = version;
        assert_eq!(restored(&built).unwrap_err(), RestoreError::Version { found: version });
    }
}

#[test]
fn what_is_no_state_is_not_read() {
    let state = serde_json::to_value(machine().vof().state()).unwrap();
    let good = state.to_string();
    assert!(serde_json::from_str::<VofState>(&good).is_ok());
    // The other way round, as a format may have it.
    let turned = format!("{{\"vof\": {}, \"version\": {}}}", state["vof"], state["version"]);
    assert!(serde_json::from_str::<VofState>(&turned).is_ok());
    for (from, to, words) in [
        ("\"version\":1", "\"number\":1", "unknown field `number`"),
        ("\"version\":1,", "", "missing field `version`"),
        ("\"version\":1", "\"version\":1,\"version\":1", "duplicate field `version`"),
        ("\"vof\":{", "\"kept\":{", "unknown field `kept`"),
        ("\"callback\":0", "\"callbacks\":0", "unknown field `callbacks`"),
        ("\"callback\":0,", "", "missing field `callback`"),
        ("\"callback\":0", "\"callback\":-1", "invalid value"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = serde_json::from_str::<VofState>(&good.replace(from, to)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let surplus = format!("{}, \"more\": 1}}", good.strip_suffix('}').unwrap());
    assert!(serde_json::from_str::<VofState>(&surplus).is_err());
}

/// Each field in turn is made what it cannot be.
#[test]
fn a_state_that_cannot_be_is_refused_field_by_field() {
    let machine = machine();
    begin(&machine.client());
    let good = machine.vof().state();
    assert!(restored(&good).is_ok());
    let refused = |change: &dyn Fn(&mut VofState)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert_ne!(bad, good, "nothing was changed");
        restored(&bad).map(drop).expect_err("taken up")
    };
    let range = |start, end| SavedRange { start, end };

    let error = refused(&|bad| bad.vof.ram_bytes += 1);
    assert!(matches!(error, RestoreError::Ram { .. }), "{error}");
    let error = refused(&|bad| bad.vof.console = None);
    assert!(matches!(error, RestoreError::Console { .. }), "{error}");
    let error = refused(&|bad| bad.vof.console = Some("/rtas".to_owned()));
    assert!(matches!(error, RestoreError::Console { .. }), "{error}");

    for table in [SavedTable::Memory, SavedTable::Virtual] {
        fn ranges(bad: &mut VofState, table: SavedTable) -> &mut Vec<SavedRange> {
            match table {
                SavedTable::Memory => &mut bad.vof.free_memory,
                SavedTable::Virtual => &mut bad.vof.free_virtual,
            }
        }
        let last = range(RAM_BYTES - 0x100, RAM_BYTES - 0x10);
        let wrong: [Vec<SavedRange>; 8] = [
            vec![range(0x50_0000, 0x50_0000)],
            vec![range(0x60_0000, 0x50_0000)],
            vec![range(0x50_0000, RAM_BYTES + 1)],
            vec![range(u64::MAX, 0)],
            vec![range(0, 0x1000)],
            vec![range(0xffff, 0x1_0001)],
            vec![last, range(0x50_0000, 0x60_0000)],
            vec![range(0x50_0000, 0x60_0000), range(0x60_0000, 0x70_0000)],
        ];
        for wrong in wrong {
            let error = refused(&|bad| *ranges(bad, table) = wrong.clone());
            assert_eq!(error, RestoreError::Ranges(table), "{wrong:x?}");
        }
        let many = (0..=limits::MAX_FREE_RANGES as u64).map(|at| {
            let start = 0x10_0000 + at * 2;
            range(start, start + 1)
        });
        let many: Vec<_> = many.collect();
        assert_eq!(refused(&|bad| *ranges(bad, table) = many.clone()), RestoreError::Ranges(table));
    }

    let error = refused(&|bad| bad.vof.instances.slots[1].generation = u32::MAX);
    assert!(matches!(error, RestoreError::Slots { slot: 1, .. }), "{error}");
    let error = refused(&|bad| {
        let slot = bad.vof.instances.slots[0].clone();
        bad.vof.instances.slots.resize(limits::MAX_INSTANCES + 1, slot);
    });
    assert!(matches!(error, RestoreError::Slots { .. }), "{error}");
    for wrong in [vec![], vec![0], vec![5, 5], vec![5, 100], vec![NONE]] {
        let error = refused(&|bad| bad.vof.instances.free = wrong.clone());
        assert_eq!(error, RestoreError::Free, "{wrong:?}");
    }
    let instance = |change: fn(&mut SavedInstance)| {
        let error = refused(&|bad| change(bad.vof.instances.slots[0].instance.as_mut().unwrap()));
        assert!(matches!(error, RestoreError::Instance { slot: 0, .. }), "{error}");
    };
    instance(|instance| instance.phandle = 0);
    instance(|instance| instance.phandle = 0x1234_5678);
    instance(|instance| instance.arguments = "a".repeat(limits::MAX_PATH_BYTES + 1));
    instance(|instance| instance.arguments = "a\0".to_owned());
    instance(|instance| instance.position = 1);

    for wrong in [0, limits::MAX_ADDED_BYTES as u64 * 2, u64::MAX] {
        let error = refused(&|bad| bad.vof.used_bytes = wrong);
        assert_eq!(error, RestoreError::Used { found: wrong });
    }
    let changed: [fn(&mut SavedNode); 5] = [
        |node| node.phandle = 0x7777,
        |node| node.room = 1,
        |node| node.room = 0,
        |node| node.room = limits::MAX_NODE_PROPERTIES as u32 + 1,
        |node| node.set.push("linux,not-there".to_owned()),
    ];
    for change in changed {
        let chosen = good.vof.changed.iter().position(|node| node.phandle == 2).unwrap();
        let error = refused(&|bad| change(&mut bad.vof.changed[chosen]));
        assert!(matches!(error, RestoreError::Changed(_)), "{error}");
    }
    let error = refused(&|bad| bad.vof.changed.clear());
    assert!(matches!(error, RestoreError::Changed(_)), "{error}");
    let error = refused(&|bad| bad.vof.changed.push(bad.vof.changed[0].clone()));
    assert!(matches!(error, RestoreError::Changed(_)), "{error}");
    for wrong in ["a\0b".to_owned(), "a".repeat(limits::MAX_BOOTSPEC_BYTES + 1)] {
        let error = refused(&|bad| bad.vof.boot_arguments = Some(wrong.clone()));
        assert_eq!(error, RestoreError::BootArguments);
    }
    type Calls = Vec<(String, u64)>;
    let calls: [fn(&mut Calls); 4] = [
        |calls| calls[0].0 = "no-such-service".to_owned(),
        |calls| calls[1] = calls[0].clone(),
        |calls| calls.truncate(3),
        |calls| calls.push(("test".to_owned(), 1)),
    ];
    for change in calls {
        let error = refused(&|bad| change(&mut bad.vof.calls));
        assert!(matches!(error, RestoreError::Calls(_)), "{error}");
    }
}

/// The tree of the state is another tree.
#[test]
fn a_tree_that_is_not_the_machines_is_refused() {
    let machine = machine();
    begin(&machine.client());
    let good = machine.vof().state();
    let refused = |from: &[u8], to: &[u8]| {
        assert_eq!(from.len(), to.len());
        let mut bad = good.clone();
        let tree = &mut bad.vof.tree;
        let at = tree.windows(from.len()).position(|bytes| bytes == from).unwrap();
        tree[at..at + to.len()].copy_from_slice(to);
        restored(&bad).map(drop).expect_err("taken up")
    };
    let nodes =
        |error: RestoreError| assert!(matches!(error, RestoreError::Nodes { .. }), "{error}");
    let property = |error: RestoreError| {
        assert!(matches!(error, RestoreError::Property { .. }), "{error}");
    };
    nodes(refused(b"v-scsi@2000\0", b"v-scsi@2001\0"));
    nodes(refused(b"vdevice\0", b"vdevicf\0"));
    property(refused(b"memory\0", b"memorx\0"));
    property(refused(b"#size-cells\0", b"#size-cellt\0"));
    let phandle_is_seven = [0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 7];
    let mut another = phandle_is_seven;
    another[15] = 77;
    nodes(refused(&phandle_is_seven, &another));
    assert!(matches!(refused(&[0xd0, 0x0d], &[0xd0, 0x0e]), RestoreError::Blob(_)));

    let mut bad = good.clone();
    bad.vof.tree.truncate(100);
    assert!(matches!(restored(&bad), Err(RestoreError::Blob(_))));
    // More than clients and negotiation could have put in, as values, as names, and as nothing.
    let mut tree = DeviceTree::from_blob(&good.vof.tree).unwrap();
    let chosen = tree.find("/chosen").unwrap();
    tree.set_property(chosen, "linux,huge", &vec![1; limits::MAX_NEGOTIATED_BYTES * 2]).unwrap();
    bad.vof.tree = tree.to_blob();
    assert!(matches!(restored(&bad), Err(RestoreError::TreeBytes { .. })));
    let mut bad = good.clone();
    for node in tree.nodes() {
        for number in 0..4000 {
            tree.set_property(node, &format!("linux,{number}"), &[]).unwrap();
        }
        let phandle = tree.phandle(node);
        let at = bad.vof.changed.iter().position(|changed| changed.phandle == phandle);
        let mut changed = good.vof.changed[0].clone();
        changed.phandle = phandle;
        changed.room = limits::MAX_NODE_PROPERTIES as u32;
        changed.set.clear();
        match at {
            Some(at) => bad.vof.changed[at] = changed,
            None => bad.vof.changed.push(changed),
        }
    }
    tree.remove_property(chosen, "linux,huge");
    bad.vof.tree = tree.to_blob();
    bad.vof.used_bytes = 0;
    let refused = restored(&bad).map(drop);
    assert!(matches!(refused, Err(RestoreError::Used { .. })), "{refused:?}");
}

/// What decides on the interface's own doings is neither changed nor added.
#[test]
fn properties_that_are_fixed_are_not_added() {
    let machine = machine();
    begin(&machine.client());
    let good = machine.vof().state();
    for (path, name, value) in [
        ("/vdevice/v-scsi@2000", "device_type", &b"cpu\0"[..]),
        ("/vdevice/v-scsi@2000", "reg", &[0, 0, 0, 77]),
        ("/vdevice", "#address-cells", &[0, 0, 0, 7]),
        ("/rtas", "device_type", b"memory\0"),
    ] {
        let mut bad = good.clone();
        let mut tree = DeviceTree::from_blob(&good.vof.tree).unwrap();
        let node = tree.find(path).unwrap();
        tree.set_property(node, name, value).unwrap();
        bad.vof.tree = tree.to_blob();
        let mut changed = good.vof.changed[0].clone();
        (changed.phandle, changed.room) = (tree.phandle(node), 8);
        changed.set.clear();
        bad.vof.changed.retain(|other| other.phandle != changed.phandle);
        bad.vof.changed.push(changed);
        let refused = restored(&bad).map(drop);
        assert!(matches!(refused, Err(RestoreError::Property { .. })), "{name}: {refused:?}");
    }
}
