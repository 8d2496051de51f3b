//! A block device behind a bus, through its driver's door.

use std::time::{Duration, Instant};

use arch_ppc64::fdt::Tree;
use arch_ppc64::pci::{PciBus, PciWindows};

use super::*;
use crate::pci::Bus;
use crate::virtio::mock::MockController;
use crate::virtio::pci_driver::Driver;
use crate::virtio::{Execution, VirtioPci};

/// IEEE 1275 §3.7.2, with the name that the binding for PCI gives.
#[test]
fn boot_loaders_know_the_disk_by_its_type() {
    let memory: Memory =
        Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).unwrap());
    let bus = Bus::new(PciWindows::new());
    let connection = Arc::new(MockController::default()).connection(bus.next_free().unwrap());
    let block = Box::new(Block::new(Arc::new(MemoryDisk::new(false)), 1));
    let function = VirtioPci::new("disk0", block, memory, connection).unwrap();
    let at = bus.add(None, Arc::new(function)).unwrap();
    let mut tree = Tree::new();
    bus.describe(at, &mut tree.node("/scsi@0").unwrap()).unwrap();
    assert_eq!(tree.value("/scsi@0", "device_type"), Some(&b"block\0"[..]));
    assert_eq!(tree.value("/scsi@0", "name"), None);
}

/// DEVICE_NEEDS_RESET (Virtio 1.2 §2.1).
const NEEDS_RESET: u8 = 64;

/// What hangs is ended so late.
const HANGS: Duration = Duration::from_secs(120);

fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HANGS, "it does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_driver_finds_and_uses_the_disk() {
    for execution in [Execution::Threads, Execution::Inline] {
        let memory: Memory =
            Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).unwrap());
        let disk = Arc::new(MemoryDisk::new(false));
        let bus = Bus::new(PciWindows::new());
        let controller = Arc::new(MockController::default());
        let connection = controller.connection(bus.next_free().unwrap()).with_execution(execution);
        let block = Box::new(Block::new(disk.clone(), 2));
        let function = VirtioPci::new("disk0", block, memory.clone(), connection).unwrap();
        let at = bus.add(None, Arc::new(function)).unwrap();

        let driver = Driver::probe(&bus, at);
        let mut capacity = [0; 8];
        driver.read_device(0, &mut capacity);
        assert_eq!(u64::from_le_bytes(capacity), SECTORS);

        // Twice, with a mistake at the end that only a reset mends.
        for round in 0..2u8 {
            let features = driver.negotiate(ALL).unwrap();
            assert_ne!(features & 1 << VIRTIO_BLK_F_MQ, 0);
            let mut queue = driver.queue(&*memory, 1, 16, GuestAddress(0x2000));
            driver.driver_ok();
            let mut ask = |kind: u32, data: Buffer| {
                let mut header = [0; 16];
                header[..4].copy_from_slice(&kind.to_le_bytes());
                header[8] = 7;
                memory.write_obj(header, GuestAddress(HEADER)).unwrap();
                let header = Buffer::readable(HEADER, 16);
                queue.add(&[header, data, Buffer::writable(STATUS, 1)]);
                driver.notify(1);
                let mut used = None;
                until(|| {
                    used = queue.next_used();
                    used.is_some() || driver.status() & NEEDS_RESET != 0
                });
                used.map(|(_, bytes)| (memory.read_obj::<u8>(GuestAddress(STATUS)).unwrap(), bytes))
            };
            memory.write_slice(&[round + 1; 512], GuestAddress(DATA)).unwrap();
            let written = ask(VIRTIO_BLK_T_OUT, Buffer::readable(DATA, 512));
            assert_eq!(written, Some((OK, 1)));
            let read = ask(VIRTIO_BLK_T_IN, Buffer::writable(DATA + 512, 512));
            assert_eq!(read, Some((OK, 513)));
            let copy: [u8; 16] = memory.read_obj(GuestAddress(DATA + 512)).unwrap();
            assert_eq!(copy, [round + 1; 16]);

            let outside = Buffer::writable(MEMORY_BYTES as u64, 512);
            assert_eq!(ask(VIRTIO_BLK_T_IN, outside), None);
            assert_ne!(driver.status() & NEEDS_RESET, 0);
        }
        assert_eq!(disk.bytes.lock().unwrap()[7 * 512], 2);
    }
}
