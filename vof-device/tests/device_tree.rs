//! The device tree services as a client sees them (IEEE 1275-1994 §6.3.2.2).

use vof_device::test_utils::{Argument, TestMachine, WORKSPACE, sample_tree};
use vof_device::{PropertyPolicy, limits};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;

fn machine() -> TestMachine {
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder)
}

/// "If phandle is zero, peer returns the phandle of the root node"; 0 says that there is none.
#[test]
fn peer_child_and_parent_walk_the_tree() {
    let machine = machine();
    let client = machine.client();
    let root = client.one("peer", &[0.into()]);
    assert_eq!(Some(root), client.finddevice("/"));
    assert_eq!(client.one("parent", &[root.into()]), 0);
    assert_eq!(client.one("peer", &[root.into()]), 0);
    let mut names = vec![];
    let mut node = client.one("child", &[root.into()]);
    while node != 0 {
        assert_eq!(client.one("parent", &[node.into()]), root);
        names.push(client.path("package-to-path", node));
        node = client.one("peer", &[node.into()]);
    }
    let expected = ["/chosen", "/aliases", "/options", "/rtas", "/memory@0", "/cpus", "/vdevice"];
    assert_eq!(names, expected);
    for wrong in [NONE, 0x1234, 0x8000_0000] {
        for service in ["peer", "child", "parent"] {
            assert_eq!(client.one(service, &[wrong.into()]), 0, "{service} {wrong:#x}");
        }
    }
    assert_eq!(client.one("child", &[0.into()]), 0);
}

/// §4.3: omitted units and names, leading zeros, either case, arguments, aliases, slashes.
#[test]
fn finddevice_takes_every_form_of_a_path() {
    let machine = machine();
    let client = machine.client();
    let vty = client.phandle("/vdevice/vty@71000000");
    for path in [
        "/vdevice/vty",
        "/vdevice/@71000000",
        "/vdevice/vty@0071000000",
        "//vdevice//vty@71000000/",
        "/vdevice/vty@71000000:9600,n",
        "/vdevice:x/vty@71000000",
        "hvterm",
        "hvterm:9600",
        "hvterm/",
    ] {
        assert_eq!(client.finddevice(path), Some(vty), "{path}");
    }
    let nvram = client.phandle("/vdevice/IBM,nvram@71000001");
    assert_eq!(client.finddevice("/vdevice/nvram@71000001"), Some(nvram));
    assert_eq!(client.finddevice("/vdevice/nvram"), Some(nvram));
    assert_eq!(client.finddevice("disk"), client.finddevice("/vdevice/v-scsi@2000"));
    for path in
        ["", "vdevice", "/vdevice/vty@71000001", "/vdevice/vty/x", "/VDEVICE", "nosuchalias"]
    {
        assert_eq!(client.finddevice(path), None, "{path}");
    }
    let longest = format!("/{}", "/".repeat(limits::MAX_PATH_BYTES - 1));
    assert_eq!(client.finddevice(&longest), Some(1));
    assert_eq!(client.finddevice(&format!("/{longest}")), None);
    assert_eq!(client.one("finddevice", &[(&b"/\xff\0"[..]).into()]), NONE);
}

/// "getprop … returns the actual length of the property's value", however much is written.
#[test]
fn getprop_gives_the_length_and_writes_what_fits() {
    let machine = machine();
    let client = machine.client();
    let chosen = client.phandle("/chosen");
    assert_eq!(client.getprop(chosen, "bootargs").unwrap(), b"console=hvc0\0");
    assert_eq!(client.getprop(chosen, "nothing"), None);
    assert_eq!(client.getprop(chosen, ""), None);
    let buffer = client.buffer();
    client.poke(buffer, &[0xaa; 32]);
    let get = |room: u32| {
        client.one("getprop", &[chosen.into(), "bootargs".into(), buffer.into(), room.into()])
    };
    assert_eq!(get(7), 13);
    assert_eq!(client.peek(buffer, 8), b"console\xaa");
    assert_eq!(get(0), 13);
    assert_eq!(get(NONE), 13);
    assert_eq!(client.peek(buffer, 14), b"console=hvc0\0\xaa");
    // A flag has a length of 0, which is not "none".
    let cpu = client.phandle("/cpus/PowerPC,POWER9@1");
    assert_eq!(client.getprop(cpu, "ibm,a-flag").unwrap(), b"");
    for wrong in [0, NONE, 0x1234] {
        assert_eq!(client.getprop(wrong, "bootargs"), None);
    }
}

/// §3.2.2.1.1: every node has a `name`, which has no unit address.
#[test]
fn every_node_has_a_name() {
    let machine = machine();
    let client = machine.client();
    let name = |path| client.getprop(client.phandle(path), "name").unwrap();
    assert_eq!(name("/"), b"\0");
    assert_eq!(name("/cpus/PowerPC,POWER9@1"), b"PowerPC,POWER9\0");
    assert_eq!(name("/vdevice/vty"), b"vty\0");
    let cpu = client.phandle("/cpus/@1");
    client.poke(client.buffer(), &[0xaa; 32]);
    let arguments = [cpu.into(), "name".into(), client.buffer().into(), 7.into()];
    assert_eq!(client.one("getprop", &arguments), 15);
    assert_eq!(client.peek(client.buffer(), 8), b"PowerPC\xaa");
}

/// "If previous is zero or a pointer to a null string": the first property.
#[test]
fn nextprop_goes_through_all_properties_once() {
    let machine = machine();
    let client = machine.client();
    let cpu = client.phandle("/cpus/@1");
    assert_eq!(client.properties(cpu), ["phandle", "device_type", "reg", "ibm,a-flag", "name"]);
    let vty = client.phandle("/vdevice/vty");
    assert_eq!(client.properties(vty), ["phandle", "name"]);
    let chosen = client.phandle("/chosen");
    assert_eq!(
        client.properties(chosen),
        ["phandle", "bootargs", "stdin", "stdout", "memory", "mmu", "name"]
    );
    let next = |previous: Argument<'_>| {
        client.one("nextprop", &[cpu.into(), previous, client.buffer().into()])
    };
    assert_eq!(next(0.into()), 1);
    client.poke(client.buffer(), &[0xaa; 32]);
    assert_eq!(next("bootargs".into()), NONE);
    assert_eq!(next("name".into()), 0);
    assert_eq!(client.peek(client.buffer(), 1), [0xaa]);
    assert_eq!(next("phandle".into()), 1);
    assert_eq!(client.peek(client.buffer(), 13), b"device_type\0\xaa");
    assert_eq!(client.one("nextprop", &[0.into(), "".into(), client.buffer().into()]), NONE);
}

#[test]
fn nextprop_gives_papr_names_whole() {
    const LONG: &str = "ibm,associativity-reference-points";
    let mut tree = sample_tree();
    let rtas = tree.find("/rtas").unwrap();
    tree.set_property(rtas, LONG, &[0; 8]).unwrap();
    let machine = TestMachine::new(tree, RAM_BYTES, |builder| builder);
    let client = machine.client();
    let rtas = client.phandle("/rtas");
    client.poke(client.buffer(), &[0xaa; 64]);
    assert_eq!(client.properties(rtas), ["phandle", "rtas-size", LONG, "name"]);
    assert_eq!(client.getprop(rtas, LONG).unwrap(), [0; 8]);
}

#[test]
fn setprop_changes_what_a_client_may() {
    let machine = machine();
    let client = machine.client();
    let chosen = client.phandle("/chosen");
    let set = |node: u32, name: &str, value: &[u8]| {
        let len = value.len() as u32;
        client.one("setprop", &[node.into(), name.into(), value.into(), len.into()])
    };
    assert_eq!(set(chosen, "bootargs", b"quiet\0"), 6);
    assert_eq!(client.getprop(chosen, "bootargs").unwrap(), b"quiet\0");
    // "Creates the property if it does not exist."
    assert_eq!(set(chosen, "linux,initrd-start", &[0, 1, 2, 3, 4, 5, 6, 7]), 8);
    assert_eq!(client.getprop(chosen, "linux,initrd-start").unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(client.properties(chosen).last().unwrap(), "name");
    assert_eq!(set(chosen, "linux,flag", b""), 0);
    assert_eq!(client.getprop(chosen, "linux,flag").unwrap(), b"");
    let options = client.phandle("/options");
    assert_eq!(set(options, "boot-command", b"halt\0"), 5);
    let rtas = client.phandle("/rtas");
    assert_eq!(set(rtas, "linux,rtas-entry", &[0; 4]), 4);
    for (node, name) in [
        (chosen, "stdout"),
        (chosen, "phandle"),
        (chosen, "name"),
        (chosen, "ibm,architecture-vec-5"),
        (rtas, "rtas-size"),
        (rtas, "linux,other"),
        (options, "#size-cells"),
        (options, ""),
        (options, "a/b"),
        (1, "device_type"),
        (0, "bootargs"),
    ] {
        assert_eq!(set(node, name, &[0; 4]), NONE, "{name}");
    }
    let longest = vec![b'x'; limits::MAX_SETPROP_BYTES];
    assert_eq!(set(chosen, "bootargs", &longest), longest.len() as u32);
    let arguments = [chosen.into(), "bootargs".into(), WORKSPACE.into(), 0x1_0001.into()];
    assert_eq!(client.one("setprop", &arguments), NONE);
}

#[test]
fn the_machine_decides_about_properties_and_learns_of_them() {
    #[derive(Clone, Default)]
    struct Policy(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

    impl PropertyPolicy for Policy {
        fn may_set(&self, path: &str, name: &str, value: &[u8]) -> bool {
            path == "/cpus" && name != "refused" && value.len() < 4
        }

        fn was_set(&mut self, path: &str, name: &str, value: &[u8]) {
            self.0.lock().unwrap().push(format!("{path} {name} {value:?}"));
        }
    }

    let policy = Policy::default();
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.properties(Box::new(policy.clone()))
    });
    let client = machine.client();
    let cpus = client.phandle("/cpus");
    let set = |node: u32, name: &str, len: u32| {
        client.one("setprop", &[node.into(), name.into(), (&[1, 2, 3, 4][..]).into(), len.into()])
    };
    assert_eq!(set(cpus, "colour", 3), 3);
    assert_eq!(set(cpus, "colour", 4), NONE);
    assert_eq!(set(cpus, "refused", 1), NONE);
    assert_eq!(set(cpus, "reg", 1), NONE);
    assert_eq!(set(client.phandle("/chosen"), "bootargs", 1), NONE);
    assert_eq!(*policy.0.lock().unwrap(), ["/cpus colour [1, 2, 3]"]);
}

#[test]
fn what_clients_add_to_the_tree_has_a_limit() {
    let machine = machine();
    let client = machine.client();
    let chosen = client.phandle("/chosen");
    let value = vec![1; limits::MAX_SETPROP_BYTES];
    let len = value.len() as u32;
    let set = |name: &str| {
        client.one("setprop", &[chosen.into(), name.into(), value.as_slice().into(), len.into()])
    };
    // The same one again and again takes no more memory.
    for _ in 0..400 {
        assert_eq!(set("bootargs"), len);
    }
    let mut count = 0;
    while set(&format!("linux,{count}")) == len {
        count += 1;
    }
    assert_eq!(count, limits::MAX_ADDED_BYTES / limits::MAX_SETPROP_BYTES - 2);
}

#[test]
fn canon_gives_the_full_path() {
    let machine = machine();
    let client = machine.client();
    let canon = |path: &str| {
        let arguments = [path.into(), client.buffer().into(), 256.into()];
        let len = client.one("canon", &arguments);
        (len != NONE).then(|| client.text(client.buffer()))
    };
    assert_eq!(canon("hvterm:1").unwrap(), "/vdevice/vty@71000000");
    assert_eq!(canon("/vdevice/@2000").unwrap(), "/vdevice/v-scsi@2000");
    assert_eq!(canon("/").unwrap(), "/");
    assert_eq!(canon("/nothing"), None);
}

/// "at most buflen bytes" of the path, and its full length.
#[test]
fn paths_keep_to_the_buffer() {
    let machine = machine();
    let client = machine.client();
    let vty = client.phandle("/vdevice/vty");
    let ihandle = client.one("open", &["/vdevice/vty:x,y".into()]);
    assert_eq!(client.path("package-to-path", vty), "/vdevice/vty@71000000");
    assert_eq!(client.path("instance-to-path", ihandle), "/vdevice/vty@71000000:x,y");
    let path = client.path("instance-to-interposed-path", ihandle);
    assert_eq!(path, "/vdevice/vty@71000000:x,y");
    let buffer = client.buffer();
    for room in [0, 1, 20, 21, 22, 200] {
        client.poke(buffer, &[0xaa; 32]);
        let arguments = [vty.into(), buffer.into(), room.into()];
        assert_eq!(client.one("package-to-path", &arguments), 21);
        let mut expected = b"/vdevice/vty@71000000\0".to_vec();
        expected.truncate(room as usize);
        expected.resize(32, 0xaa);
        assert_eq!(client.peek(buffer, 32), expected, "{room}");
    }
    for (service, wrong) in
        [("package-to-path", 0), ("instance-to-path", 0), ("instance-to-path", vty)]
    {
        assert_eq!(client.one(service, &[wrong.into(), buffer.into(), 64.into()]), NONE);
    }
}
