//! CPUs that are started, paused, looked at and ended.

use std::sync::atomic::AtomicU32;
use std::thread;

use vm_memory::GuestAddress;

use super::*;

/// Counts its kicks; a CPU that would be in guest code until the next one.
#[derive(Default)]
struct Guest {
    kicks: Mutex<u32>,
    kicked: Condvar,
}

impl Guest {
    fn run(&self) {
        let mut kicks = self.kicks.lock().unwrap();
        while *kicks == 0 {
            kicks = self.kicked.wait(kicks).unwrap();
        }
        *kicks -= 1;
    }
}

impl Kick for Guest {
    fn kick(&self) {
        *self.kicks.lock().unwrap() += 1;
        self.kicked.notify_all();
    }
}

fn two() -> (Mailboxes, [Arc<Guest>; 2]) {
    let cpus = Mailboxes::new();
    let guests = [(), ()].map(|()| Arc::new(Guest::default()));
    for (number, guest) in (0..).zip(&guests) {
        assert_eq!(cpus.add(guest.clone()), CpuIndex(number));
    }
    (cpus, guests)
}

fn entry() -> EntryRegisters {
    EntryRegisters::at(GuestAddress(0x60)).with_arguments([7, 0, 0])
}

/// LoPAPR §7.3.8.2: "-2 […] the processor was not in the RTAS stopped state".
#[test]
fn only_a_stopped_cpu_can_be_started() {
    let (cpus, _) = two();
    let one = CpuIndex(1);
    assert_eq!(cpus.state(one), Some(CpuState::Stopped));
    assert_eq!(cpus.start(one, entry()), Ok(()));
    assert_eq!(cpus.state(one), Some(CpuState::InTransition));
    assert_eq!(cpus.start(one, entry()), Err(StartError::NotStopped));
    assert_eq!(cpus.wait(one), Order::Start(entry()));
    assert_eq!(cpus.state(one), Some(CpuState::Running));
    assert_eq!(cpus.start(one, entry()), Err(StartError::NotStopped));
    assert_eq!(cpus.wait(one), Order::Run);
    cpus.stopped(one);
    assert_eq!(cpus.start(one, entry()), Ok(()));
}

#[test]
fn there_is_no_third_cpu_of_two_until_it_is_added() {
    let (cpus, _) = two();
    let two = CpuIndex(2);
    assert_eq!(cpus.state(two), None);
    assert_eq!(cpus.start(two, entry()), Err(StartError::NoSuchCpu));
    assert_eq!(cpus.look(two), Err(StartError::NoSuchCpu));
    assert_eq!(cpus.set_run_state(two, RunState::Running), Err(StartError::NoSuchCpu));
    assert_eq!(cpus.wait(two), Order::End);
    assert_eq!(cpus.add(Arc::new(Guest::default())), two);
    assert_eq!((cpus.count(), cpus.start(two, entry())), (3, Ok(())));
}

#[test]
fn the_end_wakes_those_who_wait() {
    let (cpus, _) = two();
    cpus.pause();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| cpus.wait(CpuIndex(0)));
        cpus.end();
        assert_eq!(waiting.join().unwrap(), Order::End);
    });
    assert!(!cpus.await_paused());
}

#[test]
fn a_paused_machine_has_no_cpu_in_guest_code() {
    let (cpus, guests) = two();
    let inside = AtomicU32::new(0);
    thread::scope(|scope| {
        for (index, guest) in (0..).map(CpuIndex).zip(&guests) {
            let (cpus, inside) = (&cpus, &inside);
            scope.spawn(move || {
                loop {
                    match cpus.wait(index) {
                        Order::Start(_) | Order::Run => {}
                        Order::Look => continue,
                        Order::End => return,
                    }
                    inside.fetch_add(1, Ordering::SeqCst);
                    guest.run();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
        cpus.start(CpuIndex(0), entry()).unwrap();
        for _ in 0..100 {
            cpus.pause();
            assert!(cpus.await_paused());
            assert_eq!(inside.load(Ordering::SeqCst), 0);
            cpus.resume();
        }
        cpus.pause();
        // A start that comes meanwhile is for later.
        cpus.start(CpuIndex(1), entry()).unwrap();
        assert!(cpus.await_paused());
        assert_eq!(cpus.run_state(CpuIndex(1)), Some(RunState::Starting(entry())));
        cpus.resume();
        cpus.end();
    });
}

#[test]
fn who_does_not_come_out_is_not_waited_for() {
    let (cpus, _) = two();
    let one = CpuIndex(1);
    cpus.set_run_state(one, RunState::Running).unwrap();
    cpus.pause();
    assert_eq!(cpus.await_paused_for(Duration::from_millis(5)), Err(StillRunning(one)));
    assert!(cpus.is_paused());
    thread::scope(|scope| {
        scope.spawn(|| cpus.wait(one));
        assert_eq!(cpus.await_paused_for(Duration::from_secs(600)), Ok(true));
        cpus.end();
    });
    // Longer than any clock goes.
    assert_eq!(cpus.await_paused_for(Duration::MAX), Ok(false));
}

#[test]
fn a_thread_looks_whatever_its_cpu_does() {
    let (cpus, guests) = two();
    let zero = CpuIndex(0);
    cpus.look(zero).unwrap();
    assert_eq!((cpus.wait(zero), *guests[0].kicks.lock().unwrap()), (Order::Look, 1));
    cpus.start(zero, entry()).unwrap();
    cpus.pause();
    cpus.look(zero).unwrap();
    assert_eq!(cpus.wait(zero), Order::Look);
    cpus.resume();
    assert_eq!(cpus.wait(zero), Order::Start(entry()));
}

#[test]
fn a_restored_cpu_goes_on_as_it_stood() {
    let (cpus, _) = two();
    cpus.set_run_state(CpuIndex(0), RunState::Running).unwrap();
    cpus.set_run_state(CpuIndex(1), RunState::Starting(entry())).unwrap();
    assert_eq!(cpus.wait(CpuIndex(0)), Order::Run);
    assert_eq!(cpus.wait(CpuIndex(1)), Order::Start(entry()));
}

#[cfg(feature = "serde")]
#[test]
fn a_run_state_is_text_and_back() {
    let starting = RunState::Starting(entry());
    for (state, text) in [
        (RunState::Stopped, r#""stopped""#),
        (RunState::Running, r#""running""#),
        (starting, r#"{"starting":{"pc":96,"is-64bit":true,"r1":0,"r3":7,"r4":0,"r5":0}}"#),
    ] {
        assert_eq!(serde_json::to_string(&state).unwrap(), text);
        assert_eq!(serde_json::from_str::<RunState>(text).unwrap(), state);
    }
    for wrong in [
        r#""paused""#,
        r#"{"starting":{"pc":96,"is-64bit":true,"r1":0,"r3":7,"r4":0}}"#,
        r#"{"starting":{"pc":96,"is-64bit":true,"r1":0,"r3":7,"r4":0,"r5":0,"r6":0}}"#,
        r#"{"starting":{"pc":-4,"is-64bit":true,"r1":0,"r3":7,"r4":0,"r5":0}}"#,
    ] {
        assert!(serde_json::from_str::<RunState>(wrong).is_err(), "{wrong}");
    }
}

/// A CPU that is plugged and unplugged while others run.
#[test]
fn cpus_come_and_go() {
    let (cpus, _) = two();
    let (five, kick) = (CpuIndex(5), Arc::new(Guest::default()));
    assert_eq!(cpus.state(five), None);
    assert!(cpus.insert(five, kick.clone()));
    assert!(!cpus.insert(five, kick.clone()), "it is there already");
    assert_eq!((cpus.count(), cpus.state(five)), (3, Some(CpuState::Stopped)));
    assert_eq!(cpus.state(CpuIndex(4)), None, "a gap");
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert_eq!(cpus.wait(five), Order::Start(entry()));
            kick.run();
            cpus.wait(five)
        });
        cpus.start(five, entry()).unwrap();
        while cpus.state(five) != Some(CpuState::Running) {
            thread::yield_now();
        }
        assert!(cpus.remove(five));
        assert_eq!(thread.join().unwrap(), Order::End);
    });
    assert!(!cpus.remove(five));
    assert_eq!((cpus.count(), cpus.state(five)), (2, None));
    assert_eq!(cpus.start(five, entry()), Err(StartError::NoSuchCpu));
    assert_eq!(cpus.wait(five), Order::End);
    // One that waits, and one of the first two.
    thread::scope(|scope| {
        let thread = scope.spawn(|| cpus.wait(CpuIndex(0)));
        cpus.remove(CpuIndex(0));
        assert_eq!(thread.join().unwrap(), Order::End);
    });
    assert_eq!(cpus.add(kick), CpuIndex(2), "behind the last");
}
