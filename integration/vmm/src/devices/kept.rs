//! A device that outlives restarts of its machine.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use arch_ppc64::fdt::{FdtError, NodeBuilder};
use arch_ppc64::platform::{StateError, StateValue};
use pseries_devices::virtio::{
    ActivateError, Activation, Counters, DeviceKind, VirtioDevice, Worker,
};

use super::Role;
#[cfg(feature = "vof")]
use super::client_side::ClientSide;
use super::held::Held;
use crate::config::DeviceId;
use crate::locks::lock;
use crate::ram::Memory;

/// A device with its id. Its clones are the same device: at most one of them is plugged in.
#[derive(Clone)]
pub(super) struct Kept {
    id: DeviceId,
    role: Role,
    queue_sizes: Arc<[u16]>,
    counters: Option<Arc<dyn Counters>>,
    device: Arc<Mutex<dyn VirtioDevice<Memory>>>,
    #[cfg(feature = "vof")]
    client_side: Option<ClientSide>,
    held: Option<Arc<dyn Held>>,
    /// Who writes to RAM for it without taking note of that.
    writes_unseen: Option<Arc<str>>,
}

impl Kept {
    pub(super) fn new(id: DeviceId, device: impl VirtioDevice<Memory> + 'static) -> Self {
        let queue_sizes = device.queue_sizes().into();
        Self {
            id,
            role: Role::Other,
            queue_sizes,
            counters: device.counters(),
            device: Arc::new(Mutex::new(device)),
            #[cfg(feature = "vof")]
            client_side: None,
            held: None,
            writes_unseen: None,
        }
    }

    /// The same device, which has something that only one machine may have.
    pub(super) fn with_held(self, held: impl Held + 'static) -> Self {
        Self { held: Some(Arc::new(held)), ..self }
    }

    pub(super) fn held(&self) -> Option<Arc<dyn Held>> {
        self.held.clone()
    }

    /// The same device, `device`, whose worker is not this process and, unless it is relayed, writes to
    /// RAM unseen.
    pub(super) fn with_relay(self, device: String, is_relayed: bool) -> Self {
        Self { writes_unseen: (!is_relayed).then(|| device.into()), ..self }
    }

    pub(super) fn writes_unseen(&self) -> Option<&str> {
        self.writes_unseen.as_deref()
    }

    /// The same device, which clients of the client interface can use as well.
    #[cfg(feature = "vof")]
    pub(super) fn with_client_side(self, client_side: ClientSide) -> Self {
        Self { client_side: Some(client_side), ..self }
    }

    #[cfg(feature = "vof")]
    pub(super) fn client_side(&self) -> Option<&ClientSide> {
        self.client_side.as_ref()
    }

    /// What it is for a machine that starts.
    pub(super) fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn id(&self) -> &DeviceId {
        &self.id
    }

    /// What it has done, where somebody counts. Waits for nobody.
    pub(super) fn counts(&self) -> Option<Vec<(&'static str, u64)>> {
        Some(self.counters.as_ref()?.read())
    }

    fn device(&self) -> MutexGuard<'_, dyn VirtioDevice<Memory> + 'static> {
        lock(&self.device)
    }
}

impl VirtioDevice<Memory> for Kept {
    fn kind(&self) -> DeviceKind {
        self.device().kind()
    }

    fn features(&self) -> u64 {
        self.device().features()
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        self.counters.clone()
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        self.device().read_config(offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.device().write_config(offset, data);
    }

    fn activate(&mut self, activation: Activation<Memory>) -> Result<Vec<Worker>, ActivateError> {
        self.device().activate(activation)
    }

    fn reset(&mut self) {
        self.device().reset();
    }

    fn memory_changed(&mut self, memory: &Memory) {
        self.device().memory_changed(memory);
    }

    fn pause(&mut self, memory: &Memory, until: Instant) -> Result<(), StateError> {
        self.device().pause(memory, until)
    }

    fn resume(&mut self, memory: &Memory) -> Result<(), ActivateError> {
        self.device().resume(memory)
    }

    fn state_version(&self) -> u32 {
        self.device().state_version()
    }

    fn save(&self) -> Result<StateValue, StateError> {
        self.device().save()
    }

    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        self.device().restore(version, state)
    }

    fn describe(&self, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        self.device().describe(node)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("id", &self.id).finish_non_exhaustive()
    }
}
