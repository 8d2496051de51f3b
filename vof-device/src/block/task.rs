//! What is left to a disk's thread, as it waits for the host.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::access::{self, Moved};
use super::device::BlockDevice;
use super::label::{self, Arguments};
use super::parts::{Part, Parts};
use super::region::Region;

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Read so many bytes into the buffer.
    Read(Place, usize),
    /// Write so many bytes of the buffer.
    Write(Place, usize),
    /// Find and open a part of the disk.
    Find(Arguments, Arc<Parts>),
}

/// A position in a region.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) region: Arc<Region>,
    pub(super) position: u64,
}

impl Place {
    /// So many bytes further on.
    pub(super) fn after(&self, bytes: usize) -> Self {
        let position = self.position.saturating_add(bytes as u64);
        Self { region: self.region.clone(), position }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// So much was read, and is in the buffer.
    Read(Moved),
    /// So much was written.
    Written(Moved),
    /// The part of the disk, if there is one.
    Found(Option<Arc<Part>>),
    /// Nothing: there was nobody to do it.
    Nobody,
}

impl Task {
    /// Whether it is done even if nobody wants to know any more.
    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Write(..))
    }

    /// Whether it needs the buffer.
    pub(super) fn needs_buffer(&self) -> bool {
        !matches!(self, Self::Find(..))
    }

    /// Does it. What is no write ends early, with any answer, once it is given up.
    pub(super) fn run(
        &self,
        disk: &dyn BlockDevice,
        buffer: &mut [u8],
        is_given_up: &AtomicBool,
    ) -> Answer {
        match self {
            Self::Read(place, bytes) => {
                let to = buffer.get_mut(..*bytes).unwrap_or_default();
                let region = place.region.as_ref();
                Answer::Read(access::read(disk, region, place.position, to, is_given_up))
            }
            Self::Write(place, bytes) => {
                let from = buffer.get(..*bytes).unwrap_or_default();
                Answer::Written(access::write(disk, place.region.as_ref(), place.position, from))
            }
            Self::Find(arguments, parts) => Answer::Found(
                label::find_unless(is_given_up, disk, arguments)
                    .inspect_err(|error| log::debug!("no such part of a disk: {error}"))
                    .ok()
                    .and_then(|region| parts.add(Arc::new(region)))
                    .map(Arc::new),
            ),
        }
    }
}

impl Answer {
    /// Whether it is in the buffer.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}
