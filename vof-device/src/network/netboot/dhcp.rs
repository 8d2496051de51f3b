//! An address from the network (RFC 2131 §4.4.1).
//!
//! Messages are built and read by smoltcp. The exchange is our own: smoltcp's client panics where a
//! server gives times that make no sense (0.12), and keeps no reply of servers that name no netmask.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::error::NetbootError;
use super::link::Link;
use super::reply::{Reply, WANTED};
use super::request::is_unicast;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// "A BOOTP message has 300 bytes at the least" for servers that are old (RFC 1542 §2.1).
const MESSAGE_BYTES_MIN: usize = 300;

/// When something is asked again that nobody answers: after so long, then twice as long, and so on
/// (RFC 2131 §4.1, which begins with 4 s and goes to 64).
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// Nobody is called silent before something was sent so often: this machine may have stood still.
const TRIES_MIN: u32 = 3;

/// Who asks for an address.
pub(super) struct Client {
    transaction: u32,
    /// What a server has offered.
    offer: Option<Reply>,
    tries: u32,
    began: Instant,
    send_at: Instant,
    wait: Duration,
}

impl Client {
    pub(super) fn new(transaction: u32, now: Instant) -> Self {
        Self { transaction, offer: None, tries: 0, began: now, send_at: now, wait: FIRST_WAIT }
    }

    /// How often it has asked.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// Goes on as far as there is something to do; what a server has agreed to, once one has.
    pub(super) fn poll(
        &mut self,
        link: &mut Link,
        silence: Duration,
        now: Instant,
    ) -> Result<Option<Reply>, NetbootError> {
        let mac = link.mac_address();
        while let Some(frame) = link.next_frame() {
            let Some(reply) = reply_in(frame, self.transaction, mac) else { continue };
            match (&self.offer, reply.kind) {
                (None, DhcpMessageType::Offer) if is_unicast(&reply.address) => {
                    self.offer = Some(reply);
                    (self.send_at, self.wait) = (now, FIRST_WAIT);
                }
                (Some(offer), DhcpMessageType::Ack)
                    if is_unicast(&reply.address) && reply.server == offer.server =>
                {
                    return Ok(Some(reply));
                }
                // It is somebody else's by now.
                (Some(offer), DhcpMessageType::Nak) if reply.server == offer.server => {
                    self.offer = None;
                }
                _ => {}
            }
        }
        let after = now.duration_since(self.began);
        if after > silence && self.tries >= TRIES_MIN {
            link.state().map_err(NetbootError::Network)?;
            return Err(NetbootError::NoAddress { tries: self.tries, after });
        }
        if self.send_at <= now {
            let frame = self.request(mac, after);
            link.send_frame(&frame);
            self.tries += 1;
            self.send_at = now + self.wait;
            self.wait = (2 * self.wait).min(LONGEST_WAIT);
        }
        Ok(None)
    }

    /// The frame that asks for an offer, or for what was offered.
    fn request(&self, mac: [u8; 6], after: Duration) -> Vec<u8> {
        let mac = EthernetAddress(mac);
        let offer = self.offer.as_ref();
        let dhcp = DhcpRepr {
            message_type: match offer {
                None => DhcpMessageType::Discover,
                Some(_) => DhcpMessageType::Request,
            },
            transaction_id: self.transaction,
            secs: after.as_secs().try_into().unwrap_or(u16::MAX),
            client_hardware_address: mac,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: offer.map(|offer| offer.address),
            client_identifier: Some(mac),
            server_identifier: offer.map(|offer| offer.server),
            parameter_request_list: Some(&WANTED),
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut message = vec![0; dhcp.buffer_len().max(MESSAGE_BYTES_MIN)];
        // It has the length that was asked for.
        let _ = dhcp.emit(&mut DhcpPacket::new_unchecked(&mut message[..]));
        frame_of(mac, &message)
    }
}

/// A message to all servers, from a station without an address.
fn frame_of(mac: EthernetAddress, message: &[u8]) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let (from, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let udp = UdpRepr { src_port: CLIENT_PORT, dst_port: SERVER_PORT };
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + message.len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: mac,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let put = |payload: &mut [u8]| payload.copy_from_slice(message);
    udp.emit(&mut datagram, &from.into(), &to.into(), message.len(), put, &checksums);
    bytes
}

/// The reply in a frame, if there is one for us.
fn reply_in(frame: &[u8], transaction: u32, mac: [u8; 6]) -> Option<Reply> {
    let checksums = ChecksumCapabilities::default();
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let to = frame.dst_addr();
    let is_for_us = to == EthernetAddress(mac) || to.is_broadcast();
    if !is_for_us || frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    let ip = Ipv4Repr::parse(&packet, &checksums).ok()?;
    if ip.next_header != IpProtocol::Udp || packet.more_frags() || packet.frag_offset() != 0 {
        return None;
    }
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    let (from, to) = (ip.src_addr.into(), ip.dst_addr.into());
    let udp = UdpRepr::parse(&datagram, &from, &to, &checksums).ok()?;
    if (udp.src_port, udp.dst_port) != (SERVER_PORT, CLIENT_PORT) {
        return None;
    }
    Reply::parse(datagram.payload(), transaction, mac)
}
