//! The thread of a disk, which waits for the host in the place of CPUs.
//!
//! It does one [`Task`] at a time, with one buffer, however many instances and CPUs there are: who
//! finds it taken comes again. It is started by the first task, and ends some time after the last
//! instance is closed. All that happens here is under one lock, which nobody holds while anything
//! but the slot is waited for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arch_ppc64::log_limit::LogLimit;
use arch_ppc64::threads::{self, Role};

use super::access::Moved;
use super::device::BlockDevice;
use super::task::{Answer, Task};
use crate::limits::{
    IN_FLIGHT_LAPSE, LOG_PERIOD_SECONDS, MAX_DISK_TRANSFER_BYTES, MAX_LOGGED_COMPLAINTS,
};

/// How long the thread stays when no instance is open any more: clients open disks again and again.
const LINGER: Duration = Duration::from_secs(1);

/// What a guest can cause without an end.
static COMPLAINTS: LogLimit =
    LogLimit::new(MAX_LOGGED_COMPLAINTS, Duration::from_secs(LOG_PERIOD_SECONDS))
        .with_target(module_path!())
        .with_topic("disk of the client interface");

/// A disk's thread. It is waited for when this goes away: what clients have written is on its way
/// until then, and nothing afterwards.
pub(super) struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn BlockDevice>,
    state: Mutex<State>,
    /// The slot is another.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    slot: Slot,
    /// When nobody has it; there is none before the first task, and none when nobody is here.
    buffer: Option<Box<[u8]>>,
    users: usize,
    thread: Option<JoinHandle<()>>,
    is_running: bool,
    rest: Rest,
    /// The disk goes away.
    is_over: bool,
}

/// Whether it stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Rest {
    /// It is at work.
    #[default]
    No,
    /// It takes nothing more, and does what it has taken.
    Coming,
    /// It does nothing.
    Paused,
}

/// Where the task is.
#[derive(Default)]
enum Slot {
    /// There is none.
    #[default]
    Free,
    /// A CPU makes one, or takes the bytes of one that is done.
    Lent,
    /// It waits for the thread.
    Queued(Job),
    /// The thread is at it.
    Working { cell: Arc<Cell>, is_write: bool },
    /// It was a read, since then its bytes are in the buffer for whoever asked.
    Read { cell: Arc<Cell>, since: Instant },
}

struct Job {
    task: Task,
    buffer: Option<Box<[u8]>>,
    cell: Arc<Cell>,
}

/// Where the answer comes.
#[derive(Default)]
struct Cell {
    answer: OnceLock<Answer>,
    /// Nobody comes for it: what is no write ends at its next piece.
    is_given_up: AtomicBool,
}

impl Worker {
    pub(super) fn new(disk: Arc<dyn BlockDevice>) -> Self {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        Self { shared: Arc::new(Shared { disk, state, changed }) }
    }

    /// Someone is here who may have tasks: the thread stays for as long.
    pub(super) fn enter(&self) -> User {
        self.shared.lock().users += 1;
        User(self.shared.clone())
    }

    /// What a task is made with, if there is no task at the moment. What was read for somebody who
    /// does not come for it is thrown away.
    pub(super) fn lend(&self) -> Option<Lent> {
        let mut state = self.shared.lock();
        if state.rest != Rest::No || !state.slot.is_free() {
            return None;
        }
        Some(self.shared.lend(&mut state))
    }

    /// Takes no more tasks, and waits until what it has taken is done, until `until`. Then it is at work
    /// as before, and what does not come to an end is told.
    pub(super) fn pause(&self, until: Instant) -> Result<(), &'static str> {
        let mut state = self.shared.lock();
        if state.rest == Rest::Paused {
            return Ok(());
        }
        state.rest = Rest::Coming;
        while let Some(what) = state.slot.at_work() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.rest = Rest::No;
                self.shared.changed.notify_all();
                return Err(what);
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.rest = Rest::Paused;
        Ok(())
    }

    /// Goes on. What was read is kept for who asked, as if it were read just now.
    pub(super) fn resume(&self) {
        let mut state = self.shared.lock();
        state.rest = Rest::No;
        if let Slot::Read { since, .. } = &mut state.slot {
            *since = Instant::now();
        }
        self.shared.changed.notify_all();
    }

    /// Waits until a task is done, or until there is none where none is named; for `limit` at most.
    pub(super) fn wait(&self, ticket: Option<&Ticket>, limit: Duration) {
        let is_to_come = |state: &mut State| match ticket {
            Some(ticket) => ticket.cell.answer.get().is_none(),
            None => state.rest != Rest::No || !state.slot.is_free(),
        };
        drop(self.shared.changed.wait_timeout_while(self.shared.lock(), limit, is_to_come));
    }

    /// Waits, however long it takes, until all that was taken to be written is written.
    #[cfg(feature = "serde")]
    pub(super) fn settle(&self) {
        let is_writing = |state: &mut State| match &state.slot {
            Slot::Queued(job) => job.task.is_write(),
            Slot::Working { is_write, .. } => *is_write,
            _ => false,
        };
        drop(self.shared.changed.wait_while(self.shared.lock(), is_writing));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let thread = {
            let mut state = self.shared.lock();
            state.is_over = true;
            state.give_up();
            self.shared.changed.notify_all();
            state.thread.take()
        };
        // One that panicked has said so.
        let _ = thread.map(JoinHandle::join);
    }
}

/// Someone who may have tasks.
pub(super) struct User(Arc<Shared>);

impl Drop for User {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.users -= 1;
        if state.users == 0 {
            state.buffer = None;
            self.0.changed.notify_all();
        }
    }
}

/// The buffer and the place for a task, which nobody else has meanwhile.
pub(super) struct Lent {
    shared: Arc<Shared>,
    buffer: Option<Box<[u8]>>,
    is_submitted: bool,
}

impl Lent {
    /// The buffer, of [`MAX_DISK_TRANSFER_BYTES`].
    pub(super) fn buffer(&mut self) -> &mut [u8] {
        self.buffer.get_or_insert_with(|| vec![0; MAX_DISK_TRANSFER_BYTES].into())
    }

    /// Has the thread do it.
    pub(super) fn submit(mut self, task: Task) -> Ticket {
        if task.needs_buffer() {
            self.buffer();
        }
        self.is_submitted = true;
        let cell = Arc::<Cell>::default();
        let ticket = Ticket { shared: self.shared.clone(), cell: cell.clone() };
        let job = Job { task, buffer: self.buffer.take(), cell };
        self.shared.submit(job);
        ticket
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_submitted {
            let mut state = self.shared.lock();
            state.put_back(self.buffer.take());
            state.slot = Slot::Free;
            self.shared.changed.notify_all();
        }
    }
}

/// A task that somebody wants the answer of. Without it, what is read is thrown away; what is
/// written is written all the same.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
}

/// What a [`Ticket`] gets.
pub(super) enum Collected {
    /// The answer.
    Answer(Answer),
    /// That of a read, with its bytes at the beginning of the buffer.
    Read(Moved, Lent),
    /// The bytes went to somebody else, as they were not collected in time.
    Lost,
}

impl Ticket {
    /// The answer, if there is one yet; it is given once.
    pub(super) fn collect(&self) -> Option<Collected> {
        let answer = self.cell.answer.get()?.clone();
        let Answer::Read(moved) = answer else { return Some(Collected::Answer(answer)) };
        let mut state = self.shared.lock();
        Some(match &state.slot {
            Slot::Read { cell, .. } if Arc::ptr_eq(cell, &self.cell) => {
                Collected::Read(moved, self.shared.lend(&mut state))
            }
            _ => Collected::Lost,
        })
    }

    /// The answer to a write, without taking it.
    #[cfg(feature = "serde")]
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.cell.answer.get()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let is_own = |cell: &Arc<Cell>| Arc::ptr_eq(cell, &self.cell);
        let buffer = match &mut state.slot {
            Slot::Queued(job) if is_own(&job.cell) && !job.task.is_write() => job.buffer.take(),
            Slot::Working { cell, .. } if is_own(cell) => {
                cell.is_given_up.store(true, Ordering::Relaxed);
                return;
            }
            Slot::Read { cell, .. } if is_own(cell) => state.buffer.take(),
            _ => return,
        };
        state.put_back(buffer);
        state.slot = Slot::Free;
        self.shared.changed.notify_all();
    }
}

impl Slot {
    fn is_free(&self) -> bool {
        match self {
            Self::Free => true,
            Self::Read { since, .. } => since.elapsed() >= IN_FLIGHT_LAPSE,
            _ => false,
        }
    }

    /// What is not at its end.
    fn at_work(&self) -> Option<&'static str> {
        let is_write = match self {
            Self::Free | Self::Read { .. } => return None,
            Self::Lent => return Some("a call of a client is being made"),
            Self::Queued(job) => job.task.is_write(),
            Self::Working { is_write, .. } => *is_write,
        };
        Some(if is_write { "the host is at a write" } else { "the host is at a read" })
    }
}

impl State {
    /// What the thread is to do, if there is anything: it is at it then.
    fn take_job(&mut self) -> Option<Job> {
        match std::mem::take(&mut self.slot) {
            Slot::Queued(job) => {
                let (cell, is_write) = (job.cell.clone(), job.task.is_write());
                self.slot = Slot::Working { cell, is_write };
                Some(job)
            }
            slot => {
                self.slot = slot;
                None
            }
        }
    }

    /// Nobody comes for what the thread is at or is to do.
    fn give_up(&self) {
        if let Slot::Queued(Job { cell, .. }) | Slot::Working { cell, .. } = &self.slot {
            cell.is_given_up.store(true, Ordering::Relaxed);
        }
    }

    fn put_back(&mut self, buffer: Option<Box<[u8]>>) {
        self.buffer = buffer.filter(|_| self.users > 0);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(self: &Arc<Self>, state: &mut State) -> Lent {
        state.slot = Slot::Lent;
        Lent { shared: self.clone(), buffer: state.buffer.take(), is_submitted: false }
    }

    fn submit(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        if self.disk.works_in_calls() {
            state.slot = Slot::Working { cell: job.cell.clone(), is_write: job.task.is_write() };
            drop(state);
            drop(self.do_job(job));
            return;
        }
        if !state.is_running {
            let shared = self.clone();
            let thread = std::thread::Builder::new().name("vof-disk".to_owned());
            let work = move || {
                threads::starts(Role::ClientDisk);
                shared.work();
            };
            match thread.spawn(work) {
                // That of the one before is over.
                Ok(thread) => state.thread = Some(thread),
                Err(error) => {
                    let _ = job.cell.answer.set(Answer::Nobody);
                    state.put_back(job.buffer);
                    state.slot = Slot::Free;
                    self.changed.notify_all();
                    drop(state);
                    COMPLAINTS.warn(format_args!("there can be no thread: {error}"));
                    return;
                }
            }
            state.is_running = true;
        }
        state.slot = Slot::Queued(job);
        self.changed.notify_all();
    }

    /// What the thread does.
    fn work(&self) {
        let mut state = self.lock();
        let mut has_lingered = false;
        loop {
            // What is taken is done in any case before the disk goes away.
            let may_work = state.rest != Rest::Paused || state.is_over;
            if let Some(job) = may_work.then(|| state.take_job()).flatten() {
                drop(state);
                state = self.do_job(job);
            } else if state.is_over || (has_lingered && state.users == 0) {
                break;
            } else if state.users > 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = self.changed.wait_timeout(state, LINGER);
                let (next, result) = waited.unwrap_or_else(PoisonError::into_inner);
                (state, has_lingered) = (next, result.timed_out());
            }
        }
        state.is_running = false;
    }

    /// Does it, with no lock, and leaves the answer.
    fn do_job(&self, job: Job) -> MutexGuard<'_, State> {
        let Job { task, mut buffer, cell } = job;
        let disk = &*self.disk;
        // A disk that panics (a bug) must not have the guest wait for ever.
        let run = || task.run(disk, buffer.as_deref_mut().unwrap_or_default(), &cell.is_given_up);
        let answer = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Answer::Nobody);
        let mut state = self.lock();
        let is_wanted = !cell.is_given_up.load(Ordering::Relaxed);
        state.slot = if answer.is_read() && is_wanted {
            state.buffer = buffer;
            Slot::Read { cell: cell.clone(), since: Instant::now() }
        } else {
            state.put_back(buffer);
            Slot::Free
        };
        let _ = cell.answer.set(answer);
        self.changed.notify_all();
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::label::Arguments;
    use crate::block::region::{Extent, Region};
    use crate::block::task::Place;
    use crate::test_utils::TestDisk;

    /// How many reads are made of a task that is given up while its first one waits for the host.
    fn reads_of(task: Task) -> usize {
        let disk = Arc::new(TestDisk::numbered(1000));
        disk.hold();
        let worker = Worker::new(disk.clone());
        let ticket = worker.lend().unwrap().submit(task);
        disk.wait_for_somebody();
        drop(ticket);
        disk.release();
        drop(worker);
        disk.counts().reads
    }

    #[test]
    fn what_nobody_waits_for_ends_at_its_next_piece() {
        let extents = (0..100).map(|number| Extent::new(number * 1024, 512)).collect();
        let region = Arc::new(Region::new(extents, 1000 * 512).unwrap());
        let place = Place { region, position: 0 };
        assert_eq!(reads_of(Task::Read(place, 100 * 512)), 1);
        let file = Arguments::parse("\\none").unwrap();
        assert_eq!(reads_of(Task::Find(file, Arc::default())), 1);
    }

    #[test]
    fn what_is_written_is_written_whoever_waits() {
        let extents = (0..100).map(|number| Extent::new(number * 1024, 512)).collect();
        let region = Arc::new(Region::new(extents, 1000 * 512).unwrap());
        let disk = Arc::new(TestDisk::numbered(1000));
        disk.hold();
        let worker = Worker::new(disk.clone());
        let place = Place { region, position: 0 };
        let ticket = worker.lend().unwrap().submit(Task::Write(place, 100 * 512));
        disk.wait_for_somebody();
        drop(ticket);
        disk.release();
        drop(worker);
        assert_eq!(disk.counts().writes, 100);
    }
}
