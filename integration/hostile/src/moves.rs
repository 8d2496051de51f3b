//! Migrations whose other side says anything: a machine runs on one side, and a process survives.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Reach;
use crate::changes::change;
use crate::input::Input;
use crate::process::{LIMIT, Machine, endless, folder};

/// How many changes an input makes at most.
const CHANGES_MAX: usize = 8;

/// What inputs reach.
const GOALS: [&str; 9] = [
    "a machine comes as it was sent",
    "a changed machine comes",
    "a destination says no",
    "a destination hangs up",
    "who asks is answered",
    "a machine goes",
    "a machine stays as its destination says so",
    "a machine stays as its destination makes no sense",
    "the source asks",
];
const COMES: usize = 0;
const CHANGED_COMES: usize = 1;
const SAYS_NO: usize = 2;
const HANGS_UP: usize = 3;
const ANSWERED: usize = 4;
const GOES: usize = 5;
const STAYS_TOLD: usize = 6;
const STAYS: usize = 7;
const ASKS: usize = 8;

/// Messages, by their numbers on the wire.
const HELLO: u16 = 1;
const OFFER: u16 = 2;
const ROUND_END: u16 = 5;
const STATE: u16 = 6;
const GO: u16 = 7;
const WELCOME: u16 = 32;
const ACCEPTED: u16 = 33;
const ROUND_TAKEN: u16 = 34;
const READY: u16 = 35;
const RUNNING: u16 = 36;
const NOT_RUNNING: u16 = 37;
const UNKNOWN: u16 = 38;

/// Where a hello has its purpose, behind what all begin with and the version, and that of who asks.
const PURPOSE_AT: usize = 12;
const ASK: u8 = 1;

/// How long nothing is said until that is taken for silence.
const SILENCE: Duration = Duration::from_millis(300);

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

/// `data` is a byte that says which side is tried, and changes of what the other one says.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    match input.byte() & 1 {
        0 => destination(&mut input, &mut reach),
        _ => source(&mut input, &mut reach),
    }
    reach
}

/// A message, whatever is in it.
#[derive(Debug, Clone, PartialEq)]
struct Frame {
    header: [u8; 8],
    body: Vec<u8>,
}

impl Frame {
    fn new(kind: u16, body: &[u8]) -> Self {
        let mut header = [0; 8];
        header[..2].copy_from_slice(&kind.to_le_bytes());
        header[4..].copy_from_slice(&(body.len() as u32).to_le_bytes());
        Self { header, body: body.to_vec() }
    }

    /// Whether it has as many bytes as it says.
    fn is_whole(&self) -> bool {
        self.header == Self::new(self.kind(), &self.body).header
    }

    fn kind(&self) -> u16 {
        u16::from_le_bytes([self.header[0], self.header[1]])
    }

    /// Whether it asks which side has the machine.
    fn asks(&self) -> bool {
        self.kind() == HELLO && self.body.get(PURPOSE_AT) == Some(&ASK)
    }

    /// Whether the machine runs there, if that is what it says.
    fn runs(&self) -> Option<bool> {
        match self.kind() {
            _ if !self.is_whole() => None,
            RUNNING => self.body.is_empty().then_some(true),
            NOT_RUNNING => Some(false),
            _ => None,
        }
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; 8];
        from.read_exact(&mut header)?;
        let [.., a, b, c, d] = header;
        let mut body = vec![0; u32::from_le_bytes([a, b, c, d]) as usize];
        from.read_exact(&mut body)?;
        Ok(Self { header, body })
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&[&self.header[..], &self.body].concat())
    }

    /// Another one in its place.
    fn change(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0..=3 if self.body.first() == Some(&b'{') => {
                if let Ok(mut value) = serde_json::from_slice::<Value>(&self.body) {
                    change(&mut value, input, 64 << 20);
                    *self = Self::new(self.kind(), value.to_string().as_bytes());
                }
            }
            4 => *self = Self::new(input.pick(&KINDS), &self.body),
            5 => {
                let at = usize::from(input.byte()) % 8;
                self.header[at] = input.byte();
            }
            6 => {
                let length = usize::from(input.u16());
                let body = &self.body[..length.min(self.body.len())];
                *self = Self::new(self.kind(), body);
            }
            _ => {
                let at = usize::from(input.u16()) % self.body.len().max(1);
                let new = input.bytes(8);
                self.body.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
            }
        }
    }
}

const KINDS: [u16; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 32, 33, 34, 35, 36, 37, 38];

/// What a source said that sent a machine whole.
fn recorded() -> &'static [Frame] {
    static RECORDED: OnceLock<Vec<Frame>> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let source = Process::with_machine("recorded");
        let mut frames = Vec::new();
        let sent = source.sends(|frame| {
            frames.push(frame.clone());
            vec![usual_answer(&frame)].into_iter().flatten().collect()
        });
        assert!((200..300).contains(&sent), "status {sent}");
        source.end();
        frames
    })
}

/// What a destination says to a message, if anything.
fn usual_answer(frame: &Frame) -> Option<Frame> {
    Some(match frame.kind() {
        HELLO => Frame::new(WELCOME, b"unix:/there"),
        OFFER => Frame::new(ACCEPTED, &[]),
        ROUND_END => Frame::new(ROUND_TAKEN, &frame.body),
        STATE => Frame::new(READY, &[]),
        GO => Frame::new(RUNNING, &[]),
        _ => return None,
    })
}

/// A destination hears what a source may have said.
fn destination(input: &mut Input<'_>, reach: &mut Reach) {
    let mut frames = recorded().to_vec();
    let (mut ask_at, mut end_at) = (None, frames.len());
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        // Those at the ends are others than those between.
        let at = match input.byte() {
            low @ 0..=0x3f => usize::from(low) % 3,
            middle @ 0x40..=0x9f => usize::from(middle) * frames.len() / 256,
            high => frames.len().saturating_sub(1 + usize::from(high) % 4),
        };
        let last = frames.len() - 1;
        let at = at.min(last);
        match input.byte() % 8 {
            0 => drop(frames.remove(at)),
            1 => frames.insert(at, frames[at].clone()),
            2 => frames.swap(at, (at + 1).min(last)),
            3 => end_at = at,
            4 => ask_at = Some(at),
            _ => frames[at].change(input),
        }
        if frames.is_empty() {
            return;
        }
    }
    let is_same = frames == recorded() && end_at >= frames.len() && ask_at.is_none();
    let process = Process::empty("destination");
    let door = process.folder.join("door");
    let receives = process.ask("vm.receive-migration", json!({"receiver_url": url(&door)}));
    let mut heard = Vec::new();
    let mut stream = connect(&door);
    let answers = Answers::of(&stream);
    // One that was told less than it waits for says nothing.
    let patience = if is_same { LIMIT } else { SILENCE };
    let mut asked = None;
    for (number, frame) in frames.iter().enumerate().take(end_at) {
        if ask_at == Some(number) {
            asked = ask_who_runs(&door);
        }
        if frame.write(&mut stream).is_err() {
            break;
        }
        // What comes behind these is an answer to an answer.
        if matches!(frame.kind(), STATE | GO) {
            let until = if frame.kind() == STATE { READY } else { RUNNING };
            while let Some(kind) = answers.next(patience) {
                heard.push(kind);
                if kind == NOT_RUNNING || kind == until {
                    break;
                }
            }
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    // One that has the machine has no more to say.
    while !heard.contains(&RUNNING) {
        let Some(kind) = answers.next(LIMIT) else { break };
        heard.push(kind);
    }
    let _ = stream.shutdown(Shutdown::Both);
    answers.end();
    let runs_there = heard.contains(&RUNNING);
    if runs_there {
        assert_ne!(asked, Some(NOT_RUNNING), "it had said that it never would");
        reach.add(if is_same { COMES } else { CHANGED_COMES });
    } else {
        assert!(!is_same, "it heard what a source said: {heard:?}");
        reach.add(if heard.contains(&NOT_RUNNING) { SAYS_NO } else { HANGS_UP });
    }
    if asked.is_some() {
        reach.add(ANSWERED);
    }
    if runs_there {
        let status = receives.join().expect("no panic");
        assert!((200..300).contains(&status), "it runs, and its status is {status}");
        // One that was changed may stand still, or have ended by what it was made to execute.
        let state = process.state();
        assert!(state == "Running" || !is_same, "{state}");
    } else {
        assert_ne!(process.state(), "Running");
    }
    process.end();
}

/// The kinds of the messages that come, heard by a thread: who waits for one has lost nothing of it when
/// it gives up.
struct Answers {
    kinds: Receiver<u16>,
    thread: JoinHandle<()>,
}

impl Answers {
    fn of(stream: &UnixStream) -> Self {
        let mut stream = stream.try_clone().expect("a socket");
        let (sender, kinds) = mpsc::channel();
        let thread = thread::spawn(move || {
            while let Ok(frame) = Frame::read(&mut stream) {
                let _ = sender.send(frame.kind());
            }
        });
        Self { kinds, thread }
    }

    /// The next one, if it comes in time.
    fn next(&self, limit: Duration) -> Option<u16> {
        self.kinds.recv_timeout(limit).ok()
    }

    /// Of a stream that is shut down.
    fn end(self) {
        self.thread.join().expect("no panic");
    }
}

/// Asks a destination as a source does that has lost its connection. Gives the kind of the answer.
fn ask_who_runs(door: &Path) -> Option<u16> {
    let mut hello = recorded().first()?.clone();
    *hello.body.get_mut(PURPOSE_AT)? = ASK;
    let mut stream = UnixStream::connect(door).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    hello.write(&mut stream).ok()?;
    let answer = Frame::read(&mut stream).ok()?.kind();
    assert!([RUNNING, NOT_RUNNING, UNKNOWN].contains(&answer), "{answer}");
    Some(answer)
}

/// A source hears what a destination may have said.
fn source(input: &mut Input<'_>, reach: &mut Reach) {
    let process = Process::with_machine("source");
    // Whether it runs there: the first word of it, which is kept to.
    let mut told = None;
    let mut changes = 0;
    let status = process.sends(|frame| {
        if frame.asks() {
            reach.add(ASKS);
            let runs = *told.get_or_insert_with(|| input.byte() & 1 == 0);
            return vec![Frame::new(if runs { RUNNING } else { NOT_RUNNING }, &[])];
        }
        let mut answers: Vec<Frame> = usual_answer(&frame).into_iter().collect();
        if !answers.is_empty() && changes < CHANGES_MAX && !input.is_empty() {
            match input.byte() % 8 {
                0 => {
                    changes += 1;
                    answers[0].change(input);
                }
                1 => {
                    changes += 1;
                    answers.push(answers[0].clone());
                }
                2 => answers.clear(),
                3 => answers[0] = Frame::new(NOT_RUNNING, b"for a reason"),
                _ => {}
            }
        }
        if frame.kind() == GO {
            told = answers.first().and_then(Frame::runs);
        }
        answers
    });
    let state = process.state();
    match status {
        200..=299 => {
            assert_eq!(told, Some(true), "it was not told that it runs elsewhere");
            assert_ne!(state, "Running", "it was told that it runs elsewhere");
            reach.add(GOES);
        }
        _ => {
            assert_ne!(told, Some(true), "it was told that it runs elsewhere: {status}");
            assert_eq!(state, "Running", "it has the machine: {status}");
            reach.add(if told.is_some() { STAYS_TOLD } else { STAYS });
        }
    }
    process.end();
}

fn url(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// Connects to who is about to listen.
fn connect(to: &Path) -> UnixStream {
    let began = Instant::now();
    loop {
        match UnixStream::connect(to) {
            Ok(stream) => return stream,
            Err(error) => assert!(began.elapsed() < LIMIT, "{}: {error}", to.display()),
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// A VMM with its API.
struct Process {
    folder: PathBuf,
    machine: Machine,
}

impl Process {
    /// One that has no machine.
    fn empty(name: &str) -> Self {
        Self::start(name, Vec::new())
    }

    /// One whose machine runs.
    fn with_machine(name: &str) -> Self {
        let disk = folder("moves-disk");
        if !disk.exists() {
            fs::create_dir_all(folder("")).expect("a folder");
            fs::write(&disk, vec![0; 1 << 20]).expect("a disk");
        }
        let process = Self::start(name, endless(&disk.display().to_string()).concat());
        let began = Instant::now();
        while process.state() != "Running" {
            assert!(began.elapsed() < LIMIT, "it does not run");
            thread::sleep(Duration::from_micros(500));
        }
        process
    }

    fn start(name: &str, mut arguments: Vec<String>) -> Self {
        let folder = folder(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        arguments.extend(["--api-socket".into(), format!("path={}/api", folder.display())]);
        let machine = Machine::start(&arguments);
        drop(connect(&folder.join("api")));
        Self { folder, machine }
    }

    /// Asks for something. The status is there when it is done.
    fn ask(&self, what: &'static str, body: Value) -> JoinHandle<u16> {
        let api = self.folder.join("api");
        thread::spawn(move || request(&api, "PUT", what, &body.to_string()).0)
    }

    /// What the machine is at.
    fn state(&self) -> String {
        let (_, body) = request(&self.folder.join("api"), "GET", "vm.info", "");
        let info: Value = serde_json::from_str(&body).unwrap_or_default();
        info["state"].as_str().unwrap_or("none").to_owned()
    }

    /// Has it send its machine to a destination that answers each message so. One to a question that is
    /// empty is a hang-up. Gives the status.
    fn sends(&self, mut answer: impl FnMut(Frame) -> Vec<Frame>) -> u16 {
        let door = self.folder.join("there");
        let listener = UnixListener::bind(&door).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let sends = self.ask("vm.send-migration", json!({"destination_url": url(&door)}));
        while !sends.is_finished() {
            let Ok((mut stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_micros(200));
                continue;
            };
            stream.set_nonblocking(false).expect("a socket");
            while let Ok(frame) = Frame::read(&mut stream) {
                let expects = usual_answer(&frame).is_some();
                let answers = answer(frame);
                if expects && answers.is_empty() {
                    break;
                }
                let hangs_up = answers.iter().any(|frame| !frame.is_whole());
                if answers.iter().any(|frame| frame.write(&mut stream).is_err()) || hangs_up {
                    break;
                }
            }
        }
        sends.join().expect("no panic")
    }

    fn end(self) {
        // One whose machine has gone has ended.
        request(&self.folder.join("api"), "PUT", "vmm.shutdown", "");
        self.machine.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One request. Where nobody is, status 0.
fn request(api: &Path, method: &str, what: &str, body: &str) -> (u16, String) {
    let ask = || -> io::Result<String> {
        let mut stream = UnixStream::connect(api)?;
        let length = body.len();
        let head = format!(
            "{method} /api/v1/{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    };
    let said = ask().unwrap_or_default();
    let status = said.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}
