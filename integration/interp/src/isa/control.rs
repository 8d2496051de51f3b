//! Messages between threads, event-based branches, and what a partition may not do (Power ISA
//! 3.0B: Book II, event-based branches; Book III, processor control).

use super::fields::*;
use super::system::{need_privilege, resync};
use super::{Insn, call};
use crate::bits::{bescr, fscr, msr};
use crate::ram::Ram;
use crate::state::State;
use crate::trap::Trap;

type Done = Result<(), Trap>;

/// The message in RB is a directed privileged doorbell: type 5 in bits 32 to 36. Those of other
/// types reach nobody.
fn is_doorbell(message: u64) -> bool {
    message >> 27 & 0x1f == 5
}

/// Rings at the thread of this core whose TIR is in bits 57 to 63, if it has one. HFSCR, which is
/// the hypervisor's, allows it.
fn msgsndp(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    let message = s.gpr[rb(w) as usize];
    if is_doorbell(message) {
        s.rung = s.system.ring(s.id, message & 0x7f);
    }
    // Its interrupt may come at once.
    resync(s)
}

/// Takes back what this thread was sent, whichever thread the message names.
fn msgclrp(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    if is_doorbell(s.gpr[rb(w) as usize]) {
        s.system.set_own_doorbell(s.id, 0);
    }
    resync(s)
}

/// Goes on where an event-based branch left off.
fn rfebb(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    s.need_facility(fscr::EBB, fscr::CAUSE_EBB)?;
    let enable = if w >> 11 & 1 != 0 { bescr::GE } else { 0 };
    s.spr.bescr = s.spr.bescr & !bescr::GE | enable;
    s.pc = s.spr.ebbrr & s.ea_mask & !3;
    Err(Trap::Resync)
}

impl State {
    /// Takes the event-based branch that is due, if one is. No event of this processor ever
    /// happens by itself, as nothing is counted: programs can set their status bits.
    pub(crate) fn branch_on_event(&mut self) {
        if self.msr() & msr::PR == 0 || self.spr.fscr & fscr::EBB == 0 {
            return;
        }
        let status = self.spr.bescr;
        let is_due = [(bescr::EE, bescr::EEO), (bescr::PME, bescr::PMEO)]
            .iter()
            .any(|(enabled, occurred)| status & enabled != 0 && status & occurred != 0);
        if status & bescr::GE == 0 || !is_due {
            return;
        }
        self.spr.bescr = status & !bescr::GE;
        self.spr.ebbrr = self.pc;
        self.pc = self.spr.ebbhr & self.ea_mask & !3;
    }
}

/// What is privileged to the hypervisor is a program interrupt to a partition, for a privileged
/// instruction, in its kernel as in problem state (Book III §6.5.9; LPCR.EVIRT is 0).
fn hypervisor(_: &mut State, _: &Ram<'_>, _: u32) -> Done {
    Err(Trap::Privileged)
}

/// MSR.TM cannot be set, so the facility is unavailable (Book III, facility unavailable interrupt).
fn transaction(s: &mut State, _: &Ram<'_>, _: u32) -> Done {
    s.fault_dsisr = fscr::CAUSE_TM as u32;
    Err(Trap::FacilityUnavailable)
}

fn privileged_transaction(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    transaction(s, ram, w)
}

pub(super) const TABLE: &[Insn] = &[
    call("msgsndp", x(31, 142), "rb", msgsndp),
    call("msgclrp", x(31, 174), "rb", msgclrp),
    call("rfebb", x(19, 146), "s", rfebb),
    call("hrfid", x(19, 274), "", hypervisor),
    call("stop", x(19, 370), "", hypervisor),
    call("msgsnd", x(31, 206), "rb", hypervisor),
    call("msgclr", x(31, 238), "rb", hypervisor),
    call("msgsync", x(31, 886), "", hypervisor),
    call("lwzcix", x(31, 789), "rt,ra0,rb", hypervisor),
    call("lhzcix", x(31, 821), "rt,ra0,rb", hypervisor),
    call("lbzcix", x(31, 853), "rt,ra0,rb", hypervisor),
    call("ldcix", x(31, 885), "rt,ra0,rb", hypervisor),
    call("stwcix", x(31, 917), "rs,ra0,rb", hypervisor),
    call("sthcix", x(31, 949), "rs,ra0,rb", hypervisor),
    call("stbcix", x(31, 981), "rs,ra0,rb", hypervisor),
    call("stdcix", x(31, 1013), "rs,ra0,rb", hypervisor),
    call("tbegin.", x1(31, 654), "", transaction),
    call("tend.", x1(31, 686), "", transaction),
    call("tcheck", x(31, 718), "bf", transaction),
    call("tsr.", x1(31, 750), "", transaction),
    call("tabortwc.", x1(31, 782), "to,ra,rb", transaction),
    call("tabortdc.", x1(31, 814), "to,ra,rb", transaction),
    call("tabortwci.", x1(31, 846), "to,ra,nb", transaction),
    call("tabortdci.", x1(31, 878), "to,ra,nb", transaction),
    call("tabort.", x1(31, 910), "ra", transaction),
    call("treclaim.", x1(31, 942), "ra", privileged_transaction),
    call("trechkpt.", x1(31, 1006), "", privileged_transaction),
];
