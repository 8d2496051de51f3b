//! Answers requests that nobody works on any more.

use vm_memory::GuestMemory;
use vm_memory::bitmap::BitmapSlice;

use crate::chain::Chain;
use crate::virtio::ring::{Ring, RingError, Taken};

/// How a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As one of the FUSE protocol: with the error ENOTCONN, as that of a file system whose server
    /// is gone.
    Fuse,
}

/// Of a FUSE request: length, operation and number, and more (`struct fuse_in_header`).
const NUMBER_AT: usize = 8;
/// Of an answer: length, error and number (`struct fuse_out_header`).
const ANSWER_BYTES: u32 = 16;

impl Refusal {
    /// Refuses a request: gives how many bytes were written.
    pub(crate) fn answer<B: BitmapSlice>(self, chain: &Chain<'_, B>) -> u32 {
        let Self::Fuse = self;
        let mut request = [0; NUMBER_AT + 8];
        if chain.readable.copy_to(&mut request) < request.len()
            || chain.writable.len() < ANSWER_BYTES as usize
        {
            // One that is not answered.
            return 0;
        }
        let error = -libc::ENOTCONN;
        let head = [ANSWER_BYTES.to_le_bytes(), error.to_le_bytes()].concat();
        let answer = [head.as_slice(), &request[NUMBER_AT..]].concat();
        chain.writable.copy_from(&answer);
        ANSWER_BYTES
    }

    /// Refuses what is available, but not for ever.
    pub(crate) fn answer_all<M: GuestMemory>(
        self,
        ring: &mut Ring,
        memory: &M,
    ) -> Result<(), RingError> {
        let _ = ring.doorbell().read();
        for _ in 0..ring.size() {
            match ring.take(memory)? {
                Some(Taken { head, chain }) => ring.give(memory, head, self.answer(&chain))?,
                None if ring.listen(memory)? => {}
                None => return ring.tell(memory),
            }
        }
        let _ = ring.doorbell().write(1);
        ring.tell(memory)
    }
}
