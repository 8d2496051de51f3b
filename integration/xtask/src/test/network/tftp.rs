//! Files, block by block (RFC 1350, with the options of RFC 2348 and 2349).

use std::sync::Arc;
use std::time::{Duration, Instant};

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::Socket;
use smoltcp::wire::IpEndpoint;

use super::{Files, Given, udp_socket};

const PORT: u16 = 69;

/// What nobody answers is sent again after so long, so many times.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 30;

pub(super) struct Server {
    socket: SocketHandle,
    files: Arc<Files>,
    transfers: Vec<Transfer>,
    next_port: u16,
}

/// A file on its way, from a port of its own.
struct Transfer {
    socket: SocketHandle,
    to: IpEndpoint,
    name: String,
    file: Arc<[u8]>,
    block_bytes: usize,
    /// The block that was sent last; 0 is what is said to options.
    number: usize,
    packet: Vec<u8>,
    began: Instant,
    sent: Instant,
    tries: u32,
}

impl Server {
    pub(super) fn new(sockets: &mut SocketSet<'_>, files: Arc<Files>) -> Self {
        let mut socket = udp_socket();
        // It is open to be bound.
        let _ = socket.bind(PORT);
        let socket = sockets.add(socket);
        Self { socket, files, transfers: Vec::new(), next_port: 50_000 }
    }

    pub(super) fn serve(&mut self, sockets: &mut SocketSet<'_>, tell: &mut dyn FnMut(Given)) {
        let mut requests = Vec::new();
        let socket = sockets.get_mut::<Socket<'_>>(self.socket);
        while let Ok((packet, from)) = socket.recv() {
            requests.push((packet.to_vec(), from.endpoint));
        }
        for (request, from) in requests {
            if let Some(transfer) = self.begin(sockets, &request, from) {
                self.transfers.push(transfer);
            }
        }
        self.transfers.retain_mut(|transfer| {
            let goes_on = transfer.go_on(sockets);
            if !goes_on {
                tell(transfer.given());
                sockets.remove(transfer.socket);
            }
            goes_on
        });
    }

    fn begin(
        &mut self,
        sockets: &mut SocketSet<'_>,
        request: &[u8],
        to: IpEndpoint,
    ) -> Option<Transfer> {
        let texts = request.strip_prefix(&[0, 1])?.split(|&byte| byte == 0);
        let texts: Vec<_> = texts.map(|text| String::from_utf8_lossy(text)).collect();
        let name = texts.first()?.trim_start_matches('/').to_owned();
        let Some(file) = self.files.get(&name) else {
            let socket = sockets.get_mut::<Socket<'_>>(self.socket);
            let _ = socket.send_slice(b"\0\x05\0\x01no such file\0", to);
            return None;
        };
        let mut block_bytes = 512;
        let mut options = b"\0\x06".to_vec();
        for pair in texts.get(2..).unwrap_or_default().chunks_exact(2) {
            let value = match &*pair[0] {
                "blksize" => {
                    block_bytes =
                        pair[1].parse().ok().filter(|bytes| (8..=1428).contains(bytes))?;
                    block_bytes
                }
                "tsize" => file.len(),
                _ => continue,
            };
            options.extend_from_slice(format!("{}\0{value}\0", pair[0]).as_bytes());
        }
        let mut socket = udp_socket();
        let _ = socket.bind(self.next_port);
        self.next_port = self.next_port.checked_add(1).unwrap_or(50_000);
        let now = Instant::now();
        let mut transfer = Transfer {
            socket: sockets.add(socket),
            to,
            name,
            file: file.clone(),
            block_bytes,
            number: 0,
            packet: options,
            began: now,
            sent: now,
            tries: 0,
        };
        if transfer.packet.len() == 2 {
            transfer.next_block();
        }
        transfer.send(sockets);
        Some(transfer)
    }
}

impl Transfer {
    /// What of it was given: not all, to somebody who needs no more.
    fn given(&self) -> Given {
        Given {
            protocol: "TFTP",
            file: self.name.clone(),
            bytes: self.file.len().min(self.number * self.block_bytes),
            time: self.sent.duration_since(self.began),
        }
    }

    /// False at its end.
    fn go_on(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        let mut is_acknowledged = false;
        let socket = sockets.get_mut::<Socket<'_>>(self.socket);
        while let Ok((packet, from)) = socket.recv() {
            match packet {
                [0, 4, number @ ..] if from.endpoint == self.to => {
                    is_acknowledged |= *number == (self.number as u16).to_be_bytes();
                }
                [0, 5, ..] => return false,
                _ => {}
            }
        }
        if is_acknowledged && self.number * self.block_bytes > self.file.len() {
            return false;
        }
        if is_acknowledged {
            self.next_block();
            self.tries = 0;
            self.send(sockets);
        } else if self.sent.elapsed() > AGAIN {
            self.tries += 1;
            self.send(sockets);
        }
        self.tries < TRIES
    }

    fn next_block(&mut self) {
        let start = self.number * self.block_bytes;
        let end = self.file.len().min(start + self.block_bytes);
        self.number += 1;
        self.packet.clear();
        self.packet.extend_from_slice(&[0, 3]);
        self.packet.extend_from_slice(&(self.number as u16).to_be_bytes());
        self.packet.extend_from_slice(&self.file[start..end]);
    }

    fn send(&mut self, sockets: &mut SocketSet<'_>) {
        let socket = sockets.get_mut::<Socket<'_>>(self.socket);
        let _ = socket.send_slice(&self.packet, self.to);
        self.sent = Instant::now();
    }
}
