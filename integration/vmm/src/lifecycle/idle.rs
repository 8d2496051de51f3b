//! The thread that signals come to while no machine runs: one that runs has its own.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Leave, Vmm};
use crate::confine::{self, Role};
use crate::ready;
use crate::signals::{self, Asked, Signals};

/// How long the process has to end in order.
const GRACE: Duration = Duration::from_millis(600);

/// The thread, until it is dropped.
#[derive(Debug)]
pub(super) struct IdleWatch {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl IdleWatch {
    pub(super) fn start(vmm: &Vmm) -> io::Result<Self> {
        let signals = Signals::block()?;
        let stop = Arc::new(EventFd::new(EFD_NONBLOCK)?);
        let (vmm, stopped) = (vmm.clone(), stop.clone());
        let thread = thread::Builder::new().name("signals".to_owned());
        let watch = move || {
            confine::begin(Role::Signals);
            watch(&vmm, &signals, &stopped);
        };
        let thread = Some(thread.spawn(watch)?);
        Ok(Self { stop, thread })
    }
}

impl Drop for IdleWatch {
    fn drop(&mut self) {
        // Cannot fail: the counter is far from its end.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(vmm: &Vmm, signals: &Signals, stop: &EventFd) {
    let mut leaves: Option<(i32, Instant)> = None;
    loop {
        let limit = leaves.map(|(_, latest)| latest.saturating_duration_since(Instant::now()));
        let [_, stopped] = ready::wait([signals, stop], limit);
        while let Some(asked) = signals.next() {
            match asked {
                Asked::End(signal) => {
                    leaves.get_or_insert((signal, Instant::now() + GRACE));
                    vmm.leave(Leave::Signal(signal));
                }
                Asked::Stop => signals::stop_here(),
                Asked::GoOn => {}
            }
        }
        if stopped {
            return;
        }
        // It may be at a file that does not answer.
        if let Some((signal, _)) = leaves.filter(|(_, latest)| Instant::now() >= *latest) {
            signals::end_now(Some(signal), 0);
        }
    }
}
