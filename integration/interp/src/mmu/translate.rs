//! What pages addresses are in, however that is found out.

use crate::bits::{dsisr, msr};
use crate::mmu::Access;
use crate::ram::{NoRam, PAGE_BYTES, Ram};
use crate::state::State;
use crate::trap::Trap;

/// Of entries of trees and tables: the page was referenced.
pub(super) const REFERENCED: u64 = 0x100;

/// Of entries of trees and tables: the page was changed.
pub(super) const CHANGED: u64 = 0x80;

/// Real addresses have 60 bits; in real mode the upper four of an effective address do not count
/// (Power ISA 3.0B, Book III §5.7.3).
const REAL_MASK: u64 = 0x0fff_ffff_ffff_ffff;

/// A page of 4 KiB that an address is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Translation {
    /// Its real address.
    pub(crate) real: u64,
    pub(crate) may_read: bool,
    /// May be written to, and its entry already says that it was.
    pub(crate) may_write: bool,
}

/// Why there is no translation.
pub(super) enum Fault {
    Segment,
    Storage(u32),
}

impl From<NoRam> for Fault {
    /// A table outside RAM. A hypervisor would be asked; there is none that could help.
    fn from(_: NoRam) -> Self {
        Self::Storage(dsisr::NOT_FOUND)
    }
}

impl State {
    /// The page of an effective address, for an access of this kind.
    pub(super) fn translate(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        access: Access,
    ) -> Result<Translation, Trap> {
        let relocated = if access == Access::Fetch { msr::IR } else { msr::DR };
        if self.msr() & relocated == 0 {
            let real = ea & REAL_MASK & !(PAGE_BYTES - 1);
            return Ok(Translation { real, may_read: true, may_write: true });
        }
        self.stats.tlb_misses += 1;
        let found = match self.spr.hash {
            true => self.search(ea, access),
            false => self.walk(ram, ea, access),
        };
        found.map_err(|fault| self.fault(ea, access, fault))
    }

    fn fault(&mut self, ea: u64, access: Access, fault: Fault) -> Trap {
        self.fault_address = ea;
        match (fault, access) {
            (Fault::Segment, Access::Fetch) => Trap::InstructionSegment,
            (Fault::Segment, _) => Trap::DataSegment,
            (Fault::Storage(bits), Access::Fetch) => {
                self.fault_dsisr = bits;
                Trap::InstructionStorage
            }
            (Fault::Storage(bits), Access::Load) => {
                self.fault_dsisr = bits;
                Trap::DataStorage
            }
            (Fault::Storage(bits), Access::Store) => {
                self.fault_dsisr = bits | dsisr::STORE;
                Trap::DataStorage
            }
        }
    }
}
