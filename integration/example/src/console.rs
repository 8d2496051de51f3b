//! The console on standard input and output, and the event loop that serves it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arch_ppc64::{Console, platform::InterruptLine, smp::Mailboxes};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::pause::PauseAfter;

pub(crate) struct StdioConsole {
    /// Not `Stdin`: epoll would not know what is in its buffer.
    stdin: File,
    /// Whether `stdin` can be read without waiting.
    ready: Mutex<bool>,
    shown: Mutex<VecDeque<u8>>,
    /// Wakes the event loop: there is something to show, or the machine has ended or is paused.
    pub(crate) event_loop: Arc<EventFd>,
}

/// Called by vCPU threads: none waits for a person.
impl Console for StdioConsole {
    fn write(&self, text: &[u8]) -> usize {
        const WAITING_MAX: usize = 64 << 10;
        let mut shown = self.shown.lock().unwrap();
        let taken = text.len().min(WAITING_MAX - shown.len());
        shown.extend(&text[..taken]);
        let _ = self.event_loop.write(1);
        taken
    }

    fn read(&self, buf: &mut [u8]) -> usize {
        let mut ready = self.ready.lock().unwrap();
        let len = if *ready { (&self.stdin).read(buf).unwrap_or(0) } else { 0 };
        if len > 0 {
            // At its end, input stays ready: there is nothing that one could wait for.
            *ready = false;
            let _ = self.event_loop.write(1);
        }
        len
    }
}

impl StdioConsole {
    pub(crate) fn new() -> io::Result<Self> {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let event_loop = Arc::new(EventFd::new(EFD_NONBLOCK)?);
        Ok(Self { stdin, ready: Mutex::default(), shown: Mutex::default(), event_loop })
    }

    /// Shows what the guest has written. Nobody may be there to see it; that is not the guest's
    /// concern.
    pub(crate) fn show(&self) {
        let text: Vec<u8> = self.shown.lock().unwrap().drain(..).collect();
        let _ = io::stdout().write_all(&text).and_then(|()| io::stdout().flush());
    }

    /// The event loop of the main thread, until the machine ends or is paused, which it is when
    /// its time has come.
    pub(crate) fn serve(
        &self,
        cpus: &Mailboxes,
        input_line: &InterruptLine,
        pause: &PauseAfter,
    ) -> io::Result<()> {
        let epoll = Epoll::new()?;
        let wake = EpollEvent::new(EventSet::IN, 0);
        epoll.ctl(ControlOperation::Add, self.event_loop.as_raw_fd(), wake)?;
        let input = EpollEvent::new(EventSet::IN | EventSet::ONE_SHOT, 1);
        let watch_input = |operation| epoll.ctl(operation, self.stdin.as_raw_fd(), input);
        let _ = watch_input(ControlOperation::Add);
        let mut events = [EpollEvent::default(); 2];
        loop {
            self.show();
            if cpus.ending() || cpus.is_paused() {
                return Ok(());
            }
            let time_left = pause.time_left();
            if time_left == Some(Duration::ZERO) {
                cpus.pause();
                continue;
            }
            let wait_ms = time_left
                .map_or(-1, |left| left.as_micros().div_ceil(1000).try_into().unwrap_or(i32::MAX));
            let count = match epoll.wait(wait_ms, &mut events) {
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                count => count?,
            };
            let _ = self.event_loop.read();
            let mut ready = self.ready.lock().unwrap();
            let arrived = events[..count].iter().any(|event| event.data() == input.data());
            // What epoll does not take, a file, can always be read.
            if !*ready && (arrived || watch_input(ControlOperation::Modify).is_err()) {
                *ready = true;
                input_line.pulse();
            }
        }
    }
}
