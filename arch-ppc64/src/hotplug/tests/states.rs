//! Each transition of a connector, with the clause that has it.

use vm_memory::GuestAddress;

use super::guest::{ALLOCATION, BLOCK, Guest, ISOLATION, machine};
use super::*;
use crate::vcpu::CpuIndex;

const CORE: u32 = 0x1000_0002;
const LMB: u32 = 0x8000_0002;

fn core() -> Resource {
    Resource::core(CpuIndex(2))
}

fn block() -> Resource {
    Resource::memory(GuestAddress(BLOCK))
}

/// A guest that has been offered a core and a block.
fn offered() -> Guest {
    let guest = Guest::new();
    guest.make_cpu(CpuIndex(2));
    guest.hotplug.plug(core()).unwrap();
    guest.hotplug.plug(block()).unwrap();
    guest
}

/// One that has configured them.
fn configured() -> Guest {
    let guest = offered();
    for index in [CORE, LMB] {
        assert!(guest.acquire(index));
        guest.configure(index).unwrap();
    }
    guest.heard.take();
    guest
}

/// "No such sensor implemented" (§7.3.5.2).
#[test]
fn only_connectors_have_a_sensor() {
    let guest = Guest::new();
    for index in [0, 1, 0x1000_0004, 0x8000_0001, 0x8000_0008, 0x2000_0000, 0x9000_0002, u32::MAX] {
        assert_eq!(guest.call("get-sensor-state", &[9003, index], 2).0, -3, "{index:#x}");
        for (indicator, state) in [(ISOLATION, 0), (ISOLATION, 1), (ALLOCATION, 0), (ALLOCATION, 1)]
        {
            assert_eq!(guest.set(indicator, index, state), -3, "{index:#x}");
        }
        assert_eq!(guest.configure(index), Err(-3));
    }
    // The EPOW sensor, and others of connectors.
    for sensor in [0, 9, 9001, 9002, 9004, u32::MAX] {
        assert_eq!(guest.call("get-sensor-state", &[sensor, CORE], 2).0, -3);
    }
}

/// "For DR connectors of logical DR entities, the DR connector must be allocated to the OS to return
/// this value [1], otherwise a sensor value of 2 or 3 will be returned" (§13.5.3.3).
#[test]
fn what_is_not_allocated_is_unusable() {
    let guest = Guest::new();
    assert_eq!([guest.sense(0x1000_0000), guest.sense(CORE), guest.sense(LMB)], [1, 2, 2]);
    let guest = offered();
    assert_eq!([guest.sense(CORE), guest.sense(LMB)], [2, 2]);
    for index in [CORE, LMB] {
        assert_eq!(guest.set(ALLOCATION, index, 1), 0);
        assert_eq!(guest.sense(index), 1);
    }
}

/// "If the transition to the usable state is not possible the -3 […] status is returned"
/// (§13.5.3.4).
#[test]
fn what_is_not_there_cannot_be_allocated() {
    let guest = Guest::new();
    for index in [CORE, LMB] {
        assert_eq!(guest.set(ALLOCATION, index, 1), -3);
        // There is nothing to exchange or to recover.
        assert_eq!([2, 3, 4, u32::MAX].map(|state| guest.set(ALLOCATION, index, state)), [-3; 4]);
        assert_eq!(guest.sense(index), 2);
    }
    assert_eq!(guest.heard.take(), []);
}

/// "If the set-indicator index refers to a connector that would return a 'DR entity unusable' status
/// (2) […], the set-indicator RTAS return code must be 'No such indicator implemented' (-3), except in
/// response to a successful set-indicator allocation state usable" (R1-13.5.3.4-5).
#[test]
fn what_is_unusable_has_no_isolation_state() {
    for guest in [Guest::new(), offered()] {
        for index in [CORE, LMB] {
            assert_eq!([0, 1].map(|state| guest.set(ISOLATION, index, state)), [-3; 2]);
        }
    }
}

/// "A null transition (commanding that the new state be what it already is) always succeeds"
/// (§13.5.3.4).
#[test]
fn null_transitions_succeed() {
    let guest = offered();
    for index in [CORE, LMB] {
        assert_eq!([0, 0, 1, 1].map(|state| guest.set(ALLOCATION, index, state)), [0; 4]);
        assert_eq!([0, 0, 1, 1].map(|state| guest.set(ISOLATION, index, state)), [0; 4]);
        guest.configure(index).unwrap();
        assert_eq!((guest.set(ISOLATION, index, 1), guest.set(ALLOCATION, index, 1)), (0, 0));
    }
    assert_eq!(guest.heard.take(), [("taken", core()), ("taken", block())], "and say nothing");
}

/// §13.7.3.2: "the OS isolates the resource […]. Unless the isolated resource was the partition's last
/// processor, the OS deallocates the resource": in this order.
#[test]
fn what_is_not_isolated_cannot_be_given_up() {
    let guest = configured();
    for index in [CORE, LMB] {
        assert_eq!(guest.set(ALLOCATION, index, 0), -3);
        assert_eq!(guest.sense(index), 1);
        assert_eq!((guest.set(ISOLATION, index, 0), guest.set(ALLOCATION, index, 0)), (0, 0));
        assert_eq!(guest.sense(index), 2);
    }
    // Not configured yet either.
    let guest = offered();
    for index in [CORE, LMB] {
        assert!(guest.acquire(index));
        assert_eq!(guest.set(ALLOCATION, index, 0), -3);
    }
}

/// "Prior to issuing the RTAS set-indicator specifying isolate isolation-state of a CPU DR connector
/// type, all the CPU threads must be in the RTAS stopped state" (R1-13.7.4.1.1-1).
#[test]
fn core_that_runs_is_not_isolated() {
    let guest = configured();
    guest.start(CpuIndex(2));
    assert_eq!(guest.set(ISOLATION, CORE, 0), -9001);
    assert_eq!((guest.sense(CORE), guest.hotplug.state(core())), (1, Some(PlugState::InUse)));
    guest.cpus.stopped(CpuIndex(2));
    assert_eq!(guest.set(ISOLATION, CORE, 0), 0);
    // The last core of a machine runs the call.
    assert_eq!(guest.set(ISOLATION, 0x1000_0000, 0), -9001);
}

/// "Logical connectors do not have associated dr-indicators" (R1-13.7.4.2-1).
#[test]
fn connectors_have_no_other_indicators() {
    let guest = configured();
    for indicator in [0, 9, 9000, 9002, 9004, u32::MAX] {
        assert_eq!([0, 1, 2, 3].map(|state| guest.set(indicator, CORE, state)), [-3; 4]);
    }
    assert_eq!([2, 3, u32::MAX].map(|state| guest.set(ISOLATION, CORE, state)), [-3; 3]);
}

/// "-9003: Cannot configure - Logical DR connector unusable" on the first call (R1-13.7.4.3-2), and
/// what is isolated is complete at once (R1-13.7.4.3-1).
#[test]
fn only_what_is_unisolated_is_configured() {
    let guest = Guest::new();
    assert_eq!([CORE, LMB].map(|index| guest.configure(index).unwrap_err()), [-9003; 2]);
    let guest = offered();
    for index in [CORE, LMB] {
        assert_eq!(guest.configure(index), Err(-9003));
        guest.set(ALLOCATION, index, 1);
        assert_eq!(guest.configure(index).unwrap().name, "", "complete");
        assert_eq!(guest.heard.take(), []);
        guest.set(ISOLATION, index, 1);
        assert_ne!(guest.configure(index).unwrap().name, "");
        assert_eq!(guest.heard.take().len(), 1);
    }
}

/// "A subsequent sequence of calls […] will restart the configuration of devices which were not
/// completely configured" (§13.5.3.5): nothing changes before its end.
#[test]
fn configuring_can_begin_anew() {
    let guest = offered();
    assert!(guest.acquire(CORE));
    let ram = guest.ram();
    for calls in [1, 2, 10] {
        ram.write(GuestAddress(0x9000), &[&CORE.to_be_bytes()[..], &[0; 4092]].concat()).unwrap();
        for _ in 0..calls {
            assert!([2, 3].contains(&guest.status("ibm,configure-connector", &[0x9000, 0])));
        }
        assert_eq!(guest.hotplug.state(core()), Some(PlugState::Offered));
    }
    let told = guest.configure(CORE).unwrap();
    assert_eq!(guest.heard.take(), [("taken", core())]);
    // What is configured can be looked at again.
    assert_eq!(guest.configure(CORE).unwrap(), told);
    assert_eq!(guest.heard.take(), []);
}

/// "The OS may interleave calls to ibm,configure-connector for different dynamic reconfiguration
/// connectors" (§13.5.3.5).
#[test]
fn several_are_configured_at_once() {
    let guest = offered();
    let areas = [(CORE, 0x9000), (LMB, 0xa000)];
    for (index, area) in areas {
        assert!(guest.acquire(index));
        guest.ram().write(GuestAddress(area), &[0; 4096]).unwrap();
        guest.ram().write_be_u32(GuestAddress(area), index).unwrap();
    }
    let mut statuses = [vec![], vec![]];
    while statuses.iter().any(|told| told.last() != Some(&0)) {
        for (told, (_, area)) in statuses.iter_mut().zip(areas) {
            if told.last() != Some(&0) {
                told.push(guest.status("ibm,configure-connector", &[area as u32, 0]));
            }
        }
    }
    for told in statuses {
        let (ends, properties) = ([told[0], *told.last().unwrap()], &told[1..told.len() - 1]);
        assert_eq!(ends, [2, 0]);
        assert!(properties.iter().all(|&status| status == 3), "{told:?}");
    }
}

/// "Software will not call the set-power-level RTAS call with an invalid power domain number, and […]
/// -1 […] is considered invalid" (§13.5.2.5).
#[test]
fn there_is_no_power_domain() {
    let guest = configured();
    for domain in [0, 1, u32::MAX] {
        assert_eq!(guest.call("get-power-level", &[domain], 2).0, -3);
        assert_eq!(guest.call("set-power-level", &[domain, 0], 2), (-3, vec![0]));
    }
}

#[test]
fn vmm_is_told_what_it_cannot_do() {
    let guest = Guest::new();
    let hotplug = &guest.hotplug;
    let none = [
        Resource::memory(GuestAddress(0)),
        Resource::memory(GuestAddress(BLOCK + 4096)),
        Resource::memory(GuestAddress(BLOCK + (3 << 29))),
        Resource::memory(GuestAddress(u64::MAX)),
        Resource::core(CpuIndex(4)),
        Resource::core(CpuIndex(u32::MAX)),
    ];
    for resource in none {
        let error = PlugError::NoConnector { resource };
        assert_eq!((hotplug.plug(resource), hotplug.unplug(resource)), (Err(error), Err(error)));
        assert_eq!(hotplug.state(resource), None);
    }
    let resource = block();
    assert_eq!(hotplug.unplug(resource), Err(PlugError::NotPlugged { resource }));
    let resource = Resource::core(CpuIndex(1));
    assert_eq!(hotplug.plug(resource), Err(PlugError::InUse { resource }));
    assert_eq!((guest.lines.take(), guest.heard.take()), (0, vec![]));
    assert_eq!(hotplug.resources().len(), 4 + 6);
    assert!(hotplug.resources().is_sorted());
    let plugged: Vec<_> = hotplug.plugged().into_iter().collect();
    assert_eq!(plugged, [0, 1].map(|cpu| Resource::core(CpuIndex(cpu))));
    assert_eq!(Resource::core(CpuIndex(1)).to_string(), "the core of vcpu1");
    assert_eq!(block().to_string(), "the memory block at 0x20000000");
}

/// The threads of a core are one resource.
#[test]
fn second_thread_of_a_core_is_no_resource() {
    let guest = Guest::of_machine(&machine(4));
    let resource = Resource::core(CpuIndex(9));
    assert_eq!(guest.hotplug.plug(resource), Err(PlugError::NoConnector { resource }));
    assert_eq!(guest.hotplug.state(Resource::core(CpuIndex(8))), Some(PlugState::Absent));
}
