//! The guest's peer: it answers messages and ticks, whichever process the guest is in, and knows
//! which process that was.
//!
//! ARP, IP, UDP and TCP are smoltcp's. The guest's half is `witness.c` of `integration/xtask`.

mod ports;

use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::failure::{Attempt, Failure, Result};

use self::ports::Ports;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
const MESSAGES_PORT: u16 = 7000;
const TICKS_PORT: u16 = 7001;
const MESSAGE_BYTES: usize = 64;

/// A network with the peer on it. It ends with this process.
#[derive(Debug)]
pub(crate) struct Network {
    socket: PathBuf,
    heard: Arc<Mutex<Heard>>,
}

/// A time in which frames came from one machine, and from no other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Machines are numbered as they connect.
    pub(crate) machine: usize,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

#[derive(Debug, Default)]
struct Heard {
    turns: Vec<Turn>,
    /// The number of the next message.
    messages: u64,
    failed: Option<String>,
    is_over: bool,
}

impl Network {
    /// Listens at a socket that is made.
    pub(crate) fn start(socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket).and_then(Ports::new);
        let ports = listener.attempt(|| format!("listen at {}", socket.display()))?;
        let heard = Arc::<Mutex<Heard>>::default();
        let network = Self { socket: socket.into(), heard: heard.clone() };
        thread::spawn(move || {
            if let Err(error) = serve(ports, &heard) {
                let failed = &mut lock(&heard).failed;
                failed.get_or_insert(format!("the network failed: {error}"));
            }
        });
        Ok(network)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Tells the guest to finish.
    pub(crate) fn finish(&self) {
        lock(&self.heard).is_over = true;
    }

    /// How many messages the guest had answered, if nothing is wrong with them.
    pub(crate) fn messages(&self) -> Result<u64> {
        let heard = lock(&self.heard);
        match &heard.failed {
            None => Ok(heard.messages),
            Some(why) => Err(Failure::new(why.clone())),
        }
    }

    /// Who was heard when, in order.
    pub(crate) fn turns(&self) -> Vec<Turn> {
        lock(&self.heard).turns.clone()
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heard {
    /// A frame came from a machine.
    fn frame(&mut self, machine: usize) {
        let now = Instant::now();
        match self.turns.last_mut() {
            Some(turn) if turn.machine == machine => turn.to = now,
            _ => self.turns.push(Turn { machine, from: now, to: now }),
        }
    }
}

fn serve(mut ports: Ports, heard: &Mutex<Heard>) -> std::io::Result<()> {
    let began = Instant::now();
    let now = || smoltcp::time::Instant::from_micros(began.elapsed().as_micros() as i64);
    let mut interface = Interface::new(Config::new(MAC.into()), &mut ports, now());
    interface.update_ip_addrs(|addresses| {
        // There is room for it.
        let _ = addresses.push(IpCidr::new(ADDRESS.into(), 24));
    });
    let mut sockets = SocketSet::new(Vec::new());
    let messages = sockets.add(messages_socket());
    let ticks = sockets.add(ticks_socket());
    loop {
        ports.wait(|machine| lock(heard).frame(machine))?;
        interface.poll(now(), &mut ports, &mut sockets);
        answer_messages(&mut sockets, messages, began.elapsed(), heard);
        answer_ticks(&mut sockets, ticks, began.elapsed());
        interface.poll(now(), &mut ports, &mut sockets);
    }
}

fn messages_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 16]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket
}

fn ticks_socket() -> udp::Socket<'static> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 64 * 64]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    // It is open to be bound.
    let _ = socket.bind(TICKS_PORT);
    socket
}

/// A number, the peer's clock, and whether the guest is to finish.
fn answer(number: u64, clock: Duration, is_over: bool) -> Vec<u8> {
    let words = [number, clock.as_nanos() as u64, u64::from(is_over)];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn answer_messages(
    sockets: &mut SocketSet<'_>,
    socket: SocketHandle,
    clock: Duration,
    heard: &Mutex<Heard>,
) {
    let socket = sockets.get_mut::<tcp::Socket<'_>>(socket);
    if !socket.is_open() {
        // It has no remote end.
        let _ = socket.listen(MESSAGES_PORT);
    }
    if socket.may_send() && !socket.may_recv() {
        socket.close();
    }
    while socket.recv_queue() >= MESSAGE_BYTES {
        let mut message = [0; MESSAGE_BYTES];
        let _ = socket.recv_slice(&mut message);
        let number = u64::from_be_bytes(*message.first_chunk().expect("it is long enough"));
        let mut heard = lock(heard);
        let wanted = heard.messages;
        if number != wanted {
            let why = format!("message {number} came, where {wanted} is the next");
            heard.failed.get_or_insert(why);
        }
        heard.messages = number.wrapping_add(1);
        // One is answered before the next comes: there is room.
        let _ = socket.send_slice(&answer(number, clock, heard.is_over));
    }
}

fn answer_ticks(sockets: &mut SocketSet<'_>, socket: SocketHandle, clock: Duration) {
    let socket = sockets.get_mut::<udp::Socket<'_>>(socket);
    while let Ok((tick, from)) = socket.recv() {
        let Some(number) = tick.first_chunk().map(|number| u64::from_be_bytes(*number)) else {
            continue;
        };
        // What there is no room for is lost, as ticks may be.
        let _ = socket.send_slice(&answer(number, clock, false), from.endpoint);
    }
}
