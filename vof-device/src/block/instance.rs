//! A disk, or a part of one, that a client has open.

mod methods;
#[cfg(feature = "serde")]
mod saved;

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "serde")]
use arch_ppc64::platform::{StateError, StateValue};

use super::access::Moved;
use super::disk::Disk;
use super::label::Arguments;
use super::parts::Part;
use super::region::Region;
use super::task::{Answer, Place, Task};
use super::under_way::UnderWay;
use super::worker::{Collected, Ticket, User};
use crate::args::Failed;
use crate::package::{Buffer, Context, Instance, Progress, Stack, Throw, Transfer};

pub(crate) use methods::NAMES as METHODS;
#[cfg(feature = "serde")]
pub(super) use saved::reopen;

pub(super) struct OpenDisk {
    stage: Stage,
    position: u64,
    under_way: Option<UnderWay>,
    // Whatever it has of the thread goes away before.
    _user: User,
    disk: Arc<Disk>,
}

enum Stage {
    /// The part is looked for.
    Finding(Arguments, Option<Ticket>),
    /// This is it.
    Open(Arc<Part>),
}

impl OpenDisk {
    /// The part that is meant, once it is found.
    pub(super) fn new(disk: &Arc<Disk>, arguments: Arguments) -> Result<Self, Failed> {
        if arguments == Arguments::default() {
            return Self::of_part(disk, disk.whole.clone());
        }
        Ok(Self::at_stage(disk, Stage::Finding(arguments, None)))
    }

    pub(super) fn of_part(disk: &Arc<Disk>, region: Arc<Region>) -> Result<Self, Failed> {
        let part = disk.parts.add(region).ok_or(Failed)?;
        Ok(Self::at_stage(disk, Stage::Open(Arc::new(part))))
    }

    /// The same where another one was, in the middle of a transfer.
    #[cfg(feature = "serde")]
    pub(super) fn at(self, position: u64, done: usize) -> Self {
        let under_way = (done > 0).then(|| UnderWay::after(done));
        Self { position, under_way, ..self }
    }

    fn at_stage(disk: &Arc<Disk>, stage: Stage) -> Self {
        let _user = disk.worker.enter();
        Self { stage, position: 0, under_way: None, _user, disk: disk.clone() }
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What is open.
    pub(super) fn region(&self) -> Result<&Arc<Region>, Failed> {
        match &self.stage {
            Stage::Open(part) => Ok(&part.region),
            Stage::Finding(..) => Err(Failed),
        }
    }

    /// Moves the first bytes of a buffer that the region has places for, from `place` on; what came of
    /// it, once it is at its end.
    pub(super) fn transfer(
        &mut self,
        way: Way,
        place: &Place,
        buffer: &Buffer<'_>,
    ) -> Result<Option<Moved>, Failed> {
        if way == Way::Write && self.disk.device.is_read_only() {
            return Ok(Some(Moved { bytes: 0, has_failed: true }));
        }
        let left = place.region.bytes().saturating_sub(place.position);
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let mut under_way = self.under_way.take().unwrap_or_default();
        let moved = match way {
            Way::Read => under_way.read(&self.disk, place, buffer, bytes),
            Way::Write => under_way.write(&self.disk, place, buffer, bytes),
        }?;
        if moved.is_none() {
            self.under_way = Some(under_way);
        }
        Ok(moved)
    }

    /// `read` or `write`, from where it is.
    fn go_on(&mut self, way: Way, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        let place = Place { region: self.region()?.clone(), position: self.position };
        match self.transfer(way, &place, buffer)? {
            None => Ok(Transfer::NotYet),
            Some(Moved { bytes: 0, has_failed: true }) => Err(Failed),
            Some(Moved { bytes, .. }) => {
                self.position += bytes as u64;
                Ok(Transfer::Done(bytes))
            }
        }
    }
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the client.
    Read,
    /// To the disk.
    Write,
}

impl Instance for OpenDisk {
    fn ready(&mut self) -> Result<Progress, Failed> {
        let Stage::Finding(arguments, ticket) = &mut self.stage else { return Ok(Progress::Done) };
        match ticket.as_ref().map(Ticket::collect) {
            None => {
                let lent = self.disk.worker.lend();
                let (what, parts) = (arguments.clone(), self.disk.parts.clone());
                *ticket = lent.map(|lent| lent.submit(Task::Find(what, parts)));
            }
            Some(None) => {}
            Some(Some(Collected::Answer(Answer::Found(Some(part))))) => {
                self.stage = Stage::Open(part);
                return Ok(Progress::Done);
            }
            Some(Some(_)) => return Err(Failed),
        }
        Ok(Progress::NotYet)
    }

    fn read(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        self.go_on(Way::Read, buffer)
    }

    fn write(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        self.go_on(Way::Write, buffer)
    }

    /// Anywhere: what is behind the end has no bytes.
    fn seek(&mut self, _: &Context<'_>, position: u64) -> Result<Progress, Failed> {
        self.position = position;
        Ok(Progress::Done)
    }

    fn method(
        &mut self,
        context: &Context<'_>,
        name: &str,
        stack: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        methods::call(self, context, name, stack)
    }

    fn wait(&mut self, limit: Duration) {
        match (&self.stage, &self.under_way) {
            (Stage::Finding(_, ticket), _) => self.disk.worker.wait(ticket.as_ref(), limit),
            (Stage::Open(_), Some(under_way)) => under_way.wait(&self.disk, limit),
            (Stage::Open(_), None) => {}
        }
    }

    /// What was taken to be written is written; it is where it was.
    fn abandon(&mut self) {
        self.under_way = None;
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Result<Option<StateValue>, StateError> {
        let region =
            self.region().map_err(|_| StateError::Value("it is not open yet".to_owned()))?;
        let done = self.under_way.as_ref().map_or(0, UnderWay::done);
        saved::state(region, self.position, done).map(Some)
    }
}
