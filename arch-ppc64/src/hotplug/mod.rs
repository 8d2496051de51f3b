//! Hotplug: cores, memory and PCI devices that come and go while the guest runs (LoPAPR chapter 13, "Logical
//! Resource Dynamic Reconfiguration").
//!
//! What can be plugged has a *connector* (DRC) in the tree: each core that there may be, and each
//! memory block of the ranges that a machine leaves room in
//! ([`MemoryKind::Hotplug`](crate::topology::MemoryKind)); and each slot of a host bridge, where the
//! machine [has slots](Machine::has_slots). The VMM makes the thing first, a stopped vCPU, memory that
//! the guest can reach or a function on the bus, and then [plugs](Hotplug::plug) it, which tells the guest by
//! an event. The guest takes it when it likes: it allocates, unisolates and configures the
//! connector by RTAS calls, all of which [`Hotplug`] answers, and gets the node that it would have
//! found at its start. [Unplugging](Hotplug::unplug) asks the guest, which isolates the connector
//! and gives up its allocation, and then [`HotplugHost::released`] tells the VMM to take the thing
//! away; or it says no ([`HotplugHost::kept`]), or nothing at all.
//!
//! The connectors of cores and of memory are logical ones; those of slots are physical (§13.6): they
//! are empty or not, are never allocated, and what is asked for is given back by isolating it.
//!
//! A machine that starts again is made with what is plugged by then
//! ([`Hotplug::plugged`], [`Machine::with_present`]).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use arch_ppc64::hotplug::{self, Hotplug, HotplugHost, Resource};
//! use arch_ppc64::platform::{InterruptController, InterruptKind, PlatformBuilder};
//! use arch_ppc64::rtas::{EPOW, EVENT_SOURCES_ID, EventSources, StandardCalls};
//! use arch_ppc64::{Machine, NoConsole, VcpuHost};
//! use vm_memory::GuestAddress;
//!
//! struct Vmm;
//!
//! impl HotplugHost for Vmm {
//!     fn released(&self, resource: Resource) {
//!         println!("{resource} can go"); // a real VMM tells the thread that made it
//!     }
//! }
//!
//! fn devices(
//!     machine: &Machine,
//!     controller: Arc<dyn InterruptController>,
//!     cpus: Arc<dyn VcpuHost>,
//! ) -> Result<Hotplug, Box<dyn std::error::Error>> {
//!     let mut builder = PlatformBuilder::new(machine, controller);
//!     let warnings = builder.interrupt(EVENT_SOURCES_ID, EPOW, InterruptKind::Edge)?;
//!     let events = builder.interrupt(hotplug::ID, hotplug::EVENTS, InterruptKind::Edge)?;
//!     let hotplug = Hotplug::new(machine, events, cpus, Arc::new(Vmm));
//!     let sources = EventSources::new(warnings, Arc::default()).with_hotplug(&hotplug);
//!     // CPUs that the guest has not taken, or gave back, cannot be started.
//!     let calls = StandardCalls::new(machine, hotplug.cpus(), Arc::new(NoConsole));
//!     builder
//!         .add(Arc::new(hotplug.clone()))
//!         .add(Arc::new(sources))
//!         .add_all(calls.devices());
//!     Ok(hotplug)
//! }
//!
//! fn grow(hotplug: &Hotplug) -> Result<(), hotplug::PlugError> {
//!     // The memory is mapped for the guest by now.
//!     hotplug.plug(Resource::memory(GuestAddress(1 << 30)))
//! }
//! ```

mod calls;
mod configure;
mod connectors;
mod device;
mod guarded;
mod host;
mod lists;
mod resource;
#[cfg(feature = "serde")]
mod saved;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::machine::Machine;
use crate::pci::HostBridge;
use crate::platform::InterruptLine;
use crate::vcpu::VcpuHost;
use connectors::{Connectors, Notice};
use guarded::GuardedCpus;

pub(crate) use connectors::{Action, Event, EventKind};
pub use device::{EVENTS, ID};
pub use host::{HotplugHost, NoHost, PlugError, PlugState};
pub(crate) use lists::{Listed, list};
pub use resource::{MemoryBlock, PciSlot, Resource};
pub(crate) use resource::{core_connector, memory_connector, number_of, slot_connector};

/// The connectors of a machine, from one start of it to the next: a device, and the VMM's handle to
/// it. Clones are the same connectors.
///
/// All of it may be called from any thread, and waits for nobody.
#[derive(Clone)]
pub struct Hotplug(Arc<Shared>);

struct Shared {
    machine: Machine,
    interrupt: InterruptLine,
    cpus: Arc<dyn VcpuHost>,
    host: Arc<dyn HotplugHost>,
    connectors: Mutex<Connectors>,
    /// Those whose slots have connectors.
    bridges: Mutex<Vec<Arc<HostBridge>>>,
    /// What `cpu-version` is by agreement, 0 as long as there is none: no processor has it.
    cpu_version: AtomicU32,
}

impl Hotplug {
    /// The connectors of a machine that starts. What [is there](Machine::present) of it is in use from
    /// the start.
    ///
    /// `interrupt` is an edge, which tells of events ([`EVENTS`]); `cpus` are asked whether the
    /// threads of a core that the guest gives back are stopped.
    pub fn new(
        machine: &Machine,
        interrupt: InterruptLine,
        cpus: Arc<dyn VcpuHost>,
        host: Arc<dyn HotplugHost>,
    ) -> Self {
        let connectors = Mutex::new(Connectors::of_machine(machine));
        let machine = machine.clone().with_connectors(true);
        let cpu_version = AtomicU32::new(0);
        let bridges = Mutex::default();
        Self(Arc::new(Shared { machine, interrupt, cpus, host, connectors, bridges, cpu_version }))
    }

    /// The slots of a bridge of the machine are connectors, too, in a machine that [has
    /// any](Machine::has_slots): before the platform is built. The devices that there are on its bus by
    /// now are in use from the start.
    pub fn add_bridge(&self, bridge: &Arc<HostBridge>) {
        self.connectors().add_bridge(bridge.number(), bridge.devices());
        self.0.bridges().push(bridge.clone());
    }

    /// Gives the guest what the VMM has made ready: a core whose vCPUs are there and stopped, a block of
    /// memory that the guest can reach, or a device that its bridge [has](HostBridge::add). The guest is
    /// told by an event.
    ///
    /// Of what was plugged before and the guest has not taken yet, it is told once more; what was
    /// [asked back](PlugState::AskedBack) is not asked for any longer.
    ///
    /// # Errors
    /// [`PlugError::NoConnector`] and [`PlugError::InUse`].
    pub fn plug(&self, resource: Resource) -> Result<(), PlugError> {
        let interrupt = self.connectors().plug(resource)?;
        self.tell(interrupt, None);
        Ok(())
    }

    /// Asks the guest to give something back, by an event. It may do so, sooner or later, or not at
    /// all: [`HotplugHost::released`] and [`HotplugHost::kept`] tell. What the guest does not have, as
    /// it has not taken it yet or has given it back by itself, is released before this returns.
    ///
    /// Of what was asked back before, it is told once more.
    ///
    /// # Errors
    /// [`PlugError::NoConnector`] and [`PlugError::NotPlugged`].
    pub fn unplug(&self, resource: Resource) -> Result<(), PlugError> {
        let (interrupt, notice) = self.connectors().unplug(resource)?;
        self.tell(interrupt, notice);
        Ok(())
    }

    /// How far a resource is plugged; `None` for what this machine has no connector for.
    pub fn state(&self, resource: Resource) -> Option<PlugState> {
        self.connectors().plug_state(resource)
    }

    /// All that there is a connector for: cores first, in the order of their CPUs, then memory by
    /// its addresses, then slots.
    pub fn resources(&self) -> Vec<Resource> {
        self.connectors().resources()
    }

    /// What is plugged by now, whatever the guest does with it: what the machine's next start is to
    /// be [made with](Machine::with_present).
    pub fn plugged(&self) -> BTreeSet<Resource> {
        self.connectors().plugged()
    }

    /// The machine's CPUs as the guest is to see them: for
    /// [`StandardCalls`](crate::rtas::StandardCalls) and the client interface. Those of a core that
    /// the guest has not configured, or has isolated, are none of the machine's.
    pub fn cpus(&self) -> Arc<dyn VcpuHost> {
        Arc::new(GuardedCpus(self.0.clone()))
    }

    /// Hands the next event to `take`, if there is one. The event is over once that succeeds.
    pub(crate) fn deliver<E>(
        &self,
        take: impl FnOnce(Event) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let mut connectors = self.connectors();
        let event = connectors.next_event()?;
        let taken = take(event);
        let more = taken.is_ok() && connectors.fetched(event);
        drop(connectors);
        self.tell(more, None);
        Some(taken)
    }

    /// What tells the guest of events.
    pub(crate) fn interrupt(&self) -> &InterruptLine {
        &self.0.interrupt
    }

    /// Tells guest and VMM. No lock is held.
    fn tell(&self, interrupt: bool, notice: Option<Notice>) {
        if interrupt {
            self.0.interrupt.pulse();
        }
        let host = &*self.0.host;
        match notice {
            Some(Notice::Released(resource)) => host.released(resource),
            Some(Notice::Kept(resource)) => host.kept(resource),
            Some(Notice::Taken(resource)) => host.taken(resource),
            Some(Notice::Returned(resource)) => host.returned(resource),
            None => {}
        }
    }

    fn connectors(&self) -> MutexGuard<'_, Connectors> {
        self.0.connectors()
    }

    /// `cpu-version` of cores, where guest and machine have agreed on one.
    fn cpu_version(&self) -> Option<u32> {
        Some(self.0.cpu_version.load(Ordering::Relaxed)).filter(|&version| version != 0)
    }
}

impl Shared {
    fn connectors(&self) -> MutexGuard<'_, Connectors> {
        self.connectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bridges(&self) -> MutexGuard<'_, Vec<Arc<HostBridge>>> {
        self.bridges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bridge(&self, number: u8) -> Option<Arc<HostBridge>> {
        self.bridges().iter().find(|bridge| bridge.number() == number).cloned()
    }

    fn set_cpu_version(&self, version: Option<u32>) {
        self.cpu_version.store(version.unwrap_or(0), Ordering::Relaxed);
    }
}

impl fmt::Debug for Hotplug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hotplug").field("plugged", &self.plugged()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
