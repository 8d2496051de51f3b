//! What works for a device from when its driver has set it up until it is reset.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent};
use vmm_sys_util::eventfd::EventFd;

use super::relay::{Relay, add};
use super::setup::MISTAKES;
use super::signals::Signals;
use super::threads::{Stop, Threads, Wait, name};
use crate::virtio::{Interrupt, QueueHandler, QueueInterrupt};

/// What an [`Epoll`] tells when the thread has to rest or to end.
const STOP: u64 = u64::MAX;

/// How often a queue is handled for one notification on the notifying vCPU's thread: more than any
/// driver has buffers for that does not add some meanwhile.
const CALLS_MAX: u32 = 1 << 16;

/// Its threads, and what it tells its driver by.
pub(super) struct Activity {
    id: String,
    signals: Arc<Signals>,
    /// Whether it may still tell its driver.
    live: AtomicBool,
    threads: Threads,
    relay: Mutex<Option<Relay>>,
}

impl Activity {
    /// Of the device of this id, and of this number in virtio.
    pub(super) fn new(id: &str, device: u16, signals: &Arc<Signals>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            id: id.to_owned(),
            signals: Arc::clone(signals),
            live: AtomicBool::new(true),
            threads: Threads::new(device)?,
            relay: Mutex::new(None),
        }))
    }

    /// The interrupt of a queue.
    pub(super) fn queue_interrupt(self: &Arc<Self>, queue: u16) -> Arc<dyn QueueInterrupt> {
        Arc::new(QueueLine { activity: Arc::clone(self), queue })
    }

    /// Handles a queue on a thread of its own, and on more when there is something for them to do.
    pub(super) fn run_queue(
        self: &Arc<Self>,
        queue: u16,
        mut handler: Box<dyn QueueHandler>,
        doorbell: EventFd,
    ) -> io::Result<()> {
        let epoll = Epoll::new()?;
        watch(&epoll, self.threads.ending())?;
        // By edges: each write to the doorbell wakes one thread, and nobody has to read it.
        add(&epoll, &doorbell, queue.into())?;
        let helpers = Mutex::new(handler.helpers());
        let crew =
            Crew { queue, epoll, helpers, sleeping: AtomicUsize::new(0), _doorbell: doorbell };
        self.run_crew(Arc::new(crew), handler, false)
    }

    /// Runs one of those who handle a queue. Who begins by sleeping is counted among those who do
    /// already.
    fn run_crew(
        self: &Arc<Self>,
        crew: Arc<Crew>,
        mut handler: Box<dyn QueueHandler>,
        mut sleeps: bool,
    ) -> io::Result<()> {
        let activity = Arc::clone(self);
        let name = name(&self.id, format_args!("q{}", crew.queue));
        let body = move |stop: &Stop| {
            while stop.goes_on() {
                if sleeps {
                    let woken = wait(&crew.epoll, &mut [EpollEvent::default(); 2]);
                    crew.sleeping.fetch_sub(1, Ordering::SeqCst);
                    woken?;
                    if !stop.goes_on() {
                        break;
                    }
                }
                // This one may have to wait for something.
                if crew.sleeping.load(Ordering::SeqCst) == 0 {
                    activity.call_helper(&crew);
                }
                sleeps = !handler.handle();
                if sleeps {
                    crew.sleeping.fetch_add(1, Ordering::SeqCst);
                }
            }
            Ok(())
        };
        self.spawn(&name, body)
    }

    /// Nobody sleeps who could be woken: starts one more, if there is one.
    fn call_helper(self: &Arc<Self>, crew: &Arc<Crew>) {
        let helper = crew.helpers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(helper) = helper {
            crew.sleeping.fetch_add(1, Ordering::SeqCst);
            if let Err(error) = self.run_crew(Arc::clone(crew), helper, true) {
                crew.sleeping.fetch_sub(1, Ordering::SeqCst);
                // Those who are there do all of it; and while it ends, none is wanted.
                if self.live.load(Ordering::SeqCst) {
                    MISTAKES.warn(format_args!("{} has no further thread: {error}", self.id));
                }
            }
        }
    }

    /// Runs what waits for files on a thread of its own.
    pub(super) fn run_subscriber(
        self: &Arc<Self>,
        number: usize,
        subscriber: Box<dyn MutEventSubscriber + Send>,
    ) -> io::Result<()> {
        let name = name(&self.id, format_args!("w{number}"));
        self.spawn(&name, move |stop| run_events(stop, subscriber))
    }

    /// Handles a queue on the thread that notified it. False if the handler has panicked: nobody
    /// knows what it would do next.
    pub(super) fn handle_here(&self, handler: &mut dyn QueueHandler) -> bool {
        let all = AssertUnwindSafe(|| (0..CALLS_MAX).all(|_| handler.handle()));
        match catch_unwind(all) {
            Ok(false) => {}
            Ok(true) => MISTAKES.warn(format_args!("{} has a queue without an end", self.id)),
            Err(_) => {
                self.fail(format_args!("has panicked"));
                return false;
            }
        }
        true
    }

    /// The guest has changed how it is told: files of queues follow.
    pub(super) fn follow_messages(&self) {
        if let Some(relay) = &mut *self.files() {
            relay.follow();
        }
    }

    /// Asks all threads to rest, and tells whether they do, or have ended.
    pub(super) fn rest(&self, wait: Wait) -> bool {
        self.threads.rest();
        self.threads.do_rest(wait)
    }

    /// While threads rest, and nobody else works for the device: what was written to files of queues
    /// is an interrupt by now.
    pub(super) fn settle(&self) {
        if let Some(relay) = &mut *self.files() {
            relay.settle();
        }
    }

    /// Threads that rest go on.
    pub(super) fn go_on(&self) {
        self.follow_messages();
        self.threads.go_on();
    }

    /// It tells nothing any more, and all threads are asked to end.
    pub(super) fn stop(&self) {
        self.live.store(false, Ordering::SeqCst);
        // With its files detached; none comes after this.
        drop(self.files().take());
        self.threads.stop();
    }

    /// Whether all threads have ended.
    pub(super) fn has_ended(&self, wait: Wait) -> bool {
        self.threads.have_ended(wait)
    }

    fn spawn(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce(&Stop) -> Result<(), Box<dyn Error>> + Send + 'static,
    ) -> io::Result<()> {
        let activity = Arc::clone(self);
        let main = move |stop: &Stop| match catch_unwind(AssertUnwindSafe(|| body(stop))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => activity.fail(format_args!("cannot go on: {error}")),
            Err(_) => activity.fail(format_args!("has panicked")),
        };
        self.threads.spawn(name, main)
    }

    /// A worker has failed.
    fn fail(&self, how: fmt::Arguments<'_>) {
        MISTAKES.error(format_args!("what works for {} {how}", self.id));
        self.needs_reset();
    }

    /// The file whose being written to is the interrupt of a queue.
    fn file(self: &Arc<Self>, queue: u16) -> io::Result<EventFd> {
        let mut relay = self.files();
        if !self.live.load(Ordering::SeqCst) {
            return Err(ended());
        }
        let relay = match &mut *relay {
            Some(relay) => relay,
            none => none.insert(self.start_relay()?),
        };
        relay.file(queue)
    }

    fn start_relay(self: &Arc<Self>) -> io::Result<Relay> {
        let epoll = Arc::new(Epoll::new()?);
        let relay = Relay::new(Arc::clone(&epoll), Arc::clone(&self.signals));
        let activity = Arc::clone(self);
        let body = move |stop: &Stop| {
            let mut events = [EpollEvent::default(); 16];
            watch(&epoll, stop)?;
            while stop.goes_on() {
                let count = wait(&epoll, &mut events)?;
                if !stop.goes_on() {
                    break;
                }
                for event in &events[..count] {
                    if let Ok(queue) = u16::try_from(event.data()) {
                        activity.relay(queue);
                    }
                }
            }
            Ok(())
        };
        self.spawn(&name(&self.id, format_args!("irq")), body)?;
        Ok(relay)
    }

    /// The file of a queue was written to.
    fn relay(&self, queue: u16) {
        let was_written = self.files().as_ref().is_some_and(|relay| relay.take(queue));
        if was_written {
            self.signals.queue(queue);
        }
    }

    fn files(&self) -> MutexGuard<'_, Option<Relay>> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt for Activity {
    fn configuration_changed(&self) {
        if self.live.load(Ordering::SeqCst) {
            self.signals.configuration();
        }
    }

    fn needs_reset(&self) {
        if self.live.load(Ordering::SeqCst) {
            MISTAKES.warn(format_args!("{} needs a reset", self.id));
            self.signals.needs_reset(true);
        }
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Those who handle a queue together.
struct Crew {
    queue: u16,
    /// Where all of them sleep.
    epoll: Epoll,
    /// Those who have no thread yet.
    helpers: Mutex<Vec<Box<dyn QueueHandler>>>,
    /// How many wait in `epoll`, or will do so next: none only while there are no helpers left.
    sleeping: AtomicUsize,
    /// Open for as long as somebody waits for it.
    _doorbell: EventFd,
}

/// The interrupt of a queue while the device is active.
struct QueueLine {
    activity: Arc<Activity>,
    queue: u16,
}

impl QueueInterrupt for QueueLine {
    fn used(&self) {
        if self.activity.live.load(Ordering::SeqCst) {
            self.activity.signals.queue(self.queue);
        }
    }

    fn file(&self) -> io::Result<EventFd> {
        self.activity.file(self.queue)
    }
}

/// Ends the wait of an [`EventManager`] when the thread has to rest or to end.
struct Ender(EventFd);

impl MutEventSubscriber for Ender {
    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {}

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.0, EventSet::IN)) {
            log::error!("cannot wait for the end of a device: {error}");
        }
    }
}

fn run_events(
    stop: &Stop,
    subscriber: Box<dyn MutEventSubscriber + Send>,
) -> Result<(), Box<dyn Error>> {
    if !stop.goes_on() {
        return Ok(());
    }
    let file = stop.file().try_clone()?;
    let mut manager: EventManager<Box<dyn MutEventSubscriber + Send>> = EventManager::new()?;
    manager.add_subscriber(Box::new(Ender(file)));
    manager.add_subscriber(subscriber);
    while stop.goes_on() {
        manager.run()?;
    }
    Ok(())
}

/// What is asked for comes too late.
fn ended() -> io::Error {
    io::Error::other("the device is no longer active")
}

/// Has `epoll` tell when the thread has to rest or to end.
fn watch(epoll: &Epoll, stop: &Stop) -> io::Result<()> {
    let event = EpollEvent::new(EventSet::IN, STOP);
    epoll.ctl(ControlOperation::Add, stop.file().as_raw_fd(), event)
}

/// Waits for the next events.
fn wait(epoll: &Epoll, events: &mut [EpollEvent]) -> io::Result<usize> {
    loop {
        match epoll.wait(-1, events) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
