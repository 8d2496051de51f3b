//! The requests of the guest, answered one by one.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use vm_memory::GuestAddressSpace;

use super::source::{Source, lock};
use crate::virtio::ring::{Ring, RingError, Taken};
use crate::virtio::{ActiveQueue, Interrupt, QueueHandler};

/// The most bytes that a request gets: a guest that wants more asks again.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// The most requests that are answered before others have a turn.
pub const REQUESTS_AT_ONCE: usize = 16;

/// The queue of requests, and where answers come from.
pub(super) struct Requests<M> {
    memory: M,
    ring: Ring,
    interrupt: Arc<dyn Interrupt>,
    source: Arc<Mutex<Source>>,
    broken: bool,
}

/// How far requests are answered.
#[derive(Debug)]
pub(super) enum Progress {
    /// There is none; the driver will say when there is.
    Done,
    /// There may be more.
    More,
    /// The first that is there waits for the source: what it said.
    Waits(io::Error),
    /// The queue makes no sense, and the driver has been told.
    Broken,
}

impl<M: GuestAddressSpace> Requests<M> {
    pub(super) fn new(
        memory: M,
        queue: ActiveQueue,
        interrupt: Arc<dyn Interrupt>,
        source: Arc<Mutex<Source>>,
    ) -> Self {
        Self { memory, ring: Ring::new(queue), interrupt, source, broken: false }
    }

    pub(super) const fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) fn source(&self) -> &Mutex<Source> {
        &self.source
    }

    /// Answers some.
    pub(super) fn answer(&mut self) -> Progress {
        if self.broken {
            return Progress::Broken;
        }
        self.try_to_answer().unwrap_or_else(|error| {
            self.give_up(&error);
            Progress::Broken
        })
    }

    /// Leaves the queue alone from here on, and tells the driver.
    pub(super) fn give_up(&mut self, reason: &dyn std::error::Error) {
        super::COMPLAINTS.warn(format_args!("the device needs a reset: {reason}"));
        self.broken = true;
        self.interrupt.needs_reset();
    }

    fn try_to_answer(&mut self) -> Result<Progress, RingError> {
        let memory = self.memory.memory();
        let result = self.answer_some(&*memory);
        // What was done before a mistake is done.
        self.ring.tell(&*memory)?;
        result
    }

    fn answer_some(&mut self, memory: &M::M) -> Result<Progress, RingError> {
        let mut source = lock(&self.source);
        self.ring.ignore(memory)?;
        let mut progress = Progress::More;
        for _ in 0..REQUESTS_AT_ONCE {
            let Some(Taken { head, mut chain }) = self.ring.take(memory)? else {
                if self.ring.listen(memory)? {
                    continue;
                }
                progress = Progress::Done;
                break;
            };
            let bytes = chain.writable.len().min(REQUEST_BYTES_MAX);
            let room = chain.writable.split_front(bytes).unwrap_or(chain.writable);
            match room.fill(|to| source.fill(to)) {
                Ok(bytes) => self.ring.give(memory, head, bytes as u32)?,
                Err(error) => {
                    self.ring.put_back(1);
                    progress = Progress::Waits(error);
                    break;
                }
            }
        }
        Ok(progress)
    }
}

/// For sources that never make one wait.
impl<M: GuestAddressSpace + Send> QueueHandler for Requests<M> {
    fn handle(&mut self) -> bool {
        match self.answer() {
            Progress::More => true,
            Progress::Done | Progress::Broken => false,
            Progress::Waits(error) => {
                debug_assert_ne!(error.kind(), ErrorKind::WouldBlock, "nobody waits here");
                self.give_up(&error);
                false
            }
        }
    }
}
