//! Drivers that mean harm.

use virtio_queue::desc::split::Descriptor;

use super::*;

/// Numbers that look as if they were random, the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn queues_that_are_not_in_memory_need_a_reset() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    let end = RAM_BYTES as u64;
    let good = [0x1000, 0x2000, 0x3000];
    let bad = [end, end - 16, u64::MAX, !0xf, 1 << 63, 0x1001];
    for part in 0..3 {
        for place in bad {
            let mut places = good;
            places[part] = place;
            driver.negotiate(0).unwrap();
            driver.enable_messages(DOORBELL, SOURCE);
            driver.queue(bench.memory.clone(), 1, 16, GuestAddress(0x8000));
            driver.enable(0, 16, places);
            driver.driver_ok();
            assert_eq!(driver.status(), ALL_WELL | NEEDS_RESET, "part {part} at {place:#x}");
            driver.notify(0);
            driver.notify(1);
        }
    }
    assert_eq!((bench.activations(), bench.workers()), (0, 0));
    assert_eq!(bench.controller.pulses(SOURCE), 3 * bad.len());
    let mut queue = bench.start(&driver);
    bench.round(&driver, &mut queue);
}

/// Over each other, they spoil what the driver finds, and nothing else.
#[test]
fn queues_over_each_other_are_the_drivers_affair() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Inline);
    let driver = bench.driver();
    for places in [[0x1000, 0x1000, 0x1000], [0x1000, 0x1010, 0x1004], [0, 0, 0]] {
        driver.negotiate(0).unwrap();
        driver.enable(0, 16, places);
        driver.enable(1, 16, places);
        driver.driver_ok();
        assert_eq!(driver.status() & !NEEDS_RESET, ALL_WELL);
        for queue in [0, 1, 0, 1] {
            driver.notify(queue);
        }
    }
    let mut queue = bench.start(&driver);
    bench.round(&driver, &mut queue);
}

/// An index that is further than the queue is long, heads that are no descriptors, chains that lead
/// to themselves.
#[test]
fn rings_that_make_no_sense_end_somewhere() {
    for execution in [Execution::Threads, Execution::Inline] {
        let bench = Bench::new(MockWorkers::Queues, execution);
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        queue.write_descriptor(0, Descriptor::new(0x8_0000, 16, 1, 0));
        queue.make_available(0);
        queue.make_available(u16::MAX);
        driver.notify(0);
        queue.set_available_index(0x7777);
        driver.notify(0);
        driver.reset();
        let mut queue = bench.start(&driver);
        bench.round(&driver, &mut queue);
    }
}

/// Every register, in every width, at every offset, with all kinds of values: the device is as good
/// as new after a reset.
#[test]
fn accesses_of_every_width_at_every_offset() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Inline);
    let driver = bench.driver();
    let base = driver.bar(0);
    bench.start(&driver);
    let starts = [0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000, 0x1_0000];
    for value in [
        [0; 16],
        [0xff; 16],
        [1; 16],
        [0x80; 16],
        *b"\x04\x08\x0f\0\x01\x40\0\0\xfe\0\0\0\x02\0\0\0",
    ] {
        for start in starts {
            for offset in start - 16_i64..start + 0x50 {
                for bytes in 1..=16 {
                    let at = base.wrapping_add_signed(offset);
                    bench.bus.write_memory(at, &value[..bytes]);
                    let mut data = [0; 16];
                    bench.bus.read_memory(at, &mut data[..bytes]);
                }
            }
        }
    }
    driver.reset();
    driver.set_config_16(driver.msix.capability + 2, 0);
    let mut queue = bench.start(&driver);
    bench.round(&driver, &mut queue);
}

/// Bytes of a field, and several fields at once, are what they are as numbers.
#[test]
fn fields_are_bytes() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    driver.negotiate(0).unwrap();
    let mut all = [0; common::END as usize];
    for (offset, byte) in (0..).zip(&mut all) {
        bench.bus.read_memory(driver.common + offset, std::slice::from_mut(byte));
    }
    for bytes in 1..=16 {
        for offset in 0..=all.len() - bytes {
            let mut data = [0xaa; 16];
            bench.bus.read_memory(driver.common + offset as u64, &mut data[..bytes]);
            assert_eq!(data[..bytes], all[offset..offset + bytes]);
        }
    }
    // Halves of an address, byte by byte and across it.
    for (offset, byte) in (0..).zip(0x10..0x18) {
        bench.bus.write_memory(driver.common + common::QUEUE_DESC + offset, &[byte]);
    }
    bench.bus.write_memory(driver.common + common::QUEUE_DESC + 6, &[0x26, 0x27, 0x28, 0x29]);
    let mut data = [0; 16];
    bench.bus.read_memory(driver.common + common::QUEUE_DESC, &mut data);
    let expected = [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x26, 0x27, 0x28, 0x29, 0, 0, 0, 0, 0, 0];
    assert_eq!(data, expected);
    // A queue is selected before the rest of the same store is written.
    bench.bus.write_memory(driver.common + common::QUEUE_SELECT, &[2, 0, 128, 0]);
    assert_eq!(driver.common_16(common::QUEUE_SIZE), 128);
    driver.set_common_16(common::QUEUE_SELECT, 0);
    assert_eq!(driver.common_16(common::QUEUE_SIZE), 16);
}

#[test]
fn configuration_space_takes_whatever_is_written() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let mut random = Random(1);
    for _ in 0..20_000 {
        let bytes = [1, 2, 4][(random.next() % 3) as usize];
        let register = (random.next() % (256 / bytes as u64)) as u16 * bytes as u16;
        let value = random.next().to_le_bytes();
        bench.bus.write_config(bench.at, register, &value[..bytes]);
        let mut data = [0; 4];
        bench.bus.read_config(bench.at, register, &mut data[..bytes]);
    }
    bench.bus.reset();
    let driver = bench.driver();
    let mut queue = bench.start(&driver);
    bench.round(&driver, &mut queue);
}

/// Registers, configuration space and queues, as they come.
#[test]
fn anything_in_any_order() {
    for execution in [Execution::Threads, Execution::Inline] {
        let bench = Bench::new(MockWorkers::Queues, execution);
        let window = PciWindows::new().memory_64;
        let mut random = Random(7);
        for _ in 0..200 {
            let driver = bench.driver();
            bench.start(&driver);
            for _ in 0..50 {
                let offset = match random.next() % 8 {
                    0..=3 => random.next() % 0x40,
                    4 => 0x3000 + random.next() % 16,
                    5 => 0x4000 + random.next() % 0x50,
                    6 => random.next() % 0x8000,
                    _ => {
                        let register = (random.next() % 64) as u16 * 4;
                        driver.set_config_32(register, random.next() as u32);
                        continue;
                    }
                };
                let bytes = (random.next() % 16 + 1) as usize;
                let shift = random.next() % 64;
                let value = u128::from(random.next() >> shift).to_le_bytes();
                bench.bus.write_memory(window.bus + offset, &value[..bytes]);
                let mut data = [0; 16];
                bench.bus.read_memory(window.bus + offset, &mut data[..bytes]);
            }
            bench.bus.reset();
        }
        let driver = bench.driver();
        let mut queue = bench.start(&driver);
        bench.round(&driver, &mut queue);
    }
}

#[test]
fn resets_while_others_notify() {
    for execution in [Execution::Threads, Execution::Inline] {
        let bench = Bench::new(MockWorkers::Queues, execution);
        let driver = bench.driver();
        let notify = driver.notify.0;
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        bench.bus.write_memory(notify, &[0; 2]);
                    }
                });
            }
            for _ in 0..50 {
                let mut queue = bench.start(&driver);
                queue.add(&buffer());
                driver.reset();
                assert_eq!(bench.workers(), 0);
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut queue = bench.start(&driver);
        bench.round(&driver, &mut queue);
    }
}
