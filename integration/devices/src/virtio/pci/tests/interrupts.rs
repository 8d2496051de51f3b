//! Messages, the interrupt pin, and files that do the same.

use super::*;

/// The bit of STATUS that says that there is an interrupt for the pin.
const INTERRUPT_STATUS: u16 = 8;

impl Bench {
    /// Tells of used buffers of queue 0.
    fn used(&self) {
        self.seen.queues.lock().unwrap()[0].used();
    }

    fn file(&self, queue: usize) -> io::Result<vmm_sys_util::eventfd::EventFd> {
        let line = Arc::clone(&self.seen.queues.lock().unwrap()[queue]);
        line.file()
    }

    fn configuration_changed(&self) {
        self.seen.interrupt.lock().unwrap().as_ref().unwrap().1.configuration_changed();
    }

    fn is_high(&self) -> bool {
        !self.controller.levels().is_empty()
    }

    /// As [`start`](Self::start), without messages.
    fn start_with_pin(&self, driver: &Driver<'_>) {
        self.start(driver);
        driver.set_config_16(driver.msix.capability + 2, 0);
    }
}

/// "Simply reading this register resets it to 0 and causes the device to de-assert the interrupt"
/// (Virtio 1.2 §4.1.4.5).
#[test]
fn without_messages_there_is_a_pin() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    bench.start_with_pin(&driver);
    assert!(!bench.is_high());
    bench.used();
    assert!(bench.is_high());
    bench.configuration_changed();
    assert_eq!(driver.config_16(6) & INTERRUPT_STATUS, INTERRUPT_STATUS);
    assert_eq!(driver.take_isr(), 3);
    assert!(!bench.is_high());
    assert_eq!(driver.take_isr(), 0);
    assert_eq!(driver.config_16(6) & INTERRUPT_STATUS, 0);
    // "This bit disables the device/function from asserting INTx#" (PCI 3.0 §6.2.2); the status says
    // all the same that it would.
    driver.set_config_16(4, 0x406);
    bench.used();
    assert!(!bench.is_high());
    assert_eq!(driver.config_16(6) & INTERRUPT_STATUS, INTERRUPT_STATUS);
    driver.set_config_16(4, 6);
    assert!(bench.is_high());
    driver.reset();
    assert!(!bench.is_high());
    assert_eq!(bench.controller.pulses(SOURCE + 1), 0);
}

/// With MSI-X enabled, "the function is permitted to use MSI-X to request service and is prohibited
/// from using its INTx# pin" (PCI 3.0 §6.8.2.3).
#[test]
fn messages_take_the_place_of_the_pin() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    bench.start_with_pin(&driver);
    bench.used();
    assert!(bench.is_high());
    driver.set_config_16(driver.msix.capability + 2, 0x8000);
    assert!(!bench.is_high());
    bench.used();
    assert!(!bench.is_high());
    assert_eq!(bench.controller.pulses(SOURCE + 1), 1);
    bench.bus.reset();
    assert!(!bench.is_high());
}

#[test]
fn masked_messages_wait() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    bench.start(&driver);
    driver.mask(1, true);
    bench.used();
    bench.used();
    bench.configuration_changed();
    assert!(driver.is_pending(1) && !driver.is_pending(0));
    assert_eq!(bench.controller.pulses(SOURCE + 1), 0);
    assert_eq!(bench.controller.pulses(SOURCE), 1);
    driver.mask(1, false);
    assert!(!driver.is_pending(1));
    assert_eq!(bench.controller.pulses(SOURCE + 1), 1);
    driver.set_config_16(driver.msix.capability + 2, 0xc000);
    bench.used();
    assert!(driver.is_pending(1));
    driver.set_config_16(driver.msix.capability + 2, 0x8000);
    assert_eq!(bench.controller.pulses(SOURCE + 1), 2);
}

/// A vector that cannot be is not mapped, which the driver reads (Virtio 1.2 §4.1.5.1.2).
#[test]
fn vectors_that_are_not_there_are_none() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    bench.start(&driver);
    driver.set_common_16(common::QUEUE_SELECT, 0);
    for vector in [4, 2048, 0xfffe, 0xffff] {
        for field in [common::QUEUE_MSIX_VECTOR, common::CONFIG_MSIX_VECTOR] {
            driver.set_common_16(field, vector);
            assert_eq!(driver.common_16(field), 0xffff);
        }
        bench.used();
        bench.configuration_changed();
    }
    assert_eq!((0..4).map(|vector| bench.controller.pulses(SOURCE + vector)).sum::<usize>(), 0);
    assert!(!bench.is_high());
    // All by one.
    driver.set_common_16(common::QUEUE_MSIX_VECTOR, 3);
    driver.set_common_16(common::CONFIG_MSIX_VECTOR, 3);
    bench.used();
    bench.configuration_changed();
    assert_eq!(bench.controller.pulses(SOURCE + 3), 2);
}

/// "The device changes this every time the configuration noticeably changes" (Virtio 1.2 §4.1.4.3).
#[test]
fn a_changed_configuration_has_another_generation() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    bench.start(&driver);
    let before = driver.common_8(common::CONFIG_GENERATION);
    bench.configuration_changed();
    assert_ne!(driver.common_8(common::CONFIG_GENERATION), before);
}

#[test]
fn a_file_is_an_interrupt() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    driver.negotiate(0).unwrap();
    for queue in 0..2 {
        driver.queue(bench.memory.clone(), queue, 16, GuestAddress(0x1000 * u64::from(queue + 1)));
    }
    driver.enable_messages(DOORBELL, SOURCE);
    driver.driver_ok();
    let files = [0, 1].map(|queue| bench.file(queue).unwrap());
    let again = bench.file(1).unwrap();
    files[0].write(1).unwrap();
    until(|| bench.controller.pulses(SOURCE + 1) == 1);
    files[1].write(1).unwrap();
    until(|| bench.controller.pulses(SOURCE + 2) == 1);
    again.write(1).unwrap();
    until(|| bench.controller.pulses(SOURCE + 2) == 2);
    driver.mask(2, true);
    files[1].write(1).unwrap();
    until(|| driver.is_pending(2));
    driver.mask(2, false);
    assert_eq!(bench.controller.pulses(SOURCE + 2), 3);
    driver.set_config_16(driver.msix.capability + 2, 0);
    files[0].write(1).unwrap();
    until(|| bench.is_high());
    assert_eq!(driver.take_isr(), 1);
    let line = Arc::clone(&bench.seen.queues.lock().unwrap()[0]);
    driver.reset();
    files[0].write(1).unwrap();
    line.used();
    assert!(line.file().is_err(), "the device is no longer active");
    assert!(!bench.is_high());
}

/// The back end has a file be a message by itself, as long as that is sent at once.
#[test]
fn a_file_is_attached_while_its_message_is_not_masked() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    bench.controller.attach_files();
    let driver = bench.driver();
    bench.start(&driver);
    let source = SOURCE + 1;
    let file = bench.file(0).unwrap();
    assert_eq!(bench.controller.attached(), [source]);
    file.write(1).unwrap();
    bench.controller.poll_files();
    assert_eq!(bench.controller.pulses(source), 1);
    // Masked, it is pending, as the function sees each write.
    driver.mask(1, true);
    assert!(bench.controller.attached().is_empty());
    file.write(1).unwrap();
    until(|| driver.is_pending(1));
    driver.mask(1, false);
    assert_eq!(bench.controller.pulses(source), 2);
    assert_eq!(bench.controller.attached(), [source]);
    // Nothing is told twice.
    bench.controller.poll_files();
    assert_eq!(bench.controller.pulses(source), 2);
    // To another source, and by another vector.
    bench.bus.write_memory(driver.msix.table + 16 + 8, &(SOURCE + 9).to_le_bytes());
    assert_eq!(bench.controller.attached(), [SOURCE + 9]);
    driver.set_common_16(common::QUEUE_SELECT, 0);
    driver.set_common_16(common::QUEUE_MSIX_VECTOR, 2);
    assert_eq!(bench.controller.attached(), [SOURCE + 2]);
    driver.set_common_16(common::QUEUE_MSIX_VECTOR, 0xffff);
    assert!(bench.controller.attached().is_empty());
    driver.set_common_16(common::QUEUE_MSIX_VECTOR, 2);
    // Written while it is attached, and read by nobody before it is masked.
    file.write(1).unwrap();
    driver.set_config_16(driver.msix.capability + 2, 0xc000);
    assert!(bench.controller.attached().is_empty());
    until(|| driver.is_pending(2));
    driver.set_config_16(driver.msix.capability + 2, 0);
    file.write(1).unwrap();
    until(|| bench.is_high());
    driver.set_config_16(driver.msix.capability + 2, 0x8000);
    assert_eq!(bench.controller.attached(), [SOURCE + 2]);
    driver.reset();
    assert!(bench.controller.attached().is_empty());
}
