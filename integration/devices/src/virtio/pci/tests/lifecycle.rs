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
            driver.queue(&*bench.memory, index, 16, GuestAddress(0x1000 * u64::from(index + 1)))
        });
        driver.enable_messages(DOORBELL, SOURCE);
        // What is there before is handled when the device becomes active.
        queues[1].add(&buffer());
        driver.driver_ok();
        assert_eq!(driver.status(), 0xf);
        until(|| queues[1].take_used() == Some((0, 0)));
        for round in 1..100 {
            let head = queues[0].add(&buffer());
            driver.notify(0);
            until(|| queues[0].take_used() == Some((head, head.into())));
            until(|| bench.controller.pulses(SOURCE + 1) == round);
        }
        assert_eq!(bench.controller.pulses(SOURCE + 2), 1);
        assert_eq!(bench.controller.pulses(SOURCE), 0);
        assert_eq!(bench.activations(), 1);
    }
}
