//! A file's way through the network: ARP, IP and UDP are smoltcp's.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::udp::{self, PacketBuffer, PacketMetadata};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint};

use super::error::NetbootError;
use super::link::Link;
use super::transfer::{self, Outcome, Put, Transfer};

/// The server's port for requests.
const PORT: u16 = 69;

/// Ports for such purposes (RFC 6335 §6): the first, and how many there are.
const LOCAL_PORTS: (u16, u16) = (49152, 16384);

/// The headers of Ethernet, IP with options, UDP and TFTP.
const HEADER_BYTES: usize = 14 + 60 + 8 + 4;

/// Room for packets that wait, in packets.
const PACKETS: usize = 4;

/// When something is sent again that nobody answers: after so long, then twice as long, and so on.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Nobody is called silent before something was sent so often: this machine may have stood still.
const TRIES_MIN: u32 = 3;

/// The station that the machine is.
pub(super) struct Station {
    pub(super) address: Ipv4Addr,
    pub(super) netmask: Ipv4Addr,
    pub(super) gateway: Option<Ipv4Addr>,
}

/// A file that is on its way.
pub(super) struct Client {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    transfer: Transfer,
    /// Where the server answers from: it chooses the port.
    peer: Option<u16>,
    began: Instant,
    /// When the server has last done what brought the file on.
    last_step: Instant,
    send_at: Option<Instant>,
    wait: Duration,
    /// How often the same was sent.
    tries: u32,
}

impl Client {
    pub(super) fn new(
        link: &mut Link,
        station: &Station,
        transfer: impl FnOnce(usize) -> Transfer,
        random: u64,
        now: Instant,
    ) -> Self {
        let mut config = Config::new(EthernetAddress(link.mac_address()).into());
        config.random_seed = random;
        let mut interface = Interface::new(config, link, smoltcp::time::Instant::ZERO);
        let prefix = station.netmask.to_bits().leading_ones() as u8;
        interface.update_ip_addrs(|addresses| {
            // There is room for it.
            let _ = addresses.push(IpCidr::new(station.address.into(), prefix));
        });
        if let Some(gateway) = station.gateway {
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }
        let bytes = link.max_frame_bytes();
        let buffer =
            || PacketBuffer::new(vec![PacketMetadata::EMPTY; PACKETS], vec![0; PACKETS * bytes]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        let (first, count) = LOCAL_PORTS;
        // It is open to be bound, and no port is 0.
        let _ = socket.bind(first + (random % u64::from(count)) as u16);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        Self {
            interface,
            sockets,
            socket,
            transfer: transfer(bytes.saturating_sub(HEADER_BYTES)),
            peer: None,
            began: now,
            last_step: now,
            send_at: Some(now),
            wait: FIRST_WAIT,
            tries: 0,
        }
    }

    pub(super) fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// Goes on as far as there is something to do; true when the file is there.
    pub(super) fn poll(
        &mut self,
        link: &mut Link,
        put: &mut Put<'_>,
        silence: Duration,
        now: Instant,
    ) -> Result<bool, NetbootError> {
        let time = smoltcp::time::Instant::from_micros(
            i64::try_from(now.duration_since(self.began).as_micros()).unwrap_or(i64::MAX),
        );
        let mut result = Ok(false);
        loop {
            let (interface, sockets) = (&mut self.interface, &mut self.sockets);
            let ingress = interface.poll_ingress_single(time, link, sockets);
            if result == Ok(false) {
                result = self.receive(put, now);
            }
            if result != Ok(false) || ingress == smoltcp::iface::PollIngressSingleResult::None {
                break;
            }
        }
        let is_silent = now.duration_since(self.last_step) > silence && self.tries >= TRIES_MIN;
        if result == Ok(false) && is_silent {
            let Transfer { server, ref file, bytes, .. } = self.transfer;
            result = Err(NetbootError::NoAnswer { server, file: file.clone(), bytes });
        }
        // The last acknowledgement, and what the server is told of an error, go as well.
        if result != Ok(false) || self.send_at.is_some_and(|at| at <= now) {
            self.send(now);
        }
        self.interface.poll_egress(time, link, &mut self.sockets);
        result
    }

    /// Takes what has come.
    fn receive(&mut self, put: &mut Put<'_>, now: Instant) -> Result<bool, NetbootError> {
        let server = IpAddress::from(self.transfer.server);
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.socket);
        let mut packet = Vec::new();
        while let Ok((data, from)) = socket.recv() {
            let from = from.endpoint;
            if from.addr != server {
                continue;
            }
            if self.peer.is_some_and(|peer| peer != from.port) {
                // "An error packet should be sent to the source of the incorrect packet, while not
                // disturbing the transfer" (RFC 1350 §4).
                let _ = socket.send_slice(
                    &transfer::error_packet(transfer::UNKNOWN_ID, "unknown port"),
                    from,
                );
                continue;
            }
            packet.clear();
            packet.extend_from_slice(data);
            let bytes = self.transfer.bytes;
            let outcome = self.transfer.take(&packet, put);
            let is_first = self.peer.is_none();
            if !matches!(outcome, Ok(Outcome::Nothing)) {
                self.peer = Some(from.port);
            }
            match outcome? {
                Outcome::Nothing => continue,
                Outcome::Answer => {}
                Outcome::Anew => self.peer = None,
                Outcome::Done => return Ok(true),
            }
            if is_first || self.transfer.bytes > bytes {
                (self.last_step, self.wait, self.tries) = (now, FIRST_WAIT, 0);
            }
            self.send_at = Some(now);
        }
        Ok(false)
    }

    fn send(&mut self, now: Instant) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.socket);
        let to = IpEndpoint::new(self.transfer.server.into(), self.peer.unwrap_or(PORT));
        // Where there is no room, one waits already.
        let _ = socket.send_slice(self.transfer.packet(), to);
        self.send_at = Some(now + self.wait);
        self.wait = (2 * self.wait).min(LONGEST_WAIT);
        self.tries += 1;
    }
}
