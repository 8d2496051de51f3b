//! What an end waits for, in one file that others can wait for.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// The most files that an end has.
const FILES_MAX: usize = 2;

/// Files that are waited for, by numbers that their owner chooses.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: Epoll,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new()? })
    }

    /// Readable while something has happened.
    pub(super) fn file(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Waits for these events of `file` too.
    pub(super) fn add(&self, file: &impl AsRawFd, number: u64, set: EventSet) -> io::Result<()> {
        self.control(ControlOperation::Add, file, number, set)
    }

    /// Waits for other events of it.
    pub(super) fn change(&self, file: &impl AsRawFd, number: u64, set: EventSet) {
        // It is there.
        let _ = self.control(ControlOperation::Modify, file, number, set);
    }

    /// Waits for it no more.
    pub(super) fn remove(&self, file: &impl AsRawFd) {
        let _ = self.control(ControlOperation::Delete, file, 0, EventSet::empty());
    }

    /// What has happened by now.
    pub(super) fn events(&self) -> impl Iterator<Item = (u64, EventSet)> + use<> {
        let mut events = [EpollEvent::default(); FILES_MAX];
        // Interrupted: it is asked again, as the file stays readable.
        let count = self.epoll.wait(0, &mut events).unwrap_or(0);
        events.into_iter().take(count).map(|event| (event.data(), event.event_set()))
    }

    fn control(
        &self,
        operation: ControlOperation,
        file: &impl AsRawFd,
        number: u64,
        set: EventSet,
    ) -> io::Result<()> {
        self.epoll.ctl(operation, file.as_raw_fd(), EpollEvent::new(set, number))
    }
}
