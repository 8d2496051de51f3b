//! Taking interrupts (Power ISA 3.0B, Book III chapter 6).

use crate::bits::{msr, srr1};
use crate::state::State;
use crate::trap::Trap;

/// Interrupt vectors (Book III figure 65).
pub(crate) mod vector {
    pub(crate) const SYSTEM_RESET: u64 = 0x100;
    pub(crate) const DATA_STORAGE: u64 = 0x300;
    pub(crate) const DATA_SEGMENT: u64 = 0x380;
    pub(crate) const INSTRUCTION_STORAGE: u64 = 0x400;
    pub(crate) const INSTRUCTION_SEGMENT: u64 = 0x480;
    pub(crate) const EXTERNAL: u64 = 0x500;
    pub(crate) const ALIGNMENT: u64 = 0x600;
    pub(crate) const PROGRAM: u64 = 0x700;
    pub(crate) const FP_UNAVAILABLE: u64 = 0x800;
    pub(crate) const DECREMENTER: u64 = 0x900;
    pub(crate) const DOORBELL: u64 = 0xa00;
    pub(crate) const SYSTEM_CALL: u64 = 0xc00;
    pub(crate) const TRACE: u64 = 0xd00;
    pub(crate) const VMX_UNAVAILABLE: u64 = 0xf20;
    pub(crate) const VSX_UNAVAILABLE: u64 = 0xf40;
    pub(crate) const FACILITY_UNAVAILABLE: u64 = 0xf60;
    pub(crate) const SYSTEM_CALL_VECTORED: u64 = 0x17000;
}

/// The bits of SRR1 that tell the cause; the others are MSR's (§6.4.3).
const SRR1_CAUSE: u64 = 0x783f_0000;

/// LPCR.AIL (§2.2): where interrupts go that are taken with translation on.
const AIL_OFFSET_2: u64 = 0x1_8000;
const AIL_OFFSET_3: u64 = 0xc000_0000_0000_4000;
const AIL_3_SYSTEM_CALL_VECTORED: u64 = 0xc000_0000_0000_3000;

impl State {
    /// Takes the interrupt that a trap is.
    pub(crate) fn take(&mut self, trap: Trap) {
        let next = self.pc.wrapping_add(4) & self.ea_mask;
        match trap {
            Trap::DataStorage => {
                self.spr.dar = self.fault_address;
                self.spr.dsisr = self.fault_dsisr;
                self.interrupt(vector::DATA_STORAGE, 0);
            }
            Trap::DataSegment => {
                self.spr.dar = self.fault_address;
                self.interrupt(vector::DATA_SEGMENT, 0);
            }
            Trap::InstructionStorage => {
                self.interrupt(vector::INSTRUCTION_STORAGE, u64::from(self.fault_dsisr));
            }
            Trap::InstructionSegment => self.interrupt(vector::INSTRUCTION_SEGMENT, 0),
            Trap::Alignment => {
                self.spr.dar = self.fault_address;
                // What else DSISR says of the instruction is not defined any more.
                self.spr.dsisr = 0;
                self.interrupt(vector::ALIGNMENT, 0);
            }
            Trap::Illegal | Trap::Unimplemented | Trap::Mmio => {
                self.interrupt(vector::PROGRAM, srr1::ILLEGAL);
            }
            Trap::Privileged => self.interrupt(vector::PROGRAM, srr1::PRIVILEGED),
            Trap::Condition => self.interrupt(vector::PROGRAM, srr1::TRAP),
            Trap::Float => self.interrupt(vector::PROGRAM, srr1::FLOAT),
            Trap::FpUnavailable => self.interrupt(vector::FP_UNAVAILABLE, 0),
            Trap::VmxUnavailable => self.interrupt(vector::VMX_UNAVAILABLE, 0),
            Trap::VsxUnavailable => self.interrupt(vector::VSX_UNAVAILABLE, 0),
            Trap::FacilityUnavailable => {
                let cause = u64::from(self.fault_dsisr);
                self.spr.fscr = self.spr.fscr & (u64::MAX >> 8) | cause << 56;
                self.interrupt(vector::FACILITY_UNAVAILABLE, 0);
            }
            Trap::SystemCall => {
                self.pc = next;
                self.interrupt(vector::SYSTEM_CALL, 0);
            }
            Trap::SystemCallVectored => self.system_call_vectored(next),
            Trap::Hypercall | Trap::Resync => {}
        }
    }

    /// Takes the interrupt with this vector at the program counter.
    pub(crate) fn interrupt(&mut self, vector: u64, cause: u64) {
        self.stats.interrupts += 1;
        self.spr.srr0 = self.pc;
        self.spr.srr1 = self.msr() & !SRR1_CAUSE | cause;
        let relocated = self.ail_applies() && vector != vector::SYSTEM_RESET;
        let offset = match (relocated, self.spr.ail) {
            (true, 2) => AIL_OFFSET_2,
            (true, 3) => AIL_OFFSET_3,
            _ => 0,
        };
        self.enter(offset + vector, offset != 0, 0);
    }

    /// `scv`: LR and CTR instead of SRR0 and SRR1; EE and RI stay (§6.5.27).
    fn system_call_vectored(&mut self, next: u64) {
        self.stats.interrupts += 1;
        let level = u64::from(self.fault_dsisr);
        self.lr = next;
        self.ctr = self.msr() & !SRR1_CAUSE;
        let (base, relocated) = match (self.ail_applies(), self.spr.ail) {
            (true, 3) => (AIL_3_SYSTEM_CALL_VECTORED, true),
            (true, 2) => (AIL_OFFSET_2 + vector::SYSTEM_CALL_VECTORED, true),
            _ => (vector::SYSTEM_CALL_VECTORED, false),
        };
        let kept = self.msr() & (msr::EE | msr::RI);
        self.enter(base + level * 0x20, relocated, kept);
    }

    /// AIL counts only where both translations were on (§2.2).
    fn ail_applies(&self) -> bool {
        self.msr() & (msr::IR | msr::DR) == msr::IR | msr::DR
    }

    fn enter(&mut self, at: u64, relocated: bool, kept: u64) {
        let mut value = msr::SF | self.msr() & msr::ME | kept;
        if relocated {
            value |= msr::IR | msr::DR;
        }
        if self.spr.ile {
            value |= msr::LE;
        }
        self.set_msr(value);
        self.pc = at;
    }
}
