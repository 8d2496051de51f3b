//! The parts of a client interface, and the locks that they are behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::attachments::{Attachments, Packages};
use crate::instances::{Instances, Open, OpenDevice};
use crate::state::State;
use crate::tree::NodeId;

/// All of it.
///
/// There are three kinds of locks. Whoever holds one takes others only in this order: an open
/// package's own, that of `opened`, that of `state`. Whoever calls a package or an instance holds
/// neither of the latter two.
pub(crate) struct Interface {
    /// The interface's own packages have it, too.
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) opened: Mutex<Opened>,
    pub(crate) attachments: Attachments,
}

/// What can be opened, and what is open.
pub(crate) struct Opened {
    pub(crate) packages: Packages,
    pub(crate) instances: Instances,
}

/// Why a node cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CannotOpen {
    /// As many as can be are open.
    Full,
    /// Its package does not let it be.
    Refused,
}

impl Interface {
    /// The state, locked.
    #[inline]
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What can be opened and what is open, locked.
    pub(crate) fn opened(&self) -> MutexGuard<'_, Opened> {
        lock(&self.opened)
    }

    /// Opens a node; gives its ihandle.
    pub(crate) fn open(&self, node: NodeId, arguments: &str) -> Result<u32, CannotOpen> {
        let package = {
            let opened = self.opened();
            if opened.instances.is_full() {
                return Err(CannotOpen::Full);
            }
            opened.packages.of(&self.state().tree, node).cloned()
        };
        let device = match package {
            Some(package) => {
                let instance = package.open(arguments).map_err(|_| CannotOpen::Refused)?;
                Some(OpenDevice::new(package, instance, None))
            }
            None => None,
        };
        let open = Open { node, arguments: arguments.into(), device };
        self.opened().instances.open(open).ok_or(CannotOpen::Full)
    }

    /// What an open package can do; `None` for an ihandle that is none, or a node without a
    /// package.
    pub(crate) fn device(&self, ihandle: u32) -> Option<Arc<OpenDevice>> {
        self.opened().instances.get(ihandle)?.device.clone()
    }
}

/// Locks, whatever became of who held the lock before: one that panicked (a bug) must not take the
/// machine's other CPUs down.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
