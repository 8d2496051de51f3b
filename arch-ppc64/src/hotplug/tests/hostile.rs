//! Whatever a guest passes, and whatever the VMM does meanwhile: an answer, no panic, and a state that
//! holds together.

use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::guest::{AREA, BLOCK, Guest, RAM_BYTES};
use super::slots::{LiveBus, machine_with_slots};
use super::*;
use crate::pci::tests::{block, network};
use crate::vcpu::CpuIndex;

/// Connectors of the machine, and others.
fn index() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => prop::sample::select(vec![
            0x1000_0000, 0x1000_0001, 0x1000_0002, 0x1000_0003, 0x8000_0002, 0x8000_0003, 0x8000_0007,
            0x4000_0000, 0x4000_0001, 0x4000_001f,
        ]),
        1 => prop::sample::select(vec![0x1000_0004, 0x8000_0001, 0x8000_0008, 0x2000_0000, 0x4000_0020, 0]),
        1 => any::<u32>(),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Sensor(u32, u32),
    Power(u32, u32),
    Indicator(u32, u32, u32),
    Configure(u32),
    Area { at: u32, index: u32, told: u32 },
    Check(u32, u32, u32),
    Stop(u32),
    Start(u32),
    Plug(usize),
    Unplug(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let odd = |usual: Vec<u32>| prop_oneof![8 => prop::sample::select(usual), 1 => any::<u32>()];
    let end = RAM_BYTES as u32;
    prop_oneof![
        (odd(vec![9003]), index()).prop_map(|(sensor, index)| Step::Sensor(sensor, index)),
        (odd(vec![9001, 9002, 9003]), index(), odd(vec![0, 1]))
            .prop_map(|(indicator, index, state)| Step::Indicator(indicator, index, state)),
        index().prop_map(Step::Configure),
        (
            odd(vec![AREA, AREA + 2, 0x1000, end - 4096, end - 4095, end]),
            index(),
            odd(vec![0, 1, 7, 40])
        )
            .prop_map(|(at, index, told)| Step::Area { at, index, told }),
        (odd(vec![1 << 28, u32::MAX]), odd(vec![AREA, end - 64]), odd(vec![2048, 64, 7]))
            .prop_map(|(classes, at, length)| Step::Check(classes, at, length)),
        (0..5u32).prop_map(Step::Stop),
        (0..5u32).prop_map(Step::Start),
        (0..13usize).prop_map(Step::Plug),
        (0..13usize).prop_map(Step::Unplug),
        (odd(vec![0, 1, 31]), any::<u32>()).prop_map(|(domain, level)| Step::Power(domain, level)),
    ]
}

/// All but most of the slots.
fn resources(guest: &Guest) -> Vec<Resource> {
    let mut resources = guest.hotplug.resources();
    resources.retain(|one| !matches!(one, Resource::Slot(slot) if (2..31).contains(&slot.device)));
    resources
}

/// What a VMM keeps in mind of its resources, by what it hears.
fn take(guest: &Guest, bus: &LiveBus, resources: &[Resource], there: &mut [bool]) {
    for (what, resource) in guest.heard.take() {
        let number = resources.iter().position(|&known| known == resource).unwrap();
        assert!(there[number], "{what} {resource}, which is not plugged");
        if what == "released" {
            there[number] = false;
            if let Resource::Core(cpu) = resource {
                // It was stopped, as the guest could not have isolated it otherwise.
                assert_ne!(guest.cpus.run_state(cpu), Some(crate::smp::RunState::Running));
                assert!(guest.cpus.remove(cpu));
            }
            if let Resource::Slot(slot) = resource {
                guest.bridge.as_ref().unwrap().remove(slot.device);
                bus.change(|bus| bus.without(slot.device));
            }
        }
    }
}

fn make(guest: &Guest, bus: &LiveBus, resources: &[Resource], there: &mut [bool], step: Step) {
    match step {
        Step::Sensor(sensor, index) => {
            let (status, value) = guest.call("get-sensor-state", &[sensor, index], 2);
            assert!(matches!((status, value[0]), (-3, 0) | (0, 0..=2)));
        }
        Step::Power(domain, level) => {
            let (status, value) = guest.call("set-power-level", &[domain, level], 2);
            assert!(matches!((status, value[0]), (-3, 0) | (0, 100)));
        }
        Step::Indicator(indicator, index, state) => {
            assert!([0, -3, -9001].contains(&guest.set(indicator, index, state)));
        }
        Step::Configure(index) => match guest.configure(index) {
            Ok(_) => {}
            Err(status) => assert!([-3, -9003].contains(&status)),
        },
        Step::Area { at, index, told } => {
            for (cell, offset) in [index, told].into_iter().zip([0, 4]) {
                let _ = guest.ram().write_be_u32(GuestAddress(u64::from(at) + offset), cell);
            }
            // The argument buffer may be in the work area, and is then overwritten.
            let (status, _) = guest.call("ibm,configure-connector", &[at, 0], 1);
            assert!([0, 2, 3, -3, -9003].contains(&status), "{status}");
        }
        Step::Check(classes, at, length) => {
            let inputs = [0x500, 0x1001, classes, 0, at, length];
            assert!([0, 1, -3].contains(&guest.status("check-exception", &inputs)));
        }
        Step::Stop(cpu) => {
            // CPU 0 makes the calls.
            if cpu > 0 && guest.state_of(CpuIndex(cpu)).is_some() {
                guest.cpus.stopped(CpuIndex(cpu));
            }
        }
        Step::Start(cpu) => {
            let (status, _) = guest.call("start-cpu", &[cpu, 0x100, 0], 1);
            if status == 0 {
                guest.start(CpuIndex(cpu));
            }
        }
        Step::Plug(number) => {
            let resource = resources[number];
            if !there[number] {
                there[number] = true;
                if let Resource::Core(cpu) = resource {
                    guest.make_cpu(cpu);
                }
                if let Resource::Slot(slot) = resource {
                    bus.change(|bus| bus.with(slot.device, 0, block()));
                    guest.bridge.as_ref().unwrap().add(slot.device).unwrap();
                }
                assert_eq!(guest.hotplug.plug(resource), Ok(()));
            } else {
                let _ = guest.hotplug.plug(resource);
            }
        }
        Step::Unplug(number) => {
            let unplugged = guest.hotplug.unplug(resources[number]);
            assert_eq!(unplugged.is_ok(), there[number]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_calls_are_answered(steps in prop::collection::vec(step(), 1..120)) {
        let bus = Arc::new(LiveBus::default());
        bus.change(|bus| bus.with(1, 0, network()));
        let guest = Guest::with_bus(&machine_with_slots(true), Some(bus.clone()));
        let resources = resources(&guest);
        let mut there: Vec<bool> = resources
            .iter()
            .map(|&resource| guest.hotplug.state(resource) != Some(PlugState::Absent))
            .collect();
        for step in steps {
            make(&guest, &bus, &resources, &mut there, step);
            take(&guest, &bus, &resources, &mut there);
            let plugged: Vec<Resource> =
                resources.iter().zip(&there).filter(|(_, there)| **there).map(|(r, _)| *r).collect();
            prop_assert_eq!(&guest.hotplug.plugged().into_iter().collect::<Vec<_>>(), &plugged);
            // Whoever makes the call has a core.
            prop_assert!(there[0]);
            for cpu in (0..5).map(CpuIndex) {
                // What the guest can see of a CPU is one that it has configured.
                let state = guest.hotplug.state(Resource::core(cpu));
                let can_be = matches!(state, Some(PlugState::InUse | PlugState::AskedBack));
                prop_assert!(can_be || guest.state_of(cpu).is_none());
            }
        }
        // Whatever it was, it can be saved, and goes on from there.
        #[cfg(feature = "serde")]
        {
            use crate::platform::SaveState;
            let saved = guest.hotplug.save().unwrap();
            let machine = machine_with_slots(true).with_present(guest.hotplug.plugged()).unwrap();
            let other = Guest::with_bus(&machine, Some(bus));
            other.hotplug.restore(1, &saved).unwrap();
            prop_assert_eq!(other.hotplug.save().unwrap(), saved);
        }
    }
}

/// A work area that overlaps with the buffer of the call: what is written last is the status.
#[test]
fn work_area_may_be_anywhere() {
    let guest = Guest::new();
    guest.hotplug.plug(Resource::memory(GuestAddress(BLOCK))).unwrap();
    assert!(guest.acquire(0x8000_0002));
    let end = RAM_BYTES as u32;
    for at in [end - 4095, end - 8, end, u32::MAX - 4, u32::MAX] {
        assert_eq!(guest.status("ibm,configure-connector", &[at, 0]), -3, "{at:#x}");
    }
    guest.ram().write_be_u32(GuestAddress(0x0f00), 0x8000_0002).unwrap();
    assert_eq!(guest.status("ibm,configure-connector", &[0x0f00, 0]), 2);
    let place = u64::from(end - 4096);
    guest.ram().write_be_u32(GuestAddress(place), 0x8000_0002).unwrap();
    assert_eq!(guest.status("ibm,configure-connector", &[end - 4096, u32::MAX]), 2);
    // "The work area must be returned unmodified": one that was not is refused, or begins anew.
    for told in [8, 9, u32::MAX] {
        guest.ram().write_be_u32(GuestAddress(place + 4), told).unwrap();
        assert_eq!(guest.status("ibm,configure-connector", &[end - 4096, 0]), -3);
    }
    assert_eq!(guest.heard.take(), []);
}
