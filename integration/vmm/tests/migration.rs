//! Machines that move from process to process while they run, and connections that break.
#![cfg(feature = "vof")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use images::small_disk;
use run::api::{Answer, Client, socket_path};
use run::folder::Folder;
use run::{LIMIT, Run, program};

mod images;
mod run;

/// A VMM with its API.
struct Vmm {
    run: Run,
    api: PathBuf,
}

impl Vmm {
    /// One without a machine.
    fn empty() -> Self {
        Self::of_arguments(&[])
    }

    /// One that runs a guest which goes over so much memory, and rests in between.
    fn counting(mib: u32, rest: u32, memory: &str, more: &[&str]) -> Self {
        let (kernel, cmdline) = (program("moves.elf"), format!("{mib} {rest}"));
        let memory = format!("size={memory}");
        let machine = ["--kernel", kernel.to_str().unwrap(), "--cmdline", &cmdline];
        let mut vmm = Self::of_arguments(&[&machine[..], &["--memory", &memory], more].concat());
        vmm.run.expect("count 0");
        vmm
    }

    fn of_arguments(arguments: &[&str]) -> Self {
        let api = socket_path();
        let socket = format!("path={}", api.display());
        let run = Run::of_arguments(&[&["--api-socket", &socket], arguments].concat());
        Self { run, api }
    }

    fn client(&self) -> Client {
        Client::connect(&self.api)
    }

    /// Asks for something that takes long.
    fn asks(&self, verb: &'static str, body: String) -> JoinHandle<Answer> {
        let mut client = self.client();
        thread::spawn(move || client.put(verb, &body))
    }

    fn receives(&self, url: &str) -> JoinHandle<Answer> {
        self.asks("vm.receive-migration", format!(r#"{{"receiver_url": "{url}"}}"#))
    }

    fn sends(&self, url: &str, more: &str) -> JoinHandle<Answer> {
        self.asks("vm.send-migration", format!(r#"{{"destination_url": "{url}"{more}}}"#))
    }

    /// Where its machine is in its life; nothing where there is none, or no process any more.
    fn state(&self) -> String {
        let Ok(stream) = UnixStream::connect(&self.api) else { return "gone".to_owned() };
        let mut client = Client::of(stream);
        let sent = client.try_send(run::api::request("GET", "vm.info", "").as_bytes());
        match sent.ok().and_then(|()| client.answer()) {
            Some(answer) if answer.status == 200 => {
                answer.json()["state"].as_str().unwrap().to_owned()
            }
            Some(_) => "none".to_owned(),
            None => "gone".to_owned(),
        }
    }

    /// The guest counts on, has lost nothing, and ends. Gives the longest time in which it did not, in
    /// microseconds, of what it has told here.
    fn finish(mut self) -> u32 {
        self.run.expect_again("count ");
        self.run.type_in("g");
        let (status, shown, complaint) = self.run.end();
        assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
        assert!(shown.ends_with("moves got what it asked for\n"), "{shown:?} {complaint}");
        longest(&shown)
    }

    fn end(self) {
        self.run.send(libc::SIGTERM);
        drop(self.run.end());
    }
}

/// The longest gap that a guest has told of.
fn longest(shown: &str) -> u32 {
    let gaps = shown.split("longest ").skip(1).filter_map(|rest| rest.split('\n').next());
    gaps.filter_map(|gap| gap.trim().parse().ok()).max().unwrap_or(0)
}

fn unix_url() -> String {
    format!("unix:{}", socket_path().display())
}

/// Waits until somebody listens there.
fn listens(url: &str) {
    drop(Client::connect(Path::new(url.strip_prefix("unix:").unwrap())));
}

fn done(asked: JoinHandle<Answer>) {
    let answer = asked.join().unwrap();
    assert_eq!((answer.status, &*answer.body), (204, ""), "{answer:?}");
}

fn failed(asked: JoinHandle<Answer>, status: u16, words: &str) {
    let answer = asked.join().unwrap();
    assert!(answer.status == status && answer.body.contains(words), "{words}: {answer:?}");
}

/// Has a destination to which nothing comes end its wait: it waits for another source where one left
/// before it had said what it sends.
fn ends(destination: &Vmm, receives: JoinHandle<Answer>) -> Answer {
    let mut client = destination.client();
    while !receives.is_finished() {
        thread::sleep(Duration::from_millis(20));
        if destination.state() == "none" {
            let _ = client.put("vm.delete", "");
        }
    }
    let answer = receives.join().unwrap();
    assert_ne!(answer.status, 204);
    answer
}

/// A free port of this host, most likely still free in a moment.
fn tcp_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp:{}", listener.local_addr().unwrap())
}

#[test]
fn a_machine_moves_while_it_counts() {
    let disk = small_disk("moves");
    let mut vmm = Vmm::counting(8, 0, "64M", &["--disk", &disk.option(), "--cpus", "boot=2"]);
    for url in [unix_url(), tcp_url(), unix_url()] {
        let destination = Vmm::empty();
        let receives = destination.receives(&url);
        vmm.run.expect_again("count ");
        let send = || vmm.sends(&url, r#", "downtime_ms": 1000"#).join().unwrap();
        let (start, mut sent) = (Instant::now(), send());
        // A source that comes too early is told so.
        while sent.body.contains("cannot connect to") && start.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(2));
            sent = send();
        }
        assert_eq!((sent.status, &*sent.body), (204, ""), "{sent:?}");
        done(receives);
        assert_eq!(destination.state(), "Running");
        // As with Cloud Hypervisor, its process ends.
        let (status, shown, complaint) = vmm.run.end();
        assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
        vmm = destination;
    }
    vmm.finish();
}

#[test]
fn a_machine_that_stands_still_moves_and_stands_still() {
    let vmm = Vmm::counting(4, 0, "64M", &[]);
    vmm.client().done("vm.pause", "");
    let (url, destination) = (unix_url(), Vmm::empty());
    let receives = destination.receives(&url);
    listens(&url);
    done(vmm.sends(&url, ""));
    done(receives);
    assert_eq!(destination.state(), "Paused");
    destination.client().done("vm.resume", "");
    assert_eq!(destination.state(), "Running");
    destination.finish();
}

/// Devices that came while it ran go with it, whether its guest has taken them or not: to a folder, to
/// another process, and from there.
#[test]
fn a_machine_moves_with_the_devices_that_it_got() {
    let (disk, more) = (small_disk("had"), small_disk("got"));
    let mut vmm = Vmm::counting(2, 0, "64M", &["--disk", &disk.option()]);
    let path = more.option().replace("path=", "");
    let got = format!(r#"{{"path": "{path}", "id": "got"}}"#);
    assert_eq!(vmm.client().put("vm.add-disk", &got).status, 200);
    let tells = |vmm: &Vmm| vmm.client().get("vm.info").body.contains(r#""id":"got""#);
    assert!(tells(&vmm));
    let folder = Folder::new("got");
    let saved = format!("file://{}", folder.path("saved"));
    let mut client = vmm.client();
    client.done("vm.pause", "");
    client.done("vm.snapshot", &format!(r#"{{"destination_url": "{saved}"}}"#));
    client.done("vm.delete", "");
    client.done("vm.restore", &format!(r#"{{"source_url": "{saved}", "resume": true}}"#));
    vmm.run.expect_again("count ");
    assert!(tells(&vmm));
    for _ in 0..2 {
        let (url, destination) = (unix_url(), Vmm::empty());
        let receives = destination.receives(&url);
        listens(&url);
        done(vmm.sends(&url, r#", "downtime_ms": 1000"#));
        done(receives);
        vmm = destination;
        vmm.run.expect_again("count ");
        assert!(tells(&vmm));
    }
    vmm.client().done("vm.remove-device", r#"{"id": "got"}"#);
    vmm.finish();
}

/// Its clock goes on while it stands still, so that it knows how long that was.
#[test]
fn a_guest_that_writes_faster_than_it_is_sent_moves() {
    let vmm = Vmm::counting(32, 0, "64M", &[]);
    let (url, destination) = (unix_url(), Vmm::empty());
    let receives = destination.receives(&url);
    listens(&url);
    done(vmm.sends(&url, r#", "downtime_ms": 20, "timeout_strategy": "Ignore""#));
    done(receives);
    let gap = destination.finish();
    // This judges that it is told of, and no more.
    assert!(gap > 0);
}

#[test]
fn nobody_takes_it_or_it_has_nowhere_to_go() {
    let mut vmm = Vmm::counting(4, 0, "64M", &[]);
    let mut client = vmm.client();
    let url = |url: &str| format!(r#"{{"destination_url": "{url}"}}"#);
    client.fails(400, "vm.send-migration", &url("nowhere"), &["unix:PATH or tcp:"]);
    client.fails(400, "vm.send-migration", &url("tcp:host:1"), &["192.0.2.1:4444"]);
    client.fails(500, "vm.send-migration", &url(&unix_url()), &["cannot connect to unix:"]);
    client.fails(500, "vm.send-migration", &url(&tcp_url()), &["cannot connect to tcp:"]);
    let local = format!(r#"{{"destination_url": "{}", "local": true}}"#, unix_url());
    client.fails(400, "vm.send-migration", &local, &["local=on"]);
    // One that has a machine waits for none.
    let receiver = format!(r#"{{"receiver_url": "{}"}}"#, unix_url());
    client.fails(405, "vm.receive-migration", &receiver, &["already"]);
    assert_eq!(vmm.state(), "Running");
    vmm.run.expect_again("count ");
    vmm.finish();
}

/// Another one that waits at the same place; a file that is none of it.
#[test]
fn a_place_that_is_taken_is_told() {
    let (url, first, second) = (unix_url(), Vmm::empty(), Vmm::empty());
    let receives = first.receives(&url);
    listens(&url);
    failed(second.receives(&url), 500, "cannot wait for a machine at unix:");
    let file = socket_path();
    std::fs::write(&file, "mine").unwrap();
    failed(second.receives(&format!("unix:{}", file.display())), 500, "cannot wait");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    std::fs::remove_file(&file).unwrap();
    // It can be ended while it waits, and waits again.
    first.client().done("vm.delete", "");
    failed(receives, 500, "before a machine came");
    let receives = first.receives(&url);
    listens(&url);
    first.run.send(libc::SIGTERM);
    drop(receives.join());
    drop(first.run.end());
    second.end();
}

/// A destination that cannot be what the machine is says why, and the machine stays.
#[test]
fn a_destination_that_cannot_have_it_says_why() {
    let disk = small_disk("refused");
    let mut vmm = Vmm::counting(4, 0, "64M", &["--disk", &disk.option()]);
    let path = disk.option().strip_prefix("path=").unwrap().to_owned();
    let (kept, destination) = (format!("{path}-kept"), Vmm::empty());
    std::fs::rename(&path, &kept).unwrap();
    let mut refuses = |words: &str| {
        let url = unix_url();
        let receives = destination.receives(&url);
        listens(&url);
        failed(vmm.sends(&url, r#", "downtime_ms": 1000"#), 400, words);
        assert_ne!(receives.join().unwrap().status, 204);
        assert_eq!((&*vmm.state(), &*destination.state()), ("Running", "none"));
        vmm.run.expect_again("count ");
    };
    refuses("No such file");
    // Another one in its place.
    std::fs::write(&path, [0; 4096]).unwrap();
    refuses("its disk has");
    std::fs::rename(&kept, &path).unwrap();
    // Somebody has what the source lets go of: then it has it again.
    destination.end();
    vmm.finish();
}

/// Nobody may ask for a machine that was never all there: the door's file does not outlive the process.
#[test]
fn a_place_where_nothing_came_is_left_as_it_was() {
    let disk = small_disk("left");
    let vmm = Vmm::counting(2, 0, "64M", &["--disk", &disk.option()]);
    let path = disk.option().strip_prefix("path=").unwrap().to_owned();
    let kept = format!("{path}-kept");
    std::fs::rename(&path, &kept).unwrap();
    let (url, destination) = (unix_url(), Vmm::empty());
    let receives = destination.receives(&url);
    listens(&url);
    failed(vmm.sends(&url, ""), 400, "No such file");
    assert_ne!(receives.join().unwrap().status, 204);
    destination.client().done("vmm.shutdown", "");
    assert_eq!(destination.run.end().0.code(), Some(0));
    assert!(!Path::new(url.strip_prefix("unix:").unwrap()).exists(), "its file is left");
    std::fs::rename(&kept, &path).unwrap();
    vmm.finish();
}

/// A destination that waits for a machine, the answer to that, and a line to it, which is held, with its
/// other end.
fn behind_a_line() -> (Vmm, JoinHandle<Answer>, Line, String) {
    let (url, at, destination) = (unix_url(), unix_url(), Vmm::empty());
    let receives = destination.receives(&url);
    listens(&url);
    let line = Line::held(&url, 0);
    line.open(&at);
    (destination, receives, line, at)
}

#[test]
fn a_machine_that_is_told_to_stay_stays() {
    let vmm = Vmm::counting(8, 0, "64M", &[]);
    let (destination, receives, line, at) = behind_a_line();
    // It waits for a destination that says nothing, as its line is held.
    let sends = vmm.sends(&at, "");
    line.await_held();
    vmm.client().done("vm.resume", "");
    failed(sends, 400, "told to stay");
    line.release();
    ends(&destination, receives);
    assert_eq!((&*vmm.state(), &*destination.state()), ("Running", "none"));
    destination.end();
    vmm.finish();
}

/// Whoever deletes it does not wait for a destination that says nothing, and nobody told it to stay.
#[test]
fn a_machine_that_is_deleted_on_its_way_has_ended() {
    let vmm = Vmm::counting(8, 0, "64M", &[]);
    let (destination, receives, line, at) = behind_a_line();
    let sends = vmm.sends(&at, "");
    line.await_held();
    let start = Instant::now();
    vmm.client().done("vm.delete", "");
    assert!(start.elapsed() < Duration::from_secs(30));
    failed(sends, 405, "has ended meanwhile");
    line.release();
    ends(&destination, receives);
    assert_eq!((&*vmm.state(), &*destination.state()), ("none", "none"));
    destination.end();
    vmm.end();
}

/// Where a line breaks.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Never,
    /// Behind so many bytes of the source, or of the destination.
    There(u64),
    Back(u64),
}

/// A line between the two sides, whose first connection breaks.
#[derive(Clone)]
struct Line(Arc<Inner>);

struct Inner {
    to: PathBuf,
    cut: Cut,
    passed: Mutex<(u64, u64)>,
    is_held: AtomicBool,
    /// How many bytes of the source pass before it is.
    held_behind: u64,
}

impl Line {
    fn new(to: &str, cut: Cut) -> Self {
        Self::of(to, cut, None)
    }

    /// One that carries nothing more when so many bytes of the source have passed.
    fn held(to: &str, behind: u64) -> Self {
        Self::of(to, Cut::Never, Some(behind))
    }

    fn of(to: &str, cut: Cut, held: Option<u64>) -> Self {
        Self(Arc::new(Inner {
            to: to.strip_prefix("unix:").unwrap().into(),
            cut,
            passed: Mutex::default(),
            is_held: AtomicBool::new(held.is_some()),
            held_behind: held.unwrap_or(0),
        }))
    }

    fn release(&self) {
        self.0.is_held.store(false, Ordering::SeqCst);
    }

    /// Carries what comes there.
    fn open(&self, at: &str) {
        let listener = UnixListener::bind(at.strip_prefix("unix:").unwrap()).unwrap();
        let line = self.clone();
        thread::spawn(move || {
            let mut is_first = true;
            for source in listener.incoming().map_while(Result::ok) {
                // Nobody listens any more: nor does this.
                let Ok(destination) = UnixStream::connect(&line.0.to) else { continue };
                let cut = if std::mem::take(&mut is_first) { line.0.cut } else { Cut::Never };
                let (there, back) = match cut {
                    Cut::Never => (None, None),
                    Cut::There(bytes) => (Some(bytes), None),
                    Cut::Back(bytes) => (None, Some(bytes)),
                };
                line.carry(&source, &destination, there, true);
                line.carry(&destination, &source, back, false);
            }
        });
    }

    fn carry(&self, from: &UnixStream, to: &UnixStream, cut: Option<u64>, is_there: bool) {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let line = self.0.clone();
        thread::spawn(move || {
            let mut left = cut.unwrap_or(u64::MAX);
            let mut buffer = [0; 65536];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let carried = left.min(count as u64);
                {
                    let mut passed = line.passed.lock().unwrap();
                    let passed = if is_there { &mut passed.0 } else { &mut passed.1 };
                    *passed += carried;
                }
                let is_behind = || line.passed.lock().unwrap().0 > line.held_behind;
                while line.is_held.load(Ordering::SeqCst) && is_behind() {
                    thread::sleep(Duration::from_millis(2));
                }
                if to.write_all(&buffer[..carried as usize]).is_err() {
                    break;
                }
                left -= carried;
                if carried < count as u64 {
                    break;
                }
            }
            for end in [&from, &to] {
                let _ = end.shutdown(Shutdown::Both);
            }
        });
    }

    /// Waits until it is held.
    fn await_held(&self) {
        let start = Instant::now();
        while self.passed().0 <= self.0.held_behind {
            assert!(start.elapsed() < LIMIT);
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn passed(&self) -> (u64, u64) {
        *self.0.passed.lock().unwrap()
    }
}

/// Moves a machine over a line: whether it has moved. One side runs it then, and the other one knows.
fn moves(vmm: &Vmm, destination: &Vmm, cut: Cut) -> (bool, (u64, u64)) {
    let (at, url) = (unix_url(), unix_url());
    let receives = destination.receives(&url);
    listens(&url);
    let line = Line::new(&url, cut);
    line.open(&at);
    let sent = vmm.sends(&at, r#", "downtime_ms": 1000"#).join().unwrap();
    let received = match sent.status {
        204 => receives.join().unwrap(),
        _ => ends(destination, receives),
    };
    let (here, there) = (vmm.state(), destination.state());
    let says = format!("{cut:?}: {here} {there} {sent:?} {received:?}");
    let has_moved = there == "Running";
    assert!(has_moved != (here == "Running"), "{says}");
    assert_eq!(has_moved, sent.status == 204, "{says}");
    assert_eq!(has_moved, received.status == 204, "{says}");
    (has_moved, line.passed())
}

/// Behind any byte, in both directions: one side runs, and never both.
#[test]
fn wherever_the_line_is_cut_one_side_runs() {
    let disk = small_disk("cut");
    let mut vmm = Vmm::counting(2, 100, "64M", &["--disk", &disk.option()]);
    let destination = Vmm::empty();
    let (has_moved, whole) = moves(&vmm, &destination, Cut::Never);
    assert!(has_moved);
    vmm = destination;
    let mut destination = Vmm::empty();
    // At random, near the beginning and near the end of each direction.
    let mut seed = 0x9e37_79b9_u64;
    let mut random = move |end: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 20) % end.max(1)
    };
    let mut cuts = Vec::new();
    cuts.extend((0..4).map(|_| Cut::There(random(whole.0))));
    cuts.extend((0..2).map(|_| Cut::There(random(400))));
    cuts.extend((0..4).map(|back| Cut::There(whole.0.saturating_sub(1 + 4 * back))));
    // Each answer of the destination is of some bytes.
    cuts.extend((0..whole.1).step_by(6).map(Cut::Back));
    cuts.push(Cut::Back(whole.1 - 1));
    let mut stayed = 0;
    for cut in cuts {
        let (has_moved, _) = moves(&vmm, &destination, cut);
        if has_moved {
            vmm = std::mem::replace(&mut destination, Vmm::empty());
        } else {
            stayed += 1;
        }
        vmm.run.expect_again("count ");
    }
    assert!(stayed > 4);
    destination.end();
    vmm.finish();
}

/// The destination is killed while it gets the machine, which goes on where it was.
#[test]
fn a_destination_that_dies_leaves_the_machine() {
    let mut vmm = Vmm::counting(8, 0, "64M", &[]);
    // In its offer, and in its memory.
    for behind in [0, 100, 100_000, 5_000_000] {
        let (at, url, mut destination) = (unix_url(), unix_url(), Vmm::empty());
        let receives = destination.receives(&url);
        listens(&url);
        let line = Line::held(&url, behind);
        line.open(&at);
        let sends = vmm.sends(&at, "");
        line.await_held();
        destination.run.child.kill().unwrap();
        drop(destination.run.end());
        line.release();
        failed(sends, 500, "the VM has not moved");
        drop(receives.join());
        assert_eq!(vmm.state(), "Running");
        vmm.run.expect_again("count ");
    }
    // Nobody is between the two: who is dead refuses to be connected to.
    let (url, mut destination) = (unix_url(), Vmm::empty());
    let receives = destination.receives(&url);
    listens(&url);
    destination.run.child.kill().unwrap();
    drop(destination.run.end());
    drop(receives.join());
    failed(vmm.sends(&url, ""), 500, "Connection refused");
    vmm.finish();
}

/// The source is killed: what has not been handed over does not run.
#[test]
fn a_source_that_dies_takes_the_machine_with_it() {
    let (url, destination) = (unix_url(), Vmm::empty());
    let mut vmm = Vmm::counting(16, 0, "64M", &[]);
    let receives = destination.receives(&url);
    listens(&url);
    let (at, line) = (unix_url(), Line::held(&url, 1_000_000));
    line.open(&at);
    let sends = vmm.sends(&at, "");
    line.await_held();
    vmm.run.child.kill().unwrap();
    drop(vmm.run.end());
    line.release();
    drop(sends.join());
    failed(receives, 500, "");
    assert_eq!(destination.state(), "none");
    // Another machine can come.
    let (url, vmm) = (unix_url(), Vmm::counting(2, 0, "64M", &[]));
    let receives = destination.receives(&url);
    listens(&url);
    done(vmm.sends(&url, r#", "downtime_ms": 1000"#));
    done(receives);
    destination.finish();
}

/// Whoever connects and says what makes no sense, or nothing, holds nobody up for long.
#[test]
fn strangers_are_answered_and_the_machine_comes() {
    let (url, destination) = (unix_url(), Vmm::empty());
    let receives = destination.receives(&url);
    listens(&url);
    let path = url.strip_prefix("unix:").unwrap();
    let mut strangers = Vec::new();
    for says in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 100], &[1, 0, 0, 0, 40, 0, 0, 0]] {
        let mut stranger = UnixStream::connect(path).unwrap();
        stranger.write_all(says).unwrap();
        strangers.push(stranger);
    }
    let vmm = Vmm::counting(2, 0, "64M", &[]);
    done(vmm.sends(&url, r#", "downtime_ms": 1000"#));
    done(receives);
    destination.finish();
}
