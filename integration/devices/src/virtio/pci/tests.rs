//! Devices behind a bus, through their driver's door.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arch_ppc64::pci::{PciAddress, PciBus, PciWindows};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::pci::Bus;
use crate::virtio::driver::{Buffer, DriverQueue};
use crate::virtio::mock::{MockController, MockDevice, MockWorkers, Seen};
use crate::virtio::pci_driver::{Driver, common};

mod hostile;
mod interrupts;
mod lifecycle;
mod notifications;
mod pause;
mod saved;

type Memory = Arc<GuestMemoryMmap>;
type TestQueue = DriverQueue<Memory>;

const RAM_BYTES: usize = 1 << 20;
const DOORBELL: u64 = PciWindows::new().doorbell;

/// The message of vector 0; the others follow.
const SOURCE: u32 = 0x1300;

/// Bits of the status.
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const FAILED: u8 = 0x80;
const NEEDS_RESET: u8 = 0x40;
const ALL_WELL: u8 = 0xf;

/// A bus with one mock device.
struct Bench {
    memory: Memory,
    bus: Bus,
    at: PciAddress,
    seen: Arc<Seen>,
    controller: Arc<MockController>,
}

impl Bench {
    fn new(workers: MockWorkers, execution: Execution) -> Self {
        Self::with(workers, |connection| connection.with_execution(execution))
    }

    fn with(workers: MockWorkers, connect: impl FnOnce(Connection) -> Connection) -> Self {
        let ranges = [(GuestAddress(0), RAM_BYTES)];
        let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap());
        Self::in_memory(memory, workers, connect)
    }

    fn in_memory(
        memory: Memory,
        workers: MockWorkers,
        connect: impl FnOnce(Connection) -> Connection,
    ) -> Self {
        let bus = Bus::new(PciWindows::new());
        let controller = Arc::new(MockController::default());
        let connection = connect(controller.connection(bus.next_free().unwrap()));
        let (device, seen) = MockDevice::new(&[16, 16, 256], workers);
        let function =
            VirtioPci::new("mock0", Box::new(device), Arc::clone(&memory), connection).unwrap();
        let at = bus.add(None, Arc::new(function)).unwrap();
        Self { memory, bus, at, seen, controller }
    }

    fn driver(&self) -> Driver<'_> {
        Driver::probe(&self.bus, self.at)
    }

    /// Sets up queue 0, with messages, and makes the device active.
    fn start(&self, driver: &Driver<'_>) -> TestQueue {
        driver.negotiate(1 << VIRTIO_RING_F_EVENT_IDX).unwrap();
        let queue = driver.queue(self.memory.clone(), 0, 16, GuestAddress(0x1000));
        driver.enable_messages(DOORBELL, SOURCE);
        driver.driver_ok();
        assert_eq!(driver.status(), ALL_WELL);
        queue
    }

    /// A buffer goes to the device and back.
    fn round(&self, driver: &Driver<'_>, queue: &mut TestQueue) {
        let before = self.controller.pulses(SOURCE + 1);
        let head = queue.add(&buffer());
        driver.notify(0);
        until(|| take(queue) == Some(head));
        until(|| self.controller.pulses(SOURCE + 1) > before);
    }

    fn workers(&self) -> usize {
        self.seen.workers.load(Ordering::SeqCst)
    }

    fn activations(&self) -> usize {
        self.seen.activations.load(Ordering::SeqCst)
    }
}

/// A buffer of the guest.
fn buffer() -> [Buffer; 2] {
    [Buffer::readable(0x8_0000, 16), Buffer::writable(0x8_1000, 16)]
}

/// The first descriptor of the next buffer that came back from the mock device. It wants to be told
/// of the one after that.
fn take(queue: &mut TestQueue) -> Option<u16> {
    let (head, written) = queue.next_used()?;
    assert_eq!(head, written, "it is what the mock device says it wrote");
    queue.set_used_event(queue.used_index());
    Some(head as u16)
}

/// Waits for something that another thread does; for ever is an error.
fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not come");
}
