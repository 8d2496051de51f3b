//! A transfer between a client's buffer and a disk, over as many tries of the client's call as it
//! takes.

use std::time::Duration;

use super::access::{self, Moved};
use super::disk::Disk;
use super::task::{Answer, Place, Task};
use super::worker::{Collected, Ticket};
use crate::args::Failed;
use crate::limits::MAX_DISK_TRANSFER_BYTES;
use crate::package::Buffer;

/// What there is of it after a try.
#[derive(Default)]
pub(super) struct UnderWay {
    /// So many bytes are read or written.
    done: usize,
    /// What the disk's thread is at for it.
    ticket: Option<Ticket>,
    /// It wants the thread, and somebody else has it.
    is_in_line: bool,
}

impl UnderWay {
    /// One that goes on after so many bytes.
    #[cfg(feature = "serde")]
    pub(super) fn after(done: usize) -> Self {
        Self { done, ..Self::default() }
    }

    /// How many bytes are read, or taken by the disk.
    #[cfg(feature = "serde")]
    pub(super) fn done(&self) -> usize {
        match self.ticket.as_ref().and_then(Ticket::answer) {
            Some(Answer::Written(moved)) => self.done + moved.bytes,
            _ => self.done,
        }
    }

    /// Tries to read the first `bytes` of the buffer, which the region has; what came of it, once it
    /// is at its end.
    ///
    /// # Errors
    /// The buffer is no RAM any more.
    pub(super) fn read(
        &mut self,
        disk: &Disk,
        place: &Place,
        buffer: &Buffer<'_>,
        bytes: usize,
    ) -> Result<Option<Moved>, Failed> {
        self.done = self.done.min(bytes);
        let mut limit = MAX_DISK_TRANSFER_BYTES;
        match self.ticket.as_ref().map(Ticket::collect) {
            None | Some(Some(Collected::Lost)) => {}
            Some(None) => return Ok(None),
            Some(Some(Collected::Read(moved, mut lent))) => {
                buffer.put(self.done, lent.buffer().get(..moved.bytes).unwrap_or_default())?;
                self.done += moved.bytes;
                limit -= moved.bytes;
                if moved.has_failed {
                    return Ok(Some(self.failed()));
                }
            }
            Some(Some(Collected::Answer(_))) => return Ok(Some(self.failed())),
        }
        self.ticket = None;
        let rest = place.after(self.done);
        let now = (bytes - self.done).min(limit);
        let put = |at: usize, data: &[u8]| buffer.put(self.done + at, data);
        let at_hand = access::read_at_hand(&*disk.device, &rest.region, rest.position, now, put)?;
        self.done += at_hand.bytes;
        if at_hand.is_missed {
            let rest = place.after(self.done);
            let bytes = (bytes - self.done).min(MAX_DISK_TRANSFER_BYTES);
            self.submit(disk, |_| Ok(Task::Read(rest, bytes)))?;
        }
        Ok(self.ended(bytes))
    }

    /// Tries to write the first `bytes` of the buffer, for which the region has places; what came of
    /// it, once it is at its end. What is taken for it is written once, whatever becomes of the
    /// call.
    ///
    /// # Errors
    /// The buffer is no RAM any more.
    pub(super) fn write(
        &mut self,
        disk: &Disk,
        place: &Place,
        buffer: &Buffer<'_>,
        bytes: usize,
    ) -> Result<Option<Moved>, Failed> {
        self.done = self.done.min(bytes);
        match self.ticket.as_ref().map(Ticket::collect) {
            None => {}
            Some(None) => return Ok(None),
            Some(Some(Collected::Answer(Answer::Written(moved)))) => {
                self.done += moved.bytes;
                if moved.has_failed {
                    return Ok(Some(self.failed()));
                }
            }
            Some(Some(_)) => return Ok(Some(self.failed())),
        }
        self.ticket = None;
        if self.done < bytes {
            let (done, rest) = (self.done, place.after(self.done));
            let bytes = (bytes - done).min(MAX_DISK_TRANSFER_BYTES);
            self.submit(disk, |data| {
                buffer.get(done, data.get_mut(..bytes).unwrap_or_default())?;
                Ok(Task::Write(rest, bytes))
            })?;
        }
        Ok(self.ended(bytes))
    }

    /// Waits until the next try is likely to get further.
    pub(super) fn wait(&self, disk: &Disk, limit: Duration) {
        if self.ticket.is_some() || self.is_in_line {
            disk.worker.wait(self.ticket.as_ref(), limit);
        }
    }

    /// Leaves a task to the disk's thread, if it has none.
    fn submit(
        &mut self,
        disk: &Disk,
        task: impl FnOnce(&mut [u8]) -> Result<Task, Failed>,
    ) -> Result<(), Failed> {
        let lent = disk.worker.lend();
        self.is_in_line = lent.is_none();
        if let Some(mut lent) = lent {
            let task = task(lent.buffer())?;
            self.ticket = Some(lent.submit(task));
        }
        Ok(())
    }

    fn failed(&self) -> Moved {
        Moved { bytes: self.done, has_failed: true }
    }

    fn ended(&self, bytes: usize) -> Option<Moved> {
        (self.done == bytes).then_some(Moved { bytes, has_failed: false })
    }
}
