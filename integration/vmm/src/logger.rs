//! Messages on standard error, and the trace.
//!
//! The library crates tell what a guest calls through the `log` crate, at the level `trace` and
//! with a target of its own; here those go to where the user wants the trace.

use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arch_ppc64::TRACE_TARGET;
use log::{LevelFilter, Log, Metadata, Record};

struct Logger {
    level: LevelFilter,
    /// What a guest can cause is not told without end.
    guests: Mutex<Budget>,
    /// Where the trace goes, if one is wanted.
    trace: Option<Trace>,
}

enum Trace {
    StandardError,
    File(Mutex<LineWriter<File>>),
}

/// The trace cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the trace to {}: {source}", .path.display())]
pub struct TraceError {
    path: PathBuf,
    source: io::Error,
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
        // When nobody takes a message there is nobody to tell.
        match (&self.trace, record.target() == TRACE_TARGET) {
            (Some(Trace::File(file)), true) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = writeln!(file, "{}", record.args());
            }
            (_, true) => show(&format!("{}\r\n", record.args())),
            (_, false) => {
                let is_guests = GUEST_TARGETS.iter().any(|t| record.target().starts_with(t));
                if is_guests && self.level <= LevelFilter::Info {
                    let mut budget = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
                    match budget.take(Instant::now()) {
                        None => return,
                        Some(0) => {}
                        Some(count) => show(&format!(
                            "pseries-vmm: {count} more messages about the guest were left out\r\n"
                        )),
                    }
                }
                let level = record.level().as_str().to_ascii_lowercase();
                show(&format!("pseries-vmm: {level}: {}\r\n", record.args()));
            }
        }
    }

    fn flush(&self) {}
}

/// Crates that speak about what the guest does, at levels that are shown by default.
const GUEST_TARGETS: [&str; 2] = ["arch_ppc64", "vof_device"];

/// How many messages about the guest are shown in a [`PERIOD`].
const MESSAGES: u32 = 32;
const PERIOD: Duration = Duration::from_secs(10);

/// How much may still be told in a period. One for the process: a guest restarts at no cost.
#[derive(Debug, Default)]
struct Budget {
    period_start: Option<Instant>,
    told: u32,
    left_out: u32,
}

impl Budget {
    /// Whether a message may be shown, and then how many were not before it.
    fn take(&mut self, now: Instant) -> Option<u32> {
        if self.period_start.is_none_or(|start| now.duration_since(start) >= PERIOD) {
            self.period_start = Some(now);
            self.told = 0;
        }
        if self.told >= MESSAGES {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The terminal may be raw: the return of the carriage is ours to make.
fn show(message: &str) {
    let _ = io::stderr().lock().write_all(message.as_bytes());
}

/// From here on, messages up to `level` are shown, and the trace is written to `trace`, if that is
/// some: to a file, or to standard error.
///
/// # Errors
/// [`TraceError`] when the file cannot be made.
pub fn start(level: LevelFilter, trace: Option<&Option<PathBuf>>) -> Result<(), TraceError> {
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    let trace = match trace {
        None => None,
        Some(None) => Some(Trace::StandardError),
        Some(Some(path)) => {
            let file =
                File::create(path).map_err(|source| TraceError { path: path.clone(), source })?;
            Some(Trace::File(Mutex::new(LineWriter::new(file))))
        }
    };
    let most = if trace.is_some() { LevelFilter::Trace } else { level };
    let logger = LOGGER.get_or_init(|| Logger { level, guests: Mutex::default(), trace });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(most);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut budget = Budget::default();
        let start = Instant::now();
        let shown = (0..1000).filter(|_| budget.take(start).is_some()).count();
        assert_eq!(shown, MESSAGES as usize);
        assert_eq!(budget.take(start + PERIOD), Some(1000 - MESSAGES));
        assert_eq!(budget.take(start + PERIOD), Some(0));
    }
}
