//! The guest's console on this process's standard input and output.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use arch_ppc64::Console;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::locks::lock;
use crate::outlet::Lane;

/// How much input waits for the guest before no more is read, or what is typed is lost.
const INPUT_LIMIT_BYTES: usize = 1 << 20;

/// How much output waits to be written before the guest is made to wait. It is what may be lost
/// when the guest switches itself off and nobody reads.
const OUTPUT_LIMIT_BYTES: usize = 4096;

/// How long a run that is to be the same each time waits for an output that is not read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The key that makes the next one a command to the VMM: Ctrl-A.
const ESCAPE: u8 = 0x01;

const HELP: &str = "\r\n\
    Ctrl-A X  leave: the machine is switched off\r\n\
    Ctrl-A P  press the power button: the guest is asked to shut down\r\n\
    Ctrl-A H  this help\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

/// The console: shared by the event loop, which feeds it, and the CPUs.
#[derive(Debug)]
pub(crate) struct HostConsole {
    input: Mutex<Input>,
    /// Signalled when there is text for the guest.
    arrived: Condvar,
    /// The same, for who waits for files.
    arrived_event: EventFd,
    /// Signalled when the guest has taken text that was in the way of more.
    drained: EventFd,
    output: Lane,
    /// How long to wait for an output that is not read.
    patience: Duration,
    /// Nobody looks any more.
    left: AtomicBool,
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
    /// The person presses the power button.
    pub(crate) power: bool,
    /// The person asks for help.
    pub(crate) help: bool,
}

impl HostConsole {
    /// A console that shows its text in `output`.
    pub(crate) fn new(output: File) -> io::Result<Self> {
        let (drained, arrived_event) = (EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?);
        let output = Lane::open(output, "standard output", OUTPUT_LIMIT_BYTES)?.at_once();
        Ok(Self {
            input: Mutex::default(),
            arrived: Condvar::new(),
            arrived_event,
            drained,
            output,
            patience: Duration::ZERO,
            left: AtomicBool::new(false),
        })
    }

    /// A console that waits for its output: how fast that is read shall make no difference to the
    /// guest.
    pub(crate) fn patient(self) -> Self {
        Self { patience: PATIENCE, ..self }
    }

    /// The machine stops, and nobody waits for its output any more. Where a person or a signal
    /// wants that (`left`), what comes from the guest now is lost.
    pub(crate) fn stop(&self, left: bool) {
        self.left.store(left, Ordering::SeqCst);
        self.output.hurry();
    }

    /// Begins a new line, after what the guest wrote.
    pub(crate) fn end_line(&self) {
        self.output.add(b"\r\n");
    }

    /// How much of the guest's text is not written yet.
    pub(crate) fn unwritten_bytes(&self) -> usize {
        self.output.unwritten_bytes()
    }

    /// Readable when there is room for typed text again.
    pub(crate) fn drained(&self) -> &EventFd {
        &self.drained
    }

    /// Readable when text for the guest has come, until who waits for that reads it.
    pub(crate) fn arrived(&self) -> &EventFd {
        &self.arrived_event
    }

    /// Whether there is text for the guest.
    pub(crate) fn has_input(&self) -> bool {
        !self.lock().waiting.is_empty()
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
        self.output.send(HELP.as_bytes(), Duration::ZERO);
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
                    b'p' | b'P' => {
                        typed.power = true;
                        continue;
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
            // Cannot fail but where it is readable already.
            let _ = self.arrived_event.write(1);
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
        lock(&self.input)
    }
}

impl Console for HostConsole {
    fn write(&self, text: &[u8]) -> usize {
        if self.left.load(Ordering::SeqCst) {
            return text.len();
        }
        self.output.send(text, self.patience)
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
    use crate::outlet::tests::{full_pipe, skip};
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    fn console() -> (UnixStream, HostConsole) {
        let (reader, writer) = UnixStream::pair().unwrap();
        let console = HostConsole::new(OwnedFd::from(writer).into()).unwrap();
        (reader, console)
    }

    fn taken(console: &HostConsole) -> Vec<u8> {
        let mut buf = [0; 64];
        let len = Console::read(console, &mut buf);
        buf[..len].to_vec()
    }

    #[test]
    fn ctrl_a_x_leaves_and_other_keys_go_to_the_guest() {
        let (_reader, console) = console();
        assert_eq!(console.type_in(b"ls\r", true), Typed { for_guest: true, ..Typed::default() });
        assert_eq!(taken(&console), b"ls\r");
        // The two keys may come in two reads.
        assert_eq!(console.type_in(b"\x01", true), Typed::default());
        assert_eq!(console.type_in(b"x", true), Typed { leave: true, ..Typed::default() });
        assert!(!console.type_in(b"\x01\x01\x01b", true).leave);
        assert_eq!(taken(&console), b"\x01\x01b");
    }

    #[test]
    fn ctrl_a_p_presses_the_power_button() {
        let (_reader, console) = console();
        let typed = console.type_in(b"a\x01pb", true);
        assert_eq!(typed, Typed { for_guest: true, power: true, ..Typed::default() });
        assert_eq!(taken(&console), b"ab");
    }

    #[test]
    fn what_is_piped_in_has_no_commands() {
        let (_reader, console) = console();
        assert_eq!(console.type_in(b"\x01x", false), Typed { for_guest: true, ..Typed::default() });
        assert_eq!(taken(&console), b"\x01x");
    }

    #[test]
    fn room_comes_back_with_an_event() {
        let (_reader, console) = console();
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
        let (_reader, console) = console();
        console.type_in(&[b'a'; INPUT_LIMIT_BYTES + 100], true);
        assert_eq!(console.room(), 0);
        assert!(console.type_in(b"lost\x01h", true).help);
        assert!(console.type_in(b"\x01x", true).leave);
        assert_eq!(console.lock().waiting.len(), INPUT_LIMIT_BYTES);
    }

    #[test]
    fn nobody_waits_for_a_full_pipe_and_nothing_is_lost() {
        let (mut reader, file, taken) = full_pipe();
        let console = HostConsole::new(file).unwrap();
        let text = [b'x'; OUTPUT_LIMIT_BYTES];
        assert_eq!(Console::write(&console, &[&text[..], b"more"].concat()), text.len());
        assert_eq!(Console::write(&console, b"more"), 0);
        skip(&mut reader, taken);
        let mut shown = [0; OUTPUT_LIMIT_BYTES];
        reader.read_exact(&mut shown).unwrap();
        assert_eq!(shown, text);
        while Console::write(&console, b"more") == 0 {}
        let mut more = [0; 4];
        reader.read_exact(&mut more).unwrap();
        assert_eq!(&more, b"more");
    }

    #[test]
    fn who_waits_for_a_full_pipe_is_woken_at_the_end() {
        let (_reader, file, _) = full_pipe();
        let patience = Duration::from_secs(600);
        let console = HostConsole { patience, ..HostConsole::new(file).unwrap() };
        let start = Instant::now();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| Console::write(&console, &[b'x'; 2 * OUTPUT_LIMIT_BYTES]));
            while console.unwritten_bytes() < OUTPUT_LIMIT_BYTES {}
            console.stop(true);
            assert_eq!(writing.join().unwrap(), OUTPUT_LIMIT_BYTES);
        });
        assert!(start.elapsed() < patience);
        assert_eq!(Console::write(&console, b"for nobody"), 10);
    }

    #[test]
    fn text_for_nobody_is_taken() {
        let (reader, console) = console();
        drop(reader);
        for _ in 0..100 {
            let text = [b'x'; OUTPUT_LIMIT_BYTES];
            while Console::write(&console, &text) < text.len() {}
        }
    }
}
