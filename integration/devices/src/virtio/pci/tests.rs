//! Devices behind a bus, through their driver's door.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arch_ppc64::pci::{PciAddress, PciWindows};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::pci::Bus;
use crate::virtio::mock::{MockController, MockDevice, MockWorkers, Seen};
use crate::virtio::pci_driver::{Driver, Piece};

mod lifecycle;

type Memory = Arc<GuestMemoryMmap>;

const RAM_BYTES: usize = 1 << 20;
const DOORBELL: u64 = PciWindows::new().doorbell;

/// The message of vector 0; the others follow.
const SOURCE: u32 = 0x1300;

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
        let mut bus = Bus::new(PciWindows::new());
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

    fn activations(&self) -> usize {
        self.seen.activations.load(Ordering::SeqCst)
    }
}

/// A buffer of the guest.
fn buffer() -> [Piece; 2] {
    [Piece::readable(GuestAddress(0x8_0000), 16), Piece::writable(GuestAddress(0x8_1000), 16)]
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
