//! Requests that make no sense, and disks that fail.

use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;

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

/// A driver that passes the same memory a thousand times does not keep the device busy.
#[test]
fn transfers_have_a_limit() {
    struct Large(MemoryDisk);
    impl Disk for Large {
        fn size_bytes(&self) -> u64 {
            1 << 40
        }
        fn block_sizes(&self) -> BlockSizes {
            self.0.block_sizes()
        }
        fn is_read_only(&self) -> bool {
            false
        }
        fn id(&self) -> &str {
            self.0.id()
        }
        fn read_at(&self, to: &mut Scatter<'_>, _: u64) -> io::Result<()> {
            self.0.with(|_| to.split_front(to.len())).map(drop)
        }
        fn write_at(&self, _: &mut Gather<'_>, _: u64) -> io::Result<()> {
            self.0.with(|_| ())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
        fn discard(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write_zeroes(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
            Ok(())
        }
    }
    let disk = Arc::new(Large(MemoryDisk::new(false)));
    let mut rig = Rig::new(disk.clone());
    let part = 512 << 10;
    // As much as `size_max` and `seg_max` allow.
    let data = vec![Buffer::writable(DATA, part); 508];
    let buffers = rig.request(VIRTIO_BLK_T_IN, 0, &data);
    let mut statuses = Vec::new();
    let mut more = buffers.clone();
    more.insert(1, Buffer::writable(DATA, 512));
    for buffers in [buffers, more] {
        rig.driver.add_indirect(GuestAddress(0x4000), &buffers);
        while rig.handler.handle() {}
        let (_, written) = rig.driver.next_used().unwrap();
        statuses.push((rig.bytes(STATUS, 1)[0], written));
    }
    assert_eq!(statuses, [(OK, 508 * part + 1), (IOERR, 0)]);
    assert_eq!(disk.0.transfers.load(Ordering::SeqCst), 1);

    // Many of them: others have their turn in between.
    let buffers = rig.request(VIRTIO_BLK_T_IN, 0, &data);
    for _ in 0..8 {
        rig.driver.add_indirect(GuestAddress(0x4000), &buffers);
    }
    assert!(rig.handler.handle());
    assert_eq!(disk.0.transfers.load(Ordering::SeqCst), 2);
    while rig.handler.handle() {}
    assert_eq!(disk.0.transfers.load(Ordering::SeqCst), 9);
}

/// Whatever is in the memory of a queue and of its requests, it is answered or the device needs a
/// reset, and nothing is touched outside.
#[test]
fn any_queue_is_answered_or_broken() {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let (mut answered, mut broken) = (0, 0);
    for _ in 0..800 {
        let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
        let places =
            [HEADER, STATUS, DATA, 0x1000, 0x4000, MEMORY_BYTES as u64 - 512, u64::MAX - 20];
        let lengths = [0, 1, 15, 16, 17, 32, 512, 513, 4096, 1 << 20, u32::MAX];
        for index in 0..16 {
            let at = places[numbers.below(places.len() as u64) as usize];
            let bytes = lengths[numbers.below(lengths.len() as u64) as usize];
            // Mostly chains that go on, some written, few indirect.
            let flags = [0, 1, 1, 2, 3, 3, 4, 7][numbers.below(8) as usize];
            let next = numbers.below(18) as u16;
            rig.driver.write_descriptor(index, Descriptor::new(at, bytes, flags, next));
            // A table as well.
            let entry = Descriptor::new(at, bytes, flags, next);
            let table = GuestAddress(0x4000 + 16 * u64::from(index));
            rig.memory.write_obj(RawDescriptor::from(entry), table).unwrap();
        }
        let kind = [0, 1, 4, 8, 11, 13, 77][numbers.below(7) as usize];
        rig.request(kind, numbers.below(80), &[]);
        for _ in 0..8 {
            rig.driver.make_available(numbers.below(16) as u16);
        }
        while rig.handler.handle() {}
        answered += std::iter::from_fn(|| rig.driver.next_used()).count();
        broken += rig.interrupts.reset_count();
    }
    assert!(answered > 50 && broken > 50, "{answered} {broken}");
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

/// A driver without indirect descriptors has to find room for what it is told that it may ask for.
#[test]
fn segments_find_room_in_a_queue() {
    for (asked, size, segments) in
        [(0, 4, 2), (4, 4, 2), (100, 64, 62), (1024, 1024, 254), (u16::MAX, 32768, 254)]
    {
        let device = Block::new(Arc::new(MemoryDisk::new(false)), 2).with_queue_size(asked);
        assert_eq!(VirtioDevice::<Memory>::queue_sizes(&device), [size, size]);
        let mut data = [0; 4];
        VirtioDevice::<Memory>::read_config(&device, 12, &mut data);
        assert_eq!(u32::from_le_bytes(data), segments);
    }
}
