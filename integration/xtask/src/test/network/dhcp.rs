//! Addresses, and the file that is to be started (RFC 2131).

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::Socket;
use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, IpAddress, IpEndpoint, Ipv4Address,
};

use super::{CLIENT, NETMASK, SERVER, udp_socket};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// "Bootfile name" (RFC 2132 §9.5), and the field of BOOTP for it (RFC 951 §3).
const BOOTFILE_NAME: u8 = 67;
const FILE_AT: usize = 108;

pub(super) struct Server {
    socket: SocketHandle,
    boot_file: String,
}

impl Server {
    pub(super) fn new(sockets: &mut SocketSet<'_>, boot_file: &str) -> Self {
        let mut socket = udp_socket();
        // It is open to be bound.
        let _ = socket.bind(SERVER_PORT);
        Self { socket: sockets.add(socket), boot_file: boot_file.to_owned() }
    }

    pub(super) fn serve(&mut self, sockets: &mut SocketSet<'_>) {
        let socket = sockets.get_mut::<Socket<'_>>(self.socket);
        while let Some(reply) =
            socket.recv().ok().map(|(message, _)| reply(message, &self.boot_file))
        {
            // The station has no address yet.
            let to = IpEndpoint::new(IpAddress::Ipv4(Ipv4Address::BROADCAST), CLIENT_PORT);
            let _ = reply.map(|message| socket.send_slice(&message, to));
        }
    }
}

fn reply(message: &[u8], boot_file: &str) -> Option<Vec<u8>> {
    let packet = DhcpPacket::new_checked(message).ok()?;
    let request = DhcpRepr::parse(&packet).ok()?;
    let reply = DhcpRepr {
        message_type: match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => DhcpMessageType::Ack,
            _ => return None,
        },
        your_ip: CLIENT,
        server_ip: SERVER,
        router: Some(SERVER),
        subnet_mask: Some(NETMASK),
        server_identifier: Some(SERVER),
        client_identifier: None,
        requested_ip: None,
        parameter_request_list: None,
        max_size: None,
        lease_duration: Some(86400),
        additional_options: &[DhcpOption { kind: BOOTFILE_NAME, data: boot_file.as_bytes() }],
        ..request
    };
    let mut message = vec![0; reply.buffer_len().max(300)];
    reply.emit(&mut DhcpPacket::new_unchecked(&mut message[..])).ok()?;
    message.get_mut(FILE_AT..FILE_AT + boot_file.len())?.copy_from_slice(boot_file.as_bytes());
    Some(message)
}
