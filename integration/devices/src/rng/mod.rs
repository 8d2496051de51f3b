//! The entropy device: random bytes for the guest (Virtio 1.2 §5.4).
//!
//! A request is a buffer, and gets what the [`Source`] has at that time, at least one byte and at
//! most [`REQUEST_BYTES_MAX`]. A source of which nothing comes leaves requests where they are: the
//! guest waits, and nobody else.

mod requests;
mod source;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use arch_ppc64::platform::{StateError, StateValue};
use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_memory::GuestAddressSpace;
use vmm_sys_util::timerfd::TimerFd;

use crate::virtio::saved::check_version;
use crate::virtio::{ActivateError, Activation, DeviceKind, VirtioDevice, Worker};
use requests::Requests;
pub use requests::{REQUEST_BYTES_MAX, REQUESTS_AT_ONCE};
pub use source::{Source, SourceError};
use waiting::Waiting;

/// How many requests may wait.
const QUEUE_SIZES: [u16; 1] = [64];

/// Other system peripheral: there is no class of its own.
const PCI_CLASS: u32 = 0x08_8000;

/// What a guest or a source can cause without an end.
static COMPLAINTS: LogLimit = LogLimit::new(4, Duration::from_secs(60))
    .with_target(module_path!())
    .with_topic("random bytes for the guest");

/// What is saved of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RngState {
    /// How far a source is that gives the same each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fixed: Option<u64>,
}

/// The device.
#[derive(Debug)]
pub struct Rng {
    source: Arc<Mutex<Source>>,
}

impl Rng {
    /// A device that gives what comes from `source`.
    pub fn new(source: Source) -> Self {
        Self { source: Arc::new(Mutex::new(source)) }
    }
}

impl<M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for Rng {
    fn kind(&self) -> DeviceKind {
        DeviceKind::new(VIRTIO_ID_RNG as u16, PCI_CLASS)
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// There is none (§5.4.4).
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&RngState { fixed: source::lock(&self.source).fixed_state() })
    }

    /// A source that is random stays so, whatever the other was.
    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        check_version(version, 1)?;
        let RngState { fixed } = state.get()?;
        if let Some(state) = fixed {
            source::lock(&self.source).go_on_from(state);
        }
        Ok(())
    }

    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError> {
        let Activation { memory, queues, interrupt, .. } = activation;
        let queue = queues.into_iter().find(|queue| queue.index == 0);
        let queue = queue.ok_or(ActivateError::Queue(0))?;
        let waits = source::lock(&self.source).waits();
        let requests = Requests::new(memory, queue, interrupt, self.source.clone());
        if !waits {
            return Ok(vec![Worker::Queue { index: 0, handler: Box::new(requests) }]);
        }
        let timer = TimerFd::new().map_err(|error| ActivateError::Host {
            what: "cannot make a timer",
            source: error.into(),
        })?;
        Ok(vec![Worker::Subscriber(Box::new(Waiting::new(requests, timer)))])
    }
}
