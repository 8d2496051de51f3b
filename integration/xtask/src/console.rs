//! The console of the emulated host, connected to this program's standard input and output.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use crate::failure::{Attempt, Ending, Failure, Result};
use crate::marker::{Piece, Scanner, Word};
use crate::patience::{HANG, Patience, SAY, minutes};
use crate::program::progress;
use crate::signals::Signals;
use crate::terminal::RawTerminal;

/// The status that timeout(1) has for it, too.
const TIME_IS_UP: u8 = 124;

/// How often it is looked whether something hangs, at least.
const LOOK: Duration = Duration::from_secs(1);

/// As much of the console as a failure shows.
const TAIL_BYTES: usize = 4096;

/// Read at once, and held for the host at most.
const PIECE_BYTES: usize = 16 * 1024;

/// How standard input reaches the command. See `host/init`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The command has the keyboard of this terminal.
    Terminal,
    /// The command reads a pipe.
    Pipe,
    /// The command reads a pipe that has ended.
    Nothing,
}

/// Both directions of the console, and what ends it.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) to_host: ChildStdin,
    pub(crate) from_host: ChildStdout,
    /// Of the words that the host says.
    pub(crate) token: String,
    pub(crate) input: Input,
    /// When the command is ended.
    pub(crate) limit: Limit,
}

/// What ends a command that does not end. The host's start ends when it shows nothing for as long
/// as what hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Nothing.
    Never,
    /// That nothing was printed and nothing typed for so long.
    Silence(Duration),
    /// That it has run for so long.
    Total(Duration),
}

impl Console {
    /// Passes bytes both ways until the command ends. Gives its status.
    pub(crate) fn relay(self, signals: &mut Signals) -> Result<u8> {
        Relay::new(self)?.run(signals)
    }
}

struct Relay {
    from_host: ChildStdout,
    to_host: Keyboard,
    scanner: Scanner,
    input: Input,
    limit: Limit,
    /// Standard input, while it is read.
    source: Option<File>,
    patience: Option<Patience>,
    /// When time is up.
    deadline: Option<Instant>,
    /// When the host was started, or that was spoken of.
    said: Instant,
    started: bool,
    terminal: Option<RawTerminal>,
    tail: VecDeque<u8>,
}

impl Relay {
    fn new(console: Console) -> Result<Self> {
        Ok(Self {
            from_host: console.from_host,
            to_host: Keyboard::new(console.to_host)?,
            scanner: Scanner::new(&console.token),
            input: console.input,
            limit: console.limit,
            source: None,
            patience: Some(Patience::new(HANG)),
            deadline: None,
            said: Instant::now(),
            started: false,
            terminal: None,
            tail: VecDeque::new(),
        })
    }

    fn run(mut self, signals: &mut Signals) -> Result<u8> {
        let ended = self.pass_on(signals);
        // Before anything is said about it.
        drop(self.terminal.take());
        ended
    }

    fn pass_on(&mut self, signals: &mut Signals) -> Result<u8> {
        loop {
            let source = self.source.as_ref().filter(|_| self.to_host.has_room());
            let mut waits = [
                wait(Some(self.from_host.as_fd()), libc::POLLIN),
                wait(source.map(File::as_fd), libc::POLLIN),
                wait(self.to_host.pending_on(), libc::POLLOUT),
                wait(Some(signals.as_fd()), libc::POLLIN),
            ];
            poll(&mut waits, self.next_look()).attempt(|| "wait for the emulated host".into())?;
            let [from_host, from_source, to_host, signal] = waits.map(|wait| wait.revents != 0);
            if signal {
                let signal = signals.next().attempt(|| "read a signal".into())?;
                let why = "a signal ended this before the command did";
                return Err(Failure::new(why).ending(Ending::Signal(signal)));
            }
            if from_host || from_source {
                self.patience.iter_mut().for_each(Patience::sign);
            }
            if from_host {
                if let Some(status) = self.take_output()? {
                    return Ok(status);
                }
            }
            if from_source {
                self.take_input()?;
            }
            if to_host {
                self.to_host.send().attempt(|| "type on the emulated host's console".into())?;
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now())
                || self.patience.as_mut().is_some_and(Patience::is_over)
            {
                return Err(self.too_late());
            }
            if !self.started && self.said.elapsed() >= SAY {
                self.said = Instant::now();
                progress!("the emulated host is still starting");
            }
        }
    }

    fn next_look(&self) -> Option<Instant> {
        let look = self.patience.as_ref().map(|_| Instant::now() + LOOK);
        look.into_iter().chain(self.deadline).min()
    }

    /// Shows what the host printed; gives the command's status if it ended.
    fn take_output(&mut self) -> Result<Option<u8>> {
        let mut buffer = [0; PIECE_BYTES];
        let count = retry(|| self.from_host.read(&mut buffer))
            .attempt(|| "read the emulated host's console".into())?;
        if count == 0 {
            let rest = self.scanner.rest();
            self.show(&rest)?;
            return Err(self.stopped());
        }
        for piece in self.scanner.push(&buffer[..count]) {
            match piece {
                Piece::Text(text) => self.show(&text)?,
                Piece::Word(Word::Started) => self.start()?,
                Piece::Word(Word::Ended(status)) => return Ok(Some(status)),
            }
        }
        Ok(None)
    }

    fn show(&mut self, text: &[u8]) -> Result<()> {
        self.tail.extend(text);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        if !self.started {
            return Ok(());
        }
        let mut output = io::stdout();
        output
            .write_all(text)
            .and_then(|()| output.flush())
            .attempt(|| "write to standard output".into())
    }

    /// The command has the console from here on.
    fn start(&mut self) -> Result<()> {
        self.started = true;
        self.tail.clear();
        (self.patience, self.deadline) = match self.limit {
            Limit::Never => (None, None),
            Limit::Silence(limit) => (Some(Patience::new(limit)), None),
            Limit::Total(limit) => (None, Some(Instant::now() + limit)),
        };
        match self.input {
            Input::Terminal => {
                let raw = RawTerminal::enter();
                self.terminal = Some(raw.attempt(|| "put the terminal into raw mode".into())?);
            }
            Input::Pipe => {}
            Input::Nothing => {
                self.to_host.push_end();
                return Ok(());
            }
        }
        // Without std's buffer, which would hide bytes from poll.
        let fd: io::Result<OwnedFd> = io::stdin().as_fd().try_clone_to_owned();
        self.source = Some(fd.attempt(|| "duplicate standard input".into())?.into());
        Ok(())
    }

    fn take_input(&mut self) -> Result<()> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let mut buffer = [0; PIECE_BYTES];
        let count = match retry(|| source.read(&mut buffer)) {
            Ok(count) => count,
            // How a terminal that was closed says it.
            Err(error)
                if self.input == Input::Terminal && error.raw_os_error() == Some(libc::EIO) =>
            {
                0
            }
            Err(error) => return Err(error).attempt(|| "read standard input".into()),
        };
        if count == 0 {
            self.source = None;
        }
        match self.input {
            Input::Terminal => self.to_host.push(&buffer[..count]),
            Input::Pipe | Input::Nothing if count == 0 => self.to_host.push_end(),
            Input::Pipe | Input::Nothing => self.to_host.push_frame(&buffer[..count]),
        }
        Ok(())
    }

    fn stopped(&self) -> Failure {
        let when = if self.started { "while the command ran" } else { "before it was up" };
        self.with_tail(format!("the emulated POWER host stopped {when}"))
    }

    fn too_late(&self) -> Failure {
        if !self.started {
            let time = minutes(HANG);
            return self.with_tail(format!(
                "the emulated POWER host hangs: it printed nothing for {time} and is not up"
            ));
        }
        let what = match self.limit {
            Limit::Never => "goes on".to_owned(),
            Limit::Silence(limit) => format!("hangs: it printed nothing for {}", minutes(limit)),
            Limit::Total(limit) => format!("was still running after {} seconds", limit.as_secs()),
        };
        Failure::new(format!("the command {what} (--timeout gives it another limit)"))
            .ending(Ending::Status(TIME_IS_UP))
    }

    fn with_tail(&self, message: String) -> Failure {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let tail = String::from_utf8_lossy(&tail).replace('\r', "");
        // What the command printed was shown when it came.
        if self.started || tail.trim().is_empty() {
            return Failure::new(message);
        }
        Failure::new(format!("{message}. Its console ends with:\n{}", tail.trim_end()))
    }
}

/// The host's keyboard: what is still to be typed, encoded for its console.
struct Keyboard {
    line: File,
    pending: VecDeque<u8>,
    open: bool,
}

impl Keyboard {
    fn new(line: ChildStdin) -> Result<Self> {
        let line = File::from(OwnedFd::from(line));
        let set = set_nonblocking(line.as_fd());
        set.attempt(|| "set up the emulated host's console".into())?;
        Ok(Self { line, pending: VecDeque::new(), open: true })
    }

    fn has_room(&self) -> bool {
        self.pending.len() < PIECE_BYTES
    }

    fn pending_on(&self) -> Option<BorrowedFd<'_>> {
        (self.open && !self.pending.is_empty()).then(|| self.line.as_fd())
    }

    /// Types bytes. The kernel's console keeps a Ctrl-O for itself, except the second of two
    /// (Linux, drivers/tty/hvc/hvc_console.c).
    fn push(&mut self, bytes: &[u8]) {
        const CTRL_O: u8 = 0x0f;
        for &byte in bytes {
            self.pending.push_back(byte);
            if byte == CTRL_O {
                self.pending.push_back(byte);
            }
        }
    }

    fn push_frame(&mut self, bytes: &[u8]) {
        self.push(format!("{}\n", bytes.len()).as_bytes());
        self.push(bytes);
    }

    fn push_end(&mut self) {
        self.push(b"0\n");
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.line.write(self.pending.as_slices().0) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted => {}
                    // The emulator is gone, which its output tells with more words.
                    ErrorKind::BrokenPipe => {
                        self.open = false;
                        break;
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// What to wait for on a descriptor; none is passed over by poll(2), as its number is negative.
fn wait(fd: Option<BorrowedFd<'_>>, events: i16) -> libc::pollfd {
    libc::pollfd { fd: fd.map_or(-1, |fd| fd.as_raw_fd()), events, revents: 0 }
}

fn poll(waits: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<()> {
    let milliseconds = deadline.map_or(-1, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        i32::try_from(left).unwrap_or(i32::MAX).saturating_add(1)
    });
    let count = waits.len() as libc::nfds_t;
    // SAFETY: the pointer and the count describe one slice.
    if unsafe { libc::poll(waits.as_mut_ptr(), count, milliseconds) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
        // The signal is told by its stream in the next round.
        waits.iter_mut().for_each(|wait| wait.revents = 0);
    }
    Ok(())
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    // SAFETY: both read and change flags of an open descriptor, without memory.
    let result = unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        if flags < 0 { flags } else { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
