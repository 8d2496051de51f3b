//! Machines that take up what was saved of another one.

use arch_ppc64::topology::MemoryMap;

use super::TestMachine;
use crate::{DeviceTree, RestoreError, VofBuilder, VofState};

impl TestMachine {
    /// As [`in_memory`](Self::in_memory), and then it takes up what was saved of another one; RAM is
    /// new.
    ///
    /// # Errors
    /// [`RestoreError`] when the state is refused.
    ///
    /// # Panics
    /// If the interface cannot be built.
    pub fn restored(
        tree: DeviceTree,
        memory: &MemoryMap,
        change: impl FnOnce(VofBuilder) -> VofBuilder,
        saved: &VofState,
    ) -> Result<Self, RestoreError> {
        let (ram, builder, console) = Self::parts(tree, memory);
        Ok(Self::of(ram, change(builder).restore(saved)?, console))
    }
}
