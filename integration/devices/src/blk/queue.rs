//! What works on a queue of a block device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arch_ppc64::log_limit::LogLimit;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::GuestAddressSpace;

use super::request::Requests;
use crate::chain::{Chain, ChainError};
use crate::virtio::{ActiveQueue, Interrupt, QueueHandler, QueueInterrupt};

/// How many requests are answered before others of this thread have their turn.
const BURST: u32 = 128;

/// How often a driver is told of what is done while more of its requests are worked on: at each
/// slow transfer, and not at each that is served from memory.
const SIGNAL_AFTER: Duration = Duration::from_micros(50);

static MISTAKES: LogLimit = LogLimit::new(8, Duration::from_secs(5))
    .with_target(module_path!())
    .with_topic("block device of the guest");

/// Answers the requests in a queue.
pub(super) struct BlockQueue<M> {
    memory: M,
    queue: Queue,
    used: Arc<dyn QueueInterrupt>,
    device: Arc<dyn Interrupt>,
    requests: Requests,
    /// The driver has made a mistake that a reset only can mend.
    is_broken: bool,
}

/// A driver that cannot be understood.
#[derive(Debug, thiserror::Error)]
enum Mistake {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("a request has no room for its status")]
    NoStatus,
    #[error("{0}")]
    Queue(#[from] virtio_queue::Error),
}

impl<M: GuestAddressSpace> BlockQueue<M> {
    pub(super) fn new(
        memory: M,
        active: ActiveQueue,
        has_event_index: bool,
        device: Arc<dyn Interrupt>,
        requests: Requests,
    ) -> Self {
        let ActiveQueue { mut queue, interrupt: used, .. } = active;
        queue.set_event_idx(has_event_index);
        Self { memory, queue, used, device, requests, is_broken: false }
    }

    /// Answers up to [`BURST`] requests. Notifications are off meanwhile, and stay off where there
    /// may be more.
    fn burst(&mut self) -> Result<bool, Mistake> {
        let memory = self.memory.memory();
        let memory = &*memory;
        let (mut told_at, mut is_told) = (Instant::now(), true);
        let mut left = BURST;
        let has_more = loop {
            self.queue.disable_notification(memory)?;
            while left != 0 {
                let Some(descriptors) = self.queue.iter(memory)?.next() else { break };
                left -= 1;
                let head = descriptors.head_index();
                let chain = Chain::new(memory, descriptors)?;
                let written = self.requests.answer(chain).ok_or(Mistake::NoStatus)?;
                self.queue.add_used(memory, head, written)?;
                let now = Instant::now();
                is_told = now.duration_since(told_at) >= SIGNAL_AFTER;
                if is_told {
                    told_at = now;
                    self.signal()?;
                }
            }
            if left == 0 {
                break true;
            }
            // There may have come more while notifications were still off.
            if !self.queue.enable_notification(memory)? {
                break false;
            }
            left -= 1;
        };
        if !is_told {
            self.signal()?;
        }
        Ok(has_more)
    }

    fn signal(&mut self) -> Result<(), Mistake> {
        let memory = self.memory.memory();
        if self.queue.needs_notification(&*memory)? {
            self.used.used();
        }
        Ok(())
    }
}

impl<M: GuestAddressSpace + Send> QueueHandler for BlockQueue<M> {
    fn handle(&mut self) -> bool {
        if self.is_broken {
            return false;
        }
        self.burst().unwrap_or_else(|mistake| {
            let id = self.requests.disk().id();
            MISTAKES.warn(format_args!("{id:?} needs a reset: {mistake}"));
            self.is_broken = true;
            // What was done before is done.
            let _ = self.signal();
            self.device.needs_reset();
            false
        })
    }
}
