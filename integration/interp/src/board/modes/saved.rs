//! Modes that are taken up.

use arch_ppc64::cas::Mmu;
use arch_ppc64::platform::StateError;

use super::{Modes, ModesState};
use crate::cpu_state::check_modes;

impl Modes {
    /// Takes up modes that were [checked](ModesState::check).
    pub(in crate::board) fn set_state(&self, saved: ModesState) {
        let _ = self.change(|wanted| *wanted = saved);
    }
}

impl ModesState {
    /// How addresses are translated.
    pub(in crate::board) fn mmu(&self) -> Mmu {
        if self.hash { Mmu::Hash } else { Mmu::Radix }
    }

    /// Whether a machine can have these modes.
    pub(in crate::board) fn check(&self) -> Result<(), StateError> {
        check_modes(self.ail, self.table).map_err(|error| StateError::Value(error.to_string()))
    }
}
