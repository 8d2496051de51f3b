//! Devices that are one view and nothing else.

use std::fmt;
use std::sync::Arc;

use super::device::{Describe, Device};
use crate::fdt::{FdtError, Tree};
use crate::hypercall::HypercallHandler;

/// Hypercalls as a device: of a back end's, or of the client interface.
pub struct HypercallDevice {
    id: String,
    handler: Arc<dyn HypercallHandler>,
}

impl HypercallDevice {
    /// A device of this id that answers what `handler` does.
    pub fn new(id: impl Into<String>, handler: Arc<dyn HypercallHandler>) -> Self {
        Self { id: id.into(), handler }
    }
}

impl Device for HypercallDevice {
    fn id(&self) -> &str {
        &self.id
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(&*self.handler)
    }
}

impl fmt::Debug for HypercallDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HypercallDevice").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Nodes and properties of a VMM's own as a device: a function that adds them.
pub struct Nodes<F> {
    id: String,
    describe: F,
}

impl<F: Fn(&mut Tree, &Describe<'_>) -> Result<(), FdtError> + Send + Sync> Nodes<F> {
    /// A device of this id that describes itself by `describe`.
    pub fn new(id: impl Into<String>, describe: F) -> Self {
        Self { id: id.into(), describe }
    }
}

impl<F: Fn(&mut Tree, &Describe<'_>) -> Result<(), FdtError> + Send + Sync> Device for Nodes<F> {
    fn id(&self) -> &str {
        &self.id
    }

    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        (self.describe)(tree, cx)
    }
}

impl<F> fmt::Debug for Nodes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Sets of hypercalls that the back end's kernel answers, so that nobody here does: the guest is
/// told of them all the same.
#[derive(Debug, Clone)]
pub struct KernelCalls {
    function_sets: Vec<&'static str>,
}

impl KernelCalls {
    /// These sets (LoPAPR table 171, "Hypervisor Call Function Set").
    pub fn new(function_sets: &[&'static str]) -> Self {
        Self { function_sets: function_sets.to_vec() }
    }
}

impl Device for KernelCalls {
    fn id(&self) -> &str {
        "kernel-calls"
    }

    fn function_sets(&self) -> &[&'static str] {
        &self.function_sets
    }
}
