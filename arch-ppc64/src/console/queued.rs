//! A console on any writer, with a queue of what is typed.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Console;
use crate::platform::InterruptLine;

/// How many typed bytes wait for a guest that does not read, where
/// [`QueuedConsole::with_input_limit`] does not say otherwise.
pub const INPUT_LIMIT_BYTES: usize = 64 << 10;

/// A console that shows its text by a [`Write`], and is typed into by [`push_input`].
///
/// **Output.** Each [`Console::write`] is one [`Write::write`] and a [`Write::flush`], in the thread
/// of the vCPU. A writer that takes a part of the text, or says [`ErrorKind::WouldBlock`], makes the
/// guest try again, and a flush that would block is made again with the next text: so give it one that does not block, such as a socket in non-blocking
/// mode or a queue that another thread empties. A writer that blocks holds the vCPU, and others that
/// want to write. After any other error, and where a writer takes nothing at all, the text is lost:
/// that nobody sees it is not the guest's concern. Such errors are [counted](Self::output_errors),
/// and the first is told in the log.
///
/// **Input.** Any thread pushes it. It waits in a queue with a limit, and each arrival raises the
/// interrupt of the terminal that is [connected](Self::connect). What does not fit is dropped, as on
/// a serial line, unless the caller asks for [room](Self::input_room) first.
///
/// A console outlives restarts of its machine; an interrupt does not. Connect it to each platform
/// that you build.
///
/// ```
/// use std::sync::Arc;
///
/// use arch_ppc64::console::{Console, QueuedConsole};
/// use arch_ppc64::hvterm::HvTerm;
/// use arch_ppc64::layout::VTY_UNIT;
/// # use arch_ppc64::platform::{InterruptKind, InterruptLine, NoInterrupts, SourceNumber};
/// # let input = InterruptLine::new(Arc::new(NoInterrupts), SourceNumber(0x1000), InterruptKind::Edge);
///
/// // Once, with anything that is `Write`; here a vector.
/// let console = Arc::new(QueuedConsole::new(Vec::new()));
///
/// // At each start, with the line `input` of the platform's builder.
/// let terminal = HvTerm::new(VTY_UNIT, console.clone()).with_interrupt(input.clone());
/// console.connect(input);
///
/// // From the thread that reads what a person types. It says how much there was room for.
/// assert_eq!(console.push_input(b"ls\r"), 3);
///
/// // What the guest's calls come to.
/// let mut typed = [0; 16];
/// assert_eq!(console.read(&mut typed), 3);
/// assert_eq!(console.write(b"bin etc\n"), 8);
/// console.with_output(|shown| assert_eq!(shown, b"bin etc\n"));
/// ```
///
/// [`push_input`]: Self::push_input
pub struct QueuedConsole<W> {
    output: Mutex<Output<W>>,
    input: Mutex<Input>,
    input_limit_bytes: usize,
    /// Signalled when there is input.
    arrived: Condvar,
}

struct Output<W> {
    writer: W,
    errors: u64,
}

#[derive(Default)]
struct Input {
    waiting: VecDeque<u8>,
    dropped_bytes: u64,
    line: Option<InterruptLine>,
}

impl<W> QueuedConsole<W> {
    /// A console that shows its text by `writer`, and is not connected to an interrupt.
    pub fn new(writer: W) -> Self {
        Self {
            output: Mutex::new(Output { writer, errors: 0 }),
            input: Mutex::default(),
            input_limit_bytes: INPUT_LIMIT_BYTES,
            arrived: Condvar::new(),
        }
    }

    /// With this many bytes at most that wait for the guest.
    #[must_use]
    pub fn with_input_limit(mut self, bytes: usize) -> Self {
        self.input_limit_bytes = bytes;
        self
    }

    /// From here on, input raises this interrupt, an edge, in place of the one before: the line
    /// that the terminal of the platform has, which is about to start. Input that waits already
    /// raises it at once.
    pub fn connect(&self, line: InterruptLine) {
        let mut input = self.input();
        input.line = Some(line.clone());
        let waits = !input.waiting.is_empty();
        drop(input);
        if waits {
            line.pulse();
        }
    }

    /// From here on, input raises no interrupt: its platform is gone. What is typed still waits.
    pub fn disconnect(&self) {
        self.input().line = None;
    }

    /// Takes typed bytes for the guest, from any thread, and raises the interrupt when there were
    /// some; returns how many leading ones there was room for. The others are dropped and
    /// [counted](Self::dropped_input_bytes).
    pub fn push_input(&self, typed: &[u8]) -> usize {
        let mut input = self.input();
        let room = self.input_limit_bytes.saturating_sub(input.waiting.len());
        let (taken, dropped) = typed.split_at(typed.len().min(room));
        input.waiting.extend(taken);
        input.dropped_bytes = input.dropped_bytes.saturating_add(dropped.len() as u64);
        let line = input.line.clone();
        // The controller has locks of its own.
        drop(input);
        if !taken.is_empty() {
            self.arrived.notify_all();
            if let Some(line) = line {
                line.pulse();
            }
        }
        taken.len()
    }

    /// How many bytes there is room for. Who is the only one to push loses none of so many.
    pub fn input_room(&self) -> usize {
        self.input_limit_bytes.saturating_sub(self.input().waiting.len())
    }

    /// How many typed bytes were dropped in all.
    pub fn dropped_input_bytes(&self) -> u64 {
        self.input().dropped_bytes
    }

    /// Forgets what is typed and not read, as a restart may want: it was for a guest that is gone.
    pub fn clear_input(&self) {
        self.input().waiting.clear();
    }

    /// How many writes failed in all; the text of each is lost.
    pub fn output_errors(&self) -> u64 {
        self.output().errors
    }

    /// Looks at the writer, or changes it. No text is shown meanwhile, and CPUs that have some wait.
    pub fn with_output<T>(&self, look: impl FnOnce(&mut W) -> T) -> T {
        look(&mut self.output().writer)
    }

    fn output(&self) -> MutexGuard<'_, Output<W>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Send> Console for QueuedConsole<W> {
    fn write(&self, text: &[u8]) -> usize {
        if text.is_empty() {
            return 0;
        }
        let mut output = self.output();
        let taken = match output.writer.write(text) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(taken) => Ok(taken.min(text.len())),
            Err(error) if may_try_again(&error) => return 0,
            Err(error) => Err(error),
        };
        let flushed = match output.writer.flush() {
            Err(error) if !may_try_again(&error) => Err(error),
            _ => Ok(()),
        };
        let (taken, failure) = match (taken, flushed) {
            (Ok(taken), flushed) => (taken, flushed.err()),
            (Err(error), _) => (text.len(), Some(error)),
        };
        let Some(error) = failure else { return taken };
        let is_first = output.errors == 0;
        output.errors = output.errors.saturating_add(1);
        // The log may go to this very console.
        drop(output);
        if is_first {
            log::warn!("the console cannot show text, which is lost: {error}");
        }
        taken
    }

    fn read(&self, buf: &mut [u8]) -> usize {
        let mut input = self.input();
        let len = buf.len().min(input.waiting.len());
        for (to, from) in buf.iter_mut().zip(input.waiting.drain(..len)) {
            *to = from;
        }
        len
    }

    fn wait(&self, limit: Duration) {
        let nothing = |input: &mut Input| input.waiting.is_empty();
        drop(self.arrived.wait_timeout_while(self.input(), limit, nothing));
    }
}

impl<W> fmt::Debug for QueuedConsole<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedConsole")
            .field("input_limit_bytes", &self.input_limit_bytes)
            .finish_non_exhaustive()
    }
}

/// Whether the guest gets to do it: no vCPU waits here.
fn may_try_again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::platform::{
        InterruptController, InterruptError, InterruptKind, Signal, SourceNumber,
    };

    /// Does one thing at each write, from the first on; then takes all.
    #[derive(Default)]
    struct Script {
        steps: VecDeque<io::Result<usize>>,
        shown: Vec<u8>,
    }

    impl Write for Script {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let taken = self.steps.pop_front().unwrap_or(Ok(text.len()))?;
            self.shown.extend_from_slice(&text[..taken.min(text.len())]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(steps: impl IntoIterator<Item = io::Result<usize>>) -> QueuedConsole<Script> {
        let steps = steps.into_iter().collect();
        QueuedConsole::new(Script { steps, ..Script::default() })
    }

    #[derive(Default)]
    struct Pulses(AtomicU32);

    impl Pulses {
        fn line(self: &Arc<Self>) -> InterruptLine {
            InterruptLine::new(self.clone(), SourceNumber(0x1000), InterruptKind::Edge)
        }

        fn count(&self) -> u32 {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl InterruptController for Pulses {
        fn claim(&self, _: SourceNumber, _: InterruptKind) -> Result<(), InterruptError> {
            Ok(())
        }

        fn signal(&self, source: SourceNumber, signal: Signal) {
            assert_eq!((source, signal), (SourceNumber(0x1000), Signal::Pulse));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn taken(console: &impl Console) -> Vec<u8> {
        let mut buf = [0; 16];
        let len = console.read(&mut buf);
        buf[..len].to_vec()
    }

    #[test]
    fn a_part_is_taken_and_nothing_is_shown_twice() {
        let blocked = || Err(ErrorKind::WouldBlock.into());
        let interrupted = Err(ErrorKind::Interrupted.into());
        let console = scripted([Ok(2), blocked(), interrupted, Ok(1), blocked()]);
        let text = b"prompt";
        let parts = [2, 0, 0, 1, 0, 3];
        let mut shown = 0;
        for part in parts {
            assert_eq!(console.write(&text[shown..]), part);
            shown += part;
        }
        console.with_output(|output| assert_eq!(output.shown, text));
        assert_eq!(console.output_errors(), 0);
        assert_eq!(console.write(b""), 0);
    }

    /// Also one that says more than there is.
    #[test]
    fn a_writer_that_fails_does_not_hold_the_guest() {
        let console = scripted([Err(ErrorKind::BrokenPipe.into()), Ok(0), Ok(100)]);
        assert_eq!(console.write(b"lost"), 4);
        assert_eq!(console.write(b"lost"), 4);
        assert_eq!(console.output_errors(), 2);
        assert_eq!(console.write(b"seen"), 4);
        assert_eq!(console.output_errors(), 2);
        console.with_output(|output| assert_eq!(output.shown, b"seen"));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let console = QueuedConsole::new(io::sink()).with_input_limit(4);
        assert_eq!(console.push_input(b"abc"), 3);
        assert_eq!(console.input_room(), 1);
        assert_eq!(console.push_input(b"def"), 1);
        assert_eq!(console.push_input(b"g"), 0);
        assert_eq!(console.dropped_input_bytes(), 3);
        assert_eq!(taken(&console), b"abcd");
        assert_eq!(console.push_input(b"h"), 1);
        console.clear_input();
        assert_eq!(taken(&console), b"");
        assert_eq!(console.input_room(), 4);
    }

    #[test]
    fn each_arrival_is_an_interrupt() {
        let console = QueuedConsole::new(io::sink()).with_input_limit(4);
        let pulses = Arc::new(Pulses::default());
        console.connect(pulses.line());
        assert_eq!(pulses.count(), 0);
        console.push_input(b"ab");
        console.push_input(b"cd");
        assert_eq!(pulses.count(), 2);
        // Nothing has come.
        console.push_input(b"dropped");
        console.push_input(b"");
        assert_eq!(pulses.count(), 2);
    }

    /// The line of a platform that is gone is not raised, nor kept.
    #[test]
    fn each_start_has_its_line() {
        let console = QueuedConsole::new(io::sink());
        let [first, second] = [(); 2].map(|()| Arc::new(Pulses::default()));
        console.connect(first.line());
        console.disconnect();
        assert_eq!(Arc::strong_count(&first), 1);
        console.push_input(b"a");
        assert_eq!(first.count(), 0);
        console.connect(second.line());
        assert_eq!(second.count(), 1, "what waited is told");
        console.push_input(b"b");
        assert_eq!((first.count(), second.count()), (0, 2));
        assert_eq!(taken(&console), b"ab");
    }

    #[test]
    fn who_waits_is_woken() {
        let console = QueuedConsole::new(io::sink());
        let (to_main, from_reader) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                to_main.send(Vec::new()).unwrap();
                console.wait(Duration::from_secs(600));
                to_main.send(taken(&console)).unwrap();
            });
            from_reader.recv().unwrap();
            console.push_input(b"key");
            assert_eq!(from_reader.recv().unwrap(), b"key");
        });
        console.push_input(b"more");
        console.wait(Duration::from_secs(600));
        assert_eq!(taken(&console), b"more");
        console.wait(Duration::from_millis(1));
        assert_eq!(taken(&console), b"");
    }
}
