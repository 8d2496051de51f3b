//! Standard input, and the event loop that listens to it, and to other ends of consoles, on a thread
//! of its own.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::thread;

use arch_ppc64::platform::InterruptLine;
use arch_ppc64::rtas::PowerButton;
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::confine::{self, Role};
use crate::console::HostConsole;
use crate::end::{End, Why};
use crate::error::{VmmError, create};
use crate::locks::lock;
use crate::terminal::{self, Place};
use crate::watch::Job;

/// What a person can do to the machine of the moment.
#[derive(Default)]
pub(crate) struct Wire(Mutex<Option<Connected>>);

/// A machine that is connected.
pub(crate) struct Connected {
    /// The interrupt of the console that the terminal is at, where it is one that has no other way
    /// to be told.
    pub(crate) input: Option<InterruptLine>,
    pub(crate) power_button: PowerButton,
}

impl Wire {
    pub(crate) fn connect(&self, machine: Option<Connected>) {
        *lock(&self.0) = machine;
    }

    fn raise(&self) {
        if let Some(Connected { input: Some(input), .. }) = &*lock(&self.0) {
            input.pulse();
        }
    }

    fn press_power_button(&self) {
        if let Some(machine) = &*lock(&self.0) {
            machine.power_button.press();
        }
    }
}

/// The event loop, until it is dropped.
#[derive(Debug)]
pub(crate) struct EventLoop {
    stop: Arc<EventFd>,
}

impl EventLoop {
    /// Starts it, with those who listen. When it fails, the machine ends.
    pub(crate) fn start(
        listeners: Vec<Box<dyn MutEventSubscriber + Send>>,
        end: Arc<End>,
    ) -> Result<Self, VmmError> {
        let mut events =
            EventManager::<Box<dyn MutEventSubscriber + Send>>::new().map_err(VmmError::Events)?;
        let stop = EventFd::new(EFD_NONBLOCK).map_err(create("an event"))?;
        let stop = Arc::new(stop);
        let stopped = Arc::new(Mutex::new(false));
        for listener in listeners {
            events.add_subscriber(listener);
        }
        events.add_subscriber(Box::new(Stop { event: stop.clone(), stopped: stopped.clone() }));
        let listen = move || {
            confine::begin(Role::Events);
            while !*lock(&stopped) {
                if let Err(error) = events.run() {
                    end.because(Why::Host(VmmError::Events(error)));
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("events".to_owned());
        thread.spawn(listen).map_err(create("a thread"))?;
        Ok(Self { stop })
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        // Nobody waits for the thread: it may be reading what does not come.
        let _ = self.stop.write(1);
    }
}

/// Ends the event loop.
struct Stop {
    event: Arc<EventFd>,
    stopped: Arc<Mutex<bool>>,
}

impl MutEventSubscriber for Stop {
    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&*self.event, EventSet::IN)) {
            log::error!("cannot watch for the end: {error}");
        }
    }

    fn process(&mut self, _: Events, _: &mut EventOps) {
        *lock(&self.stopped) = true;
    }
}

/// Standard input → console.
pub(crate) struct Input {
    /// Read without a buffer of our own: what is in one would not be seen by the event loop.
    stdin: File,
    console: Arc<HostConsole>,
    wire: Arc<Wire>,
    end: Arc<End>,
    job: Arc<Job>,
    /// A person types: Ctrl-A begins a command.
    keys: bool,
    watched: bool,
    ended: bool,
}

/// How much is read at once.
const READ_BYTES: usize = 4096;

const INPUT: u32 = 0;
const DRAINED: u32 = 1;
const MOVED: u32 = 2;

impl Input {
    /// Standard input, as text for `console`.
    pub(crate) fn new(
        stdin: File,
        console: Arc<HostConsole>,
        wire: Arc<Wire>,
        end: Arc<End>,
        job: Arc<Job>,
    ) -> Self {
        let keys = terminal::place() != Place::NoTerminal;
        Self { stdin, console, wire, end, job, keys, watched: false, ended: false }
    }

    fn events(&self) -> Events {
        Events::with_data(&self.stdin, INPUT, EventSet::IN)
    }

    /// Whether standard input may be read: a terminal that another job has is not.
    fn is_ours(&self) -> bool {
        !self.keys || terminal::place() == Place::Foreground
    }

    /// Listens to standard input if it may be read.
    fn watch(&mut self, ops: &mut EventOps) {
        if self.watched || self.ended || !self.is_ours() {
            return;
        }
        self.watched = ops.add(self.events()).is_ok();
        // A file cannot be watched, and need not: it is always there to be read, as far as there is
        // room.
        while !self.watched && !self.ended {
            let room = self.room();
            if room == 0 {
                return;
            }
            self.read(room);
        }
    }

    fn ignore(&mut self, ops: &mut EventOps) {
        if std::mem::take(&mut self.watched) {
            let _ = ops.remove(self.events());
        }
    }

    /// How much may be read now. Keys always may: one of them may be the command to leave.
    fn room(&self) -> usize {
        if self.keys { READ_BYTES } else { self.console.room().min(READ_BYTES) }
    }

    /// Reads once what is there.
    fn read(&mut self, room: usize) {
        let mut buf = [0; READ_BYTES];
        let len = room.min(buf.len());
        match (&self.stdin).read(&mut buf[..len]) {
            Ok(0) => self.ended = true,
            Ok(len) => {
                let typed = self.console.type_in(&buf[..len], self.keys);
                if typed.for_guest {
                    self.wire.raise();
                }
                if typed.power {
                    self.wire.press_power_button();
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
            // The terminal went to another job a moment ago.
            Err(_) if !self.is_ours() => {}
            Err(error) => {
                log::warn!("cannot read standard input: {error}");
                self.ended = true;
            }
        }
    }
}

impl MutEventSubscriber for Input {
    fn init(&mut self, ops: &mut EventOps) {
        let drained = Events::with_data(self.console.drained(), DRAINED, EventSet::IN);
        let moved = Events::with_data(&self.job.moved, MOVED, EventSet::IN);
        if let Err(error) = ops.add(drained).and_then(|()| ops.add(moved)) {
            log::warn!("cannot watch the console: {error}");
        }
        // The first read may be of a file, and is for the loop.
        let _ = self.job.moved.write(1);
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        match events.data() {
            DRAINED => {
                let _ = self.console.drained().read();
                self.watch(ops);
            }
            MOVED => {
                let _ = self.job.moved.read();
                if self.is_ours() { self.watch(ops) } else { self.ignore(ops) }
            }
            _ => {
                let room = self.room();
                if room > 0 && self.is_ours() {
                    self.read(room);
                }
                if room == 0 || self.ended {
                    self.ignore(ops);
                } else if !self.is_ours() {
                    self.ignore(ops);
                    let _ = self.job.look.write(1);
                }
            }
        }
    }
}
