//! What the event loop listens to: standard input, signals, and the machine's own end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use arch_ppc64::layout::VTY_INTERRUPT;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use crate::console::HostConsole;
use crate::signals::{self, Asked, Signals};
use crate::terminal;
use crate::vcpu::InterruptController;
use crate::vmm::{End, Why, lock};

/// The console's interrupt, connected to the machine of the moment.
#[derive(Default)]
pub(crate) struct InterruptWire(Mutex<Option<Arc<dyn InterruptController>>>);

impl InterruptWire {
    pub(crate) fn connect(&self, controller: Option<Arc<dyn InterruptController>>) {
        *lock(&self.0) = controller;
    }

    fn raise(&self) {
        if let Some(controller) = &*lock(&self.0) {
            controller.raise(VTY_INTERRUPT);
        }
    }
}

/// Standard input → console.
pub(crate) struct Input {
    /// Read without a buffer of our own: what is in one would not be seen by the event loop.
    pub(crate) stdin: File,
    pub(crate) console: Arc<HostConsole>,
    pub(crate) wire: Arc<InterruptWire>,
    pub(crate) end: Arc<End>,
    /// A person types: Ctrl-A begins a command.
    pub(crate) keys: bool,
}

/// How much is read at once.
const READ_BYTES: usize = 4096;

const INPUT: u32 = 0;
const DRAINED: u32 = 1;

impl Input {
    fn events(&self) -> Events {
        Events::with_data(&self.stdin, INPUT, EventSet::IN)
    }

    /// How much may be read now. Keys always may: one of them may be the command to leave.
    fn room(&self) -> usize {
        if self.keys { READ_BYTES } else { self.console.room().min(READ_BYTES) }
    }

    /// Reads once what is there; `false` at the end of the input.
    fn read(&self, room: usize) -> bool {
        let mut buf = [0; READ_BYTES];
        let len = room.min(buf.len());
        match (&self.stdin).read(&mut buf[..len]) {
            Ok(0) => return false,
            Ok(len) => {
                let typed = self.console.type_in(&buf[..len], self.keys);
                if typed.for_guest {
                    self.wire.raise();
                }
                if typed.help {
                    self.console.show_help();
                }
                if typed.leave {
                    self.end.because(Why::Left);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("cannot read standard input: {error}");
                return false;
            }
        }
        true
    }
}

impl MutEventSubscriber for Input {
    fn init(&mut self, ops: &mut EventOps) {
        let drained = Events::with_data(self.console.drained(), DRAINED, EventSet::IN);
        if let Err(error) = ops.add(drained) {
            log::warn!("cannot watch the console: {error}");
        }
        // A file cannot be watched, and need not: it is always there to be read.
        if ops.add(self.events()).is_err() {
            let _ = self.console.drained().write(1);
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        if events.data() == DRAINED {
            let _ = self.console.drained().read();
            // Watching a file fails each time; then it is read as far as there is room.
            if ops.add(self.events()).is_err() {
                loop {
                    let room = self.room();
                    if room == 0 || !self.read(room) {
                        break;
                    }
                }
            }
            return;
        }
        let room = self.room();
        if room == 0 || !self.read(room) {
            let _ = ops.remove(self.events());
        }
    }
}

/// Signals, and the machine's own wish to stop: what makes the loop look at [`End`].
pub(crate) struct Leave {
    pub(crate) signals: Signals,
    pub(crate) end: Arc<End>,
    /// The terminal is the guest's while the job runs.
    pub(crate) raw: bool,
}

impl Leave {
    /// The job was stopped, and goes on: perhaps in the foreground.
    fn go_on(&self) {
        if self.raw {
            if let Err(error) = terminal::make_raw() {
                log::warn!("cannot take the terminal again: {error}");
            }
        }
    }
}

const SIGNAL: u32 = 0;
const END: u32 = 1;

impl MutEventSubscriber for Leave {
    fn init(&mut self, ops: &mut EventOps) {
        for (fd, data) in [(self.signals.as_raw_fd(), SIGNAL), (self.end.event.as_raw_fd(), END)] {
            if let Err(error) = ops.add(Events::with_data_raw(fd, data, EventSet::IN)) {
                log::error!("cannot watch for the end: {error}");
            }
        }
    }

    fn process(&mut self, events: Events, _: &mut EventOps) {
        if events.data() == END {
            let _ = self.end.event.read();
            return;
        }
        match self.signals.next() {
            Some(Asked::End(signal)) => self.end.because(Why::Signal(signal)),
            Some(Asked::Stop) => {
                terminal::restore();
                signals::stop_here();
                self.go_on();
            }
            Some(Asked::GoOn) => self.go_on(),
            None => {}
        }
    }
}
