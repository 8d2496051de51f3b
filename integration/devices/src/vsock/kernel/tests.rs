#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_sys_util::tempdir::TempDir;

use super::*;
use crate::virtio::driver::CountedInterrupts;
use crate::vsock::header::{Header, NO_RECEIVE, NO_SEND, op};
use crate::vsock::tests::guest::Guest;

#[test]
fn devices_that_are_none_are_named() {
    let error = KernelVsock::open(Path::new("/nowhere"), 3).unwrap_err();
    assert_eq!(error.to_string(), "cannot use the kernel's device /nowhere");
    let error = KernelVsock::open(Path::new("/dev/null"), 3).unwrap_err();
    let VsockError::Kernel { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.raw_os_error(), Some(libc::ENOTTY));
    assert!(matches!(KernelVsock::new(2), Err(VsockError::Cid(2))));
}

#[test]
fn a_kernel_that_cannot_be_told_of_memory_does_not_go_on() {
    let interrupts = Arc::new(CountedInterrupts::default());
    let session = KernelSession::broken(FILE, halt, interrupts.clone());
    let mut device = KernelVsock::of(3, session, 0);
    let ranges = [(GuestAddress(0), 0x1_0000)];
    let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap());
    device.memory_changed(&memory);
    assert_eq!(interrupts.reset_count(), 1);
    assert!(!device.session.is_running());
    // It uses none any more.
    device.memory_changed(&memory);
    assert_eq!(interrupts.reset_count(), 1);
}

/// A socket of the host, and an address.
fn host_socket(cid: u32, port: u32) -> (OwnedFd, libc::sockaddr_vm) {
    // SAFETY: no memory is passed.
    let socket = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0);
    // SAFETY: all zero is an address.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    (address.svm_cid, address.svm_port) = (cid, port);
    // SAFETY: it was just made.
    (unsafe { OwnedFd::from_raw_fd(socket) }, address)
}

fn connect(cid: u32, port: u32) -> File {
    let (socket, address) = host_socket(cid, port);
    let bytes = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is there for the call, and has so many bytes.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), bytes) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    socket.into()
}

fn listen(port: u32) -> OwnedFd {
    let (socket, address) = host_socket(libc::VMADDR_CID_HOST, port);
    let bytes = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is there for the call, and has so many bytes.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), bytes) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 1) }, 0);
    socket
}

fn accept(socket: &OwnedFd) -> File {
    // SAFETY: the address is not asked for.
    let socket =
        unsafe { libc::accept(socket.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut()) };
    assert!(socket >= 0);
    // SAFETY: it was just made.
    unsafe { File::from_raw_fd(socket) }
}

/// The next packet of this operation; others may come before.
fn wait(guest: &mut Guest, operation: u16) -> (Header, Vec<u8>) {
    for _ in 0..30_000 {
        guest.turn();
        while let Some(packet) = guest.packets.pop_front() {
            if packet.0.op == operation {
                return packet;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing comes");
}

#[test]
#[ignore = "needs /dev/vhost-vsock"]
fn host_and_guest_talk() {
    static CIDS: AtomicU32 = AtomicU32::new(1000);
    for is_relayed in [false, true] {
        let cid = CIDS.fetch_add(1, Ordering::SeqCst);
        let device = KernelVsock::new(cid.into()).unwrap().with_relayed_queues(is_relayed);
        assert!(
            matches!(KernelVsock::new(cid.into()), Err(VsockError::Taken(taken)) if taken == u64::from(cid))
        );
        let mut guest = Guest::with(TempDir::new().unwrap(), Box::new(device));
        guest.reset();
        for _ in 0..2 {
            from_host(&mut guest, cid);
            from_guest(&mut guest, cid);
            guest.reset();
        }
        assert_eq!(guest.interrupts.reset_count(), 0);
    }
}

fn from_host(guest: &mut Guest, cid: u32) {
    let host = thread::spawn(move || {
        let mut stream = connect(cid, 77);
        stream.write_all(b"hello").unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"to you");
    });
    let (request, _) = wait(guest, op::REQUEST);
    assert_eq!((request.dst_cid, request.dst_port), (cid.into(), 77));
    let of = |guest: &Guest, operation| Header {
        src_cid: cid.into(),
        ..guest.header(operation, 77, request.src_port)
    };
    guest.send(of(guest, op::RESPONSE), &[]);
    assert_eq!(wait(guest, op::RW).1, b"hello");
    guest.send(of(guest, op::RW), b"to you");
    wait(guest, op::SHUTDOWN);
    guest.send(of(guest, op::RST), &[]);
    host.join().unwrap();
}

fn from_guest(guest: &mut Guest, cid: u32) {
    let port = 0x7000_0000 + cid;
    let listener = listen(port);
    let host = thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        assert_eq!(text, b"hello");
    });
    let of = |guest: &Guest, operation| Header {
        src_cid: cid.into(),
        ..guest.header(operation, 5, port)
    };
    guest.send(of(guest, op::REQUEST), &[]);
    wait(guest, op::RESPONSE);
    guest.send(of(guest, op::RW), b"hello");
    guest.send(Header { flags: NO_RECEIVE | NO_SEND, ..of(guest, op::SHUTDOWN) }, &[]);
    host.join().unwrap();
    wait(guest, op::RST);
}
