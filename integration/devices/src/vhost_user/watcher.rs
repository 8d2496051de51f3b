//! Notices when a daemon goes away.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use crate::virtio::Interrupt;

/// A guest may have a daemon that fails as often as it resets its device.
static FAULTS: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("vhost-user");

/// Tells the driver when the daemon is gone.
pub(super) struct Watcher {
    socket: PathBuf,
    stream: UnixStream,
    interrupt: Arc<dyn Interrupt>,
}

impl Watcher {
    /// For the daemon at the other end of `stream`, which was connected to at `socket`.
    pub(super) fn new(socket: PathBuf, stream: UnixStream, interrupt: Arc<dyn Interrupt>) -> Self {
        Self { socket, stream, interrupt }
    }

    fn fail(&self, reason: std::fmt::Arguments<'_>) {
        let socket = self.socket.display();
        FAULTS.error(format_args!("the daemon at {socket} {reason}; the device needs a reset"));
        self.interrupt.needs_reset();
    }
}

impl MutEventSubscriber for Watcher {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.stream, EventSet::READ_HANG_UP)) {
            self.fail(format_args!("cannot be watched ({error})"));
        }
    }

    fn process(&mut self, _: Events, ops: &mut EventOps<'_>) {
        // Once is enough.
        let _ = ops.remove(Events::empty(&self.stream));
        self.fail(format_args!("is gone"));
    }
}
