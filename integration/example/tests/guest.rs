//! A guest program that uses every view of the example's own device, on the processor in software;
//! and saved machines. Its source is in `guests/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What it shows, from its start to its end.
const ALL: &str = "node\nrtas\nmmio\nhypercall\ninterrupt\npackage\ncounting\ncounted\n\
    the same interrupt\nthe same instance\ncounter works\n";

/// A folder of one test, with the machine that runs the program.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/counter.elf");
        let machine = serde_json::json!({
            "cpus": { "boot_vcpus": 1, "max_vcpus": 1 },
            "memory": { "size": 64 << 20 },
            "payload": { "kernel": kernel, "cmdline": "" },
            "machine": { "x-vof": true },
        });
        fs::write(folder.join("machine.json"), machine.to_string()).unwrap();
        Self(folder)
    }

    fn vmm(&self, arguments: &str) -> Output {
        let mut vmm = Command::new(env!("CARGO_BIN_EXE_example-vmm"));
        vmm.args(arguments.split(' ')).current_dir(&self.0).stdin(Stdio::null()).output().unwrap()
    }

    /// What the guest shows of a run that ends well.
    fn shown(&self, arguments: &str) -> String {
        let output = self.vmm(arguments);
        let (shown, said) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{arguments}: {shown}{said}");
        shown
    }

    /// What is said of a machine that cannot go on.
    fn complaint(&self, arguments: &str) -> String {
        let output = self.vmm(arguments);
        let said = text(output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
        assert!(said.starts_with("example-vmm: ") && !said.contains("panicked"), "{said}");
        said
    }

    /// Changes a value of a saved machine's state: the one that a JSON pointer leads to.
    fn change(&self, pointer: &str, value: serde_json::Value) {
        let file = self.0.join("saved/state.json");
        let mut state: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        *state.pointer_mut(pointer).unwrap() = value;
        fs::write(file, state.to_string()).unwrap();
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_guest_uses_every_view_of_the_device() {
    let files = Files::new("every-view");
    assert_eq!(files.shown("--hypervisor software machine.json"), ALL);
}

/// Wherever it is saved, in the client interface or between two hypercalls, it goes on as if
/// nothing had happened.
#[test]
fn a_saved_guest_goes_on_in_another_process() {
    let files = Files::new("goes-on");
    let calls = (1..60).step_by(4).chain((60..1100).step_by(130)).map(|calls| calls.to_string());
    let times = [1, 2, 4, 8, 16].map(|time| format!("{time}ms"));
    let (mut saves, mut counting) = (0, 0);
    for after in calls.chain(times) {
        let _ = fs::remove_dir_all(files.0.join("saved"));
        let save = format!("--hypervisor software machine.json --save saved --after {after}");
        let mut shown = files.shown(&save);
        // It may have been faster.
        if files.0.join("saved/state.json").exists() {
            saves += 1;
            counting += usize::from(shown.ends_with("counting\n"));
            shown += &files.shown("--restore saved");
        }
        assert_eq!(shown, ALL, "saved after {after}");
    }
    assert!(saves >= 20 && counting >= 5, "{saves} saves, {counting} while it counts");
}

#[test]
fn a_machine_may_go_on_after_it_was_saved() {
    let files = Files::new("both");
    let save = "--hypervisor software machine.json --save saved --after 300 --go-on";
    assert_eq!(files.shown(save), ALL);
    // And from where it was saved, as often as one likes, saved again meanwhile.
    let from = ALL.find("counted").unwrap();
    for _ in 0..2 {
        let mut rest = files.shown("--restore saved --save again --after 300");
        rest += &files.shown("--restore again");
        assert_eq!(rest, ALL[from..]);
    }
}

#[test]
fn saved_machines_that_cannot_be_are_refused() {
    let files = Files::new("refused");
    let save = "--hypervisor software machine.json --save saved --after 300";
    assert!(files.complaint("--restore saved").contains("cannot read saved/state.json: No such"));
    for (pointer, value, words) in [
        ("/hypervisor", "other".into(), "no hypervisor"),
        ("/cpus", serde_json::json!([]), "another number of CPUs"),
        ("/cpus/0/registers/cpu/pc", 3.into(), "program counter"),
        ("/vm/version", 99.into(), "version 99"),
        ("/platform/devices/counter/state", "x".into(), "counter"),
        ("/config/memory/size", (128 << 20).into(), "67108864 bytes of RAM"),
    ] {
        files.shown(save);
        files.change(pointer, value);
        let said = files.complaint("--restore saved");
        assert!(said.contains(words), "{words}: {said}");
    }
    files.shown(save);
    let memory = files.0.join("saved/memory");
    let bytes = fs::read(&memory).unwrap();
    let beyond = [&u64::MAX.to_be_bytes()[..], &[0; 64 << 10]].concat();
    for content in [&bytes[..bytes.len() - 1], &beyond] {
        fs::write(&memory, content).unwrap();
        files.complaint("--restore saved");
    }
}
