//! What `pseries-vmm` says, and how it ends, when it cannot do what it is told.

#[path = "run/said.rs"]
mod said;

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use said::{refused, run};

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

#[test]
fn help_says_what_there_is() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout);
    let words =
        ["--kernel", "x-vof", "POWER10", "Ctrl-A X", "--debug-unimplemented", "Exit status"];
    let of_boot = ["--boot", "disk0", "cdrom", "net0", "ISO 9660", "boot-device", "nothing else"];
    let of_shape =
        ["--memory-zone", "hugepage_size", "prefault", "--numa", "distances", "topology"];
    let of_nvram = ["--nvram", "FILE.damaged-1"];
    for word in words.into_iter().chain(of_boot).chain(of_shape).chain(of_nvram) {
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
    refused(
        &["--kernel", "k", "--cpus", "boot=4,topology=2:2"],
        &["topology=2:2", "threads:cores"],
    );
    refused(
        &["--kernel", "k", "--memory-zone", "size=1G"],
        &["--memory-zone", "\"id\" is missing"],
    );
    refused(&["--kernel", "k", "--numa", "guest_numa_id=256"], &["--numa", "from 0 to 255"]);
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
    with("--memory", "size=100000001", &["--memory: size=100000001", "a multiple of 64K"]);
    with("--memory", "size=100T", &["too large", "16 TiB"]);
    with("--cpus", "boot=0", &["at least 1"]);
    with("--cpus", "boot=4,max=2", &["at most 2", "4 at boot"]);
    with("--cpus", "boot=5000", &["5000", "2048"]);
    with("--cmdline", &"x".repeat(2048), &["2048", "2047"]);
}

#[test]
fn devices_are_checked() {
    let with = |arguments: &[&str], words: &[&str]| {
        refused(&[&["--kernel", "k"], arguments].concat(), words);
    };
    with(&["--disk"], &["--disk", "path=FILE"]);
    with(&["--disk", "readonly=on"], &["--disk", "\"path\" is missing"]);
    with(&["--disk", "path="], &["--disk", "path=", "the path is empty"]);
    with(&["--disk", "path=a,b.raw"], &["--disk", "\"b.raw\"", "no comma"]);
    with(&["--disk", "path=a,iommu=on"], &["\"iommu\"", "readonly"]);
    with(&["--disk", "path=a", "path=b,queue_size=3"], &["--disk", "queue_size=3", "power of two"]);
    with(&["--disk", "path=a", "path=b,id=disk0"], &["--disk path=b", "id disk0", "path=a"]);
    with(&["--disk", "path=a", "--disk", "path=a"], &["--disk path=a", "the file a"]);
    with(&["--net", "mac=52:54:00:12:34:56"], &["--net", "\"tap\" and \"socket\""]);
    with(&["--net", "tap=t,socket=s"], &["--net", "not both"]);
    with(&["--net", "tap=t,mac=01:00:5e:00:00:01"], &["mac=01:00:5e:00:00:01", "group"]);
    let mac = "mac=52:54:00:12:34:56";
    with(
        &["--net", &format!("tap=t,{mac}"), &format!("tap=u,{mac}")],
        &["--net tap=u", "address 52:54:00:12:34:56", "--net tap=t"],
    );
    with(&["--vsock", "cid=2,socket=s"], &["--vsock", "cid=2", "from 3"]);
    with(&["--vsock", "cid=4294967296,socket=s"], &["cid=4294967296", "4294967294"]);
    with(&["--fs", "tag=,socket=s"], &["--fs", "36 bytes"]);
    with(&["--fs", "tag=t,socket=a", "tag=t,socket=b"], &["--fs tag=t", "tag t"]);
    with(&["--nvram", "x"], &["--nvram", "\"x\"", "path"]);
    with(&["--nvram", "path="], &["--nvram", "path=", "the path is empty"]);
    with(&["--nvram", "path=a", "--disk", "path=a"], &["--nvram path=a", "the file a"]);
    with(&["--serial", "stdout"], &["--serial", "file=PATH"]);
    with(&["--console", "tty"], &["--console tty", "--serial null"]);
    let disks: Vec<String> = (0..33).map(|number| format!("path={number}")).collect();
    let disks: Vec<&str> = disks.iter().map(String::as_str).collect();
    with(&[&["--disk"], &disks[..]].concat(), &["33 devices", "32 slots"]);
    with(&["--icount", "--net", "socket=s"], &["--net socket=s", "--icount"]);
    with(&["--icount", "--serial", "pty"], &["--serial pty", "--icount"]);
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
    is("random", &random_bytes(), &["ELF"]);
    is("gzip", &[0x1f, 0x8b, 8, 0], &["gzip", "unpacked"]);
    is("cut", b"\x7fELF\x02\x01\x01", &["damaged or incomplete"]);
    is("cut-later", &kernel(4096)[..130], &["incomplete", "segment 0"]);
    let mut little_32 = vec![0; 4096];
    little_32[..20].copy_from_slice(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x14\0");
    is("little-32", &little_32, &["32-bit little-endian", "big-endian"]);
    if cfg!(target_arch = "x86_64") {
        is("x86", &std::fs::read("/proc/self/exe").unwrap(), &["x86-64"]);
    }
}

#[test]
fn what_is_behind_devices_is_checked() {
    let folder = Folder::new("behind_devices");
    let kernel = folder.file("kernel", &kernel(4096));
    let with = |arguments: &[&str], words: &[&str]| {
        refused(&[&["--kernel", &kernel], arguments].concat(), words);
    };
    let disk = |path: &str, words: &[&str]| {
        with(&["--disk", &format!("path={path}")], &[&["--disk path="], words].concat());
    };
    disk("/nonexistent/disk", &["No such file"]);
    disk("/", &["directory"]);
    disk("/dev/null", &["character device"]);
    disk(&folder.file("empty", b""), &["empty"]);
    disk(&folder.file("odd", &[0; 1000]), &["1000 bytes", "multiple of 512"]);
    disk(&folder.file("qcow2", &[&b"QFI\xfb"[..], &[0; 508]].concat()), &["qcow2", "image_type"]);
    let good = folder.file("good", &[0; 4096]);
    with(&["--disk", &format!("path={good},image_type=qcow2")], &["qcow2"]);
    // Another machine has it.
    let holder = std::fs::File::options().write(true).open(&good).unwrap();
    // SAFETY: zeros are a lock of all of a file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    // SAFETY: of an open descriptor, with a lock that is borrowed for the call.
    let locked = unsafe { libc::fcntl(holder.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    assert_eq!(locked, 0);
    disk(&good, &["in use"]);
    disk(&format!("{good},readonly=on"), &["somebody writes to it"]);
    drop(holder);
    let nowhere = folder.0.join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    with(&["--net", &format!("socket={nowhere}")], &["--net socket=", nowhere, "No such file"]);
    with(&["--fs", &format!("tag=t,socket={nowhere}")], &["--fs tag=t", nowhere, "No such file"]);
    with(&["--fs", &format!("tag=t,socket={good}")], &["--fs tag=t", &good]);
    with(&["--rng", "src=/nonexistent"], &["--rng src=/nonexistent", "No such file"]);
    with(&["--rng", "src=/"], &["--rng src=/"]);
    with(&["--vsock", "cid=3,socket=/nonexistent/v"], &["--vsock cid=3", "No such file"]);
    if !Path::new("/dev/vhost-vsock").exists() {
        with(&["--vsock", "cid=3"], &["--vsock cid=3", "/dev/vhost-vsock"]);
    }
    with(&["--serial", "file=/nonexistent/f"], &["--serial file=/nonexistent/f", "No such file"]);
    with(&["--serial", "file=/"], &["--serial file=/"]);
    with(&["--console", "socket=/nonexistent/s"], &["--console socket=", "No such file"]);
    with(&["--console", &format!("socket={good}")], &["--console socket=", &good]);
}

#[test]
fn everything_has_to_fit() {
    let folder = Folder::new("everything_has_to_fit");
    let small = folder.file("kernel", &kernel(4096));
    let large = folder.file("large", &kernel(100 << 20));
    let initrd = folder.file("initrd", &vec![0; 80 << 20]);
    let empty = folder.file("empty", b"");
    let memory = ["--memory", "size=64M"];
    refused(&[&["--kernel", &large], &memory[..]].concat(), &["large", "RAM ends at 0x4000000"]);
    let with = |initrd: &str, words: &[&str]| {
        refused(&[&["--kernel", &small, "--initramfs", initrd], &memory[..]].concat(), words);
    };
    with(&initrd, &["initrd", "no room", "83886080"]);
    with(&empty, &["the initrd is empty"]);
    with("/nonexistent/initrd", &["/nonexistent/initrd", "No such file"]);
}

#[test]
fn configuration_files_are_checked() {
    let folder = Folder::new("configuration_files_are_checked");
    let is = |name: &str, text: &str, words: &[&str]| {
        let path = folder.file(name, text.as_bytes());
        refused(&["--config", &path], &[&[path.as_str()], words].concat());
    };
    refused(&["--config", "/nonexistent.json"], &["/nonexistent.json", "No such file"]);
    is("syntax.json", "{\n  \"cpus\": {,\n}", &["line 2 column 12"]);
    is("list.json", "[]", &["sequence", "expected an object", "line 1"]);
    is("key.json", "{\"cpus\": {\"boot\": 1}}", &["\"cpus.boot\"", "boot_vcpus", "line 1"]);
    is("type.json", "{\"memory\": {\"size\": true}}", &["\"memory.size\"", "line 1"]);
    let path = folder.file("nothing.json", b"{}");
    refused(&["--config", &path], &["no kernel", "--kernel"]);
    let path = folder.file("zero.json", br#"{"cpus": {"boot_vcpus": 0}}"#);
    refused(&["--config", &path], &["at least 1"]);
    // Flags win over the file.
    let path =
        folder.file("wins.json", br#"{"cpus": {"boot_vcpus": 0}, "memory": {"size": "1G"}}"#);
    let flags = ["--config", &path, "--cpus", "boot=1", "--memory", "size=1M"];
    refused(&flags, &["1048576", "too small"]);
}

#[test]
fn paths_that_are_empty_are_named() {
    let folder = Folder::new("paths_that_are_empty");
    for (text, what) in [
        (r#"{"payload": {"kernel": ""}}"#, "the path of the kernel is empty"),
        (r#"{"payload": {"kernel": "KERNEL", "initramfs": ""}}"#, "the path of the initramfs is"),
    ] {
        let kernel = folder.file("kernel", &kernel(4096));
        let path = folder.file("empty.json", text.replace("KERNEL", &kernel).as_bytes());
        refused(&["--config", &path], &[what]);
        refused(&["--config", &path, "--dump-fdt", "-"], &[what]);
    }
    for option in ["--kernel", "--initramfs", "--config", "--dump-fdt"] {
        refused(&[option, ""], &["a value is required", option]);
    }
}

/// Whatever a message quotes: a line that a terminal shows as it is, and no longer than a few.
#[test]
fn messages_are_plain_and_short() {
    let folder = Folder::new("messages_are_plain");
    let odd = "\x1b]0;title\x07\r\n\u{9b}2J\u{202e}";
    let long = "A".repeat(100_000);
    let nowhere = format!("/nonexistent/{odd}");
    for (name, quoted) in [("odd.json", odd), ("long.json", &long)] {
        let escaped = serde_json::to_string(quoted).unwrap();
        let in_text = |text: &str| folder.file(name, text.replace("QUOTED", &escaped).as_bytes());
        let kernel = in_text(r#"{"payload": {"kernel": QUOTED}}"#);
        plain(&["--config", &kernel], "cannot read");
        plain(&["--config", &in_text("{QUOTED: 1}")], "unknown field");
        plain(&["--config", &in_text(r#"{"cpus": {QUOTED: 1}}"#)], "at \"cpus.");
        plain(&["--config", &in_text(r#"{"memory": {"size": QUOTED}}"#)], "at \"memory.size\"");
        plain(&["--config", &in_text(r#"{"machine": {"cpu": QUOTED}}"#)], "POWER10");
        plain(&["--config", &in_text(r#"{"payload": QUOTED}"#)], "an object");
        plain(&["--kernel", quoted], "cannot read");
        plain(&["--kernel", "k", "--memory", &format!("size={quoted}")], "a size is");
        plain(&["--kernel", "k", "--memory", &format!("{quoted}=1")], "hotplug_size");
        plain(&["--kernel", "k", "--cpus", quoted], "boot, max, topology");
        plain(&["--kernel", "k", "--numa", &format!("cpus={quoted}")], "guest_numa_id");
        plain(&["--kernel", "k", "--backend", quoted], "interp");
        plain(&["--kernel", "k", "--disk", &format!("path=a,id={quoted}")], "an id has");
        plain(&["--kernel", "k", "--disk", &format!("path=a,{quoted}")], "no comma");
        let disk = format!("path={quoted}");
        plain(&["--kernel", "k", "--disk", &disk, &disk], "already");
        plain(&["--kernel", "k", "--serial", quoted], "socket=PATH");
        plain(&["--dump-fdt", "/", "--kernel", quoted], "cannot read");
    }
    plain(&["--config", &nowhere], "No such file");
    plain(&["--kernel", "k", "--initramfs", "k", "--dump-fdt", &nowhere], "cannot read k");
    plain(&["--dump-fdt", &nowhere], "cannot create");
}

/// Asserts that the arguments are refused with status 2, in words that do no harm.
fn plain(arguments: &[&str], words: &str) {
    let output = run(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message:?}");
    assert!(message.contains(words), "no {words:?} in {message:?}");
    let is_plain = |c: char| matches!(c, ' '..='~' | '\n');
    assert!(message.chars().all(is_plain), "{message:?}");
    assert!(message.len() < 4000, "{} bytes: {message:?}", message.len());
}

#[test]
fn device_tree_is_written_without_a_guest() {
    let folder = Folder::new("device_tree");
    let path = folder.0.join("machine.dtb");
    let path = path.to_str().unwrap();
    let kernel = folder.file("kernel", &kernel(4096));
    for arguments in [
        &["--cpus", "boot=2", "--memory", "size=512M,hotplug_size=1G"][..],
        &["--machine", "x-vof=off"],
        &["--kernel", &kernel],
    ] {
        let output = run(&[&["--dump-fdt", path], arguments].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {message}");
        let tree = std::fs::read(path).unwrap();
        assert_eq!(tree[..4], [0xd0, 0x0d, 0xfe, 0xed]);
        assert_eq!(tree[4..8], (tree.len() as u32).to_be_bytes());
    }
    refused(&["--dump-fdt", "/nonexistent/t.dtb"], &["/nonexistent/t.dtb"]);
    refused(&["--dump-fdt", path, "--kernel", "/nonexistent"], &["/nonexistent"]);
}

/// What dtc's tools make of the tree, with memory that can be plugged, which has the longest names.
#[test]
#[ignore = "needs dtc, fdtput and fdtget; `cargo xtask test` installs and uses them"]
fn tools_device_tree_is_what_dtc_takes() {
    let folder = Folder::new("dtc");
    let path = folder.0.join("machine.dtb");
    let path = path.to_str().unwrap();
    let shape = ["--cpus", "boot=3", "--memory", "size=512M,hotplug_size=1G"];
    assert!(run(&[&["--dump-fdt", path], &shape[..]].concat()).status.success());
    let tree = std::fs::read(path).unwrap();
    let field = |at: usize| u32::from_be_bytes(tree[at..at + 4].try_into().unwrap());
    // Devicetree specification §5.2: totalsize, and where the last block, the strings, ends.
    let (total, used) = (field(4), field(12) + field(32));
    assert_eq!(total as usize, tree.len());
    assert!(total >= used + 0x1000, "{total} bytes, {used} used");

    let tool = |name: &str, arguments: &[&str]| {
        let output = Command::new(name).args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {message}");
        String::from_utf8(output.stdout).unwrap()
    };
    let source = tool("dtc", &["-q", "-I", "dtb", "-O", "dts", path]);
    let nodes = source.lines().filter(|line| line.ends_with('{')).count();
    let mut phandles: Vec<&str> =
        source.lines().filter_map(|line| line.trim().strip_prefix("phandle = ")).collect();
    assert_eq!(phandles.len(), nodes);
    phandles.sort_unstable();
    phandles.dedup();
    assert_eq!(phandles.len(), nodes, "a phandle is there twice");
    for name in [
        "ibm,processor-radix-AP-encodings",
        "ibm,associativity-reference-points",
        "ibm,dynamic-reconfiguration-memory",
    ] {
        assert!(source.contains(name), "{name}");
    }
    tool("fdtput", &["-t", "s", path, "/chosen", "appended", "in place"]);
    assert_eq!(tool("fdtget", &[path, "/chosen", "appended"]), "in place\n");
}

#[test]
#[cfg(feature = "vof")]
fn trace_file_must_be_writable() {
    refused(&["--kernel", "k", "--trace=/nonexistent/t"], &["/nonexistent/t", "trace"]);
}

#[test]
#[cfg(not(feature = "vof"))]
fn client_interface_has_to_be_built_in() {
    refused(&["--kernel", "k", "--machine", "x-vof=on"], &["x-vof", "cargo feature \"vof\""]);
}

/// The host is what cannot do it here, so that the status is 1.
#[test]
#[cfg(not(target_arch = "powerpc64"))]
fn other_hosts_are_told_what_is_missing() {
    let folder = Folder::new("other_hosts");
    let kernel = folder.file("kernel", &kernel(4096));
    let output = run(&["--kernel", &kernel, "--backend", "kvm"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for words in ["kvm", std::env::consts::ARCH, "POWER host"] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

/// A big-endian 64-bit program of one segment with that much memory: `b .`, then zeros.
fn kernel(bytes: u64) -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([0, 2, 0, 21, 0, 0, 0, 1]);
    elf.extend([0_u64, 64, 0].iter().flat_map(|word| word.to_be_bytes()));
    elf.extend([0, 0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0]);
    elf.extend([0, 0, 0, 1, 0, 0, 0, 7]);
    elf.extend([120, 0, 0, 256, bytes, 4].iter().flat_map(|word: &u64| word.to_be_bytes()));
    elf.extend([0x48, 0, 0, 0]);
    elf.resize(elf.len() + 252, 0);
    elf
}

/// The same bytes each time; they look like nothing.
fn random_bytes() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..100_000).map(|_| next()).collect()
}

#[test]
fn messages_name_the_machine() {
    let named = |name: &str| {
        let arguments = ["--kernel", "/nowhere/k", "--backend", "interp", "--name", name];
        let output = run(&arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, message) = named("web1@host-2");
    assert_eq!(status, Some(2));
    assert!(message.starts_with("pseries-vmm[web1@host-2]: cannot start: "), "{message}");
    for wrong in ["", "a b", "a]", "\u{1b}[2J"] {
        let (status, message) = named(wrong);
        assert_eq!(status, Some(2), "{message}");
        assert!(message.contains("a name has 1 to 64 letters"), "{message}");
    }
}
