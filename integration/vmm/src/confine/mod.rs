//! What this program cannot do, whoever has broken into it.
//!
//! A guest that finds an error in a device, or in the processor in software, may come to run code of its
//! own in this process. Then the host's kernel is what stands between it and the host, and is told
//! beforehand how little this program needs:
//!
//! - **system calls** (seccomp): each thread can make those of its [`Role`], with the arguments that it
//!   needs. No program is run, no process is made, no memory becomes code, no socket is other than a
//!   Unix socket; where requests may move machines, TCP as well. Another system call ends the process by SIGSYS.
//! - **files** (landlock): those that the configuration names, unless that comes from elsewhere, and a
//!   few of the host that every machine reads. TCP is refused where no request can move the machine, and so are signals and abstract sockets of other processes.
//! - **privileges**: there are no new ones, from whatever file is run (`PR_SET_NO_NEW_PRIVS`).
//!
//! [`start`] begins it, for the calling thread and all that it starts from then on: as early as possible,
//! and before any other thread is there. Each thread then calls [`begin`] before anything else; those of
//! the libraries do so through [`arch_ppc64::threads`]. The program does this; whoever uses the library
//! decides for himself: without `start`, nothing is confined.

mod allocator;
mod calls;
mod files;
mod filter;
mod roles;
mod violation;

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

use arch_ppc64::threads;
use landlock::RulesetCreated;

pub use files::{Beside, LandlockError};
pub use roles::{ROLES, Role};

use crate::config::{LandlockRule, NetBackend, NetConfig, VmConfig, VsockConfig};
use crate::locks::lock;
use files::Files;
use filter::{Filters, Otherwise};

/// What becomes of system calls that a thread has no business with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Seccomp {
    /// They end the VMM
    True,
    /// Nothing: threads can do what they like
    False,
    /// They are made, and the kernel's log has them (type 1326 of audit)
    Log,
}

/// How this process is confined. What is not said is done where the kernel can.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confinement {
    /// System calls.
    pub seccomp: Option<Seccomp>,
    /// Files; where it is not said, as the machine's configuration says, and where that does not, unless
    /// there are requests.
    pub landlock: Option<bool>,
    /// Files and folders that the process may have besides those of its machine's configuration.
    pub landlock_rules: Vec<LandlockRule>,
    /// Whether requests may change the machine when it runs, move it, or begin another.
    pub has_requests: bool,
    /// Where requests come, if that is in a folder.
    pub api_socket: Option<PathBuf>,
}

/// This process cannot be confined as it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// Not to its system calls.
    #[error(
        "--seccomp {asked}: {why}; without that option the VMM runs unconfined here, with --seccomp \
         false without a word"
    )]
    Seccomp {
        /// What was asked for.
        asked: &'static str,
        /// Why it cannot be.
        why: String,
    },
    /// Not to its files.
    #[error(transparent)]
    Landlock(#[from] LandlockError),
}

impl ConfineError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::Seccomp { .. } => true,
            Self::Landlock(error) => error.is_the_users(),
        }
    }
}

struct Started {
    filters: Option<Filters>,
    wanted: Confinement,
}

/// Once for the process, as confinement is.
static STARTED: OnceLock<Started> = OnceLock::new();

/// What the process is confined by, for each machine that it has had.
static RULESETS: Mutex<Vec<(Files, RulesetCreated)>> = Mutex::new(Vec::new());

thread_local! {
    /// How many of them this thread is confined by.
    static FOLLOWED: Cell<usize> = const { Cell::new(0) };
}

/// Confines the calling thread to what the main thread does, and all that it starts from then on to
/// that, or less. Gives what the user should know: what this kernel cannot do.
///
/// # Errors
/// [`ConfineError`] when it cannot be as it was asked for.
pub fn start(wanted: &Confinement) -> Result<Option<String>, ConfineError> {
    if (wanted.seccomp, wanted.landlock) != (Some(Seccomp::False), Some(false)) {
        // Every kernel since 3.5 can. Where it fails, so does all that needs it.
        // SAFETY: passes numbers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    }
    let (filters, warning) = match filters(wanted) {
        Ok(filters) => (filters, None),
        Err(why) => match wanted.seccomp {
            Some(Seccomp::True) => return Err(ConfineError::Seccomp { asked: "true", why }),
            Some(Seccomp::Log) => return Err(ConfineError::Seccomp { asked: "log", why }),
            _ => (None, Some(format!("system calls are not confined (seccomp): {why}"))),
        },
    };
    // A process is confined once; who does it twice has what was first.
    let _ = STARTED.set(Started { filters, wanted: wanted.clone() });
    let _ = threads::on_start(|role| begin(Role::Library(role)));
    Ok(warning)
}

/// The filters, of which the calling thread has its own.
fn filters(wanted: &Confinement) -> Result<Option<Filters>, String> {
    let otherwise = match wanted.seccomp {
        Some(Seccomp::False) => return Ok(None),
        Some(Seccomp::Log) => Otherwise::IsLogged,
        Some(Seccomp::True) | None => Otherwise::Ends,
    };
    allocator::prepare();
    let filters =
        Filters::new(otherwise, wanted.has_requests).map_err(|error| error.to_string())?;
    let Some(filters) = filters else {
        return Err(format!("there are no filters for {}", std::env::consts::ARCH));
    };
    if otherwise == Otherwise::Ends {
        violation::tell().map_err(|error| error.to_string())?;
    }
    filters.confine(Role::Main).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS) => {
            "this kernel has no filters of system calls".to_owned()
        }
        _ => format!("the kernel does not take a filter: {error}"),
    })?;
    Ok(Some(filters))
}

/// Called by each thread before anything else: confines it to what its role does. Does nothing in a
/// process that is not confined.
pub fn begin(role: Role) {
    let Some(Started { filters: Some(filters), .. }) = STARTED.get() else { return };
    or_end(filters.confine(role), role);
}

/// Whoever goes on without a filter would do so unseen: the kernel has no memory any more.
fn or_end<E: fmt::Display>(confined: Result<(), E>, who: impl fmt::Debug) {
    if let Err(error) = confined {
        eprintln!("pseries-vmm: a thread cannot be confined ({who:?}): {error}");
        std::process::abort();
    }
}

/// Confines the calling thread, and all that it starts from then on, to the files that a configuration
/// names: that of a machine, if it is the user's own. Gives what the user should know: what this kernel
/// cannot do. Does nothing in a process that is not confined.
///
/// # Errors
/// [`ConfineError::Landlock`].
pub fn to_files(config: &VmConfig, beside: &Beside) -> Result<Option<String>, ConfineError> {
    let Some(Started { wanted, .. }) = STARTED.get() else { return Ok(None) };
    // Requests may name any file later, and clients that were not told so could not add a disk.
    let usual = !wanted.has_requests;
    let asked_for = wanted.landlock.or(config.landlock_enable);
    if !asked_for.unwrap_or(usual) {
        return Ok(None);
    }
    let files = Files::of(config, beside, wanted);
    let mut all = rulesets();
    // A kernel has only so many of them for a thread.
    if all.iter().any(|(known, _)| *known == files) {
        return Ok(None);
    }
    match files.restrict(asked_for == Some(true))? {
        Ok(ruleset) => {
            all.push((files, ruleset));
            FOLLOWED.set(all.len());
            Ok(None)
        }
        Err(why) => Ok(Some(format!("files are not confined (landlock): {why}"))),
    }
}

/// Confines the calling thread to the files of all machines of this process until now: called before
/// each of its works by a thread that is there before a machine is.
pub(crate) fn to_files_of_machines() {
    for (_, ruleset) in rulesets().iter().skip(FOLLOWED.get()) {
        let followed = ruleset.try_clone().map_err(|error| error.to_string());
        let followed =
            followed.and_then(|ruleset| ruleset.restrict_self().map_err(|error| error.to_string()));
        or_end(followed.map(drop), "a thread that does what requests ask for");
        FOLLOWED.set(FOLLOWED.get() + 1);
    }
}

fn rulesets() -> MutexGuard<'static, Vec<(Files, RulesetCreated)>> {
    lock(&RULESETS)
}

/// What the machine is made of is open: if nothing of it connects to programs of the host when it runs,
/// the calling thread, and all that it starts from then on, cannot. Does nothing in a process that
/// is not confined.
pub(crate) fn to_open_sockets(config: &VmConfig) {
    let Some(Started { filters: Some(filters), wanted }) = STARTED.get() else { return };
    let connects = |net: &NetConfig| matches!(net.backend, NetBackend::Socket(_));
    let listens = |vsock: &VsockConfig| vsock.socket.is_some();
    let connects = config.net.iter().any(connects) || !config.fs.is_empty();
    if !wanted.has_requests && !connects && !config.vsock.iter().any(listens) {
        or_end(filters.make_no_sockets(), "the main thread");
    }
}

/// What to tell of an error that comes of confinement, as far as one can see.
pub(crate) fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    let mut is_denied = false;
    while let Some(error) = cause {
        let of_host = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        is_denied |= of_host == Some(libc::EACCES);
        cause = error.source();
    }
    (is_denied && !rulesets().is_empty()).then_some(
        "pseries-vmm is confined to the files that its configuration named when it started \
         (landlock), and a machine that was saved or sent names none: others are named by \
         --landlock-rules path=PATH,access=rw, and --landlock false confines it to none",
    )
}
