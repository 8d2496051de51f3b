//! A thread that ends a machine whose memory is in a file that has become shorter.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::boot::Loss;
use crate::confine::{self, Role};
use crate::end::{End, Why};
use crate::error::VmmError;
use crate::ready;

/// The thread, until it is dropped.
#[derive(Debug)]
pub(crate) struct LossWatch {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl LossWatch {
    pub(crate) fn start(loss: Arc<Loss>, end: Arc<End>) -> io::Result<Self> {
        let stop = Arc::new(EventFd::new(EFD_NONBLOCK)?);
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("lazy-ram".to_owned());
        let thread = thread.spawn(move || {
            confine::begin(Role::Signals);
            if is_lost(&loss, &stopped) {
                end.because(Why::Host(VmmError::LostMemory));
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for LossWatch {
    fn drop(&mut self) {
        // Cannot fail: the counter is far from its end.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until something is lost, or nobody wants to know any more.
fn is_lost(loss: &Loss, stopped: &EventFd) -> bool {
    loop {
        match ready::wait([loss.event(), stopped], None) {
            [true, _] => return true,
            [_, true] => return false,
            // A signal.
            _ => {}
        }
    }
}
