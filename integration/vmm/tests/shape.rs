//! CPUs, memory and NUMA nodes: what is said of those that cannot be, and what the tree says of those
//! that can.
#![cfg(feature = "vof")]

mod run;
#[path = "run/said.rs"]
mod said;

use std::fmt::Write;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use run::folder::Folder;
use run::{Run, program};
use said::{fails, refused};
use vof_device::DeviceTree;

/// A machine of two nodes.
const ZONES: [&str; 5] =
    ["--memory", "size=0", "--memory-zone", "id=a,size=512M", "id=b,size=256M,hotplug_size=512M"];
const NODES: [&str; 3] = [
    "--numa",
    "guest_numa_id=0,cpus=[0-3],memory_zones=[a],distances=[1@40]",
    "guest_numa_id=1,cpus=[4-7],memory_zones=[b]",
];
const CPUS: [&str; 2] = ["--cpus", "boot=4,max=8,topology=4:2:1:1"];

#[test]
fn cpus_are_checked() {
    let with = |cpus: &str, words: &[&str]| {
        refused(&["--kernel", "k", "--cpus", cpus], words);
    };
    with("boot=4,topology=2:4:1:1", &["topology=2:4:1:1", "is 8", "max=4"]);
    with("boot=6,max=6,topology=3:2:1:1", &["1, 2, 4 or 8 threads, not 3"]);
    with("boot=16,topology=16:1:1:1", &["1, 2, 4 or 8 threads, not 16"]);
    with("boot=2,max=8,topology=4:2:1:1", &["2 CPUs", "whole number of cores with 4 threads"]);
    with("boot=8,max=4,topology=4:1:1:1", &["at most 4", "8 at boot"]);
    with("boot=4096,topology=8:512:1:1", &["4096", "the most is 2048"]);
    with("boot=4,topology=0:1:1:1", &["topology=0:1:1:1", "from 1 to 65535"]);
    with("boot=4,topology=4:1:1", &["topology=4:1:1", "threads:cores:dies:packages"]);
}

#[test]
fn zones_are_checked() {
    let with = |zones: &[&str], words: &[&str]| {
        let memory = ["--kernel", "k", "--memory", "size=0", "--memory-zone"];
        refused(&[&memory, zones].concat(), words);
    };
    with(&["id=a,size=1G", "id=a,size=1G"], &["--memory-zone id=a", "id a is that of"]);
    with(&["id=a,size=1G", "id=b,size=1G,start=0"], &["id=b", "memory at 0x0", "id=a"]);
    with(&["id=a,size=1G,start=1G"], &["no RAM at 0"]);
    with(&["id=a,size=300M,hotplug_size=1G"], &["id=a", "size=300M", "256M", "can be plugged"]);
    with(&["id=a,size=1G,hotplug_size=300M"], &["id=a", "hotplug_size=300M", "256M"]);
    with(&["id=a,size=1G", "id=b,size=0"], &["id=b", "size=0", "hotplug_size"]);
    with(&["id=a,size=1G", "id=b,size=16T"], &["too large", "16 TiB"]);
    with(&["id=a,size=64M", "id=b,size=1G,hugepage_size=2M"], &["id=b", "hugepages=on"]);
    with(&["id=a,size=1G,hugepages=on,hugepage_size=3M"], &["id=a", "3M", "power of two"]);
    with(&["id=a,size=1G,host=1"], &["\"host\"", "prefault"]);
    let zone = ["--memory-zone", "id=a,size=1G"];
    refused(&[&["--kernel", "k"], &zone[..]].concat(), &["size=1G", "--memory size=0"]);
    let hotplug = ["--kernel", "k", "--memory", "size=0,hotplug_size=1G"];
    refused(&[&hotplug[..], &zone].concat(), &["hotplug_size=1G", "each zone has its own"]);
    refused(
        &["--kernel", "k", "--memory", "shared=off", "--fs", "tag=t,socket=s"],
        &["--fs tag=t", "--memory has shared=off"],
    );
}

#[test]
fn nodes_are_checked() {
    let with = |nodes: &[&str], words: &[&str]| {
        let shape = [&["--kernel", "k"], &ZONES[..], &CPUS, &["--numa"], nodes].concat();
        refused(&shape, words);
    };
    let (first, second) = (NODES[1], NODES[2]);
    with(&[first, second, "guest_numa_id=0,cpus=[5]"], &["guest_numa_id=0: the number is that"]);
    with(&[first, second, "guest_numa_id=3"], &["guest_numa_id=3", "neither cpus nor"]);
    with(&[first], &["--memory-zone id=b is in no NUMA node"]);
    with(&[first, "guest_numa_id=1,memory_zones=[b]"], &["CPU 4 is in no NUMA node"]);
    with(&[first, "guest_numa_id=1,memory_zones=[b,c]"], &["no memory zone c", "a, b"]);
    with(
        &[first, second, "guest_numa_id=2,memory_zones=a"],
        &["guest_numa_id=2", "zone a is that"],
    );
    with(&[first, second, "guest_numa_id=2,cpus=4"], &["guest_numa_id=2", "CPU 4 is that"]);
    with(&[first, "guest_numa_id=1,cpus=[4-8],memory_zones=b"], &["no CPU 8", "the last is 7"]);
    let split =
        ["guest_numa_id=0,cpus=[0-4],memory_zones=a", "guest_numa_id=1,cpus=[5-7],memory_zones=b"];
    with(&split, &["CPU 5", "the same core as CPU 4", "node 0", "4 threads"]);
    let far = |distances: &str| format!("{second},distances={distances}");
    with(&[first, &far("0@30")], &["30", "40", "same both ways"]);
    with(&[first, &far("7@30")], &["guest_numa_id=1", "distances=7@30", "no node 7"]);
    with(&[first, &far("0@9")], &["9", "11 to 254"]);
    with(&[first, &far("0@300")], &["distances=0@300", "11 to 254"]);
    with(&[first, &far("1@20")], &["from itself", "10"]);
    let odd = ["--memory-zone", "id=a,size=320M", "id=b,size=256M", "--memory", "size=0"];
    refused(
        &[&["--kernel", "k"], &odd[..], &CPUS, &NODES].concat(),
        &["id=a", "size=320M", "256M", "several NUMA nodes"],
    );
}

/// What the host has not is for the host to have, what it knows nothing of for the user.
#[test]
fn the_hosts_memory_is_checked() {
    let kernel = program("client64.elf");
    let with = |status: i32, memory: &str, words: &[&str]| {
        let kernel = ["--backend", "interp", "--kernel", kernel.to_str().unwrap()];
        fails(status, &[&kernel, &["--memory", memory][..]].concat(), words);
    };
    // No processor has pages of 8 TiB.
    let odd = "size=8T,hugepages=on,hugepage_size=8T";
    with(2, odd, &["hugepage_size=8T", "this host has"]);
    with(1, "size=8T,prefault=on", &["prefault=on takes 8T", "this host has"]);
    if let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") {
        for size in sizes {
            let name = size.unwrap().file_name().into_string().unwrap();
            let kib = name.strip_prefix("hugepages-").unwrap().strip_suffix("kB").unwrap();
            let needed = (8_u64 << 40 >> 10) / kib.parse::<u64>().unwrap();
            let memory = format!("size=8T,hugepages=on,hugepage_size={kib}K");
            with(1, &memory, &[&format!("takes {needed} huge pages"), "are free", &name]);
        }
    }
}

/// Limits of the process are told as what they are.
#[test]
fn limits_of_the_process_are_told() {
    for (limit, memory) in [
        (libc::RLIMIT_AS, "size=8T"),
        (libc::RLIMIT_AS, "size=8T,shared=on"),
        (libc::RLIMIT_FSIZE, "size=8T,shared=on"),
    ] {
        let mut vmm = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
        vmm.args(["--backend", "interp", "--memory", memory, "--kernel"]);
        vmm.arg(program("client64.elf")).stdin(Stdio::null());
        // SAFETY: between fork and exec, this makes one system call.
        unsafe {
            vmm.pre_exec(move || {
                let most = libc::rlimit { rlim_cur: 4 << 40, rlim_max: 4 << 40 };
                match libc::setrlimit(limit, &raw const most) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let output = vmm.output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{memory}: {message}");
        for words in ["cannot have 8T of memory", "ulimit -v", "overcommit_memory"] {
            assert!(message.contains(words), "{memory}: no {words:?} in {message}");
        }
    }
}

/// A tree that is read back.
struct Tree(DeviceTree);

impl Tree {
    fn of(arguments: &[&str], test: &str) -> Self {
        let folder = Folder::new(test);
        let path = folder.path("machine.dtb");
        let output = said::run(&[&["--dump-fdt", &path], arguments].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {message}");
        Self(DeviceTree::from_blob(&fs::read(path).unwrap()).unwrap())
    }

    fn bytes(&self, path: &str, name: &str) -> &[u8] {
        let node = self.0.find(path).unwrap_or_else(|| panic!("no {path}"));
        self.0.property(node, name).unwrap_or_else(|| panic!("no {name} of {path}"))
    }

    fn cells(&self, path: &str, name: &str) -> Vec<u32> {
        let cells = self.bytes(path, name).chunks_exact(4);
        cells.map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
    }
}

#[test]
fn the_tree_says_what_was_said() {
    let tree = Tree::of(&[&ZONES[..], &NODES, &CPUS].concat(), "shape_of_two_nodes");
    // A core at boot, of four threads; and the next would be that of the number 4.
    let core = "/cpus/PowerPC,POWER9@0";
    assert_eq!(tree.cells(core, "ibm,ppc-interrupt-server#s"), [0, 1, 2, 3]);
    assert_eq!(tree.cells(core, "ibm,associativity").iter().rev().nth(1), Some(&0));
    let memory = |at: u32| {
        let path = format!("/memory@{at:x}");
        let node = *tree.cells(&path, "ibm,associativity").last().unwrap();
        (tree.cells(&path, "reg"), node)
    };
    assert_eq!(memory(0), (vec![0, 0, 0, 512 << 20], 0));
    assert_eq!(memory(512 << 20), (vec![0, 512 << 20, 0, 256 << 20], 1));
    // Blocks of 256 MiB: two and one of the zones, two that can be plugged.
    let blocks = tree.cells("/ibm,dynamic-reconfiguration-memory", "ibm,dynamic-memory");
    let blocks: Vec<_> = blocks[1..].chunks_exact(6).map(|block| (block[1], block[4])).collect();
    let expected = [(0, 0), (256, 0), (512, 1), (768, 1), (1024, 1)];
    assert_eq!(blocks, expected.map(|(mib, node)| (mib << 20, node)));
    let table = tree.bytes("/rtas", "ibm,numa-distance-table");
    assert_eq!((&table[..4], &table[4..]), (&[0, 0, 0, 4][..], &[10, 40, 40, 10][..]));
    assert_eq!(tree.cells("/rtas", "ibm,numa-lookup-index-table"), [2, 0, 1]);
}

/// In a file it is the same.
#[test]
fn files_and_arguments_are_the_same_machine() {
    let folder = Folder::new("shape_in_a_file");
    let file = folder.path("numa.json");
    let text = r#"{
        "cpus": {"boot_vcpus": 4, "max_vcpus": 8, "topology":
            {"threads_per_core": 4, "cores_per_die": 2, "dies_per_package": 1, "packages": 1}},
        "memory": {"size": 0, "zones": [
            {"id": "a", "size": "512M"}, {"id": "b", "size": "256M", "hotplug_size": "512M"}
        ]},
        "numa": [
            {"guest_numa_id": 0, "cpus": [0, 1, 2, 3], "memory_zones": ["a"],
                "distances": [{"destination": 1, "distance": 40}]},
            {"guest_numa_id": 1, "cpus": [4, 5, 6, 7], "memory_zones": ["b"]}
        ]
    }"#;
    fs::write(&file, text).unwrap();
    let [one, other] = ["one.dtb", "other.dtb"].map(|name| folder.path(name));
    let config = ["--config", &file, "--dump-fdt", &one];
    let flags = [&ZONES[..], &NODES, &CPUS, &["--dump-fdt", &other]].concat();
    for arguments in [&config[..], &flags] {
        let output = said::run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(fs::read(one).unwrap() == fs::read(other).unwrap());
    // Flags are over it: a size is in place of zones, and then the nodes are of nothing.
    refused(&["--config", &file, "--memory", "size=1G"], &["no memory zone a", "there are mem0"]);
    let bad = text.replace("\"distance\": 40", "\"distance\": 400");
    fs::write(&file, bad).unwrap();
    refused(&["--config", &file], &["numa[0].distances[0].distance", "400"]);
}

/// As much as a machine can have: its tree is made without any of its memory.
#[test]
fn the_largest_machine_is_described() {
    let mut config = r#"{"cpus": {"boot_vcpus": 2048, "topology": {"threads_per_core": 8,
        "cores_per_die": 64, "dies_per_package": 2, "packages": 2}},
        "memory": {"size": 0, "zones": ["#
        .to_owned();
    let list = |count: u32, one: &dyn Fn(u32) -> String| -> String {
        (0..count).map(one).collect::<Vec<_>>().join(",")
    };
    config += &list(256, &|zone| format!(r#"{{"id": "z{zone}", "size": "64G"}}"#));
    config += r#"]}, "numa": ["#;
    config += &list(256, &|node| {
        let cpus = list(8, &|thread| (node * 8 + thread).to_string());
        let mut text =
            format!(r#"{{"guest_numa_id": {node}, "cpus": [{cpus}], "memory_zones": ["z{node}"]"#);
        let distance = r#"{"destination": 0, "distance": 80}"#;
        write!(text, r#", "distances": [{}]}}"#, if node == 255 { distance } else { "" }).unwrap();
        text
    });
    config += "]}";
    let folder = Folder::new("largest_config");
    let file = folder.path("largest.json");
    fs::write(&file, config).unwrap();
    let tree = Tree::of(&["--config", &file], "largest");
    assert_eq!(tree.0.children(tree.0.find("/cpus").unwrap()).count(), 256);
    let last = tree.cells("/cpus/PowerPC,POWER9@7f8", "ibm,ppc-interrupt-server#s");
    assert_eq!(last, (2040..2048).collect::<Vec<_>>());
    let memory = "/memory@ff000000000";
    assert_eq!(tree.cells(memory, "reg"), [0xff0, 0, 16, 0]);
    let table = tree.bytes("/rtas", "ibm,numa-distance-table");
    assert_eq!((table.len(), table[4 + 255], table[4 + 1], table[4]), (4 + 65536, 80, 20, 10));
}

/// Memory that is had in each way is loaded, run in, cleared and run in again.
#[test]
fn guests_run_in_every_kind_of_memory() {
    let (_, plain, _) = run::run("client64.elf", "restart", &[]);
    for memory in ["shared=on", "prefault=on", "shared=on,prefault=on"] {
        let memory = format!("size=64M,{memory}");
        let (status, shown, complaint) =
            run::run("client64.elf", "restart", &["--memory", &memory]);
        assert_eq!(status.code(), Some(0), "{memory}: {shown:?} {complaint}");
        assert_eq!(shown, plain, "{memory}");
    }
}

/// Nobody has to wait for memory who wants to leave.
#[test]
fn a_signal_ends_what_takes_memory() {
    let free = fs::read_to_string("/proc/meminfo").unwrap();
    let line = free.lines().find(|line| line.starts_with("MemAvailable")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    // Not all, as others work here; long enough for a signal to come before the end, most often.
    let mib = (kib >> 10).min(8 << 10) / 4;
    let memory = format!("size={mib}M,prefault=on");
    let run = Run::start("client64.elf", "power off", &["--memory", &memory]);
    run.wait_for_state("Name:\tpseries-vmm");
    std::thread::sleep(std::time::Duration::from_millis(20));
    run.send(libc::SIGINT);
    let (status, _, complaint) = run.end();
    // Before it was there, or as soon as it was; never with an error.
    use std::os::unix::process::ExitStatusExt;
    assert!(status.signal() == Some(libc::SIGINT) || status.code() == Some(0), "{complaint}");
    assert_eq!(complaint, "");
}
