//! What `example-vmm` says of a configuration file and of its arguments. None of this runs a guest.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = include_str!("../machine.json");

fn run(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_example-vmm")).args(arguments).output().unwrap()
}

/// What is said of a file with this content; it is never that all went well.
fn complaint(name: &str, content: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    let output = run(&[&path]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.starts_with("example-vmm: ") && !said.contains("panicked"), "{said}");
    said
}

fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

#[test]
fn the_example_file_is_a_machine() {
    let content = changed("vmlinux-6.1", "no-such-kernel");
    let said = complaint("good.json", &content);
    assert!(said.contains("cannot read no-such-kernel: No such file"), "{said}");
}

#[test]
fn files_that_are_no_machine_are_refused() {
    for (name, content, words) in [
        ("empty.json", String::new(), "EOF while parsing a value at line 1"),
        ("key.json", changed("\"boot_vcpus\"", "\"vcpus\""), "unknown field `vcpus`"),
        ("machine.json", changed("\"x-vof\"", "\"x_vof\""), "unknown field `x_vof`"),
        ("type.json", changed("536870912", "\"512M\""), "invalid type: string \"512M\""),
        ("cpus.json", changed("\"boot_vcpus\": 2", "\"boot_vcpus\": 0"), "at least 1 virtual CPU"),
        ("memory.json", changed("536870912", "536870913"), "not a multiple of 65536"),
    ] {
        let said = complaint(name, &content);
        assert!(said.contains(words), "{name}: {said}");
    }
}

#[test]
fn arguments_are_checked() {
    let missing = run(&[Path::new("no-such-file.json")]);
    let said = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(said.contains("cannot read no-such-file.json: No such file"), "{said}");
    for (arguments, words) in [
        (&[][..], "<MACHINE.json>"),
        (&["m.json", "--hypervisor", "qemu"], "[possible values: kvm, software]"),
        (&["m.json", "--save", "folder"], "--after <COUNT|TIMEms>"),
        (&["m.json", "--save", "folder", "--after", "0"], "such as 1200"),
        (&["m.json", "--save", "folder", "--after", "-1ms"], "such as 1200"),
        (&["m.json", "--restore", "folder"], "cannot be used with"),
    ] {
        let arguments: Vec<&Path> = arguments.iter().map(Path::new).collect();
        let output = run(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
