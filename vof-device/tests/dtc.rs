//! Trees by way of the Device Tree Compiler: what dtc writes comes back as it was.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use vof_device::DeviceTree;

/// A node in source form.
#[derive(Debug, Clone)]
struct Source {
    name: String,
    properties: Vec<(String, Vec<u8>)>,
    children: Vec<Source>,
}

impl Source {
    /// Writes the node with names that siblings do not share, and phandles as dtc has them: counted,
    /// with gaps, where the source does not say which.
    fn write(&self, name: &str, next_phandle: &mut u32, source: &mut String) {
        let _ = writeln!(source, "{name} {{");
        let _ = writeln!(source, "phandle = <{}>;", *next_phandle);
        *next_phandle += 1 + u32::from(*next_phandle % 7 == 0);
        let mut seen = vec!["phandle"];
        for (name, value) in &self.properties {
            if !seen.contains(&name.as_str()) {
                seen.push(name);
                let bytes: String = value.iter().map(|byte| format!("{byte:02x} ")).collect();
                let _ = match value[..] {
                    [] => writeln!(source, "{name};"),
                    _ => writeln!(source, "{name} = [{bytes}];"),
                };
            }
        }
        for (number, child) in self.children.iter().enumerate() {
            child.write(&format!("{}@{number:x}", child.name), next_phandle, source);
        }
        source.push_str("};\n");
    }
}

fn sources() -> impl Strategy<Value = Source> {
    // Names that end in one another: dtc stores the shorter ones in the longer.
    let name = prop_oneof![
        "[a-c]{1,3}",
        "(ibm,|linux,|#)?[a-z][a-z-]{0,20}",
        "(dma-)?ranges|(#)?(address|size)-cells|ibm,my-dma-window",
    ];
    let property = (name, prop::collection::vec(any::<u8>(), 0..20));
    let properties = prop::collection::vec(property, 0..8);
    let leaf = ("[a-z][a-z,-]{0,8}", properties.clone()).prop_map(|(name, properties)| Source {
        name,
        properties,
        children: vec![],
    });
    leaf.prop_recursive(5, 80, 8, move |inner| {
        ("[a-z][a-z,-]{0,8}", properties.clone(), prop::collection::vec(inner, 0..8))
            .prop_map(|(name, properties, children)| Source { name, properties, children })
    })
}

fn dtc(source: &str) -> Vec<u8> {
    let mut dtc = Command::new("dtc")
        .args(["-q", "-q", "-f", "-I", "dts", "-O", "dtb"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("dtc is installed: Debian's device-tree-compiler");
    // It reads all of its input before it writes.
    dtc.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    let output = dtc.wait_with_output().unwrap();
    assert!(output.status.success(), "dtc refuses\n{source}");
    output.stdout
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    #[ignore = "needs dtc; cargo xtask test runs it"]
    fn tools_what_dtc_writes_comes_back_as_it_was(
        root in sources(),
        reserved in prop::collection::vec((any::<u64>(), 1..u64::MAX), 0..3),
    ) {
        let mut source = "/dts-v1/;\n".to_owned();
        for (address, size) in reserved {
            let _ = writeln!(source, "/memreserve/ {address:#x} {size:#x};");
        }
        root.write("/", &mut 1, &mut source);
        let blob = dtc(&source);
        let tree = DeviceTree::from_blob(&blob).unwrap();
        prop_assert_eq!(tree.to_blob(), blob);
    }
}
