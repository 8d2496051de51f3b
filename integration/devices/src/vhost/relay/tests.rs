use std::sync::atomic::AtomicBool;

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::QueueT;
use virtio_queue::desc::split::Descriptor;
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;
use crate::vhost::memory::shared;
use crate::virtio::driver::{Buffer, CountedInterrupts, DriverQueue};

const SIZE: u16 = 8;
const USED: usize = 64;
const MEMORY: usize = 0x10_0000;

type Memory = Arc<GuestMemoryMmap<AtomicBitmap>>;

/// A driver, a relay, and the rings as the worker has them.
struct Both {
    memory: Memory,
    driver: DriverQueue<Memory>,
    relay: Relay,
    rings: Arc<MmapRegion>,
    kick: EventFd,
    interrupts: Arc<CountedInterrupts>,
    used: u16,
}

impl Both {
    fn new() -> Self {
        Self::split_at(&[])
    }

    /// With guest memory in several regions, which begin at 0 and at these places.
    fn split_at(places: &[u64]) -> Self {
        let starts = std::iter::once(&0).chain(places);
        let ends = places.iter().chain(std::iter::once(&(MEMORY as u64)));
        let ranges: Vec<_> = starts
            .zip(ends)
            .map(|(&start, &end)| (GuestAddress(start), (end - start) as usize))
            .collect();
        let memory: Memory = Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
        let driver = DriverQueue::new(memory.clone(), GuestAddress(0x1000), SIZE);
        let interrupts = Arc::new(CountedInterrupts::default());
        let event = || EventFd::new(EFD_NONBLOCK).unwrap();
        let active = ActiveQueue::new(0, driver.queue(), event(), interrupts.clone());
        let rings = shared(0x1_0000).unwrap();
        let kick = event();
        let own = Rings::new(rings.clone(), 0, USED, SIZE);
        let relay = Relay::new(active, own, kick.try_clone().unwrap(), event());
        Self { memory, driver, relay, rings, kick, interrupts, used: 0 }
    }

    /// What the worker finds in its available ring: how many there are, and the last.
    fn available(&self) -> (u16, u16) {
        let rings = self.rings.as_volatile_slice();
        let count: u16 = rings.load(2, Ordering::SeqCst).unwrap();
        let last = usize::from(count.wrapping_sub(1) % SIZE);
        (count, rings.load(4 + 2 * last, Ordering::SeqCst).unwrap())
    }

    /// The worker says to have used a buffer.
    fn use_buffer(&mut self, head: u32, bytes: u32) {
        let rings = self.rings.as_volatile_slice();
        let at = USED + 4 + 8 * usize::from(self.used % SIZE);
        rings.store(head, at, Ordering::SeqCst).unwrap();
        rings.store(bytes, at + 4, Ordering::SeqCst).unwrap();
        self.used = self.used.wrapping_add(1);
        rings.store(self.used, USED + 2, Ordering::SeqCst).unwrap();
    }

    fn is_dirty(&self, at: usize) -> bool {
        self.memory.iter().next().unwrap().bitmap().dirty_at(at)
    }

    fn clean(&self) {
        (**self.memory.iter().next().unwrap()).bitmap().reset();
    }
}

#[test]
fn buffers_go_round_for_ever() {
    let mut both = Both::new();
    for round in 0..70_000_u32 {
        let head = both.driver.add(&[Buffer::writable(0x8000, 4)]);
        both.relay.forward(&*both.memory).unwrap();
        assert_eq!(both.available(), ((round + 1) as u16, head));
        assert_eq!(both.kick.read().unwrap(), 1);
        both.use_buffer(head.into(), round);
        both.relay.give_back(&*both.memory).unwrap();
        assert_eq!(both.driver.next_used(), Some((head.into(), round)));
    }
    assert_eq!(both.interrupts.used_count(), 70_000);
    both.relay.forward(&*both.memory).unwrap();
    both.relay.give_back(&*both.memory).unwrap();
    assert!(both.kick.read().is_err());
    assert_eq!(both.interrupts.used_count(), 70_000);
}

#[test]
fn a_worker_that_does_not_want_to_be_told_is_not() {
    let mut both = Both::new();
    both.rings.as_volatile_slice().store(1_u16, USED, Ordering::SeqCst).unwrap();
    both.driver.add(&[Buffer::writable(0x8000, 4)]);
    both.relay.forward(&*both.memory).unwrap();
    assert_eq!(both.available().0, 1);
    assert!(both.kick.read().is_err());
}

#[test]
fn workers_that_make_no_sense_are_noticed() {
    let lies: [&[u32]; 4] = [&[u32::from(SIZE)], &[u32::MAX], &[0, 0], &[0, 0, 0]];
    for heads in lies {
        let mut both = Both::new();
        both.driver.add(&[Buffer::writable(0x8000, 4)]);
        both.relay.forward(&*both.memory).unwrap();
        for &head in heads {
            both.use_buffer(head, u32::MAX);
        }
        let error = both.relay.give_back(&*both.memory).unwrap_err();
        assert!(matches!(error, RelayError::Worker), "{heads:?}");
    }
    // Before anything was available.
    let mut both = Both::new();
    both.use_buffer(0, 0);
    assert!(matches!(both.relay.give_back(&*both.memory), Err(RelayError::Worker)));
}

#[test]
fn drivers_that_make_no_sense_are_noticed() {
    let mut both = Both::new();
    both.driver.make_available(SIZE);
    assert!(matches!(both.relay.forward(&*both.memory), Err(RelayError::Driver)));
    let mut both = Both::new();
    both.driver.set_available_index(SIZE + 1);
    assert!(matches!(both.relay.forward(&*both.memory), Err(RelayError::Ring(_))));
    // One that the worker has.
    let mut both = Both::new();
    for head in 0..SIZE {
        both.driver.make_available(head);
        both.relay.forward(&*both.memory).unwrap();
    }
    both.driver.make_available(3);
    assert!(matches!(both.relay.forward(&*both.memory), Err(RelayError::Driver)));
}

#[test]
fn entries_that_are_no_memory_any_more_are_noticed() {
    let queue = Both::new().driver.queue();
    let entries = queue.avail_ring() + 4;
    let bytes = queue.used_ring() - entries;
    let mut both = Both::split_at(&[entries, queue.used_ring()]);
    both.driver.add(&[Buffer::writable(0x8000, 4)]);
    // The index can be read, what is available cannot.
    let (memory, _) = both.memory.remove_region(GuestAddress(entries), bytes).unwrap();
    assert!(matches!(both.relay.forward(&memory), Err(RelayError::Ring(RingError::Memory(_)))));
}

#[test]
fn all_that_may_have_been_written_is_marked() {
    let mut both = Both::new();
    // Pages of a host may have 64 KiB.
    let buffers = [
        Buffer::readable(0x2_0000, 0x1000),
        Buffer::writable(0x4_0000, 1),
        Buffer::writable(0x6_ffff, 0x1_0002),
        // Not all of it is memory.
        Buffer::writable(MEMORY as u64 - 0x1000, 0x2000),
    ];
    let head = both.driver.add(&buffers);
    both.relay.forward(&*both.memory).unwrap();
    both.clean();
    both.use_buffer(head.into(), 0);
    both.relay.give_back(&*both.memory).unwrap();
    let dirty = [0x4_0000, 0x6_ffff, 0x7_0000, 0x8_0000, MEMORY - 0x1000];
    let clean = [0x2_0000, 0x5_0000, 0x5_f000, 0x9_0000, MEMORY - 0x2_0000];
    assert!(dirty.iter().all(|&at| both.is_dirty(at)));
    assert!(clean.iter().all(|&at| !both.is_dirty(at)));
}

#[test]
fn what_a_worker_still_has_is_marked_when_it_has_stopped() {
    let mut both = Both::new();
    let heads =
        [0x4_0000, 0x6_0000, 0x8_0000].map(|at| both.driver.add(&[Buffer::writable(at, 1)]));
    both.relay.forward(&*both.memory).unwrap();
    both.use_buffer(heads[1].into(), 1);
    both.relay.give_back(&*both.memory).unwrap();
    // And one that nobody has been told of.
    both.use_buffer(heads[2].into(), 1);
    both.clean();
    both.relay.settle(&*both.memory);
    assert_eq!([0x4_0000, 0x6_0000, 0x8_0000].map(|at| both.is_dirty(at)), [true, false, true]);
    assert_eq!(both.driver.next_used(), Some((heads[1].into(), 1)));
    assert_eq!(both.driver.next_used(), None);
}

#[test]
fn chains_that_make_no_sense_have_an_end() {
    let (write, next) = (VRING_DESC_F_WRITE as u16, VRING_DESC_F_NEXT as u16);
    let indirect = VRING_DESC_F_INDIRECT as u16;
    let of_memory = MEMORY as u32;
    for descriptor in [
        // To itself, out of the table, into the void, and a table of tables.
        Descriptor::new(0, of_memory, write | next, 0),
        Descriptor::new(0x8000, 4, write | next, SIZE),
        Descriptor::new(u64::MAX, u32::MAX, write, 0),
        Descriptor::new(0x1000, u32::MAX, indirect, 0),
        Descriptor::new(u64::MAX, u32::MAX, indirect, 0),
        Descriptor::new(0x1000, 0, indirect, 0),
    ] {
        let mut both = Both::new();
        both.driver.write_descriptor(0, descriptor);
        both.driver.make_available(0);
        both.relay.forward(&*both.memory).unwrap();
        both.use_buffer(0, 0);
        both.relay.give_back(&*both.memory).unwrap();
        assert_eq!(both.driver.next_used(), Some((0, 0)));
    }
}

#[test]
fn the_driver_sees_nothing_that_is_not_marked() {
    // It looks at its ring all the time, and is not interrupted.
    let mut both = Both::new();
    let done = Arc::new(AtomicBool::new(false));
    let (memory, is_done) = (both.memory.clone(), done.clone());
    let head = both.driver.add(&[Buffer::writable(0x8000, 4)]);
    both.relay.forward(&*both.memory).unwrap();
    let used = GuestAddress(both.driver.queue().used_ring() + 2);
    let watcher = thread::spawn(move || {
        loop {
            let stop = is_done.load(Ordering::SeqCst);
            let index: u16 = memory.load(used, Ordering::SeqCst).unwrap();
            if index != 0 {
                return memory.iter().next().unwrap().bitmap().dirty_at(0x8000);
            }
            assert!(!stop);
        }
    });
    both.use_buffer(head.into(), 4);
    both.relay.give_back(&*both.memory).unwrap();
    done.store(true, Ordering::SeqCst);
    assert!(watcher.join().unwrap());
}
