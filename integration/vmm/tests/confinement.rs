//! A VMM that somebody has broken into: it opens a file that is none of its machine's, runs a program,
//! connects to another host. This program is that VMM as well.
#![cfg(feature = "vof")]

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pseries_vmm::config::VmConfig;
use pseries_vmm::confine::{self, Beside, Confinement, ROLES, Role, Seccomp};
use pseries_vmm::program;
use pseries_vmm::resize::Control;

use run::api::{Answer, Client, Served, socket_path};
use run::folder::Folder;
use run::{LIMIT, Run};

mod run;
#[path = "run/said.rs"]
mod said;

/// What the broken VMM is told: the deed, whose it is, and its arguments.
const DEED: &str = "TEST_DEED";
const THREAD: &str = "TEST_THREAD";
const ARGUMENTS: &str = "TEST_ARGUMENTS";

/// How it ends when the deed was refused, and when it was done.
const REFUSED: i32 = 90;
const DONE: i32 = 91;

const DEEDS: [&str; 6] = ["open", "run", "execute", "connect", "code", "trace"];

/// Does what nobody should, as the calling thread, and ends the process by how that went.
fn commit(deed: &str) -> ! {
    let nothing: [*const libc::c_char; 1] = [std::ptr::null()];
    let is_done = match deed {
        "open" => File::open("/etc/passwd").is_ok(),
        "run" => Command::new("/bin/true").status().is_ok(),
        // SAFETY: the path and both lists end.
        "execute" => unsafe {
            libc::execve(c"/bin/true".as_ptr(), nothing.as_ptr(), nothing.as_ptr()) == 0
        },
        // Nobody listens there, which is known once it is tried.
        "connect" => TcpStream::connect("127.0.0.1:9")
            .is_err_and(|error| !matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))),
        // SAFETY: a new mapping that nobody uses.
        "code" => unsafe {
            let code = libc::PROT_READ | libc::PROT_EXEC;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), 4096, code, kind, -1, 0) != libc::MAP_FAILED
        },
        // SAFETY: passes numbers.
        "trace" => unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0 },
        other => panic!("{other} is no deed"),
    };
    // SAFETY: always allowed.
    unsafe { libc::_exit(if is_done { DONE } else { REFUSED }) }
}

/// Does the deed as a thread of a role, which is started as such threads are.
fn commit_as(role: Role, deed: &'static str) {
    let mut way = vec![role];
    while let Some(starter) = way.last().and_then(|role| role.starter()) {
        way.push(starter);
    }
    // The main thread is the first, and this one.
    way.pop();
    go(way, deed);
}

fn go(mut way: Vec<Role>, deed: &'static str) {
    let Some(role) = way.pop() else { commit(deed) };
    let next = move || {
        confine::begin(role);
        go(way, deed);
    };
    thread::Builder::new().name("broken".to_owned()).spawn(next).unwrap().join().unwrap();
}

/// Hears what the threads of the program say, and does the deed as the one that is to.
struct Listener {
    thread: String,
    deed: String,
}

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        let name = thread::current().name().unwrap_or_default().to_owned();
        if name.starts_with(&self.thread) {
            commit(&self.deed);
        }
    }

    fn flush(&self) {}
}

fn start(seccomp: Seccomp) -> Option<String> {
    let mut confinement = Confinement::default();
    confinement.seccomp = Some(seccomp);
    confine::start(&confinement).unwrap()
}

/// Not a test, but the VMM of the others.
#[test]
#[ignore = "it is a program"]
fn broken_vmm() {
    let of = |name| std::env::var(name).ok();
    let (Some(deed), Some(thread)) = (of(DEED), of(THREAD)) else { return };
    if thread == "files" {
        have_files(&of(ARGUMENTS).unwrap());
        return;
    }
    if let Some(number) = thread.strip_prefix("role ") {
        assert_eq!(start(Seccomp::True), None);
        let config = VmConfig { landlock_enable: Some(true), ..VmConfig::default() };
        confine::to_files(&config, &Beside::default()).unwrap();
        commit_as(ROLES[number.parse::<usize>().unwrap()], deed.leak());
        return;
    }
    log::set_logger(Box::leak(Box::new(Listener { thread, deed }))).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let arguments = of(ARGUMENTS).unwrap_or_default();
    let arguments = std::iter::once("vmm").chain(arguments.split('\n')).map(Into::into);
    let cli = program::command_line(arguments).unwrap();
    let status = program::run(&cli, &Control::new());
    panic!("it has ended otherwise: {status:?}");
}

/// Has the files of a machine, and no others of their folder.
fn have_files(folder: &str) {
    let file = |name: &str| format!("{folder}/{name}");
    let config = serde_json::json!({
        "payload": {"kernel": file("kernel")},
        "disks": [{"path": file("disk")}, {"path": file("cd"), "readonly": true}],
        "nvram": {"path": file("nvram/file")},
        "serial": {"mode": "File", "file": file("console")},
        "console": {"mode": "Socket", "socket": file("sockets/console")},
        "landlock_enable": true,
        "landlock_rules": [
            {"path": file("read"), "access": "r"},
            {"path": file("written"), "access": "w"},
        ],
    });
    let config = VmConfig::from_json(config.to_string().as_bytes(), "test".as_ref()).unwrap();
    assert_eq!(start(Seccomp::True), None);
    assert_eq!(confine::to_files(&config, &Beside::default()).unwrap(), None);
    let read = |name: &str| File::open(file(name)).is_ok();
    let write = |name: &str| File::options().write(true).open(file(name)).is_ok();
    let make = |name: &str| File::options().write(true).create_new(true).open(file(name)).is_ok();
    let remove = |name: &str| std::fs::remove_file(file(name)).is_ok();
    for (name, reads, writes) in [
        ("kernel", true, false),
        ("disk", true, true),
        ("cd", true, false),
        ("other", false, false),
        ("nvram/file", true, true),
        ("console", false, true),
        ("read/a", true, false),
        ("written/a", false, true),
    ] {
        assert_eq!((read(name), write(name)), (reads, writes), "{name}");
    }
    for (name, makes) in [
        ("new", false),
        ("sockets/new", false),
        ("read/new", false),
        ("written/new", true),
        ("nvram/file.damaged-1", true),
    ] {
        assert_eq!((make(name), remove(name)), (makes, makes), "{name}");
    }
    assert!(std::os::unix::net::UnixListener::bind(file("sockets/console")).is_ok());
    assert!(std::os::unix::net::UnixListener::bind(file("socket")).is_err());
    assert!(remove("sockets/console") && !remove("kernel") && !remove("disk"));
    assert!(std::fs::read("/proc/meminfo").is_ok() && std::fs::read("/etc/passwd").is_err());
    // A second machine of the same process has what both name.
    let other = serde_json::json!({"payload": {"kernel": file("other")}}).to_string();
    let other = VmConfig::from_json(other.as_bytes(), "test".as_ref()).unwrap();
    confine::to_files(&other, &Beside::default()).unwrap();
    assert!(!read("kernel") && !read("other"));
}

/// Runs the broken VMM.
fn breaks(thread: &str, deed: &str, arguments: &[&str]) -> Output {
    let mut vmm = Command::new(std::env::current_exe().unwrap());
    vmm.args(["--exact", "broken_vmm", "--nocapture", "--include-ignored"]);
    vmm.env(THREAD, thread).env(DEED, deed).env(ARGUMENTS, arguments.join("\n"));
    vmm.stdin(Stdio::null()).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The deeds are killed for, but for files on threads that open some: those are refused.
#[test]
fn no_thread_of_any_role_gets_out() {
    for (number, &role) in ROLES.iter().enumerate() {
        for deed in DEEDS {
            let output = breaks(&format!("role {number}"), deed, &[]);
            let context = format!("{role:?} {deed}: {:?} {}", output.status, errors(&output));
            let opens_files = matches!(role, Role::Main | Role::Resize | Role::Memory | Role::Verb);
            if deed == "open" && opens_files {
                assert_eq!(output.status.code(), Some(REFUSED), "{context}");
                continue;
            }
            assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{context}");
            let call = match deed {
                "open" => "openat",
                // The C library has all signals wait then: the kernel ends the process by itself.
                "run" => continue,
                "execute" => "execve",
                "connect" => "socket",
                "code" => "mmap",
                _ => "ptrace",
            };
            let said = errors(&output);
            assert!(said.contains(&format!("({call})")), "{context}");
            assert!(said.contains("--seccomp log"), "{context}");
        }
    }
}

/// Not a thread of the test's, but those of the program itself, which runs a guest.
#[test]
fn a_vmm_that_runs_a_guest_does_not_get_out() {
    let kernel = run::program("services.elf");
    let kernel = kernel.to_str().unwrap();
    let folder = Folder::new("confinement");
    let disk = folder.path("disk");
    File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let disk = format!("path={disk}");
    let machine = [
        "--kernel",
        kernel,
        "--memory",
        "size=64M",
        "--backend",
        "interp",
        "--disk",
        &disk,
        "--serial",
        "null",
        "--trace",
    ];
    for deed in DEEDS {
        // The CPU that makes the guest's calls.
        let output = breaks("vcpu0", deed, &machine);
        let context = format!("{deed}: {:?} {}", output.status, errors(&output));
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{context}");
        assert!(deed == "run" || context.contains("the thread \"vcpu0\""), "{context}");
    }
    // The main thread, when all is open.
    for deed in DEEDS {
        let output = breaks("broken_vmm", deed, &machine);
        let context = format!("{deed}: {:?} {}", output.status, errors(&output));
        match deed {
            "open" => assert_eq!(output.status.code(), Some(REFUSED), "{context}"),
            _ => assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{context}"),
        }
    }
    // Who wants it otherwise has it so.
    for option in [["--seccomp", "false"], ["--seccomp", "log"]] {
        let arguments = [&machine[..], &option, &["--landlock", "false"]].concat();
        let output = breaks("vcpu0", "open", &arguments);
        assert_eq!(output.status.code(), Some(DONE), "{option:?}: {}", errors(&output));
    }
}

#[test]
fn files_of_the_configuration_are_all_there_is() {
    let folder = Folder::new("confined-files");
    for name in ["nvram", "sockets", "read", "written"] {
        std::fs::create_dir(folder.path(name)).unwrap();
    }
    for name in ["kernel", "disk", "cd", "other", "nvram/file", "read/a", "written/a"] {
        File::create(folder.path(name)).unwrap();
    }
    let output = breaks("files", "", &[folder.0.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What proc(5) tells of each thread of a process: whether it has no new privileges, and whether there
/// is a filter (2).
fn confinement_of(run: &Run) -> Vec<(String, [u32; 2])> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", run.child.id())).unwrap();
    let status =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).ok());
    let of = |status: String| {
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        (value("Name"), ["NoNewPrivs", "Seccomp"].map(|key| value(key).parse().unwrap()))
    };
    status.map(of).collect()
}

#[test]
fn a_vmm_has_no_new_privileges() {
    let start = |options: &[&str]| {
        let mut run = Run::start("client32.elf", "spin", options);
        run.expect("spinning\n");
        run
    };
    for (options, expected) in [
        (&[][..], [1, 2]),
        (&["--seccomp", "log", "--landlock"], [1, 2]),
        (&["--seccomp", "false", "--landlock", "true"], [1, 0]),
        (&["--seccomp", "false", "--landlock", "false"], [0, 0]),
    ] {
        let run = start(options);
        let threads = confinement_of(&run);
        assert!(threads.len() > 3, "{threads:?}");
        assert!(threads.iter().all(|(_, found)| *found == expected), "{options:?}: {threads:?}");
        run.send(libc::SIGTERM);
        let (status, _, _) = run.end();
        assert_eq!(status.signal(), Some(libc::SIGTERM));
    }
}

#[test]
fn what_cannot_be_is_told() {
    let kernel = run::program("services.elf");
    let machine = ["--kernel", kernel.to_str().unwrap(), "--backend", "interp"];
    let refused = |options: &[&str], words: &[&str]| {
        said::refused(&[&machine[..], options].concat(), words);
    };
    refused(&["--seccomp", "maybe"], &["maybe", "true, false, log"]);
    refused(&["--landlock", "maybe"], &["maybe", "true, false"]);
    refused(
        &["--landlock-rules", "path=/nonexistent,access=rw"],
        &["--landlock-rules path=/nonexistent,access=rw", "No such file"],
    );
    refused(&["--landlock-rules", "path=/tmp"], &["access"]);
    refused(&["--landlock-rules", "path=/tmp,access=x"], &["access=x", "r, w and rw"]);
}

/// What an error of landlock says to do.
const HINT: &str = "--landlock-rules path=PATH,access=rw";

/// Where a VMM may be, `own`, and where not, `others`.
struct Folders {
    own: Folder,
    others: Folder,
}

impl Folders {
    fn new(test: &str) -> Self {
        let [own, others] = ["own", "others"].map(|whose| Folder::new(&format!("{test}-{whose}")));
        for folder in [&own, &others] {
            File::create(folder.path("disk")).unwrap().set_len(1 << 20).unwrap();
        }
        Self { own, others }
    }

    /// A VMM without a machine that may have its own files, and what it runs.
    fn vmm(&self, more: &[&str]) -> Served {
        Served::start(&[&self.rules()[..], more].concat())
    }

    fn rules(&self) -> [&'static str; 5] {
        let own = format!("path={},access=rw", self.own.0.display());
        let kernel = format!("path={},access=r", run::program("moves.elf").display());
        ["--landlock", "true", "--landlock-rules", own.leak(), kernel.leak()]
    }
}

/// Waits until the machine is in a state.
fn gets(client: &mut Client, state: &str) {
    let start = Instant::now();
    while client.state() != state {
        assert!(start.elapsed() < LIMIT, "it is never {state}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Has the machine stand still, as soon as it runs.
fn pause(client: &mut Client) {
    gets(client, "Running");
    client.done("vm.pause", "");
}

/// Has a machine of these arguments move to a VMM. Gives what source and destination answer.
fn moves(arguments: &[&str], before: impl FnOnce(), destination: &Served) -> [Answer; 2] {
    let mut source = Served::with("moves.elf", "4 0", arguments);
    pause(&mut source.client());
    before();
    let path = socket_path();
    let url = |key: &str| format!(r#"{{"{key}": "unix:{}"}}"#, path.display());
    let (mut client, body) = (destination.client(), url("receiver_url"));
    let receives = thread::spawn(move || client.put("vm.receive-migration", &body));
    // As soon as it is waited for.
    drop(Client::connect(&path));
    let sent = source.client().put("vm.send-migration", &url("destination_url"));
    let _ = source.run.child.kill();
    drop(source.run.end());
    let _ = std::fs::remove_file(&source.path);
    [sent, receives.join().unwrap()]
}

/// Whoever sends a machine does not say which files of this host it has.
#[test]
fn a_machine_that_comes_has_no_files_but_those_of_the_rules() {
    let folders = Folders::new("confined-comes");
    let [disk, others] =
        [&folders.own, &folders.others].map(|folder| format!("path={}", folder.path("disk")));
    let made = folders.others.path("made");
    let serial = format!("file={made}");
    let is_refused = |arguments: &[&str], file: &str| {
        let destination = folders.vmm(&[]);
        let remove = || drop(std::fs::remove_file(&made));
        // The destination says it to both.
        for answer in moves(arguments, remove, &destination) {
            let words = [file, "Permission denied", HINT];
            let all_there = words.iter().all(|word| answer.body.contains(word));
            assert!(answer.status >= 400 && all_there, "{file}: {answer:?}");
        }
        assert!(!Path::new(&made).exists());
        assert_eq!(destination.client().get("vm.info").status, 404);
        destination.shut_down();
    };
    is_refused(&["--disk", &disk, "--serial", &serial], &made);
    is_refused(&["--disk", &others], &folders.others.path("disk"));
    is_refused(&["--serial", "pty"], "/dev/ptmx");
    for serial in ["null", "pty"] {
        let terminals = ["path=/dev/ptmx,access=rw", "path=/dev/pts,access=rw"];
        let destination = folders.vmm(if serial == "pty" { &terminals } else { &[] });
        for answer in moves(&["--disk", &disk, "--serial", serial], || {}, &destination) {
            assert_eq!(answer.status, 204, "{answer:?}");
        }
        destination.shut_down();
    }
}

/// Nor does a folder of a saved machine, unless the command line names it.
#[test]
fn a_saved_machine_has_no_files_but_those_of_the_rules() {
    let folders = Folders::new("confined-saved");
    let others = folders.others.path("disk");
    let disk = format!("path={others}");
    let saved = folders.own.path("saved");
    let from = format!(r#"{{"source_url": "file://{saved}"}}"#);
    let machine = ["--disk", &disk, "--serial", "null"];
    let vmm = Served::with("moves.elf", "4 0", &[&folders.rules()[..], &machine].concat());
    let mut client = vmm.client();
    pause(&mut client);
    client.done("vm.snapshot", &format!(r#"{{"destination_url": "file://{saved}"}}"#));
    client.done("vm.delete", "");
    // What the command line named is there for the next machine as well.
    client.done("vm.restore", &from);
    drop(client);
    vmm.shut_down();

    let vmm = folders.vmm(&[]);
    vmm.client().fails(400, "vm.restore", &from, &[&others, "Permission denied", HINT]);
    vmm.shut_down();
    let vmm = folders.vmm(&[&format!("path={others},access=rw")]);
    let mut client = vmm.client();
    client.done("vm.restore", &from);
    // It is the same when it starts again.
    client.done("vm.shutdown", "");
    client.done("vm.boot", "");
    drop(client);
    vmm.shut_down();
    let vmm = folders.vmm(&["--restore", &format!("source_url=file://{saved}")]);
    gets(&mut vmm.client(), "Paused");
    vmm.shut_down();
}

/// Whatever verb it is that meets it.
#[test]
fn a_verb_that_is_denied_a_file_says_what_to_do() {
    let folders = Folders::new("confined-verbs");
    let read = Folder::new("confined-verbs-read");
    File::create(read.path("disk")).unwrap().set_len(1 << 20).unwrap();
    let rule = format!("path={},access=r", read.0.display());
    let vmm = Served::with("moves.elf", "4 0", &[&folders.rules()[..], &[&rule]].concat());
    let mut client = vmm.client();
    let disk = |folder: &Folder| format!(r#"{{"path": "{}"}}"#, folder.path("disk"));
    gets(&mut client, "Running");
    client.fails(400, "vm.add-disk", &disk(&folders.others), &["others", "denied", HINT]);
    client.fails(400, "vm.add-disk", &disk(&read), &["cannot be written", "readonly=on", HINT]);
    client.done("vm.pause", "");
    let to = format!(r#"{{"destination_url": "file://{}"}}"#, folders.others.path("saved"));
    client.fails(400, "vm.snapshot", &to, &["saved", "denied", HINT]);
    drop(client);
    vmm.shut_down();
}
