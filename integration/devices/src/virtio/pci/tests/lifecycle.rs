//! From a reset to used buffers, and back.

use super::*;

#[test]
fn buffers_come_back() {
    for (workers, execution) in [
        (MockWorkers::Queues, Execution::Threads),
        (MockWorkers::Queues, Execution::Inline),
        (MockWorkers::Subscriber, Execution::Threads),
        (MockWorkers::Subscriber, Execution::Inline),
    ] {
        let bench = Bench::new(workers, execution);
        let driver = bench.driver();
        driver.negotiate(1 << VIRTIO_RING_F_EVENT_IDX).unwrap();
        let mut queues = [0, 1].map(|index| {
            driver.queue(
                bench.memory.clone(),
                index,
                16,
                GuestAddress(0x1000 * u64::from(index + 1)),
            )
        });
        driver.enable_messages(DOORBELL, SOURCE);
        // What is there before is handled when the device becomes active.
        queues[1].add(&buffer());
        driver.driver_ok();
        assert_eq!(driver.status(), 0xf);
        until(|| take(&mut queues[1]) == Some(0));
        for round in 1..100 {
            let head = queues[0].add(&buffer());
            driver.notify(0);
            until(|| take(&mut queues[0]) == Some(head));
            until(|| bench.controller.pulses(SOURCE + 1) == round);
        }
        assert_eq!(bench.controller.pulses(SOURCE + 2), 1);
        assert_eq!(bench.controller.pulses(SOURCE), 0);
        assert_eq!(bench.activations(), 1);
    }
}

#[test]
fn the_function_is_a_modern_virtio_device() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    assert_eq!(driver.config_32(0), 0x1045_1af4);
    assert_eq!(driver.config_32(8), 0xff00_0001);
    assert_eq!(driver.config_32(0x2c), 0x1045_1af4);
    assert_eq!(driver.config_8(0x3d), 1);
    assert_eq!(driver.msix.vectors, 4, "one for each queue, and one for the configuration");
    assert_eq!(driver.common_16(common::NUM_QUEUES), 3);
    let mut config = [0xaa; 8];
    driver.read_device(12, &mut config);
    assert_eq!(&config, b"fig.\0\0\0\0");
}

/// Of the features that a device says, the transport offers those that it knows to be none of its
/// own (Virtio 1.2 §6).
#[test]
fn features_are_negotiated() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    let version_1 = 1 << VIRTIO_F_VERSION_1;
    let device = 1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;
    assert_eq!(driver.offered(), version_1 | device | 1 << VIRTIO_F_ORDER_PLATFORM);
    for page in [2, u32::MAX] {
        driver.set_common_32(common::DEVICE_FEATURE_SELECT, page);
        assert_eq!(driver.common_32(common::DEVICE_FEATURE), 0);
    }
    assert!(!driver.insist(device), "a device without VIRTIO_F_VERSION_1 is a legacy one");
    assert!(!driver.insist(version_1 | 2), "what is not offered cannot be taken");
    assert!(!driver.insist(u64::MAX));
    assert!(driver.insist(version_1 | 1));
    // "The driver MUST NOT accept new feature bits after this step" (§3.1.1).
    driver.set_common_32(common::DRIVER_FEATURE_SELECT, 0);
    driver.set_common_32(common::DRIVER_FEATURE, 0);
    assert_eq!(driver.common_32(common::DRIVER_FEATURE), 1);
    driver.queue(bench.memory.clone(), 0, 16, GuestAddress(0x1000));
    driver.driver_ok();
    let interrupt = bench.seen.interrupt.lock().unwrap();
    assert_eq!(interrupt.as_ref().unwrap().0, version_1 | 1);
}

#[test]
fn a_status_that_is_no_next_step_is_not_taken() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    driver.reset();
    driver.add_status(DRIVER_OK);
    assert_eq!(driver.status(), 0, "nothing was negotiated");
    driver.add_status(FEATURES_OK | DRIVER_OK);
    assert_eq!(driver.status(), 0);
    driver.set_common_8(common::DEVICE_STATUS, NEEDS_RESET | 0x30);
    assert_eq!(driver.status(), 0, "these are not the driver's");
    driver.negotiate(0).unwrap();
    driver.add_status(FAILED);
    driver.add_status(DRIVER_OK);
    assert_eq!(driver.status(), 3 | FEATURES_OK | FAILED, "who has failed does not go on");
    assert_eq!(bench.activations(), 0);
    let _queue = bench.start(&driver);
    for status in [DRIVER_OK, ALL_WELL, 1, FEATURES_OK] {
        driver.set_common_8(common::DEVICE_STATUS, status);
        assert_eq!(driver.status(), ALL_WELL);
    }
    assert_eq!(bench.activations(), 1);
}

#[test]
fn a_queue_is_set_up_until_it_is_enabled() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    driver.negotiate(0).unwrap();
    let sizes = [0, 1, 2, 3].map(|queue| {
        driver.set_common_16(common::QUEUE_SELECT, queue);
        driver.common_16(common::QUEUE_SIZE)
    });
    assert_eq!(sizes, [16, 16, 256, 0]);
    driver.set_common_16(common::QUEUE_SELECT, 2);
    for size in [0, 3, 255, 257, 512, 32768, u16::MAX] {
        driver.set_common_16(common::QUEUE_SIZE, size);
        assert_eq!(driver.common_16(common::QUEUE_SIZE), 256, "{size}");
    }
    driver.set_common_16(common::QUEUE_SIZE, 1);
    driver.set_common_32(common::QUEUE_DESC + 4, 0x1234_5678);
    driver.set_common_32(common::QUEUE_DESC, 0x9abc_def0);
    for value in [0, 2, 0x100, u16::MAX] {
        driver.set_common_16(common::QUEUE_ENABLE, value);
        assert_eq!(driver.common_16(common::QUEUE_ENABLE), 0);
    }
    driver.set_common_16(common::QUEUE_ENABLE, 1);
    driver.set_common_16(common::QUEUE_ENABLE, 0);
    driver.set_common_16(common::QUEUE_SIZE, 256);
    driver.set_common_32(common::QUEUE_DESC, 0);
    assert_eq!(driver.common_16(common::QUEUE_ENABLE), 1);
    assert_eq!(driver.common_16(common::QUEUE_SIZE), 1);
    let mut data = [0; 8];
    bench.bus.read_memory(driver.common + common::QUEUE_DESC, &mut data);
    assert_eq!(u64::from_le_bytes(data), 0x1234_5678_9abc_def0);
}

/// "If the virtqueue corresponding to the current queue_select is unavailable", all of it is 0
/// (Virtio 1.2 §4.1.4.3.1), and has no vector.
#[test]
fn a_queue_that_is_not_there_is_nothing() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    driver.negotiate(0).unwrap();
    for queue in [3, 1024, u16::MAX] {
        driver.enable(queue, 16, [0x1000, 0x2000, 0x3000]);
        let mut data = [0; 8];
        bench.bus.read_memory(driver.common + common::QUEUE_SIZE, &mut data);
        assert_eq!(data, [0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        let mut data = [0xaa; 16];
        bench.bus.read_memory(driver.common + common::QUEUE_DESC, &mut data);
        assert_eq!(data, [0; 16]);
    }
}

#[test]
fn a_reset_ends_everything() {
    for (workers, execution) in [
        (MockWorkers::Queues, Execution::Threads),
        (MockWorkers::Queues, Execution::Inline),
        (MockWorkers::Subscriber, Execution::Threads),
    ] {
        let bench = Bench::new(workers, execution);
        let driver = bench.driver();
        for _ in 0..3 {
            let mut queue = bench.start(&driver);
            bench.round(&driver, &mut queue);
            assert_eq!(bench.workers(), 1);
            driver.reset();
            assert_eq!(bench.workers(), 0, "what worked is gone when the status says so");
            driver.set_common_16(common::QUEUE_SELECT, 0);
            assert_eq!(driver.common_16(common::QUEUE_ENABLE), 0);
            assert_eq!(driver.common_16(common::QUEUE_MSIX_VECTOR), 0xffff);
            assert_eq!(driver.common_16(common::CONFIG_MSIX_VECTOR), 0xffff);
            queue.add(&buffer());
            driver.notify(0);
            assert_eq!(take(&mut queue), None);
        }
        assert_eq!(bench.activations(), 3);
        bench.start(&driver);
        bench.bus.reset();
        assert_eq!(bench.workers(), 0);
        assert_eq!(driver.config_16(4), 0);
        let mut again = Bench::driver(&bench);
        assert_eq!(again.common, driver.common, "the bus assigns the same places");
        let mut queue = bench.start(&again);
        bench.round(&again, &mut queue);
        again.move_bar(0, PciWindows::new().memory_64.bus + (1 << 32));
        bench.round(&again, &mut queue);
    }
}

/// "After writing 0 to device_status, the driver MUST wait for a read of device_status to return 0
/// before reinitializing the device" (Virtio 1.2 §4.1.4.3.2): a worker that waits for its host holds
/// no vCPU up.
#[test]
fn a_reset_that_takes_long_is_not_done_yet() {
    for workers in [MockWorkers::Queues, MockWorkers::Subscriber] {
        let bench = Bench::new(workers, Execution::Threads);
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        let gate = bench.seen.gate.lock().unwrap();
        queue.add(&buffer());
        driver.notify(0);
        until(|| bench.seen.taken.load(Ordering::SeqCst) == 1);
        driver.set_common_8(common::DEVICE_STATUS, 0);
        assert_eq!(driver.status(), ALL_WELL);
        // Whoever does not wait changes nothing.
        driver.set_common_8(common::DEVICE_STATUS, 0);
        driver.add_status(ALL_WELL);
        driver.set_common_16(common::QUEUE_SELECT, 1);
        assert_eq!(driver.common_16(common::QUEUE_SELECT), 0);
        assert_eq!(bench.seen.resets.load(Ordering::SeqCst), 1, "that of the beginning");
        drop(gate);
        until(|| driver.status() == 0);
        assert_eq!(bench.workers(), 0);
        assert_eq!(bench.controller.pulses(SOURCE + 1), 0, "who is reset tells nothing");
        let mut queue = bench.start(&driver);
        bench.round(&driver, &mut queue);
    }
}

/// A kernel that starts another one takes bus mastering away, so that nothing is written into the
/// other's memory.
#[test]
fn who_is_no_bus_master_does_not_work() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    let mut queue = bench.start(&driver);
    driver.set_config_16(4, 2);
    assert_eq!(bench.workers(), 0);
    queue.add(&buffer());
    driver.notify(0);
    assert_eq!(driver.status(), ALL_WELL | NEEDS_RESET);
    assert_eq!(take(&mut queue), None);
    driver.set_config_16(4, 6);
    assert_eq!(driver.status(), ALL_WELL | NEEDS_RESET, "only a reset helps");
    driver.negotiate(0).unwrap();
    driver.set_config_16(4, 2);
    driver.queue(bench.memory.clone(), 0, 16, GuestAddress(0x1000));
    driver.driver_ok();
    assert_eq!(driver.status(), ALL_WELL | NEEDS_RESET);
    assert_eq!(bench.activations(), 1);
    driver.set_config_16(4, 6);
    let mut queue = bench.start(&driver);
    bench.round(&driver, &mut queue);
}

/// Unlike a reset, nothing tells the guest that it is not done yet: its next instruction may be one
/// of another kernel.
#[test]
fn bus_mastering_is_taken_away_when_nobody_accesses_memory() {
    for is_reset in [false, true] {
        let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        let gate = bench.seen.gate.lock().unwrap();
        queue.add(&buffer());
        driver.notify(0);
        until(|| bench.seen.taken.load(Ordering::SeqCst) == 1);
        if is_reset {
            driver.set_common_8(common::DEVICE_STATUS, 0);
        }
        std::thread::scope(|scope| {
            let writes = scope.spawn(|| {
                bench.bus.write_config(bench.at, 4, &[2, 0]);
                bench.workers()
            });
            std::thread::sleep(3 * RESET_WAIT);
            assert!(!writes.is_finished());
            drop(gate);
            assert_eq!(writes.join().unwrap(), 0);
        });
        driver.set_config_16(4, 6);
        assert_eq!(driver.status(), if is_reset { 0 } else { ALL_WELL | NEEDS_RESET });
        let mut queue = bench.start(&driver);
        bench.round(&driver, &mut queue);
    }
}

#[test]
fn a_device_that_is_dropped_ends() {
    for workers in [MockWorkers::Queues, MockWorkers::Subscriber] {
        let bench = Bench::new(workers, Execution::Threads);
        bench.start(&bench.driver());
        let seen = Arc::clone(&bench.seen);
        drop(bench);
        assert_eq!(seen.workers.load(Ordering::SeqCst), 0);
    }
}

/// "If DRIVER_OK is set, after it sets DEVICE_NEEDS_RESET, the device MUST send a device
/// configuration change notification to the driver" (Virtio 1.2 §2.1.2).
#[test]
fn a_worker_that_panics_needs_a_reset() {
    for (workers, execution) in [
        (MockWorkers::Queues, Execution::Threads),
        (MockWorkers::Queues, Execution::Inline),
        (MockWorkers::Subscriber, Execution::Threads),
    ] {
        let bench = Bench::new(workers, execution);
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        bench.seen.panics.store(true, Ordering::SeqCst);
        queue.add(&buffer());
        driver.notify(0);
        until(|| driver.status() == ALL_WELL | NEEDS_RESET);
        until(|| bench.controller.pulses(SOURCE) == 1);
        until(|| bench.workers() == 0);
        bench.seen.panics.store(false, Ordering::SeqCst);
        driver.notify(0);
        assert_eq!(take(&mut queue), None, "nobody knows how far it came");
        let mut queue = bench.start(&driver);
        bench.round(&driver, &mut queue);
    }
}

#[test]
fn a_device_that_cannot_work_needs_a_reset() {
    let bench = Bench::new(MockWorkers::Refuses, Execution::Threads);
    let driver = bench.driver();
    driver.negotiate(0).unwrap();
    driver.queue(bench.memory.clone(), 0, 16, GuestAddress(0x1000));
    driver.enable_messages(DOORBELL, SOURCE);
    driver.driver_ok();
    assert_eq!(driver.status(), ALL_WELL | NEEDS_RESET);
    assert_eq!(bench.controller.pulses(SOURCE), 1);
    assert_eq!(bench.workers(), 0);
    let line = Arc::clone(&bench.seen.queues.lock().unwrap()[0]);
    assert!(line.file().is_err(), "nothing works for it");
    driver.reset();
    assert_eq!(bench.seen.resets.load(Ordering::SeqCst), 2);
}

#[test]
fn devices_that_cannot_be_are_refused() {
    let controller = Arc::new(MockController::default());
    let make = |sizes: &[u16]| {
        let memory = Arc::new(GuestMemoryMmap::<()>::new());
        let connection = controller.connection(PciAddress::device_0(0).unwrap());
        let (device, _) = MockDevice::new(sizes, MockWorkers::Queues);
        VirtioPci::new("mock0", Box::new(device), memory, connection)
    };
    let error = |sizes| make(sizes).unwrap_err().to_string();
    assert!(error(&[16, 3]).contains("queue 1 of mock0 has 3 descriptors"));
    assert!(error(&[0]).contains("queue 0"));
    assert!(error(&[1; 1025]).contains("1025 queues"));
    make(&[1; 1024]).unwrap();
    make(&[32768]).unwrap();
    make(&[]).unwrap();
}
