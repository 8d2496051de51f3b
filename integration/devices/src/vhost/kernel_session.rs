//! What the host's kernel does for a device, from its start to its stop.

#![allow(unsafe_code)]

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arch_ppc64::platform::StateError;
use vm_memory::{GuestAddressSpace, MmapRegion};

use super::kernel::KernelVhost;
use super::relay::SharedRelay;
use super::vring::{Vring, Vrings};
use super::worker::workers;
use super::{Session, memory};
use crate::virtio::{Activation, Interrupt, Worker};

/// The kernel's part in a device: what it is told of guest memory and queues, and what has to be
/// there for as long as it uses them.
pub(crate) struct KernelSession {
    vhost: KernelVhost,
    /// Where the kernel has it.
    file: &'static str,
    /// Has it access nothing more, and returns when it does not.
    halt: fn(&KernelVhost) -> io::Result<()>,
    /// What it accesses while it is running.
    accessed: Mutex<Option<Accessed>>,
}

/// Kept for the kernel.
struct Accessed {
    /// A guard of guest memory.
    memory: Box<dyn Send>,
    /// The rings that are not in it.
    _rings: Option<Arc<MmapRegion>>,
    /// The queues that are relayed.
    relays: Vec<(u16, SharedRelay)>,
    /// Tells the driver that the kernel cannot go on.
    interrupt: Arc<dyn Interrupt>,
}

impl KernelSession {
    /// One that does nothing yet, of the kernel's device at `file`, which `halt` stops.
    pub(crate) fn new(
        vhost: KernelVhost,
        file: &'static str,
        halt: fn(&KernelVhost) -> io::Result<()>,
    ) -> Arc<Self> {
        Arc::new(Self { vhost, file, halt, accessed: Mutex::default() })
    }

    /// Tells the kernel all that it has to know, and then has `begin` start it. What works beside it
    /// is returned: where queues are relayed, those who do that. After an error it has to be
    /// [stopped](Session::stop).
    pub(crate) fn start<M>(
        self: &Arc<Self>,
        activation: Activation<M>,
        is_relayed: bool,
        begin: impl FnOnce(&KernelVhost, &[Vring]) -> io::Result<()>,
    ) -> io::Result<Vec<Worker>>
    where
        M: GuestAddressSpace + Send + 'static,
        M::T: Send + 'static,
    {
        let Activation { memory, features, queues, interrupt, .. } = activation;
        let guard = memory.memory();
        let regions = memory::ranges(&*guard)?;
        let vrings = if is_relayed {
            Vrings::relayed(&*guard, queues, None)
        } else {
            Vrings::shared(&*guard, queues)
        }?;
        self.vhost.set_features(features)?;
        // SAFETY: they are kept below until the kernel has stopped, or the file is closed. They
        // are parts of guest memory, which all access as such.
        unsafe { self.vhost.set_memory(&regions) }?;
        for vring in &vrings.vrings {
            // SAFETY: likewise, and so are the rings that are not in guest memory.
            unsafe { self.vhost.set_vring(vring) }?;
        }
        let relayed = vrings.vrings.iter();
        let relayed = relayed.filter_map(|vring| Some((vring.index, vring.relay()?.clone())));
        let accessed = Accessed {
            memory: Box::new(guard),
            relays: relayed.collect(),
            _rings: vrings.rings,
            interrupt: interrupt.clone(),
        };
        *self.accessed() = Some(accessed);
        begin(&self.vhost, &vrings.vrings)?;
        Ok(workers(&memory, self.clone(), vrings.relays, &interrupt, self.file))
    }

    /// Has the kernel leave guest memory and its queues alone until it [goes on](Self::resume). Its
    /// drivers have all buffers back that it took.
    pub(crate) fn pause<M: GuestAddressSpace>(
        &self,
        memory: &M,
        until: Instant,
    ) -> Result<(), StateError> {
        let accessed = self.accessed();
        let Some(accessed) = &*accessed else { return Ok(()) };
        (self.halt)(&self.vhost)?;
        for (index, relay) in &accessed.relays {
            let base = self.vhost.vring_base(*index)?;
            relay.await_rest(&*memory.memory(), base, until)?;
        }
        Ok(())
    }

    /// Has `begin` start the kernel again, where it was paused: it knows how far it was.
    pub(crate) fn resume(
        &self,
        begin: impl FnOnce(&KernelVhost) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_paused = self.accessed().is_some();
        if is_paused { begin(&self.vhost) } else { Ok(()) }
    }

    /// Tells the kernel where guest memory is now, if it uses it.
    pub(crate) fn memory_changed<M>(&self, memory: &M)
    where
        M: GuestAddressSpace,
        M::T: Send + 'static,
    {
        let mut accessed = self.accessed();
        let Some(now) = &mut *accessed else { return };
        let guard = memory.memory();
        let told = memory::ranges(&*guard).and_then(|regions| {
            // SAFETY: kept below, or else what it had before is. They are parts of guest memory,
            // which all access as such.
            unsafe { self.vhost.set_memory(&regions) }
        });
        match told {
            Ok(()) => now.memory = Box::new(guard),
            // It must not go on with what it had: that may be gone when this returns.
            Err(error) => {
                log::error!(
                    "{} cannot be told of guest memory: {error}; the device needs a reset",
                    self.file
                );
                let interrupt = now.interrupt.clone();
                drop(accessed);
                self.stop();
                interrupt.needs_reset();
            }
        }
    }

    /// Whether the kernel uses guest memory, as far as is known.
    pub(crate) fn is_running(&self) -> bool {
        self.accessed().is_some()
    }

    fn accessed(&self) -> MutexGuard<'_, Option<Accessed>> {
        self.accessed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session for KernelSession {
    fn stop(&self) {
        let mut accessed = self.accessed();
        if accessed.is_none() {
            return;
        }
        match (self.halt)(&self.vhost) {
            Ok(()) => *accessed = None,
            // It may go on with what it has, which so has to be there for ever.
            Err(error) => {
                log::error!("{} cannot be stopped: {error}", self.file);
                std::mem::forget(accessed.take());
            }
        }
    }
}

impl Drop for KernelSession {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
impl KernelSession {
    /// One that is running, as far as is known, of a kernel that refuses all that it is told.
    pub(crate) fn broken(
        file: &'static str,
        halt: fn(&KernelVhost) -> io::Result<()>,
        interrupt: Arc<dyn Interrupt>,
    ) -> Arc<Self> {
        let accessed =
            Accessed { memory: Box::new(()), _rings: None, relays: Vec::new(), interrupt };
        let (vhost, accessed) = (KernelVhost::broken(), Mutex::new(Some(accessed)));
        Arc::new(Self { vhost, file, halt, accessed })
    }
}
