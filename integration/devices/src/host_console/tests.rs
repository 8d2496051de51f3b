use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use arch_ppc64::Console;
use event_manager::{EventManager, SubscriberOps};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::tempdir::TempDir;

use super::*;

/// What hangs is ended so late.
const HANGS: Duration = Duration::from_secs(120);

/// More than pipes and sockets take.
const MUCH: usize = 4 << 20;

/// Waits as an event loop does, and attends; true where something happened within `milliseconds`.
fn attend(end: &mut dyn HostEnd, milliseconds: i32) -> bool {
    let file = end.file().unwrap();
    let epoll = Epoll::new().unwrap();
    let event = EpollEvent::new(EventSet::IN, 0);
    epoll.ctl(ControlOperation::Add, file, event).unwrap();
    let happened = epoll.wait(milliseconds, &mut [EpollEvent::default()]).unwrap() > 0;
    if happened {
        end.attend();
    }
    happened
}

/// Attends until `done`.
fn until<E: HostEnd>(end: &mut E, mut done: impl FnMut(&mut E) -> bool) {
    let start = Instant::now();
    while !done(end) {
        assert!(start.elapsed() < HANGS, "it does not get that far");
        attend(end, 10);
    }
}

/// Reads until so much has come.
fn typed(end: &mut impl HostEnd, bytes: usize) -> Vec<u8> {
    let mut got = Vec::new();
    until(end, |end| {
        let mut buf = [0; 100];
        let bytes_read = end.read(&mut buf);
        got.extend(&buf[..bytes_read]);
        got.len() >= bytes
    });
    got
}

fn read_exact(from: &mut impl Read, bytes: usize) -> Vec<u8> {
    let mut got = vec![0; bytes];
    from.read_exact(&mut got).unwrap();
    got
}

/// Writes as long as there is room.
fn fill(end: &mut dyn HostEnd) -> usize {
    let mut taken = 0;
    loop {
        assert!(taken < MUCH, "it takes all");
        match end.write(&[b'x'; 1000]) {
            0 => return taken,
            bytes => taken += bytes,
        }
    }
}

fn temporary() -> TempDir {
    TempDir::new_with_prefix("/tmp/console-").unwrap()
}

#[test]
fn nowhere_takes_all() {
    let mut end = NullEnd::new();
    assert_eq!(end.write(b"text"), 4);
    assert_eq!(end.read(&mut [0; 4]), 0);
    assert_eq!(end.file(), None);
}

#[test]
fn a_file_has_the_text_of_one_run() {
    let folder = temporary();
    let path = folder.as_path().join("log");
    fs::write(&path, b"what was there before").unwrap();
    let mut end = FileEnd::open(&path).unwrap();
    assert_eq!(end.file(), None);
    assert_eq!(end.write(b"first "), 6);
    end.wait_for(true, true);
    assert_eq!(end.write(b"second"), 6);
    assert_eq!(end.read(&mut [0; 4]), 0);
    assert_eq!(fs::read(&path).unwrap(), b"first second");
}

#[test]
fn what_is_no_file_is_named() {
    let folder = temporary();
    let folder = folder.as_path();
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _listener = UnixListener::bind(folder.join("socket")).unwrap();
    let wrong: [(&str, &str); 4] = [
        ("", "a folder"),
        ("socket", "a socket"),
        ("pipe", "nobody reads"),
        ("a/b", "cannot open"),
    ];
    for (name, what) in wrong {
        let path = folder.join(name);
        let error = FileEnd::open(&path).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(&path.display().to_string()), "{error}");
    }
}

/// As on a disk that is full.
#[test]
fn text_that_cannot_be_written_is_lost() {
    let mut end = FileEnd::open(Path::new("/dev/full")).unwrap();
    assert_eq!(end.write(b"text"), 4);
    assert_eq!(end.write(b"text"), 4);
}

#[test]
fn a_pipe_is_waited_for_and_may_end() {
    let folder = temporary();
    let path = folder.as_path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let nonblocking = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let mut reader = nonblocking.unwrap();
    let mut end = FileEnd::open(&path).unwrap();
    let taken = fill(&mut end);
    end.wait_for(true, true);
    assert!(!attend(&mut end, 0), "there is no room");
    assert_eq!(read_exact(&mut reader, taken), vec![b'x'; taken]);
    assert!(attend(&mut end, 1000));
    assert_eq!(end.write(b"more"), 4);
    end.wait_for(true, false);
    assert!(!attend(&mut end, 0), "nobody waits");
    drop(reader);
    assert!(!attend(&mut end, 0));
    assert_eq!(end.write(b"text for nobody"), 15);
}

#[test]
fn a_terminal_is_where_it_says() {
    let mut end = PtyEnd::new().unwrap();
    end.wait_for(true, false);
    assert!(end.path().starts_with("/dev/pts"));
    assert_eq!(end.write(b"lost: nobody is there\n"), 22);
    for round in 0..2 {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let mut person = options.open(end.path()).unwrap();
        until(&mut end, |end| end.is_connected());
        person.write_all(b"\x01ls\r").unwrap();
        assert_eq!(typed(&mut end, 4), b"\x01ls\r", "it is raw, {round}");
        assert_eq!(end.write(b"bin\netc\n"), 8);
        assert_eq!(read_exact(&mut person, 8), b"bin\netc\n");
        assert!(!attend(&mut end, 0), "nothing has happened");
        // What is typed last is read all the same.
        person.write_all(b"exit\r").unwrap();
        drop(person);
        assert_eq!(typed(&mut end, 5), b"exit\r");
        until(&mut end, |end| !end.is_connected());
        assert_eq!(end.write(&[b'x'; 100]), 100);
    }
}

#[test]
fn a_person_who_does_not_look_is_waited_for() {
    let mut end = PtyEnd::new().unwrap();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    let mut person = options.open(end.path()).unwrap();
    until(&mut end, |end| end.is_connected());
    let taken = fill(&mut end);
    end.wait_for(false, true);
    let mut seen = Vec::new();
    until(&mut end, |_| {
        let _ = person.read_to_end(&mut seen);
        seen.len() == taken
    });
    until(&mut end, |end| end.write(b"more") == 4);
    // One that leaves while nothing is wanted of it does not make anybody look again and again.
    end.wait_for(false, false);
    drop(person);
    until(&mut end, |end| !end.is_connected());
    // Now and then, it is looked whether somebody has come.
    assert!((0..100).any(|_| !attend(&mut end, 0)));
}

#[test]
fn a_socket_has_one_client_at_a_time() {
    let folder = temporary();
    let path = folder.as_path().join("socket");
    let mut end = SocketEnd::listen(&path).unwrap();
    end.wait_for(true, false);
    assert_eq!(end.write(b"lost: nobody is there"), 21);
    let mut first = UnixStream::connect(&path).unwrap();
    let mut second = UnixStream::connect(&path).unwrap();
    until(&mut end, |end| end.is_connected());
    assert_eq!(end.write(b"hello"), 5);
    assert_eq!(read_exact(&mut first, 5), b"hello");
    second.write_all(b"from the second").unwrap();
    first.write_all(b"from the first").unwrap();
    assert_eq!(typed(&mut end, 14), b"from the first");
    assert!(!attend(&mut end, 0), "nothing has happened");
    // It still reads.
    first.shutdown(Shutdown::Write).unwrap();
    assert!(attend(&mut end, 1000));
    assert_eq!(end.read(&mut [0; 10]), 0);
    assert!(!attend(&mut end, 0));
    assert_eq!(end.write(b"bye"), 3);
    assert_eq!(read_exact(&mut first, 3), b"bye");
    drop(first);
    assert_eq!(typed(&mut end, 15), b"from the second");
    assert_eq!(end.write(b"hello"), 5);
    assert_eq!(read_exact(&mut second, 5), b"hello");
}

#[test]
fn what_a_client_typed_last_is_read_if_it_is_wanted() {
    let folder = temporary();
    let path = folder.as_path().join("socket");
    let mut end = SocketEnd::listen(&path).unwrap();
    end.wait_for(true, false);
    UnixStream::connect(&path).unwrap().write_all(b"poweroff\n").unwrap();
    assert_eq!(typed(&mut end, 9), b"poweroff\n");
    until(&mut end, |end| {
        end.read(&mut [0; 10]);
        !end.is_connected()
    });
}

#[test]
fn what_a_client_typed_last_waits_for_who_wants_it_later() {
    let folder = temporary();
    let path = folder.as_path().join("socket");
    let mut end = SocketEnd::listen(&path).unwrap();
    // The guest has no room at the moment.
    UnixStream::connect(&path).unwrap().write_all(b"poweroff\n").unwrap();
    until(&mut end, |end| end.is_connected());
    while attend(&mut end, 0) {}
    end.wait_for(true, false);
    assert_eq!(typed(&mut end, 9), b"poweroff\n");
    until(&mut end, |end| {
        end.read(&mut [0; 10]);
        !end.is_connected()
    });
    assert!(!attend(&mut end, 0));
}

#[test]
fn who_has_left_gives_way_to_who_comes() {
    let folder = temporary();
    let path = folder.as_path().join("socket");
    let mut end = SocketEnd::listen(&path).unwrap();
    UnixStream::connect(&path).unwrap().write_all(b"poweroff\n").unwrap();
    until(&mut end, |end| end.is_connected());
    while attend(&mut end, 0) {}
    assert_eq!(end.write(b"lost"), 4);
    let mut second = UnixStream::connect(&path).unwrap();
    until(&mut end, |end| {
        end.write(b"hello");
        second.set_nonblocking(true).unwrap();
        second.read(&mut [0; 5]).is_ok()
    });
    // One who waits already is let in at once.
    let mut third = UnixStream::connect(&path).unwrap();
    second.write_all(b"too late").unwrap();
    drop(second);
    third.write_all(b"in time").unwrap();
    while attend(&mut end, 0) {}
    end.wait_for(true, false);
    assert_eq!(typed(&mut end, 7), b"in time");
}

#[test]
fn a_client_that_does_not_read_is_waited_for() {
    let folder = temporary();
    let path = folder.as_path().join("socket");
    let mut end = SocketEnd::listen(&path).unwrap();
    end.wait_for(false, true);
    let mut client = UnixStream::connect(&path).unwrap();
    until(&mut end, |end| end.is_connected());
    let taken = fill(&mut end);
    assert!(!attend(&mut end, 0), "there is no room");
    read_exact(&mut client, taken);
    until(&mut end, |end| end.write(b"more") == 4);
    // It leaves with text on its way.
    fill(&mut end);
    drop(client);
    until(&mut end, |end| !end.is_connected());
    assert_eq!(end.write(b"text"), 4);
}

#[test]
fn the_place_of_a_socket_is_looked_at_first() {
    let folder = temporary();
    let path = folder.as_path().join("socket");
    let first = SocketEnd::listen(&path).unwrap();
    let error = SocketEnd::listen(&path).unwrap_err();
    assert!(matches!(error, HostEndError::InUse { .. }), "{error}");
    assert!(error.to_string().starts_with(&path.display().to_string()));
    drop(first);
    assert!(!path.exists(), "it is taken away");
    // One that a program left that was killed.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut end = SocketEnd::listen(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    until(&mut end, |end| end.is_connected());
    // Somebody else's by now.
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"text").unwrap();
    drop(end);
    let error = SocketEnd::listen(&path).unwrap_err();
    assert!(matches!(error, HostEndError::NoSocket { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"text");
    let error = SocketEnd::listen(&folder.as_path().join("a/b")).unwrap_err();
    assert!(error.to_string().starts_with("cannot make the socket "), "{error}");
}

/// As hvterm has it.
#[test]
fn a_console_of_the_machine_has_an_end() {
    let folder = temporary();
    let path = folder.as_path().join("socket");
    let (console, input) = connect(Box::new(SocketEnd::listen(&path).unwrap())).unwrap();
    let mut events = EventManager::new().unwrap();
    events.add_subscriber(input);
    let mut run = |console: &dyn Console, done: &mut dyn FnMut(&dyn Console) -> bool| {
        let start = Instant::now();
        while !done(console) {
            assert!(start.elapsed() < HANGS, "it does not get that far");
            events.run_with_timeout(10).unwrap();
        }
    };
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"ls\r").unwrap();
    let mut buf = [0; 16];
    let mut bytes = 0;
    run(&*console, &mut |console| {
        bytes = console.read(&mut buf);
        bytes > 0
    });
    assert_eq!(&buf[..bytes], b"ls\r");
    assert_eq!(console.write(b"bin etc\n"), 8);
    assert_eq!(read_exact(&mut client, 8), b"bin etc\n");
    // It does not read: the guest tries again, and nobody waits.
    let mut taken = 0;
    loop {
        match console.write(&[b'x'; 1000]) {
            0 => break,
            bytes => taken += bytes,
        }
    }
    read_exact(&mut client, taken);
    // Nothing that is typed is lost, while the guest does not read.
    client.set_nonblocking(true).unwrap();
    let text: Vec<u8> = (0..MUCH).map(|at| (at % 251) as u8).collect();
    let (mut sent, mut got) = (0, 0);
    while got < text.len() {
        let next = &text[sent..text.len().min(sent + 100_000)];
        sent += match (&client).write(next) {
            Ok(bytes) => bytes,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                0
            }
        };
        let mut buf = [0; 40_000];
        run(&*console, &mut |console| {
            bytes = console.read(&mut buf);
            bytes > 0 || got == sent
        });
        assert!(buf[..bytes] == text[got..got + bytes]);
        got += bytes;
    }
    assert_eq!(console.dropped_input_bytes(), 0);
}

/// A descriptor that an event loop can have for as long as the end is there.
#[test]
fn the_file_of_an_end_stays() {
    let folder = temporary();
    let path = folder.as_path().join("socket");
    let mut end = SocketEnd::listen(&path).unwrap();
    let file = end.file();
    let client = UnixStream::connect(&path).unwrap();
    until(&mut end, |end| end.is_connected());
    drop(client);
    until(&mut end, |end| !end.is_connected());
    assert_eq!(end.file(), file);
    let other = File::open("/dev/null").unwrap();
    assert_ne!(Some(other.as_raw_fd()), file);
}
