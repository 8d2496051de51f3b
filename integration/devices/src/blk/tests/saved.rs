//! Devices that are saved at any moment of a stream of requests, and taken up by others.

use std::time::Duration;

use arch_ppc64::pci::{PciAddress, PciBus, PciWindows};
use arch_ppc64::platform::StateValue;
use serde_json::{Value, json};

use super::*;
use crate::pci::Bus;
use crate::virtio::mock::MockController;
use crate::virtio::pci_driver::Driver;
use crate::virtio::saved::{changed, written};
use crate::virtio::{Execution, VirtioPci};

/// So many requests may be under way in each of the queues, each with sectors of its own.
const SLOTS: u64 = 8;
const QUEUES: u64 = 2;
const QUEUE_SIZE: u16 = 32;
const SECTORS_EACH: u64 = SECTORS / (SLOTS * QUEUES);

/// What comes late is waited for so long.
fn later() -> std::time::Instant {
    std::time::Instant::now() + Duration::from_secs(120)
}

/// A machine with a disk, which is the same one wherever its guest goes.
struct Machine {
    bus: Bus,
    at: PciAddress,
}

impl Machine {
    fn new(memory: &Memory, disk: &Arc<MemoryDisk>, execution: Execution) -> Self {
        let bus = Bus::new(PciWindows::new());
        let controller = Arc::new(MockController::default());
        let connection = controller.connection(bus.next_free().unwrap()).with_execution(execution);
        let block = Box::new(Block::new(disk.clone(), QUEUES as u16));
        let function = VirtioPci::new("disk0", block, memory.clone(), connection).unwrap();
        let at = bus.add(None, Arc::new(function)).unwrap();
        Self { bus, at }
    }

    fn driver(&self) -> Driver<'_> {
        Driver::probe(&self.bus, self.at)
    }

    fn save(&self) -> Value {
        self.bus.pause(later()).unwrap();
        serde_json::to_value(self.bus.state().unwrap().save().unwrap()).unwrap()
    }
}

/// A request that was made.
struct Asked {
    kind: u32,
    sector: u64,
    bytes: u8,
}

/// The driver's side: what it asked for, and what has to be on the disk.
struct Stream {
    memory: Memory,
    queues: Vec<DriverQueue<Memory>>,
    asked: Vec<Option<Asked>>,
    /// The slot of a request by the first descriptor of its chain, in each queue.
    slots: Vec<[Option<u64>; QUEUE_SIZE as usize]>,
    disk: Vec<u8>,
    answered: u64,
}

impl Stream {
    fn place(slot: u64) -> [u64; 3] {
        [HEADER + 16 * slot, STATUS + 0x1000 + slot, DATA + 512 * slot]
    }

    fn ask(&mut self, slot: u64, numbers: &mut Numbers) {
        let [header, status, data] = Self::place(slot);
        let sector = slot * SECTORS_EACH + numbers.below(SECTORS_EACH);
        let bytes = numbers.below(256) as u8;
        let kind = [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT][numbers.below(3) as usize];
        let mut words = [0; 16];
        words[..4].copy_from_slice(&kind.to_le_bytes());
        words[8..].copy_from_slice(&sector.to_le_bytes());
        self.memory.write_obj(words, GuestAddress(header)).unwrap();
        self.memory.write_obj(0xff_u8, GuestAddress(status)).unwrap();
        self.memory.write_slice(&[bytes; 512], GuestAddress(data)).unwrap();
        let middle = match kind {
            VIRTIO_BLK_T_OUT => Buffer::readable(data, 512),
            _ => Buffer::writable(data, 512),
        };
        let queue = (slot / SLOTS) as usize;
        let buffers = [Buffer::readable(header, 16), middle, Buffer::writable(status, 1)];
        let head = self.queues[queue].add(&buffers);
        assert!(self.slots[queue][usize::from(head)].replace(slot).is_none());
        self.asked[slot as usize] = Some(Asked { kind, sector, bytes });
    }

    /// Takes what was answered: each request once, and as it has to be.
    fn reap(&mut self) {
        for (queue, slots) in self.queues.iter_mut().zip(&mut self.slots) {
            while let Some((head, _)) = queue.next_used() {
                let slot = slots[head as usize].take().expect("an answer that nobody waits for");
                let Asked { kind, sector, bytes } = self.asked[slot as usize].take().unwrap();
                let [_, status, data] = Self::place(slot);
                assert_eq!(self.memory.read_obj::<u8>(GuestAddress(status)).unwrap(), OK);
                let on_disk = &mut self.disk[sector as usize * 512..][..512];
                if kind == VIRTIO_BLK_T_OUT {
                    on_disk.fill(bytes);
                }
                let mut seen = [0; 512];
                self.memory.read_slice(&mut seen, GuestAddress(data)).unwrap();
                assert_eq!(seen, on_disk);
                self.answered += 1;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.asked.iter().all(Option::is_none)
    }
}

#[test]
fn every_request_is_answered_once_wherever_the_guest_goes() {
    for seed in 1..9 {
        let mut numbers = Numbers(0x9e37_79b9 * seed);
        let memory: Memory =
            Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).unwrap());
        let disk = Arc::new(MemoryDisk::new(false));
        let mut execution = || [Execution::Threads, Execution::Inline][numbers.below(2) as usize];
        let mut machine = Machine::new(&memory, &disk, execution());
        let features = machine.driver().negotiate(ALL).unwrap();
        assert_ne!(features, 0);
        let queue = |index: u64| {
            let at = GuestAddress(0x1000 * (1 + index));
            machine.driver().queue(memory.clone(), index as u16, QUEUE_SIZE, at)
        };
        let queues = (0..QUEUES).map(queue).collect();
        machine.driver().driver_ok();
        let mut stream = Stream {
            memory: memory.clone(),
            queues,
            asked: (0..SLOTS * QUEUES).map(|_| None).collect(),
            slots: vec![[None; QUEUE_SIZE as usize]; QUEUES as usize],
            disk: disk.bytes.lock().unwrap().clone(),
            answered: 0,
        };
        let (mut made, mut moves) = (0, 0);
        for _ in 0..1500 {
            match numbers.below(20) {
                0 => {
                    let saved = machine.save();
                    let kind = [Execution::Threads, Execution::Inline][numbers.below(2) as usize];
                    let other = Machine::new(&memory, &disk, kind);
                    let state: StateValue = serde_json::from_value(saved).unwrap();
                    other.bus.state().unwrap().restore(1, &state).unwrap();
                    drop(std::mem::replace(&mut machine, other));
                    machine.bus.resume().unwrap();
                    moves += 1;
                }
                1 => {
                    machine.bus.pause(later()).unwrap();
                    machine.bus.resume().unwrap();
                }
                2..12 => {
                    let slot = numbers.below(SLOTS * QUEUES);
                    if stream.asked[slot as usize].is_none() {
                        stream.ask(slot, &mut numbers);
                        made += 1;
                    }
                }
                12..17 => machine.driver().notify(numbers.below(QUEUES) as u16),
                _ => stream.reap(),
            }
        }
        assert!(made > 100 && moves > 20, "{made} {moves}");
        (0..QUEUES).for_each(|queue| machine.driver().notify(queue as u16));
        let until = later();
        while !stream.is_idle() {
            assert!(std::time::Instant::now() < until, "requests are lost");
            stream.reap();
            std::thread::yield_now();
        }
        assert_eq!(stream.answered, made);
        assert_eq!(*disk.bytes.lock().unwrap(), stream.disk);
        machine.bus.pause(later()).unwrap();
        assert_eq!(u64::from(disk.transfers.load(Ordering::SeqCst)), made, "nothing is done twice");
    }
}

#[test]
fn states_of_other_disks_are_refused() {
    let block = |is_read_only| Block::new(Arc::new(MemoryDisk::new(is_read_only)), 1);
    let mut device = block(false);
    let state = written::<Memory>(&device);
    let refused = |device: &mut Block, state: &StateValue| {
        let before = written::<Memory>(device);
        let error = VirtioDevice::<Memory>::restore(device, 1, state).unwrap_err();
        assert_eq!(written::<Memory>(device), before);
        error.to_string()
    };
    let said = refused(&mut device, &changed(&state, "size_bytes", json!(512)));
    assert_eq!(said, "the saved state cannot be: its disk has 512 bytes, and not 32768");
    let said = refused(&mut device, &changed(&state, "logical_block_bytes", json!(4096)));
    assert!(said.contains("blocks of 4096 bytes"), "{said}");
    let said = refused(&mut block(true), &state);
    assert!(said.contains("can be written, and this one can only be read"), "{said}");
    refused(&mut device, &changed(&state, "more", json!(1)));
    assert!(VirtioDevice::<Memory>::restore(&mut device, 2, &state).is_err());
    // What the driver said of its cache is taken up.
    let write_through = changed(&state, "writes_back", json!(false));
    VirtioDevice::<Memory>::restore(&mut device, 1, &write_through).unwrap();
    assert_eq!(written::<Memory>(&device), write_through);
    VirtioDevice::<Memory>::reset(&mut device);
    assert_eq!(written::<Memory>(&device), state);
}
