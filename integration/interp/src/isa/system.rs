//! System linkage, machine state, synchronisation and translation control (Power ISA 3.0B,
//! Book II §4, Book III).

use std::sync::atomic::{Ordering, fence};

use super::fields::*;
use super::operands::ea_x;
use super::{Insn, call, op};
use crate::bits::{fscr, msr};
use crate::op::{Code, Op};
use crate::ram::Ram;
use crate::spr;
use crate::state::State;
use crate::trap::Trap;

type Done = Result<(), Trap>;

pub(super) fn need_privilege(s: &State) -> Done {
    if s.msr() & msr::PR == 0 { Ok(()) } else { Err(Trap::Privileged) }
}

/// Goes on behind this instruction, but not before everything was looked at anew.
pub(super) fn resync(s: &mut State) -> Done {
    s.pc = s.pc.wrapping_add(4) & s.ea_mask;
    Err(Trap::Resync)
}

fn sc(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    match w >> 5 & 0x7f {
        1 if s.msr() & msr::PR == 0 => Err(Trap::Hypercall),
        // A hypervisor gives it back to the partition as an instruction that it may not use.
        1 => Err(Trap::Privileged),
        _ => Err(Trap::SystemCall),
    }
}

fn scv(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    s.need_facility(fscr::SCV, fscr::CAUSE_SCV)?;
    s.fault_dsisr = w >> 5 & 0x7f;
    Err(Trap::SystemCallVectored)
}

fn rfid(s: &mut State, _: &Ram<'_>, _: u32) -> Done {
    need_privilege(s)?;
    let (pc, value) = (s.spr.srr0, s.spr.srr1);
    s.return_to(pc, value)
}

/// Returns from `scv`: LR and CTR are what SRR0 and SRR1 are to `rfid`.
fn rfscv(s: &mut State, _: &Ram<'_>, _: u32) -> Done {
    need_privilege(s)?;
    let (pc, value) = (s.lr, s.ctr);
    s.return_to(pc, value)
}

impl State {
    fn return_to(&mut self, pc: u64, value: u64) -> Done {
        // ME is the hypervisor's.
        let kept = self.msr() & msr::ME;
        self.set_msr(value & !msr::ME | kept);
        self.pc = pc & self.ea_mask & !3;
        Err(Trap::Resync)
    }

    /// What a program may use only where FSCR says so; to the kernel it denies nothing (Book III
    /// §6.2).
    pub(crate) fn need_facility(&mut self, enable: u64, cause: u64) -> Done {
        if self.spr.fscr & enable != 0 || self.msr() & msr::PR == 0 {
            return Ok(());
        }
        self.fault_dsisr = cause as u32;
        Err(Trap::FacilityUnavailable)
    }

    pub(crate) fn need_tar(&mut self) -> Done {
        self.need_facility(fscr::TAR, fscr::CAUSE_TAR)
    }
}

/// mtmsr and mtmsrd: L = 1 sets EE and RI only; else all but ME and LE, and mtmsr not the upper
/// half (Book III §4.4.3).
fn set_msr(s: &mut State, w: u32, may_set: u64) -> Done {
    need_privilege(s)?;
    let mask = match w >> 16 & 1 {
        1 => msr::EE | msr::RI,
        _ => may_set & !(msr::ME | msr::LE),
    };
    let value = s.gpr[rt(w) as usize] & mask | s.msr() & !mask;
    s.set_msr(value);
    resync(s)
}

/// `sync`, `lwsync`, `ptesync`: what this CPU did becomes visible before what it does next. Behind
/// `ptesync`, no CPU uses a translation that a `tlbie` before it has dropped.
fn sync(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    const LWSYNC: u32 = 1;
    const PTESYNC: u32 = 2;
    let kind = w >> 21 & 3;
    // Before what this CPU stores next: who sees that knows of them.
    s.tell_of_icbi();
    match kind {
        LWSYNC => fence(Ordering::AcqRel),
        _ => fence(Ordering::SeqCst),
    }
    if let Some(change) = s.unfinished_tlbie.take_if(|_| kind == PTESYNC) {
        // It may be waited for as well, by one that it waits for.
        s.use_no_translations();
        s.system.wait_for_others(s.id, change);
        return resync(s);
    }
    if s.written.is_empty() { Ok(()) } else { resync(s) }
}

/// Loads before it are performed before those behind it, when a branch between them depends on
/// the former: what acquires a lock (Book II §B.2.1.1).
fn isync(s: &mut State, _: &Ram<'_>, _: u32) -> Done {
    fence(Ordering::Acquire);
    s.tell_of_icbi();
    let is_stale = !s.written.is_empty() || s.system.has_changed(&s.followed);
    if is_stale || std::mem::take(&mut s.check_at_isync) { resync(s) } else { Ok(()) }
}

/// This CPU notices its own stores. Where there are others, one `icbi` may stand for all code, as
/// instruction caches snoop: everybody compares, when the `sync` or `isync` is executed that has to
/// come behind it (Book II, instruction storage). Programs flush by the line, and put one behind all of it.
fn icbi(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    if s.system.is_smp() {
        let ea = ea_x(s, w) & s.ea_mask;
        s.real(ram, ea, false)?;
        s.untold_icbi = true;
    }
    Ok(())
}

/// tlbie and tlbiel (Book III §5.9.3.3), of which a partition may use the process-scoped radix
/// forms. Dropping more than asked for is always right.
fn tlbie(s: &mut State, w: u32, is_local: bool) -> Done {
    need_privilege(s)?;
    const IS_SHIFT: u32 = 10;
    let value = s.gpr[rb(w) as usize];
    let radix = w >> 16 & 1 != 0;
    let what = w >> 18 & 3;
    let by_address = value >> IS_SHIFT & 3 == 0 && what == 0;
    // Log2 of the page size by the actual-page-size code: 4K, 64K, 2M, 1G.
    let size = match value >> 5 & 7 {
        0 => Some(12),
        5 => Some(16),
        1 => Some(21),
        _ => None,
    };
    match size {
        Some(shift) if by_address && radix => s.tlb.flush_range(value & !0xfff, 1 << shift),
        _ => s.tlb.flush(),
    }
    if !is_local && s.system.is_smp() {
        s.unfinished_tlbie = Some(s.system.translations_changed());
    }
    Ok(())
}

fn mfspr(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    if let Some(value) = spr::read(s, spr(w))? {
        s.gpr[rt(w) as usize] = value;
    }
    Ok(())
}

fn mtspr(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    spr::write(s, spr(w), s.gpr[rt(w) as usize])?;
    // An event-based branch may be due now.
    if spr::is_of_events(spr(w)) { resync(s) } else { Ok(()) }
}

fn decode_mfspr(w: u32) -> Op {
    let number = spr(w);
    match number {
        spr::LR => Op::new(Code::Mflr, rt(w), 0, 0),
        spr::CTR => Op::new(Code::Mfctr, rt(w), 0, 0),
        _ => Op::new(Code::Mftime, rt(w), 0, number),
    }
}

fn decode_mtspr(w: u32) -> Op {
    let number = spr(w);
    match number {
        spr::LR => Op::new(Code::Mtlr, rt(w), 0, 0),
        spr::CTR => Op::new(Code::Mtctr, rt(w), 0, 0),
        _ => Op::new(Code::Mttime, rt(w), 0, number),
    }
}

/// mfspr or mtspr of one register.
const fn move_spr(extended: u32, number: u32) -> super::Pattern {
    (0xfc1f_fffe, 31 << 26 | (number & 31) << 16 | (number >> 5) << 11 | extended << 1)
}

pub(super) const TABLE: &[Insn] = &[
    call("sc", (0xfc00_0002, 17 << 26 | 2), "lev", sc),
    call("scv", (0xfc00_0003, 17 << 26 | 1), "lev", scv),
    call("rfid", x(19, 18), "", rfid),
    call("rfscv", x(19, 82), "", rfscv),
    call("mtmsr", x(31, 146), "rs,l15", |s, _, w| set_msr(s, w, 0xffff_ffff & !msr::SF)),
    call("mtmsrd", x(31, 178), "rs,l15", |s, _, w| set_msr(s, w, u64::MAX)),
    call("mfmsr", x(31, 83), "rt", |s, _, w| {
        need_privilege(s)?;
        s.gpr[rt(w) as usize] = s.msr();
        Ok(())
    }),
    op("mflr", move_spr(339, spr::LR), "rt", decode_mfspr),
    op("mfctr", move_spr(339, spr::CTR), "rt", decode_mfspr),
    op("mtlr", move_spr(467, spr::LR), "rs", decode_mtspr),
    op("mtctr", move_spr(467, spr::CTR), "rs", decode_mtspr),
    op("mfdec", move_spr(339, spr::DEC), "rt", decode_mfspr),
    op("mtdec", move_spr(467, spr::DEC), "rs", decode_mtspr),
    op("mfpurr", move_spr(339, spr::PURR), "rt", decode_mfspr),
    op("mfspurr", move_spr(339, spr::SPURR), "rt", decode_mfspr),
    op("mfvtb", move_spr(339, spr::VTB), "rt", decode_mfspr),
    op("mftb", move_spr(339, spr::TB), "rt", decode_mfspr),
    op("mftbu", move_spr(339, spr::TBU), "rt", decode_mfspr),
    call("mfspr", x(31, 339), "rt,spr", mfspr),
    call("mtspr", x(31, 467), "spr,rs", mtspr),
    op("mftb", x(31, 371), "rt,spr", decode_mfspr),
    call("sync", x(31, 598), "l9", sync),
    call("eieio", x(31, 854), "", |_, _, _| {
        fence(Ordering::AcqRel);
        Ok(())
    }),
    call("isync", x(19, 150), "", isync),
    call("icbi", x(31, 982), "ra0,rb", icbi),
    call("tlbie", x(31, 306), "rb,rs,ric,prs,r", |s, _, w| tlbie(s, w, false)),
    call("tlbiel", x(31, 274), "rb,rs,ric,prs,r", |s, _, w| tlbie(s, w, true)),
    // The `ptesync` that has to come behind it waits.
    call("tlbsync", x(31, 566), "", |s, _, _| need_privilege(s)),
    op("wait", x(31, 30), "wc", |_| Op::new(Code::Nop, 0, 0, 0)),
    // There is never a copy that somebody could see the rest of.
    op("cp_abort", x(31, 838), "", |_| Op::new(Code::Nop, 0, 0, 0)),
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_memory::{GuestAddress, VolatileSlice};

    use super::super::lookup;
    use super::*;
    use crate::region::RamRegion;
    use crate::system::{Followed, Stale, System};

    const ICBI: u32 = 0x7c00_07ac;

    /// What makes the change known, by name.
    type End<'a> = (&'a str, &'a dyn Fn(&mut State));

    /// A program flushes line by line: the other CPUs compare their code once, when all of it is
    /// done.
    #[test]
    fn many_icbi_are_one_change() {
        let mut page = [0; 4096];
        let regions = [RamRegion::new(GuestAddress(0), VolatileSlice::from(&mut page[..]))];
        let ram = Ram::new(&regions);
        let execute = |s: &mut State, word| {
            let _ = lookup(word).unwrap().execute(s, &ram, word);
        };
        let ends: [End<'_>; 6] = [
            ("sync", &|s| execute(s, 0x7c00_04ac)),
            ("lwsync", &|s| execute(s, 0x7c20_04ac)),
            ("ptesync", &|s| execute(s, 0x7c40_04ac)),
            ("isync", &|s| execute(s, 0x4c00_012c)),
            ("what it executes next is looked up", &State::follow),
            ("guest code is left", &State::use_no_translations),
        ];
        for (name, end) in ends {
            let system = Arc::new(System::new(2));
            let mut state = State::new(0, 0x004e_1203, system.clone());
            let mut followed = Followed::default();
            for _ in 0..3 {
                execute(&mut state, ICBI);
            }
            assert!(!system.has_changed(&followed), "{name}");
            for _ in 0..2 {
                end(&mut state);
            }
            let stale = system.stale(&mut followed);
            assert_eq!(stale, Some(Stale { check_code: true, ..Stale::default() }), "{name}");
            assert_eq!(followed.changes, 1, "{name}");
        }
    }
}
