//! Everything one CPU knows: registers, translations, what it must still tell the outside.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::bits::{cr, msr, xer};
use crate::hash_table::HashTable;
use crate::mmu::{Device, Tlb};
use crate::region::RegionIdentity;
use crate::room::Reading;
use crate::system::{Followed, System};

/// The registers, and with them the core's own view of memory.
///
/// Not all is stored as the architecture shows it: CR is its eight fields, XER its flags.
///
/// The general registers come first: the core's loop has no register to spare for their place. It
/// begins with a line of the host's cache: by chance it does or does not otherwise, and the loop is a
/// fifth slower where it does not.
#[repr(C, align(64))]
pub(crate) struct State {
    /// General registers. Any byte is an index, so that none is checked; number [`ZERO`] always
    /// reads as zero, which is what `ra` = 0 means in addresses.
    pub(crate) gpr: [u64; 256],
    /// VSX registers. The upper doublewords of the first half are the floating-point registers,
    /// the second half are the VMX registers. Element 0 is the most significant, as the
    /// specification draws them.
    pub(crate) vsr: [u128; 64],
    /// Condition register fields.
    pub(crate) cr: [u8; 8],
    pub(crate) lr: u64,
    pub(crate) ctr: u64,
    pub(crate) xer: Xer,
    pub(crate) fpscr: u64,
    pub(crate) vscr: u32,
    pub(crate) vrsave: u32,
    /// Address of the instruction at which the core entered or left [`crate::exec::run`].
    pub(crate) pc: u64,
    msr: u64,
    /// Which bits of an address count: all, or the lower half in 32-bit mode.
    pub(crate) ea_mask: u64,
    /// MSR.LE = 0.
    pub(crate) big_endian: bool,
    pub(crate) spr: Sprs,
    pub(crate) tlb: Tlb,
    /// The hashed page table, as the system had it when all translations were last dropped.
    pub(crate) table: Option<Arc<dyn HashTable>>,
    /// The RAM that the translations lead to.
    pub(crate) regions: Vec<RegionIdentity>,
    pub(crate) reservation: Option<Reservation>,
    /// Where an access faulted, and its DSISR, until the interrupt is taken.
    pub(crate) fault_address: u64,
    pub(crate) fault_dsisr: u32,
    /// Decoded pages that were written to since they were last looked at.
    pub(crate) written: WrittenPages,
    /// Code is to be found anew behind the next `isync`.
    pub(crate) check_at_isync: bool,
    /// The instruction that waits for accesses of the machine's.
    pub(crate) device: Box<Device>,
    /// Instructions executed.
    pub(crate) executed: u64,
    pub(crate) system: Arc<System>,
    pub(crate) id: usize,
    /// What it has followed of what others changed.
    pub(crate) followed: Followed,
    /// The system knows that this CPU uses translations.
    uses_translations: bool,
    /// There was an `icbi` of which the other CPUs do not know.
    pub(crate) untold_icbi: bool,
    /// How often the program has asked for a low priority since somebody looked.
    pub(crate) hints: u32,
    /// A CPU that has a doorbell of which the machine was not told.
    pub(crate) rung: Option<usize>,
    /// The last `tlbie` that no `ptesync` has waited for.
    pub(crate) unfinished_tlbie: Option<u64>,
    pub(crate) stats: Stats,
}

/// Register number that reads as zero.
pub(crate) const ZERO: u8 = 32;

/// Registers that the core only keeps, or that only slow paths look at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sprs {
    pub(crate) srr0: u64,
    pub(crate) srr1: u64,
    pub(crate) dar: u64,
    pub(crate) dsisr: u32,
    pub(crate) sprg: [u64; 4],
    pub(crate) cfar: u64,
    pub(crate) amr: u64,
    pub(crate) iamr: u64,
    pub(crate) uamor: u64,
    pub(crate) pidr: u64,
    pub(crate) fscr: u64,
    pub(crate) dscr: u64,
    pub(crate) tar: u64,
    pub(crate) ppr: u64,
    pub(crate) ctrl: u64,
    pub(crate) pvr: u32,
    pub(crate) pir: u64,
    /// Timebase value at which DEC is zero.
    pub(crate) dec_zero_at: u64,
    /// What the virtual timebase is ahead of the timebase.
    pub(crate) vtb_offset: u64,
    /// LPCR.ILE: interrupts are taken little-endian.
    pub(crate) ile: bool,
    /// LPCR.AIL.
    pub(crate) ail: u8,
    pub(crate) process_table: Option<ProcessTable>,
    /// Translation is by segments and the hashed page table, not by radix trees.
    pub(crate) hash: bool,
    /// Which newer parts of the architecture programs do not have.
    pub(crate) pcr: u64,
    // Event-based branches: status, handler, where to return to.
    pub(crate) bescr: u64,
    pub(crate) ebbhr: u64,
    pub(crate) ebbrr: u64,
    pub(crate) segments: [SegmentEntry; SEGMENTS],
    /// Performance monitor and debug registers: kept, without an effect.
    pub(crate) kept: [u64; KEPT],
}

/// How many registers are only kept.
pub(crate) const KEPT: usize = 28;

/// Entries of the segment lookaside buffer: what the device tree says (`ibm,slb-size`).
pub(crate) const SEGMENTS: usize = 32;

/// An entry of the segment lookaside buffer, as `slbmte` gives it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SegmentEntry {
    pub(crate) esid: u64,
    pub(crate) vsid: u64,
}

/// Where the guest keeps its radix trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProcessTable {
    /// Real address.
    pub base: u64,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// XER as its flags; the byte count of string instructions is kept beside them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Xer {
    pub(crate) so: bool,
    pub(crate) ov: bool,
    pub(crate) ca: bool,
    pub(crate) ov32: bool,
    pub(crate) ca32: bool,
    pub(crate) count: u8,
}

impl Xer {
    pub(crate) fn get(self) -> u64 {
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        flag(self.so, xer::SO)
            | flag(self.ov, xer::OV)
            | flag(self.ca, xer::CA)
            | flag(self.ov32, xer::OV32)
            | flag(self.ca32, xer::CA32)
            | u64::from(self.count)
    }

    pub(crate) fn set(&mut self, value: u64) {
        *self = Self {
            so: value & xer::SO != 0,
            ov: value & xer::OV != 0,
            ca: value & xer::CA != 0,
            ov32: value & xer::OV32 != 0,
            ca32: value & xer::CA32 != 0,
            count: (value & 0x7f) as u8,
        };
    }
}

/// A reservation for a store conditional: it succeeds if the place still holds the value.
///
/// A value that was changed and changed back is not noticed. Programs for this architecture that
/// would notice are none that Linux or its compilers make: they all reserve the very word whose
/// value they compare.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reservation {
    pub(crate) real: u64,
    pub(crate) bytes: u64,
    pub(crate) value: u128,
}

/// Decoded pages that were written to.
#[derive(Debug, Default)]
pub(crate) struct WrittenPages {
    pages: Vec<u64>,
    all: bool,
}

impl WrittenPages {
    pub(crate) fn push(&mut self, page: u64) {
        if !self.pages.contains(&page) {
            self.pages.push(page);
        }
    }

    /// All of them.
    pub(crate) fn push_all(&mut self) {
        self.all = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty() && !self.all
    }

    /// The pages, or `None` for all.
    pub(crate) fn take(&mut self) -> Option<Vec<u64>> {
        let pages = std::mem::take(&mut self.pages);
        if std::mem::take(&mut self.all) { None } else { Some(pages) }
    }
}

/// Counts of what a CPU did, for those who tune guests or the core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Translations that were not in the core's own cache.
    pub tlb_misses: u64,
    /// Blocks of instructions decoded; where there are several CPUs, pages that no other one had.
    pub decodes: u64,
    /// Decoded pages dropped because they were written to.
    pub pages_dropped: u64,
    /// Interrupts taken, of any kind.
    pub interrupts: u64,
    /// Times the core looked outside: slices.
    pub polls: u64,
}

impl State {
    pub(crate) fn new(id: usize, pvr: u32, system: Arc<System>) -> Self {
        let table = system.hash_table();
        let mut state = Self {
            gpr: [0; 256],
            vsr: [0; 64],
            cr: [0; 8],
            lr: 0,
            ctr: 0,
            xer: Xer::default(),
            fpscr: 0,
            vscr: 0,
            vrsave: 0,
            pc: 0,
            msr: 0,
            ea_mask: 0,
            big_endian: true,
            spr: Sprs { pvr, pir: id as u64, ..Sprs::default() },
            tlb: Tlb::new(),
            table,
            regions: Vec::new(),
            reservation: None,
            fault_address: 0,
            fault_dsisr: 0,
            written: WrittenPages::default(),
            check_at_isync: false,
            device: Box::new(Device::IDLE),
            executed: 0,
            system,
            id,
            followed: Followed::default(),
            uses_translations: false,
            untold_icbi: false,
            hints: 0,
            rung: None,
            unfinished_tlbie: None,
            stats: Stats::default(),
        };
        state.set_msr(msr::SF | msr::ME);
        state
    }

    #[inline(always)]
    pub(crate) fn msr(&self) -> u64 {
        self.msr
    }

    /// How code is decoded that is executed now.
    pub(crate) fn reading(&self) -> Reading {
        let limited = self.spr.pcr != 0 && self.msr & msr::PR != 0;
        Reading { big_endian: self.big_endian, limited }
    }

    /// Sets MSR and all that follows from it.
    pub(crate) fn set_msr(&mut self, value: u64) {
        let value = msr::with_implied(value);
        self.msr = value;
        self.ea_mask = if value & msr::SF != 0 { u64::MAX } else { 0xffff_ffff };
        self.big_endian = value & msr::LE == 0;
        self.tlb.set_mode(value);
    }

    /// Follows what other CPUs and the host have changed, before guest code goes on.
    #[inline]
    pub(crate) fn follow(&mut self) {
        // What ends a slice, or synchronises the context, leads here.
        self.tell_of_icbi();
        let uses_translations = self.msr & (msr::IR | msr::DR) != 0;
        if uses_translations != self.uses_translations {
            self.uses_translations = uses_translations;
            match uses_translations {
                true => self.system.has_followed(self.id, &self.followed),
                false => self.system.uses_none(self.id),
            }
            self.drop_stale();
        } else if self.system.has_changed(&self.followed) {
            self.drop_stale();
        }
    }

    #[cold]
    fn drop_stale(&mut self) {
        let Some(stale) = self.system.stale(&mut self.followed) else { return };
        if stale.translations {
            self.tlb.flush();
            self.table = self.system.hash_table();
        }
        for page in stale.gone {
            self.tlb.flush_offset(page.offset, page.shift);
        }
        if stale.log {
            self.tlb.notice_stores();
        }
        for page in stale.pages {
            self.written.push(page);
        }
        if stale.all_code {
            self.written.push_all();
        }
        if stale.check_code {
            // Every page of code is compared with RAM when it is found anew.
            self.tlb.flush_code();
        }
        if self.uses_translations {
            self.system.has_followed(self.id, &self.followed);
        }
    }

    /// Tells all CPUs once of every `icbi` since the last time.
    #[inline]
    pub(crate) fn tell_of_icbi(&mut self) {
        if std::mem::take(&mut self.untold_icbi) {
            self.system.code_changed();
        }
    }

    /// Uses no translations until [`Self::follow`] is called: nobody has to wait for this CPU.
    pub(crate) fn use_no_translations(&mut self) {
        self.tell_of_icbi();
        self.uses_translations = false;
        self.system.uses_none(self.id);
    }

    /// Leaves guest code. What was stored so far is in every log of writes then.
    pub(crate) fn leave_guest(&mut self) {
        self.use_no_translations();
        fence(Ordering::SeqCst);
        if self.system.has_changed(&self.followed) {
            self.drop_stale();
        }
    }

    /// CR as one register.
    pub(crate) fn cr(&self) -> u32 {
        self.cr.iter().fold(0, |all, &field| all << 4 | u32::from(field))
    }

    pub(crate) fn set_cr(&mut self, value: u32) {
        for (number, field) in self.cr.iter_mut().enumerate() {
            *field = (value >> (28 - 4 * number)) as u8 & 0xf;
        }
    }

    /// CR field 0 of a result, as "record" instructions set it: of all 64 bits, or of the lower 32
    /// in 32-bit mode.
    #[inline(always)]
    pub(crate) fn record(&mut self, value: u64) {
        let value = if self.msr & msr::SF != 0 { value as i64 } else { i64::from(value as i32) };
        self.cr[0] = self.compared(value.cmp(&0));
    }

    #[inline(always)]
    pub(crate) fn compared(&self, order: std::cmp::Ordering) -> u8 {
        let bits = match order {
            std::cmp::Ordering::Less => cr::LT,
            std::cmp::Ordering::Greater => cr::GT,
            std::cmp::Ordering::Equal => cr::EQ,
        };
        bits | u8::from(self.xer.so)
    }

    /// Bit `number` of CR, 0 being the most significant.
    #[inline(always)]
    pub(crate) fn cr_bit(&self, number: u32) -> bool {
        self.cr[(number >> 2 & 7) as usize] >> (3 - (number & 3)) & 1 != 0
    }

    pub(crate) fn set_cr_bit(&mut self, number: u32, on: bool) {
        let field = &mut self.cr[(number >> 2 & 7) as usize];
        let bit = 8 >> (number & 3);
        *field = if on { *field | bit } else { *field & !bit };
    }

    /// Sets OV, OV32 and with them SO.
    #[inline(always)]
    pub(crate) fn overflow(&mut self, ov: bool, ov32: bool) {
        self.xer.ov = ov;
        self.xer.ov32 = ov32;
        self.xer.so |= ov;
    }

    /// Floating-point register `number` of 0 to 31.
    #[inline(always)]
    pub(crate) fn fpr(&self, number: u32) -> u64 {
        (self.vsr[(number & 31) as usize] >> 64) as u64
    }

    /// Sets a floating-point register. The lower doubleword of its VSX register becomes undefined
    /// (Book I §7.2.1.1); zero here, as on the real processor.
    #[inline(always)]
    pub(crate) fn set_fpr(&mut self, number: u32, value: u64) {
        self.vsr[(number & 31) as usize] = u128::from(value) << 64;
    }

    /// VMX register `number` of 0 to 31.
    #[inline(always)]
    pub(crate) fn vr(&self, number: u32) -> u128 {
        self.vsr[(number & 31) as usize | 32]
    }

    #[inline(always)]
    pub(crate) fn set_vr(&mut self, number: u32, value: u128) {
        self.vsr[(number & 31) as usize | 32] = value;
    }
}
