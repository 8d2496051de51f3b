//! An end of the host as a console of the machine.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arch_ppc64::console::QueuedConsole;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::timerfd::TimerFd;

use super::HostEnd;

/// How much is read at once.
const READ_BYTES: usize = 4096;

/// How often it is looked whether a guest that had enough has read some.
const ROOM: Duration = Duration::from_millis(20);

const END: u32 = 0;
const TIMER: u32 = 1;

type Shared = Arc<Mutex<Box<dyn HostEnd>>>;

/// Connects `end` to a console for hvterm, and whatever else takes an
/// [`arch_ppc64::Console`]. The second is what listens to typed text: for an event loop.
///
/// Text is written by the thread of the vCPU that it comes from; where there is no room, the guest
/// tries again.
///
/// # Errors
/// The host has no timer to give.
pub fn connect(end: Box<dyn HostEnd>) -> io::Result<(Arc<QueuedConsole<EndWriter>>, ConsoleInput)> {
    let end = Arc::new(Mutex::new(end));
    let console = Arc::new(QueuedConsole::new(EndWriter { end: end.clone() }));
    let timer = TimerFd::new().map_err(io::Error::from)?;
    Ok((console.clone(), ConsoleInput { end, console, timer }))
}

/// Writes to an end of the host. It never waits: `WouldBlock` says that there is no room.
pub struct EndWriter {
    end: Shared,
}

impl Write for EndWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match lock(&self.end).write(text) {
            0 if !text.is_empty() => Err(ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is typed at an end of the host, for the console that it is connected to.
pub struct ConsoleInput {
    end: Shared,
    console: Arc<QueuedConsole<EndWriter>>,
    timer: TimerFd,
}

impl ConsoleInput {
    /// Reads what there is, as far as there is room for it.
    fn read(&mut self) {
        let mut end = lock(&self.end);
        let mut buf = [0; READ_BYTES];
        let room = self.console.input_room().min(buf.len());
        let bytes = end.read(&mut buf[..room]);
        end.wait_for(room > 0, false);
        // The writer takes the lock.
        drop(end);
        self.console.push_input(&buf[..bytes]);
        if room == 0 {
            if let Err(error) = self.timer.reset(ROOM, None) {
                log::warn!("a console takes no more input: {error}");
            }
        }
    }
}

impl MutEventSubscriber for ConsoleInput {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let end = lock(&self.end).file();
        let events = end.map(|file| Events::with_data_raw(file, END, EventSet::IN));
        let timer = Events::with_data(&self.timer, TIMER, EventSet::IN);
        for events in events.into_iter().chain([timer]) {
            if let Err(error) = ops.add(events) {
                log::warn!("nothing can be typed at a console: {error}");
            }
        }
        self.read();
    }

    fn process(&mut self, events: Events, _: &mut EventOps<'_>) {
        if events.data() == TIMER {
            // It may have been set anew: `wait` would wait for that.
            let _ = self.timer.clear();
        } else {
            lock(&self.end).attend();
        }
        self.read();
    }
}

impl std::fmt::Debug for EndWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndWriter").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ConsoleInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleInput").finish_non_exhaustive()
    }
}

fn lock(end: &Mutex<Box<dyn HostEnd>>) -> MutexGuard<'_, Box<dyn HostEnd>> {
    end.lock().unwrap_or_else(PoisonError::into_inner)
}
