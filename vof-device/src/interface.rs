//! The parts of a client interface, and the locks that they are behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::args::Failed;
use crate::attachments::{Attachments, Packages};
use crate::instances::{Instances, Open, OpenDevice};
use crate::limits::MAX_CALL_WAIT;
use crate::openings::Openings;
use crate::package::{Instance, Package, Progress};
use crate::state::State;
use crate::tree::NodeId;

/// All of it.
///
/// There are three kinds of locks. Whoever holds one takes others only in this order: an open
/// package's own, that of `opened`, that of `state`. Whoever calls a package or an instance holds
/// neither of the latter two. That inside of `openings` is held while nothing else is done.
pub(crate) struct Interface {
    /// The interface's own packages have it, too.
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) opened: Mutex<Opened>,
    pub(crate) openings: Openings,
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

    /// Opens a node for the interface itself, and waits until it is open; gives its ihandle.
    pub(crate) fn open(&self, node: NodeId, arguments: &str) -> Result<u32, CannotOpen> {
        let device = match self.package(node)? {
            Some(package) => Some(opened(package, arguments)?),
            None => None,
        };
        self.add(Open { node, arguments: arguments.into(), device })
    }

    /// The package of a node that is to be opened.
    pub(crate) fn package(&self, node: NodeId) -> Result<Option<Arc<dyn Package>>, CannotOpen> {
        let opened = self.opened();
        if opened.instances.is_full() {
            return Err(CannotOpen::Full);
        }
        Ok(opened.packages.of(&self.state().tree, node).cloned())
    }

    /// Gives what was opened an ihandle.
    pub(crate) fn add(&self, open: Open) -> Result<u32, CannotOpen> {
        self.opened().instances.open(open).ok_or(CannotOpen::Full)
    }

    /// What an open package can do; `None` for an ihandle that is none, or a node without a
    /// package.
    pub(crate) fn device(&self, ihandle: u32) -> Option<Arc<OpenDevice>> {
        self.opened().instances.get(ihandle)?.device.clone()
    }
}

/// A new instance of a package, when it is ready.
fn opened(package: Arc<dyn Package>, arguments: &str) -> Result<Arc<OpenDevice>, CannotOpen> {
    let mut instance = package.open(arguments).map_err(|_| CannotOpen::Refused)?;
    wait_until_ready(&mut *instance).map_err(|_| CannotOpen::Refused)?;
    Ok(OpenDevice::new(package, instance, None))
}

/// Waits for the host where no CPU does: until an instance is open.
pub(crate) fn wait_until_ready(instance: &mut dyn Instance) -> Result<(), Failed> {
    while instance.ready()? == Progress::NotYet {
        instance.wait(MAX_CALL_WAIT);
    }
    Ok(())
}

/// Locks, whatever became of who held the lock before: one that panicked (a bug) must not take the
/// machine's other CPUs down.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
