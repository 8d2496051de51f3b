//! The thread that writes what has changed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arch_ppc64::threads::{self, Role};

/// Where changes go. The test's is none.
pub(super) trait Target: Send + Sync + 'static {
    /// Writes bytes in their place, so that they last.
    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()>;
}

impl Target for File {
    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset as u64)?;
        self.sync_data()
    }
}

/// Writes what has changed, on a thread of its own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Who holds it writes to the file; taken before `queue`.
    turn: Mutex<()>,
    /// Nobody holds it who waits for the host.
    queue: Mutex<Queue>,
    /// There is something to be done, or nothing any more.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// The content as it is to be.
    content: Vec<u8>,
    /// What of it is not written yet.
    dirty: Option<Range<usize>>,
    /// Whether some of it is being written.
    is_writing: bool,
    /// Why it could not be written, until it can.
    failed: Option<io::Error>,
    /// Whether it is to be tried again, though it failed.
    again: bool,
    /// Whether somebody has waited for all of it in vain.
    is_late: bool,
    /// Whether the file is another process's: nothing is written until it is this one's.
    is_held: bool,
    is_over: bool,
}

impl Writer {
    /// A writer to a file that is called so in messages.
    pub(super) fn start(target: Arc<impl Target>, name: String) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            turn: Mutex::new(()),
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        let writing = shared.clone();
        let thread = std::thread::Builder::new().name("nvram".into());
        let write = move || {
            threads::starts(Role::Nvram);
            writing.run(&*target, &name);
        };
        let thread = thread.spawn(write)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// This is in the file.
    pub(super) fn begin(&self, content: Vec<u8>) {
        self.shared.queue().content = content;
    }

    /// Has `write` make the file this one, while nobody else writes. What has not been written yet is
    /// not needed then. `prepare` comes before, and leaves the file alone.
    ///
    /// Where `write` fails, nobody knows what the file has: all of the content of before is to be
    /// written then.
    pub(super) fn replace<T>(
        &self,
        content: &[u8],
        prepare: impl FnOnce() -> io::Result<T>,
        write: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<T> {
        let _turn = lock(&self.shared.turn);
        let prepared = prepare()?;
        let written = write();
        let mut queue = self.shared.queue();
        match written {
            Ok(()) => {
                queue.content = content.to_vec();
                queue.dirty = None;
                queue.failed = None;
                Ok(prepared)
            }
            Err(error) => {
                queue.tear(&error);
                Err(error)
            }
        }
    }

    /// Writes nothing from now on, but notes what changes.
    pub(super) fn hold(&self) {
        let _turn = lock(&self.shared.turn);
        self.shared.queue().is_held = true;
    }

    /// Whether nothing is written.
    pub(super) fn is_held(&self) -> bool {
        self.shared.queue().is_held
    }

    /// How many bytes the content has.
    pub(super) fn content_bytes(&self) -> u64 {
        self.shared.queue().content.len() as u64
    }

    /// Has this as the content, of a file that is not this process's.
    pub(super) fn hold_content(&self, content: &[u8]) {
        self.shared.queue().content = content.to_vec();
    }

    /// Writes again, all of it first: somebody else may have changed the file.
    pub(super) fn go_on(&self) {
        let mut queue = self.shared.queue();
        queue.is_held = false;
        let bytes = queue.content.len();
        if bytes != 0 {
            queue.mark(0..bytes);
        }
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// Notes a change. It fails if the ones before could not be written; then these are tried again.
    pub(super) fn store(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut queue = self.shared.queue();
        let result = match &queue.failed {
            Some(error) => {
                let error = copy(error);
                queue.again = true;
                Err(error)
            }
            None => queue.change(offset, bytes),
        };
        drop(queue);
        self.shared.changed.notify_all();
        result
    }

    /// Waits until everything is written, but for no longer than this. What could not be written is
    /// tried once more.
    pub(super) fn flush(&self, within: Duration) -> io::Result<()> {
        let end = Instant::now().checked_add(within);
        let mut queue = self.shared.queue();
        queue.again = queue.failed.is_some();
        self.shared.changed.notify_all();
        while queue.has_work() || queue.is_writing {
            let now = Instant::now();
            let left = end.map_or(within, |end| end.saturating_duration_since(now));
            if left.is_zero() {
                queue.is_late = true;
                return Err(io::ErrorKind::TimedOut.into());
            }
            let waited = self.shared.changed.wait_timeout(queue, left);
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        queue.is_late = false;
        match &queue.failed {
            Some(error) => Err(copy(error)),
            None => Ok(()),
        }
    }

    /// As [`flush`](Self::flush), unless somebody has waited in vain already: who did does not wait
    /// twice for a host that is stuck.
    pub(super) fn flush_last(&self, within: Duration) -> io::Result<()> {
        let is_late = self.shared.queue().is_late;
        self.flush(if is_late { Duration::ZERO } else { within })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.is_over = true;
        let is_idle = !queue.is_writing;
        drop(queue);
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take().filter(|_| is_idle) {
            // One that is stuck in the host is left to it.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, target: &impl Target, name: &str) {
        loop {
            let mut queue = self.queue();
            while !queue.has_work() && !queue.is_over {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.is_over {
                return;
            }
            drop(queue);
            let _turn = lock(&self.turn);
            let mut queue = self.queue();
            if queue.is_over {
                // Nobody waits for a write that begins now.
                return;
            }
            // It may have been held meanwhile.
            let batch = if queue.is_held { None } else { queue.take() };
            drop(queue);
            if let Some((range, bytes)) = batch {
                let written = target.write(range.start, &bytes);
                self.queue().wrote(range, written, name);
            }
            self.changed.notify_all();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Queue {
    fn change(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let range = offset..offset.saturating_add(bytes.len());
        let Some(place) = self.content.get_mut(range.clone()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        place.copy_from_slice(bytes);
        if !range.is_empty() {
            self.mark(range);
        }
        Ok(())
    }

    /// What lies between two changes is written with them.
    fn mark(&mut self, range: Range<usize>) {
        self.dirty = Some(match self.dirty.take() {
            Some(before) => before.start.min(range.start)..before.end.max(range.end),
            None => range,
        });
    }

    /// The file is neither as it was nor as it was to be.
    fn tear(&mut self, error: &io::Error) {
        let bytes = self.content.len();
        if bytes != 0 {
            self.mark(0..bytes);
            self.failed = Some(copy(error));
        }
    }

    fn has_work(&self) -> bool {
        !self.is_held && self.dirty.is_some() && (self.failed.is_none() || self.again)
    }

    /// What is to be written next.
    fn take(&mut self) -> Option<(Range<usize>, Vec<u8>)> {
        self.again = false;
        let range = self.dirty.take()?;
        self.is_writing = true;
        let bytes = self.content.get(range.clone()).unwrap_or_default().to_vec();
        Some((range, bytes))
    }

    fn wrote(&mut self, range: Range<usize>, written: io::Result<()>, name: &str) {
        self.is_writing = false;
        match written {
            Ok(()) => {
                if self.failed.take().is_some() {
                    log::warn!("{name}: the NVRAM can be written again, and everything is");
                }
            }
            Err(error) => {
                if self.failed.is_none() {
                    log::error!(
                        "{name}: the NVRAM cannot be written, which the guest is told: {error}"
                    );
                }
                self.mark(range);
                self.failed = Some(error);
            }
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(600);

    /// A disk that may be slow, or full.
    struct Slow {
        content: Mutex<Vec<u8>>,
        writes: Mutex<Vec<Range<usize>>>,
        /// Held by who wants writes to wait.
        gate: Mutex<()>,
        is_full: Mutex<bool>,
    }

    impl Target for Slow {
        fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
            let _gate = lock(&self.gate);
            let range = offset..offset + bytes.len();
            lock(&self.writes).push(range.clone());
            if *lock(&self.is_full) {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            lock(&self.content)[range].copy_from_slice(bytes);
            Ok(())
        }
    }

    fn writer() -> (Arc<Slow>, Writer) {
        let slow = Arc::new(Slow {
            content: Mutex::new(vec![0; 64]),
            writes: Mutex::default(),
            gate: Mutex::default(),
            is_full: Mutex::new(false),
        });
        let writer = Writer::start(slow.clone(), "nvram".into()).unwrap();
        writer.begin(vec![0; 64]);
        (slow, writer)
    }

    #[test]
    fn changes_wait_for_nobody_and_go_together() {
        let (slow, writer) = writer();
        let gate = lock(&slow.gate);
        writer.store(8, b"one").unwrap();
        // The thread is in the first write, and stays there.
        while !writer.shared.queue().is_writing {
            std::thread::yield_now();
        }
        for (offset, bytes) in [(40, b"two"), (20, b"six"), (9, b"ten")] {
            writer.store(offset, bytes).unwrap();
        }
        let late = writer.flush(Duration::from_millis(10)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(gate);
        writer.flush(SOON).unwrap();
        let mut expected = vec![0; 64];
        for (offset, bytes) in [(8, &b"oten"[..]), (20, b"six"), (40, b"two")] {
            expected[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!(*lock(&slow.content), expected);
        assert_eq!(*lock(&slow.writes), [8..11, 9..43]);
        assert!(writer.store(62, b"end").is_err());
        assert!(writer.store(usize::MAX, b"end").is_err());
        writer.store(64, b"").unwrap();
        writer.flush(SOON).unwrap();
        assert_eq!(lock(&slow.writes).len(), 2);
    }

    #[test]
    fn a_full_disk_fails_changes_until_it_is_not() {
        let (slow, writer) = writer();
        *lock(&slow.is_full) = true;
        writer.store(0, b"lost").unwrap();
        let full =
            |result: io::Result<()>| result.unwrap_err().raw_os_error() == Some(libc::ENOSPC);
        assert!(full(writer.flush(SOON)));
        for _ in 0..3 {
            assert!(full(writer.store(8, b"no")));
        }
        assert!(full(writer.flush(SOON)));
        *lock(&slow.is_full) = false;
        // This one tries again, for those after it.
        assert!(full(writer.store(8, b"no")));
        writer.flush(SOON).unwrap();
        writer.store(8, b"yes").unwrap();
        writer.flush(SOON).unwrap();
        assert_eq!(lock(&slow.content)[..11], *b"lost\0\0\0\0yes");
    }

    #[test]
    fn what_is_replaced_is_not_written() {
        let (slow, writer) = writer();
        *lock(&slow.is_full) = true;
        writer.store(0, b"lost").unwrap();
        writer.flush(SOON).unwrap_err();
        let no = || Err::<(), _>(io::Error::other("no"));
        assert!(writer.replace(&[1; 64], no, || Ok(())).is_err());
        assert!(writer.replace(&[1; 64], || Ok(()), no).is_err());
        assert!(writer.store(0, b"x").is_err());
        writer.flush(SOON).unwrap_err();
        writer.replace(&[1; 64], || Ok(()), || Ok(())).unwrap();
        *lock(&slow.is_full) = false;
        let before = lock(&slow.writes).len();
        writer.flush(SOON).unwrap();
        assert_eq!(lock(&slow.writes).len(), before);
        writer.store(1, b"x").unwrap();
        writer.flush(SOON).unwrap();
        assert_eq!(lock(&slow.content)[..3], [0, b'x', 0]);
    }

    #[test]
    fn a_file_that_was_torn_is_restored() {
        let (slow, writer) = writer();
        writer.store(0, b"kept").unwrap();
        writer.flush(SOON).unwrap();
        let before = lock(&slow.writes).len();
        // What was not touched is as it is.
        writer.replace(&[1; 64], || Err::<(), _>(io::Error::other("no")), || Ok(())).unwrap_err();
        writer.flush(SOON).unwrap();
        assert_eq!(lock(&slow.writes).len(), before);
        let tear = || {
            lock(&slow.content)[..32].fill(1);
            Err(io::Error::from_raw_os_error(libc::EIO))
        };
        writer.replace(&[1; 64], || Ok(()), tear).unwrap_err();
        // Whoever changes something next is told, and has it tried.
        let error = writer.store(8, b"no").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        writer.flush(SOON).unwrap();
        assert_eq!(lock(&slow.writes).get(before), Some(&(0..64)));
        assert_eq!(lock(&slow.writes).len(), before + 1);
        let mut expected = vec![0; 64];
        expected[..4].copy_from_slice(b"kept");
        assert_eq!(*lock(&slow.content), expected);
        writer.store(8, b"yes").unwrap();
    }

    /// Time is what is tested here: the second wait would be as long as the test may take.
    #[test]
    fn nobody_waits_twice_for_a_host_that_is_stuck() {
        let (slow, writer) = writer();
        let gate = lock(&slow.gate);
        writer.store(8, b"one").unwrap();
        while !writer.shared.queue().is_writing {
            std::thread::yield_now();
        }
        let late = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::TimedOut;
        assert!(late(writer.flush(Duration::from_millis(10))));
        let start = Instant::now();
        assert!(late(writer.flush_last(SOON)));
        assert!(start.elapsed() < SOON);
        drop(gate);
        writer.flush(SOON).unwrap();
        // One that has come back is waited for again.
        let gate = lock(&slow.gate);
        writer.store(8, b"two").unwrap();
        let waiting = std::thread::spawn(move || writer.flush_last(SOON));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished());
        drop(gate);
        waiting.join().unwrap().unwrap();
        assert_eq!(lock(&slow.content)[8..11], *b"two");
    }
}
