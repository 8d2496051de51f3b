//! Where this process writes while a machine runs: the guest's console, messages, the trace.
//!
//! A pipe may be full, a terminal hung, a disk away. So nobody writes but a thread for each file,
//! and nobody waits for that thread without an end: what is to be written is queued up to a limit.
//! What does not fit is the sender's to keep (the console's text), or is left out and counted
//! (messages and the trace). A thread that is stuck ends with the process. The console's text goes past
//! the thread where the file takes it at once.
//!
//! The descriptors are blocking ones, if they were that: whether they are is a property of what is
//! open, which other processes share.

mod direct;
mod queue;
#[cfg(test)]
pub(crate) mod tests;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::confine::{self, Role};
use crate::locks::lock;
use crate::{name, signals, terminal};
use direct::Direct;
use queue::{LaneState, Piece, State};

/// How much is written at once. A write of more than there is room for comes back only when all
/// of it has gone, and until then one cannot see that some did: so it is little where readers are
/// slow.
const TERMINAL_CHUNK_BYTES: usize = 256;
const FILE_CHUNK_BYTES: usize = 64 << 10;
const OTHER_CHUNK_BYTES: usize = libc::PIPE_BUF;

/// How long the thread of a virtual CPU waits for room for a message, before that is left out.
/// A guest that makes many goes no faster than they are written.
const MESSAGE_WAIT: Duration = Duration::from_millis(250);

/// At the end, an output that takes nothing for so many looks at it will not take any more.
const LAST_LOOKS: u32 = 60;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long outputs are waited for when somebody wants to leave, even if they take something: at one
/// time, and in all.
const LEAVE_WAIT: Duration = Duration::from_millis(200);
const LEAVE_WAIT_IN_ALL: Duration = Duration::from_millis(400);

/// When [`LEAVE_WAIT_IN_ALL`] is over.
static LEAVE_BY: OnceLock<Instant> = OnceLock::new();

thread_local! {
    /// Whether this thread may wait for room.
    static MAY_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// All outlets that are open.
static OUTLETS: Mutex<Vec<Weak<Outlet>>> = Mutex::new(Vec::new());

/// Where messages go.
static MESSAGES: OnceLock<Lane> = OnceLock::new();

/// Whether something could not be written, and not because nobody reads it.
static FAILED: AtomicBool = AtomicBool::new(false);

/// A file that is written to, by a thread of its own, in the order in which things were sent.
#[derive(Debug)]
struct Outlet {
    /// The same for all descriptors of a file: device and inode.
    identity: (u64, u64),
    state: Mutex<State>,
    /// Signalled when there is something to write.
    work: Condvar,
    /// Signalled when something was written.
    room: Condvar,
}

/// One sender's way into an outlet.
#[derive(Debug)]
pub(crate) struct Lane {
    outlet: Arc<Outlet>,
    index: usize,
    /// How text gets there when nothing else waits to be written.
    direct: Option<Direct>,
}

impl Lane {
    /// A way into `file`, which is called `name`, for so many bytes at a time.
    pub(crate) fn open(file: File, name: &str, limit_bytes: usize) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let is_terminal = terminal::is_one(&file);
        let lane = LaneState {
            chunk_bytes: match metadata.file_type() {
                _ if is_terminal => TERMINAL_CHUNK_BYTES,
                kind if kind.is_file() || kind.is_block_device() => FILE_CHUNK_BYTES,
                _ => OTHER_CHUNK_BYTES,
            },
            name: name.to_owned(),
            unit: "messages",
            limit_bytes,
            used_bytes: 0,
            left_out: 0,
            closed: false,
            hurried: false,
            dropped: false,
            is_our_terminal: is_terminal && terminal::is_ours(&file),
            file: Arc::new(file),
        };
        // What is one file has one order.
        let identity = (metadata.dev(), metadata.ino());
        let mut outlets = lock(&OUTLETS);
        outlets.retain(|outlet| outlet.strong_count() > 0);
        let known = outlets.iter().filter_map(Weak::upgrade).find(|one| one.identity == identity);
        if let Some(outlet) = known {
            let mut state = outlet.lock();
            let index = state.add(lane);
            drop(state);
            return Ok(Self { outlet, index, direct: None });
        }
        let state = State { lanes: vec![lane], ..State::default() };
        let outlet = Arc::new(Outlet {
            identity,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
        });
        let writer = outlet.clone();
        let thread = thread::Builder::new().name(format!("to {name}"));
        // Whoever takes the signals that end the process puts the terminal back first.
        let write_out = move || {
            confine::begin(Role::Outlet);
            writer.write_out();
        };
        signals::without(&signals::TAKEN, || thread.spawn(write_out))?;
        outlets.push(Arc::downgrade(&outlet));
        Ok(Self { outlet, index: 0, direct: None })
    }

    /// The same, and text that is sent is written at once by whoever sends it, without a wait, where
    /// that is possible: a console's pieces are small, and to wake a thread for each takes longer.
    pub(crate) fn at_once(mut self) -> Self {
        let (file, is_terminal) = {
            let lane = &self.outlet.lock().lanes[self.index];
            (lane.file.clone(), lane.chunk_bytes == TERMINAL_CHUNK_BYTES)
        };
        self.direct = Direct::open(&file, is_terminal);
        self
    }

    /// The same, for messages that are called so.
    pub(crate) fn of(self, unit: &'static str) -> Self {
        self.outlet.lock().lanes[self.index].unit = unit;
        self
    }

    /// Sends as much of `text` as there is room for; waits for more as long as some goes within
    /// `patience`. Gives how much that was.
    pub(crate) fn send(&self, text: &[u8], patience: Duration) -> usize {
        let mut state = self.outlet.lock();
        let mut sent = 0;
        loop {
            if state.lanes[self.index].closed {
                return text.len();
            }
            let direct = self.direct.as_ref().filter(|_| state.is_done());
            sent += direct.map_or(0, |direct| direct.write(&text[sent..]));
            let rest = &text[sent..];
            let lane = &state.lanes[self.index];
            let fits = rest.len().min(lane.limit_bytes.saturating_sub(lane.used_bytes));
            let patience = if lane.hurried { Duration::ZERO } else { patience };
            self.push(&mut state, &rest[..fits]);
            sent += fits;
            if sent == text.len() || patience.is_zero() {
                return sent;
            }
            let full = |state: &mut State| {
                let lane = &state.lanes[self.index];
                lane.used_bytes >= lane.limit_bytes && !lane.closed && !lane.hurried
            };
            let (after, timed_out) = self.outlet.wait_for_room(state, patience, full);
            if timed_out {
                return sent;
            }
            state = after;
        }
    }

    /// Sends a message whole, with an end of line, or leaves it out and counts it.
    pub(crate) fn say(&self, message: &str) {
        let mut state = self.outlet.lock();
        let line = state.lanes[self.index].line(message);
        let may_wait = MAY_WAIT.get() && state.lanes[self.index].left_out == 0;
        if may_wait {
            let full = |state: &mut State| {
                let lane = &state.lanes[self.index];
                !lane.has_room(line.len()) && !lane.closed && !lane.hurried
            };
            state = self.outlet.wait_for_room(state, MESSAGE_WAIT, full).0;
        }
        let lane = &mut state.lanes[self.index];
        if lane.closed {
            return;
        }
        if lane.left_out > 0 || !lane.has_room(line.len()) {
            lane.left_out += 1;
            return;
        }
        self.push(&mut state, line.as_bytes());
    }

    /// Sends text whatever room there is: for the last of it.
    pub(crate) fn add(&self, text: &[u8]) {
        let mut state = self.outlet.lock();
        if !state.lanes[self.index].closed {
            self.push(&mut state, text);
        }
    }

    /// From here on nobody waits for room, and who does so is woken.
    pub(crate) fn hurry(&self) {
        self.outlet.lock().lanes[self.index].hurried = true;
        self.outlet.room.notify_all();
    }

    /// How much was sent and is not written yet.
    pub(crate) fn unwritten_bytes(&self) -> usize {
        self.outlet.lock().lanes[self.index].used_bytes
    }

    fn push(&self, state: &mut State, text: &[u8]) {
        state.push(self.index, text);
        if state.waits {
            self.outlet.work.notify_one();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.outlet.lock().lanes[self.index].dropped = true;
        self.outlet.work.notify_one();
    }
}

impl Outlet {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The thread: writes what comes, until all senders are gone.
    fn write_out(&self) {
        while let Some(piece) = self.next() {
            let (file, chunk_bytes) = {
                let state = self.lock();
                let lane = &state.lanes[piece.lane];
                (lane.file.clone(), lane.chunk_bytes)
            };
            let mut rest = &piece.bytes[..];
            while let Some(chunk) =
                rest.get(..chunk_bytes.min(rest.len())).filter(|c| !c.is_empty())
            {
                match (&*file).write(chunk) {
                    Ok(0) => {
                        self.fail(piece.lane, rest.len(), &ErrorKind::WriteZero.into());
                        break;
                    }
                    Ok(count) => {
                        rest = &rest[count.min(rest.len())..];
                        self.wrote(piece.lane, count);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // Somebody who shares it does not want to wait; here that is all there is to do.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => wait_until_ready(&file),
                    Err(error) => {
                        self.fail(piece.lane, rest.len(), &error);
                        break;
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Piece> {
        let mut state = self.lock();
        loop {
            if let Some(piece) = state.queue.pop_front() {
                return Some(piece);
            }
            if state.lanes.iter().all(|lane| lane.dropped) {
                return None;
            }
            state.waits = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waits = false;
        }
    }

    /// Waits as long as `full` says so. Gives whether that was too long, too.
    fn wait_for_room<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        patience: Duration,
        full: impl FnMut(&mut State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        state.wait_for_room += 1;
        let waited = self.room.wait_timeout_while(state, patience, full);
        let (mut state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        state.wait_for_room -= 1;
        (state, result.timed_out())
    }

    fn wrote(&self, index: usize, bytes: usize) {
        let mut state = self.lock();
        state.progress += 1;
        state.stalled = false;
        let lane = &mut state.lanes[index];
        lane.used_bytes -= bytes;
        if lane.used_bytes == 0 {
            if let Some(gap) = lane.gap() {
                let line = lane.line(&gap);
                state.push(index, line.as_bytes());
            }
        }
        // A system call that most writes can do without.
        if state.wait_for_room > 0 {
            self.room.notify_all();
        }
    }

    /// Nothing more is written for a sender, but all is taken.
    fn fail(&self, index: usize, rest_bytes: usize, error: &io::Error) {
        let mut state = self.lock();
        let lane = &mut state.lanes[index];
        lane.closed = true;
        lane.left_out = 0;
        let nobody_reads = match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => true,
            // A terminal that was hung up.
            _ => error.raw_os_error() == Some(libc::EIO) && terminal::is_one(&lane.file),
        };
        // A guest cannot do anything about a reader who left, and its owner knows.
        if !nobody_reads {
            FAILED.store(true, Ordering::SeqCst);
            let message = format!("{}: cannot write to {}: {error}", name::prefix(), lane.name);
            // It may go the same way.
            drop(state);
            if let Some(messages) = MESSAGES.get() {
                messages.say(&message);
            }
            state = self.lock();
        }
        // Who waits until all is done waits for the message, too: not done before that is sent.
        let mut dropped_bytes = rest_bytes;
        state.queue.retain(|piece| {
            let stays = piece.lane != index;
            dropped_bytes += if stays { 0 } else { piece.bytes.len() };
            stays
        });
        state.lanes[index].used_bytes -= dropped_bytes;
        state.progress += 1;
        drop(state);
        self.room.notify_all();
    }
}

fn wait_until_ready(file: &File) {
    let mut ready = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one structure, borrowed for the call. Whatever comes back, the write is tried again.
    unsafe { libc::poll(&raw mut ready, 1, -1) };
    // A terminal says that it is ready when it has little room, and takes nothing then.
    thread::sleep(Duration::from_millis(1));
}

/// A descriptor of this process, to be written to.
pub(crate) fn duplicate(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    descriptor.try_clone_to_owned().map(File::from)
}

/// From here on this thread waits a little for room for its messages. Nobody may wait whom a
/// person or a signal waits for.
pub(crate) fn wait_in_this_thread() {
    MAY_WAIT.set(true);
}

/// Makes `lane` the one that messages go to.
pub(crate) fn set_messages(lane: Lane) {
    // Who was first stays.
    let _ = MESSAGES.set(lane);
}

/// Says something on standard error.
pub(crate) fn tell(message: &str) {
    match MESSAGES.get() {
        Some(messages) => messages.say(message),
        None => {
            if writeln!(io::stderr(), "{message}").is_err_and(|error| !is_reader_gone(&error)) {
                FAILED.store(true, Ordering::SeqCst);
            }
        }
    }
}

/// Whether an error of writing is that nobody reads any more.
pub fn is_reader_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

/// Waits until all that was sent is written, as long as some of it goes; when somebody wants to
/// leave (`left`), for a moment at most.
pub(crate) fn flush(left: bool) {
    let start = Instant::now();
    let latest = left.then(|| {
        let in_all = *LEAVE_BY.get_or_init(|| start + LEAVE_WAIT_IN_ALL);
        in_all.min(start + LEAVE_WAIT)
    });
    let outlets = outlets();
    let mut seen: Vec<_> = outlets.iter().map(|_| (0, 0)).collect();
    loop {
        let mut waits = false;
        for (outlet, (progress, looks)) in outlets.iter().zip(&mut seen) {
            let mut state = outlet.lock();
            if state.is_done() || state.stalled {
                continue;
            }
            *looks = if *progress == state.progress { *looks + 1 } else { 0 };
            *progress = state.progress;
            let is_late = latest.is_some_and(|latest| Instant::now() >= latest);
            state.stalled = is_late || *looks > LAST_LOOKS;
            waits |= !state.stalled;
        }
        if !waits {
            return;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits until all that was sent is written, as long as some of it goes, and for so long at most. What
/// nobody reads stays.
pub(crate) fn settle(limit: Duration) {
    let start = Instant::now();
    let outlets = outlets();
    let mut seen: Vec<_> = outlets.iter().map(|_| (0, 0)).collect();
    loop {
        let mut waits = false;
        for (outlet, (progress, looks)) in outlets.iter().zip(&mut seen) {
            let state = outlet.lock();
            *looks = if *progress == state.progress { *looks + 1 } else { 0 };
            *progress = state.progress;
            waits |= !state.is_done() && !state.stalled && *looks <= LAST_LOOKS;
        }
        if !waits || start.elapsed() >= limit {
            return;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits for what was said to be written, as long as somebody reads it; when somebody wants to leave
/// (`left`), for a moment at most. Gives whether all that was not written had nobody to read it.
pub fn finish(left: bool) -> bool {
    let outlets = outlets();
    flush(left);
    for outlet in outlets {
        let gaps: Vec<_> = outlet.lock().lanes.iter_mut().filter_map(LaneState::gap).collect();
        for gap in gaps {
            tell(&gap);
        }
    }
    flush(left);
    !has_failed()
}

/// Whether something could not be written that somebody would have read.
pub(crate) fn has_failed() -> bool {
    FAILED.load(Ordering::SeqCst)
}

/// From here on nobody waits for room anywhere, as somebody wants to leave.
pub(crate) fn hurry() {
    outlets().iter().for_each(|outlet| hurry_one(outlet));
}

fn hurry_one(outlet: &Outlet) {
    outlet.lock().lanes.iter_mut().for_each(|lane| lane.hurried = true);
    outlet.room.notify_all();
}

fn outlets() -> Vec<Arc<Outlet>> {
    lock(&OUTLETS).iter().filter_map(Weak::upgrade).collect()
}
