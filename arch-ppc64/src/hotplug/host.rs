//! What the VMM hears, and what it may ask for.

use super::resource::Resource;

/// What a VMM hears of its guest's dealings with what it plugged.
///
/// Called on the thread of the vCPU that makes the RTAS call, inside that call, or on the thread
/// that calls [`Hotplug::unplug`](super::Hotplug::unplug), inside that: do not wait for a vCPU
/// here, hand over to another thread. No lock of [`Hotplug`](super::Hotplug) is held, so all of it
/// may be called from here.
pub trait HotplugHost: Send + Sync {
    /// What [`unplug`](super::Hotplug::unplug) asked back is the VMM's again: the guest has isolated
    /// it and given up its allocation, or had never taken it. Its vCPUs are stopped and can end, its
    /// memory can be taken away. It is unplugged from here on, and can be plugged again.
    fn released(&self, resource: Resource);

    /// The guest will not give back what [`unplug`](super::Hotplug::unplug) asked for, and goes on
    /// using it; nothing is asked of it any more.
    ///
    /// Linux says so of cores, from 5.13 on. Of memory that it cannot free, and before, it says
    /// nothing at all, so there has to be a time limit as well: when it is over,
    /// [`plug`](super::Hotplug::plug) takes the request back.
    fn kept(&self, resource: Resource) {
        let _ = resource;
    }

    /// The guest has taken what was plugged: it is allocated, unisolated and configured.
    fn taken(&self, resource: Resource) {
        let _ = resource;
    }

    /// The guest has given back what nobody asked for, or what it had been given and could not use.
    /// It stays plugged, and the guest may take it again: its administrator may do both by hand.
    /// To have it back, [`unplug`](super::Hotplug::unplug) it: that is done at once.
    fn returned(&self, resource: Resource) {
        let _ = resource;
    }
}

/// A VMM that does not want to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

impl HotplugHost for NoHost {
    fn released(&self, _: Resource) {}
}

/// How far a resource is plugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlugState {
    /// It is not there.
    Absent,
    /// It is there for the guest to take, which it has not done, or not wholly.
    Offered,
    /// The guest has it.
    InUse,
    /// The guest has it, or had it, and was asked to give it back; it has not done so yet.
    AskedBack,
}

impl PlugState {
    /// Whether it is there, whatever the guest does with it: plugged, and not yet released.
    pub const fn is_plugged(self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// Why something was not plugged or unplugged. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlugError {
    /// The machine has no connector for it: its configuration leaves no room there, or what is
    /// there cannot be unplugged, as the RAM at boot.
    #[error("{resource} of this machine can be neither plugged nor unplugged")]
    NoConnector {
        /// What it was about.
        resource: Resource,
    },
    /// It is plugged, and the guest has it.
    #[error("{resource} is plugged and in use")]
    InUse {
        /// What it was about.
        resource: Resource,
    },
    /// It is not plugged.
    #[error("{resource} is not plugged")]
    NotPlugged {
        /// What it was about.
        resource: Resource,
    },
}
