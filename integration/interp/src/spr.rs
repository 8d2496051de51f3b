//! Special purpose registers (Power ISA 3.0B, Book III §4.4.4, table of SPR numbers).

use crate::bits::{fscr, msr};
use crate::level::Level;
use crate::state::{KEPT, State};
use crate::trap::Trap;

pub(crate) const XER: u32 = 1;
pub(crate) const LR: u32 = 8;
pub(crate) const CTR: u32 = 9;
pub(crate) const DEC: u32 = 22;
pub(crate) const TB: u32 = 268;
pub(crate) const TBU: u32 = 269;
pub(crate) const PURR: u32 = 308;
pub(crate) const SPURR: u32 = 309;
pub(crate) const VTB: u32 = 849;
pub(crate) const PSPB: u32 = 159;

/// Registers that are kept and have no effect, by number: what a performance monitor counts, what
/// debuggers watch. Those from 768 to 783 read what those 16 above hold.
const KEPT_NUMBERS: [u32; KEPT] = [
    784, 785, 786, 787, 788, 789, 790, 791, 792, 793, 794, 795, 796, 797, 798, 799, // monitor
    159, 180, 181, 187, 188, 812, 853, 855, 882, 895, 893, 894,
];

/// The priority in PPR.
pub(crate) const PPR_PRIORITY: u64 = 0x001c_0000_0000_0000;

fn kept(number: u32) -> Option<usize> {
    KEPT_NUMBERS.iter().position(|&kept| kept == number)
}

/// Bit 0 of the second half of the number: privileged.
const PRIVILEGED: u32 = 0x10;

/// Reads a register. `None` when there is none of this number and the instruction does nothing.
pub(crate) fn read(s: &mut State, number: u32) -> Result<Option<u64>, Trap> {
    let is_user = s.msr() & msr::PR != 0;
    if is_user && number & PRIVILEGED != 0 {
        return Err(Trap::Privileged);
    }
    Ok(Some(match number {
        XER => s.xer.get(),
        3 => {
            s.need_facility(fscr::DSCR, fscr::CAUSE_DSCR)?;
            s.spr.dscr
        }
        LR => s.lr,
        CTR => s.ctr,
        13 | 29 => s.spr.amr,
        17 => s.spr.dscr,
        18 => u64::from(s.spr.dsisr),
        19 => s.spr.dar,
        26 => s.spr.srr0,
        27 => s.spr.srr1,
        28 => s.spr.cfar,
        48 => s.spr.pidr,
        61 => s.spr.iamr,
        128..=131 => return facility(s, fscr::CAUSE_TM),
        136 => s.spr.ctrl,
        153 => s.spr.fscr,
        157 => s.spr.uamor,
        // DPDES: a bit a thread of the core.
        176 => s.system.doorbells(s.id),
        256 => u64::from(s.vrsave),
        259 => s.spr.sprg[3],
        272..=275 => s.spr.sprg[(number - 272) as usize],
        287 => u64::from(s.spr.pvr),
        // TIR: which thread of its core this is.
        446 => s.system.thread(s.id),
        768..=783 => kept(number + 16).map_or(0, |index| s.spr.kept[index]),
        800..=806 => {
            s.need_facility(fscr::EBB, fscr::CAUSE_EBB)?;
            match number {
                804 => s.spr.ebbhr,
                805 => s.spr.ebbrr,
                _ => s.spr.bescr,
            }
        }
        815 => {
            s.need_tar()?;
            s.spr.tar
        }
        896 => s.spr.ppr,
        898 => s.spr.ppr >> 32,
        1023 => s.spr.pir,
        _ => match kept(number) {
            Some(index) => s.spr.kept[index],
            None => return unknown(number, is_user).map(|()| None),
        },
    }))
}

/// Writes a register.
pub(crate) fn write(s: &mut State, number: u32, value: u64) -> Result<(), Trap> {
    let is_user = s.msr() & msr::PR != 0;
    if is_user && number & PRIVILEGED != 0 {
        return Err(Trap::Privileged);
    }
    match number {
        XER => s.xer.set(value),
        3 => {
            s.need_facility(fscr::DSCR, fscr::CAUSE_DSCR)?;
            s.spr.dscr = value;
        }
        LR => s.lr = value,
        CTR => s.ctr = value,
        // A program may change what UAMOR lets it.
        13 => set_amr(s, value & s.spr.uamor | s.spr.amr & !s.spr.uamor),
        29 => set_amr(s, value),
        17 => s.spr.dscr = value,
        18 => s.spr.dsisr = value as u32,
        19 => s.spr.dar = value,
        26 => s.spr.srr0 = value & !3,
        27 => s.spr.srr1 = value,
        28 => s.spr.cfar = value,
        48 => {
            // 20 bits of process number (Book III §5.7.2).
            s.spr.pidr = value & 0xf_ffff;
            s.check_at_isync |= s.tlb.flush_user();
        }
        61 => {
            s.spr.iamr = value;
            s.tlb.flush();
        }
        128..=131 => return facility(s, fscr::CAUSE_TM).map(drop),
        152 => s.spr.ctrl = value & 1,
        153 => s.spr.fscr = value,
        157 => s.spr.uamor = value,
        256 => s.vrsave = value as u32,
        272..=275 => s.spr.sprg[(number - 272) as usize] = value,
        800..=806 => {
            s.need_facility(fscr::EBB, fscr::CAUSE_EBB)?;
            let old = s.spr.bescr;
            // BESCR has names to set and to clear bits of all of it, or of its upper half.
            match number {
                800 => s.spr.bescr = old | value,
                801 => s.spr.bescr = old | value << 32,
                802 => s.spr.bescr = old & !value,
                803 => s.spr.bescr = old & !(value << 32),
                804 => s.spr.ebbhr = value & !3,
                805 => s.spr.ebbrr = value & !3,
                _ => s.spr.bescr = value,
            }
        }
        815 => {
            s.need_tar()?;
            s.spr.tar = value;
        }
        896 => s.spr.ppr = value & PPR_PRIORITY,
        898 => s.spr.ppr = value << 32 & PPR_PRIORITY,
        _ => match kept(number) {
            Some(index) => s.spr.kept[index] = value,
            None => return unknown(number, is_user),
        },
    }
    Ok(())
}

/// PVR, which no state changes.
pub(crate) const PVR: u32 = 287;

/// PCR, which only a hypervisor accesses.
pub(crate) const PCR: u32 = 386;

/// The registers that are kept by number, whoever may access them, but for those that depend on the
/// time.
pub(crate) fn saved() -> impl Iterator<Item = u32> {
    const SAVED: [u32; 26] = [
        XER, LR, CTR, 17, 18, 19, 26, 27, 28, 29, 48, 61, 136, 153, 157, 176, 256, 272, 273, 274,
        275, PVR, 804, 805, 806, 815,
    ];
    SAVED.into_iter().chain([896, PCR]).chain(KEPT_NUMBERS)
}

/// What a register holds, if it is one of [`saved`].
pub(crate) fn get(s: &State, number: u32) -> Option<u64> {
    Some(match number {
        XER => s.xer.get(),
        LR => s.lr,
        CTR => s.ctr,
        17 => s.spr.dscr,
        18 => u64::from(s.spr.dsisr),
        19 => s.spr.dar,
        26 => s.spr.srr0,
        27 => s.spr.srr1,
        28 => s.spr.cfar,
        29 => s.spr.amr,
        48 => s.spr.pidr,
        61 => s.spr.iamr,
        136 => s.spr.ctrl,
        153 => s.spr.fscr,
        157 => s.spr.uamor,
        // Of DPDES, what is this thread's: each thread keeps its own.
        176 => s.system.own_doorbell(s.id),
        256 => u64::from(s.vrsave),
        272..=275 => s.spr.sprg[(number - 272) as usize],
        PVR => u64::from(s.spr.pvr),
        PCR => s.spr.pcr,
        804 => s.spr.ebbhr,
        805 => s.spr.ebbrr,
        806 => s.spr.bescr,
        815 => s.spr.tar,
        896 => s.spr.ppr,
        _ => s.spr.kept[kept(number)?],
    })
}

/// Sets one of [`saved`], to what it can hold of a value. PVR stays what it is. Translations are to
/// be dropped by the caller.
pub(crate) fn set(s: &mut State, number: u32, value: u64) {
    match number {
        XER => s.xer.set(value),
        LR => s.lr = value,
        CTR => s.ctr = value,
        17 => s.spr.dscr = value,
        18 => s.spr.dsisr = value as u32,
        19 => s.spr.dar = value,
        26 => s.spr.srr0 = value & !3,
        27 => s.spr.srr1 = value,
        28 => s.spr.cfar = value,
        29 => s.spr.amr = value,
        48 => s.spr.pidr = value & 0xf_ffff,
        61 => s.spr.iamr = value,
        136 => s.spr.ctrl = value & 1,
        153 => s.spr.fscr = value,
        157 => s.spr.uamor = value,
        176 => s.system.set_own_doorbell(s.id, value),
        256 => s.vrsave = value as u32,
        272..=275 => s.spr.sprg[(number - 272) as usize] = value,
        804 => s.spr.ebbhr = value & !3,
        805 => s.spr.ebbrr = value & !3,
        806 => s.spr.bescr = value,
        815 => s.spr.tar = value,
        896 => s.spr.ppr = value & PPR_PRIORITY,
        PCR => s.spr.pcr = Level::of_pcr(value).pcr(),
        _ => {
            if let Some(index) = kept(number) {
                s.spr.kept[index] = value;
            }
        }
    }
}

/// BESCR under all of its names, EBBHR, EBBRR.
pub(crate) fn is_of_events(number: u32) -> bool {
    (800..=806).contains(&number)
}

/// The kernel's accesses to user pages depend on it where translation is radix, all accesses
/// otherwise.
fn set_amr(s: &mut State, value: u64) {
    if s.spr.amr != value {
        s.spr.amr = value;
        match s.spr.hash {
            true => s.tlb.flush(),
            false => s.tlb.flush_guarded(),
        }
    }
}

fn facility(s: &mut State, cause: u64) -> Result<Option<u64>, Trap> {
    s.fault_dsisr = cause as u32;
    Err(Trap::FacilityUnavailable)
}

/// A number that no register has: in privileged state nothing happens, but for the numbers 0, 4, 5
/// and 6; in problem state it is illegal.
fn unknown(number: u32, is_user: bool) -> Result<(), Trap> {
    if is_user || matches!(number, 0 | 4..=6) { Err(Trap::Illegal) } else { Ok(()) }
}

impl State {
    /// Reads a register that depends on the time, the timebase being `now`.
    pub(crate) fn read_time(&mut self, number: u32, now: u64) -> Result<u64, Trap> {
        if self.msr() & msr::PR != 0 && number & PRIVILEGED != 0 {
            return Err(Trap::Privileged);
        }
        Ok(match number {
            TB | PURR | SPURR => now,
            TBU => now >> 32,
            DEC => self.spr.dec_zero_at.wrapping_sub(now) as i32 as u64,
            VTB => now.wrapping_add(self.spr.vtb_offset),
            _ => return Err(Trap::Illegal),
        })
    }

    /// Writes a register that depends on the time.
    pub(crate) fn write_time(&mut self, number: u32, value: u64, now: u64) -> Result<(), Trap> {
        if self.msr() & msr::PR != 0 && number & PRIVILEGED != 0 {
            return Err(Trap::Privileged);
        }
        if number == DEC {
            self.spr.dec_zero_at = now.wrapping_add(i64::from(value as i32) as u64);
        }
        Ok(())
    }

    /// Whether DEC is negative: its interrupt is pending as long as it is. However late it is: a
    /// host may be away for longer than DEC has bits.
    pub(crate) fn decrementer_is_due(&self, now: u64) -> bool {
        (self.spr.dec_zero_at.wrapping_sub(now) as i64) < 0
    }
}
