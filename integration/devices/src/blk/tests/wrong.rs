//! Requests that make no sense, and disks that fail.

use super::*;

#[test]
fn what_is_not_on_the_disk_is_an_error() {
    let disk = Arc::new(MemoryDisk::new(false));
    let mut rig = Rig::new(disk.clone());
    for (sector, bytes) in [
        (SECTORS, 512),
        (SECTORS - 1, 1024),
        (u64::MAX, 512),
        (u64::MAX / 512, 512),
        (u64::MAX / 512 + 1, 512),
        (1 << 55, 512),
        (0, 511),
        (0, 1),
        (0, 513),
    ] {
        let read = [Buffer::writable(DATA, bytes)];
        assert_eq!(rig.ask(VIRTIO_BLK_T_IN, sector, &read), (IOERR, 0), "{sector} {bytes}");
        let write = [Buffer::readable(DATA, bytes)];
        assert_eq!(rig.ask(VIRTIO_BLK_T_OUT, sector, &write), (IOERR, 1), "{sector} {bytes}");
    }
    assert_eq!(disk.transfers.load(Ordering::SeqCst), 0);
}

#[test]
fn unknown_kinds_are_told() {
    let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
    for kind in [2, 3, 5, 10, 14, 0x8000_0000, u32::MAX] {
        assert_eq!(rig.ask(kind, 0, &[]), (UNSUPP, 1));
        assert_eq!(rig.ask(kind, 0, &[Buffer::writable(DATA, 512)]), (UNSUPP, 0));
    }
    // A header that is cut off.
    let buffers = [Buffer::readable(HEADER, 15), Buffer::writable(STATUS, 1)];
    assert_eq!(rig.ask_with(&buffers), (IOERR, 1));
    assert_eq!(rig.ask_with(&buffers[1..]), (IOERR, 1));
}

/// "A device MUST set the status byte to VIRTIO_BLK_S_IOERR for a write request if the
/// VIRTIO_BLK_F_RO feature if offered, and MUST NOT write any data" (Virtio 1.2 §5.2.6.2).
#[test]
fn what_is_read_only_is_not_written() {
    let disk = Arc::new(MemoryDisk::new(true));
    let mut rig = Rig::new(disk.clone());
    assert_eq!(rig.ask(VIRTIO_BLK_T_OUT, 0, &[Buffer::readable(DATA, 512)]), (IOERR, 1));
    for kind in [VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES] {
        assert_eq!(rig.ask(kind, 0, &[Buffer::readable(DATA, 16)]), (UNSUPP, 1));
    }
    assert_eq!(disk.transfers.load(Ordering::SeqCst), 0);
    assert_eq!(rig.ask(VIRTIO_BLK_T_IN, 3, &[Buffer::writable(DATA, 512)]), (OK, 513));
}

#[test]
fn errors_of_the_host_are_errors_of_the_disk() {
    let disk = Arc::new(MemoryDisk::new(false));
    let mut rig = Rig::new(disk.clone());
    disk.fails.store(true, Ordering::SeqCst);
    assert_eq!(rig.ask(VIRTIO_BLK_T_IN, 0, &[Buffer::writable(DATA, 512)]), (IOERR, 0));
    assert_eq!(rig.ask(VIRTIO_BLK_T_OUT, 0, &[Buffer::readable(DATA, 512)]), (IOERR, 1));
    assert_eq!(rig.ask(VIRTIO_BLK_T_FLUSH, 0, &[]), (IOERR, 1));
    disk.fails.store(false, Ordering::SeqCst);
    assert_eq!(rig.ask(VIRTIO_BLK_T_FLUSH, 0, &[]), (OK, 1));
}

/// What cannot be answered stops the queue, until a reset.
#[test]
fn broken_chains_need_a_reset() {
    let far = MEMORY_BYTES as u64;
    let header = Buffer::readable(HEADER, 16);
    let status = Buffer::writable(STATUS, 1);
    for buffers in [
        &[header][..],
        &[header, Buffer::readable(DATA, 512)],
        &[Buffer::readable(far, 16), status],
        &[header, Buffer::writable(far - 1, 512), status],
        &[header, Buffer::writable(DATA, u32::MAX), status],
        &[header, Buffer::writable(u64::MAX, 512), status],
        &[header, Buffer::writable(far, 1)],
        &[status, header],
    ] {
        let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
        let good = rig.request(VIRTIO_BLK_T_IN, 0, &[Buffer::writable(DATA, 512)]);
        rig.driver.add(&good);
        rig.driver.add(buffers);
        rig.driver.add(&good);
        assert!(!rig.handler.handle());
        assert_eq!(rig.interrupts.reset_count(), 1, "{buffers:?}");
        // What came before is done, and told.
        assert_eq!(rig.driver.next_used(), Some((0, 513)));
        assert_eq!(rig.driver.next_used(), None);
        assert_eq!(rig.interrupts.used_count(), 1);
        assert!(!rig.handler.handle());
        assert_eq!((rig.driver.next_used(), rig.interrupts.reset_count()), (None, 1));
    }
}

#[test]
fn rings_that_make_no_sense_need_a_reset() {
    for index in [QUEUE_SIZE + 1, u16::MAX] {
        let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
        rig.driver.set_available_index(index);
        assert!(!rig.handler.handle());
        assert_eq!(rig.interrupts.reset_count(), 1);
    }
    // A head that is no descriptor.
    let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
    rig.driver.make_available(QUEUE_SIZE);
    assert!(!rig.handler.handle());
    assert_eq!(rig.interrupts.reset_count(), 1);
}

/// The data of a request is its own header, descriptor table and rings.
#[test]
fn a_request_may_write_over_its_queue() {
    let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
    let whole = [Buffer::writable(0, 0x4000)];
    let buffers = rig.request(VIRTIO_BLK_T_IN, 0, &whole);
    rig.driver.add(&buffers);
    // Whatever comes of it ends.
    for _ in 0..10 {
        rig.handler.handle();
    }
}

#[test]
fn a_driver_without_queues_is_refused() {
    let memory: Memory =
        Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
    let mut device = Block::new(Arc::new(MemoryDisk::new(false)), 0);
    assert_eq!(VirtioDevice::<Memory>::queue_sizes(&device), [QUEUE_SIZE]);
    let interrupts = Arc::new(CountedInterrupts::default());
    let activation = Activation::new(memory, 0, Vec::new(), interrupts);
    assert!(matches!(device.activate(activation), Err(ActivateError::Queue(0))));
}
