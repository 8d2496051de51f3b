//! What a virtual machine refuses.

use crate::cpu_state::CpuStateError;

/// What cannot be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// A state that is no CPU's.
    #[error("the CPU does not have such a state")]
    State(#[from] CpuStateError),
}
