//! Guests that break the rules.

use std::io::Write;
use std::os::unix::net::UnixStream;

use vm_memory::{Bytes, GuestAddress};

use super::super::header::{HEADER_BYTES, Header, op};
use super::guest::{CID, Guest, read_all};
use super::{GUEST_PORT, PORT, from_guest, from_host};
use crate::virtio::driver::Buffer;

#[test]
fn packets_that_are_none_are_left_out() {
    let mut guest = Guest::new();
    let mut stream = from_guest(&mut guest);
    let header = guest.header(op::RW, GUEST_PORT, PORT);
    // Longer than the buffers; another's address; no whole header; nothing at all.
    guest.add(Header { len: 100, ..header }, b"short");
    guest.add(Header { len: u32::MAX, ..header }, b"short");
    guest.add(Header { src_cid: CID + 1, len: 1, ..header }, b"x");
    guest.add(Header { src_cid: CID | 1 << 32, len: 1, ..header }, b"x");
    guest.tx.add(&[Buffer::readable(0x20_0000, HEADER_BYTES as u32 - 1)]);
    guest.tx.add(&[Buffer::writable(0x20_0000, 4096)]);
    guest.notify();
    guest.expect_nothing();
    assert_eq!(guest.interrupts.reset_count(), 0);
    // The connection is still there, whatever the pieces its packets come in.
    let at = 0x30_0000;
    let bytes = [Header { len: 3, ..header }.to_bytes().as_slice(), b"abcdef"].concat();
    guest.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
    let pieces: Vec<_> = (0..50).map(|part| Buffer::readable(at + part, 1)).collect();
    guest.tx.add(&pieces);
    guest.notify();
    assert_eq!(read_all(&mut stream), (b"abc".to_vec(), false));
}

#[test]
fn packets_for_nobody_are_refused() {
    let mut guest = Guest::new();
    let _stream = from_guest(&mut guest);
    let header = guest.header(op::RW, GUEST_PORT, PORT);
    for wrong in [
        Header { kind: 2, ..header },
        Header { dst_cid: 1, ..header },
        Header { dst_cid: u64::MAX, ..header },
        Header { dst_port: PORT + 1, ..header },
        Header { src_port: GUEST_PORT + 1, op: op::SHUTDOWN, ..header },
        Header { src_port: GUEST_PORT + 1, op: op::RESPONSE, ..header },
        Header { src_port: GUEST_PORT + 1, op: 99, ..header },
    ] {
        guest.send(wrong, &[]);
        let (answer, _) = guest.packets.pop_front().expect("an answer");
        assert_eq!((answer.op, answer.kind), (op::RST, wrong.kind));
        assert_eq!((answer.src_cid, answer.dst_cid), (wrong.dst_cid, wrong.src_cid));
        assert_eq!((answer.src_port, answer.dst_port), (wrong.dst_port, wrong.src_port));
        guest.send(Header { op: op::RST, ..wrong }, &[]);
        guest.expect_nothing();
    }
}

#[test]
fn packets_out_of_order_end_the_connection() {
    for wrong in [0, op::REQUEST, op::RESPONSE, 8, u16::MAX] {
        let mut guest = Guest::new();
        let mut stream = from_guest(&mut guest);
        guest.send(guest.header(wrong, GUEST_PORT, PORT), &[]);
        guest.expect(op::RST);
        guest.expect_nothing();
        assert_eq!(read_all(&mut stream), (vec![], true));
    }
    // Data before the guest has accepted, and after it said that there is no more.
    let mut guest = Guest::new();
    let mut stream = UnixStream::connect(guest.socket()).unwrap();
    stream.write_all(b"CONNECT 5\n").unwrap();
    guest.turn();
    let (request, _) = guest.expect(op::REQUEST);
    guest.send(guest.header(op::RW, 5, request.src_port), b"early");
    guest.expect(op::RST);
    assert_eq!(read_all(&mut stream), (vec![], true));
    let (mut stream, port) = from_host(&mut guest, GUEST_PORT);
    guest.send(Header { flags: 2, ..guest.header(op::SHUTDOWN, GUEST_PORT, port) }, &[]);
    guest.send(guest.header(op::RW, GUEST_PORT, port), b"late");
    guest.expect(op::RST);
    assert_eq!(read_all(&mut stream), (vec![], true));
}

#[test]
fn lies_about_room_stall_who_tells_them() {
    let mut guest = Guest::new();
    let (mut stream, port) = from_host(&mut guest, GUEST_PORT);
    // It has taken what was never sent.
    let lie = Header { fwd_cnt: 1000, ..guest.header(op::CREDIT_UPDATE, GUEST_PORT, port) };
    guest.send(lie, &[]);
    stream.write_all(b"hello").unwrap();
    guest.turn();
    guest.expect(op::CREDIT_REQUEST);
    guest.expect_nothing();
    // Room for all there is, and truth.
    let truth = Header { fwd_cnt: 0, buf_alloc: u32::MAX, ..lie };
    guest.send(truth, &[]);
    assert_eq!(guest.expect(op::RW).1, b"hello");
}

#[test]
fn answers_wait_for_buffers_and_packets_for_answers() {
    let mut guest = Guest::bare();
    for sent in 0..300 {
        guest.add(guest.header(op::RW, sent, PORT), &[]);
        if sent % 50 == 49 {
            guest.turn_without_buffers();
        }
    }
    guest.expect_nothing();
    assert_eq!(guest.sent_and_used, 256);
    guest.give(64);
    guest.turn();
    assert_eq!(guest.packets.len(), 300);
    for (sent, (header, _)) in (0..).zip(guest.packets.drain(..)) {
        assert_eq!((header.op, header.dst_port), (op::RST, sent));
    }
}

#[test]
fn queues_that_make_no_sense_end_the_device() {
    let breaks: [fn(&mut Guest); 6] = [
        |guest| {
            guest.rx.add(&[Buffer::writable(0x10_0000, HEADER_BYTES as u32)]);
        },
        |guest| {
            guest.rx.add(&[Buffer::readable(0x10_0000, 4096)]);
        },
        |guest| {
            guest.rx.add(&[Buffer::writable(0xffff_ffff_f000, 4096)]);
        },
        |guest| guest.rx.set_available_index(1000),
        |guest| guest.tx.set_available_index(1000),
        |guest| {
            guest.tx.add(&[Buffer::readable(0x7f_ffff, 2)]);
        },
    ];
    for break_it in breaks {
        let mut guest = Guest::bare();
        guest.give(1);
        let mut stream = from_guest(&mut guest);
        guest.turn_without_buffers();
        break_it(&mut guest);
        stream.write_all(b"hello").unwrap();
        guest.give(0);
        guest.notify();
        assert_eq!(guest.interrupts.reset_count(), 1);
        assert_eq!(read_all(&mut stream), (vec![], true));
        // Only once.
        guest.notify();
        assert_eq!(guest.interrupts.reset_count(), 1);
        guest.reset();
        from_guest(&mut guest);
    }
}

#[test]
fn any_packets_are_survived() {
    let mut guest = Guest::new();
    let listener = guest.listen(PORT);
    listener.set_nonblocking(true).unwrap();
    let mut streams = Vec::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for round in 0..20_000 {
        let header = Header {
            flags: random(4) as u32,
            buf_alloc: [0, 10, 100_000, u32::MAX][random(4) as usize],
            fwd_cnt: [0, 5, 1 << 31, u32::MAX][random(4) as usize],
            ..guest.header(random(9) as u16, random(4) as u32, PORT + random(2) as u32)
        };
        let data = vec![round as u8; random(3) as usize * random(1000) as usize];
        guest.send(header, &data);
        if let Ok((stream, _)) = listener.accept() {
            streams.push(stream);
        }
        if let Some(stream) = streams.last_mut() {
            match random(4) {
                0 => drop(stream.write(&data)),
                1 => drop(read_all(stream)),
                _ => {}
            }
        }
        if random(50) == 0 {
            streams.clear();
        }
        guest.packets.clear();
    }
    assert_eq!(guest.interrupts.reset_count(), 0);
}

/// "The device MUST send a notification" of what it has used (§2.7.7.2), whatever comes after it.
#[test]
fn what_was_used_before_a_mistake_is_told() {
    let mut guest = Guest::bare();
    guest.add(guest.header(op::RST, GUEST_PORT, PORT), &[]);
    guest.tx.add(&[Buffer::readable(1 << 40, HEADER_BYTES as u32)]);
    guest.notify();
    assert_eq!(guest.sent_and_used, 1);
    assert_eq!(guest.interrupts.reset_count(), 1);
    assert_eq!(guest.interrupts.used_count(), 1);
}
