//! Machines that are made, run and ended by requests at the API socket.
#![cfg(feature = "vof")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use run::api::{Client, Served, machine, request, socket_path};
use run::folder::Folder;
use run::{Run, program};

mod run;

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
    assert_eq!(info["cpus_actual"], 1);
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
    client.fails(405, "vm.resume", "", &["is Running, and has to be Paused (vm.pause)"]);
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
    // Threads of one machine may be on their way out, and those between machines on their way in: a few
    // more or less say nothing, one for every other machine does.
    const MANY: usize = 30;
    for round in 0..MANY {
        client.done("vm.create", &machine("client64.elf", "console"));
        client.done("vm.boot", "");
        vmm.run.expect_again("echo\n");
        client.done("vm.delete", "");
        // The first ones make what is kept.
        if round == 2 {
            before = (count("fd"), count("task"));
        }
    }
    let now = (count("fd"), count("task"));
    let few = MANY / 2;
    assert!(now.0 < before.0 + few && now.1 < before.1 + few, "{before:?} became {now:?}");
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

/// By vm.counters, and by /metrics, which is there without a machine, too.
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
    client.await_busy("vm.boot");
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
    client.await_busy("vm.boot");
    vmm.shut_down();
}

/// As over a network that nobody is on.
#[test]
fn a_start_that_takes_long_is_ended() {
    let vmm = Served::start(&[]);
    let folder = Folder::new("api-long");
    let socket = folder.path("net");
    // Whoever connects is connected, and hears nothing.
    let _network = UnixListener::bind(&socket).unwrap();
    let mut client = vmm.client();
    for verb in ["vm.shutdown", "vm.delete", "vmm.shutdown"] {
        client.done("vm.create", &format!(r#"{{"net": [{{"socket": "{socket}"}}]}}"#));
        let mut boots = vmm.client();
        boots.send(request("PUT", "vm.boot", "").as_bytes());
        client.await_busy("vm.resume");
        assert_eq!(client.state(), "Created");
        client.done(verb, "");
        let answer = boots.answer().unwrap();
        let why = if verb == "vmm.shutdown" { "VMM shuts down" } else { "ended before it ran" };
        assert!(answer.status == 500 && answer.body.contains(why), "{answer:?}");
        if verb != "vmm.shutdown" {
            client.done("vm.delete", "");
        }
    }
    assert_eq!(vmm.run.end().0.code(), Some(0));
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
