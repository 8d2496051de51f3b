//! A client's work goes on in another process, and a state that cannot be is refused.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arch_ppc64::cas::TreeChange;
use arch_ppc64::platform::{SaveState, StateError, StateValue};
use vof_device::test_utils::{Argument, Client, TestMachine, WORKSPACE, of_size, sample_tree};
use vof_device::{
    DeviceTree, Failed, Instance, Package, RestoreError, STATE_VERSION, SavedInstance, SavedNode,
    SavedRange, SavedTable, VofBuilder, VofState, limits,
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
    TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), negotiates, state)
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

/// Some answers of any machine.
fn go_on_briefly(client: &Client<'_>, handles: &[u32]) -> Vec<u32> {
    let mut answers = Vec::new();
    for &ihandle in handles {
        answers.push(client.one("instance-to-package", &[ihandle.into()]));
    }
    answers.push(client.one("claim", &[0.into(), 0x123.into(), 8.into()]));
    answers.push(client.one("open", &["/".into()]));
    let chosen = client.phandle("/chosen");
    answers.push(client.one("setprop", &[chosen.into(), "linux,y".into(), "22".into(), 2.into()]));
    answers
}

#[test]
fn the_next_calls_get_the_same_answers() {
    let machine = machine();
    let handles = begin(&machine.client());
    let state = machine.vof().state().unwrap();
    let json = serde_json::to_string(&state).unwrap();
    let read: VofState = serde_json::from_str(&json).unwrap();
    assert_eq!(read, state);
    let other = restored(&read).unwrap();
    // What is saved of it is the same, but for the time.
    let mut again = other.vof().state().unwrap();
    assert!(again.vof.milliseconds >= state.vof.milliseconds);
    again.vof.milliseconds = state.vof.milliseconds;
    assert_eq!(again, state);
    assert_eq!(go_on(&other.client(), &handles), go_on(&machine.client(), &handles));
    assert_eq!(other.vof().to_blob(), machine.vof().to_blob());
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
    let state = machine.vof().state().unwrap();
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
    let mut state = machine.vof().state().unwrap();
    state.vof.milliseconds = 5_000_000_000;
    let other = restored(&state).unwrap();
    let now = other.client().one("milliseconds", &[]);
    // "Returns the number of milliseconds", modulo 2^32.
    assert!(now.wrapping_sub(5_000_000_000_u64 as u32) < 60_000, "{now}");
    state.vof.milliseconds = u64::MAX;
    assert!(restored(&state).is_ok());
}

/// "An older version is refused with both version numbers named."
#[test]
fn another_version_is_refused_by_its_number_whatever_it_is_made_of() {
    let state = machine().vof().state().unwrap();
    let mut value = serde_json::to_value(&state).unwrap();
    for version in [0, 1, STATE_VERSION + 1, u32::MAX] {
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
    let state = serde_json::to_value(machine().vof().state().unwrap()).unwrap();
    let good = state.to_string();
    assert!(serde_json::from_str::<VofState>(&good).is_ok());
    // The other way round, as a format may have it.
    let turned = format!("{{\"vof\": {}, \"version\": {}}}", state["vof"], state["version"]);
    assert!(serde_json::from_str::<VofState>(&turned).is_ok());
    for (from, to, words) in [
        ("\"version\":2", "\"number\":1", "unknown field `number`"),
        ("\"version\":2,", "", "missing field `version`"),
        ("\"version\":2", "\"version\":2,\"version\":2", "duplicate field `version`"),
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
    let good = machine.vof().state().unwrap();
    assert!(restored(&good).is_ok());
    let refused = |change: &dyn Fn(&mut VofState)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert_ne!(bad, good, "nothing was changed");
        restored(&bad).map(drop).expect_err("taken up")
    };
    let range = |start, end| SavedRange { start, end };

    let error = refused(&|bad| bad.vof.ram[0].end += 1);
    assert!(matches!(error, RestoreError::Ram { .. }), "{error}");
    let error = refused(&|bad| bad.vof.ram.push(range(1 << 40, u64::MAX)));
    assert!(matches!(error, RestoreError::Ram { .. }), "{error}");
    let error = refused(&|bad| bad.vof.ram.clear());
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
                other => panic!("{other:?}"),
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
    // No state of a console.
    instance(|instance| instance.state = Some(StateValue::of(&"x").unwrap()));

    for wrong in [limits::MAX_ADDED_BYTES as u64 + 1, u64::MAX] {
        let error = refused(&|bad| bad.vof.added_bytes = wrong);
        assert_eq!(error, RestoreError::Added { found: wrong });
    }
    let changed: [fn(&mut SavedNode); 2] =
        [|node| node.phandle = 0x7777, |node| node.set.push("linux,not-there".to_owned())];
    for change in changed {
        let chosen = good.vof.changed.iter().position(|node| node.phandle == 2).unwrap();
        let error = refused(&|bad| change(&mut bad.vof.changed[chosen]));
        assert!(matches!(error, RestoreError::Changed(_)), "{error}");
    }
    let error = refused(&|bad| bad.vof.changed.push(bad.vof.changed[0].clone()));
    assert!(matches!(error, RestoreError::Changed(_)), "{error}");
    for wrong in ["a\0b".to_owned(), "a".repeat(limits::MAX_BOOTSPEC_BYTES + 1)] {
        let error = refused(&|bad| bad.vof.boot_arguments = Some(wrong.clone()));
        assert_eq!(error, RestoreError::BootArguments);
    }
}

/// What the interface itself needs of a tree.
#[test]
fn a_tree_that_the_interface_cannot_have_is_refused() {
    let machine = machine();
    begin(&machine.client());
    let good = machine.vof().state().unwrap();
    let with_tree = |tree: Vec<u8>| {
        let mut bad = good.clone();
        bad.vof.tree = tree;
        bad.vof.changed.clear();
        restored(&bad).map(drop).expect_err("taken up")
    };
    let replaced = |from: &[u8], to: &[u8]| {
        assert_eq!(from.len(), to.len());
        let mut tree = good.vof.tree.clone();
        let at = tree.windows(from.len()).position(|bytes| bytes == from).unwrap();
        tree[at..at + to.len()].copy_from_slice(to);
        with_tree(tree)
    };
    let changed = |path: &str, name: &str, value: Option<&[u8]>| {
        let mut tree = DeviceTree::from_blob(&good.vof.tree).unwrap();
        let node = tree.find(path).unwrap();
        match value {
            Some(value) => tree.set_property(node, name, value).unwrap(),
            None => assert!(tree.remove_property(node, name)),
        }
        with_tree(tree.to_blob())
    };
    assert!(matches!(replaced(&[0xd0, 0x0d], &[0xd0, 0x0e]), RestoreError::Blob(_)));
    assert!(matches!(with_tree(good.vof.tree[..100].to_vec()), RestoreError::Blob(_)));
    let error = replaced(b"\0\0\0\x01vty@71000000\0", b"\0\0\0\x01vty@71000001\0");
    let path = "/vdevice/vty@71000000".to_owned();
    assert_eq!(error, RestoreError::NoPackageNode { path: path.clone() });
    let error = changed(&path, "device_type", Some(b"cpu\0"));
    assert_eq!(error, RestoreError::TwoPackages { path });
    // The memory at 0, its list, and what the list is made of.
    assert_eq!(changed("/memory@0", "device_type", Some(b"x\0")), RestoreError::Memory);
    assert_eq!(changed("/memory@0", "available", None), RestoreError::Memory);
    let error = changed("/", "#address-cells", Some(&[0, 0, 0, 3]));
    assert!(matches!(error, RestoreError::Build(_)), "{error}");
    for name in ["stdin", "stdout", "memory"] {
        assert_eq!(changed("/chosen", name, None), RestoreError::Chosen { name });
    }
    for name in ["stdin", "mmu"] {
        assert_eq!(changed("/chosen", name, Some(b"12345")), RestoreError::Chosen { name });
    }
}

/// A later release, or other devices, have made other nodes and phandles, and say of others what
/// they are.
#[test]
fn the_tree_of_another_machine_is_adopted() {
    let mut fdt = vm_fdt::FdtWriter::new().unwrap();
    let nodes = [
        ("", None),
        ("chosen", Some(0x1001)),
        ("new-device@7", Some(0x77)),
        ("memory@0", Some(0x1002)),
        ("rtas", Some(9)),
        ("vdevice", Some(0x1003)),
    ];
    let mut open = Vec::new();
    for (name, phandle) in nodes {
        open.push(fdt.begin_node(name).unwrap());
        fdt.property_phandle(phandle.unwrap_or(0x1000)).unwrap();
        match name {
            "memory@0" => fdt.property_string("device_type", "memory").unwrap(),
            "new-device@7" => fdt.property_string("compatible", "from-the-future").unwrap(),
            _ => {}
        }
        if name != "vdevice" && !name.is_empty() {
            fdt.end_node(open.pop().unwrap()).unwrap();
        }
    }
    open.push(fdt.begin_node("vty@71000000").unwrap());
    fdt.property_phandle(0x1004).unwrap();
    while let Some(node) = open.pop() {
        fdt.end_node(node).unwrap();
    }
    let blob = fdt.finish().unwrap();
    let size_cells = |tree: &mut DeviceTree| {
        tree.set_property(tree.root(), "#size-cells", &[0, 0, 0, 2]).unwrap();
    };
    let mut tree = DeviceTree::from_blob(&blob).unwrap();
    size_cells(&mut tree);
    let first = TestMachine::new(tree, RAM_BYTES, negotiates);
    let client = first.client();
    let device = client.one("open", &["/new-device:17".into()]);
    let console = client.one("open", &["/vdevice/vty".into()]);
    let state = first.vof().state().unwrap();
    // It has neither this node, nor these phandles; it has others.
    assert_eq!(machine().client().finddevice("/new-device"), None);
    let second = restored(&state).unwrap();
    let client = second.client();
    assert_eq!(client.finddevice("/new-device@7"), Some(0x77));
    assert_eq!(client.path("instance-to-path", device), "/new-device@7:17");
    assert_eq!(client.finddevice("/options"), None);
    assert_eq!(client.one("write", &[console.into(), "hello".into(), 5.into()]), 5);
    assert_eq!(second.console.shown(), "hello");
    let handles = [device, console];
    assert_eq!(go_on_briefly(&client, &handles), go_on_briefly(&first.client(), &handles));
    assert_eq!(second.vof().to_blob(), first.vof().to_blob());
    // And so it goes on to a third.
    let state = second.vof().state().unwrap();
    assert_eq!(restored(&state).unwrap().vof().to_blob(), first.vof().to_blob());
}

/// A package of a device, by its path.
fn with_package(path: &'static str) -> impl Fn(VofBuilder) -> VofBuilder {
    struct Plain;
    impl Package for Plain {}
    move |builder| negotiates(builder).package(path, Arc::new(Plain))
}

/// A device that was plugged while the client ran is none of its tree's: there is another one.
#[test]
fn devices_may_be_newer_than_the_tree() {
    let (device, other) = ("/vdevice/v-scsi@2000", "/vdevice/v-scsi@2001");
    let first = machine();
    begin(&first.client());
    let mut state = first.vof().state().unwrap();
    let tree = &mut state.vof.tree;
    let name = b"v-scsi@2000\0";
    let at = tree.windows(name.len()).position(|bytes| bytes == name).unwrap();
    tree[at + name.len() - 2] = b'1';
    let plugged = with_package(device);
    let second = TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), &plugged, &state);
    let second = second.unwrap();
    assert_eq!(second.client().finddevice(device), None);
    assert!(second.client().finddevice(other).is_some());
    assert_ne!(second.client().one("claim", &[0.into(), 0x1000.into(), 8.into()]), NONE);
    // It is saved again, and is as before.
    let state = second.vof().state().unwrap();
    let third = TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), &plugged, &state);
    assert_eq!(third.unwrap().vof().to_blob(), second.vof().to_blob());
}

/// As the platform of devices saves it: the state of one device.
#[test]
fn it_is_a_device_whose_state_is_saved() {
    let first = machine();
    let handles = begin(&first.client());
    let saved = SaveState::save(first.vof()).unwrap();
    let text = serde_json::to_string(&saved).unwrap();
    let saved: StateValue = serde_json::from_str(&text).unwrap();
    let second = machine();
    let state: &dyn SaveState = second.vof();
    for version in [0, 1, STATE_VERSION + 1] {
        let error = state.restore(version, &saved).unwrap_err();
        assert!(matches!(error, StateError::Version { found, .. } if found == version), "{error}");
    }
    let before = second.vof().to_blob();
    let wrong = StateValue::of(&"no state").unwrap();
    assert!(matches!(state.restore(STATE_VERSION, &wrong), Err(StateError::Format(_))));
    let mut other = first.vof().state().unwrap().vof;
    other.ram[0].end += 1;
    let other = StateValue::of(&other).unwrap();
    assert!(matches!(state.restore(STATE_VERSION, &other), Err(StateError::Value(_))));
    assert_eq!(second.vof().to_blob(), before);
    state.restore(state.version(), &saved).unwrap();
    assert_eq!(go_on(&second.client(), &handles), go_on(&first.client(), &handles));
}

/// An instance that asks the interface for something as it goes away.
struct Asks(Arc<OnceLock<TestMachine>>, Arc<AtomicUsize>);

impl Package for Asks {
    fn open(&self, _: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(Self(self.0.clone(), self.1.clone())))
    }
}

impl Instance for Asks {}

impl Drop for Asks {
    fn drop(&mut self) {
        if let Some(machine) = self.0.get() {
            machine.vof().state().unwrap();
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What was open goes away with no lock of the interface held. (If one were, this would not end.)
#[test]
fn what_was_open_may_take_its_time_to_go_away() {
    let (place, asked) = (Arc::<OnceLock<TestMachine>>::default(), Arc::<AtomicUsize>::default());
    let package = Arc::new(Asks(place.clone(), asked.clone()));
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.package("/vdevice/v-scsi@2000", package)
    });
    let before = SaveState::save(machine.vof()).unwrap();
    let ihandle = machine.client().one("open", &["/vdevice/v-scsi@2000".into()]);
    assert_ne!(ihandle, 0);
    assert!(place.set(machine).is_ok());
    let vof: &dyn SaveState = place.get().unwrap().vof();
    vof.restore(STATE_VERSION, &before).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
