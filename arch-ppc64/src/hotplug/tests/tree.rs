//! What the tree says of connectors and of what is there, and that a node that comes later is the
//! same.

use vm_memory::GuestAddress;

use super::guest::{BLOCK, Guest, machine};
use super::*;
use crate::cas;
use crate::fdt::{Start, Tree};
use crate::platform::{NoInterrupts, Platform, PlatformBuilder, outline};
use crate::vcpu::CpuIndex;

fn tree(platform: &Platform) -> Tree {
    platform.tree(&Start::new(GuestAddress(0x40_0000), [0; 32])).unwrap()
}

fn cells(value: &[u8]) -> Vec<u32> {
    value.chunks_exact(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
}

fn block(number: u64) -> Resource {
    Resource::memory(GuestAddress(BLOCK + number * MemoryBlock::BYTES))
}

/// "The first element of the array is the number of connectors" (§B.6, of each of the four).
#[test]
fn connectors_are_listed() {
    let guest = Guest::new();
    let tree = tree(&guest.platform);
    let lists = |path: &str| {
        let value = |name| tree.value(path, name).map(<[u8]>::to_vec);
        ["ibm,drc-indexes", "ibm,drc-power-domains", "ibm,drc-names", "ibm,drc-types"].map(value)
    };
    let [indexes, domains, names, types] = lists("/cpus").map(Option::unwrap);
    assert_eq!(cells(&indexes), [4, 0x1000_0000, 0x1000_0001, 0x1000_0002, 0x1000_0003]);
    assert_eq!(cells(&domains), [4, u32::MAX, u32::MAX, u32::MAX, u32::MAX]);
    assert_eq!(names, b"\0\0\0\x04CPU 0\0CPU 1\0CPU 2\0CPU 3\0");
    assert_eq!(types, b"\0\0\0\x04CPU\0CPU\0CPU\0CPU\0");
    let [indexes, domains, names, types] = lists("/").map(Option::unwrap);
    assert_eq!(cells(&indexes), [&[6][..], &[2, 3, 4, 5, 6, 7].map(|n| 0x8000_0000 | n)].concat());
    assert_eq!(cells(&domains)[1..], [u32::MAX; 6]);
    assert_eq!(names, b"\0\0\0\x06LMB 2\0LMB 3\0LMB 4\0LMB 5\0LMB 6\0LMB 7\0");
    assert_eq!(types, b"\0\0\0\x06MEM\0MEM\0MEM\0MEM\0MEM\0MEM\0");
    // Two cores are there, and say which connector is theirs.
    for (node, index) in [("/cpus/PowerPC,POWER9@0", 0), ("/cpus/PowerPC,POWER9@1", 1)] {
        let own = tree.value(node, "ibm,my-drc-index").unwrap();
        assert_eq!(cells(own), [0x1000_0000 | index]);
    }
    assert!(!tree.has("/cpus/PowerPC,POWER9@2"));
    let interrupts = tree.value("/event-sources/hot-plug-events", "interrupts").unwrap();
    assert_eq!(cells(interrupts), [0x1001, 0]);
    let ranges = tree.value("/event-sources", "interrupt-ranges").unwrap();
    assert_eq!(cells(ranges), [0x1000, 1, 0x1001, 1]);
    for name in ["get-sensor-state", "set-indicator", "ibm,configure-connector"] {
        assert!(tree.value("/rtas", name).is_some(), "{name}");
    }
}

/// A machine that nobody plugs anything into promises nothing of the kind, whatever room its
/// configuration leaves.
#[test]
fn machine_without_hotplug_has_no_connectors() {
    let machine = machine(1);
    let platform = PlatformBuilder::new(&machine, Arc::new(NoInterrupts)).build().unwrap();
    let tree = tree(&platform);
    for path in ["/", "/cpus"] {
        assert_eq!(tree.value(path, "ibm,drc-indexes"), None);
    }
    assert_eq!(tree.value("/cpus/PowerPC,POWER9@0", "ibm,my-drc-index"), None);
    assert!(!tree.has("/ibm,dynamic-reconfiguration-memory"));
    assert_eq!(tree.value("/rtas", "set-indicator"), None);
    // The end of memory, the size of a block, how many cores.
    let capacity = cells(tree.value("/rtas", "ibm,lrdr-capacity").unwrap());
    assert_eq!(capacity, [0, BLOCK as u32, 0, 256 << 20, 2]);
    let decision = cas::Decision::default_for(&cas::Platform::of(platform.machine()));
    assert!(!decision.hotplug_events && !decision.dynamic_memory);
    // With somebody who does it, there are. And none where there is nothing to be plugged.
    let outline = outline(&machine).unwrap();
    let tree = self::tree(&outline);
    assert!(tree.value("/", "ibm,drc-indexes").is_some());
    let capacity = cells(tree.value("/rtas", "ibm,lrdr-capacity").unwrap());
    assert_eq!(capacity, [0, 2 << 30, 0, 256 << 20, 4]);
    let decision = cas::Decision::default_for(&cas::Platform::of(outline.machine()));
    assert!(decision.hotplug_events && decision.dynamic_memory);
}

/// "All containing the properties as would be contained in those nodes had they been available at boot
/// time" (R1-13.7.4.3-3, -4): but for the phandle, which is new (§13.5.2.7).
#[test]
fn node_is_that_of_a_machine_that_starts_with_it() {
    for threads in [1, 8] {
        let machine = machine(threads);
        let guest = Guest::of_machine(&machine);
        let first = CpuIndex(2 * threads);
        for resource in [Resource::core(first), block(1), block(4)] {
            guest.hotplug.plug(resource).unwrap();
        }
        let later = machine.with_present(guest.hotplug.plugged()).unwrap();
        let later = tree(&outline(&later).unwrap());
        let indexes = [0x1000_0002, 0x8000_0003, 0x8000_0006];
        let told = indexes.map(|index| {
            assert!(guest.acquire(index));
            guest.configure(index).unwrap()
        });
        let node = format!("/cpus/{}", told[0].name);
        let expected: Vec<(String, Vec<u8>)> = later
            .properties_of(&node)
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .chain([("ibm,phandle".to_owned(), indexes[0].to_be_bytes().to_vec())])
            .collect();
        assert!(expected.len() > 20);
        assert_eq!(told[0].properties, expected);
        for (told, (index, start, node)) in told[1..]
            .iter()
            .zip([(indexes[1], BLOCK + (1 << 28), 1), (indexes[2], BLOCK + (1 << 30), 0)])
        {
            assert_eq!(told.name, format!("memory@{start:x}"));
            let own = |name: &str| told.value(name).map(cells);
            assert_eq!(told.value("device_type"), Some(&b"memory\0"[..]));
            assert_eq!(own("reg"), Some(vec![0, start as u32, 0, 256 << 20]));
            assert_eq!(own("ibm,associativity"), Some(vec![4, 0, 0, 0, node]));
            assert_eq!(own("ibm,my-drc-index"), Some(vec![index]));
            assert_eq!(own("ibm,phandle"), Some(vec![index]));
        }
    }
}

/// A core that comes after a guest has agreed on an older level is of that level.
#[test]
fn node_says_what_was_agreed_on() {
    let guest = Guest::new();
    guest.hotplug.plug(Resource::core(CpuIndex(3))).unwrap();
    assert!(guest.acquire(0x1000_0003));
    let version = |guest: &Guest| {
        cells(guest.configure(0x1000_0003).unwrap().value("cpu-version").unwrap())[0]
    };
    assert_eq!(version(&guest), 0x004e_1203);
    let mut decision = cas::Decision::default_for(&cas::Platform::of(guest.platform.machine()));
    decision.cpu_version = 0x0f00_0005;
    assert_eq!(guest.hotplug.cpus().negotiated(&decision), cas::Negotiated::Live);
    assert_eq!(version(&guest), 0x0f00_0005);
    // What the CPUs refuse is not agreed on.
    let refused = cas::Decision { is_lowered: true, cpu_version: 1, ..decision };
    assert_eq!(guest.hotplug.cpus().negotiated(&refused), cas::Negotiated::Refused);
    assert_eq!(version(&guest), 0x0f00_0005);
}

/// A restart finds what is plugged, and not what was given back from the middle.
#[test]
fn machine_starts_again_with_what_is_there() {
    let machine = machine(4);
    let present = [Resource::core(CpuIndex(4)), Resource::core(CpuIndex(12)), block(1), block(2)];
    let again = machine.clone().with_present(present).unwrap();
    assert_eq!(again.present().collect::<Vec<_>>(), present);
    assert_eq!(again.boot_cpus(), 8);
    let cpus: Vec<u32> = again.vcpus().map(|cpu| cpu.0).collect();
    assert_eq!(cpus, [4, 5, 6, 7, 12, 13, 14, 15]);
    assert_eq!(again.ram_bytes(), BLOCK + (512 << 20));
    assert!(again.has_room());
    let guest = Guest::of_machine(&again);
    assert_eq!(guest.hotplug.plugged().into_iter().collect::<Vec<_>>(), present);
    let tree = tree(&guest.platform);
    let cores = [0, 4, 8, 12].map(|server| tree.has(&format!("/cpus/PowerPC,POWER9@{server:x}")));
    assert_eq!(cores, [false, true, false, true]);
    let blob = tree.flatten(0).unwrap();
    assert_eq!(blob[28..32], 4u32.to_be_bytes(), "boot_cpuid_phys: the first that is there");
    // Sets of blocks: how many, address, connector, list, flags. RAM at boot first.
    let node = "/ibm,dynamic-reconfiguration-memory";
    let blocks = cells(tree.value(node, "ibm,dynamic-memory").unwrap());
    let flags: Vec<u32> = blocks[1..].chunks_exact(6).map(|block| block[5]).collect();
    assert_eq!(flags, [0xa0, 0xa0, 0, 0x108, 0x108, 0, 0, 0]);
    let decision = cas::Decision::default_for(&cas::Platform::of(&again));
    let changes = decision.changes(&cas::Platform::of(&again));
    let sets = changes.iter().find_map(|change| match change {
        cas::TreeChange::Set { name, value, .. } if name == "ibm,dynamic-memory-v2" => Some(value),
        _ => None,
    });
    let sets = cells(sets.unwrap());
    let short: Vec<_> = sets[1..].chunks_exact(6).map(|set| (set[0], set[3], set[5])).collect();
    let expected = [
        (2, 0, 0xa0),
        (1, 0x8000_0002, 0),
        (2, 0x8000_0003, 0x108),
        (1, 0x8000_0005, 0),
        (2, 0x8000_0006, 0),
    ];
    assert_eq!((sets[0], short), (5, expected.to_vec()));
    let mut tree = tree;
    tree.apply(&changes).unwrap();
    // Nothing that is not the machine's.
    let refused = |resources: &[Resource]| machine.clone().with_present(resources.to_vec());
    assert!(refused(&[block(0)]).is_err(), "no core");
    for resource in [
        Resource::core(CpuIndex(5)),
        Resource::core(CpuIndex(16)),
        Resource::memory(GuestAddress(0)),
        Resource::memory(GuestAddress(BLOCK + 1)),
    ] {
        let error = refused(&[Resource::core(CpuIndex(0)), resource]).unwrap_err();
        assert_eq!(error, crate::ConfigError::NotPluggable { resource });
    }
}
