//! A machine of RAM and nothing else, whose time goes by instructions.

use interp::{CpuBus, RamRegion};

pub(crate) struct RamOnly<'a>(pub(crate) [RamRegion<'a>; 1]);

impl CpuBus for RamOnly<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.0
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }
}
