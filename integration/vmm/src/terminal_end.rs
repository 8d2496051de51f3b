//! The terminal as the other end of a console on the bus.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::Console;
use pseries_devices::host_console::HostEnd;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::timerfd::TimerFd;

use crate::console::HostConsole;

/// How often it is looked whether there is room for text again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

const ARRIVED: u64 = 0;
const TIMER: u64 = 1;

/// Standard input and output: what is typed is the event loop's to read.
pub(crate) struct TerminalEnd {
    console: Arc<HostConsole>,
    /// Readable when there is something to attend to.
    epoll: Epoll,
    timer: TimerFd,
}

impl TerminalEnd {
    pub(crate) fn new(console: Arc<HostConsole>) -> io::Result<Self> {
        let (epoll, timer) = (Epoll::new()?, TimerFd::new().map_err(io::Error::from)?);
        for (file, number) in [(console.arrived().as_raw_fd(), ARRIVED), (timer.as_raw_fd(), TIMER)]
        {
            let event = EpollEvent::new(EventSet::empty(), number);
            epoll.ctl(ControlOperation::Add, file, event)?;
        }
        let event = EpollEvent::new(EventSet::IN, TIMER);
        epoll.ctl(ControlOperation::Modify, timer.as_raw_fd(), event)?;
        Ok(Self { console, epoll, timer })
    }
}

impl HostEnd for TerminalEnd {
    fn file(&self) -> Option<RawFd> {
        Some(self.epoll.as_raw_fd())
    }

    fn wait_for(&mut self, input: bool, room: bool) {
        let set = if input { EventSet::IN } else { EventSet::empty() };
        let event = EpollEvent::new(set, ARRIVED);
        let arrived = self.console.arrived();
        let watched = self.epoll.ctl(ControlOperation::Modify, arrived.as_raw_fd(), event);
        // What came while nobody waited for it has been told already.
        if input && self.console.has_input() {
            let _ = arrived.write(1);
        }
        let timed = match room {
            true => self.timer.reset(LOOK_EVERY, None),
            false => self.timer.clear(),
        };
        if let Err(error) = watched.and(timed.map_err(io::Error::from)) {
            log::warn!("cannot wait for the terminal: {error}");
        }
    }

    fn attend(&mut self) {
        let mut events = [EpollEvent::default(); 2];
        let count = self.epoll.wait(0, &mut events).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                TIMER => drop(self.timer.wait()),
                _ => drop(self.console.arrived().read()),
            }
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        Console::read(&*self.console, buf)
    }

    fn write(&mut self, text: &[u8]) -> usize {
        Console::write(&*self.console, text)
    }
}
