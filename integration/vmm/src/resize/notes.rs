//! What a guest does with what is plugged, noted for the worker.
//!
//! A guest may do things faster than the worker hears of them, for as long as it likes. So what it does
//! is noted once for each resource, and the worker is woken once for all notes: they take no more
//! memory for a guest that goes on, and a request waits for one pass over them at most.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use arch_ppc64::hotplug::{HotplugHost, Resource};

use super::{Info, ResizeError};
use crate::devices::{DeviceChangeError, DeviceConfig, PciDeviceInfo, Removal};
use crate::locks::lock;

/// What the worker is told.
pub(super) enum Message {
    /// By whoever controls the machine.
    Resize {
        cpus: Option<u32>,
        memory_bytes: Option<u64>,
        reply: Sender<Result<Info, ResizeError>>,
    },
    /// To give it a device.
    Add { device: Box<DeviceConfig>, reply: Sender<Result<PciDeviceInfo, DeviceChangeError>> },
    /// To take a device away.
    Remove { id: String, reply: Sender<Result<Removal, DeviceChangeError>> },
    /// The guest has done something. No other one is sent until the notes are taken.
    Heard,
    /// The machine's CPUs have ended.
    Stop,
}

/// What the guest has done since the notes were last taken. How it is now, its connectors tell.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) released: BTreeSet<Resource>,
    pub(super) kept: BTreeSet<Resource>,
    pub(super) returned: BTreeSet<Resource>,
    /// There is something to be taken from here.
    is_told: bool,
}

/// Hears what the guest does, for a worker that may still be to come.
pub(crate) struct Notes {
    pub(super) shared: Arc<Shared>,
    pub(super) to: Sender<Message>,
    pub(super) from: Receiver<Message>,
}

#[derive(Default)]
pub(super) struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    heard: Heard,
    is_over: bool,
}

impl Shared {
    pub(super) fn take(&self) -> Heard {
        std::mem::take(&mut lock(&self.0).heard)
    }

    /// Whether the worker is to end, whatever it has yet to be told.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.0).is_over
    }

    pub(super) fn end(&self) {
        lock(&self.0).is_over = true;
    }
}

impl Notes {
    pub(crate) fn new() -> Self {
        let (to, from) = channel();
        Self { shared: Arc::default(), to, from }
    }

    /// Who hears.
    pub(crate) fn host(&self) -> Arc<dyn HotplugHost> {
        Arc::new(Host { shared: self.shared.clone(), to: self.to.clone() })
    }
}

/// Notes what the guest does.
struct Host {
    shared: Arc<Shared>,
    to: Sender<Message>,
}

impl Host {
    fn note(&self, note: impl FnOnce(&mut Heard)) {
        let mut state = lock(&self.shared.0);
        note(&mut state.heard);
        // With the lock, so that a request made later comes later, too.
        if !std::mem::replace(&mut state.heard.is_told, true) {
            // Where the worker has ended, the machine has, too.
            let _ = self.to.send(Message::Heard);
        }
    }
}

impl HotplugHost for Host {
    fn released(&self, resource: Resource) {
        self.note(|heard| {
            heard.released.insert(resource);
        });
    }

    fn kept(&self, resource: Resource) {
        self.note(|heard| {
            heard.kept.insert(resource);
        });
    }

    fn taken(&self, _: Resource) {
        self.note(|_| {});
    }

    fn returned(&self, resource: Resource) {
        self.note(|heard| {
            heard.returned.insert(resource);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch_ppc64::CpuIndex;

    /// However often a guest does something, and with nobody who listens.
    #[test]
    fn what_is_heard_is_kept_once_for_each_resource() {
        let notes = Notes::new();
        let flood = || {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    let host = notes.host();
                    scope.spawn(move || {
                        for round in 0..10_000 {
                            let resource = Resource::core(CpuIndex(round % 4));
                            host.taken(resource);
                            host.returned(resource);
                            host.kept(resource);
                            host.released(resource);
                        }
                    });
                }
            });
        };
        for _ in 0..2 {
            flood();
            assert_eq!(notes.from.try_iter().count(), 1);
            let Heard { released, kept, returned, .. } = notes.shared.take();
            assert_eq!([released.len(), kept.len(), returned.len()], [4; 3]);
        }
        // Nothing new, nothing to tell.
        assert_eq!(notes.from.try_iter().count(), 0);
        assert!(notes.shared.take().returned.is_empty());
        notes.host().taken(Resource::core(CpuIndex(0)));
        assert_eq!(notes.from.try_iter().count(), 1);
    }
}
