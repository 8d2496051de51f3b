//! The API socket: machines that are made, run and ended by requests, and requests of all kinds.
#![cfg(feature = "vof")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use run::api::{Client, request, socket_path};
use run::folder::Folder;
use run::{Run, program};

mod run;

/// A VMM with a socket.
struct Served {
    run: Run,
    path: PathBuf,
}

impl Served {
    /// One without a machine.
    fn start(arguments: &[&str]) -> Self {
        let path = socket_path();
        let socket = format!("path={}", path.display());
        Self { run: Run::of_arguments(&[&["--api-socket", &socket], arguments].concat()), path }
    }

    /// One that runs a program.
    fn with(guest: &str, cmdline: &str, arguments: &[&str]) -> Self {
        let path = socket_path();
        let socket = format!("path={}", path.display());
        let run = Run::start(guest, cmdline, &[&["--api-socket", &socket], arguments].concat());
        Self { run, path }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path)
    }

    /// Ends it by request; gives what its console has shown.
    fn shut_down(self) -> String {
        self.client().done("vmm.shutdown", "");
        let (status, shown, complaint) = self.run.end();
        assert_eq!(status.code(), Some(0), "{complaint}");
        assert!(!self.path.exists(), "the socket is left");
        shown
    }
}

fn machine(guest: &str, cmdline: &str) -> String {
    let kernel = program(guest);
    serde_json::json!({
        "cpus": {"boot_vcpus": 1, "max_vcpus": 2},
        "memory": {"size": 256 << 20, "hotplug_size": 512 << 20},
        "payload": {"kernel": kernel, "cmdline": cmdline},
        "serial": {"mode": "Tty"}, "console": {"mode": "Off"},
        "rng": {"src": "/dev/urandom"},
    })
    .to_string()
}

#[test]
fn a_machine_is_created_run_and_deleted_by_requests() {
    let mut vmm = Served::start(&[]);
    let mut client = vmm.client();
    let ping = client.get("vmm.ping");
    assert_eq!(ping.status, 200, "{ping:?}");
    assert!(ping.headers.contains("Content-Type: application/json\r\n"), "{ping:?}");
    assert_eq!(ping.json()["pid"], vmm.run.child.id());
    for verb in ["boot", "pause", "resume", "shutdown", "reboot", "power-button"] {
        client.fails(404, &format!("vm.{verb}"), "", &["no VM is created"]);
    }
    assert_eq!(client.get("vm.info").status, 404);
    client.done("vm.delete", "");

    client.done("vm.create", &machine("client64.elf", "console"));
    client.fails(405, "vm.create", &machine("client64.elf", "console"), &["created already"]);
    let info = client.get("vm.info").json();
    assert_eq!(
        (&info["state"], &info["memory_actual_size"]),
        (&"Created".into(), &(256 << 20).into())
    );
    assert_eq!(info["config"]["rng"]["src"], "/dev/urandom");
    for verb in ["pause", "resume", "shutdown", "reboot", "power-button"] {
        client.fails(405, &format!("vm.{verb}"), "", &["is Created"]);
    }
    client.done("vm.boot", "");
    client.fails(405, "vm.boot", "", &["is Running"]);
    assert_eq!(client.state(), "Running");
    vmm.run.expect("echo\n");
    vmm.run.type_in("one ");
    vmm.run.expect("one ");

    client.done("vm.pause", "");
    client.fails(405, "vm.pause", "", &["is Paused"]);
    assert_eq!(client.state(), "Paused");
    vmm.run.type_in("two ");
    client.done("vm.resume", "");
    client.fails(405, "vm.resume", "", &["is Running"]);
    vmm.run.expect("two ");

    // What it is at is gone.
    client.done("vm.reboot", "");
    vmm.run.expect_again("echo\n");
    // One that stands still starts again, and goes on.
    client.done("vm.pause", "");
    client.done("vm.reboot", "");
    assert_eq!(client.state(), "Running");
    vmm.run.expect_again("echo\n");
    client.done("vm.power-button", "");

    client.done("vm.shutdown", "");
    assert_eq!(client.state(), "Created");
    client.done("vm.boot", "");
    vmm.run.expect_again("echo\n");
    client.done("vm.pause", "");
    client.done("vm.delete", "");
    assert_eq!(client.get("vm.info").status, 404);
    client.done("vm.create", &machine("client32.elf", "spin"));
    client.done("vm.boot", "");
    vmm.run.expect("spinning\n");
    vmm.shut_down();
}

/// As without a socket: what a guest does is what the status says.
#[test]
fn a_guest_that_ends_by_itself_ends_the_process() {
    for (cmdline, status) in [("power off", 0), ("exit", 3)] {
        let vmm = Served::start(&[]);
        let mut client = vmm.client();
        client.done("vm.create", &machine("client32.elf", cmdline));
        client.done("vm.boot", "");
        let (ended, shown, complaint) = vmm.run.end();
        assert_eq!(ended.code(), Some(status), "{complaint}");
        assert!(shown.contains("client interface works\n"), "{shown}");
        assert!(!vmm.path.exists());
        // Whoever asks now has nobody to ask.
        while client.answer().is_some() {}
    }
}

#[test]
fn a_machine_of_the_command_line_runs_at_once_and_can_be_another_one() {
    let mut vmm = Served::with("client64.elf", "console", &["--stats"]);
    vmm.run.expect("echo\n");
    let mut client = vmm.client();
    assert_eq!(client.state(), "Running");
    client.done("vm.shutdown", "");
    client.done("vm.boot", "");
    vmm.run.expect_again("echo\n");
    client.done("vm.delete", "");
    client.done("vm.create", &machine("client32.elf", "spin"));
    client.done("vm.boot", "");
    vmm.run.expect("spinning\n");
    assert!(vmm.shut_down().contains("spinning"));
    let (status, _, complaint) = Served::with("no such file", "", &[]).run.end();
    assert_eq!(status.code(), Some(2), "{complaint}");
}

/// Nothing of one machine is left when there have been many: neither threads nor descriptors.
#[test]
fn many_machines_one_after_the_other_leave_nothing() {
    let path = socket_path();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    command.args(["--backend", "interp", "--api-socket"]).arg(&path);
    // Messages go where the console goes, so that one file has two that write.
    // SAFETY: between fork and exec, this makes a system call only.
    unsafe {
        use std::os::unix::process::CommandExt;
        command.pre_exec(|| match libc::dup2(libc::STDOUT_FILENO, libc::STDERR_FILENO) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut vmm = Served { run: Run::of(command), path };
    let mut client = vmm.client();
    let process = PathBuf::from(format!("/proc/{}", vmm.run.child.id()));
    let count = |what: &str| fs::read_dir(process.join(what)).unwrap().count();
    let mut before = (0, 0);
    for round in 0..12 {
        client.done("vm.create", &machine("client64.elf", "console"));
        client.done("vm.boot", "");
        vmm.run.expect_again("echo\n");
        client.done("vm.delete", "");
        // The first ones make what is kept.
        if round == 2 {
            before = (count("fd"), count("task"));
        }
    }
    // Threads that nobody waits for take a moment.
    let start = std::time::Instant::now();
    while count("fd") > before.0 || count("task") > before.1 {
        let now = (count("fd"), count("task"));
        assert!(start.elapsed() < Duration::from_secs(60), "{before:?} became {now:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    vmm.shut_down();
}

#[test]
fn what_cannot_be_is_said_and_changes_nothing() {
    let vmm = Served::start(&[]);
    let mut client = vmm.client();
    for (body, words) in [
        ("", &["body"][..]),
        ("{", &["body cannot be used"]),
        ("[]", &["body cannot be used"]),
        (r#"{"cpus": {"boot_vcpus": "two"}}"#, &["cpus.boot_vcpus"]),
        (r#"{"kernel": "x"}"#, &["kernel"]),
        (r#"{"memory": {"size": 1000}}"#, &["the machine cannot be"]),
        (r#"{"machine": {"cpu": "POWER7"}}"#, &["machine.cpu", "POWER9"]),
    ] {
        client.fails(400, "vm.create", body, words);
        assert_eq!(client.get("vm.info").status, 404);
    }
    let same = r#"{"disks": [{"path": "a", "id": "x"}, {"path": "b", "id": "x"}]}"#;
    client.fails(409, "vm.create", same, &["id x is that of"]);

    // What is not there is found when it is to run.
    client.done("vm.create", r#"{"payload": {"kernel": "/no/such/kernel"}}"#);
    client.fails(400, "vm.boot", "", &["vm.boot", "/no/such/kernel"]);
    assert_eq!(client.state(), "Created");
    client.done("vm.delete", "");
    client.done("vm.create", "{}");
    client.fails(400, "vm.boot", "", &["nothing to start"]);
    client.done("vm.delete", "");

    client.done("vm.create", &machine("client64.elf", "console"));
    client.fails(400, "vm.boot", "{}", &["vm.boot takes no body"]);
    client.fails(400, "vm.resize", r#"{"desired_balloon": 1}"#, &["balloon"]);
    client.fails(400, "vm.resize", r#"{"vcpus": 1}"#, &["vcpus"]);
    client.fails(400, "vm.resize", r#"{"desired_vcpus": 3}"#, &["at most 2"]);
    client.fails(404, "vm.remove-device", r#"{"id": "disk7"}"#, &["no device disk7"]);
    for verb in ["vm.add-device", "vm.add-pmem", "vm.nmi", "vm", "", "vm.boot/", "../vmm.ping"] {
        client.fails(404, verb, "{}", &["there is no"]);
    }
    for (method, verb) in
        [("GET", "vm.boot"), ("PUT", "vm.info"), ("POST", "vm.create"), ("DELETE", "vm.boot")]
    {
        let request = request(method, verb, "");
        let mut other = vmm.client();
        other.send(request.as_bytes());
        let answer = other.answer();
        let answer = answer.or_else(|| panic!("{method} {verb}")).unwrap();
        assert_eq!(answer.status, 405, "{method} {verb}");
        assert!(answer.headers.contains("Allow: "), "{answer:?}");
    }
    vmm.shut_down();
}

#[test]
fn a_machine_that_does_not_run_changes_by_its_configuration() {
    let folder = Folder::new("api-created");
    let disk = folder.path("disk.raw");
    File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let mut vmm = Served::start(&[]);
    let mut client = vmm.client();
    client.done("vm.create", &machine("client64.elf", "console"));
    client
        .done("vm.resize", r#"{"desired_vcpus": 2, "desired_ram": null, "desired_balloon": null}"#);
    client.done("vm.resize", &format!(r#"{{"desired_ram": {}}}"#, 512 << 20));
    client.done("vm.add-disk", &format!(r#"{{"path": "{disk}", "iommu": false}}"#));
    client.done("vm.add-disk", r#"{"path": "/no/such/disk"}"#);
    client.done("vm.add-vsock", &format!(r#"{{"cid": 3, "socket": "{}"}}"#, folder.path("v")));
    client.fails(409, "vm.add-vsock", r#"{"cid": 3, "socket": "w"}"#, &["context id"]);
    client.fails(409, "vm.add-disk", &format!(r#"{{"path": "{disk}", "id": "b"}}"#), &["disk.raw"]);
    client.fails(400, "vm.add-net", "{}", &["\\\"tap\\\" and \\\"socket\\\""]);
    client.fails(400, "vm.add-fs", r#"{"tag": "t"}"#, &["socket"]);
    client.fails(400, "vm.boot", "", &["/no/such/disk"]);
    client.done("vm.remove-device", r#"{"id": "disk1"}"#);
    client.done("vm.remove-device", r#"{"id": "vsock0"}"#);
    let info = client.get("vm.info").json();
    let config = &info["config"];
    assert_eq!(
        (&config["cpus"]["boot_vcpus"], &config["memory"]["size"]),
        (&2.into(), &(512 << 20).into())
    );
    assert_eq!(config["disks"].as_array().unwrap().len(), 1);
    assert_eq!(config["disks"][0]["id"], "disk0");
    assert!(config.get("vsock").is_none(), "{info}");
    client.done("vm.boot", "");
    vmm.run.expect("echo\n");
    vmm.shut_down();
}

/// Whatever comes, others have their answers.
#[test]
fn requests_of_any_bytes_and_sizes_disturb_nobody() {
    let vmm = Served::with("client64.elf", "console", &[]);
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
    wait_for_answer(&next.path);
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

/// Until whoever is new answers: the old one's socket refuses.
fn wait_for_answer(path: &Path) {
    let start = std::time::Instant::now();
    while UnixStream::connect(path).is_err() {
        assert!(start.elapsed() < run::LIMIT);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(Client::connect(path).get("vmm.ping").status, 200);
}

#[test]
fn signals_end_the_process_and_remove_the_socket() {
    for (guest, is_running) in [(None, false), (Some("spin"), true)] {
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
            assert_eq!(status.signal(), Some(signal), "{is_running}: {complaint}");
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
    let (mut reader, writer) = std::io::pipe().unwrap();
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

#[test]
fn a_running_machine_is_counted() {
    let mut vmm = Served::start(&[]);
    let mut client = vmm.client();
    assert_eq!(client.get("vm.counters").status, 404);
    let metrics = |client: &mut Client| {
        client.send(b"GET /metrics HTTP/1.1\r\n\r\n");
        let answer = client.answer().unwrap();
        assert!(
            answer.headers.contains("Content-Type: text/plain; version=0.0.4\r\n"),
            "{answer:?}"
        );
        answer.body
    };
    assert!(metrics(&mut client).contains("pseries_vmm_info"));
    client.done("vm.create", &machine("client64.elf", "console"));
    assert_eq!(client.get("vm.counters").status, 405);
    client.done("vm.boot", "");
    vmm.run.expect("echo\n");
    let count = |client: &mut Client, of: &str, name: &str| {
        client.get("vm.counters").json()[of][name].as_u64()
    };
    assert_eq!(count(&mut client, "_vm", "boots"), Some(1));
    let calls = count(&mut client, "_client_calls", "call-method")
        .or_else(|| count(&mut client, "_client_calls", "write"));
    assert!(calls.is_some_and(|calls| calls > 0), "{:?}", client.get("vm.counters"));
    client.done("vm.reboot", "");
    assert_eq!(count(&mut client, "_vm", "boots"), Some(2));
    assert!(metrics(&mut client).contains("state=\"Running\""));
    // What stands still can be counted, too.
    client.done("vm.pause", "");
    assert_eq!(client.get("vm.counters").status, 200);
    vmm.shut_down();
}

/// One who waits for a machine is in nobody's way, and can be given up.
#[test]
fn while_something_takes_long_others_are_told_so() {
    let vmm = Served::start(&[]);
    let from = socket_path();
    let url = format!(r#"{{"receiver_url": "unix:{}"}}"#, from.display());
    let mut waiting = vmm.client();
    waiting.send(request("PUT", "vm.receive-migration", &url).as_bytes());
    let mut client = vmm.client();
    while client.put("vm.boot", "").status == 404 {}
    for _ in 0..20 {
        client.fails(409, "vm.create", "{}", &["vm.receive-migration is under way"]);
        assert_eq!(client.get("vmm.ping").status, 200);
        assert_eq!(client.get("vm.info").status, 404);
    }
    // Many who do not wait for their answers.
    for _ in 0..200 {
        vmm.client().send(request("PUT", "vm.pause", "").as_bytes());
    }
    assert_eq!(client.get("vmm.ping").status, 200);
    client.done("vm.delete", "");
    assert_ne!(waiting.answer().unwrap().status, 204);
    client.done("vm.create", "{}");
    client.done("vm.delete", "");
    waiting.send(request("PUT", "vm.receive-migration", &url).as_bytes());
    while client.put("vm.boot", "").status == 404 {}
    vmm.shut_down();
}

#[test]
fn names_are_told() {
    let vmm = Served::start(&[]);
    let mut client = vmm.client();
    let console =
        r#"{"serial": {"mode": "Pty"}, "payload": {"kernel": "KERNEL", "cmdline": "console"}}"#;
    let kernel = program("client64.elf");
    client.done("vm.create", &console.replace("KERNEL", kernel.to_str().unwrap()));
    let info = client.get("vm.info").json();
    assert_eq!(info["name"], vmm.path.file_stem().unwrap().to_str().unwrap());
    assert!(info["config"]["serial"].get("file").is_none(), "{info}");
    client.done("vm.boot", "");
    let info = client.get("vm.info").json();
    let pty = info["config"]["serial"]["file"].as_str().unwrap().to_owned();
    let mut pty = File::options().read(true).write(true).open(pty).unwrap();
    std::io::Write::write_all(&mut pty, b"hello").unwrap();
    let mut shown = String::new();
    while !shown.contains("hello") {
        let mut byte = [0];
        pty.read_exact(&mut byte).unwrap();
        shown.push(byte[0].into());
    }
    client.done("vm.shutdown", "");
    let info = client.get("vm.info").json();
    assert!(info["config"]["serial"].get("file").is_none(), "{info}");
    vmm.shut_down();
}

/// What is plugged while the machine runs is there after its next start as well.
#[test]
fn devices_come_and_go_while_the_machine_runs() {
    let folder = Folder::new("api-hotplug");
    let mut vmm = Served::with("client64.elf", "console", &[]);
    vmm.run.expect("echo\n");
    let mut client = vmm.client();
    let [a, b] = ["a.raw", "b.raw"].map(|name| {
        let path = folder.path(name);
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        path
    });
    let added = client.put("vm.add-disk", &format!(r#"{{"path": "{a}"}}"#));
    assert_eq!(added.status, 200, "{added:?}");
    let added = added.json();
    assert!(added["bdf"].as_str().unwrap().starts_with("0000:00:"), "{added}");
    let first = added["id"].as_str().unwrap().to_owned();
    let other = client.put("vm.add-disk", &format!(r#"{{"path": "{b}", "id": "data"}}"#));
    assert_eq!((other.status, &other.json()["id"]), (200, &"data".into()), "{other:?}");
    let same = format!(r#"{{"path": "{b}", "id": "data"}}"#);
    client.fails(409, "vm.add-disk", &same, &["data"]);
    client.fails(400, "vm.add-disk", r#"{"path": "/no/such/disk"}"#, &["/no/such/disk"]);
    client.fails(404, "vm.remove-device", r#"{"id": "nobody"}"#, &["nobody", "data"]);
    client.done("vm.remove-device", &format!(r#"{{"id": "{first}"}}"#));
    let disks = |client: &mut Client| client.get("vm.info").json()["config"]["disks"].clone();
    let disk = disks(&mut client);
    assert_eq!((disk.as_array().unwrap().len(), &disk[0]["id"]), (1, &"data".into()), "{disk}");
    client.done("vm.shutdown", "");
    assert_eq!(disks(&mut client), disk);
    client.done("vm.boot", "");
    vmm.run.expect_again("echo\n");
    assert_eq!(disks(&mut client), disk);
    vmm.shut_down();
}
