//! Requests that make sense.

use super::*;

#[test]
fn data_is_read_and_written() {
    let disk = Arc::new(MemoryDisk::new(false));
    let mut rig = Rig::new(disk.clone());
    let pieces = [Buffer::writable(DATA, 1000), Buffer::writable(DATA + 1000, 24)];
    assert_eq!(rig.ask(VIRTIO_BLK_T_IN, 5, &pieces), (OK, 1025));
    let expected: Vec<u8> = [[5; 512], [6; 512]].concat();
    assert_eq!(rig.bytes(DATA, 1024), expected);

    rig.memory.write_slice(&[0xaa; 512], GuestAddress(DATA)).unwrap();
    let pieces = [Buffer::readable(DATA, 1), Buffer::readable(DATA + 1, 511)];
    assert_eq!(rig.ask(VIRTIO_BLK_T_OUT, SECTORS - 1, &pieces), (OK, 1));
    let bytes = disk.bytes.lock().unwrap();
    assert_eq!(bytes[63 * 512..], [0xaa; 512]);
    assert_eq!(bytes[62 * 512], 62);
}

/// "The device MUST NOT make assumptions about the particular arrangement of descriptors"
/// (Virtio 1.2 §2.7.4.1): header, data and status in any pieces.
#[test]
fn framing_does_not_matter() {
    let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
    let header = |from, to| Buffer::readable(HEADER + from, (to - from) as u32);
    rig.request(VIRTIO_BLK_T_IN, 9, &[]);
    let buffers = [
        header(0, 3),
        header(3, 16),
        Buffer::writable(DATA, 511),
        // The last byte of data, and the status.
        Buffer::writable(DATA + 511, 2),
    ];
    rig.driver.add(&buffers);
    rig.driver.add_indirect(GuestAddress(0x9000), &buffers);
    assert!(!rig.handler.handle());
    assert_eq!(rig.driver.next_used(), Some((0, 513)));
    assert_eq!(rig.driver.next_used(), Some((4, 513)));
    assert_eq!(rig.bytes(DATA, 513), [vec![9; 512], vec![OK]].concat());

    // Header and data of a write in one buffer.
    let data = HEADER + 16;
    rig.request(VIRTIO_BLK_T_OUT, 1, &[]);
    rig.memory.write_slice(&[0x77; 512], GuestAddress(data)).unwrap();
    let status = data + 512;
    rig.driver.add(&[Buffer::readable(HEADER, 16 + 512), Buffer::writable(status, 1)]);
    assert!(!rig.handler.handle());
    assert_eq!(rig.driver.next_used(), Some((5, 1)));
    assert_eq!(rig.bytes(status, 1), [OK]);
    assert_eq!(rig.ask(VIRTIO_BLK_T_IN, 1, &[Buffer::writable(DATA, 512)]), (OK, 513));
    assert_eq!(rig.bytes(DATA, 512), [0x77; 512]);
}

#[test]
fn the_id_has_twenty_bytes() {
    let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
    assert_eq!(rig.ask(VIRTIO_BLK_T_GET_ID, 0, &[Buffer::writable(DATA, 20)]), (OK, 21));
    assert_eq!(rig.bytes(DATA, 21), b"a name of more than \0");
    // Of a longer buffer, what follows is not written, and is not said to be.
    assert_eq!(rig.ask(VIRTIO_BLK_T_GET_ID, 0, &[Buffer::writable(DATA, 30)]), (OK, 20));
    assert_eq!(rig.ask(VIRTIO_BLK_T_GET_ID, 0, &[Buffer::writable(DATA, 4)]), (OK, 5));
}

/// Ranges as a driver passes them.
fn ranges(rig: &Rig, ranges: &[(u64, u32, u32)]) -> [Buffer; 1] {
    let mut list = Vec::new();
    for (sector, sectors, flags) in ranges {
        list.extend(sector.to_le_bytes());
        list.extend(sectors.to_le_bytes());
        list.extend(flags.to_le_bytes());
    }
    rig.memory.write_slice(&list, GuestAddress(DATA)).unwrap();
    [Buffer::readable(DATA, list.len() as u32)]
}

#[test]
fn ranges_are_discarded_and_zeroed() {
    let disk = Arc::new(MemoryDisk::new(false));
    let mut rig = Rig::new(disk.clone());
    let list = ranges(&rig, &[(3, 2, 0), (10, 1, 0), (63, 1, 0), (0, 0, 0)]);
    assert_eq!(rig.ask(VIRTIO_BLK_T_DISCARD, 0, &list), (OK, 1));
    for (flags, sector) in [(0, 20), (1, 30)] {
        let list = ranges(&rig, &[(sector, 4, flags)]);
        assert_eq!(rig.ask(VIRTIO_BLK_T_WRITE_ZEROES, 0, &list), (OK, 1));
    }
    let bytes = disk.bytes.lock().unwrap();
    for (sector, data) in bytes.chunks(512).enumerate() {
        let is_gone = matches!(sector, 3 | 4 | 10 | 63 | 20..=23 | 30..=33);
        assert_eq!(data, [if is_gone { 0 } else { sector as u8 }; 512]);
    }
}

/// One range that cannot be, and none is touched.
#[test]
fn wrong_ranges_are_refused() {
    let disk = Arc::new(MemoryDisk::new(false));
    let mut rig = Rig::new(disk.clone());
    let (discard, zero) = (VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES);
    for (kind, list, status) in [
        (discard, &[(1, 1, 0), (SECTORS, 1, 0)][..], IOERR),
        (discard, &[(1, 1, 0), (u64::MAX, 1, 0)], IOERR),
        (discard, &[(1, 1, 0), (u64::MAX / 512, u32::MAX, 0)], IOERR),
        (discard, &[(1, 1, 1)], UNSUPP),
        (discard, &[(1, 1, 2)], UNSUPP),
        (zero, &[(1, 1, 2)], UNSUPP),
        (zero, &[(1, 1, 0), (2, 1, 0)], IOERR),
        (discard, &[(1, 1, 0); 33], IOERR),
        (discard, &[], IOERR),
    ] {
        let list = ranges(&rig, list);
        assert_eq!(rig.ask(kind, 0, &list), (status, 1));
    }
    assert_eq!(rig.ask(discard, 0, &[Buffer::readable(DATA, 15)]), (IOERR, 1));
    assert_eq!(disk.transfers.load(Ordering::SeqCst), 0);
}

#[test]
fn what_was_not_negotiated_is_unknown() {
    let block = Block::new(Arc::new(MemoryDisk::new(false)), 1);
    let mut rig = Rig::with_features(block, 0);
    for kind in [VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES] {
        let list = ranges(&rig, &[(1, 1, 0)]);
        assert_eq!(rig.ask(kind, 0, &list), (UNSUPP, 1));
    }
}

#[test]
fn writes_last_when_the_driver_relies_on_it() {
    let flush = 1 << VIRTIO_BLK_F_FLUSH;
    let config = 1 << VIRTIO_BLK_F_CONFIG_WCE;
    for (features, writes_back) in [(ALL, true), (flush, true), (0, false), (config, false)] {
        let disk = Arc::new(MemoryDisk::new(false));
        let mut rig = Rig::with_features(Block::new(disk.clone(), 1), features);
        let flushes = || disk.flushes.swap(0, Ordering::SeqCst);
        let write = |rig: &mut Rig| {
            assert_eq!(rig.ask(VIRTIO_BLK_T_OUT, 0, &[Buffer::readable(DATA, 512)]), (OK, 1));
        };
        write(&mut rig);
        assert_eq!(flushes(), u32::from(!writes_back));
        assert_eq!(rig.config(config::WRITEBACK), [u8::from(writes_back)]);
        rig.ask(VIRTIO_BLK_T_FLUSH, 0, &[]);
        assert_eq!(flushes(), 1);

        // The driver may change its mind, if it can.
        VirtioDevice::<Memory>::write_config(&mut rig.device, config::WRITEBACK, &[0]);
        write(&mut rig);
        assert_eq!(flushes(), u32::from(!writes_back || features == ALL));
        VirtioDevice::<Memory>::reset(&mut rig.device);
        assert_eq!(rig.config(config::WRITEBACK), [1]);
    }
}

#[test]
fn the_configuration_says_what_the_disk_is() {
    let rig = Rig::with_features(Block::new(Arc::new(MemoryDisk::new(false)), 4), ALL);
    assert_eq!(rig.config(0), SECTORS.to_le_bytes());
    assert_eq!(rig.config(8), (1u32 << 20).to_le_bytes());
    assert_eq!(rig.config(12), 254u32.to_le_bytes());
    assert_eq!(rig.config(20), 512u32.to_le_bytes());
    assert_eq!(rig.config(24), [3, 0, 8, 0, 0, 0, 0, 0]);
    assert_eq!(rig.config(32), [1, 0, 4, 0]);
    assert_eq!(rig.config(40), [32, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!(rig.config(56), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rig.config::<4>(u64::MAX), [0; 4]);
    let features = |disk, queues| {
        VirtioDevice::<Memory>::features(&Block::new(Arc::new(MemoryDisk::new(disk)), queues))
    };
    let has = |features: u64, feature: u32| features >> feature & 1 != 0;
    assert!(has(features(false, 2), VIRTIO_BLK_F_MQ));
    assert!(!has(features(false, 1), VIRTIO_BLK_F_MQ));
    assert!(!has(features(false, 1), VIRTIO_BLK_F_RO));
    assert!(has(features(true, 1), VIRTIO_BLK_F_RO));
    assert!(!has(features(true, 1), VIRTIO_BLK_F_DISCARD));
}

#[test]
fn a_burst_is_told_of_once_and_notifications_come_back() {
    let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
    let buffers = rig.request(VIRTIO_BLK_T_IN, 1, &[Buffer::writable(DATA, 512)]);
    // The driver wants to know of the third.
    rig.driver.set_used_event(2);
    for _ in 0..2 {
        rig.driver.add(&buffers);
    }
    assert!(!rig.handler.handle());
    assert_eq!(rig.interrupts.used_count(), 0);
    for _ in 0..40 {
        rig.driver.add(&buffers);
    }
    assert!(!rig.handler.handle());
    assert_eq!(rig.interrupts.used_count(), 1);
    // Nothing more, and nothing is said.
    assert!(!rig.handler.handle());
    assert_eq!(rig.interrupts.used_count(), 1);
    assert_eq!(std::iter::from_fn(|| rig.driver.next_used()).count(), 42);
}

#[test]
fn nobody_waits_for_ever_for_a_busy_queue() {
    let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
    let flush = rig.request(VIRTIO_BLK_T_FLUSH, 0, &[]);
    for _ in 0..QUEUE_SIZE {
        rig.driver.add_indirect(GuestAddress(0x9000), &flush);
    }
    assert!(rig.handler.handle());
    let done = std::iter::from_fn(|| rig.driver.next_used()).count();
    assert!(0 < done && done < usize::from(QUEUE_SIZE), "{done}");
    while rig.handler.handle() {}
    let rest = std::iter::from_fn(|| rig.driver.next_used()).count();
    assert_eq!(done + rest, usize::from(QUEUE_SIZE));
}

#[test]
fn queues_work_side_by_side_and_after_a_reset() {
    let disk = Arc::new(MemoryDisk::new(false));
    let mut device = Block::new(disk, 3);
    let memory: Memory =
        Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).unwrap());
    for _ in 0..2 {
        let interrupts = Arc::new(CountedInterrupts::default());
        let mut drivers: Vec<_> = (1..=3)
            .map(|number| DriverQueue::new(memory.clone(), GuestAddress(number << 13), QUEUE_SIZE))
            .collect();
        let all: Vec<_> = drivers.iter().collect();
        let handlers = activate(&mut device, &memory, &all, &interrupts, ALL);
        std::thread::scope(|scope| {
            for (number, (mut handler, driver)) in (1..).zip(handlers.into_iter().zip(&mut drivers))
            {
                let memory = &memory;
                scope.spawn(move || {
                    let at = DATA + 0x1000 * number;
                    let mut header = [0; 16];
                    header[8] = number as u8;
                    memory.write_obj(header, GuestAddress(at)).unwrap();
                    for _ in 0..1000 {
                        let data = Buffer::writable(at + 0x100, 513);
                        driver.add(&[Buffer::readable(at, 16), data]);
                        assert!(!handler.handle());
                        assert_eq!(driver.next_used().unwrap().1, 513);
                    }
                    let data: [u8; 8] = memory.read_obj(GuestAddress(at + 0x100)).unwrap();
                    assert_eq!(data, [number as u8; 8]);
                });
            }
        });
        VirtioDevice::<Memory>::reset(&mut device);
    }
}

#[test]
fn what_was_done_is_counted() {
    let mut rig = Rig::new(Arc::new(MemoryDisk::new(false)));
    let counters = VirtioDevice::<Memory>::counters(&rig.device).unwrap();
    rig.ask(VIRTIO_BLK_T_IN, 5, &[Buffer::writable(DATA, 1000), Buffer::writable(DATA + 1000, 24)]);
    rig.ask(VIRTIO_BLK_T_OUT, 5, &[Buffer::readable(DATA, 512)]);
    rig.ask(VIRTIO_BLK_T_OUT, 6, &[Buffer::readable(DATA, 1536)]);
    rig.ask(VIRTIO_BLK_T_FLUSH, 0, &[]);
    rig.ask(VIRTIO_BLK_T_GET_ID, 0, &[Buffer::writable(DATA, 20)]);
    // What cannot be is none of them.
    rig.ask(VIRTIO_BLK_T_IN, SECTORS, &[Buffer::writable(DATA, 512)]);
    let pieces = ranges(&rig, &[(8, 8, 0)]);
    rig.ask(VIRTIO_BLK_T_DISCARD, 0, &pieces);
    let expected = [
        ("read_ops", 1),
        ("read_bytes", 1024),
        ("write_ops", 2),
        ("write_bytes", 2048),
        ("flush_ops", 1),
        ("discard_ops", 1),
        ("errors", 0),
    ];
    assert_eq!(counters.read(), expected);
    // A reset forgets nothing.
    VirtioDevice::<Memory>::reset(&mut rig.device);
    assert_eq!(counters.read(), expected);
}
