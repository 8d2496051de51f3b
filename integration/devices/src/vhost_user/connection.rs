//! A connection to a daemon that both the device and what works for it have.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;

use super::daemon::Daemon;
use super::error::VhostUserError;
use crate::vhost::Session;
use crate::vhost::requests::Requests;

/// What daemons do wrong, as often as a guest may ask for it.
static FAULTS: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("vhost-user");

#[derive(Debug)]
pub(super) struct Connection {
    daemon: Mutex<Daemon>,
    refusal: Option<Requests>,
    is_gone: AtomicBool,
}

impl Connection {
    /// To a daemon whose requests are refused so when it is gone.
    pub(super) fn new(daemon: Daemon, refusal: Option<Requests>) -> Self {
        Self { daemon: Mutex::new(daemon), refusal, is_gone: AtomicBool::new(false) }
    }

    pub(super) fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The daemon was seen to be gone.
    pub(super) fn set_gone(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }
}

impl Session for Connection {
    fn stop(&self) {
        let mut daemon = self.daemon();
        if daemon.is_gone() {
            return;
        }
        if let Err(error) = daemon.stop() {
            give_up(&daemon, &error);
        }
    }

    fn refusal(&self) -> Option<Requests> {
        self.refusal.filter(|_| self.is_gone.load(Ordering::SeqCst))
    }
}

/// Ends the connection, as there is no telling what the daemon is at.
pub(super) fn give_up(daemon: &Daemon, error: &VhostUserError) {
    FAULTS.error(format_args!("{}", WithReasons(error)));
    daemon.leave();
}

/// An error with its reasons.
struct WithReasons<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for WithReasons<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
