//! The tree as the tools of others see it (Debian's device-tree-compiler).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::*;
use crate::cas::Mmu;

/// A file that goes when it is no longer needed.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, contents: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}.dtb", std::process::id()));
        std::fs::write(&path, contents).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that stays behind in the folder for temporary files does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs a tool, and returns what it wrote, if it was content.
fn run(command: &mut Command, input: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // In a thread: both pipes can be full.
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {said}");
    assert!(!said.contains("ERROR"), "{command:?}: {said}");
    String::from_utf8(stdout).unwrap()
}

fn blob_of(config: &TestConfig) -> Vec<u8> {
    let machine = Machine::new(config).unwrap();
    build(&machine, &start(&machine)).unwrap()
}

#[test]
#[ignore = "needs dtc; cargo xtask test runs it"]
fn tools_dtc_accepts_every_shape() {
    for config in shapes() {
        let source = run(Command::new("dtc").args(["-I", "dtb", "-O", "dts"]), &blob_of(&config));
        let points = if config.x_vof { "<0x04 0x04>" } else { "<0x04>" };
        assert!(source.contains(&format!("ibm,associativity-reference-points = {points};")));
        let has_radix = source.contains("ibm,processor-radix-AP-encodings");
        assert_eq!(has_radix, config.cpus.model.mmu().includes(&Mmu::Radix));
        let has_blocks = source.contains("ibm,dynamic-reconfiguration-memory {");
        assert_eq!(has_blocks, config.memory.hotplug_bytes != 0);
    }
}

#[test]
#[ignore = "needs dtc; cargo xtask test runs it"]
fn tools_dtc_accepts_machines_of_many_nodes() {
    for config in [numa::two_sockets(), numa::largest()] {
        let source = run(Command::new("dtc").args(["-I", "dtb", "-O", "dts"]), &blob_of(&config));
        assert!(source.contains("ibm,numa-distance-table = "));
    }
}

#[test]
#[ignore = "needs dtc; cargo xtask test runs it"]
fn tools_fdtput_appends() {
    for config in shapes() {
        let blob = blob_of(&config);
        let before = Tree::parse(&blob);
        let file = Scratch::new("fdtput-appends", &blob);
        let text = "x".repeat(1000);
        run(
            Command::new("fdtput").args(["-t", "s"]).arg(file.path()).args([
                "/chosen",
                "rust-vmm,appended",
                &text,
            ]),
            &[],
        );
        let after = Tree::parse_changed(&std::fs::read(file.path()).unwrap());
        assert_eq!(after.strings("/chosen", "rust-vmm,appended"), [text]);
        // fdtput itself packs what it writes, but up to there it fitted.
        assert!(after.used_bytes > before.used_bytes && after.used_bytes <= before.total_bytes);
        for (path, node) in before.nodes().iter().filter(|(path, _)| path != "/chosen") {
            let properties = &after.node(path).unwrap().properties;
            assert_eq!(*properties, node.properties, "{path}");
        }
    }
}
