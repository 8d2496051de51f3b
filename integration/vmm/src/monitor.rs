//! The event monitor: what happens to the VMM and its machine, for programs, as JSON objects with the
//! keys and names of Cloud Hypervisor's.
//!
//! A thread writes them, so that nobody waits for who reads. What it cannot write in time is left out
//! and counted.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::confine::{self, Role};
use crate::{host_file, quoted, signals};

/// How many events wait to be written before others are left out.
const WAITING: usize = 1024;

/// How long the last ones are waited for.
const LAST_WAIT: Duration = Duration::from_millis(300);

/// Where events go: `path=FILE` or `fd=N` on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsTo {
    /// To a file, behind what is in it, or to a named pipe.
    Path(PathBuf),
    /// To an open descriptor.
    Descriptor(RawFd),
}

/// A place that events cannot go to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// The file cannot be written to.
    #[error("--event-monitor path={}", quoted::path(.path))]
    Path {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// There is no such descriptor.
    #[error("--event-monitor fd={fd}")]
    Descriptor {
        /// Which one.
        fd: RawFd,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// No thread can be had.
    #[error("cannot write events")]
    Thread(#[source] io::Error),
}

/// Who is told what happens. Clones are the same; the default one has nobody to tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Monitor(Option<Arc<Sender>>);

#[derive(Debug)]
struct Sender {
    start: Instant,
    lines: SyncSender<Message>,
    left_out: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Event(String),
    /// All before is written.
    Written(SyncSender<()>),
}

/// An event, as it is written.
#[derive(Debug, Serialize)]
struct Event<'a> {
    timestamp: Duration,
    source: &'a str,
    event: &'a str,
    properties: Option<BTreeMap<&'a str, String>>,
}

impl Monitor {
    /// Opens the place and starts the thread.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub(crate) fn start(to: &EventsTo) -> Result<Self, MonitorError> {
        let file = match to {
            EventsTo::Path(path) => {
                open(path).map_err(|source| MonitorError::Path { path: path.clone(), source })?
            }
            &EventsTo::Descriptor(fd) => {
                take(fd).map_err(|source| MonitorError::Descriptor { fd, source })?
            }
        };
        let (lines, written) = sync_channel(WAITING);
        let sender = Sender { start: Instant::now(), lines, left_out: AtomicU64::new(0) };
        let thread = thread::Builder::new().name("to events".to_owned());
        let write_out = move || {
            confine::begin(Role::Outlet);
            write_out(file, &written);
        };
        signals::without(&signals::TAKEN, || thread.spawn(write_out))
            .map_err(MonitorError::Thread)?;
        Ok(Self(Some(Arc::new(sender))))
    }

    /// Tells of an event.
    pub(crate) fn event(&self, source: &str, event: &str) {
        self.event_with(source, event, &[]);
    }

    /// Tells of an event with properties.
    pub(crate) fn event_with(&self, source: &str, event: &str, properties: &[(&str, &str)]) {
        log::info!("event: {source} {event}");
        let Some(sender) = &self.0 else { return };
        let left_out = sender.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0
            && !sender.send("vmm", "events-left-out", &[("count", &left_out.to_string())])
        {
            sender.left_out.fetch_add(left_out, Ordering::Relaxed);
        }
        if !sender.send(source, event, properties) {
            sender.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for what was told to be written, but not for long.
    pub(crate) fn finish(&self) {
        let Some(sender) = &self.0 else { return };
        let (done, written) = sync_channel(1);
        if sender.lines.try_send(Message::Written(done)).is_ok() {
            let _: Result<(), RecvTimeoutError> = written.recv_timeout(LAST_WAIT);
        }
    }
}

impl Sender {
    /// Gives whether there was room.
    fn send(&self, source: &str, event: &str, properties: &[(&str, &str)]) -> bool {
        let properties = (!properties.is_empty())
            .then(|| properties.iter().map(|&(key, value)| (key, value.to_owned())).collect());
        let event = Event { timestamp: self.start.elapsed(), source, event, properties };
        // Texts and numbers only.
        let Ok(text) = serde_json::to_string_pretty(&event) else { return true };
        match self.lines.try_send(Message::Event(text)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => true,
            Err(TrySendError::Full(_)) => false,
        }
    }
}

/// The thread: until nobody tells any more, or nobody reads any more.
fn write_out(mut file: File, messages: &Receiver<Message>) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Event(text) => {
                if let Err(error) = write_all(&mut file, format!("{text}\n\n").as_bytes()) {
                    log::warn!("no more events are told: {error}");
                    return;
                }
            }
            Message::Written(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// A descriptor of somebody else may be one that does not wait.
fn write_all(file: &mut File, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match file.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => text = &text[count.min(text.len())..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Nobody has to be at the other end of a named pipe yet.
fn open(path: &Path) -> io::Result<File> {
    let is_pipe = path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).append(true);
    if is_pipe { options.read(true).open(path) } else { options.create(true).open(path) }
}

/// Takes a descriptor that whoever started this program has left open for it.
fn take(fd: RawFd) -> io::Result<File> {
    // SAFETY: asks about a descriptor by its number.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is open for reading only"));
    }
    // SAFETY: it is open, and the command line says that it is for this.
    let file = unsafe { File::from_raw_fd(fd) };
    // SAFETY: changes whether programs that this one starts would have it.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    Ok(file)
}

impl std::str::FromStr for EventsTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("path", path)) if !path.is_empty() => Ok(Self::Path(path.into())),
            Some(("fd", fd)) => host_file::descriptor(fd).map(Self::Descriptor),
            _ => Err("events go to path=FILE or fd=N".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;

    fn events(text: &str) -> Vec<serde_json::Value> {
        let events = serde_json::Deserializer::from_str(text).into_iter();
        events.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn events_are_objects_with_a_time() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let to: EventsTo = format!("fd={}", writer.into_raw_fd()).parse().unwrap();
        let monitor = Monitor::start(&to).unwrap();
        monitor.event("vmm", "starting");
        monitor.event_with("virtio-device", "activated", &[("id", "disk0")]);
        monitor.finish();
        drop(monitor);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let events = events(&text);
        assert_eq!(events.len(), 2, "{text}");
        assert_eq!(
            (&events[0]["source"], &events[0]["event"]),
            (&"vmm".into(), &"starting".into())
        );
        assert!(events[0]["properties"].is_null());
        assert!(
            events[0]["timestamp"]["secs"].is_u64() && events[0]["timestamp"]["nanos"].is_u64()
        );
        assert_eq!(events[1]["properties"]["id"], "disk0");
    }

    /// A reader who does not read holds up nobody, and is told how much is missing.
    #[test]
    fn what_is_not_read_is_counted() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let monitor = Monitor::start(&EventsTo::Descriptor(writer.into_raw_fd())).unwrap();
        // What is on its way has some KiB.
        for _ in 0..3 * WAITING {
            monitor.event("vm", &"x".repeat(128));
        }
        monitor.finish();
        let mut some = vec![0; 512 << 10];
        while monitor.0.as_ref().unwrap().left_out.load(Ordering::Relaxed) > 0 {
            let _ = reader.read(&mut some).unwrap();
            monitor.event("vm", "more");
        }
        drop(monitor);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.contains("events-left-out"), "{text}");
    }

    #[test]
    fn places_are_named() {
        for (text, words) in [
            ("", "path=FILE or fd=N"),
            ("path=", "path=FILE or fd=N"),
            ("fd=1", "from 3 on"),
            ("fd=-1", "from 3 on"),
            ("fd=x", "no descriptor"),
            ("file=x", "path=FILE"),
        ] {
            let error = text.parse::<EventsTo>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let error = Monitor::start(&EventsTo::Descriptor(999_999)).unwrap_err();
        assert_eq!(error.to_string(), "--event-monitor fd=999999");
        let error = Monitor::start(&EventsTo::Path("/nowhere/x".into())).unwrap_err();
        assert!(error.to_string().contains("path=/nowhere/x"), "{error}");
    }
}
