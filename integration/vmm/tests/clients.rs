//! What public clients of the API send, byte for byte, and what they need of the answers.
//!
//! Kata Containers' runtime-rs has a client that takes Cloud Hypervisor's crate `api_client` from its
//! repository: neither is published on a registry, so that the requests are here as they serialise them.
//! libvirt's driver is a library in C that asks by curl. In the folder `clients` are the bodies, with
//! `KERNEL` and `FOLDER` where paths are.
#![cfg(feature = "vof")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use run::api::socket_path;
use run::folder::Folder;
use run::{LIMIT, Run, program};
use serde_json::{Value, json};

mod run;

/// A VMM as Kata starts it: in the folder `/`, and its socket named by its path alone.
fn vmm(arguments: &[&str]) -> (Run, PathBuf) {
    let path = socket_path();
    let mut vmm = std::process::Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    vmm.arg("--api-socket").arg(&path).args(["--backend", "interp"]).args(arguments);
    vmm.current_dir("/");
    (Run::of(vmm), path)
}

fn connect(path: &Path) -> UnixStream {
    let start = std::time::Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                return stream;
            }
            Err(error) => assert!(start.elapsed() < LIMIT, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn body(text: &str, folder: &Folder, guest: &str) -> String {
    let kernel = program(guest);
    let text = text.replace("KERNEL", kernel.to_str().unwrap());
    text.replace("FOLDER", folder.0.to_str().unwrap())
}

fn image(folder: &Folder, name: &str) {
    File::create(folder.path(name)).unwrap().set_len(1 << 20).unwrap();
}

/// Kata's client: one connection for all requests, and an answer that it looks through letter by
/// letter.
struct Kata(UnixStream);

impl Kata {
    fn ask(&mut self, method: &str, verb: &str, body: Option<&str>) -> Result<String, String> {
        let mut request =
            format!("{method} /api/v1/{verb} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n");
        // In pieces, as it writes them.
        self.0.write_all(request.as_bytes()).unwrap();
        if let Some(body) = body {
            request = format!("Content-Length: {}\r\n", body.len());
            self.0.write_all(request.as_bytes()).unwrap();
        }
        self.0.write_all(b"\r\n").unwrap();
        self.0.write_all(body.unwrap_or_default().as_bytes()).unwrap();
        let (mut text, mut bytes) = (String::new(), [0; 256]);
        let whole = loop {
            let count = self.0.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "closed after {text:?}");
            text += std::str::from_utf8(&bytes[..count]).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head
                .split_once("Content-Length: ")
                .map(|(_, rest)| rest.split('\r').next().unwrap().trim().parse::<usize>().unwrap());
            // It takes an answer without a length for one without a body.
            if body.len() >= length.unwrap_or(0) {
                break body.to_owned();
            }
        };
        let status = text.split_once("HTTP/1.1 ").unwrap().1[..3].to_owned();
        match &*status {
            "200" | "204" => Ok(whole),
            _ => Err(format!("{status}: {whole}")),
        }
    }

    fn put(&mut self, verb: &str, body: &Value) -> String {
        let sent = self.ask("PUT", verb, Some(&body.to_string()));
        sent.unwrap_or_else(|error| panic!("{verb}: {error}"))
    }

    fn done(&mut self, verb: &str) {
        assert_eq!(self.ask("PUT", verb, None).as_deref(), Ok(""), "{verb}");
    }

    /// What Kata reads of vm.info, with the keys that it cannot do without.
    fn info(&mut self) -> Value {
        let info: Value = serde_json::from_str(&self.ask("GET", "vm.info", None).unwrap()).unwrap();
        let config = &info["config"];
        assert!(config["cpus"]["boot_vcpus"].is_u64() && config["cpus"]["max_vcpus"].is_u64());
        assert!(config["memory"]["size"].is_u64(), "{info}");
        for console in ["serial", "console"] {
            assert!(config[console]["mode"].is_string(), "{info}");
        }
        assert!(config["rng"]["src"].is_string() && config["vsock"]["cid"].is_u64(), "{info}");
        assert!(info["memory_actual_size"].is_u64(), "{info}");
        info
    }
}

#[test]
fn katas_requests_run_a_guest() {
    let folder = Folder::new("kata");
    image(&folder, "image.raw");
    image(&folder, "more.raw");
    let (vmm, path) = vmm(&[]);
    let mut kata = Kata(connect(&path));
    let ping: Value = serde_json::from_str(&kata.ask("GET", "vmm.ping", None).unwrap()).unwrap();
    assert!(ping["build_version"].is_string() && ping["features"].is_array(), "{ping}");
    let create = body(include_str!("clients/kata-create.json"), &folder, "client32.elf");
    assert_eq!(kata.ask("PUT", "vm.create", Some(&create)).as_deref(), Ok(""));
    assert_eq!(kata.info()["state"], "Created");
    kata.done("vm.boot");
    assert_eq!(kata.info()["state"], "Running");
    let resize = json!({"desired_vcpus": 2, "desired_ram": null, "desired_balloon": null});
    assert_eq!(kata.put("vm.resize", &resize), "");
    let disk = json!({
        "path": folder.path("more.raw"), "readonly": false, "direct": false, "iommu": false,
        "num_queues": 1, "queue_size": 128, "vhost_user": false, "vhost_socket": null,
        "rate_limiter_config": null, "id": "block-1", "disable_io_uring": false, "pci_segment": 0,
        "sparse": true, "image_type": "Raw",
    });
    let place: Value = serde_json::from_str(&kata.put("vm.add-disk", &disk)).unwrap();
    assert_eq!(place["id"], "block-1");
    // domain:bus:device.function
    let bdf: Vec<_> = place["bdf"].as_str().unwrap().split([':', '.']).collect();
    assert_eq!(bdf.len(), 4, "{place}");
    assert!(bdf.iter().all(|part| u32::from_str_radix(part, 16).is_ok()), "{place}");
    kata.put("vm.remove-device", &json!({"id": "block-1"}));
    kata.done("vm.pause");
    assert_eq!(kata.info()["state"], "Paused");
    let saved = folder.path("saved");
    fs::create_dir(&saved).unwrap();
    kata.put("vm.snapshot", &json!({"destination_url": format!("file://{saved}")}));
    for file in ["config.json", "state.json"] {
        // It changes them before it restores.
        let text = fs::read(Path::new(&saved).join(file)).unwrap();
        let _: Value = serde_json::from_slice(&text).unwrap();
    }
    kata.done("vm.resume");
    kata.done("vm.shutdown");
    // What Kata's templates do: it is paused when it has been restored.
    let (other, path) = self::vmm(&[]);
    kata.done("vm.delete");
    let mut restored = Kata(connect(&path));
    restored.put("vm.restore", &json!({"source_url": format!("file://{saved}")}));
    assert_eq!(restored.info()["state"], "Paused");
    restored.done("vm.resume");
    assert_eq!(restored.info()["state"], "Running");
    for (mut client, vmm) in [(kata, vmm), (restored, other)] {
        client.done("vmm.shutdown");
        let (status, _, complaint) = vmm.end();
        assert_eq!(status.code(), Some(0), "{complaint}");
    }
}

/// libvirt's driver: curl, which sends a body of which it does not know the length, and asks before it
/// does; a connection is kept.
struct Libvirt(UnixStream);

impl Libvirt {
    fn put(&mut self, verb: &str) {
        let head = format!(
            "PUT /api/v1/{verb} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\
             Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        );
        self.0.write_all(head.as_bytes()).unwrap();
        let mut before = [0; 25];
        self.0.read_exact(&mut before).unwrap();
        assert_eq!(before, *b"HTTP/1.1 100 Continue\r\n\r\n");
        self.0.write_all(b"0\r\n\r\n").unwrap();
        assert_eq!(self.answer(), (204, String::new()), "{verb}");
    }

    fn ask(&mut self, method: &str, verb: &str, body: Option<&str>) -> (u16, String) {
        let length = body.map(|body| format!("Content-Length: {}\r\n", body.len()));
        let request = format!(
            "{method} /api/v1/{verb} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\n{}\r\n{}",
            length.unwrap_or_default(),
            body.unwrap_or_default()
        );
        self.0.write_all(request.as_bytes()).unwrap();
        self.answer()
    }

    /// Header names may be in any letters: it is curl that reads them.
    fn answer(&mut self) -> (u16, String) {
        let (mut head, mut byte) = (String::new(), [0]);
        while !head.ends_with("\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            head.push(char::from(byte[0]));
        }
        let length = head.to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).unwrap();
        (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
    }

    fn info(&mut self) -> Value {
        let (status, info) = self.ask("GET", "vm.info", None);
        assert_eq!(status, 200, "{info}");
        serde_json::from_str(&info).unwrap()
    }
}

#[test]
fn libvirts_requests_run_a_guest() {
    let folder = Folder::new("libvirt");
    image(&folder, "image.raw");
    let events = folder.path("events");
    let (vmm, path) = vmm(&["--event-monitor", &format!("path={events}")]);
    let mut libvirt = Libvirt(connect(&path));
    assert_eq!(libvirt.ask("GET", "vmm.ping", None).0, 200);
    let create = body(include_str!("clients/libvirt-create.json"), &folder, "client64.elf");
    assert_eq!(libvirt.ask("PUT", "vm.create", Some(create.trim_end())), (204, String::new()));
    libvirt.put("vm.boot");
    // It opens the console by the name that it finds here.
    let info = libvirt.info();
    assert_eq!(info["state"], "Running");
    let mut pty = File::options()
        .read(true)
        .write(true)
        .open(info["config"]["serial"]["file"].as_str().unwrap_or_else(|| panic!("{info}")))
        .unwrap();
    let mut shown = String::new();
    let mut expect = |pty: &mut File, text: &str| {
        let mut bytes = [0; 256];
        while !shown.contains(text) {
            let count = pty.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    // What was written before somebody was there is lost.
    pty.write_all(b"typed\n").unwrap();
    expect(&mut pty, "typed");
    libvirt.put("vm.pause");
    assert_eq!(libvirt.info()["state"], "Paused");
    let saved = folder.path("saved");
    fs::create_dir(&saved).unwrap();
    let snapshot = format!("{{\"destination_url\":\"file://{saved}\"}}");
    assert_eq!(libvirt.ask("PUT", "vm.snapshot", Some(&snapshot)), (204, String::new()));
    libvirt.put("vm.resume");
    libvirt.put("vm.reboot");
    assert_eq!(libvirt.info()["state"], "Running");
    libvirt.put("vm.shutdown");
    libvirt.put("vm.delete");
    let restore = format!("{{\"source_url\":\"file://{saved}\"}}");
    assert_eq!(libvirt.ask("PUT", "vm.restore", Some(&restore)), (204, String::new()));
    libvirt.put("vm.resume");
    libvirt.put("vmm.shutdown");
    let (status, _, complaint) = vmm.end();
    assert_eq!(status.code(), Some(0), "{complaint}");
    // It finds out by these that a guest has ended by itself, or by somebody else.
    let events = fs::read_to_string(events).unwrap();
    let events = serde_json::Deserializer::from_str(&events).into_iter::<Value>();
    let events: Vec<String> = events
        .map(|event| {
            let event = event.unwrap();
            assert!(event["timestamp"]["secs"].is_u64() && event["timestamp"]["nanos"].is_u64());
            format!("{}:{}", event["source"].as_str().unwrap(), event["event"].as_str().unwrap())
        })
        .collect();
    let expected = "vmm:starting vm:booting vm:booted vm:pausing vm:paused vm:snapshotting \
        vm:snapshotted vm:resuming vm:resumed vm:rebooting vm:rebooted vm:shutdown vm:deleted \
        vm:restoring vm:booted vm:restored vm:resuming vm:resumed vm:shutdown vmm:shutdown";
    let expected: Vec<_> = expected.split_whitespace().collect();
    let known: Vec<_> = events.iter().filter(|event| expected.contains(&event.as_str())).collect();
    assert_eq!(known, expected, "{events:?}");
}
