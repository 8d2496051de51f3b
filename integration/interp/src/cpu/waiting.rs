//! A CPU that has nothing to do but to wait for another one.

use std::time::Duration;

use super::{Cpu, SLICE};
use crate::bus::CpuBus;
use crate::code::waits;

/// Who asks for a low priority so often in a slice waits for another CPU: once in each turn of a
/// loop that may do a little more than to wait.
const HINTS_OF_WAITING: u32 = (SLICE / 128) as u32;

/// After so many slices of waiting, a CPU rests: from the shortest rest to the longest, which is
/// twice as long after every few rests, so that none is much more than a quarter of the time that it
/// has waited.
const SLICES_OF_WAITING: u32 = 16;
const REST: Duration = Duration::from_micros(50);
const RESTS_OF_A_LENGTH: u32 = 4;
const REST_DOUBLINGS_MAX: u32 = 10;

impl Cpu {
    /// A CPU that has waited for others for so many slices is welcome to its core, if that is what
    /// the others lack. Whether it leaves guest code instead.
    pub(super) fn let_others(&mut self, bus: &dyn CpuBus, waited: u32) -> bool {
        if bus.leaves_to_wait() {
            return true;
        }
        let long = waited.saturating_sub(SLICES_OF_WAITING);
        if long > 0 && self.state.system.has_more_cpus_than_cores() {
            // Nobody has to wait for it meanwhile.
            self.state.use_no_translations();
            bus.rest(REST * (1 << (long / RESTS_OF_A_LENGTH).min(REST_DOUBLINGS_MAX)));
        }
        false
    }

    /// Whether it is in a loop that only another CPU ends.
    pub(super) fn waits_for_others(&mut self) -> bool {
        if std::mem::take(&mut self.state.hints) >= HINTS_OF_WAITING {
            return true;
        }
        let pc = self.state.pc;
        let page = self.state.tlb.find_code(pc);
        page.is_some_and(|page| waits(self.cache.page(page), (pc & 0xfff) as usize >> 2))
    }
}
