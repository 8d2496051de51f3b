//! The console device, with one port (Virtio 1.2 §5.3): a second console, beside the machine's own.
//!
//! What is on the host's side is a [`HostEnd`]. Nothing is kept in between: text stays in the
//! guest's buffers until the end takes it, and with the end until the guest has buffers.

#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use arch_ppc64::platform::{StateError, StateValue};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestAddressSpace;

use crate::host_console::HostEnd;
use crate::virtio::ring::Ring;
use crate::virtio::saved::check_version;
use crate::virtio::{ActivateError, Activation, DeviceKind, VirtioDevice, Worker};
pub use worker::{TURN_BYTES, TURN_CHAINS};

/// The size of the console is in its configuration (§5.3.3).
const VIRTIO_CONSOLE_F_SIZE: u32 = 0;

/// Typed text, text to be shown.
const QUEUE_SIZES: [u16; 2] = [64, 64];
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Another simple communication controller: there is no class for consoles.
const PCI_CLASS: u32 = 0x07_8000;

/// What a guest can cause without an end.
static COMPLAINTS: LogLimit = LogLimit::new(4, Duration::from_secs(60))
    .with_target(module_path!())
    .with_topic("console of the guest");

/// How much text there is room for on the screen, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleSize {
    /// Of a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What is saved of it. Text is in the guest's buffers until the end has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsoleState {
    /// Of the first chain of text: it was shown, and is not shown again. One that is not so long has
    /// nothing more to show.
    shown_bytes: u32,
}

/// The device.
pub struct Console {
    end: Arc<Mutex<Box<dyn HostEnd>>>,
    /// How much of the first chain of text the end has taken.
    shown_bytes: Arc<AtomicU32>,
    size: Option<ConsoleSize>,
}

impl Console {
    /// A console whose text goes to `end`, and which is typed at there.
    pub fn new(end: Box<dyn HostEnd>) -> Self {
        Self { end: Arc::new(Mutex::new(end)), shown_bytes: Arc::default(), size: None }
    }

    /// With a size that the guest is told.
    #[must_use]
    pub const fn with_size(mut self, size: ConsoleSize) -> Self {
        self.size = Some(size);
        self
    }
}

impl<M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for Console {
    fn kind(&self) -> DeviceKind {
        DeviceKind::new(VIRTIO_ID_CONSOLE as u16, PCI_CLASS)
    }

    fn features(&self) -> u64 {
        u64::from(self.size.is_some()) << VIRTIO_CONSOLE_F_SIZE
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// §5.3.4: `struct virtio_console_config`; of its fields, the first two are there.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let ConsoleSize { columns, rows } =
            self.size.unwrap_or(ConsoleSize { columns: 0, rows: 0 });
        let space = [columns.to_le_bytes(), rows.to_le_bytes()].concat();
        let rest = usize::try_from(offset).ok().and_then(|offset| space.get(offset..));
        for (to, from) in data.iter_mut().zip(rest.unwrap_or_default()) {
            *to = *from;
        }
    }

    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError> {
        let Activation { memory, queues, interrupt, .. } = activation;
        let mut rings = [None, None];
        for queue in queues {
            if let Some(ring) = rings.get_mut(usize::from(queue.index)) {
                *ring = Some(Ring::new(queue));
            }
        }
        let [receive, transmit] = rings;
        let receive = receive.ok_or(ActivateError::Queue(RECEIVE))?;
        let transmit = transmit.ok_or(ActivateError::Queue(TRANSMIT))?;
        let (end, shown_bytes) = (self.end.clone(), self.shown_bytes.clone());
        let worker = worker::Worker::new(memory, receive, transmit, end, shown_bytes, interrupt);
        Ok(vec![Worker::Subscriber(Box::new(worker))])
    }

    fn reset(&mut self) {
        self.shown_bytes.store(0, Ordering::Relaxed);
    }

    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&ConsoleState { shown_bytes: self.shown_bytes.load(Ordering::Relaxed) })
    }

    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        check_version(version, 1)?;
        let ConsoleState { shown_bytes } = state.get()?;
        self.shown_bytes.store(shown_bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("size", &self.size).finish_non_exhaustive()
    }
}
