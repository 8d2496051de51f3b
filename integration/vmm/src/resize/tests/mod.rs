//! Machines that are made larger and smaller, with guests that do their part, or do not.

mod devices;
mod guest;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::hotplug::{Hotplug, Resource};
use arch_ppc64::smp::RunState;
use arch_ppc64::topology::{CpuTopology, CpuTopologyError};
use arch_ppc64::{CpuIndex, GuestRam, Machine};
use vm_memory::GuestAddress;

use super::*;
use guest::{ALLOCATION_STATE, BLOCK, CORE, Guest};

/// What hangs is ended so late.
const HANGS: Duration = Duration::from_secs(600);
const MIB: u64 = 1 << 20;
const LMB: u64 = 256 * MIB;

/// Two of at most four CPUs, and 256 MiB of at most 1.25 GiB.
const ROOM: &str = r#"{
    "cpus": { "boot_vcpus": 2, "max_vcpus": 4 },
    "memory": { "size": "256M", "hotplug_size": "1G" }
}"#;

fn cpus(info: Info) -> [u64; 4] {
    [info.cpus.present, info.cpus.coming, info.cpus.going, info.cpus.refused]
}

fn blocks(info: Info) -> [u64; 4] {
    let amount = info.memory;
    [amount.present, amount.coming, amount.going, amount.refused].map(|bytes| bytes / LMB)
}

fn message(result: Result<Info, ResizeError>) -> String {
    let error = result.unwrap_err();
    assert!(error.is_the_users(), "{error}");
    error.to_string()
}

#[test]
fn cpus_and_memory_come_and_go_ten_times() {
    let guest = Guest::new(ROOM);
    let info = guest.control.info().unwrap();
    assert_eq!((cpus(info), info.cpus.max), ([2, 0, 0, 0], 4));
    assert_eq!((blocks(info), info.memory.max), ([1, 0, 0, 0], 5 * LMB));
    for round in 0..10 {
        let info = guest.control.resize(Some(4), Some(5 * LMB)).unwrap();
        assert_eq!((cpus(info), blocks(info)), ([2, 2, 0, 0], [1, 4, 0, 0]));
        let made = guest.vm.take();
        let cpu = if round == 0 { "create" } else { "reset" };
        let blocks_added = (1..5).map(|lmb| format!("add 256 MiB at {} MiB", lmb * 256));
        let expected: Vec<_> = [format!("{cpu} vcpu2"), format!("{cpu} vcpu3")]
            .into_iter()
            .chain(blocks_added)
            .collect();
        assert_eq!(made, expected, "round {round}");
        let info = guest.settled();
        assert_eq!((cpus(info), blocks(info)), ([4, 0, 0, 0], [5, 0, 0, 0]));
        // The guest uses them: a CPU can be started, and memory is zero.
        let (status, _) = guest.rtas("start-cpu", &[3, 0x5000, 7], 1);
        assert_eq!(status, 0);
        let mut buf = [1; 8];
        guest.ram.read(GuestAddress(4 * LMB), &mut buf).unwrap();
        assert_eq!(buf, [0; 8]);
        guest.ram.write(GuestAddress(5 * LMB - 8), &[7; 8]).unwrap();
        while guest.vm.take().is_empty() {
            std::thread::yield_now();
        }
        // It stops itself.
        guest.mailboxes.stopped(CpuIndex(3));

        let info = guest.control.resize(Some(2), Some(LMB)).unwrap();
        assert_eq!((cpus(info), blocks(info)), ([4, 0, 2, 0], [5, 0, 4, 0]));
        let info = guest.settled();
        assert_eq!((cpus(info), blocks(info)), ([2, 0, 0, 0], [1, 0, 0, 0]));
        let mut gone = guest.vm.take();
        gone.sort();
        assert_eq!(gone, ["remove 1024 MiB", "remove 256 MiB", "remove 512 MiB", "remove 768 MiB"]);
        assert!(guest.ram.check_ram(GuestAddress(LMB), 1).is_err());
        assert_eq!(guest.mailboxes.count(), 2);
        let (status, _) = guest.rtas("start-cpu", &[3, 0x5000, 7], 1);
        assert_ne!(status, 0);
    }
}

/// One of three cores of two threads.
struct Threads;

impl MachineConfig for Threads {
    fn memory(&self) -> Memory {
        Memory::of_size(64 << 20)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(2, Default::default()).with_max(6)
    }

    fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
        CpuTopology::new(6).with_threads(2, 2)
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

#[test]
fn cores_are_plugged_with_all_their_threads() {
    let guest = Guest::of(Machine::new(&Threads).unwrap(), Control::new(), None);
    guest.control.resize(Some(6), None).unwrap();
    assert_eq!(guest.vm.take(), [2, 3, 4, 5].map(|cpu| format!("create vcpu{cpu}")));
    assert_eq!(cpus(guest.settled()), [6, 0, 0, 0]);
    guest.control.resize(Some(4), None).unwrap();
    assert_eq!(cpus(guest.settled()), [4, 0, 0, 0]);
    assert_eq!(guest.mailboxes.count(), 4);
    let said = message(guest.control.resize(Some(3), None));
    assert!(said.starts_with("3 CPUs") && said.contains("2 threads"), "{said}");
    let said = message(guest.control.resize(Some(0), None));
    assert!(said.contains("at least 2 CPUs, not 0"), "{said}");
}

#[test]
fn what_cannot_be_is_told_with_what_can() {
    let guest = Guest::new(ROOM);
    let control = &guest.control;
    for (cpus, memory, parts) in [
        (Some(5), None, ["5", "at most 4 CPUs"]),
        (Some(u32::MAX), None, ["4294967295", "at most 4 CPUs"]),
        (Some(0), None, ["0", "at least 1 CPUs"]),
        (None, Some(6 * LMB), ["1610612736", "at most 1342177280 bytes"]),
        (None, Some(u64::MAX), ["18446744073709551615", "at most 1342177280 bytes"]),
        (None, Some(0), ["not 0", "at least the 268435456 bytes"]),
        (None, Some(LMB - 1), ["268435455", "at least the 268435456 bytes"]),
        (None, Some(LMB + MIB), ["269484032", "256 MiB"]),
        // Nothing is done of the other one.
        (Some(4), Some(LMB + MIB), ["269484032", "256 MiB"]),
    ] {
        let said = message(control.resize(cpus, memory));
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    assert_eq!(guest.vm.take(), [""; 0]);
    assert!(guest.event().is_none());
    let info = control.resize(None, None).unwrap();
    assert_eq!((cpus(info), blocks(info)), ([2, 0, 0, 0], [1, 0, 0, 0]));
}

#[test]
fn a_machine_without_room_says_so() {
    let guest = Guest::new(r#"{ "cpus": { "boot_vcpus": 2 }, "memory": { "size": "64M" } }"#);
    let info = guest.control.info().unwrap();
    assert_eq!((info.cpus.present, info.cpus.max, info.memory.present), (2, 2, 64 * MIB));
    let said = message(guest.control.resize(Some(1), None));
    assert!(said.contains("hotplug_size="), "{said}");
    assert_eq!(guest.control.wait(HANGS).unwrap(), info);
}

#[test]
fn a_guest_that_does_nothing_holds_up_nothing() {
    let guest = Guest::new(ROOM);
    let control = &guest.control;
    control.resize(Some(4), Some(2 * LMB)).unwrap();
    let info = control.wait(Duration::from_millis(1)).unwrap();
    assert_eq!((cpus(info), blocks(info)), ([2, 2, 0, 0], [1, 1, 0, 0]));
    // It cannot use what it has not taken.
    let (status, _) = guest.rtas("start-cpu", &[2, 0x5000, 7], 1);
    assert_ne!(status, 0);
    // Other requests are done: what was not taken is taken away at once.
    let info = control.resize(Some(3), Some(LMB)).unwrap();
    assert_eq!((cpus(info), blocks(info)), ([2, 1, 0, 0], [1, 0, 0, 0]));
    let info = control.resize(Some(2), None).unwrap();
    assert_eq!(cpus(info), [2, 0, 0, 0]);
    control.wait(HANGS).unwrap();
    assert_eq!(guest.mailboxes.count(), 2);
    // So are those of one that does not give back.
    control.resize(Some(4), None).unwrap();
    guest.settled();
    control.resize(Some(1), None).unwrap();
    assert_eq!(cpus(control.wait(Duration::from_millis(1)).unwrap()), [4, 0, 3, 0]);
    // What is still wanted is no longer asked for.
    assert_eq!(cpus(control.resize(Some(3), None).unwrap()), [4, 0, 1, 0]);
    assert_eq!(cpus(control.resize(Some(4), None).unwrap()), [4, 0, 0, 0]);
    assert_eq!(cpus(guest.settled()), [4, 0, 0, 0]);
    // It is told again when somebody asks again.
    control.resize(Some(3), None).unwrap();
    assert_eq!(guest.event(), Some((false, CORE | 3..CORE + 4)));
    control.resize(Some(3), None).unwrap();
    assert!(matches!(guest.event(), Some((false, _))));
}

#[test]
fn a_core_that_is_kept_is_replaced_by_another() {
    let mut guest = Guest::new(ROOM);
    guest.control.resize(Some(4), None).unwrap();
    guest.settled();
    guest.keeps = BTreeSet::from([CORE | 3]);
    guest.control.resize(Some(3), None).unwrap();
    assert_eq!(cpus(guest.settled()), [3, 0, 0, 1]);
    let present = guest.hotplug.as_ref().unwrap().plugged();
    let cores: Vec<_> = present.into_iter().map(|resource| resource.to_string()).collect();
    assert_eq!(cores, [0, 1, 3].map(|cpu| format!("the core of vcpu{cpu}")));
    // There is no other: the first stays. Nobody is asked for ever.
    guest.keeps = BTreeSet::from([CORE | 3, CORE | 1]);
    guest.control.resize(Some(1), None).unwrap();
    assert_eq!(cpus(guest.settled()), [3, 0, 0, 2]);
    // What it gives up later counts.
    guest.keeps.clear();
    guest.control.resize(Some(1), None).unwrap();
    assert_eq!(cpus(guest.settled()), [1, 0, 0, 0]);
    // The gap is filled from below.
    guest.vm.take();
    guest.control.resize(Some(2), None).unwrap();
    assert_eq!(guest.vm.take(), ["reset vcpu1"]);
}

/// Linux says nothing of memory that it cannot free.
#[test]
fn who_asks_again_for_memory_gets_other_blocks() {
    let mut guest = Guest::new(ROOM);
    let control = guest.control.clone();
    control.resize(None, Some(5 * LMB)).unwrap();
    guest.settled();
    guest.keeps = BTreeSet::from([BLOCK | 4, BLOCK | 2]);
    guest.is_silent = true;
    control.resize(None, Some(3 * LMB)).unwrap();
    guest.obey();
    let kept = control.wait_until(HANGS, |info| info.memory.going == LMB).unwrap();
    assert_eq!(blocks(kept), [4, 0, 1, 0]);
    control.resize(None, Some(3 * LMB)).unwrap();
    guest.obey();
    // That one is kept, too.
    let info = control.wait(Duration::from_millis(10)).unwrap();
    assert_eq!(blocks(info), [4, 0, 1, 0]);
    control.resize(None, Some(3 * LMB)).unwrap();
    assert_eq!(blocks(guest.settled()), [3, 0, 0, 0]);
    guest.vm.take();
    // The guest has freed them.
    guest.keeps.clear();
    control.resize(None, Some(LMB)).unwrap();
    assert_eq!(blocks(guest.settled()), [1, 0, 0, 0]);
    assert_eq!(guest.vm.take().len(), 2);
}

#[test]
fn what_a_guest_gives_back_by_itself_can_be_taken_again() {
    let guest = Guest::new(ROOM);
    guest.control.resize(Some(3), None).unwrap();
    guest.settled();
    // Its administrator does it by hand.
    guest.give(CORE | 2);
    let info = guest.control.wait_until(HANGS, |info| info.cpus.coming == 1).unwrap();
    assert_eq!(cpus(info), [2, 1, 0, 0]);
    guest.take(CORE | 2);
    let info = guest.control.wait(HANGS).unwrap();
    assert_eq!(cpus(info), [3, 0, 0, 0]);
    // A request that was taken back and done all the same is done.
    guest.control.resize(Some(2), None).unwrap();
    let (takes, connectors) = guest.event().unwrap();
    assert!(!takes && connectors == (CORE | 2..CORE + 3));
    guest.control.resize(Some(3), None).unwrap();
    guest.control.resize(Some(2), None).unwrap();
    guest.give(CORE | 2);
    assert_eq!(cpus(guest.control.wait(HANGS).unwrap()), [2, 0, 0, 0]);
}

/// A guest that goes on with a CPU that it gave back, as no guest should.
#[test]
fn a_released_cpu_is_stopped_whatever_it_does() {
    let guest = Guest::new(ROOM);
    guest.control.resize(Some(3), None).unwrap();
    guest.settled();
    assert_eq!(guest.rtas("start-cpu", &[2, 0x5000, 7], 1).0, 0);
    guest.control.resize(Some(2), None).unwrap();
    let (_, connectors) = guest.event().unwrap();
    // "In use": its thread is not stopped.
    assert_eq!(guest.rtas("set-indicator", &[9001, connectors.start, 0], 1).0, -9001);
    while guest.mailboxes.run_state(CpuIndex(2)) != Some(RunState::Running) {
        std::thread::yield_now();
    }
    guest.mailboxes.stopped(CpuIndex(2));
    guest.give(connectors.start);
    assert_eq!(cpus(guest.control.wait(HANGS).unwrap()), [2, 0, 0, 0]);
    guest.settled();
    assert_eq!(guest.mailboxes.count(), 2);
}

#[test]
fn a_host_without_room_is_told_and_leaves_nothing_half_done() {
    let guest = Guest::new(ROOM);
    guest.vm.fails.store(true, Ordering::SeqCst);
    for (cpus, memory, what) in
        [(Some(3), None, "the core of vcpu2"), (None, Some(2 * LMB), "0x10000000")]
    {
        let error = guest.control.resize(cpus, memory).unwrap_err();
        assert!(!error.is_the_users() && error.to_string().contains(what), "{error}");
    }
    assert!(guest.event().is_none());
    assert!(guest.ram.check_ram(GuestAddress(LMB), 1).is_err());
    assert_eq!(guest.mailboxes.count(), 2);
    guest.vm.fails.store(false, Ordering::SeqCst);
    guest.control.resize(Some(3), Some(2 * LMB)).unwrap();
    let info = guest.settled();
    assert_eq!((cpus(info), blocks(info)), ([3, 0, 0, 0], [2, 0, 0, 0]));
}

#[test]
fn a_machine_that_starts_again_has_what_is_plugged() {
    let config: crate::config::VmConfig = serde_json::from_str(ROOM).unwrap();
    let machine = Machine::new(&config).unwrap();
    let mut guest = Guest::of(machine.clone(), Control::new(), None);
    let control = guest.control.clone();
    control.resize(Some(4), Some(3 * LMB)).unwrap();
    guest.settled();
    // One is asked back, one is not taken.
    control.resize(Some(3), Some(4 * LMB)).unwrap();
    guest.end();
    assert!(matches!(control.resize(Some(2), None), Err(ResizeError::Restarting)));
    assert!(matches!(control.info(), Err(ResizeError::Restarting)));
    assert!(matches!(control.wait(Duration::ZERO), Err(ResizeError::Restarting)));
    let waiting = std::thread::spawn({
        let control = control.clone();
        move || control.wait(HANGS)
    });
    let present = guest.hotplug.as_ref().unwrap().plugged();
    let again = machine.with_present(present).unwrap();
    assert_eq!(again.vcpus().len(), 4);
    let ram = guest.ram.clone();
    let mut guest = Guest::of(again, control.clone(), Some(ram));
    let info = waiting.join().unwrap().unwrap();
    assert_eq!((cpus(info), blocks(info)), ([4, 0, 0, 0], [4, 0, 0, 0]));
    // It gives back what it found at its start.
    control.resize(Some(1), Some(LMB)).unwrap();
    let info = guest.settled();
    assert_eq!((cpus(info), blocks(info)), ([1, 0, 0, 0], [1, 0, 0, 0]));
    assert!(guest.ram.check_ram(GuestAddress(LMB), 1).is_err());
    guest.end();
    control.end();
    assert!(matches!(control.resize(Some(2), None), Err(ResizeError::NotRunning)));
    assert!(matches!(control.info(), Err(ResizeError::NotRunning)));
    assert!(matches!(control.wait(HANGS), Err(ResizeError::NotRunning)));
}

#[test]
fn a_machine_that_has_not_started_is_not_resized() {
    let control = Control::new();
    assert!(matches!(control.resize(Some(2), None), Err(ResizeError::NotRunning)));
    assert!(matches!(control.wait(HANGS), Err(ResizeError::NotRunning)));
}

/// What a guest released at the last moment is not there at the next start.
#[test]
fn the_end_takes_away_what_was_released() {
    let mut guest = Guest::new(ROOM);
    guest.control.resize(None, Some(2 * LMB)).unwrap();
    guest.settled();
    guest.control.resize(None, Some(LMB)).unwrap();
    guest.obey();
    guest.end();
    assert!(guest.ram.check_ram(GuestAddress(LMB), 1).is_err());
}

#[test]
fn many_may_ask_at_once() {
    let guest = Guest::new(ROOM);
    std::thread::scope(|scope| {
        for number in 0..4_u64 {
            let control = &guest.control;
            scope.spawn(move || {
                for round in 0..20 {
                    let cpus = 1 + (number + round) % 4;
                    let memory = LMB * (1 + (number * 3 + round) % 5);
                    control.resize(Some(cpus as u32), Some(memory)).unwrap();
                    let _ = control.wait(Duration::from_millis(number));
                }
            });
        }
        for _ in 0..50 {
            guest.try_obey();
            std::thread::yield_now();
        }
    });
    // What one of them had changed its mind about is said again.
    guest.try_obey();
    guest.control.resize(Some(3), Some(2 * LMB)).unwrap();
    let info = guest.settled();
    assert_eq!((cpus(info), blocks(info)), ([3, 0, 0, 0], [2, 0, 0, 0]));
    assert_eq!(guest.mailboxes.count(), 3);
    let regions = crate::ram::HostRam::regions(&*guest.ram);
    assert_eq!(regions.len(), 2);
}

/// An end is not held up by what is under way.
#[test]
fn the_end_comes_while_much_is_pending() {
    let mut guest = Guest::new(ROOM);
    guest.control.resize(Some(4), Some(5 * LMB)).unwrap();
    let waiting = std::thread::spawn({
        let control = guest.control.clone();
        move || control.wait(HANGS)
    });
    guest.end();
    guest.control.end();
    assert!(matches!(waiting.join().unwrap(), Err(ResizeError::NotRunning)));
}

/// A guest that isolates a core and allocates and frees it from then on, and CPUs that do so for
/// more: each time it is given back without having been asked for.
#[test]
fn a_guest_that_goes_on_and_on_holds_up_nothing() {
    let (over, is_over) = channel();
    let all = std::thread::spawn(move || {
        let mut guest = Guest::new(ROOM);
        guest.control.resize(Some(4), Some(3 * LMB)).unwrap();
        guest.settled();
        guest.give(CORE | 3);
        let ends = Arc::new(AtomicBool::new(false));
        let floods = [2, 3].map(|cpu| {
            let (host, ends) = (guest.host.clone(), ends.clone());
            std::thread::spawn(move || {
                while !ends.load(Ordering::SeqCst) {
                    host.returned(Resource::core(CpuIndex(cpu)));
                    host.returned(Resource::memory(GuestAddress(LMB)));
                }
            })
        });
        let resized = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for blocks in (1..5).cycle().take(40) {
                    guest.control.resize(None, Some(blocks * LMB)).unwrap();
                    guest.control.info().unwrap();
                }
                resized.store(true, Ordering::SeqCst);
            });
            while !resized.load(Ordering::SeqCst) {
                for state in [1, 0] {
                    let inputs = [ALLOCATION_STATE, CORE | 3, state];
                    assert_eq!(guest.rtas("set-indicator", &inputs, 1).0, 0);
                }
            }
        });
        // It is still there, for the guest to take it again.
        let info = guest.control.resize(None, None).unwrap();
        assert_eq!(cpus(info), [3, 1, 0, 0]);
        guest.end();
        assert!(matches!(guest.control.info(), Err(ResizeError::Restarting)));
        ends.store(true, Ordering::SeqCst);
        floods.into_iter().for_each(|flood| flood.join().unwrap());
        over.send(()).unwrap();
    });
    // A panic of the other thread ends this, too.
    is_over.recv_timeout(HANGS).unwrap();
    all.join().unwrap();
}
