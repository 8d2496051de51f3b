//! From the host to the guest: frames, and the buffers that they go to.

use std::collections::VecDeque;

use smallvec::SmallVec;
use vm_memory::GuestMemory;
use vm_memory::bitmap::{BS, BitmapSlice};

use super::backend::{
    Backend, Expected, FRAME_BYTES_MAX, FRAME_BYTES_MIN, HEADER_BYTES, Lost, Received,
};
use super::counts::Counts;
use super::patience::Patience;
use super::{FRAMES_AT_ONCE, Failure, Next};
use crate::iovec::Scatter;
use crate::virtio::ring::{Ring, RingError, Taken};

/// Where `num_buffers` is in a `virtio_net_hdr` (Virtio 1.2 §5.1.6).
const NUM_BUFFERS_AT: usize = 10;

/// The queue of buffers for frames that come.
///
/// A frame goes straight into the buffers that are there; what is longer than those goes to a buffer
/// of the host's, to be copied or left out. Between two calls, buffers that are taken and not used
/// yet are back in the queue, as if nobody had looked at them: of the frame that comes in parts, it
/// is known how much is in the first of them.
pub(super) struct Receiver {
    ring: Ring,
    /// A frame may be in several buffers (`VIRTIO_NET_F_MRG_RXBUF`).
    is_mergeable: bool,
    frame: Frame,
    spill: Box<[u8]>,
}

/// How far the next frame has come.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    /// In the guest's buffers.
    placed: usize,
    /// Behind that, in the host's.
    spilled: usize,
    is_whole: bool,
}

/// Buffers that are taken from the queue.
struct Held<'m, B> {
    chains: VecDeque<Taken<'m, B>>,
    bytes: usize,
    pieces: usize,
}

impl Receiver {
    pub(super) fn new(ring: Ring, is_mergeable: bool) -> Self {
        let spill = vec![0; HEADER_BYTES + FRAME_BYTES_MAX].into_boxed_slice();
        Self { ring, is_mergeable, frame: Frame::default(), spill }
    }

    pub(super) const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The rest of the frame will not come.
    pub(super) fn abandon(&mut self) {
        self.frame = Frame::default();
    }

    /// Gives the guest frames, as long as there are some and there is room, up to a limit.
    pub(super) fn receive<M: GuestMemory>(
        &mut self,
        memory: &M,
        backend: &mut dyn Backend,
        counts: &Counts,
        patience: &mut Patience,
    ) -> Result<Next, Failure> {
        let mut held = Held { chains: VecDeque::new(), bytes: 0, pieces: 0 };
        let next = self.receive_into(memory, backend, &mut held, counts, patience);
        // Not more than there are descriptors.
        self.ring.put_back(held.chains.len() as u16);
        self.ring.tell(memory)?;
        next
    }

    fn receive_into<'m, M: GuestMemory>(
        &mut self,
        memory: &'m M,
        backend: &mut dyn Backend,
        held: &mut Held<'m, BS<'m, M::Bitmap>>,
        counts: &Counts,
        patience: &mut Patience,
    ) -> Result<Next, Failure> {
        self.ring.ignore(memory)?;
        for _ in 0..FRAMES_AT_ONCE {
            while !self.frame.is_whole {
                let Some(expected) = backend.expected()? else { return Ok(Next::Backend) };
                let (Expected::Exactly(bytes) | Expected::AtMost(bytes)) = expected;
                let is_room = self.hold(memory, held, self.frame.bytes() + bytes)?;
                let waits = matches!(expected, Expected::Exactly(_)) && self.may_get_more(held);
                if held.chains.is_empty() || !is_room && waits {
                    return Ok(Next::Driver);
                }
                if !self.receive_part(backend, held)? {
                    return Ok(Next::Backend);
                }
            }
            self.hold(memory, held, self.frame.bytes())?;
            self.frame.unspill(held, &mut self.spill);
            if self.frame.spilled > 0 && self.may_get_more(held) {
                return Ok(Next::Driver);
            }
            let frame = std::mem::take(&mut self.frame);
            patience.moved(frame.bytes());
            if frame.spilled > 0 || frame.placed < HEADER_BYTES + FRAME_BYTES_MIN {
                counts.received_dropped.add(1);
            } else {
                self.deliver(memory, held, frame.placed)?;
                counts.received.add(1);
                counts.received_bytes.add((frame.placed - HEADER_BYTES) as u64);
            }
        }
        Ok(Next::More)
    }

    /// Takes buffers from the queue until there is room for so many bytes: false where there are too
    /// few, and then the driver tells of more.
    fn hold<'m, M: GuestMemory>(
        &mut self,
        memory: &'m M,
        held: &mut Held<'m, BS<'m, M::Bitmap>>,
        bytes: usize,
    ) -> Result<bool, RingError> {
        while held.bytes < bytes {
            let is_full = held.chains.len() >= usize::from(self.ring.size());
            if is_full || !self.is_mergeable && !held.chains.is_empty() {
                return Ok(false);
            }
            match self.ring.take(memory)? {
                Some(taken) => held.push(taken)?,
                None if self.ring.listen(memory)? => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether the driver may have buffers that are not in the queue yet.
    fn may_get_more<B>(&self, held: &Held<'_, B>) -> bool {
        self.is_mergeable && held.pieces < usize::from(self.ring.size())
    }

    /// False where nothing has come.
    fn receive_part<'m, B: BitmapSlice + 'm>(
        &mut self,
        backend: &mut dyn Backend,
        held: &Held<'m, B>,
    ) -> Result<bool, Lost> {
        let frame = &mut self.frame;
        // A driver may have changed what it made available: that is its own loss.
        frame.placed = frame.placed.min(held.bytes);
        frame.unspill(held, &mut self.spill);
        let mut room = held.room_behind(frame.placed);
        let for_guest = room.len();
        room.append(Scatter::from(&mut self.spill[frame.spilled..]));
        let received = backend.receive(&mut room).inspect_err(|_| {
            // Nobody knows how far it came.
            held.mark_dirty(held.bytes);
        });
        let (bytes, is_whole) = match received? {
            Received::Nothing => return Ok(false),
            Received::Part(bytes) => (bytes, false),
            Received::End(bytes) => (bytes, true),
        };
        frame.placed += bytes.min(for_guest);
        frame.spilled += bytes.saturating_sub(for_guest);
        frame.is_whole = is_whole;
        held.mark_dirty(frame.placed);
        Ok(true)
    }

    /// Gives the buffers back that so many bytes are in, all at once.
    fn deliver<'m, M: GuestMemory, B: BitmapSlice + 'm>(
        &mut self,
        memory: &M,
        held: &mut Held<'m, B>,
        bytes: usize,
    ) -> Result<(), RingError> {
        let mut count = 0;
        let mut left = bytes;
        let used = held.chains.iter().map_while(|taken| {
            let bytes = left.min(taken.chain.writable.len());
            left -= bytes;
            count += u16::from(bytes > 0);
            (bytes > 0).then_some((taken.head, bytes as u32))
        });
        let used: SmallVec<[_; 32]> = used.collect();
        if let Some(first) = held.chains.front() {
            let mut header = first.chain.writable.scatter();
            let _ = header.split_front(NUM_BUFFERS_AT);
            header.copy_from(&count.to_le_bytes());
            // Behind the write: whoever took the marks of the frame meanwhile has not seen it.
            first.chain.writable.mark_dirty(HEADER_BYTES);
        }
        held.pop(used.len());
        self.ring.give_all(memory, used)
    }
}

impl Frame {
    const fn bytes(&self) -> usize {
        self.placed + self.spilled
    }

    /// Moves what is in the host's buffer to the guest's, as far as there is room.
    fn unspill<'m, B: BitmapSlice + 'm>(&mut self, held: &Held<'m, B>, spill: &mut [u8]) {
        if self.spilled == 0 || self.placed >= held.bytes {
            return;
        }
        let moved = held.room_behind(self.placed).copy_from(&spill[..self.spilled]);
        spill.copy_within(moved..self.spilled, 0);
        self.placed += moved;
        self.spilled -= moved;
        held.mark_dirty(self.placed);
    }
}

impl<'m, B: BitmapSlice + 'm> Held<'m, B> {
    /// "The driver MUST \[make\] the size of each buffer at least the size of the header"
    /// (§5.1.6.3.1, in short).
    fn push(&mut self, taken: Taken<'m, B>) -> Result<(), RingError> {
        let bytes = taken.chain.writable.len();
        if bytes < HEADER_BYTES {
            return Err(RingError::Small { bytes, least: HEADER_BYTES });
        }
        self.bytes += bytes;
        self.pieces += taken.chain.writable.iter().count();
        self.chains.push_back(taken);
        Ok(())
    }

    fn pop(&mut self, count: usize) {
        for taken in self.chains.drain(..count) {
            self.bytes -= taken.chain.writable.len();
            self.pieces -= taken.chain.writable.iter().count();
        }
    }

    /// All of them, without the first bytes.
    fn room_behind(&self, bytes: usize) -> Scatter<'m> {
        let mut chains = self.chains.iter();
        let mut room = match chains.next() {
            Some(first) => first.chain.writable.scatter(),
            None => Scatter::from(&mut [][..]),
        };
        for taken in chains {
            room.append(taken.chain.writable.scatter());
        }
        let _ = room.split_front(bytes);
        room
    }

    fn mark_dirty(&self, bytes: usize) {
        let mut left = bytes;
        for taken in &self.chains {
            let marked = left.min(taken.chain.writable.len());
            taken.chain.writable.mark_dirty(marked);
            left -= marked;
        }
    }
}
