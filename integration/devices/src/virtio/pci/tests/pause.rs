//! Devices that come to rest, and go on.

use std::time::Instant;

use arch_ppc64::platform::StateError;

use super::*;

const MODES: [(MockWorkers, Execution); 3] = [
    (MockWorkers::Queues, Execution::Threads),
    (MockWorkers::Queues, Execution::Inline),
    (MockWorkers::Subscriber, Execution::Threads),
];

/// Long enough for whatever comes to rest.
pub(super) fn later() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

#[test]
fn what_comes_meanwhile_is_done_afterwards() {
    for (workers, execution) in MODES {
        let bench = Bench::new(workers, execution);
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        for _ in 0..20 {
            bench.round(&driver, &mut queue);
            bench.bus.pause(later()).unwrap();
            // Again is no change.
            bench.bus.pause(later()).unwrap();
            let taken = bench.seen.taken.load(Ordering::SeqCst);
            let head = queue.add(&buffer());
            driver.notify(0);
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(bench.seen.taken.load(Ordering::SeqCst), taken, "it rests");
            assert_eq!(take(&mut queue), None);
            bench.bus.resume().unwrap();
            until(|| take(&mut queue) == Some(head));
        }
        bench.bus.resume().unwrap();
        bench.round(&driver, &mut queue);
        assert_eq!((bench.activations(), driver.status()), (1, ALL_WELL));
    }
}

#[test]
fn who_is_at_something_is_waited_for_and_named() {
    for (workers, execution) in MODES {
        let bench = Bench::new(workers, execution);
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        let gate = bench.seen.gate.lock().unwrap();
        std::thread::scope(|scope| {
            let head = queue.add(&buffer());
            scope.spawn(|| bench.driver().notify(0));
            until(|| bench.seen.taken.load(Ordering::SeqCst) == 1);
            let error = bench.bus.pause(Instant::now() + Duration::from_millis(10)).unwrap_err();
            let StateError::Part { id, source } = error else { panic!("{error}") };
            assert_eq!(id, "mock0");
            assert!(matches!(*source, StateError::Busy(_)), "{source}");
            // It was not stopped, and can be paused when it is done.
            let pause = scope.spawn(|| bench.bus.pause(later()));
            drop(gate);
            pause.join().unwrap().unwrap();
            until(|| take(&mut queue) == Some(head));
        });
        bench.bus.resume().unwrap();
        bench.round(&driver, &mut queue);
    }
}

/// A reset by the driver, or of the machine, does not wait for the pause to be over.
#[test]
fn a_paused_device_can_be_reset() {
    for (workers, execution) in MODES {
        let bench = Bench::new(workers, execution);
        let driver = bench.driver();
        let _queue = bench.start(&driver);
        bench.bus.pause(later()).unwrap();
        driver.reset();
        assert_eq!(bench.workers(), 0);
        // What is set up now begins when the machine goes on.
        let mut queue = bench.start(&driver);
        let head = queue.add(&buffer());
        driver.notify(0);
        assert_eq!(bench.activations(), 1);
        bench.bus.resume().unwrap();
        assert_eq!(bench.activations(), 2);
        until(|| take(&mut queue) == Some(head));
        bench.bus.pause(later()).unwrap();
        bench.bus.reset();
        assert_eq!(bench.workers(), 0);
        // The machine starts again, and is not paused.
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        bench.round(&driver, &mut queue);
    }
}

#[test]
fn a_device_that_loses_its_bus_meanwhile_does_not_go_on() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    let _queue = bench.start(&driver);
    bench.bus.pause(later()).unwrap();
    driver.set_config_16(4, 2);
    bench.bus.resume().unwrap();
    assert_eq!((bench.workers(), driver.status() & NEEDS_RESET), (0, NEEDS_RESET));
}

/// Others have written to the file of a queue just before.
#[test]
fn interrupts_of_others_are_not_lost() {
    for attaches in [false, true] {
        let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
        if attaches {
            bench.controller.attach_files();
        }
        let driver = bench.driver();
        let _queue = bench.start(&driver);
        let line = Arc::clone(&bench.seen.queues.lock().unwrap()[0]);
        let file = line.file().unwrap();
        for round in 1..20 {
            file.write(1).unwrap();
            bench.controller.poll_files();
            bench.bus.pause(later()).unwrap();
            assert_eq!(bench.controller.pulses(SOURCE + 1), round);
            assert!(bench.controller.attached().is_empty());
            bench.bus.resume().unwrap();
            assert_eq!(bench.controller.attached().len(), usize::from(attaches));
        }
    }
}

/// Pauses at any moment, while a driver keeps its device busy.
#[test]
fn every_buffer_comes_back_once_whenever_it_pauses() {
    for (workers, execution) in MODES {
        let bench = Bench::new(workers, execution);
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    bench.bus.pause(later()).unwrap();
                    bench.bus.resume().unwrap();
                    std::thread::yield_now();
                }
            });
            for _ in 0..2000 {
                let head = queue.add(&buffer());
                driver.notify(0);
                until(|| take(&mut queue) == Some(head));
            }
            over.store(true, Ordering::SeqCst);
        });
        assert_eq!(bench.seen.taken.load(Ordering::SeqCst), 2000);
    }
}
