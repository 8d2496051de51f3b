mod echo;
mod guest;
mod saved;
mod virtiofsd;

use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use vhost::vhost_user::VhostUserProtocolFeatures;
use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryBackend};
use vmm_sys_util::tempdir::TempDir;

use self::echo::{Daemon, Echo, FEATURES};
use self::guest::{ANSWERS, Guest, Memory, memory, plugged};
use super::{Configuration, DeviceSpec, VhostUser, VhostUserError, fs as virtio_fs};
use crate::virtio::{ActivateError, DeviceKind, VirtioDevice};

const EVENT_IDX: u64 = 1 << 29;
const INDIRECT: u64 = 1 << 28;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.as_path().join("daemon")
    }
}

fn spec() -> DeviceSpec {
    DeviceSpec::new(DeviceKind::new(26, 0), vec![16; 3], Configuration::Daemon(60))
}

fn reversed(text: &[u8]) -> Vec<u8> {
    text.iter().rev().copied().collect()
}

#[test]
fn requests_are_answered() {
    for (is_relayed, features) in
        [(false, 0), (false, EVENT_IDX | INDIRECT), (true, 0), (true, EVENT_IDX | INDIRECT)]
    {
        let place = Place::new();
        let daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        let offered = VirtioDevice::<Memory>::features(&guest.device);
        assert_eq!(offered, EVENT_IDX | INDIRECT | 0b101);
        guest.activate(features).unwrap();
        let acknowledged = daemon.echo.lock().unwrap().acknowledged;
        let passed_on = if is_relayed { features & !EVENT_IDX } else { features };
        assert_eq!(acknowledged & !(1 << 30), passed_on | 1 << 32);
        let mut number = 0;
        for queue in 0..3 {
            for round in 0..50_u8 {
                let request = [round, 1, 2, 3, queue as u8];
                guest.ask(queue, &request, features & INDIRECT != 0);
                assert_eq!(guest.answer(queue, number), reversed(&request));
                number += 1;
            }
        }
        assert_eq!(guest.interrupts.reset_count(), 0);
    }
}

#[test]
fn interrupts_come_and_many_may_be_in_flight() {
    for is_relayed in [false, true] {
        let place = Place::new();
        let _daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        guest.activate(0).unwrap();
        for round in 0..100_u64 {
            for part in 0..8_u8 {
                guest.ask(1, &[round as u8, part], false);
            }
            guest.wait_for_interrupt(1);
            for part in 0..8_u8 {
                let answer = guest.answer(1, 8 * round + u64::from(part));
                assert_eq!(answer, [part, round as u8]);
            }
        }
    }
}

#[test]
fn relayed_answers_are_marked_as_written() {
    for is_relayed in [false, true] {
        for is_indirect in [false, true] {
            let place = Place::new();
            let _daemon = Daemon::start(&place.socket(), Echo::new());
            let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
            guest.activate(INDIRECT).unwrap();
            guest.ask(0, &[7; 0x1800], is_indirect);
            guest.clean();
            assert_eq!(guest.answer(0, 0), [7; 0x1800]);
            // Pages of a host may have 64 KiB.
            let pages = [0, 0x17ff, 0x1_0000].map(|page| guest.is_dirty(ANSWERS + page));
            assert_eq!(pages, [is_relayed, is_relayed, false]);
        }
    }
}

/// The daemon uses memory from when it is plugged until it is taken out, and its queues go on.
#[test]
fn memory_comes_and_goes_while_the_daemon_works() {
    for is_relayed in [false, true] {
        let place = Place::new();
        let daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        // Not active yet: nobody is told.
        VirtioDevice::<Memory>::memory_changed(&mut guest.device, &guest.memory);
        guest.activate(INDIRECT).unwrap();
        let start = guest.memory.clone();
        for round in 0..3 {
            let region = plugged(0x2_0000_0000);
            let more = Arc::new(start.insert_region(region).unwrap());
            VirtioDevice::<Memory>::memory_changed(&mut guest.device, &more);
            let knows = |at| {
                let echo = daemon.echo.lock().unwrap();
                let memory = echo.memory.as_ref().unwrap().memory();
                memory.find_region(GuestAddress(at)).is_some()
            };
            assert!(knows(0x2_0000_0000) && knows(0x1_0000_0000) && knows(0));
            guest.ask(0, b"with more memory", false);
            assert_eq!(guest.answer(0, 2 * round), reversed(b"with more memory"));
            VirtioDevice::<Memory>::memory_changed(&mut guest.device, &start);
            assert!(!knows(0x2_0000_0000) && knows(0x1_0000_0000));
            guest.ask(0, b"with less memory", true);
            assert_eq!(guest.answer(0, 2 * round + 1), reversed(b"with less memory"));
        }
        assert_eq!(guest.interrupts.reset_count(), 0);
    }
}

#[test]
fn the_configuration_is_the_daemons() {
    let place = Place::new();
    let daemon = Daemon::start(&place.socket(), Echo::new());
    let mut device = VhostUser::connect(&place.socket(), spec()).unwrap();
    let read = |device: &VhostUser, offset| {
        let mut data = [0; 4];
        VirtioDevice::<Memory>::read_config(device, offset, &mut data);
        data
    };
    assert_eq!(read(&device, 5), [5, 6, 7, 8]);
    assert_eq!(read(&device, 58), [58, 59, 0, 0]);
    assert_eq!(read(&device, u64::MAX), [0; 4]);
    for (offset, data) in [(58, &[9, 9, 9][..]), (u64::MAX, &[9]), (1 << 32, &[9])] {
        VirtioDevice::<Memory>::write_config(&mut device, offset, data);
    }
    VirtioDevice::<Memory>::write_config(&mut device, 58, &[9]);
    assert_eq!(read(&device, 58), [9, 59, 0, 0]);
    assert_eq!(daemon.echo.lock().unwrap().configuration[58..61], [9, 59, 60]);

    let place = Place::new();
    let _daemon = Daemon::start(&place.socket(), Echo::new());
    let spec = virtio_fs::spec("tag", 2).unwrap();
    let mut device = VhostUser::connect(&place.socket(), spec).unwrap();
    VirtioDevice::<Memory>::write_config(&mut device, 0, b"x");
    assert_eq!(read(&device, 0), *b"tag\0");
    assert_eq!(read(&device, 36), [2, 0, 0, 0]);
    assert_eq!(VirtioDevice::<Memory>::features(&device), EVENT_IDX | INDIRECT);
}

#[test]
fn a_reset_stops_the_daemon_and_the_device_works_again() {
    for is_relayed in [false, true] {
        let place = Place::new();
        let _daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        for features in [0, EVENT_IDX, 0] {
            guest.activate(features).unwrap();
            guest.ask(2, b"hello", false);
            assert_eq!(guest.answer(2, 0), b"olleh");
            // From here on nobody accesses guest memory: the driver may only have taken the
            // function's right to do so, and begin to reset the device later.
            guest.disable();
            guest.ask(2, b"hello", false);
            for _ in 0..20 {
                guest.turn();
                assert_eq!(guest.queues[2].next_used(), None);
            }
            guest.reset();
        }
        assert_eq!(guest.interrupts.reset_count(), 0);
    }
}

#[test]
fn a_daemon_that_is_killed_can_be_replaced() {
    for is_relayed in [false, true] {
        let place = Place::new();
        let mut daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        guest.activate(0b100).unwrap();
        daemon.kill();
        guest.wait(|guest| (guest.interrupts.reset_count() == 1).then_some(()));
        guest.ask(0, b"is anybody there", false);
        for _ in 0..20 {
            guest.turn();
        }
        assert_eq!(guest.interrupts.reset_count(), 1);
        guest.reset();

        let reason = |error: ActivateError| {
            let source = error.source().unwrap();
            format!("{source}")
        };
        let error = guest.activate(0b100).unwrap_err();
        assert!(reason(error).contains(place.socket().to_str().unwrap()));
        let mut lesser =
            Daemon::start(&place.socket(), Echo { features: FEATURES & !0b100, ..Echo::new() });
        let error = guest.activate(0b100).unwrap_err();
        assert!(reason(error).ends_with("does not have the features 0x4 that the driver takes"));
        lesser.kill();

        let _daemon = Daemon::start(&place.socket(), Echo::new());
        guest.reset();
        guest.activate(0b100).unwrap();
        guest.ask(0, b"welcome", false);
        assert_eq!(guest.answer(0, 0), b"emoclew");
    }
}

/// The answer that says that there is nobody.
fn nobody(request: u64) -> Vec<u8> {
    let head = [16_i32.to_le_bytes(), (-libc::ENOTCONN).to_le_bytes()].concat();
    [head.as_slice(), &request.to_le_bytes()].concat()
}

#[test]
fn requests_of_a_file_system_fail_without_its_daemon() {
    let request = |number: u64| {
        let mut bytes = vec![0; 40];
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    for is_relayed in [false, true] {
        let place = Place::new();
        let echo = Echo { is_stuck: is_relayed, ..Echo::new() };
        let mut daemon = Daemon::start(&place.socket(), echo);
        let spec = virtio_fs::spec("tag", 1).unwrap();
        let mut guest = Guest::connect(&place.socket(), spec, is_relayed).unwrap();
        guest.activate(INDIRECT).unwrap();
        guest.ask(1, &request(1), false);
        guest.ask(1, &request(2), true);
        if !is_relayed {
            // Nobody but the daemon knows what it had; it had nothing.
            guest.answer(1, 0);
            guest.answer(1, 1);
        }
        for _ in 0..20 {
            guest.turn();
        }
        daemon.kill();
        if is_relayed {
            assert_eq!(guest.answer(1, 0), nobody(1));
            assert_eq!(guest.answer(1, 1), nobody(2));
        }
        guest.wait(|guest| (guest.interrupts.reset_count() == 1).then_some(()));
        for number in 2..100 {
            guest.ask(1, &request(number), number % 2 == 0);
            assert_eq!(guest.answer(1, number), nobody(number));
        }
        // Nothing to be answered with, and nothing to be answered.
        guest.ask(1, &request(5)[..8], false);
        assert_eq!(guest.answer(1, 100), b"");
        guest.ask_for(15, 1, &request(5), false);
        assert_eq!(guest.answer(1, 101), b"");
        guest.queues[0].set_available_index(1000);
        guest.ring(0);
        guest.turn();

        guest.reset();
        let _daemon = Daemon::start(&place.socket(), Echo::new());
        guest.activate(0).unwrap();
        guest.ask(1, b"abc", false);
        assert_eq!(guest.answer(1, 0), b"cba");
    }
}

#[test]
fn flags_of_open_are_those_of_the_daemon() {
    // O_DIRECTORY of POWER, in the place of the flags.
    let directory = 0o4_0000_u32;
    for (operation, place, is_open) in
        [(14_u32, 40, true), (27, 40, true), (35, 40, true), (14, 44, false), (3, 40, false)]
    {
        let place_of = Place::new();
        let _daemon = Daemon::start(&place_of.socket(), Echo::new());
        let spec = virtio_fs::spec("tag", 1).unwrap();
        let mut guest = Guest::connect(&place_of.socket(), spec, true).unwrap();
        guest.activate(INDIRECT).unwrap();
        let mut request = vec![0; 56];
        request[4..8].copy_from_slice(&operation.to_le_bytes());
        request[place..place + 4].copy_from_slice(&directory.to_le_bytes());
        guest.ask(1, &request, true);
        let seen = reversed(&guest.answer(1, 0));
        let flags = u32::from_le_bytes(seen[place..place + 4].try_into().unwrap());
        assert_eq!(flags, if is_open { libc::O_DIRECTORY as u32 } else { directory });
        request[place..place + 4].copy_from_slice(&flags.to_le_bytes());
        assert_eq!(seen, request);
    }
}

#[test]
fn a_daemon_that_ends_before_it_is_needed_is_no_harm() {
    let place = Place::new();
    let mut daemon = Daemon::start(&place.socket(), Echo::new());
    let mut guest = Guest::connect(&place.socket(), spec(), false).unwrap();
    daemon.kill();
    let _daemon = Daemon::start(&place.socket(), Echo::new());
    guest.activate(0).unwrap();
    guest.ask(0, b"abc", false);
    assert_eq!(guest.answer(0, 0), b"cba");
}

#[test]
fn memory_has_to_be_files() {
    let place = Place::new();
    let _daemon = Daemon::start(&place.socket(), Echo::new());
    let mut guest = Guest::connect(&place.socket(), spec(), false).unwrap();
    guest.memory = memory(false);
    let error = guest.activate(0).unwrap_err();
    let expected = format!(
        "guest memory at 0x0 is no file that the daemon at {} could map",
        place.socket().display()
    );
    assert_eq!(error.source().unwrap().to_string(), expected);
}

#[test]
fn daemons_that_lack_something_are_refused() {
    let lacks = |echo: Echo, spec: DeviceSpec| {
        let place = Place::new();
        let _daemon = Daemon::start(&place.socket(), echo);
        match VhostUser::connect(&place.socket(), spec).unwrap_err() {
            VhostUserError::Lacks { what, .. } => what,
            other => panic!("{other}"),
        }
    };
    let old = Echo { features: FEATURES & !(1 << 32), ..Echo::new() };
    assert_eq!(lacks(old, spec()), "virtio 1 (VIRTIO_F_VERSION_1)");
    let bare = Echo { protocol: VhostUserProtocolFeatures::MQ, ..Echo::new() };
    assert_eq!(lacks(bare, spec()), "the protocol feature CONFIG");
    let fs = virtio_fs::spec("tag", 3).unwrap();
    assert_eq!(lacks(Echo::new(), fs), "4 queues, but 3");
}

#[test]
fn sockets_without_a_daemon_are_named() {
    let place = Place::new();
    let socket = place.socket();
    let connect = || {
        let error = VhostUser::connect(&place.socket(), spec()).unwrap_err();
        assert!(error.to_string().contains(place.socket().to_str().unwrap()), "{error}");
        match error {
            VhostUserError::Connect { source, .. } | VhostUserError::Talk { source, .. } => source,
            other => panic!("{other}"),
        }
    };
    assert_eq!(connect().kind(), ErrorKind::NotFound);
    fs::write(&socket, "a file").unwrap();
    assert_eq!(connect().kind(), ErrorKind::ConnectionRefused);
    fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();

    // Who talks nonsense, hangs up, or says nothing.
    let speaker = thread::spawn(move || {
        let header = |request: u32, size: u32| {
            let mut bytes = Vec::new();
            for word in [request, 5, size] {
                bytes.extend(word.to_le_bytes());
            }
            bytes
        };
        let nonsense = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(10),
            vec![0xff; 5000],
            vec![0; 5000],
            header(1, 8),
            [header(1, 0xffff_ffff), vec![0; 100]].concat(),
            [header(2, 8), vec![0xff; 8]].concat(),
            Vec::new(),
        ];
        for text in nonsense {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(&text);
            if text.is_empty() {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
    });
    for _ in 0..6 {
        let error = connect();
        assert_ne!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    assert_eq!(connect().kind(), ErrorKind::TimedOut);
    speaker.join().unwrap();
    assert_eq!(connect().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn drivers_that_make_no_sense_end_a_relayed_device() {
    for what in 0..3 {
        let place = Place::new();
        let _daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), true).unwrap();
        guest.activate(0).unwrap();
        match what {
            0 => guest.queues[0].set_available_index(1000),
            1 => guest.queues[0].make_available(guest::QUEUE),
            _ => guest.queues[0].make_available(u16::MAX),
        }
        guest.ring(0);
        guest.wait(|guest| (guest.interrupts.reset_count() == 1).then_some(()));
        guest.ring(0);
        guest.turn();
        guest.reset();
        guest.activate(0).unwrap();
        guest.ask(0, b"abc", false);
        assert_eq!(guest.answer(0, 0), b"cba");
    }
}
