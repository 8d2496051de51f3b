//! A block device as it is saved. What is on the disk is the disk's.

use std::sync::atomic::Ordering;

use arch_ppc64::platform::{StateError, StateValue};
use serde::{Deserialize, Serialize};

use super::Block;
use crate::virtio::saved::check_version;

/// What is saved of it: what its driver knows of the disk, and what it has said.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockState {
    size_bytes: u64,
    logical_block_bytes: u32,
    physical_block_bytes: u32,
    read_only: bool,
    writes_back: bool,
    takes_writeback: bool,
}

impl Block {
    pub(super) fn state(&self) -> Result<StateValue, StateError> {
        let blocks = self.disk.block_sizes();
        StateValue::of(&BlockState {
            size_bytes: self.disk.size_bytes(),
            logical_block_bytes: blocks.logical,
            physical_block_bytes: blocks.physical,
            read_only: self.disk.is_read_only(),
            writes_back: self.writes_back.load(Ordering::Relaxed),
            takes_writeback: self.takes_writeback,
        })
    }

    /// The disk has to be one that its driver takes for the same.
    pub(super) fn take_up(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        check_version(version, 1)?;
        let saved: BlockState = state.get()?;
        let refused = |message: String| Err(StateError::Value(message));
        let own = self.disk.size_bytes();
        if saved.size_bytes != own {
            return refused(format!("its disk has {} bytes, and not {own}", saved.size_bytes));
        }
        let own = self.disk.block_sizes();
        let BlockState { logical_block_bytes, physical_block_bytes, .. } = saved;
        if (logical_block_bytes, physical_block_bytes) != (own.logical, own.physical) {
            return refused(format!(
                "its disk has blocks of {logical_block_bytes} bytes, in units of \
                 {physical_block_bytes}, and not of {}, in units of {}",
                own.logical, own.physical
            ));
        }
        if saved.read_only != self.disk.is_read_only() {
            let can = |read_only| if read_only { "only be read" } else { "be written" };
            let (there, here) = (can(saved.read_only), can(self.disk.is_read_only()));
            return refused(format!("its disk can {there}, and this one can {here}"));
        }
        self.writes_back.store(saved.writes_back, Ordering::Relaxed);
        self.takes_writeback = saved.takes_writeback;
        Ok(())
    }
}
