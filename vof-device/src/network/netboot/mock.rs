//! A network with a server of addresses and files, for tests and fuzzers: it answers in the call
//! that sends it something. How it answers can be wrong in many ways.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr,
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet,
    Ipv4Repr, UdpPacket, UdpRepr,
};

use crate::network::{NetworkDevice, NetworkError};

/// The server, and the station that it serves.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The address that it gives.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The station's address of Ethernet.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
/// The file that it names.
pub const FILE: &str = "boot/program";

const SERVER_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
const PORT: u16 = 4242;

/// How the server is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Manners {
    /// What is in its file.
    pub file: Vec<u8>,
    /// It gives addresses.
    pub gives_addresses: bool,
    /// It names its file, and itself.
    pub names_file: bool,
    /// It knows options of TFTP.
    pub knows_options: bool,
    /// It gives the file, and not an error.
    pub gives_file: bool,
    /// Of so many frames, one is lost; 0 for none.
    pub loses: u32,
    /// It gives so many blocks of the file, and is silent then.
    pub silent_after: Option<u64>,
    /// The file never ends.
    pub endless: bool,
    /// Each block comes twice, and one of the past before it.
    pub stutters: bool,
    /// Packets of somebody else come in between, from another port.
    pub intruder: bool,
    /// More options of DHCP.
    pub more_options: Vec<(u8, Vec<u8>)>,
}

impl Manners {
    /// One that serves this file as it should.
    pub fn good(file: impl Into<Vec<u8>>) -> Self {
        Self {
            file: file.into(),
            gives_addresses: true,
            names_file: true,
            knows_options: true,
            gives_file: true,
            loses: 0,
            silent_after: None,
            endless: false,
            stutters: false,
            intruder: false,
            more_options: Vec::new(),
        }
    }
}

/// The network.
#[derive(Debug)]
pub struct MockNetwork {
    manners: Manners,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    error: Option<NetworkError>,
    count: u32,
    block_bytes: usize,
    errors_told: Vec<u16>,
}

impl MockNetwork {
    /// With a server like this.
    pub fn new(manners: Manners) -> Self {
        Self { manners, state: Mutex::default() }
    }

    /// Puts a frame on its way to the station.
    pub fn push(&self, frame: Vec<u8>) {
        self.state().frames.push_back(frame);
    }

    /// From here on, there is no network, or there is one again.
    pub fn set_error(&self, error: Option<NetworkError>) {
        self.state().error = error;
    }

    /// The errors of TFTP that the station has told of.
    pub fn errors_told(&self) -> Vec<u16> {
        self.state().errors_told.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, state: &mut State, frame: &[u8]) -> Option<()> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        match ethernet.ethertype() {
            EthernetProtocol::Arp => arp(state, ethernet.payload()),
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
                let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
                let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
                assert!(packet.verify_checksum() && datagram.verify_checksum(&from, &to));
                match datagram.dst_port() {
                    67 => self.dhcp(state, datagram.payload()),
                    69 => self.tftp(state, datagram.payload(), datagram.src_port(), true),
                    PORT => self.tftp(state, datagram.payload(), datagram.src_port(), false),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn dhcp(&self, state: &mut State, message: &[u8]) -> Option<()> {
        let packet = DhcpPacket::new_checked(message).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        if !self.manners.gives_addresses {
            return None;
        }
        let more = self.manners.more_options.iter();
        let mut options: Vec<_> =
            more.map(|(kind, data)| DhcpOption { kind: *kind, data }).collect();
        if self.manners.names_file {
            options.push(DhcpOption { kind: 67, data: FILE.as_bytes() });
        }
        let reply = DhcpRepr {
            message_type: match request.message_type {
                DhcpMessageType::Discover => DhcpMessageType::Offer,
                DhcpMessageType::Request if request.requested_ip == Some(CLIENT) => {
                    DhcpMessageType::Ack
                }
                _ => DhcpMessageType::Nak,
            },
            your_ip: CLIENT,
            server_ip: if self.manners.names_file { SERVER } else { Ipv4Addr::UNSPECIFIED },
            router: Some(SERVER),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            server_identifier: Some(SERVER),
            client_identifier: None,
            requested_ip: None,
            parameter_request_list: None,
            max_size: None,
            lease_duration: Some(3600),
            additional_options: &options,
            ..request
        };
        let mut message = vec![0; reply.buffer_len()];
        reply.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).ok()?;
        state.frames.push_back(datagram(67, 68, &message));
        Some(())
    }

    fn tftp(&self, state: &mut State, packet: &[u8], to: u16, is_first: bool) -> Option<()> {
        let (operation, rest) = packet.split_first_chunk::<2>()?;
        let give = |state: &mut State, packet: &[u8]| {
            state.frames.push_back(datagram(PORT, to, packet));
        };
        let error = |code: u8, text: &[u8]| [&[0, 5, 0, code], text, &[0]].concat();
        match (u16::from_be_bytes(*operation), is_first) {
            (1, true) => {
                let texts: Vec<_> = rest.split(|&byte| byte == 0).collect();
                if !self.manners.gives_file || texts[0] != FILE.as_bytes() {
                    give(state, &error(1, b"no such file"));
                    return Some(());
                }
                state.block_bytes = 512;
                if texts.len() > 3 && self.manners.knows_options {
                    state.block_bytes = std::str::from_utf8(texts[3]).ok()?.parse().ok()?;
                    let bytes = self.manners.file.len();
                    let mut options = b"\0\x06blksize\0".to_vec();
                    options.extend_from_slice(texts[3]);
                    if !self.manners.endless {
                        options.extend_from_slice(format!("\0tsize\0{bytes}").as_bytes());
                    }
                    options.push(0);
                    give(state, &options);
                } else {
                    self.block(state, 1, to, give);
                }
            }
            (4, false) => {
                let number = u64::from(u16::from_be_bytes(*rest.first_chunk()?));
                self.block(state, number + 1, to, give);
            }
            (5, _) => state.errors_told.push(u16::from_be_bytes(*rest.first_chunk()?)),
            _ => {}
        }
        Some(())
    }

    /// Files of these tests have no more blocks than numbers.
    fn block(&self, state: &mut State, number: u64, to: u16, give: impl Fn(&mut State, &[u8])) {
        let start = (number as usize - 1) * state.block_bytes;
        let is_over = self.manners.silent_after.is_some_and(|most| number > most);
        if is_over || start > self.manners.file.len() && !self.manners.endless {
            return;
        }
        let end = self.manners.file.len().min(start + state.block_bytes);
        let mut data = self.manners.file.get(start..end).unwrap_or_default().to_vec();
        if self.manners.endless {
            data.resize(state.block_bytes, 0xee);
        }
        let block = [&[0, 3], &(number as u16).to_be_bytes()[..], &data].concat();
        if self.manners.intruder {
            let other = [&[0, 3], &(number as u16).to_be_bytes()[..], b"not it"].concat();
            state.frames.push_back(datagram(PORT + 1, to, &other));
        }
        give(state, &block);
        if self.manners.stutters {
            give(state, &[0, 3, 0, 0, 1, 2, 3]);
            give(state, &block);
        }
    }
}

impl NetworkDevice for MockNetwork {
    fn mac_address(&self) -> [u8; 6] {
        MAC
    }

    fn receive(&self, frame: &mut [u8]) -> Result<Option<usize>, NetworkError> {
        let mut state = self.state();
        state.error.map_or(Ok(()), Err)?;
        let Some(came) = state.frames.pop_front() else { return Ok(None) };
        let bytes = came.len().min(frame.len());
        frame[..bytes].copy_from_slice(&came[..bytes]);
        Ok(Some(bytes))
    }

    fn send(&self, frame: &[u8]) -> Result<bool, NetworkError> {
        let mut state = self.state();
        state.error.map_or(Ok(()), Err)?;
        state.count += 1;
        let is_lost = self.manners.loses != 0 && state.count % self.manners.loses == 0;
        if !is_lost {
            let _ = self.answer(&mut state, frame);
        }
        Ok(true)
    }

    /// What is to come has come.
    fn wait(&self, limit: Duration) {
        if self.state().frames.is_empty() {
            std::thread::sleep(limit);
        }
    }
}

fn arp(state: &mut State, packet: &[u8]) -> Option<()> {
    let packet = ArpPacket::new_checked(packet).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    if target_protocol_addr != SERVER {
        return None;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: SERVER_MAC,
        source_protocol_addr: SERVER,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut bytes = vec![0; 14 + reply.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet(EthernetProtocol::Arp).emit(&mut frame);
    reply.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    state.frames.push_back(bytes);
    Some(())
}

/// A datagram of the server's to the station.
fn datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let udp = UdpRepr { src_port: from, dst_port: to };
    let ip = Ipv4Repr {
        src_addr: SERVER,
        dst_addr: CLIENT,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + payload.len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 14 + ip.buffer_len() + ip.payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet(EthernetProtocol::Ipv4).emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let put = |to: &mut [u8]| to.copy_from_slice(payload);
    udp.emit(&mut datagram, &SERVER.into(), &CLIENT.into(), payload.len(), put, &checksums);
    bytes
}

fn ethernet(ethertype: EthernetProtocol) -> EthernetRepr {
    EthernetRepr { src_addr: SERVER_MAC, dst_addr: EthernetAddress(MAC), ethertype }
}
