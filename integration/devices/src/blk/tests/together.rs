//! Requests that are under way at the same time, through their driver's door.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Condvar;
use std::time::{Duration, Instant};

use arch_ppc64::pci::{PciAddress, PciWindows};

use super::*;
use crate::pci::Bus;
use crate::virtio::VirtioPci;
use crate::virtio::mock::MockController;
use crate::virtio::pci_driver::Driver;

/// Bits of the status.
const NEEDS_RESET: u8 = 0x40;

const SIZE: u16 = 128;

/// What hangs is ended so late.
const HANGS: Duration = Duration::from_secs(120);

/// A disk whose transfers wait until they are let go.
struct Gated {
    disk: MemoryDisk,
    state: Mutex<Gates>,
    changed: Condvar,
}

#[derive(Default)]
struct Gates {
    /// Sectors whose transfers do not end.
    closed: BTreeSet<u64>,
    /// Sectors whose transfers fail.
    broken: BTreeSet<u64>,
    waiting: usize,
    most_waiting: usize,
    /// Sectors that were written, and `None` for a flush, in this order.
    log: Vec<Option<u64>>,
}

impl Gated {
    fn new(closed: impl IntoIterator<Item = u64>) -> Arc<Self> {
        let state = Gates { closed: closed.into_iter().collect(), ..Gates::default() };
        let disk = MemoryDisk::new(false);
        Arc::new(Self { disk, state: Mutex::new(state), changed: Condvar::new() })
    }

    fn open(&self, sectors: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for sector in sectors {
            state.closed.remove(&sector);
        }
        self.changed.notify_all();
    }

    fn pass(&self, offset: u64) -> io::Result<()> {
        let sector = offset / 512;
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        state.most_waiting = state.most_waiting.max(state.waiting);
        let is_closed = |state: &mut Gates| state.closed.contains(&sector);
        state = self.changed.wait_while(state, is_closed).unwrap();
        state.waiting -= 1;
        if state.broken.contains(&sector) { Err(ErrorKind::Other.into()) } else { Ok(()) }
    }

    fn waiting(&self) -> usize {
        self.state.lock().unwrap().waiting
    }

    fn log(&self) -> Vec<Option<u64>> {
        self.state.lock().unwrap().log.clone()
    }
}

impl Disk for Gated {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }
    fn block_sizes(&self) -> BlockSizes {
        self.disk.block_sizes()
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn id(&self) -> &str {
        "gated"
    }
    fn read_at(&self, to: &mut Scatter<'_>, offset: u64) -> io::Result<()> {
        self.pass(offset)?;
        self.disk.read_at(to, offset)
    }
    fn write_at(&self, from: &mut Gather<'_>, offset: u64) -> io::Result<()> {
        self.pass(offset)?;
        self.disk.write_at(from, offset)?;
        self.state.lock().unwrap().log.push(Some(offset / 512));
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        self.state.lock().unwrap().log.push(None);
        Ok(())
    }
    fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.write_zeroes(offset, bytes, true)
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, may_unmap: bool) -> io::Result<()> {
        self.pass(offset)?;
        self.disk.write_zeroes(offset, bytes, may_unmap)?;
        self.state.lock().unwrap().log.push(Some(offset / 512));
        Ok(())
    }
}

/// A machine with that disk.
struct Machine {
    disk: Arc<Gated>,
    memory: Memory,
    bus: Bus,
    at: PciAddress,
}

/// The bus waits for what is under way, in a test that fails as well.
impl Drop for Machine {
    fn drop(&mut self) {
        self.disk.open(0..SECTORS);
    }
}

impl Machine {
    fn new(disk: Arc<Gated>, queues: u16) -> Self {
        let memory: Memory =
            Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).unwrap());
        let bus = Bus::new(PciWindows::new());
        let connection = Arc::new(MockController::default()).connection(bus.next_free().unwrap());
        let block = Box::new(Block::new(disk.clone(), queues));
        let function = VirtioPci::new("disk0", block, memory.clone(), connection).unwrap();
        let at = bus.add(None, Arc::new(function)).unwrap();
        Self { disk, memory, bus, at }
    }

    fn driver(&self) -> Driver<'_> {
        Driver::probe(&self.bus, self.at)
    }

    /// Its first queue, of a device that is active.
    fn start<'m>(&'m self, driver: &Driver<'_>, features: u64) -> Queue<'m> {
        driver.negotiate(features).unwrap();
        let ring = driver.queue(self.memory.clone(), 0, SIZE, GuestAddress(0x2000));
        driver.driver_ok();
        Queue { machine: self, ring, next: 0 }
    }
}

/// A queue, and its requests by their numbers.
struct Queue<'m> {
    machine: &'m Machine,
    ring: DriverQueue<Memory>,
    next: u64,
}

impl Queue<'_> {
    /// Adds a request for a sector; its data is the status's number.
    fn add(&mut self, kind: u32, sector: u64) -> u32 {
        let memory = &self.machine.memory;
        let at = HEADER + self.next * 64;
        let data = DATA + self.next * 512;
        self.next += 1;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        memory.write_obj(header, GuestAddress(at)).unwrap();
        memory.write_obj(0xffu8, GuestAddress(at + 32)).unwrap();
        let data = match kind {
            VIRTIO_BLK_T_IN => Some(Buffer::writable(data, 512)),
            VIRTIO_BLK_T_OUT => Some(Buffer::readable(data, 512)),
            _ => None,
        };
        let buffers = [Some(Buffer::readable(at, 16)), data, Some(Buffer::writable(at + 32, 1))];
        let buffers: Vec<_> = buffers.into_iter().flatten().collect();
        self.ring.add(&buffers).into()
    }

    /// The next request that is done, waited for.
    fn done(&mut self) -> u32 {
        let mut used = None;
        until(|| {
            used = self.ring.next_used();
            used.is_some()
        });
        used.unwrap().0
    }

    fn status(&self, number: u64) -> u8 {
        self.machine.memory.read_obj(GuestAddress(HEADER + number * 64 + 32)).unwrap()
    }

    fn byte(&self, number: u64) -> u8 {
        self.machine.memory.read_obj(GuestAddress(DATA + number * 512)).unwrap()
    }
}

fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HANGS, "it does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// With and without `VIRTIO_F_EVENT_IDX`: notifications are asked for in two ways.
const WAYS: [u64; 2] = [ALL, ALL & !(1 << VIRTIO_RING_F_EVENT_IDX)];

#[test]
fn what_waits_for_the_disk_holds_up_nothing_else() {
    for features in WAYS {
        let disk = Gated::new([1, 2, 3]);
        disk.state.lock().unwrap().broken.insert(2);
        let machine = Machine::new(disk.clone(), 1);
        let driver = machine.driver();
        let mut queue = machine.start(&driver, features);
        // Some in one notification, and some that come while others are under way.
        let first = queue.add(VIRTIO_BLK_T_IN, 1);
        let second = queue.add(VIRTIO_BLK_T_IN, 2);
        driver.notify(0);
        until(|| disk.waiting() == 2);
        let third = queue.add(VIRTIO_BLK_T_OUT, 3);
        let free = queue.add(VIRTIO_BLK_T_IN, 9);
        driver.notify(0);
        assert_eq!(queue.done(), free);
        until(|| disk.waiting() == 3);
        assert_eq!(queue.ring.next_used(), None);

        for (sector, request) in [(3, third), (2, second), (1, first)] {
            disk.open([sector]);
            assert_eq!(queue.done(), request);
        }
        assert_eq!([0, 1, 2, 3].map(|number| queue.status(number)), [OK, IOERR, OK, OK]);
        assert_eq!([queue.byte(0), queue.byte(3)], [1, 9]);
        assert_eq!(disk.disk.bytes.lock().unwrap()[3 * 512], 0);
    }
}

#[test]
fn there_is_a_limit_and_all_are_done() {
    for (queues, limit) in [(1, usize::from(TRANSFERS_AT_ONCE)), (2, 8), (MAX_QUEUES, 1)] {
        let disk = Gated::new(0..SECTORS);
        let machine = Machine::new(disk.clone(), queues);
        let driver = machine.driver();
        driver.negotiate(ALL).unwrap();
        // All of them enabled, though only the first is used.
        let mut ring = None;
        for index in 0..queues {
            let at = GuestAddress(0x2_0000 + 0x1000 * u64::from(index));
            let queue = driver.queue(machine.memory.clone(), index, SIZE, at);
            ring = ring.or(Some(queue));
        }
        driver.driver_ok();
        let mut queue = Queue { machine: &machine, ring: ring.unwrap(), next: 0 };
        let mut requests: BTreeSet<_> = (0..32)
            .map(|sector| {
                driver.notify(0);
                queue.add(VIRTIO_BLK_T_IN, sector)
            })
            .collect();
        driver.notify(0);
        until(|| disk.waiting() == limit);
        assert_eq!(queue.ring.next_used(), None);
        disk.open(0..SECTORS);
        while !requests.is_empty() {
            let done = queue.done();
            assert!(requests.remove(&done));
        }
        assert!((0..32).all(|number| queue.byte(number) == number as u8));
        assert_eq!(disk.state.lock().unwrap().most_waiting, limit);
    }
}

/// The device needs to do so only for writes that the driver has seen done (Virtio 1.2 §5.2.6.2);
/// ours does for all that are before it in the queue.
#[test]
fn a_flush_is_behind_the_writes_before_it() {
    for features in WAYS {
        let disk = Gated::new([1, 2, 5]);
        let machine = Machine::new(disk.clone(), 1);
        let driver = machine.driver();
        let mut queue = machine.start(&driver, features);
        let first = queue.add(VIRTIO_BLK_T_OUT, 1);
        let second = queue.add(VIRTIO_BLK_T_OUT, 2);
        let flush = queue.add(VIRTIO_BLK_T_FLUSH, 0);
        // What is behind it does not hold it up.
        let last = queue.add(VIRTIO_BLK_T_OUT, 5);
        let read = queue.add(VIRTIO_BLK_T_IN, 9);
        driver.notify(0);
        // So the flush was taken: it was before.
        assert_eq!(queue.done(), read);
        until(|| disk.waiting() == 3);
        assert_eq!(disk.log(), []);
        disk.open([2]);
        assert_eq!(queue.done(), second);
        assert_eq!(disk.log(), [Some(2)]);
        disk.open([1]);
        assert_eq!(BTreeSet::from([queue.done(), queue.done()]), BTreeSet::from([first, flush]));
        assert_eq!(disk.log(), [Some(2), Some(1), None]);
        disk.open([5]);
        assert_eq!(queue.done(), last);
    }
}

#[test]
fn a_mistake_behind_what_is_under_way_needs_a_reset() {
    let disk = Gated::new([1]);
    let machine = Machine::new(disk.clone(), 1);
    let driver = machine.driver();
    let mut queue = machine.start(&driver, ALL);
    queue.add(VIRTIO_BLK_T_IN, 1);
    driver.notify(0);
    until(|| disk.waiting() == 1);
    queue.ring.add(&[Buffer::readable(MEMORY_BYTES as u64, 16), Buffer::writable(STATUS, 1)]);
    queue.add(VIRTIO_BLK_T_IN, 9);
    driver.notify(0);
    until(|| driver.status() & NEEDS_RESET != 0);
    disk.open([1]);
    until(|| disk.waiting() == 0);
    driver.reset();
    // From there on the queue was left alone.
    assert_eq!(queue.ring.next_used(), None);

    let mut queue = machine.start(&driver, ALL);
    let request = queue.add(VIRTIO_BLK_T_IN, 7);
    driver.notify(0);
    assert_eq!(queue.done(), request);
    assert_eq!((queue.status(0), queue.byte(0)), (OK, 7));
}

#[test]
fn a_reset_waits_for_what_is_under_way() {
    let disk = Gated::new([1, 2, 3]);
    let machine = Machine::new(disk.clone(), 1);
    let driver = machine.driver();
    for _ in 0..2 {
        disk.state.lock().unwrap().closed.extend([1, 2, 3]);
        let mut queue = machine.start(&driver, ALL);
        for (kind, sector) in [(VIRTIO_BLK_T_IN, 1), (VIRTIO_BLK_T_OUT, 2), (VIRTIO_BLK_T_FLUSH, 0)]
        {
            queue.add(kind, sector);
        }
        driver.notify(0);
        until(|| disk.waiting() == 2);
        driver.set_common_8(crate::virtio::pci_driver::common::DEVICE_STATUS, 0);
        assert_ne!(driver.status(), 0, "memory is still written to");
        // The flush waits for the write.
        disk.open([1]);
        until(|| disk.waiting() == 1);
        assert_ne!(driver.status(), 0);
        disk.open([2]);
        until(|| driver.status() == 0);
        // Nobody is left who would look.
        queue.add(VIRTIO_BLK_T_IN, 3);
        driver.notify(0);
    }
    assert_eq!(disk.waiting(), 0);
}

/// Ends of transfers and new requests meet in all ways.
#[test]
fn nothing_is_forgotten_in_a_crowd() {
    for features in WAYS {
        let disk = Gated::new([]);
        let machine = Machine::new(disk.clone(), 1);
        let driver = machine.driver();
        let mut queue = machine.start(&driver, features);
        let mut numbers = Numbers(0x5eed);
        let (mut under_way, mut added) = (BTreeMap::new(), 0);
        while added < 3000 || !under_way.is_empty() {
            // Places of requests and descriptors are used again in turn.
            let oldest = under_way.values().copied().min().unwrap_or(added);
            while added < 3000 && added - oldest < 32 && numbers.below(4) > 0 {
                queue.next = added % 32;
                let kind = match numbers.below(8) {
                    0 => VIRTIO_BLK_T_FLUSH,
                    1..=3 => VIRTIO_BLK_T_OUT,
                    _ => VIRTIO_BLK_T_IN,
                };
                let request = queue.add(kind, numbers.below(SECTORS));
                assert_eq!(under_way.insert(request, added), None);
                added += 1;
                if numbers.below(3) > 0 {
                    driver.notify(0);
                }
            }
            driver.notify(0);
            if !under_way.is_empty() {
                let done = queue.done();
                assert!(under_way.remove(&done).is_some(), "{done}");
            }
        }
    }
}
