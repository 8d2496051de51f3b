//! The driver's side of a socket device.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use arch_ppc64::platform::StateValue;
use event_manager::{EventManager, MutEventSubscriber, SubscriberId, SubscriberOps};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::tempdir::TempDir;

use super::super::Vsock;
use super::super::header::{HEADER_BYTES, HOST_CID, Header, STREAM};
use crate::virtio::driver::{Buffer, CountedInterrupts, DriverQueue};
use crate::virtio::{Activation, ActiveQueue, VirtioDevice, Worker};

pub(in crate::vsock) const CID: u64 = 42;
/// What the guest says to have room for.
pub(in crate::vsock) const ROOM: u32 = 1 << 20;

const QUEUE: u16 = 64;
pub(super) const RX_BUFFER: u32 = 4096;
const RX_BUFFERS: u64 = 0x10_0000;
const TX_BUFFERS: u64 = 0x20_0000;
pub(super) const TX_BUFFER: u32 = 0x1_1000;
const EVENTS: u64 = 0x70_0000;
const MEMORY: usize = 0x80_0000;

pub(in crate::vsock) type Memory = Arc<GuestMemoryMmap>;

pub(in crate::vsock) struct Guest {
    pub(in crate::vsock) memory: Memory,
    pub(super) rx: DriverQueue<Memory>,
    pub(super) tx: DriverQueue<Memory>,
    pub(super) events: DriverQueue<Memory>,
    pub(in crate::vsock) interrupts: Arc<CountedInterrupts>,
    /// Packets that came.
    pub(in crate::vsock) packets: VecDeque<(Header, Vec<u8>)>,
    pub(in crate::vsock) folder: TempDir,
    doorbells: [EventFd; 3],
    manager: EventManager<Box<dyn MutEventSubscriber + Send>>,
    workers: Vec<SubscriberId>,
    pub(super) device: Box<dyn VirtioDevice<Memory>>,
    /// How many buffers were given so far.
    pub(super) given: u64,
    sent: u64,
    pub(super) sent_and_used: u64,
}

impl Guest {
    /// With an active device, and no buffers for it yet.
    pub(super) fn bare() -> Self {
        let folder = TempDir::new().unwrap();
        let device = Vsock::new(CID, &folder.as_path().join("vsock")).unwrap();
        Self::with(folder, Box::new(device))
    }

    /// With this device, and no buffers yet.
    pub(in crate::vsock) fn with(
        folder: TempDir,
        mut device: Box<dyn VirtioDevice<Memory>>,
    ) -> Self {
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap());
        let interrupts = Arc::new(CountedInterrupts::default());
        let mut manager = EventManager::new().unwrap();
        let (queues, doorbells, workers) =
            activate(&mut *device, &memory, &interrupts, &mut manager);
        let [rx, tx, events] = queues;
        Self {
            memory,
            rx,
            tx,
            events,
            interrupts,
            packets: VecDeque::new(),
            folder,
            doorbells,
            manager,
            workers,
            device,
            given: 0,
            sent: 0,
            sent_and_used: 0,
        }
    }

    /// With buffers.
    pub(in crate::vsock) fn new() -> Self {
        let mut guest = Self::bare();
        guest.give(u64::from(QUEUE));
        guest
    }

    /// The driver resets the device and sets it up again.
    pub(in crate::vsock) fn reset(&mut self) {
        for worker in self.workers.drain(..) {
            drop(self.manager.remove_subscriber(worker).unwrap());
        }
        self.device.reset();
        let (queues, doorbells, workers) =
            activate(&mut *self.device, &self.memory, &self.interrupts, &mut self.manager);
        [self.rx, self.tx, self.events] = queues;
        (self.doorbells, self.workers) = (doorbells, workers);
        (self.given, self.sent) = (0, 0);
        self.packets.clear();
        self.give(u64::from(QUEUE));
    }

    /// The same guest with another device, which takes this state up. It sets its queues up anew, as
    /// the transport would go on with those of before.
    pub(super) fn elsewhere(mut self, state: &StateValue) -> Self {
        for worker in self.workers.drain(..) {
            drop(self.manager.remove_subscriber(worker).unwrap());
        }
        let folder = TempDir::new().unwrap();
        let mut device = Vsock::new(CID, &folder.as_path().join("vsock")).unwrap();
        VirtioDevice::<Memory>::restore(&mut device, 1, state).unwrap();
        let mut other = Self::with(folder, Box::new(device));
        other.give(u64::from(QUEUE));
        other
    }

    /// Gives a buffer of so many bytes for an event; tells how it came back, if it did.
    pub(super) fn give_event(&mut self, bytes: u32) -> Option<(u32, u32)> {
        self.events.add(&[Buffer::writable(EVENTS, bytes)]);
        self.memory.write_obj(u32::MAX, GuestAddress(EVENTS)).unwrap();
        self.doorbells[2].write(1).unwrap();
        self.turn();
        self.events.next_used()
    }

    /// The last event.
    pub(super) fn event(&self) -> u32 {
        self.memory.read_obj(GuestAddress(EVENTS)).unwrap()
    }

    /// Gives so many more buffers for packets to come.
    pub(in crate::vsock) fn give(&mut self, count: u64) {
        for _ in 0..count {
            let at = RX_BUFFERS + self.given % u64::from(QUEUE) * u64::from(RX_BUFFER);
            self.rx.add(&[Buffer::writable(at, RX_BUFFER)]);
            self.given += 1;
        }
        self.doorbells[0].write(1).unwrap();
    }

    /// Lets the device work until there is nothing to do, and takes the packets that come. Buffers
    /// are given anew if `again` is true.
    fn run(&mut self, again: bool) {
        loop {
            let events = self.manager.run_with_timeout(0).unwrap();
            let mut came = 0;
            while let Some((head, bytes)) = self.rx.next_used() {
                came += 1;
                let at = RX_BUFFERS + u64::from(head) * u64::from(RX_BUFFER);
                let mut packet = vec![0; bytes as usize];
                self.memory.read_slice(&mut packet, GuestAddress(at)).unwrap();
                let data = packet.split_off(HEADER_BYTES);
                let header = Header::from_bytes(packet.as_slice().try_into().unwrap());
                assert_eq!(header.len as usize, data.len());
                self.packets.push_back((header, data));
            }
            while self.tx.next_used().is_some() {
                self.sent_and_used += 1;
            }
            if again && came != 0 {
                self.give(came);
            }
            if events == 0 && came == 0 {
                break;
            }
        }
    }

    pub(in crate::vsock) fn turn(&mut self) {
        self.run(true);
    }

    pub(super) fn turn_without_buffers(&mut self) {
        self.run(false);
    }

    /// A packet to a port of the host.
    pub(in crate::vsock) fn header(&self, operation: u16, from: u32, to: u32) -> Header {
        Header {
            src_cid: CID,
            dst_cid: HOST_CID,
            src_port: from,
            dst_port: to,
            kind: STREAM,
            op: operation,
            buf_alloc: ROOM,
            ..Header::default()
        }
    }

    /// Makes a packet available: the header, and data behind it in a second buffer.
    pub(super) fn add(&mut self, header: Header, data: &[u8]) {
        let at = TX_BUFFERS + self.sent % 64 * u64::from(TX_BUFFER);
        self.sent += 1;
        self.memory.write_slice(&header.to_bytes(), GuestAddress(at)).unwrap();
        let data_at = at + 0x800;
        self.memory.write_slice(data, GuestAddress(data_at)).unwrap();
        let header = Buffer::readable(at, HEADER_BYTES as u32);
        if data.is_empty() {
            self.tx.add(&[header]);
        } else {
            self.tx.add(&[header, Buffer::readable(data_at, data.len() as u32)]);
        }
        self.doorbells[1].write(1).unwrap();
    }

    /// Sends a packet, and lets the device work.
    pub(in crate::vsock) fn send(&mut self, header: Header, data: &[u8]) {
        self.add(Header { len: data.len() as u32, ..header }, data);
        self.turn();
    }

    /// Notifies the device of chains that were added by hand.
    pub(super) fn notify(&mut self) {
        self.doorbells[1].write(1).unwrap();
        self.turn();
    }

    /// The next packet that came, if it is one of this operation.
    #[track_caller]
    pub(in crate::vsock) fn expect(&mut self, operation: u16) -> (Header, Vec<u8>) {
        let (header, data) = self.packets.pop_front().expect("a packet");
        assert_eq!(header.op, operation, "{header:?}");
        assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, CID));
        (header, data)
    }

    #[track_caller]
    pub(in crate::vsock) fn expect_nothing(&self) {
        assert!(self.packets.is_empty(), "{:?}", self.packets);
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.as_path().join("vsock")
    }

    /// Listens at a port of the host.
    pub(super) fn listen(&self, port: u32) -> UnixListener {
        let path = self.folder.as_path().join(format!("vsock_{port}"));
        let _ = fs::remove_file(&path);
        UnixListener::bind(path).unwrap()
    }
}

type Queues = [DriverQueue<Memory>; 3];

fn activate(
    device: &mut dyn VirtioDevice<Memory>,
    memory: &Memory,
    interrupts: &Arc<CountedInterrupts>,
    manager: &mut EventManager<Box<dyn MutEventSubscriber + Send>>,
) -> (Queues, [EventFd; 3], Vec<SubscriberId>) {
    let doorbells: [EventFd; 3] = std::array::from_fn(|_| EventFd::new(EFD_NONBLOCK).unwrap());
    let mut at = GuestAddress(0x1000);
    let queues: Queues = std::array::from_fn(|_| {
        let queue = DriverQueue::new(memory.clone(), at, QUEUE);
        at = queue.end();
        queue
    });
    let active = queues.iter().zip(&doorbells).enumerate().map(|(index, (queue, doorbell))| {
        let doorbell = doorbell.try_clone().unwrap();
        ActiveQueue::new(index as u16, queue.queue(), doorbell, interrupts.clone())
    });
    let activation = Activation::new(memory.clone(), 0, active.collect(), interrupts.clone());
    let add = |worker| {
        let Worker::Subscriber(worker) = worker else { panic!("no subscriber") };
        manager.add_subscriber(worker)
    };
    let workers = device.activate(activation).unwrap().into_iter().map(add).collect();
    (queues, doorbells, workers)
}

/// All that can be read now, and whether it was the end.
pub(super) fn read_all(stream: &mut UnixStream) -> (Vec<u8>, bool) {
    stream.set_nonblocking(true).unwrap();
    let mut data = Vec::new();
    match stream.read_to_end(&mut data) {
        Ok(_) => (data, true),
        // The other end was closed with data in it that nobody read.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (data, true),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            (data, false)
        }
    }
}
