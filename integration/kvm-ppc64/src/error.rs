//! What can go wrong on the host's side.

use std::io;

use arch_ppc64::CpuIndex;
#[cfg(feature = "serde")]
use arch_ppc64::platform::StateError;

/// The host failed, or cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// A device file could not be opened.
    #[error("cannot open {path}")]
    Open {
        /// Which file.
        path: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The host is not one that can run pseries guests.
    #[error("{0}")]
    Unsuitable(String),
    /// A request to the kernel failed.
    #[error("cannot {action}")]
    Kernel {
        /// What was to be done.
        action: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The caller asked for what cannot be.
    #[error("{0}")]
    Refused(String),
    /// The processor would not enter or stay in the guest.
    #[error("the host's KVM could not run {vcpu}: {reason}")]
    Entry {
        /// Which CPU.
        vcpu: CpuIndex,
        /// What KVM said.
        reason: String,
    },
    /// A register of a virtual CPU could not be read or set.
    #[error("cannot {action} the register {name} of {vcpu}")]
    Register {
        /// "read" or "set".
        action: &'static str,
        /// Its name in [`VcpuState::registers`](crate::VcpuState::registers).
        name: String,
        /// Which CPU.
        vcpu: CpuIndex,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A saved state is none that can be taken up, or the CPU is not in one that can be saved.
    #[error("{0}")]
    State(String),
}

/// A state that cannot be, or a host that fails at it.
#[cfg(feature = "serde")]
impl From<KvmError> for StateError {
    fn from(error: KvmError) -> Self {
        match error {
            KvmError::State(message) | KvmError::Refused(message) => Self::Value(message),
            other => Self::Host(io::Error::other(other)),
        }
    }
}

impl KvmError {
    pub(crate) fn kernel(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel { action, source }
    }
}
