//! What Linux does to take something and to give it back, and what it does where it cannot.

use vm_memory::GuestAddress;

use super::guest::{ALLOCATION, BLOCK, Guest, ISOLATION, machine};
use super::*;
use crate::vcpu::{CpuIndex, CpuState};

const CORE: u32 = 0x1000_0002;
const LMB: u32 = 0x8000_0002;

fn block(number: u64) -> Resource {
    Resource::memory(GuestAddress(BLOCK + number * MemoryBlock::BYTES))
}

/// Section "HP" of an event about one connector.
fn event_of(kind: u8, action: u8, index: u32) -> Vec<u8> {
    [&[kind, action, 2, 0][..], &index.to_be_bytes()].concat()
}

/// Of several.
fn event_of_run(kind: u8, action: u8, count: u32, index: u32) -> Vec<u8> {
    [&[kind, action, 4, 0x40][..], &count.to_be_bytes(), &index.to_be_bytes()].concat()
}

/// Ten times, with one thread and with eight.
#[test]
fn core_comes_and_goes() {
    for threads in [1, 8] {
        let guest = Guest::of_machine(&machine(threads));
        let (hotplug, first) = (&guest.hotplug, 2 * threads);
        let core = Resource::core(CpuIndex(first));
        for _ in 0..10 {
            let cpus = || (first..first + threads).map(CpuIndex);
            assert_eq!(guest.cpu_state(first).0, -3, "no such CPU");
            cpus().for_each(|cpu| guest.make_cpu(cpu));
            hotplug.plug(core).unwrap();
            assert_eq!(guest.lines.take(), 1);
            assert_eq!(guest.event(), Some(event_of(1, 1, CORE)));
            // It is there and not configured: nobody starts it.
            assert_eq!(guest.status("start-cpu", &[first, 0x100, 0]), -3);
            assert!(guest.acquire(CORE));
            assert_eq!(guest.status("start-cpu", &[first, 0x100, 0]), -3);
            let told = guest.configure(CORE).unwrap();
            assert_eq!(told.name, format!("PowerPC,POWER9@{first:x}"));
            let servers: Vec<u8> =
                (first..first + threads).flat_map(|server| server.to_be_bytes()).collect();
            assert_eq!(told.value("ibm,ppc-interrupt-server#s"), Some(&servers[..]));
            assert_eq!(guest.heard.take(), [("taken", core)]);
            for CpuIndex(server) in cpus() {
                assert_eq!(guest.cpu_state(server), (0, 0), "stopped");
                assert_eq!(guest.status("start-cpu", &[server, 0x100, 0]), 0);
                guest.start(CpuIndex(server));
            }

            hotplug.unplug(core).unwrap();
            assert_eq!(hotplug.state(core), Some(PlugState::AskedBack));
            assert_eq!(guest.lines.take(), 1);
            assert_eq!(guest.event(), Some(event_of(1, 2, CORE)));
            for cpu in cpus() {
                assert!(!guest.release(CORE), "{cpu} runs");
                guest.cpus.stopped(cpu);
            }
            assert!(guest.release(CORE));
            assert_eq!(guest.heard.take(), [("released", core)]);
            assert_eq!(hotplug.state(core), Some(PlugState::Absent));
            assert!(cpus().all(|cpu| guest.cpus.remove(cpu)));
            assert!(!guest.acquire(CORE), "it is gone");
        }
    }
}

#[test]
fn memory_comes_and_goes() {
    let guest = Guest::new();
    for _ in 0..10 {
        (0..4).for_each(|number| guest.hotplug.plug(block(number)).unwrap());
        assert_eq!(guest.lines.take(), 1);
        assert_eq!(guest.event(), Some(event_of_run(2, 1, 4, LMB)));
        for number in 0..4 {
            assert!(guest.acquire(LMB + number));
            let told = guest.configure(LMB + number).unwrap();
            assert_eq!(told.name, format!("memory@{:x}", BLOCK + (u64::from(number) << 28)));
            // Linux finds it among the lookup arrays by this.
            let associativity = [4, 0, 0, 0, 1].map(u32::to_be_bytes).concat();
            assert_eq!(told.value("ibm,associativity"), Some(&associativity[..]));
            assert_eq!(guest.heard.take(), [("taken", block(number.into()))]);
        }
        assert_eq!((guest.lines.take(), guest.event()), (0, None));

        // Each by itself: a guest that cannot give one back gives the others.
        for number in [0, 1, 3] {
            guest.hotplug.unplug(block(number)).unwrap();
        }
        for number in [0, 1, 3] {
            assert_eq!(guest.lines.take(), 1);
            assert_eq!(guest.event(), Some(event_of(2, 2, LMB + number)));
            assert!(guest.release(LMB + number));
            assert_eq!(guest.heard.take(), [("released", block(number.into()))]);
        }
        let left: Vec<_> = guest.hotplug.plugged().into_iter().skip(2).collect();
        assert_eq!(left, [block(2)]);
        guest.hotplug.unplug(block(2)).unwrap();
        assert_eq!(guest.event(), Some(event_of(2, 2, LMB + 2)));
        assert!(guest.release(LMB + 2));
        assert_eq!((guest.lines.take(), guest.heard.take()), (1, vec![("released", block(2))]));
    }
}

/// Linux 5.13 and later: "Setting the isolation state of an UNISOLATED/CONFIGURED device to UNISOLATE
/// is a no-op", and so is a way to say no.
#[test]
fn guest_says_no() {
    let guest = Guest::new();
    let core = Resource::core(CpuIndex(1));
    guest.hotplug.unplug(core).unwrap();
    // Nobody has heard of it: it cannot be an answer.
    assert_eq!(guest.set(ISOLATION, 0x1000_0001, 1), 0);
    assert_eq!(guest.heard.take(), []);
    assert_eq!(guest.event(), Some(event_of(1, 2, 0x1000_0001)));
    assert_eq!(guest.set(ISOLATION, 0x1000_0001, 1), 0);
    assert_eq!(guest.heard.take(), [("kept", core)]);
    assert_eq!(guest.hotplug.state(core), Some(PlugState::InUse));
    assert_eq!(guest.set(ISOLATION, 0x1000_0001, 1), 0);
    assert_eq!(guest.heard.take(), [], "once");
    // It can be asked again.
    guest.hotplug.unplug(core).unwrap();
    assert_eq!(guest.lines.take(), 2);
    assert_eq!(guest.event(), Some(event_of(1, 2, 0x1000_0001)));
    assert!(guest.release(0x1000_0001));
    assert_eq!(guest.heard.take(), [("released", core)]);
}

/// A guest that never answers: the VMM's time is over, it does not ask any longer.
#[test]
fn guest_says_nothing() {
    let guest = Guest::new();
    guest.hotplug.plug(block(0)).unwrap();
    assert!(guest.acquire(LMB));
    guest.configure(LMB).unwrap();
    assert!(guest.event().is_some());
    guest.lines.take();
    guest.heard.take();
    guest.hotplug.unplug(block(0)).unwrap();
    assert_eq!(guest.event(), Some(event_of(2, 2, LMB)));
    guest.hotplug.plug(block(0)).unwrap();
    assert_eq!(guest.hotplug.state(block(0)), Some(PlugState::InUse));
    assert_eq!((guest.lines.take(), guest.event()), (1, None));
    // What it gives back now was not asked for: it stays plugged.
    assert!(guest.release(LMB));
    assert_eq!(guest.heard.take(), [("returned", block(0))]);
    assert_eq!(guest.hotplug.state(block(0)), Some(PlugState::Offered));
}

/// The administrator of a guest gives something back and takes it again: `/sys/kernel/dlpar`. To
/// have it, the VMM need not ask.
#[test]
fn guest_gives_back_what_nobody_asked_for() {
    let guest = Guest::new();
    let (core, index) = (Resource::core(CpuIndex(1)), 0x1000_0001);
    for _ in 0..2 {
        assert!(guest.release(index));
        assert_eq!(guest.heard.take(), [("returned", core)]);
        assert_eq!(guest.state_of(CpuIndex(1)), None);
        assert!(guest.acquire(index));
        guest.configure(index).unwrap();
        assert_eq!(guest.heard.take(), [("taken", core)]);
        assert_eq!(guest.state_of(CpuIndex(1)), Some(CpuState::Stopped));
    }
    assert!(guest.release(index));
    guest.heard.take();
    guest.hotplug.unplug(core).unwrap();
    assert_eq!(guest.heard.take(), [("released", core)]);
    assert_eq!((guest.lines.take(), guest.event()), (0, None));
    assert!(!guest.acquire(index));
}

/// What a guest cannot use of what it took, it gives back: the VMM hears of it.
#[test]
fn guest_that_cannot_use_it_returns_it() {
    let guest = Guest::new();
    guest.hotplug.plug(block(1)).unwrap();
    assert!(guest.event().is_some());
    assert!(guest.acquire(LMB + 1));
    assert!(guest.release(LMB + 1), "before it was configured");
    assert_eq!(guest.heard.take(), [("returned", block(1))]);
    guest.hotplug.unplug(block(1)).unwrap();
    assert_eq!(guest.heard.take(), [("released", block(1))]);
}

/// The guest is taking it while the VMM changes its mind.
#[test]
fn asked_back_while_it_is_taken() {
    let guest = Guest::new();
    guest.hotplug.plug(block(0)).unwrap();
    assert!(guest.event().is_some());
    assert_eq!(guest.set(ALLOCATION, LMB, 1), 0);
    guest.hotplug.unplug(block(0)).unwrap();
    assert_eq!(guest.heard.take(), [], "it is the guest's by now");
    assert_eq!(guest.set(ISOLATION, LMB, 1), 0);
    guest.configure(LMB).unwrap();
    assert_eq!(guest.heard.take(), [("taken", block(0))]);
    assert_eq!(guest.hotplug.state(block(0)), Some(PlugState::AskedBack));
    assert_eq!(guest.event(), Some(event_of(2, 2, LMB)));
    assert!(guest.release(LMB));
    assert_eq!(guest.heard.take(), [("released", block(0))]);
}
