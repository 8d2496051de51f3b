//! A client of the API that writes its bytes by hand.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{LIMIT, Run, program};

/// The path of a socket, short enough for one.
pub(crate) fn socket_path() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("vmm-{}-{number}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

/// A client that stays connected.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects, as soon as somebody listens there.
    pub(crate) fn connect(path: &Path) -> Self {
        let start = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Self::of(stream),
                Err(error) => assert!(start.elapsed() < LIMIT, "{}: {error}", path.display()),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// The same, to who may be gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Asks, and has the answer.
    pub(crate) fn ask(&mut self, method: &str, verb: &str, body: &str) -> Answer {
        self.send(request(method, verb, body).as_bytes());
        self.answer().expect("an answer")
    }

    pub(crate) fn get(&mut self, verb: &str) -> Answer {
        self.ask("GET", verb, "")
    }

    pub(crate) fn put(&mut self, verb: &str, body: &str) -> Answer {
        self.ask("PUT", verb, body)
    }

    /// Asks for what is to be done without a word.
    pub(crate) fn done(&mut self, verb: &str, body: &str) {
        let answer = self.put(verb, body);
        assert_eq!((answer.status, &*answer.body), (204, ""), "{verb}: {answer:?}");
    }

    /// Asks for what cannot be done.
    pub(crate) fn fails(&mut self, status: u16, verb: &str, body: &str, words: &[&str]) {
        let answer = self.put(verb, body);
        assert_eq!(answer.status, status, "{verb} {body}: {answer:?}");
        let reasons = answer.json();
        let reasons = reasons.as_array().unwrap();
        assert!(!reasons.is_empty() && reasons.iter().all(Value::is_string), "{answer:?}");
        for word in words {
            assert!(answer.body.contains(word), "{verb} {body}: no {word:?} in {}", answer.body);
        }
    }

    /// Asks until something else is under way.
    pub(crate) fn await_busy(&mut self, verb: &str) {
        let start = Instant::now();
        while self.put(verb, "").status != 409 {
            assert!(start.elapsed() < LIMIT, "nothing is ever under way");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The state that vm.info tells.
    pub(crate) fn state(&mut self) -> String {
        self.get("vm.info").json()["state"].as_str().unwrap().to_owned()
    }

    /// The next answer, or none where the other end has closed.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut head = String::new();
        loop {
            let before = head.len();
            match self.stream.read_line(&mut head) {
                // The limit of a read: it is open, and says nothing.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("no answer in {LIMIT:?}, and no end: {head:?}")
                }
                Ok(0) | Err(_) => return None,
                Ok(_) if &head[before..] == "\r\n" => break,
                Ok(_) => {}
            }
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // As Cloud Hypervisor's own client looks for it.
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
        self.stream.read_exact(&mut body).ok()?;
        Some(Answer { status, headers: head, body: String::from_utf8(body).unwrap() })
    }
}

pub(crate) fn request(method: &str, verb: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("{method} /api/v1/{verb} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n");
    match body {
        "" => format!("{head}\r\n"),
        body => format!(
            "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    }
}

/// A VMM with a socket.
pub(crate) struct Served {
    pub(crate) run: Run,
    pub(crate) path: PathBuf,
}

impl Served {
    /// One without a machine.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let path = socket_path();
        let socket = format!("path={}", path.display());
        Self { run: Run::of_arguments(&[&["--api-socket", &socket], arguments].concat()), path }
    }

    /// One that runs a program.
    pub(crate) fn with(guest: &str, cmdline: &str, arguments: &[&str]) -> Self {
        let path = socket_path();
        let socket = format!("path={}", path.display());
        let run = Run::start(guest, cmdline, &[&["--api-socket", &socket], arguments].concat());
        Self { run, path }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.path)
    }

    /// Ends it by request; gives what its console has shown.
    pub(crate) fn shut_down(self) -> String {
        self.client().done("vmm.shutdown", "");
        let (status, shown, complaint) = self.run.end();
        assert_eq!(status.code(), Some(0), "{complaint}");
        assert!(!self.path.exists(), "the socket is left");
        shown
    }
}

/// The configuration of a machine that runs a program.
pub(crate) fn machine(guest: &str, cmdline: &str) -> String {
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
