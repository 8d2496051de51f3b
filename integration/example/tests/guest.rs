//! A guest program that uses every view of the example's own device, on the processor in software;
//! and saved machines. Its source is in `guests/`.

use std::fs;
use std::os::unix::fs::symlink;
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
    // It makes more calls than these, most of them while it counts.
    let calls = (1..60).step_by(4).chain((60..1000).step_by(130)).map(|calls| calls.to_string());
    let times = [1, 2, 4, 8, 16].map(|time| format!("{time}ms"));
    let mut counting = 0;
    for after in calls.chain(times) {
        let _ = fs::remove_dir_all(files.0.join("saved"));
        let save = format!("--hypervisor software machine.json --save saved --after {after}");
        let mut shown = files.shown(&save);
        if files.0.join("saved/state.json").exists() {
            counting += usize::from(shown.ends_with("counting\n"));
            shown += &files.shown("--restore saved");
        } else {
            assert!(after.ends_with("ms"), "not saved after {after}: {shown}");
        }
        assert_eq!(shown, ALL, "saved after {after}");
    }
    assert!(counting >= 5, "{counting} saves while it counts");
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
fn states_that_cannot_be_are_refused() {
    let files = Files::new("states");
    let save = "--hypervisor software machine.json --save saved --after 300";
    assert!(files.complaint("--restore saved").contains("cannot read saved/state.json: No such"));
    for (pointer, value, words) in [
        ("/hypervisor", "other".into(), "no hypervisor"),
        ("/cpus", serde_json::json!([]), "another number of CPUs"),
        (
            "/cpus/0/registers/cpu/pc",
            3.into(),
            "vcpu0: the CPU does not have such a state: the program counter cannot be 0x3",
        ),
        ("/vm/version", 99.into(), "version 99"),
        ("/platform/devices/counter/state", "x".into(), "counter"),
        ("/platform/devices/counter/version", 99.into(), "version 99"),
        ("/config/memory/size", (128 << 20).into(), "67108864 bytes of RAM"),
        ("/memory_pieces", 1.into(), "cannot use saved/memory: there is more than the state says"),
        ("/memory_pieces", 1_000_000.into(), "cannot use saved/memory: failed to fill"),
    ] {
        files.shown(save);
        files.change(pointer, value);
        let said = files.complaint("--restore saved");
        assert!(said.contains(words), "{words}: {said}");
    }
    // What is not looked at before it is used has an end, too.
    files.shown(save);
    files.change("/boot_count", u32::MAX.into());
    files.change(
        "/platform/devices/interrupt-controller/state/state/sources/0/arrival",
        u64::MAX.into(),
    );
    assert_eq!(files.shown("--restore saved"), ALL[ALL.find("counted").unwrap()..]);
}

#[test]
fn files_that_are_no_saved_memory_are_refused() {
    const PIECE: usize = 8 + (64 << 10);
    let files = Files::new("memory");
    files.shown("--hypervisor software machine.json --save saved --after 300");
    let memory = files.0.join("saved/memory");
    let good = fs::read(&memory).unwrap();
    let other = |at: usize, address: u64| {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&address.to_be_bytes());
        bytes
    };
    for (content, words) in [
        (vec![], "failed to fill whole buffer"),
        (good[..PIECE].to_vec(), "failed to fill whole buffer"),
        (good[..good.len() - 1].to_vec(), "failed to fill whole buffer"),
        ([&good[..], &[0]].concat(), "there is more than the state says"),
        (other(PIECE, 0), "what is for 0x0 is not in its place"),
        (other(good.len() - PIECE, u64::MAX), "0xffffffffffffffff"),
    ] {
        fs::write(&memory, content).unwrap();
        let said = files.complaint("--restore saved");
        assert!(said.contains("cannot use saved/memory: ") && said.contains(words), "{said}");
    }
    for kind in ["memory", "state.json"] {
        let file = files.0.join("saved").join(kind);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let said = files.complaint("--restore saved");
        assert!(said.contains(&format!("saved/{kind}: it is not a regular file")), "{said}");
        fs::remove_dir(&file).unwrap();
        symlink("/dev/zero", &file).unwrap();
        let said = files.complaint("--restore saved");
        assert!(said.contains(&format!("saved/{kind}: it is not a regular file")), "{said}");
    }
}

/// A folder that has no state has no machine: also when one was there before.
#[test]
fn a_save_that_fails_leaves_no_machine() {
    let files = Files::new("fails");
    let save = "--hypervisor software machine.json --save saved --after 300";
    files.shown(save);
    fs::remove_file(files.0.join("saved/memory")).unwrap();
    fs::create_dir(files.0.join("saved/memory")).unwrap();
    let said = files.complaint(save);
    assert!(said.contains("cannot save in saved: Is a directory"), "{said}");
    assert!(!files.0.join("saved/state.json").exists());
}
