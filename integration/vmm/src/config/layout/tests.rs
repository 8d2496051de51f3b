use std::path::Path;

use arch_ppc64::config::MachineConfig;
use arch_ppc64::topology::{MemoryKind, MemoryRange};
use arch_ppc64::{CpuIndex, Machine};

use super::super::{MemoryConfig, ZoneConfig};
use super::*;

const MIB: u64 = 1 << 20;

/// A machine of these zones, nodes and CPUs.
fn config(zones: &[&str], nodes: &[&str], cpus: &str) -> VmConfig {
    let mut config = VmConfig::default();
    super::super::flags::CpusFlag::parse(cpus).unwrap().apply(&mut config.cpus);
    if !zones.is_empty() {
        let zones = zones.iter().map(|text| ZoneConfig::parse(text).unwrap()).collect();
        config.memory = MemoryConfig { size: Size(0), zones, ..Default::default() };
    }
    config.numa = nodes.iter().map(|text| NumaConfig::parse(text).unwrap()).collect();
    config
}

fn refused(config: &VmConfig, words: &[&str]) {
    let said = config.check_layout().unwrap_err().to_string();
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
}

const ZONES: [&str; 2] = ["id=a,size=256M", "id=b,size=512M,hotplug_size=1G"];

#[test]
fn zones_are_ranges_of_the_nodes() {
    let nodes = [
        "guest_numa_id=0,cpus=[0-3],memory_zones=b,distances=[5@40]",
        "guest_numa_id=5,cpus=[4-7],memory_zones=a",
        "guest_numa_id=2,cpus=[8-11],distances=[5@30,2@10]",
    ];
    let config = config(&ZONES, &nodes, "boot=4,max=12,topology=4:3:1:1");
    config.check_layout().unwrap();
    let machine = Machine::new(&config).unwrap();
    let range = |start: u64, bytes: u64| MemoryRange::ram(GuestAddress(start * MIB), bytes * MIB);
    let hotplug = MemoryRange::hotplug(GuestAddress(768 * MIB), 1 << 30);
    let expected = [range(0, 256).on_node(NumaNode(5)), range(256, 512), hotplug];
    assert_eq!(machine.memory_map().ranges(), expected);
    let topology = machine.topology();
    assert_eq!((topology.threads_per_core(), topology.servers_per_core()), (4, 4));
    let nodes: Vec<_> = (0..12).map(|cpu| topology.node(CpuIndex(cpu)).0).collect();
    assert_eq!(nodes, [0, 0, 0, 0, 5, 5, 5, 5, 2, 2, 2, 2]);
    let between = |one, other| machine.numa_distances().between(NumaNode(one), NumaNode(other));
    assert_eq!((between(0, 5), between(5, 2), between(0, 2)), (40, 30, 20));
}

#[test]
fn memory_of_a_size_is_a_zone() {
    let nodes = ["guest_numa_id=3,cpus=[0,1],memory_zones=[mem0]"];
    let mut config = config(&[], &nodes, "boot=2");
    config.memory.hotplug_size = Size(256 << 20);
    config.check_layout().unwrap();
    let map = config.memory_map().unwrap();
    assert!(map.ranges().iter().all(|range| range.node == NumaNode(3)));
    let kinds: Vec<_> = map.ranges().iter().map(|range| range.kind).collect();
    assert_eq!(kinds, [MemoryKind::Ram, MemoryKind::Hotplug]);
    // Nor does it need nodes.
    VmConfig::default().check_layout().unwrap();
}

#[test]
fn backings_are_found_by_place() {
    let zones = ["id=a,size=256M,shared=on", "id=b,size=256M,hotplug_size=1G,prefault=on"];
    let backings: Vec<_> = config(&zones, &[], "boot=1").backings().collect();
    let (shared, early) = (Backing::default().shared(), Backing::default().with_prefault(true));
    let at = |mib: u64| GuestAddress(mib * MIB);
    assert_eq!(backings, [(at(0), shared), (at(256), early), (at(512), early)]);
}

#[test]
fn topologies_are_of_all_cpus() {
    let cpus = |text| config(&[], &[], text);
    cpus("boot=4,max=8,topology=2:4:1:1").check_layout().unwrap();
    cpus("boot=8,topology=2:1:2:2").check_layout().unwrap();
    refused(&cpus("boot=4,topology=2:4:1:1"), &["topology=2:4:1:1", "is 8", "max=4"]);
    refused(&cpus("boot=8,max=8,topology=65535:65535:65535:65535"), &["max=8", "product"]);
}

#[test]
fn zones_that_cannot_be_are_named() {
    let zones = |zones: &[&str]| config(zones, &[], "boot=1");
    let both = |size, hotplug_size| {
        let mut config = zones(&["id=a,size=1G"]);
        (config.memory.size, config.memory.hotplug_size) = (Size(size), Size(hotplug_size));
        config
    };
    refused(&both(1 << 30, 0), &["--memory size=1G", "--memory size=0"]);
    refused(&both(0, 1 << 30), &["hotplug_size=1G", "each zone has its own"]);
    refused(
        &zones(&["id=a,size=1G", "id=b,size=1G", "id=a,size=2G"]),
        &["--memory-zone id=a: the id a is that of --memory-zone id=a already"],
    );
    refused(&zones(&["id=a,size=1G", "id=b,size=0"]), &["id=b", "size=0", "hotplug_size"]);
    refused(
        &zones(&["id=a,size=1G,start=0", "id=b,size=1G,start=512M"]),
        &["id=b", "memory at 0x20000000", "id=a"],
    );
    refused(
        &zones(&["id=a,size=256M,start=2G", "id=b,size=4G,start=0"]),
        &["id=a", "memory at 0x80000000", "id=b"],
    );
    refused(&zones(&["id=a,size=1G", "id=b,size=1000"]), &["id=b", "size=1000", "of 64K"]);
    zones(&["id=a,size=64M", "id=b,size=64K"]).check_layout().unwrap();
    refused(
        &zones(&["id=a,size=64M", "id=b,size=256M,hotplug_size=256M"]),
        &["id=a", "size=64M", "of 256M", "can be plugged"],
    );
    refused(
        &zones(&["id=a,size=256M", "id=b,size=256M,start=320M,hotplug_size=256M"]),
        &["id=b", "start=320M", "of 256M"],
    );
    refused(&zones(&["id=a,size=256M,hotplug_size=64M"]), &["hotplug_size=64M", "of 256M"]);
    let huge = |zone: &str| zones(&[&format!("id=a,{zone}")]);
    refused(&huge("size=1G,hugepage_size=2M"), &["id=a", "hugepages=on"]);
    refused(&huge("size=1G,hugepages=on,hugepage_size=3M"), &["id=a", "3M", "power of two"]);
    refused(&huge("size=1G,hugepages=on,hugepage_size=0"), &["id=a", "power of two"]);
    refused(&huge("size=1088M,hugepages=on,hugepage_size=1G"), &["size=1088M", "multiple of 1G"]);
    refused(
        &huge("size=1G,hotplug_size=256M,hugepages=on,hugepage_size=1G"),
        &["hotplug_size=256M", "multiple of 1G"],
    );
    huge("size=1G,hotplug_size=1G,hugepages=on,hugepage_size=1G").check_layout().unwrap();
    // All zones have it from there.
    let mut all = huge("size=1G");
    all.memory.hugepage_size = Some(Size(2 << 20));
    refused(&all, &["id=a", "hugepages=on"]);
}

#[test]
fn nodes_that_cannot_be_are_named() {
    let nodes = |nodes: &[&str]| config(&ZONES, nodes, "boot=2,max=4,topology=2:2:1:1");
    let first = "guest_numa_id=0,cpus=[0,1],memory_zones=[a]";
    let second = "guest_numa_id=1,cpus=[2,3],memory_zones=[b]";
    nodes(&[first, second]).check_layout().unwrap();
    refused(
        &nodes(&[first, second, "guest_numa_id=1,cpus=[2]"]),
        &["--numa guest_numa_id=1: the number"],
    );
    refused(&nodes(&[first, second, "guest_numa_id=2"]), &["guest_numa_id=2", "neither cpus"]);
    refused(
        &nodes(&[first, "guest_numa_id=1,memory_zones=[c]"]),
        &["guest_numa_id=1", "no memory zone c", "a, b"],
    );
    refused(
        &nodes(&[first, "guest_numa_id=1,memory_zones=[b,a]"]),
        &["guest_numa_id=1", "memory zone a is that of --numa guest_numa_id=0"],
    );
    refused(&nodes(&[first]), &["--memory-zone id=b is in no NUMA node", "memory_zones"]);
    refused(
        &nodes(&[first, "guest_numa_id=1,memory_zones=[b],cpus=[2-4]"]),
        &["guest_numa_id=1", "no CPU 4", "the last is 3"],
    );
    refused(
        &nodes(&[first, "guest_numa_id=1,memory_zones=[b],cpus=[2]"]),
        &["CPU 3 is in no NUMA node", "cpus"],
    );
    refused(
        &nodes(&[first, "guest_numa_id=1,memory_zones=[b],cpus=[1-3]"]),
        &["guest_numa_id=1", "CPU 1 is that of --numa guest_numa_id=0"],
    );
    refused(
        &nodes(&[
            "guest_numa_id=0,cpus=[0-2],memory_zones=[a]",
            "guest_numa_id=1,cpus=[3],memory_zones=[b]",
        ]),
        &["guest_numa_id=1", "CPU 3", "CPU 2", "node 0", "2 threads"],
    );
    // Memory of several nodes is known to guests by blocks.
    let odd = config(
        &["id=a,size=320M", "id=b,size=256M"],
        &["guest_numa_id=0,cpus=0,memory_zones=a", "guest_numa_id=1,memory_zones=b"],
        "boot=1",
    );
    refused(&odd, &["id=a", "size=320M", "of 256M", "several NUMA nodes"]);
}

#[test]
fn distances_that_cannot_be_are_named() {
    let with = |first: &str, second: &str| {
        let first = format!("guest_numa_id=0,cpus=[0],memory_zones=[a],distances={first}");
        let second = format!("guest_numa_id=1,cpus=[1],memory_zones=[b],distances={second}");
        config(&ZONES, &[&first, &second], "boot=2")
    };
    with("[1@254]", "[0@254]").check_layout().unwrap();
    with("[0@10,1@11]", "[1@10]").check_layout().unwrap();
    refused(&with("[1@20]", "[0@30]"), &["node 1", "30", "20", "same both ways"]);
    refused(&with("[1@20,1@30]", "0@20"), &["30", "20"]);
    refused(&with("[2@20]", "[0@20]"), &["guest_numa_id=0", "distances=2@20", "no node 2"]);
    refused(&with("[1@10]", "[0@10]"), &["10", "11 to 254"]);
    refused(&with("[1@255]", "[0@255]"), &["255", "11 to 254"]);
    refused(&with("[0@20]", "[0@20]"), &["node 0", "from itself", "10"]);
}

/// What nobody has checked is no panic, whatever it is.
#[test]
fn unchecked_configurations_do_no_harm() {
    let all = r#"{
        "cpus": {"boot_vcpus": 4294967295, "max_vcpus": 4294967295, "topology": {
            "threads_per_core": 0, "cores_per_die": 0, "dies_per_package": 0, "packages": 0}},
        "memory": {"size": 1, "zones": [{"id": "a", "size": 18446744073709551615, "start": 65536}]},
        "numa": [{"guest_numa_id": 9, "cpus": [4294967295, 0], "memory_zones": ["x"],
            "distances": [{"destination": 9, "distance": 0}]}]
    }"#;
    let config = VmConfig::from_json(all.as_bytes(), Path::new("m.json")).unwrap();
    assert!(config.check_layout().is_err());
    assert!(Machine::new(&config).is_err());
    assert!(config.memory_map().is_err() && config.cpu_topology().is_err());
    assert!(config.numa_distances().is_err());
}
