//! The guest's console on this process's standard input and output.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arch_ppc64::Console;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// How much input waits for the guest before no more is read, or what is typed is lost.
const INPUT_LIMIT_BYTES: usize = 1 << 20;

/// How much is written at once: what a terminal or pipe that is ready takes without waiting.
const OUTPUT_CHUNK_BYTES: usize = 256;

/// The key that makes the next one a command to the VMM: Ctrl-A.
const ESCAPE: u8 = 0x01;

const HELP: &str = "\r\n\
    Ctrl-A X  leave: the machine is switched off\r\n\
    Ctrl-A H  this help\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

/// The console: shared by the event loop, which feeds it, and the CPUs.
#[derive(Debug)]
pub(crate) struct HostConsole {
    input: Mutex<Input>,
    /// Signalled when there is text for the guest.
    arrived: Condvar,
    /// Signalled when the guest has taken text that was in the way of more.
    drained: EventFd,
    output: RawFd,
    /// How long to wait for an output that is not ready, in milliseconds.
    patience_ms: i32,
}

#[derive(Debug, Default)]
struct Input {
    waiting: VecDeque<u8>,
    escape_seen: bool,
    full: bool,
}

impl Input {
    fn push(&mut self, byte: u8) {
        if self.waiting.len() < INPUT_LIMIT_BYTES {
            self.waiting.push_back(byte);
        }
    }
}

/// What typed text was about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Typed {
    /// There is text for the guest.
    pub(crate) for_guest: bool,
    /// The person wants to leave.
    pub(crate) leave: bool,
    /// The person asks for help.
    pub(crate) help: bool,
}

impl HostConsole {
    pub(crate) fn new(output: RawFd) -> io::Result<Self> {
        let drained = EventFd::new(EFD_NONBLOCK)?;
        Ok(Self {
            input: Mutex::default(),
            arrived: Condvar::new(),
            drained,
            output,
            patience_ms: 0,
        })
    }

    /// A console that waits for its output, up to ten seconds at a time: how fast that is read
    /// shall make no difference to the guest.
    pub(crate) fn patient(self) -> Self {
        Self { patience_ms: 10_000, ..self }
    }

    /// Readable when there is room for typed text again.
    pub(crate) fn drained(&self) -> &EventFd {
        &self.drained
    }

    /// How many bytes may come. After 0, [`Self::drained`] tells when to ask again.
    pub(crate) fn room(&self) -> usize {
        let mut input = self.lock();
        let room = INPUT_LIMIT_BYTES.saturating_sub(input.waiting.len());
        input.full = room == 0;
        room
    }

    /// Shows the person at the terminal which keys there are.
    pub(crate) fn show_help(&self) {
        self.put(HELP.as_bytes());
    }

    /// Takes what a person typed; with `keys`, Ctrl-A begins a command.
    ///
    /// Text beyond the limit is lost, as on a real serial line. Commands are not.
    pub(crate) fn type_in(&self, text: &[u8], keys: bool) -> Typed {
        let mut typed = Typed::default();
        let mut input = self.lock();
        for &byte in text {
            if keys && !input.escape_seen && byte == ESCAPE {
                input.escape_seen = true;
                continue;
            }
            if std::mem::take(&mut input.escape_seen) {
                match byte {
                    b'x' | b'X' => {
                        typed.leave = true;
                        break;
                    }
                    b'h' | b'H' | b'?' => {
                        typed.help = true;
                        continue;
                    }
                    ESCAPE => {}
                    // Not a command: the guest gets both keys.
                    _ => input.push(ESCAPE),
                }
            }
            input.push(byte);
            typed.for_guest = true;
        }
        if typed.for_guest {
            self.arrived.notify_all();
        }
        typed
    }

    /// Forgets what the guest did not take: it is gone.
    pub(crate) fn reset(&self) {
        let mut input = self.lock();
        input.waiting.clear();
        if std::mem::take(&mut input.full) {
            let _ = self.drained.write(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes as much of `text` as goes, without waiting for long.
    fn put(&self, text: &[u8]) -> usize {
        let mut done = 0;
        for chunk in text.chunks(OUTPUT_CHUNK_BYTES) {
            let mut ready = libc::pollfd { fd: self.output, events: libc::POLLOUT, revents: 0 };
            // SAFETY: one structure, borrowed for the call. An interruption is as good as "not
            // ready": the write might wait.
            if unsafe { libc::poll(&raw mut ready, 1, self.patience_ms) } <= 0 {
                break;
            }
            // SAFETY: reads the bytes of `chunk`.
            let written = unsafe { libc::write(self.output, chunk.as_ptr().cast(), chunk.len()) };
            match usize::try_from(written) {
                Ok(written) => {
                    done += written;
                    if written < chunk.len() {
                        break;
                    }
                }
                Err(_) => {
                    let kind = io::Error::last_os_error().kind();
                    if matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                        break;
                    }
                    // Whoever read it is gone. A guest cannot do anything about that.
                    return text.len();
                }
            }
        }
        done
    }
}

impl Console for HostConsole {
    fn write(&self, text: &[u8]) -> usize {
        self.put(text)
    }

    fn read(&self, buf: &mut [u8]) -> usize {
        let mut input = self.lock();
        let len = buf.len().min(input.waiting.len());
        for (to, from) in buf.iter_mut().zip(input.waiting.drain(..len)) {
            *to = from;
        }
        if len > 0 && std::mem::take(&mut input.full) {
            // Cannot fail: the counter is at 0 or 1.
            let _ = self.drained.write(1);
        }
        len
    }

    fn wait(&self, limit: Duration) {
        let input = self.lock();
        let nothing = |input: &mut Input| input.waiting.is_empty();
        drop(self.arrived.wait_timeout_while(input, limit, nothing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn console() -> (UnixStream, UnixStream, HostConsole) {
        let (reader, writer) = UnixStream::pair().unwrap();
        let console = HostConsole::new(writer.as_raw_fd()).unwrap();
        (reader, writer, console)
    }

    fn taken(console: &HostConsole) -> Vec<u8> {
        let mut buf = [0; 64];
        let len = Console::read(console, &mut buf);
        buf[..len].to_vec()
    }

    #[test]
    fn ctrl_a_x_leaves_and_other_keys_go_to_the_guest() {
        let (_reader, _writer, console) = console();
        assert_eq!(console.type_in(b"ls\r", true), Typed { for_guest: true, ..Typed::default() });
        assert_eq!(taken(&console), b"ls\r");
        // The two keys may come in two reads.
        assert_eq!(console.type_in(b"\x01", true), Typed::default());
        assert_eq!(console.type_in(b"x", true), Typed { leave: true, ..Typed::default() });
        assert!(!console.type_in(b"\x01\x01\x01b", true).leave);
        assert_eq!(taken(&console), b"\x01\x01b");
    }

    #[test]
    fn what_is_piped_in_has_no_commands() {
        let (_reader, _writer, console) = console();
        assert_eq!(console.type_in(b"\x01x", false), Typed { for_guest: true, ..Typed::default() });
        assert_eq!(taken(&console), b"\x01x");
    }

    #[test]
    fn room_comes_back_with_an_event() {
        let (_reader, _writer, console) = console();
        console.type_in(&[b'a'; INPUT_LIMIT_BYTES], false);
        assert!(console.drained().read().is_err());
        assert_eq!(console.room(), 0);
        assert_eq!(taken(&console).len(), 64);
        assert_eq!(console.drained().read().unwrap(), 1);
        assert_eq!(console.room(), 64);
    }

    /// A guest that takes nothing must not keep a person from leaving.
    #[test]
    fn commands_are_heard_when_no_text_is_taken() {
        let (_reader, _writer, console) = console();
        console.type_in(&[b'a'; INPUT_LIMIT_BYTES + 100], true);
        assert_eq!(console.room(), 0);
        assert!(console.type_in(b"lost\x01h", true).help);
        assert!(console.type_in(b"\x01x", true).leave);
        assert_eq!(console.lock().waiting.len(), INPUT_LIMIT_BYTES);
    }

    #[test]
    fn nobody_waits_for_a_full_pipe() {
        let (mut reader, _writer, console) = console();
        let text = vec![b'x'; 1 << 20];
        let taken = Console::write(&console, &text);
        assert!(taken > 0 && taken < text.len(), "{taken}");
        assert_eq!(Console::write(&console, b"more"), 0);
        let mut shown = vec![0; taken];
        reader.read_exact(&mut shown).unwrap();
        assert_eq!(Console::write(&console, b"more"), 4);
    }

    #[test]
    fn text_for_nobody_is_taken() {
        let (reader, _writer, console) = console();
        drop(reader);
        assert_eq!(Console::write(&console, b"hello"), 5);
    }
}
