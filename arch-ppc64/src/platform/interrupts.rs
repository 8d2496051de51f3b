//! Interrupts of devices: what a back end's controller has to do, and what a device holds.

use std::fmt;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

/// The number of an interrupt source: what the tree's `interrupts` properties and the interrupt
/// controller know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceNumber(pub u32);

impl fmt::Display for SourceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupt source {:#x}", self.0)
    }
}

/// How a source tells of an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum InterruptKind {
    /// By an edge: each is one interrupt. Messages (MSI) are edges, too.
    Edge,
    /// By a level, for as long as it is high.
    Level,
}

impl InterruptKind {
    /// The second cell of an interrupt specifier: 0 for an edge, 1 for a level (LoPAPR §B.6.9.1).
    pub const fn cell(self) -> u32 {
        match self {
            Self::Edge => 0,
            Self::Level => 1,
        }
    }
}

/// What a device does with its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// An edge.
    Pulse,
    /// The level is high from here on.
    High,
    /// The level is low from here on.
    Low,
}

/// A source that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterruptError {
    /// There are no numbers left.
    #[error("{0} has no interrupt source left: the machine has {MAX_SOURCES}")]
    Exhausted(String),
    /// The saved machine has this interrupt in another way.
    #[error("{device} has its interrupt {name} in another way in the saved machine")]
    Assigned {
        /// The [id](super::Device::id) of the device.
        device: String,
        /// What the device calls the interrupt.
        name: String,
    },
    /// A device asks twice for an interrupt.
    #[error("{device} asks twice for its interrupt {name}")]
    Twice {
        /// The [id](super::Device::id) of the device.
        device: String,
        /// What the device calls the interrupt.
        name: String,
    },
    /// The back end's controller failed.
    #[error("the interrupt controller cannot have {source_number}")]
    Controller {
        /// The source.
        source_number: SourceNumber,
        /// The reason.
        #[source]
        reason: std::io::Error,
    },
}

/// The most sources that devices of a machine can have.
pub const MAX_SOURCES: u32 = 0x1_0000;

/// The interrupt controller of a back end, as the platform and its devices see it: KVM's or one in
/// software, XICS or another.
///
/// All of it may be called from any thread, and does not wait for a CPU.
pub trait InterruptController: Send + Sync {
    /// Makes a source, masked, before a device first [signals](Self::signal) it.
    ///
    /// # Errors
    /// [`InterruptError::Controller`] when the host fails.
    fn claim(&self, source: SourceNumber, kind: InterruptKind) -> Result<(), InterruptError>;

    /// What the device of a source does. A source that was not claimed is ignored.
    fn signal(&self, source: SourceNumber, signal: Signal);

    /// A file whose being written to is a pulse of `source`, for devices of other processes;
    /// `None` where the back end has none.
    ///
    /// # Errors
    /// [`InterruptError::Controller`] when the host fails.
    fn irqfd(&self, source: SourceNumber) -> Result<Option<EventFd>, InterruptError> {
        let _ = source;
        Ok(None)
    }

    /// Has each write to `file` be a pulse of `source`, without anybody reading the file, until it is
    /// [detached](Self::detach). False where the back end cannot: then whoever has the file reads
    /// it, and [signals](Self::signal).
    ///
    /// # Errors
    /// [`InterruptError::Controller`] when the host fails.
    fn attach(&self, source: SourceNumber, file: &EventFd) -> Result<bool, InterruptError> {
        let _ = (source, file);
        Ok(false)
    }

    /// No longer; as it was [attached](Self::attach). What was written before has had its effect, or
    /// is still to be read from the file.
    ///
    /// # Errors
    /// [`InterruptError::Controller`] when the host fails.
    fn detach(&self, source: SourceNumber, file: &EventFd) -> Result<(), InterruptError> {
        let _ = (source, file);
        Ok(())
    }
}

/// A controller that nobody hears, for machines that are described and do not run.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoInterrupts;

impl InterruptController for NoInterrupts {
    fn claim(&self, _: SourceNumber, _: InterruptKind) -> Result<(), InterruptError> {
        Ok(())
    }

    fn signal(&self, _: SourceNumber, _: Signal) {}
}

/// An interrupt of a device: one source of the machine's controller.
#[derive(Clone)]
pub struct InterruptLine {
    controller: Arc<dyn InterruptController>,
    source: SourceNumber,
    kind: InterruptKind,
}

impl InterruptLine {
    /// The source of this number, which was claimed.
    pub fn new(
        controller: Arc<dyn InterruptController>,
        source: SourceNumber,
        kind: InterruptKind,
    ) -> Self {
        Self { controller, source, kind }
    }

    /// Its number.
    pub fn source(&self) -> SourceNumber {
        self.source
    }

    /// The interrupt specifier of a tree's `interrupts` property.
    pub fn specifier(&self) -> [u32; 2] {
        [self.source.0, self.kind.cell()]
    }

    /// An edge: one interrupt.
    pub fn pulse(&self) {
        self.controller.signal(self.source, Signal::Pulse);
    }

    /// The level: an interrupt for as long as it is high.
    pub fn set_level(&self, high: bool) {
        self.controller.signal(self.source, if high { Signal::High } else { Signal::Low });
    }

    /// A file whose being written to is a pulse; `None` where the back end has none.
    ///
    /// # Errors
    /// [`InterruptError::Controller`] when the host fails.
    pub fn irqfd(&self) -> Result<Option<EventFd>, InterruptError> {
        self.controller.irqfd(self.source)
    }
}

impl fmt::Debug for InterruptLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterruptLine")
            .field("source", &self.source)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
