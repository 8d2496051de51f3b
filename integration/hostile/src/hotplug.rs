//! Hotplug: a VMM that plugs and unplugs at any moment, and a guest that makes any RTAS calls about
//! connectors, beside a plain model of where each stands.

use std::sync::{Arc, Mutex};

use arch_ppc64::rtas::ERROR_LOG_BYTES_MAX;

use crate::Reach;
use crate::bus_machine::lock;
use crate::hotplug_machine::{
    BUFFER, CORES, FIRST_CORE, HostCpus, RAM_BYTES, THREADS, WORK_AREA_BYTES, World, is_slot,
    machine,
};
use crate::input::Input;

/// How many steps an input makes at most.
const STEPS_MAX: usize = 256;

const CALLS: [&str; 7] = [
    "get-sensor-state",
    "set-indicator",
    "ibm,configure-connector",
    "check-exception",
    "start-cpu",
    "get-power-level",
    "set-power-level",
];

const GOALS: [&str; 13] = [
    "an entity that is present",
    "an empty slot",
    "an entity that is unusable",
    "an isolated one",
    "a running core that is not isolated",
    "a node to its end",
    "an event",
    "a CPU that starts",
    "released",
    "kept",
    "taken",
    "returned",
    "a machine that was saved",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).to_vec()
}

fn reached(reach: &mut Reach, goal: &str) {
    reach.add(GOALS.iter().position(|known| *known == goal).expect("it is a goal"));
}

/// `data` is one step after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let cpus = HostCpus(Mutex::new((0..THREADS).map(|cpu| (cpu, cpu == 0)).collect()));
    let mut world = World::new(&machine(), Arc::new(cpus), &[0]);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            number @ 0..=6 => {
                let name = CALLS[usize::from(number)];
                guest(&mut world, name, &mut input, &mut reach);
            }
            // A node from its beginning to its end.
            7 => configure(&mut world, &mut input, &mut reach),
            8..=10 => world.host(true, input.byte().into()),
            11 | 12 => world.host(false, input.byte().into()),
            // A CPU stops itself, all but that which makes the calls.
            13 => {
                let cpu = 1 + u32::from(input.byte()) % (THREADS * CORES - 1);
                if let Some(runs) = lock(&world.cpus.0).get_mut(&cpu) {
                    *runs = false;
                }
            }
            14 => {
                let (place, len) = (input.number(RAM_BYTES), input.byte().into());
                world.ram.poke(place, input.bytes(len));
            }
            _ => {
                world = world.saved();
                reached(&mut reach, "a machine that was saved");
            }
        }
        world.check();
    }
    reach
}

/// One of the connectors, or some number.
fn index(input: &mut Input<'_>) -> u32 {
    let known = [
        0x1000_0000,
        0x1000_0001,
        0x1000_0002,
        0x8000_0001,
        0x8000_0002,
        0x8000_0003,
        0x4000_0000,
        0x4000_0001,
        0x4000_0002,
    ];
    match input.byte() {
        kind @ 0..=0xdf => known[usize::from(kind) % known.len()],
        _ => input.number(RAM_BYTES) as u32,
    }
}

/// A number that the call knows, or some other.
fn known(input: &mut Input<'_>, numbers: &[u32]) -> u32 {
    match input.byte() {
        kind @ 0..=0xdf => numbers[usize::from(kind) % numbers.len()],
        _ => input.number(RAM_BYTES) as u32,
    }
}

fn guest(world: &mut World, name: &str, input: &mut Input<'_>, reach: &mut Reach) {
    match name {
        "get-sensor-state" => {
            let (sensor, index) = (known(input, &[9003]), index(input));
            let (status, value) = world.call(name, &[sensor, index], None);
            match world.model.get(&index).filter(|_| sensor == 9003) {
                None => assert_eq!(status, -3),
                Some((_, connector)) if is_slot(index) && connector.stands == 0 => {
                    assert_eq!((status, value), (0, 0));
                    reached(reach, "an empty slot");
                }
                Some((_, connector)) if connector.stands < 2 => {
                    assert_eq!((status, value), (0, 2));
                    reached(reach, "an entity that is unusable");
                }
                Some(_) => {
                    assert_eq!((status, value), (0, 1));
                    reached(reach, "an entity that is present");
                }
            }
        }
        "set-indicator" => {
            let inputs = [known(input, &[9001, 9003, 9002]), index(input), known(input, &[0, 1])];
            let (status, _) = world.call(name, &inputs, None);
            let (expected, heard) = world.indicated(inputs);
            assert_eq!(status, expected, "{inputs:x?}");
            let told: Vec<_> = std::mem::take(&mut *lock(&world.heard.0));
            assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), Vec::from_iter(heard));
            world.took_away(&told);
            heard.into_iter().for_each(|heard| reached(reach, heard));
            match (inputs[0], inputs[2], status) {
                (9001, 0, 0) => reached(reach, "an isolated one"),
                (.., -9001) => reached(reach, "a running core that is not isolated"),
                _ => {}
            }
        }
        "ibm,configure-connector" => {
            let area = input.number(RAM_BYTES) as u32;
            let [index, _] = [0, 4].map(|at| world.ram.peek_cell(u64::from(area) + at));
            step(world, area, index, reach);
        }
        "check-exception" => {
            let classes = known(input, &[1 << 28, u32::MAX, 1 << 30]);
            let (at, length) = (input.number(RAM_BYTES) as u32, known(input, &[2048, 64, 7]));
            let bytes = u64::from(length).min(ERROR_LOG_BYTES_MAX.into());
            let before = *lock(&world.lines.0);
            let inputs = [0x500, 0, classes, 0, at, length];
            let (status, _) = world.call(name, &inputs, Some(at.into()..u64::from(at) + bytes));
            let mut waiting: Vec<u32> = world.model.keys().copied().collect();
            waiting.retain(|index| world.model[index].1.event != 0);
            if waiting.is_empty() || classes & 1 << 28 == 0 {
                assert_eq!(status, 1);
                return;
            }
            if status != 0 {
                assert_eq!(status, -3);
                return;
            }
            reached(reach, "an event");
            let first = waiting[0];
            let event = world.model[&first].1.event;
            // Blocks that follow each other are one event where they come.
            let run = waiting.iter().zip(first..).take_while(|&(&index, expected)| {
                index == expected && world.model[&index].1.event == event
            });
            let count = if event == 1 && first >> 28 == 8 { run.count() } else { 1 };
            for index in &waiting[..count] {
                world.model.get_mut(index).expect("it is there").1.event = 0;
            }
            let more = u32::from(waiting.len() > count);
            assert_eq!(*lock(&world.lines.0) - before, more, "as many interrupts as events");
        }
        "start-cpu" => {
            let server = known(input, &[0, 1, 2, 4, 5, 8, 9]);
            let (status, _) = world.call(name, &[server, 0x100, 0], None);
            let (core, thread) = (server / 4, server % 4);
            let connector = world.model.get(&(FIRST_CORE + core)).filter(|_| core < CORES);
            let is_there = thread < THREADS && connector.is_some_and(|it| it.1.stands == 4);
            assert!(is_there || status == -3, "{server}: {status}");
            assert!([0, -1].contains(&status) || !is_there, "{server}: {status}");
            if status == 0 {
                reached(reach, "a CPU that starts");
            }
        }
        "get-power-level" | "set-power-level" => {
            let domain = known(input, &[0, 2, 31, 32, !0]);
            let inputs = [domain, known(input, &[0, 100])];
            let count = if name == "get-power-level" { 1 } else { 2 };
            // Each slot is a domain, which is always on.
            let expected = if domain < 32 { (0, 100) } else { (-3, 0) };
            assert_eq!(world.call(name, &inputs[..count], None), expected, "{domain}");
        }
        other => unreachable!("{other} is no call of these"),
    }
}

/// One call for the connector that a work area names; gives its status.
fn step(world: &mut World, area: u32, index: u32, reach: &mut Reach) -> i32 {
    let name = "ibm,configure-connector";
    let at = u64::from(area);
    // Where it lies over the arguments, what it names is what is there by then.
    let overlaps = at < BUFFER + 64 && BUFFER < at + WORK_AREA_BYTES;
    let (status, _) = world.call(name, &[area, 0], Some(at..at + WORK_AREA_BYTES));
    assert!([0, 2, 3, -3, -9003].contains(&status), "{status}");
    let told: Vec<_> = std::mem::take(&mut *lock(&world.heard.0));
    for (what, resource) in &told {
        assert_eq!((*what, status), ("taken", 0));
        let taken = world.model.values_mut().find(|(known, _)| known == resource);
        let connector = &mut taken.expect("it has a connector").1;
        assert_eq!(std::mem::replace(&mut connector.stands, 4), 3);
        reached(reach, "taken");
    }
    let is_ram = at + WORK_AREA_BYTES <= RAM_BYTES;
    match world.model.get(&index) {
        _ if overlaps => {}
        Some((_, connector)) if is_ram && connector.stands < 2 => assert_eq!(status, -9003),
        Some((_, connector)) if is_ram && connector.stands == 2 => assert_eq!(status, 0),
        Some(_) if is_ram => {}
        _ => assert_eq!(status, -3),
    }
    status
}

fn configure(world: &mut World, input: &mut Input<'_>, reach: &mut Reach) {
    let (area, index) = (0x8000, index(input));
    world.ram.poke_cells(area.into(), &[index, 0]);
    let mut properties = 0;
    loop {
        match step(world, area, index, reach) {
            2 => assert_eq!(properties, 0),
            3 => properties += 1,
            0 if properties > 0 => {
                reached(reach, "a node to its end");
                return;
            }
            _ => return,
        }
        assert!(properties < 64, "it has no end");
    }
}
