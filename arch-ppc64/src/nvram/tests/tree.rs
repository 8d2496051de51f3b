//! What the tree says of it, and what a client changes there.

use vm_memory::GuestAddress;

use super::*;
use crate::Machine;
use crate::config::{Boot, Cpus, MachineConfig, Memory};
use crate::fdt::{Start, Tree};
use crate::platform::{Device, Platform, PlatformError, outline_with};
use crate::rtas::token_of;

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(512 << 20)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(1, Default::default())
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

fn platform(nvram: &Arc<Nvram>) -> Platform {
    let machine = Machine::new(&Config).unwrap();
    let platform = outline_with(&machine, |builder| {
        builder.add(nvram.clone());
        Ok::<_, PlatformError>(())
    });
    platform.unwrap()
}

fn tree(nvram: &Arc<Nvram>) -> Tree {
    let tree = platform(nvram).tree(&Start::new(GuestAddress(4 << 20), [0; 32])).unwrap();
    // It can be written, too.
    tree.flatten(0).unwrap();
    tree
}

fn option(tree: &Tree, name: &str) -> Option<String> {
    tree.value("/options", name).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Guests look for a node of the type "nvram", and for how many bytes it has.
#[test]
fn node_and_calls_are_there() {
    let tree = tree(&Arc::default());
    let node = "/vdevice/nvram@71000001";
    assert_eq!(tree.value(node, "device_type"), Some(&b"nvram\0"[..]));
    assert_eq!(tree.value(node, "#bytes"), Some(&[0, 1, 0, 0][..]));
    assert_eq!(tree.value(node, "reg"), Some(&[0x71, 0, 0, 1][..]));
    for call in ["nvram-fetch", "nvram-store"] {
        let token = token_of(call).unwrap().to_be_bytes();
        assert_eq!(tree.value("/rtas", call), Some(&token[..]));
    }
    assert_eq!(option(&tree, "auto-boot?").as_deref(), Some("true\0"));
    assert_eq!(option(&tree, "boot-device"), None);
}

/// "The contents of this NVRAM partition are represented in the OF device tree as properties […] in
/// the /options node" (LoPAPR §8.4.1.1).
#[test]
fn variables_are_properties_of_options() {
    let nvram = Arc::new(Nvram::default());
    for (name, value) in [
        ("boot-device", "/pci@800000020000000/disk@1:2,grub"),
        ("boot-file", ""),
        ("auto-boot?", "false"),
        ("ibm,last-booted", "now"),
        // What the machine is.
        ("real-mode?", "false"),
        ("little-endian?", "true"),
        ("output-device", "screen"),
        // What no setting can be.
        ("phandle", "1"),
        ("name", "none"),
        ("#size-cells", "2"),
        ("model", "other"),
        // A variable, but no property here.
        ("a~b", "x"),
    ] {
        nvram.set_variable(name, value).unwrap();
    }
    nvram.change_variable("oem-logo", Some(&[0, 1, 0xff])).unwrap();
    nvram.change_variable("nvramrc", Some(b"a\0b")).unwrap();
    let tree = tree(&nvram);
    for (name, value) in [
        ("boot-device", Some("/pci@800000020000000/disk@1:2,grub\0")),
        ("boot-file", Some("\0")),
        ("auto-boot?", Some("false\0")),
        ("ibm,last-booted", Some("now\0")),
        ("real-mode?", Some("true\0")),
        ("little-endian?", Some("false\0")),
        ("output-device", Some("hvterm\0")),
        ("nvramrc", Some("a\0b\0")),
        ("phandle", None),
        ("name", None),
        ("#size-cells", None),
        ("model", None),
        ("a~b", None),
    ] {
        assert_eq!(option(&tree, name).as_deref(), value, "{name}");
    }
    assert_eq!(tree.value("/options", "oem-logo"), Some(&[0, 1, 0xff][..]));
}

/// A guest may write as many variables as there is room for, each of which three times.
#[test]
fn the_tree_has_so_many_variables_and_each_once() {
    let nvram = Arc::new(Nvram::default());
    {
        let mut content = nvram.content();
        let strings: Vec<u8> =
            (0..300).flat_map(|n| format!("v{n}={n}\0").repeat(3).into_bytes()).collect();
        let range = partitions::common(&content).unwrap();
        let room = range.len();
        content[range].copy_from_slice(&strings[..room]);
    }
    let few = tree(&nvram);
    assert_eq!(option(&few, "v0").as_deref(), Some("0\0"));
    let nvram = Arc::new(Nvram::open(MAX_BYTES, Box::new(Place::default())).unwrap());
    for n in 0..300 {
        nvram.set_variable(&format!("v{n}"), "x").unwrap();
    }
    let many = tree(&nvram);
    assert_eq!(option(&many, "v255").as_deref(), Some("x\0"));
    assert_eq!(option(&many, "v256"), None);
}

/// A few bytes can stand for very many (§8.4.1.1.2): the tree has no more of them than the NVRAM.
#[test]
fn the_tree_does_not_outgrow_the_nvram() {
    let nvram = Arc::new(Nvram::default());
    for name in ["a", "b", "c"] {
        nvram.change_variable(name, Some(&[0; 30_000])).unwrap();
    }
    let tree = tree(&nvram);
    assert_eq!(tree.value("/options", "b").unwrap().len(), 30_001);
    assert_eq!(tree.value("/options", "c"), None);
}

/// "While OF is available, the OS can alter the contents of these properties by using the setprop
/// client interface service."
#[test]
fn properties_that_a_client_sets_are_kept() {
    let nvram = Arc::new(Nvram::default());
    let observers = platform(&nvram).property_observers();
    let [observer] = &observers[..] else { panic!("one device has properties") };
    let set = |path: &str, name: &str, value: &[u8]| {
        let may = observer.may_set(path, name, value);
        if may {
            observer.was_set(path, name, value);
        }
        may
    };
    assert!(set("/options", "boot-device", b"net\0"));
    assert!(set("/options", "boot-file", b"no-zero"));
    assert!(set("/options", "auto-boot?", b"false\0"));
    assert!(set("/options", "oem-logo", &[1, 0, 0]));
    let before = nvram.to_bytes();
    // Others have them, or nobody.
    assert!(set("/chosen", "bootargs", b"x\0"));
    assert!(set("/options", "real-mode?", b"false\0"));
    assert!(set("/options", "Own-Name", b"x\0"));
    // There is no room.
    assert!(!set("/options", "boot-command", &[b'x'; 4096]));
    assert_eq!(nvram.to_bytes(), before);
    let tree = tree(&nvram);
    assert_eq!(option(&tree, "boot-device").as_deref(), Some("net\0"));
    assert_eq!(option(&tree, "boot-file").as_deref(), Some("no-zero\0"));
    assert_eq!(option(&tree, "auto-boot?").as_deref(), Some("false\0"));
    assert_eq!(tree.value("/options", "oem-logo"), Some(&[1, 0, 0][..]));
    // Partitions that a guest has destroyed have no room for anything.
    nvram.content()[1] ^= 1;
    assert!(!set("/options", "boot-device", b"disk\0"));
    nvram.reset();
    assert!(set("/options", "boot-device", b"disk\0"));
}
