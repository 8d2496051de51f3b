//! What `pseries-vmm` says, and how it ends, when it cannot do what it is told.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, data: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, data).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pseries-vmm")).args(arguments).output().unwrap()
}

/// Asserts that the arguments are refused with status 2 and a message that has all of `words`.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: no {word:?} in {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn help_says_what_there_is() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout);
    for word in ["--kernel", "x-vof", "POWER10", "Ctrl-A X", "Exit status"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn arguments_are_checked() {
    refused(&[], &["--kernel"]);
    refused(&["--kernel", "k", "--kernel", "k"], &["--kernel", "multiple times"]);
    refused(&["--kernel", "k", "--memory", "size=lots"], &["size=lots", "512M"]);
    refused(&["--kernel", "k", "--memory", "sise=1G"], &["sise", "hotplug_size"]);
    refused(&["--kernel", "k", "--cpus", "boot=x"], &["boot=x"]);
    refused(&["--kernel", "k", "--machine", "cpu=POWER7"], &["POWER7", "POWER9"]);
    refused(&["--kernel", "k", "--machine", "x-vof=perhaps"], &["perhaps", "on and off"]);
    refused(&["--kernel", "k", "--backend", "xen"], &["xen", "kvm"]);
}

#[test]
fn machines_are_checked() {
    let with = |option: &str, value: &str, words: &[&str]| {
        refused(&["--kernel", "k", option, value], words);
    };
    with("--memory", "size=0", &["0 bytes", "too small", "64 MiB"]);
    with("--memory", "size=100000001", &["100000001", "64 KiB"]);
    with("--memory", "size=100T", &["too large", "8 TiB"]);
    with("--cpus", "boot=0", &["at least 1"]);
    with("--cpus", "boot=4,max=2", &["at most 2", "4 at boot"]);
    with("--cpus", "boot=5000", &["5000", "2048"]);
    with("--cmdline", &"x".repeat(2048), &["2048", "2047"]);
}

#[test]
fn files_are_checked() {
    let folder = Folder::new("files_are_checked");
    let is = |name: &str, data: &[u8], words: &[&str]| {
        let path = folder.file(name, data);
        refused(&["--kernel", &path], &[&[path.as_str()], words].concat());
    };
    refused(&["--kernel", "/nonexistent/kernel"], &["/nonexistent/kernel", "No such file"]);
    refused(&["--kernel", "/"], &["directory"]);
    is("empty", b"", &["empty"]);
    is("text", b"#!/bin/sh\n", &["ELF"]);
    is("gzip", &[0x1f, 0x8b, 8, 0], &["gzip", "unpacked"]);
    is("cut", b"\x7fELF\x02\x01\x01", &["damaged or incomplete"]);
    let own = std::fs::read("/proc/self/exe").unwrap();
    if cfg!(target_arch = "x86_64") {
        is("x86", &own, &["x86-64"]);
    }
}

/// The host is what cannot do it here, so that the status is 1.
#[test]
#[cfg(not(target_arch = "powerpc64"))]
fn other_hosts_are_told_what_is_missing() {
    let folder = Folder::new("other_hosts");
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([0, 2, 0, 21, 0, 0, 0, 1]);
    elf.extend([0_u64, 64, 0].iter().flat_map(|word| word.to_be_bytes()));
    elf.extend([0, 0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0]);
    elf.extend([0, 0, 0, 1, 0, 0, 0, 7]);
    elf.extend([120_u64, 0, 0, 4, 4, 4].iter().flat_map(|word| word.to_be_bytes()));
    elf.extend([0x48, 0, 0, 0]);
    let kernel = folder.file("kernel", &elf);
    let output = run(&["--kernel", &kernel, "--backend", "kvm"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("kvm"), "{message}");
}
