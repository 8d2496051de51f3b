//! What works on the queues: packets go between guest memory and sockets of the host.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vm_memory::GuestAddressSpace;
use vm_memory::bitmap::BitmapSlice;

use super::connection::{Connection, Next, Outcome, Ports};
use super::event::EventQueue;
use super::header::{HEADER_BYTES, HOST_CID, Header, STREAM, op};
use super::host::{self, Greeting};
use super::table::{Slot, Table};
use crate::chain::Pieces;
use crate::virtio::ring::{Ring, RingError, Taken};
use crate::virtio::{ActivateError, Activation, Interrupt};

/// How many packets go in each direction before sockets are looked at again.
const MAX_PACKETS: usize = 256;
/// How many connections of the host are accepted before that.
const MAX_ACCEPTS: usize = 16;
/// How many answers to packets for no connection may wait for buffers of the guest; with so many,
/// its packets wait as well (Virtio 1.2 §5.10.6.1.2).
const MAX_RESETS: usize = 256;

/// What the data of an event says it is for.
const RX: u32 = 0;
const TX: u32 = 1;
const EVENT: u32 = 2;
const LISTENER: u32 = 3;
/// From here on: the slot of a connection.
const FIRST_SLOT: u32 = 4;

/// What a guest does wrong.
static MISTAKES: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("virtio-vsock");

/// Works on the queues of an active device.
pub(super) struct Backend<M> {
    memory: M,
    cid: u64,
    path: PathBuf,
    listener: UnixListener,
    rx: Ring,
    tx: Ring,
    events: EventQueue,
    interrupt: Arc<dyn Interrupt>,
    table: Table,
    /// RSTs to packets for no connection.
    resets: VecDeque<Header>,
    todo: Todo,
    /// The driver made no sense: the queues are left alone.
    failed: bool,
}

/// Where there may be something to do.
struct Todo {
    accept: bool,
    take: bool,
    /// The guest may have given buffers.
    give: bool,
}

impl<M: GuestAddressSpace> Backend<M> {
    /// Works for the guest with this address. Guests connect to the sockets whose names begin with
    /// `path`, and those on the host who connect to `listener` to the guest. If it `resets`, its
    /// driver is told that there are no connections any more.
    pub(super) fn new(
        cid: u64,
        path: PathBuf,
        listener: UnixListener,
        activation: Activation<M>,
        resets: bool,
    ) -> Result<Self, ActivateError> {
        let Activation { memory, queues, interrupt, .. } = activation;
        let mut queues = queues.into_iter().peekable();
        let mut take =
            |index| queues.next_if(|queue| queue.index == index).ok_or(ActivateError::Queue(index));
        let (rx, tx) = (Ring::new(take(0)?), Ring::new(take(1)?));
        let events = EventQueue::new(take(2)?, resets);
        Ok(Self {
            memory,
            cid,
            path,
            listener,
            rx,
            tx,
            events,
            interrupt,
            table: Table::new(),
            resets: VecDeque::new(),
            todo: Todo { accept: true, take: true, give: true },
            failed: false,
        })
    }

    /// Does what there is to do, but not for ever.
    fn work(&mut self, ops: &mut EventOps<'_>) {
        if self.failed {
            return;
        }
        let guard = self.memory.memory();
        let memory = &*guard;
        // First: what else there is is of connections that come after.
        let result = self.events.tell(memory).and_then(|()| self.transfer(memory, ops));
        // What was done before a mistake is done.
        let told = self.rx.tell(memory).and_then(|()| self.tx.tell(memory));
        match result.and_then(|more| told.map(|()| more)) {
            // As if the driver had notified again, after what else happened meanwhile.
            Ok(true) => drop(self.tx.doorbell().write(1)),
            Ok(false) => {}
            Err(error) => {
                MISTAKES.warn(format_args!("{error}; the device needs a reset"));
                self.failed = true;
                self.interrupt.needs_reset();
                for slot in 0..self.table.slots() {
                    self.close(slot, ops);
                }
            }
        }
    }

    /// True where there is more to do at once.
    fn transfer(&mut self, memory: &M::M, ops: &mut EventOps<'_>) -> Result<bool, RingError> {
        let more = self.accept(ops);
        let more = self.take_packets(memory, ops)? || more;
        let waited = self.todo.take;
        let more = self.give_packets(memory, ops)? || more;
        // Answers had to go before more packets are taken.
        Ok(more || waited && self.resets.len() < MAX_RESETS)
    }

    /// Takes packets of the guest.
    fn take_packets(&mut self, memory: &M::M, ops: &mut EventOps<'_>) -> Result<bool, RingError> {
        if !self.todo.take {
            return Ok(false);
        }
        self.tx.ignore(memory)?;
        for _ in 0..MAX_PACKETS {
            if self.resets.len() >= MAX_RESETS {
                return Ok(false);
            }
            let Some(Taken { head, chain }) = self.tx.take(memory)? else {
                if self.tx.listen(memory)? {
                    continue;
                }
                self.todo.take = false;
                return Ok(false);
            };
            self.take_packet(chain.readable, ops);
            self.tx.give(memory, head, 0)?;
        }
        Ok(true)
    }

    fn take_packet<B: BitmapSlice>(&mut self, mut packet: Pieces<'_, B>, ops: &mut EventOps<'_>) {
        let mut bytes = [0; HEADER_BYTES];
        let complete = packet.split_front(HEADER_BYTES).map(|header| header.copy_to(&mut bytes));
        let header = Header::from_bytes(&bytes);
        let (Some(_), Some(data)) = (complete, packet.split_front(header.len as usize)) else {
            MISTAKES.warn(format_args!("a packet is shorter than it says to be"));
            return;
        };
        if header.src_cid != self.cid {
            MISTAKES.warn(format_args!("a packet has the sender {:#x}", header.src_cid));
            return;
        }
        if header.dst_cid != HOST_CID || header.kind != STREAM {
            return self.refuse(&header);
        }
        let ports = Ports { host: header.dst_port, guest: header.src_port };
        let Some(slot) = self.table.find(ports) else {
            return if header.op == op::REQUEST {
                self.connect(ports, &header, ops);
            } else {
                self.refuse(&header);
            };
        };
        let Some(connection) = self.table.connection(slot) else { return };
        match connection.take(&header, &mut data.gather()) {
            Ok(Outcome::Open) => {}
            Ok(Outcome::Ended) => return self.close(slot, ops),
            Err(broken) => {
                MISTAKES.warn(format_args!("{} from port {}", broken.0, ports.guest));
                connection.break_off();
            }
        }
        self.table.queue(slot);
    }

    /// Answers a packet that is for nobody.
    fn refuse(&mut self, header: &Header) {
        // There is room: no packet is taken otherwise. And nobody answers an RST.
        if header.op != op::RST {
            self.resets.push_back(header.reset());
        }
    }

    /// The guest wants to connect to a port of the host.
    fn connect(&mut self, ports: Ports, request: &Header, ops: &mut EventOps<'_>) {
        if !self.table.has_room() {
            MISTAKES.warn(format_args!("the guest has too many connections"));
            return self.refuse(request);
        }
        let stream = match host::connect(&self.path, ports.host) {
            Ok(stream) => stream,
            Err(error) => {
                log::debug!("{}_{}: {error}", self.path.display(), ports.host);
                return self.refuse(request);
            }
        };
        let slot = self.table.add(Connection::from_guest(ports, stream, request));
        let watched = self.table.connection(slot).is_some_and(|new| watch(new.stream(), slot, ops));
        if watched {
            self.table.queue(slot);
        } else {
            self.table.remove(slot);
            self.refuse(request);
        }
    }

    /// Accepts those on the host who want to connect to the guest.
    fn accept(&mut self, ops: &mut EventOps<'_>) -> bool {
        for _ in 0..MAX_ACCEPTS {
            if !self.todo.accept || !self.table.has_room_for_greeting() {
                return false;
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_err() {
                        continue;
                    }
                    let slot = self.table.add_greeting(stream);
                    let is_watched =
                        self.table.greeting(slot).is_some_and(|new| watch(new, slot, ops));
                    if !is_watched {
                        self.table.remove(slot);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.todo.accept = false,
                // Such as too many files: who waits is accepted when there are fewer.
                Err(error) => {
                    MISTAKES.warn(format_args!("{}: {error}", self.path.display()));
                    return false;
                }
            }
        }
        true
    }

    /// Something happened at a socket.
    fn ready(&mut self, slot: u32, set: EventSet, ops: &mut EventOps<'_>) {
        let hung_up = set.intersects(EventSet::HANG_UP | EventSet::ERROR);
        let ended = hung_up || set.contains(EventSet::READ_HANG_UP);
        if let Some(stream) = self.table.greeting(slot) {
            match host::greeting(stream) {
                Greeting::Unfinished if !ended => return,
                Greeting::Port(port) => self.table.greeted(slot, port),
                _ => return self.close(slot, ops),
            }
        }
        if let Some(connection) = self.table.connection(slot) {
            let readable = ended || set.contains(EventSet::IN);
            if connection.ready(readable, set.contains(EventSet::OUT), hung_up).is_err() {
                connection.break_off();
            }
            self.table.queue(slot);
        }
    }

    /// Gives packets to the guest, as far as it has buffers for them.
    fn give_packets(&mut self, memory: &M::M, ops: &mut EventOps<'_>) -> Result<bool, RingError> {
        for _ in 0..MAX_PACKETS {
            if !self.todo.give || self.resets.is_empty() && !self.table.has_turns() {
                return Ok(false);
            }
            let Some(Taken { head, chain }) = self.rx.take(memory)? else {
                if self.rx.listen(memory)? {
                    continue;
                }
                self.todo.give = false;
                return Ok(false);
            };
            let buffer = chain.writable;
            if buffer.len() <= HEADER_BYTES {
                return Err(RingError::Small { bytes: buffer.len(), least: HEADER_BYTES + 1 });
            }
            let Some(bytes) = self.give_packet(buffer, ops) else {
                self.rx.put_back(1);
                return Ok(false);
            };
            self.rx.give(memory, head, bytes)?;
        }
        Ok(true)
    }

    /// Fills a buffer with a packet, if anybody has one, and tells how long it is.
    fn give_packet<B: BitmapSlice>(
        &mut self,
        mut buffer: Pieces<'_, B>,
        ops: &mut EventOps<'_>,
    ) -> Option<u32> {
        let place = buffer.split_front(HEADER_BYTES)?;
        let header = self.resets.pop_front().or_else(|| self.next_packet(&buffer, ops))?;
        place.copy_from(&header.to_bytes());
        Some(HEADER_BYTES as u32 + header.len)
    }

    /// The next packet of those whose turn it is; its data is in the buffer.
    fn next_packet<B: BitmapSlice>(
        &mut self,
        buffer: &Pieces<'_, B>,
        ops: &mut EventOps<'_>,
    ) -> Option<Header> {
        while let Some(slot) = self.table.next_turn() {
            let Some(connection) = self.table.connection(slot) else { continue };
            let Some(header) = packet_of(connection, self.cid, buffer) else { continue };
            if header.op == op::RST {
                self.close(slot, ops);
            } else if connection.next() != Next::Nothing {
                self.table.queue(slot);
            }
            return Some(header);
        }
        None
    }

    fn close(&mut self, slot: u32, ops: &mut EventOps<'_>) {
        let stream = match &self.table.remove(slot) {
            Slot::Free => return,
            Slot::Greeting(stream) => ops.remove(Events::empty(stream)),
            Slot::Open { connection, .. } => ops.remove(Events::empty(connection.stream())),
        };
        if let Err(error) = stream {
            log::error!("virtio-vsock: a socket cannot be left alone: {error}");
        }
    }
}

impl<M: GuestAddressSpace> MutEventSubscriber for Backend<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let result = ops
            .add(Events::with_data(self.rx.doorbell(), RX, EventSet::IN))
            .and_then(|()| ops.add(Events::with_data(self.tx.doorbell(), TX, EventSet::IN)))
            .and_then(|()| ops.add(Events::with_data(self.events.doorbell(), EVENT, EventSet::IN)))
            .and_then(|()| {
                let set = EventSet::IN | EventSet::EDGE_TRIGGERED;
                ops.add(Events::with_data(&self.listener, LISTENER, set))
            });
        if let Err(error) = result {
            log::error!("virtio-vsock: the host does not watch its files: {error}");
            self.failed = true;
            self.interrupt.needs_reset();
        }
        self.work(ops);
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        match events.data() {
            RX => {
                let _ = self.rx.doorbell().read();
                self.todo.give = true;
            }
            TX => {
                let _ = self.tx.doorbell().read();
                self.todo.take = true;
            }
            EVENT => drop(self.events.doorbell().read()),
            LISTENER => self.todo.accept = true,
            data => self.ready(data - FIRST_SLOT, events.event_set(), ops),
        }
        self.work(ops);
    }
}

/// The next packet of this connection.
fn packet_of<B: BitmapSlice>(
    connection: &mut Connection,
    cid: u64,
    buffer: &Pieces<'_, B>,
) -> Option<Header> {
    loop {
        match connection.next() {
            Next::Nothing => return None,
            Next::Control(operation, flags) => {
                connection.say(operation, flags);
                return Some(connection.header(cid, operation, flags));
            }
            Next::Data(room) => {
                let mut rest = buffer.clone();
                let part = rest.split_front(rest.len().min(room as usize))?;
                match part.fill(|to| Ok(connection.read(to))) {
                    Ok(Ok(0)) => {}
                    Ok(Ok(len)) => {
                        return Some(Header { len, ..connection.header(cid, op::RW, 0) });
                    }
                    Ok(Err(_)) | Err(_) => connection.break_off(),
                }
            }
        }
    }
}

/// Has the socket watched for all that may happen to it, once for each time that it happens.
fn watch(stream: &UnixStream, slot: u32, ops: &mut EventOps<'_>) -> bool {
    let set = EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
    match ops.add(Events::with_data(stream, FIRST_SLOT + slot, set)) {
        Ok(()) => true,
        Err(error) => {
            MISTAKES.warn(format_args!("a socket cannot be watched: {error}"));
            false
        }
    }
}
