//! Messages on standard error, and the trace.
//!
//! The library crates tell what a guest calls through the `log` crate, at the level `trace` and
//! with a target of its own; here those go to where the user wants the trace.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arch_ppc64::TRACE_TARGET;
use arch_ppc64::log_limit::LogLimit;
use log::{LevelFilter, Log, Metadata, Record};

use crate::name;
use crate::outlet::{self, Lane};
use crate::quoted;

/// How much waits to be written before messages, or lines of the trace, are left out.
const MESSAGES_LIMIT_BYTES: usize = 256 << 10;
const TRACE_LIMIT_BYTES: usize = 1 << 20;

struct Logger {
    level: LevelFilter,
    /// What a guest can cause is not told without end. One for the process: a guest restarts at no
    /// cost.
    guests: LogLimit,
    /// Where the trace goes, if one is wanted.
    trace: Option<Lane>,
}

/// Nothing can be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The trace cannot be written.
    #[error("cannot write the trace to {}: {source}", quoted::path(.path))]
    Trace {
        /// Where it should go.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Standard error cannot be had.
    #[error("cannot write to standard error: {0}")]
    StandardError(io::Error),
}

impl StartError {
    /// The exit status: 2 for what the user said, 1 for the host.
    pub fn status(&self) -> u8 {
        match self {
            Self::Trace { .. } => 2,
            Self::StandardError(_) => 1,
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.target() == TRACE_TARGET {
            self.trace.is_some()
        } else {
            metadata.level() <= self.level
        }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match &self.trace {
            Some(trace) if record.target() == TRACE_TARGET => {
                trace.say(&record.args().to_string());
            }
            _ => {
                let is_guests = GUEST_TARGETS.iter().any(|t| record.target().starts_with(t));
                if is_guests && self.level <= LevelFilter::Info {
                    match self.guests.admit(Instant::now()) {
                        None => return,
                        Some(0) => {}
                        Some(count) => {
                            tell(&format!("{count} more messages about the guest were left out"));
                        }
                    }
                }
                let level = record.level().as_str().to_ascii_lowercase();
                tell(&format!("{level}: {}", record.args()));
            }
        }
    }

    fn flush(&self) {}
}

/// Crates that speak about what the guest does, at levels that are shown by default.
const GUEST_TARGETS: [&str; 3] = ["arch_ppc64", "vof_device", "pseries_devices"];

/// How many messages about the guest are shown in a [`PERIOD`].
const MESSAGES: u32 = 32;
const PERIOD: Duration = Duration::from_secs(10);

/// From here on, messages up to `level` are shown, and the trace is written to `trace`, if that is
/// some: to a file, or to standard error.
///
/// # Errors
/// [`StartError`] when the file cannot be made, or no thread that writes.
pub fn start(level: LevelFilter, trace: Option<&Option<PathBuf>>) -> Result<(), StartError> {
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    let stderr = |limit_bytes| {
        let file = outlet::duplicate(io::stderr().as_fd());
        let lane = file.and_then(|file| Lane::open(file, "standard error", limit_bytes));
        lane.map_err(StartError::StandardError)
    };
    let trace = match trace {
        None => None,
        Some(None) => Some(stderr(TRACE_LIMIT_BYTES)?),
        Some(Some(path)) => {
            let name = quoted::path(path);
            let lane =
                File::create(path).and_then(|file| Lane::open(file, &name, TRACE_LIMIT_BYTES));
            Some(lane.map_err(|source| StartError::Trace { path: path.clone(), source })?)
        }
    };
    let trace = trace.map(|lane| lane.of("lines of the trace"));
    outlet::set_messages(stderr(MESSAGES_LIMIT_BYTES)?);
    let most = if trace.is_some() { LevelFilter::Trace } else { level };
    let logger =
        LOGGER.get_or_init(|| Logger { level, guests: LogLimit::new(MESSAGES, PERIOD), trace });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(most);
    }
    Ok(())
}

/// A word of this program on standard error. When that is gone there is nobody to tell.
pub fn tell(message: &str) {
    outlet::tell(&format!("{}: {message}", name::prefix()));
}
