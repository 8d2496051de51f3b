//! How a driver notifies a device.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::virtio::NotifyEvents;

/// A back end that writes files for stores, as a test makes them.
#[derive(Default)]
struct Events {
    attached: Mutex<Vec<(GuestAddress, EventFd)>>,
    mood: Mutex<Mood>,
}

/// What it does when it is asked.
#[derive(Default, Clone, Copy)]
enum Mood {
    #[default]
    Attaches,
    Cannot,
    Fails,
}

impl Events {
    fn places(&self) -> Vec<u64> {
        let mut places: Vec<_> = self.attached.lock().unwrap().iter().map(|(at, _)| at.0).collect();
        places.sort_unstable();
        places
    }

    /// A store of the guest.
    fn store(&self, at: u64) {
        let attached = self.attached.lock().unwrap();
        let (_, file) = attached.iter().find(|(place, _)| place.0 == at).unwrap();
        file.write(1).unwrap();
    }
}

impl NotifyEvents for Events {
    fn attach(&self, at: GuestAddress, file: &EventFd) -> io::Result<bool> {
        match *self.mood.lock().unwrap() {
            Mood::Attaches => {}
            Mood::Cannot => return Ok(false),
            Mood::Fails => return Err(io::Error::other("it is told to fail")),
        }
        assert!(!self.places().contains(&at.0), "{at:?} is attached twice");
        self.attached.lock().unwrap().push((at, file.try_clone()?));
        Ok(true)
    }

    fn detach(&self, at: GuestAddress, _: &EventFd) -> io::Result<()> {
        let mut attached = self.attached.lock().unwrap();
        let position = attached.iter().position(|(place, _)| *place == at).unwrap();
        attached.remove(position);
        Ok(())
    }
}

#[test]
fn doorbells_are_attached_where_the_registers_are() {
    let events = Arc::new(Events::default());
    let bench = Bench::with(MockWorkers::Queues, |connection| {
        connection.with_notify_events(events.clone())
    });
    let mut driver = bench.driver();
    driver.negotiate(1 << VIRTIO_RING_F_EVENT_IDX).unwrap();
    let mut queue = driver.queue(bench.memory.clone(), 0, 16, GuestAddress(0x1000));
    driver.queue(bench.memory.clone(), 2, 16, GuestAddress(0x2000));
    assert!(events.places().is_empty(), "nobody is listening yet");
    driver.driver_ok();
    let window = PciWindows::new().memory_64;
    let places = |driver: &Driver<'_>| {
        [0, 2].map(|queue| window.real(driver.notify.0 + queue * driver.notify.1).0)
    };
    assert_eq!(events.places(), places(&driver));
    let head = queue.add(&buffer());
    events.store(places(&driver)[0]);
    until(|| take(&mut queue) == Some(head));
    // By a store that the VMM sees, it is as well.
    let head = queue.add(&buffer());
    driver.notify(0);
    until(|| take(&mut queue) == Some(head));
    driver.set_config_16(4, 4);
    assert!(events.places().is_empty());
    driver.set_config_16(4, 6);
    assert_eq!(events.places(), places(&driver));
    driver.move_bar(0, window.bus + (1 << 30));
    assert_eq!(events.places(), places(&driver));
    // To an address that is in no window, and that is none.
    for to in [0, window.bus + window.bytes, u64::MAX << 16] {
        driver.move_bar(0, to);
        assert!(events.places().is_empty());
    }
    driver.move_bar(0, window.bus);
    assert_eq!(events.places(), places(&driver));
    driver.reset();
    assert!(events.places().is_empty());
    bench.start(&driver);
    bench.bus.reset();
    assert!(events.places().is_empty());
    bench.start(&bench.driver());
    drop(bench);
    assert!(events.places().is_empty());
}

#[test]
fn without_files_stores_reach_the_device() {
    for mood in [Mood::Cannot, Mood::Fails] {
        let events = Arc::new(Events::default());
        *events.mood.lock().unwrap() = mood;
        let bench = Bench::with(MockWorkers::Queues, |connection| {
            connection.with_notify_events(events.clone())
        });
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        bench.round(&driver, &mut queue);
        driver.set_config_16(4, 4);
        driver.set_config_16(4, 6);
        bench.round(&driver, &mut queue);
        assert!(events.places().is_empty());
    }
    let events = Arc::new(Events::default());
    let bench = Bench::with(MockWorkers::Queues, |connection| {
        connection.with_notify_events(events.clone()).with_execution(Execution::Inline)
    });
    let driver = bench.driver();
    let mut queue = bench.start(&driver);
    bench.round(&driver, &mut queue);
    assert!(events.places().is_empty(), "what is handled inline waits for no file");
}

/// A store of whatever width that begins where the register does.
#[test]
fn notifications_have_any_width() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Inline);
    let driver = bench.driver();
    let mut queue = bench.start(&driver);
    for bytes in 1..=16 {
        let head = queue.add(&buffer());
        for offset in 1..4 {
            bench.bus.write_memory(driver.notify.0 + offset, &[0; 16][..bytes]);
        }
        assert_eq!(take(&mut queue), None);
        bench.bus.write_memory(driver.notify.0, &[0xff; 16][..bytes]);
        assert_eq!(take(&mut queue), Some(head));
    }
    let mut data = [0xaa; 16];
    bench.bus.read_memory(driver.notify.0, &mut data);
    assert_eq!(data, [0; 16]);
}

#[test]
fn a_queue_that_is_not_enabled_hears_nothing() {
    for execution in [Execution::Threads, Execution::Inline] {
        let bench = Bench::new(MockWorkers::Queues, execution);
        let driver = bench.driver();
        driver.notify(0);
        let mut queue = bench.start(&driver);
        let (start, apart) = driver.notify;
        for queue in [1, 2, 3, 1000] {
            bench.bus.write_memory(start + queue * apart, &[0; 4]);
        }
        assert_eq!(driver.status(), ALL_WELL);
        bench.round(&driver, &mut queue);
    }
}

/// A driver that cannot reach the BAR does all of it in configuration space (Virtio 1.2 §4.1.4.9).
#[test]
fn registers_are_reached_in_configuration_space() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Inline);
    let driver = bench.driver();
    let mut queue = bench.start(&driver);
    let base = driver.bar(0);
    let select = |at: u64, bytes: u32| {
        driver.set_config_32(driver.window + 8, (at - base) as u32);
        driver.set_config_32(driver.window + 12, bytes);
    };
    let data = driver.window + 16;
    select(driver.common + common::DEVICE_STATUS, 1);
    assert_eq!(driver.config_32(data) & 0xff, u32::from(ALL_WELL));
    select(driver.common + common::NUM_QUEUES, 2);
    assert_eq!(driver.config_16(data), 3);
    select(driver.common + common::QUEUE_SELECT, 2);
    driver.set_config_16(data, 2);
    assert_eq!(driver.common_16(common::QUEUE_SELECT), 2);
    // Memory space may be disabled.
    driver.set_config_16(4, 4);
    let head = queue.add(&buffer());
    select(driver.notify.0, 4);
    driver.set_config_32(data, 0);
    assert_eq!(take(&mut queue), Some(head));
    driver.set_config_16(4, 6);
    // What makes no sense reaches nothing: lengths, places that are not aligned, other BARs.
    let before = driver.common_16(common::QUEUE_SELECT);
    for (offset, bytes) in [(0x16, 0), (0x16, 3), (0x16, 8), (0x15, 2), (0x16, 4), (u32::MAX, 1)] {
        driver.set_config_32(driver.window + 8, offset);
        driver.set_config_32(driver.window + 12, bytes);
        driver.set_config_32(data, 0x0101_0101);
        let _ = driver.config_32(data);
    }
    select(driver.common + common::QUEUE_SELECT, 2);
    bench.bus.write_config(bench.at, driver.window + 4, &[1]);
    driver.set_config_32(data, 0x0101_0101);
    assert_eq!(driver.common_16(common::QUEUE_SELECT), before);
}

/// Processors that reset, move, mask and notify at once: who is notified by files is so once, and
/// nobody waits for ever.
#[test]
fn processors_do_all_of_it_at_once() {
    let events = Arc::new(Events::default());
    let bench = Bench::with(MockWorkers::Queues, |connection| {
        connection.with_notify_events(events.clone())
    });
    bench.controller.attach_files();
    let window = PciWindows::new().memory_64;
    let places = bench.driver();
    places.enable_messages(DOORBELL, SOURCE);
    let table = places.msix.table;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // In configuration space, as the registers are elsewhere all the time.
            let set = |offset: u64, value: u32, bytes: u8| {
                let write = |register, data: &[u8]| {
                    bench.bus.write_config(bench.at, places.window + register, data);
                };
                write(8, &(offset as u32).to_le_bytes());
                write(12, &[bytes, 0, 0, 0]);
                write(16, &value.to_le_bytes());
            };
            for _ in 0..300 {
                set(common::DEVICE_STATUS, 0, 1);
                set(common::DEVICE_STATUS, 3, 1);
                set(common::DRIVER_FEATURE_SELECT, 1, 4);
                set(common::DRIVER_FEATURE, 1, 4);
                set(common::DEVICE_STATUS, 0xb, 1);
                set(common::QUEUE_DESC, 0x1000, 4);
                set(common::QUEUE_DRIVER, 0x2000, 4);
                set(common::QUEUE_DEVICE, 0x3000, 4);
                set(common::QUEUE_MSIX_VECTOR, 0, 2);
                set(common::QUEUE_ENABLE, 1, 2);
                set(common::DEVICE_STATUS, 0xf, 1);
                let lines = bench.seen.queues.lock().unwrap().clone();
                lines.iter().for_each(|line| drop(line.file()));
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            for round in (0..20_000_u32).take_while(|_| !done.load(Ordering::SeqCst)) {
                let command = [6_u8, 4, 2, 6][round as usize % 4];
                bench.bus.write_config(bench.at, 4, &[command, 0]);
            }
        });
        scope.spawn(|| {
            for round in (0..20_000_u64).take_while(|_| !done.load(Ordering::SeqCst)) {
                let place = window.bus + ((round % 3) << 20);
                bench.bus.write_config(bench.at, 0x10, &(place as u32).to_le_bytes());
                bench.bus.write_config(bench.at, 0x14, &((place >> 32) as u32).to_le_bytes());
            }
        });
        scope.spawn(|| {
            for round in (0..20_000_u32).take_while(|_| !done.load(Ordering::SeqCst)) {
                bench.bus.write_memory(table + 12, &(round & 1).to_le_bytes());
                bench.bus.write_memory(window.bus + 0x3000, &[0; 2]);
            }
        });
    });
    assert!(bench.activations() > 0);
    bench.bus.reset();
    assert!(events.places().is_empty() && bench.controller.attached().is_empty());
    let driver = bench.driver();
    let mut queue = bench.start(&driver);
    bench.round(&driver, &mut queue);
}
