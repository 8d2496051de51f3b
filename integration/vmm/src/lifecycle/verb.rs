//! The verbs by name.

use std::fmt;

/// What can be asked for, as it is called in Cloud Hypervisor's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verb {
    /// `vm.create`.
    Create,
    /// `vm.boot`.
    Boot,
    /// `vm.counters`.
    Counters,
    /// `vm.pause`.
    Pause,
    /// `vm.resume`.
    Resume,
    /// `vm.reboot`.
    Reboot,
    /// `vm.shutdown`.
    Shutdown,
    /// `vm.delete`.
    Delete,
    /// `vm.power-button`.
    PowerButton,
    /// `vm.snapshot`.
    Snapshot,
    /// `vm.restore`.
    Restore,
    /// `vm.resize`.
    Resize,
    /// `vm.add-disk`, `vm.add-net`, `vm.add-fs` and `vm.add-vsock`.
    AddDevice,
    /// `vm.remove-device`.
    RemoveDevice,
    /// `vm.send-migration`.
    SendMigration,
    /// `vm.receive-migration`.
    ReceiveMigration,
}

impl Verb {
    /// Whether it may take so long that nobody waits for its end to ask for something else.
    pub(crate) const fn is_long(self) -> bool {
        matches!(
            self,
            Self::Boot
                | Self::Snapshot
                | Self::Restore
                | Self::SendMigration
                | Self::ReceiveMigration
        )
    }

    /// In which state the machine has to be for it, and what brings it there.
    pub(super) const fn needs(self) -> &'static str {
        match self {
            Self::Boot => "Created (vm.shutdown)",
            Self::Pause => "Running (vm.resume, vm.boot)",
            Self::Resume | Self::Snapshot => "Paused (vm.pause)",
            _ => "Running or Paused (vm.boot)",
        }
    }

    /// How somebody else ends it.
    pub(super) const fn ended_by(self) -> &'static str {
        match self {
            Self::SendMigration => " (vm.resume ends it)",
            Self::Boot | Self::Restore | Self::ReceiveMigration => " (vm.delete ends it)",
            _ => "",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "vm.create",
            Self::Boot => "vm.boot",
            Self::Counters => "vm.counters",
            Self::Pause => "vm.pause",
            Self::Resume => "vm.resume",
            Self::Reboot => "vm.reboot",
            Self::Shutdown => "vm.shutdown",
            Self::Delete => "vm.delete",
            Self::PowerButton => "vm.power-button",
            Self::Snapshot => "vm.snapshot",
            Self::Restore => "vm.restore",
            Self::Resize => "vm.resize",
            Self::AddDevice => "vm.add-…",
            Self::RemoveDevice => "vm.remove-device",
            Self::SendMigration => "vm.send-migration",
            Self::ReceiveMigration => "vm.receive-migration",
        })
    }
}
