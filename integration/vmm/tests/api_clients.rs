//! Clients of the API socket of all kinds, and the socket itself.
#![cfg(feature = "vof")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use run::Run;
use run::api::{Client, Served, machine, request, socket_path};
use run::folder::Folder;

mod run;

/// Whatever comes, others have their answers.
#[test]
fn requests_of_any_bytes_and_sizes_disturb_nobody() {
    let mut vmm = Served::with("client64.elf", "console", &[]);
    vmm.run.expect("echo\n");
    let mut other = vmm.client();
    let long_line = format!("GET /api/v1/{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let many_headers = format!("GET /api/v1/vmm.ping HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(2000));
    let announced = "PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n";
    let overflow =
        "PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n";
    let two_lengths =
        "PUT /api/v1/vm.boot HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let bad_chunk = "PUT /api/v1/vm.boot HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    let many_chunks = format!(
        "PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(40)
    );
    let deep = request("PUT", "vm.create", &"[".repeat(500_000));
    let http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let zeros = "\0".repeat(4096);
    for bytes in [
        &*long_line,
        &many_headers,
        announced,
        overflow,
        two_lengths,
        bad_chunk,
        &many_chunks,
        &deep,
        http2,
        &zeros,
        "GET",
        "\r\n\r\n\r\n",
        "GET  HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n: \r\n\r\n",
        "GET /api/v1/vmm.ping HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        let mut stream = UnixStream::connect(&vmm.path).unwrap();
        // It may have heard enough.
        let _ = std::io::Write::write_all(&mut stream, bytes.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert_eq!(other.get("vmm.ping").status, 200);
    }
    let too_large = vmm.client().put("vm.create", &" ".repeat((1 << 20) + 1));
    assert_eq!(too_large.status, 413, "{too_large:?}");
    assert_eq!(other.state(), "Running");
    vmm.shut_down();
}

/// As curl sends what it takes from a file, and as programs do that are done with writing.
#[test]
fn requests_come_in_many_ways() {
    let vmm = Served::start(&[]);
    let mut client = vmm.client();
    let chunked = "PUT /api/v1/vm.delete HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
                   Expect: 100-continue\r\n\r\n0\r\n\r\n";
    client.send(chunked.as_bytes());
    let mut answer = client.answer().unwrap();
    if answer.status == 100 {
        answer = client.answer().unwrap();
    }
    assert_eq!(answer.status, 204, "{answer:?}");
    // Two at once, in one piece.
    let ping = request("GET", "vmm.ping", "");
    client.send(format!("{ping}{ping}").as_bytes());
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().status, 200);
    // Byte by byte.
    for byte in request("PUT", "vm.create", &machine("client64.elf", "console")).bytes() {
        client.send(&[byte]);
    }
    assert_eq!(client.answer().unwrap().status, 204);
    let stream = UnixStream::connect(&vmm.path).unwrap();
    let mut other = Client::of(stream.try_clone().unwrap());
    other.send(request("GET", "vm.info", "").as_bytes());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(other.answer().unwrap().status, 200);
    let mut other = vmm.client();
    other.send(b"GET /api/v1/vmm.ping HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(other.answer().unwrap().status, 200);
    assert_eq!(other.answer(), None);
    let document = client.get("vmm.openapi").json();
    assert!(document["paths"]["/vm.create"].is_object());
    vmm.shut_down();
}

/// Those who send nothing, or half of something, or go away, are in nobody's way.
#[test]
fn slow_clients_and_those_who_go_disturb_nobody() {
    let vmm = Served::with("client64.elf", "console", &[]);
    let mut silent: Vec<_> = (0..40).map(|_| vmm.client()).collect();
    let mut half: Vec<_> = (0..20).map(|_| vmm.client()).collect();
    for client in &mut half {
        client.send(b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{");
    }
    for _ in 0..40 {
        // Asks, and does not wait for the answer.
        vmm.client().send(request("PUT", "vm.pause", "").as_bytes());
        vmm.client().send(request("GET", "vm.info", "").as_bytes());
    }
    let mut client = vmm.client();
    assert_eq!(client.get("vmm.ping").status, 200);
    // Those who asked for nothing for the longest time make room.
    let mut more: Vec<_> = (0..60).map(|_| vmm.client()).collect();
    assert_eq!(more.last_mut().unwrap().get("vmm.ping").status, 200);
    assert_eq!(silent[0].answer(), None);
    // One who is cut off in the middle is gone, and nothing else.
    for client in &mut half {
        let answer = client.answer();
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{answer:?}");
    }
    let mut client = vmm.client();
    assert!(["Running", "Paused"].contains(&&*client.state()));
    vmm.shut_down();
}

/// How many files the VMM has open.
fn descriptors(vmm: &Served) -> usize {
    fs::read_dir(format!("/proc/{}/fd", vmm.run.child.id())).unwrap().count()
}

fn silent(vmm: &Served, count: usize) -> Vec<UnixStream> {
    (0..count).map(|_| UnixStream::connect(&vmm.path).unwrap()).collect()
}

/// 64 are served, one is the next of those who wait, and whoever asks has its turn.
#[test]
fn a_crowd_has_no_more_than_its_places() {
    let mut vmm = Served::with("client64.elf", "console", &[]);
    // Its machine has all that it opens.
    vmm.run.expect("echo\n");
    let most = descriptors(&vmm) + 65;
    let _first = silent(&vmm, 64);
    // All of them may be asked to make room.
    std::thread::sleep(Duration::from_millis(1300));
    let _more = silent(&vmm, 600);
    let mut client = vmm.client();
    std::thread::scope(|scope| {
        let paused = scope.spawn(move || client.put("vm.pause", ""));
        while !paused.is_finished() {
            let open = descriptors(&vmm);
            assert!(open <= most, "{open} descriptors, not {most}");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(paused.join().unwrap().status, 204);
    });
    vmm.shut_down();
}

/// Also where the host gives the process no more of them: somebody who asks for nothing makes room.
#[test]
fn a_crowd_that_takes_all_descriptors_lets_others_in() {
    let vmm = Served::start(&[]);
    assert_eq!(vmm.client().get("vmm.ping").status, 200);
    let most = descriptors(&vmm) as libc::rlim_t + 16;
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    let id = vmm.run.child.id() as libc::pid_t;
    // SAFETY: of our own child; what is read lives for as long as the call.
    let set = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let _crowd = silent(&vmm, 100);
    let mut client = vmm.client();
    assert_eq!(client.get("vmm.ping").status, 200);
    let _more = silent(&vmm, 100);
    assert_eq!(client.get("vmm.ping").status, 200);
    drop(client);
    vmm.shut_down();
}

/// What is no HTTP is answered by a status alone, as docs/api.md says; what is wrong behind the head is told.
#[test]
fn heads_that_cannot_be_read_have_a_status_and_no_more() {
    let vmm = Served::start(&[]);
    let long = format!("GET /api/v1/{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET /api/v1/vmm.ping HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(2000));
    let announcing =
        |length: u64| format!("PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let chunk = "PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    for (bytes, status, is_told) in [
        ("GET /api/v1/vmm.ping\r\n\r\n", 400, false),
        ("GET / HTTP/1.1\r\n: \r\n\r\n", 400, false),
        (&*long, 431, false),
        (&*many, 431, false),
        (&*announcing(u64::MAX), 431, false),
        (&*announcing(u64::MAX >> 1), 413, true),
        (chunk, 400, true),
    ] {
        let mut client = vmm.client();
        // It may have heard enough.
        let _ = client.try_send(bytes.as_bytes());
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, status, "{bytes}: {answer:?}");
        assert_eq!(!answer.body.is_empty(), is_told, "{bytes}: {answer:?}");
        assert_eq!(client.answer(), None);
    }
    vmm.shut_down();
}

#[test]
fn two_clients_have_their_answers_and_the_machine_one_state() {
    let mut vmm = Served::with("client64.elf", "console", &[]);
    vmm.run.expect("echo\n");
    let path = &vmm.path;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                let mut client = Client::connect(path);
                for _ in 0..25 {
                    for verb in ["vm.pause", "vm.resume"] {
                        let answer = client.put(verb, "");
                        assert!([204, 405].contains(&answer.status), "{answer:?}");
                    }
                    assert_eq!(client.get("vm.info").status, 200);
                }
            });
        }
    });
    let mut client = vmm.client();
    if client.state() == "Paused" {
        client.done("vm.resume", "");
    }
    vmm.run.type_in("hello");
    vmm.run.expect("hello");
    vmm.shut_down();
}

#[test]
fn a_socket_of_a_dead_process_is_replaced_and_one_of_a_live_one_is_not() {
    let vmm = Served::start(&[]);
    let path = vmm.path.to_str().unwrap().to_owned();
    assert_eq!(vmm.client().get("vmm.ping").status, 200);
    let other = Run::of_arguments(&["--api-socket", &path]);
    let (status, _, complaint) = other.end();
    assert_eq!(status.code(), Some(2));
    assert!(
        complaint.contains("another process listens") && complaint.contains(&path),
        "{complaint}"
    );
    assert_eq!(vmm.client().get("vmm.ping").status, 200, "the other one took it away");

    vmm.run.send(libc::SIGKILL);
    let path = vmm.path.clone();
    vmm.run.end();
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    // A bare path is one as well.
    let next = Run::of_arguments(&["--api-socket", path.to_str().unwrap()]);
    let next = Served { run: next, path };
    assert_eq!(next.client().get("vmm.ping").status, 200);
    next.shut_down();

    let folder = Folder::new("api-socket");
    let file = folder.path("file");
    fs::write(&file, "mine").unwrap();
    for (place, words) in [
        (format!("path={file}"), "no socket"),
        (format!("path={}", folder.path("none/x")), "No such file"),
        (format!("path={}", folder.path(&"x".repeat(200))), "SUN_LEN"),
        ("fd=700".to_owned(), "fd=700"),
        ("path=".to_owned(), "empty"),
    ] {
        let (status, _, complaint) = Run::of_arguments(&["--api-socket", &place]).end();
        assert_eq!(status.code(), Some(2), "{place}: {complaint}");
        assert!(complaint.contains(words), "{place}: {complaint}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn signals_end_the_process_and_remove_the_socket() {
    for guest in [None, Some("spin")] {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            let mut vmm = Served::start(&[]);
            let mut client = vmm.client();
            if let Some(cmdline) = guest {
                client.done("vm.create", &machine("client32.elf", cmdline));
                client.done("vm.boot", "");
                vmm.run.expect("spinning\n");
            } else {
                assert_eq!(client.get("vmm.ping").status, 200);
            }
            vmm.run.send(signal);
            let (status, _, complaint) = vmm.run.end();
            assert_eq!(status.signal(), Some(signal), "{guest:?}: {complaint}");
            assert!(!vmm.path.exists());
        }
    }
}

#[test]
fn a_socket_that_listens_already_is_taken() {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    let path = socket_path();
    let listener = UnixListener::bind(&path).unwrap();
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let mut vmm = std::process::Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    vmm.args(["--backend", "interp", "--api-socket", "fd=30", "--event-monitor", "fd=31"]);
    let (socket, events) = (listener.as_raw_fd(), writer.as_raw_fd());
    // SAFETY: between fork and exec, this makes system calls only.
    unsafe {
        vmm.pre_exec(move || {
            libc::dup2(socket, 30);
            libc::dup2(events, 31);
            Ok(())
        });
    }
    let vmm = Run::of(vmm);
    drop((listener, writer));
    let mut client = Client::connect(&path);
    client.done("vm.create", &machine("client64.elf", "console"));
    client.done("vm.boot", "");
    client.done("vm.pause", "");
    client.done("vm.resume", "");
    client.done("vm.reboot", "");
    client.done("vm.resize", "{}");
    client.done("vm.shutdown", "");
    client.done("vm.delete", "");
    client.done("vmm.shutdown", "");
    assert_eq!(vmm.end().0.code(), Some(0));
    assert!(path.exists(), "it is somebody else's");
    fs::remove_file(path).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let told: Vec<String> = serde_json::Deserializer::from_str(&text)
        .into_iter::<serde_json::Value>()
        .map(|event| {
            let event = event.unwrap();
            assert!(event["timestamp"]["nanos"].is_u64() && event["properties"].is_null());
            format!("{} {}", event["source"].as_str().unwrap(), event["event"].as_str().unwrap())
        })
        .collect();
    let expected = [
        "vmm starting",
        "vm booting",
        "vm booted",
        "vm pausing",
        "vm paused",
        "vm resuming",
        "vm resumed",
        "vm rebooting",
        "vm rebooted",
        "vm resizing",
        "vm resized",
        "vm shutdown",
        "vm deleted",
        "vmm shutdown",
    ];
    assert_eq!(told, expected);
}

#[test]
fn arguments_that_need_a_machine_are_refused_without_one() {
    let path = socket_path();
    let path = path.to_str().unwrap();
    let (status, _, complaint) =
        Run::of_arguments(&["--api-socket", path, "--memory", "size=2G"]).end();
    assert_eq!(status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("vm.create"), "{complaint}");
}
