//! Files that others write to, each for the interrupt of a queue.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use event_manager::EventSet;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::setup::MISTAKES;
use super::signals::Signals;

/// The files.
///
/// As long as a queue's messages are sent at once, its file is attached to the interrupt source by
/// the back end, if that can do it. At all other times the function has to know of each write: then
/// `epoll` tells of them, and whoever waits for it signals.
pub(super) struct Relay {
    epoll: Arc<Epoll>,
    signals: Arc<Signals>,
    files: BTreeMap<u16, Relayed>,
}

/// The file of a queue.
struct Relayed {
    file: EventFd,
    /// The message that it is attached to.
    attached: Option<(u64, u32)>,
}

impl Relay {
    /// No files yet. Their queues are told by `epoll`, as its data.
    pub(super) fn new(epoll: Arc<Epoll>, signals: Arc<Signals>) -> Self {
        Self { epoll, signals, files: BTreeMap::new() }
    }

    /// The file of a queue; the same one each time.
    pub(super) fn file(&mut self, queue: u16) -> io::Result<EventFd> {
        match self.files.entry(queue) {
            Entry::Occupied(relayed) => relayed.get().file.try_clone(),
            Entry::Vacant(place) => {
                let file = EventFd::new(EFD_NONBLOCK)?;
                let other = file.try_clone()?;
                add(&self.epoll, &file, queue.into())?;
                let relayed = place.insert(Relayed { file, attached: None });
                relayed.follow(queue, &self.epoll, &self.signals);
                Ok(other)
            }
        }
    }

    /// Whether the file of a queue was written to since the last time that somebody looked.
    pub(super) fn take(&self, queue: u16) -> bool {
        self.files.get(&queue).is_some_and(|relayed| relayed.file.read().is_ok())
    }

    /// Nobody writes to the files for now: they are detached, and what was written is told.
    pub(super) fn settle(&mut self) {
        for (&queue, relayed) in &mut self.files {
            if relayed.detach(&self.signals) {
                relayed.watch(queue, &self.epoll);
            }
            if relayed.file.read().is_ok() {
                self.signals.queue(queue);
            }
        }
    }

    /// Attaches and detaches files, as the guest has its messages now.
    pub(super) fn follow(&mut self) {
        for (&queue, relayed) in &mut self.files {
            relayed.follow(queue, &self.epoll, &self.signals);
        }
    }
}

/// Nothing is attached any more.
impl Drop for Relay {
    fn drop(&mut self) {
        for relayed in self.files.values_mut() {
            relayed.detach(&self.signals);
        }
    }
}

impl Relayed {
    /// Of what is written meanwhile, nothing is lost: whoever comes next looks at what the file has.
    fn follow(&mut self, queue: u16, epoll: &Epoll, signals: &Signals) {
        let message = signals.queue_message(queue);
        if message == self.attached {
            return;
        }
        let was_attached = self.detach(signals);
        if let Some((address, data)) = message {
            if !was_attached {
                remove(epoll, &self.file);
            }
            match signals.msix().doorbell().attach(address, data, &self.file) {
                Ok(true) => {
                    self.attached = message;
                    return;
                }
                Ok(false) => {}
                Err(error) => MISTAKES.warn(format_args!("a message is relayed: {error}")),
            }
        } else if !was_attached {
            return;
        }
        self.watch(queue, epoll);
    }

    fn watch(&self, queue: u16, epoll: &Epoll) {
        if let Err(error) = add(epoll, &self.file, queue.into()) {
            MISTAKES.error(format_args!("interrupts of queue {queue} are lost: {error}"));
        }
    }

    /// Whether it was attached.
    fn detach(&mut self, signals: &Signals) -> bool {
        let Some((address, data)) = self.attached.take() else { return false };
        if let Err(error) = signals.msix().doorbell().detach(address, data, &self.file) {
            MISTAKES.error(format_args!("a file stays attached to a message: {error}"));
        }
        true
    }
}

/// Has `epoll` tell of each write to a file.
pub(super) fn add(epoll: &Epoll, file: &EventFd, data: u64) -> io::Result<()> {
    let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, data);
    epoll.ctl(ControlOperation::Add, file.as_raw_fd(), event)
}

fn remove(epoll: &Epoll, file: &EventFd) {
    // That it is not there is what is wanted.
    let _ = epoll.ctl(ControlOperation::Delete, file.as_raw_fd(), EpollEvent::default());
}
