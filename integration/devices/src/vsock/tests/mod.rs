pub(super) mod guest;
mod hostile;
mod saved;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use self::guest::{CID, Guest, Memory, ROOM, RX_BUFFER, read_all};
use super::connection::BUFFER_BYTES;
use super::header::{HEADER_BYTES, Header, NO_RECEIVE, NO_SEND, op};
use super::{Vsock, VsockError};
use crate::virtio::VirtioDevice;

const PORT: u32 = 1234;
const GUEST_PORT: u32 = 77;

/// A connection that the guest has begun, as the host has it.
fn from_guest(guest: &mut Guest) -> UnixStream {
    let listener = guest.listen(PORT);
    guest.send(guest.header(op::REQUEST, GUEST_PORT, PORT), &[]);
    let (header, _) = guest.expect(op::RESPONSE);
    assert_eq!((header.src_port, header.dst_port), (PORT, GUEST_PORT));
    assert_eq!(header.buf_alloc, BUFFER_BYTES);
    listener.accept().unwrap().0
}

/// A connection that the host has begun, and its port of the host.
fn from_host(guest: &mut Guest, port: u32) -> (UnixStream, u32) {
    let mut stream = UnixStream::connect(guest.socket()).unwrap();
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).unwrap();
    guest.turn();
    let (header, _) = guest.expect(op::REQUEST);
    assert_eq!(header.dst_port, port);
    guest.send(guest.header(op::RESPONSE, port, header.src_port), &[]);
    let expected = format!("OK {}\n", header.src_port).into_bytes();
    assert_eq!(read_all(&mut stream), (expected, false));
    (stream, header.src_port)
}

fn some_bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn addresses_and_sockets_are_checked() {
    for cid in [0, 2, 0xffff_ffff, 1 << 32] {
        let error = Vsock::new(cid, "/".as_ref()).unwrap_err();
        assert!(matches!(error, VsockError::Cid(wrong) if wrong == cid));
    }
    let error = Vsock::new(3, "/nowhere/socket".as_ref()).unwrap_err();
    assert_eq!(error.to_string(), "cannot listen at /nowhere/socket");

    let guest = Guest::bare();
    let error = Vsock::new(3, &guest.socket()).unwrap_err();
    let VsockError::Listen { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), ErrorKind::AddrInUse);
    let other = Vsock::new(0x1_0203, &guest.folder.as_path().join("other")).unwrap();
    let mut config = [0; 6];
    VirtioDevice::<Memory>::read_config(&other, 1, &mut config);
    assert_eq!(config, [2, 1, 0, 0, 0, 0]);
    VirtioDevice::<Memory>::read_config(&other, u64::MAX, &mut config);
}

#[test]
fn a_guest_connects_and_is_echoed() {
    let mut guest = Guest::new();
    let mut stream = from_guest(&mut guest);
    guest.send(guest.header(op::RW, GUEST_PORT, PORT), b"hello");
    assert_eq!(read_all(&mut stream), (b"hello".to_vec(), false));
    stream.write_all(b"to you").unwrap();
    guest.turn();
    let (header, data) = guest.expect(op::RW);
    assert_eq!((data.as_slice(), header.fwd_cnt), (&b"to you"[..], 5));
    assert!(guest.interrupts.used_count() > 0);

    // The guest closes, as Linux does.
    let both =
        Header { flags: NO_RECEIVE | NO_SEND, ..guest.header(op::SHUTDOWN, GUEST_PORT, PORT) };
    guest.send(both, &[]);
    guest.expect(op::RST);
    assert_eq!(read_all(&mut stream), (vec![], true));
    // The connection is gone.
    guest.send(guest.header(op::RW, GUEST_PORT, PORT), b"x");
    guest.expect(op::RST);
    guest.expect_nothing();
}

#[test]
fn a_host_connects_and_is_echoed() {
    let mut guest = Guest::new();
    let (mut stream, port) = from_host(&mut guest, GUEST_PORT);
    stream.write_all(b"hello").unwrap();
    guest.turn();
    let (header, data) = guest.expect(op::RW);
    assert_eq!((header.src_port, header.dst_port, &*data), (port, GUEST_PORT, &b"hello"[..]));
    guest.send(guest.header(op::RW, GUEST_PORT, port), b"to you");
    assert_eq!(read_all(&mut stream), (b"to you".to_vec(), false));

    // Another gets another port.
    let (_other, other_port) = from_host(&mut guest, GUEST_PORT);
    assert_ne!(port, other_port);
    guest.send(guest.header(op::RST, GUEST_PORT, port), &[]);
    assert_eq!(read_all(&mut stream), (vec![], true));
    guest.expect_nothing();
}

#[test]
fn who_is_refused_is_told() {
    let mut guest = Guest::new();
    // Nobody listens there; nobody listens any more.
    guest.send(guest.header(op::REQUEST, GUEST_PORT, PORT), &[]);
    guest.expect(op::RST);
    drop(guest.listen(PORT));
    guest.send(guest.header(op::REQUEST, GUEST_PORT, PORT), &[]);
    guest.expect(op::RST);
    // Nobody listens in the guest.
    let mut stream = UnixStream::connect(guest.socket()).unwrap();
    stream.write_all(b"CONNECT 5\n").unwrap();
    guest.turn();
    let (request, _) = guest.expect(op::REQUEST);
    guest.send(guest.header(op::RST, 5, request.src_port), &[]);
    assert_eq!(read_all(&mut stream), (vec![], true));
    // One who says nothing that makes sense, one who gives up, and one who gives up later.
    for text in ["GET /\n", "CONN", "CONNECT 6\n"] {
        let mut stream = UnixStream::connect(guest.socket()).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        guest.turn();
        stream.shutdown(Shutdown::Write).unwrap();
        guest.turn();
        drop(stream);
        guest.turn();
    }
    guest.expect(op::REQUEST);
    guest.expect(op::RST);
    guest.expect_nothing();
}

#[test]
fn a_host_that_writes_much_waits_for_room() {
    let mut guest = Guest::new();
    let (mut stream, port) = from_host(&mut guest, GUEST_PORT);
    let room = 10_000;
    let mut header =
        Header { buf_alloc: room, ..guest.header(op::CREDIT_UPDATE, GUEST_PORT, port) };
    guest.send(header, &[]);
    let data = some_bytes(100_000);
    stream.write_all(&data).unwrap();
    let mut came = Vec::new();
    while came.len() < data.len() {
        guest.turn();
        let before = came.len();
        let mut asked = 0;
        while let Some((header, mut part)) = guest.packets.pop_front() {
            match header.op {
                op::RW => came.append(&mut part),
                op::CREDIT_REQUEST => asked += 1,
                other => panic!("operation {other}"),
            }
        }
        let here = (room as usize).min(data.len() - before);
        assert_eq!(came.len() - before, here);
        assert_eq!(asked, 1, "after {}", came.len());
        header.fwd_cnt = came.len() as u32;
        guest.send(header, &[]);
    }
    assert!(came == data);
}

#[test]
fn a_guest_that_writes_much_waits_for_room() {
    let mut guest = Guest::new();
    let mut stream = from_guest(&mut guest);
    let data = some_bytes(1 << 20);
    let (mut sent, mut told, mut came) = (0_usize, 0_u32, Vec::new());
    let mut stalls = 0;
    while came.len() < data.len() {
        let room = BUFFER_BYTES - (sent as u32 - told);
        let next = (room as usize).min(data.len() - sent).min(20_000);
        if next != 0 {
            let header = guest.header(op::RW, GUEST_PORT, PORT);
            guest.send(header, &data[sent..sent + next]);
            sent += next;
        } else {
            // The host reads at last.
            stalls += 1;
            came.extend(read_all(&mut stream).0);
            guest.turn();
        }
        while let Some((header, _)) = guest.packets.pop_front() {
            assert_eq!(header.op, op::CREDIT_UPDATE);
            told = header.fwd_cnt;
        }
    }
    assert!(stalls > 2);
    assert!(came == data);
    // A guest that asks is answered.
    guest.send(guest.header(op::CREDIT_REQUEST, GUEST_PORT, PORT), &[]);
    assert_eq!(guest.expect(op::CREDIT_UPDATE).0.fwd_cnt, 1 << 20);
}

#[test]
fn a_guest_that_writes_more_than_it_may_loses_its_connection() {
    let mut guest = Guest::new();
    let mut stream = from_guest(&mut guest);
    let data = some_bytes(60_000);
    // The host does not read: its socket's buffer is full sometime, then the device's.
    let mut sent = 0;
    while guest.packets.iter().all(|(header, _)| header.op != op::RST) {
        guest.send(guest.header(op::RW, GUEST_PORT, PORT), &data);
        sent += data.len();
        assert!(sent < 16 << 20);
    }
    let (came, ended) = read_all(&mut stream);
    assert!(ended && came.len() < sent && came[..60_000] == data);
    let before = guest.packets.len();
    guest.send(guest.header(op::RW, GUEST_PORT, PORT), &data);
    assert_eq!(guest.packets.len(), before + 1);
    assert_eq!(guest.packets[before].0.op, op::RST);
}

#[test]
fn directions_end_one_by_one() {
    let mut guest = Guest::new();
    let mut stream = from_guest(&mut guest);
    // The host's.
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    guest.turn();
    assert_eq!(guest.expect(op::RW).1, b"last words");
    assert_eq!(guest.expect(op::SHUTDOWN).0.flags, NO_SEND);
    guest.send(guest.header(op::RW, GUEST_PORT, PORT), b"still here");
    assert_eq!(read_all(&mut stream), (b"still here".to_vec(), false));
    // The guest's.
    let end = Header { flags: NO_SEND, ..guest.header(op::SHUTDOWN, GUEST_PORT, PORT) };
    guest.send(end, &[]);
    assert_eq!(read_all(&mut stream), (vec![], true));
    // So nothing is left that the host could receive.
    assert_eq!(guest.expect(op::SHUTDOWN).0.flags, NO_RECEIVE | NO_SEND);
    guest.send(Header { flags: NO_RECEIVE, ..end }, &[]);
    guest.expect(op::RST);
    guest.expect_nothing();
}

#[test]
fn what_was_sent_before_the_end_arrives() {
    // The host writes and closes while the guest has no buffers.
    let mut guest = Guest::bare();
    guest.give(1);
    let mut stream = from_guest(&mut guest);
    guest.turn_without_buffers();
    let data = some_bytes(100_000);
    stream.write_all(&data).unwrap();
    drop(stream);
    // What the guest sends meanwhile is for nobody.
    guest.add(Header { len: 3, ..guest.header(op::RW, GUEST_PORT, PORT) }, b"abc");
    guest.turn();
    let mut came = Vec::new();
    let mut end = 0;
    while let Some((header, mut part)) = guest.packets.pop_front() {
        match header.op {
            op::RW => came.append(&mut part),
            op::SHUTDOWN => end |= header.flags,
            op::CREDIT_UPDATE => {}
            other => panic!("operation {other}"),
        }
    }
    assert!(came == data);
    assert_eq!(end, NO_RECEIVE | NO_SEND);
    guest.send(guest.header(op::RST, GUEST_PORT, PORT), &[]);
    guest.expect_nothing();

    // The guest writes and closes while the host does not read.
    let mut stream = from_guest(&mut guest);
    let mut sent = 0;
    let mut told = 0;
    loop {
        let next = (BUFFER_BYTES - (sent - told)).min(30_000);
        if next == 0 {
            break;
        }
        guest.send(guest.header(op::RW, GUEST_PORT, PORT), &data[..next as usize]);
        sent += next;
        while let Some((header, _)) = guest.packets.pop_front() {
            told = header.fwd_cnt;
        }
    }
    let both =
        Header { flags: NO_RECEIVE | NO_SEND, ..guest.header(op::SHUTDOWN, GUEST_PORT, PORT) };
    guest.send(both, &[]);
    guest.expect_nothing();
    let mut came = 0;
    loop {
        let (part, ended) = read_all(&mut stream);
        came += part.len();
        if ended {
            break;
        }
        guest.turn();
    }
    assert_eq!(came, sent as usize);
    while guest.packets.front().is_some_and(|(header, _)| header.op == op::CREDIT_UPDATE) {
        guest.packets.pop_front();
    }
    guest.expect(op::RST);
    guest.expect_nothing();
}

#[test]
fn connections_share_the_guests_buffers() {
    let mut guest = Guest::bare();
    guest.give(10);
    let mut hosts: Vec<_> = (0..100).map(|number| from_host(&mut guest, 1000 + number)).collect();
    // One of them takes all buffers, and would take more.
    hosts[0].0.write_all(&some_bytes(12 * RX_BUFFER as usize)).unwrap();
    guest.turn_without_buffers();
    assert_eq!(guest.packets.drain(..).count(), 10);
    for (stream, _) in &mut hosts[1..] {
        stream.write_all(b"short").unwrap();
    }
    guest.turn_without_buffers();
    guest.expect_nothing();
    // 100 more packets serve all: nobody gets two.
    let mut seen = vec![0; 100];
    for _ in 0..2 {
        guest.give(50);
        guest.turn_without_buffers();
    }
    while let Some((header, _)) = guest.packets.pop_front() {
        seen[header.dst_port as usize - 1000] += 1;
    }
    assert_eq!(seen, vec![1; 100]);
    // Data to all of them.
    for (number, &(_, port)) in hosts.iter().enumerate() {
        let number = number as u32;
        guest.send(guest.header(op::RW, 1000 + number, port), &number.to_le_bytes());
    }
    for (number, (stream, _)) in hosts.iter_mut().enumerate() {
        assert_eq!(read_all(stream), ((number as u32).to_le_bytes().to_vec(), false));
    }
}

#[test]
fn a_reset_ends_all_connections() {
    let mut guest = Guest::new();
    let (mut first, _) = from_host(&mut guest, GUEST_PORT);
    let mut second = from_guest(&mut guest);
    guest.reset();
    for stream in [&mut first, &mut second] {
        assert_eq!(read_all(stream), (vec![], true));
    }
    // Who connects while no driver is there waits for one.
    let (mut stream, port) = from_host(&mut guest, GUEST_PORT);
    guest.send(guest.header(op::RW, GUEST_PORT, port), b"again");
    assert_eq!(read_all(&mut stream).0, b"again");
    assert_eq!(guest.interrupts.reset_count(), 0);
}

#[test]
fn headers_are_whole() {
    let mut guest = Guest::new();
    let (mut stream, port) = from_host(&mut guest, GUEST_PORT);
    stream.write_all(&some_bytes(RX_BUFFER as usize)).unwrap();
    guest.turn();
    let (header, data) = guest.expect(op::RW);
    assert_eq!(data.len(), RX_BUFFER as usize - HEADER_BYTES);
    let expected = Header {
        src_cid: 2,
        dst_cid: CID,
        src_port: port,
        dst_port: GUEST_PORT,
        len: RX_BUFFER - HEADER_BYTES as u32,
        kind: 1,
        op: op::RW,
        flags: 0,
        buf_alloc: BUFFER_BYTES,
        fwd_cnt: 0,
    };
    assert_eq!(header, expected);
    assert_eq!(guest.header(op::RW, 1, 2).buf_alloc, ROOM);
}
