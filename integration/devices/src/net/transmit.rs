//! From the guest to the host.

use vm_memory::GuestMemory;

use super::backend::{Backend, FRAME_BYTES_MAX, FRAME_BYTES_MIN, HEADER_BYTES, Sent};
use super::counts::Counts;
use super::patience::Patience;
use super::{FRAMES_AT_ONCE, Failure, Next};
use crate::virtio::ring::{Ring, RingError, Taken};

/// The queue of frames to be sent. Those that find no room stay in it, and the guest has to wait.
pub(super) struct Transmitter {
    ring: Ring,
}

impl Transmitter {
    pub(super) const fn new(ring: Ring) -> Self {
        Self { ring }
    }

    pub(super) const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Sends frames, as long as there are some and there is room, up to a limit. Without a back end,
    /// they are lost.
    pub(super) fn send<M: GuestMemory>(
        &mut self,
        memory: &M,
        backend: Option<&mut dyn Backend>,
        counts: &Counts,
        patience: &mut Patience,
    ) -> Result<Next, Failure> {
        let next = self.send_some(memory, backend, counts, patience);
        self.ring.tell(memory)?;
        next
    }

    fn send_some<M: GuestMemory>(
        &mut self,
        memory: &M,
        mut backend: Option<&mut dyn Backend>,
        counts: &Counts,
        patience: &mut Patience,
    ) -> Result<Next, Failure> {
        self.ring.ignore(memory)?;
        for _ in 0..FRAMES_AT_ONCE {
            let Some(Taken { head, chain }) = self.ring.take(memory)? else {
                if self.ring.listen(memory)? {
                    continue;
                }
                return Ok(Next::Driver);
            };
            let frame = chain.readable.gather();
            let bytes = frame.len();
            let possible = HEADER_BYTES + FRAME_BYTES_MIN..=HEADER_BYTES + FRAME_BYTES_MAX;
            let sent = match &mut backend {
                Some(backend) if possible.contains(&bytes) => backend.send(frame),
                _ => Ok(Sent::LeftOut),
            };
            match sent {
                Ok(Sent::Full) => {
                    self.ring.put_back(1);
                    return Ok(Next::Backend);
                }
                Ok(Sent::Taken) => {
                    counts.sent.add(1);
                    counts.sent_bytes.add((bytes - HEADER_BYTES) as u64);
                }
                Ok(Sent::LeftOut) | Err(_) => counts.sent_dropped.add(1),
            }
            self.ring.give(memory, head, 0)?;
            sent?;
            patience.moved(bytes);
        }
        Ok(Next::More)
    }
}

impl From<RingError> for Failure {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}
