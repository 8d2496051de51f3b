//! What works on a queue of a block device.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arch_ppc64::log_limit::LogLimit;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{GuestAddressSpace, GuestMemory};

use super::request::{Order, Request, Requests};
use super::writes::{Before, Writes};
use crate::virtio::ring::{Ring, RingError, Taken};
use crate::virtio::{ActiveQueue, Interrupt, QueueHandler};

/// The most requests that are answered before others have a turn.
pub const REQUESTS_AT_ONCE: usize = 128;

/// No further request is answered before others have a turn when the buffers of those before have
/// so many bytes.
pub const BYTES_AT_ONCE: usize = 64 << 20;

/// How often a driver is told of what is done while more of its requests are worked on: at each
/// slow transfer, and not at each that is served from memory.
const TELL_AFTER: Duration = Duration::from_micros(50);

static MISTAKES: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("disk");

/// Answers the requests in a queue, as one of several that do.
///
/// Each takes the next request, and does it while others take and do theirs. As long as nobody has to
/// wait for the disk, one is enough: whoever is about to wait wakes another, if there is more.
pub(super) struct BlockQueue<M> {
    memory: M,
    shared: Arc<Shared>,
}

/// What all have.
struct Shared {
    device: Arc<dyn Interrupt>,
    requests: Requests,
    writes: Writes,
    queue: Mutex<Queue>,
    helpers: u16,
}

/// The queue itself: for moments only.
struct Queue {
    ring: Ring,
    /// Whether there is more than one who works on it.
    has_helpers: bool,
    /// The driver has made a mistake that a reset only can mend.
    is_broken: bool,
}

/// A driver that cannot be understood.
#[derive(Debug, thiserror::Error)]
enum Mistake {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("a request has no room for its status")]
    NoStatus,
}

impl<M: GuestAddressSpace> BlockQueue<M> {
    /// Has so many helpers, if they are wanted.
    pub(super) fn new(
        memory: M,
        queue: ActiveQueue,
        device: Arc<dyn Interrupt>,
        requests: Requests,
        helpers: u16,
    ) -> Self {
        let queue = Queue { ring: Ring::new(queue), has_helpers: false, is_broken: false };
        let (writes, queue) = (Writes::default(), Mutex::new(queue));
        Self { memory, shared: Arc::new(Shared { device, requests, writes, queue, helpers }) }
    }

    /// Answers some. Notifications are off meanwhile, and stay off where there may be more.
    fn answer(&self) -> Result<bool, Mistake> {
        let shared = &*self.shared;
        let mut told_at = Instant::now();
        let mut bytes = 0;
        let mut queue = shared.queue();
        if queue.is_broken {
            return Ok(false);
        }
        queue.ring.ignore(&*self.memory.memory())?;
        for _ in 0..REQUESTS_AT_ONCE {
            if bytes >= BYTES_AT_ONCE {
                break;
            }
            // Anew each time: the last request may have taken long, and memory may have come since.
            let memory = self.memory.memory();
            let memory = &*memory;
            let Some(Taken { head, chain }) = queue.ring.take(memory)? else {
                // There may have come more while notifications were still off.
                if queue.ring.listen(memory)? {
                    queue.ring.ignore(memory)?;
                    continue;
                }
                queue.ring.tell(memory)?;
                return Ok(false);
            };
            bytes += chain.readable.len() + chain.writable.len();
            let request = Request::new(chain).ok_or(Mistake::NoStatus)?;
            let order = request.order();
            // In the order of the queue, as it is still held.
            let write = (order == Order::Write).then(|| shared.writes.begin());
            let before = (order == Order::Flush).then(|| shared.writes.so_far());
            let has_helpers = queue.has_helpers;
            drop(queue);

            let mut called = Ok(());
            let mut call = || called = shared.call_others(memory);
            let before_waiting: Option<&mut dyn FnMut()> =
                if has_helpers { Some(&mut call) } else { None };
            let written = shared.answer(request, before, before_waiting);
            drop(write);

            queue = shared.queue();
            called?;
            if queue.is_broken {
                return Ok(false);
            }
            queue.ring.give(memory, head, written)?;
            let now = Instant::now();
            if now.duration_since(told_at) >= TELL_AFTER {
                told_at = now;
                queue.ring.tell(memory)?;
            }
        }
        queue.ring.tell(&*self.memory.memory())?;
        Ok(true)
    }

    /// Leaves the queue alone from here on, and tells the driver.
    fn give_up(&self, mistake: &Mistake) {
        let mut queue = self.shared.queue();
        if std::mem::replace(&mut queue.is_broken, true) {
            return;
        }
        // What was done before is done.
        let _ = queue.ring.tell(&*self.memory.memory());
        drop(queue);
        let id = self.shared.requests.disk().id();
        MISTAKES.warn(format_args!("{id:?} needs a reset: {mistake}"));
        self.shared.device.needs_reset();
    }
}

impl Shared {
    /// Does what a request says, behind the writes that are `before` it.
    fn answer<B: BitmapSlice>(
        &self,
        request: Request<'_, B>,
        before: Option<Before>,
        mut before_waiting: Option<&mut dyn FnMut()>,
    ) -> u32 {
        if let Some(before) = before {
            if let Some(before_waiting) = &mut before_waiting {
                before_waiting();
            }
            self.writes.wait(before);
            // Those who could help were called.
            return self.requests.answer(request, None);
        }
        self.requests.answer(request, before_waiting)
    }

    /// Somebody will wait: what is done is told, and what is still to be done is for others.
    fn call_others<M: GuestMemory>(&self, memory: &M) -> Result<(), RingError> {
        let mut queue = self.queue();
        if queue.is_broken {
            return Ok(());
        }
        queue.ring.tell(memory)?;
        if queue.ring.listen(memory)? {
            // One that is full is readable already.
            let _ = queue.ring.doorbell().write(1);
        }
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> QueueHandler for BlockQueue<M>
where
    M: GuestAddressSpace + Send + 'static,
{
    fn handle(&mut self) -> bool {
        self.answer().unwrap_or_else(|mistake| {
            self.give_up(&mistake);
            false
        })
    }

    fn helpers(&mut self) -> Vec<Box<dyn QueueHandler>> {
        self.shared.queue().has_helpers = self.shared.helpers > 0;
        let helper = || Self { memory: self.memory.clone(), shared: self.shared.clone() };
        (0..self.shared.helpers).map(|_| Box::new(helper()) as Box<dyn QueueHandler>).collect()
    }
}
