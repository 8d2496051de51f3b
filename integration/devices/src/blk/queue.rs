//! What works on a queue of a block device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arch_ppc64::log_limit::LogLimit;
use vm_memory::GuestAddressSpace;

use super::request::Requests;
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

/// Answers the requests in a queue.
pub(super) struct BlockQueue<M> {
    memory: M,
    ring: Ring,
    device: Arc<dyn Interrupt>,
    requests: Requests,
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
    pub(super) fn new(
        memory: M,
        queue: ActiveQueue,
        device: Arc<dyn Interrupt>,
        requests: Requests,
    ) -> Self {
        Self { memory, ring: Ring::new(queue), device, requests, is_broken: false }
    }

    /// Answers some. Notifications are off meanwhile, and stay off where there may be more.
    fn answer(&mut self) -> Result<bool, Mistake> {
        let memory = self.memory.memory();
        let memory = &*memory;
        let mut told_at = Instant::now();
        self.ring.ignore(memory)?;
        let mut bytes = 0;
        for _ in 0..REQUESTS_AT_ONCE {
            if bytes >= BYTES_AT_ONCE {
                break;
            }
            let Some(Taken { head, chain }) = self.ring.take(memory)? else {
                // There may have come more while notifications were still off.
                if self.ring.listen(memory)? {
                    self.ring.ignore(memory)?;
                    continue;
                }
                self.ring.tell(memory)?;
                return Ok(false);
            };
            bytes += chain.readable.len() + chain.writable.len();
            let written = self.requests.answer(chain).ok_or(Mistake::NoStatus)?;
            self.ring.give(memory, head, written)?;
            let now = Instant::now();
            if now.duration_since(told_at) >= TELL_AFTER {
                told_at = now;
                self.ring.tell(memory)?;
            }
        }
        self.ring.tell(memory)?;
        Ok(true)
    }

    /// Leaves the queue alone from here on, and tells the driver.
    fn give_up(&mut self, mistake: &Mistake) {
        let id = self.requests.disk().id();
        MISTAKES.warn(format_args!("{id:?} needs a reset: {mistake}"));
        self.is_broken = true;
        // What was done before is done.
        let _ = self.ring.tell(&*self.memory.memory());
        self.device.needs_reset();
    }
}

impl<M: GuestAddressSpace + Send> QueueHandler for BlockQueue<M> {
    fn handle(&mut self) -> bool {
        !self.is_broken
            && self.answer().unwrap_or_else(|mistake| {
                self.give_up(&mistake);
                false
            })
    }
}
