//! A network of a test's own: one server at the other end of a guest's socket, which gives addresses
//! (DHCP) and files (TFTP, HTTP). It needs no rights on this machine, and ports are its own.
//!
//! ARP, IP, UDP and TCP are smoltcp's.

mod dhcp;
mod http;
mod tftp;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::failure::{Attempt, Result};

use self::wire::Wire;

/// The server.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The address that it gives.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const SERVER_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);

/// The files of the server, by name.
pub(super) type Files = BTreeMap<String, Arc<[u8]>>;

/// A network. It ends with this process.
pub(super) struct Network {
    given: Arc<Mutex<Vec<Given>>>,
}

/// A file that somebody got.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) protocol: &'static str,
    pub(super) file: String,
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, file, bytes, time } = self;
        let seconds = time.as_secs_f64();
        let rate = *bytes as f64 / seconds.max(1e-6) / 1e6;
        write!(f, "{file} by {protocol}: {bytes} bytes in {seconds:.2} s, {rate:.1} MB/s")
    }
}

impl Network {
    /// A network for one machine at a time, which connects to `socket`. The first file that is
    /// told of with an address is `boot_file`.
    pub(super) fn start(socket: &Path, files: Files, boot_file: &str) -> Result<Self> {
        let listener = UnixListener::bind(socket);
        let listener = listener.attempt(|| format!("listen at {}", socket.display()))?;
        let given = Arc::default();
        let (files, boot_file) = (Arc::new(files), boot_file.to_owned());
        let network = Self { given: Arc::clone(&given) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A machine that goes away knows it.
                let _ = serve(stream, &files, &boot_file, &given);
            }
        });
        Ok(network)
    }

    /// The files that were given since this was asked last.
    pub(super) fn given(&self) -> Vec<Given> {
        std::mem::take(&mut *self.given.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves one machine, until it goes away.
fn serve(
    stream: UnixStream,
    files: &Arc<Files>,
    boot_file: &str,
    given: &Mutex<Vec<Given>>,
) -> std::io::Result<()> {
    let began = Instant::now();
    let now = || smoltcp::time::Instant::from_micros(began.elapsed().as_micros() as i64);
    let mut wire = Wire::new(stream)?;
    let mut interface = Interface::new(Config::new(SERVER_MAC.into()), &mut wire, now());
    interface.update_ip_addrs(|addresses| {
        // There is room for it.
        let _ = addresses.push(IpCidr::new(SERVER.into(), 24));
    });
    let mut sockets = SocketSet::new(Vec::new());
    let mut dhcp = dhcp::Server::new(&mut sockets, boot_file);
    let mut tftp = tftp::Server::new(&mut sockets, files.clone());
    let mut http = http::Server::new(&mut sockets, files.clone());
    let mut tell = |one: Given| {
        given.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    };
    while wire.is_open() {
        interface.poll(now(), &mut wire, &mut sockets);
        dhcp.serve(&mut sockets);
        tftp.serve(&mut sockets, &mut tell);
        http.serve(&mut sockets, &mut tell);
        interface.poll(now(), &mut wire, &mut sockets);
        wire.wait()?;
    }
    Ok(())
}

/// A socket for datagrams.
fn udp_socket() -> smoltcp::socket::udp::Socket<'static> {
    use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};
    let buffer = || PacketBuffer::new(vec![PacketMetadata::EMPTY; 16], vec![0; 16 * 1500]);
    Socket::new(buffer(), buffer())
}
