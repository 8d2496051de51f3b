//! Bits of the architected registers. The specification numbers bits from the most significant;
//! here they are masks.

/// Ones from bit `begin` to bit `end`, around the end of the register if need be (Book I §3.3.14, MASK).
#[inline(always)]
pub(crate) fn mask(begin: u32, end: u32) -> u64 {
    let (from, to) = (u64::MAX >> (begin & 63), u64::MAX << ((63 - end) & 63));
    if begin <= end { from & to } else { from | to }
}

/// Machine state register (Power ISA 3.0B, Book III §4.2.1).
pub(crate) mod msr {
    /// 64-bit mode.
    pub(crate) const SF: u64 = 1 << 63;
    /// VMX is available.
    pub(crate) const VEC: u64 = 1 << 25;
    /// VSX is available.
    pub(crate) const VSX: u64 = 1 << 23;
    /// External interrupts are enabled.
    pub(crate) const EE: u64 = 1 << 15;
    /// Problem state.
    pub(crate) const PR: u64 = 1 << 14;
    /// Floating point is available.
    pub(crate) const FP: u64 = 1 << 13;
    /// Machine check interrupts are enabled.
    pub(crate) const ME: u64 = 1 << 12;
    /// Floating-point exception mode, upper bit.
    pub(crate) const FE0: u64 = 1 << 11;
    /// Trace: every instruction.
    pub(crate) const SE: u64 = 1 << 10;
    /// Trace: branches.
    pub(crate) const BE: u64 = 1 << 9;
    /// Trace, both bits.
    pub(crate) const TE: u64 = SE | BE;
    /// Floating-point exception mode, lower bit.
    pub(crate) const FE1: u64 = 1 << 8;
    /// Instruction relocation.
    pub(crate) const IR: u64 = 1 << 5;
    /// Data relocation.
    pub(crate) const DR: u64 = 1 << 4;
    /// Performance monitor mark.
    pub(crate) const PMM: u64 = 1 << 2;
    /// The last interrupt can be recovered from.
    pub(crate) const RI: u64 = 1 << 1;
    /// Little-endian.
    pub(crate) const LE: u64 = 1 << 0;
    /// What a guest can set of the register: all that this processor has. HV and transactional
    /// memory it has not.
    pub(crate) const SETTABLE: u64 =
        SF | VEC | VSX | EE | PR | FP | ME | FE0 | TE | FE1 | IR | DR | PMM | RI | LE;

    /// What the register holds when it is set to a value: what it has, and who sets PR sets EE, IR
    /// and DR too (§4.2.1, mtmsr and rfid).
    pub(crate) const fn with_implied(value: u64) -> u64 {
        let value = value & SETTABLE;
        if value & PR != 0 { value | EE | IR | DR } else { value }
    }
}

/// SRR1 bits that tell the cause of an interrupt (Book III §6.5).
pub(crate) mod srr1 {
    /// Instruction storage: the page must not be executed.
    pub(crate) const NO_EXECUTE: u64 = 0x1000_0000;
    /// Instruction storage: the page is not for this privilege.
    pub(crate) const PROTECTION: u64 = 0x0800_0000;
    /// Instruction storage: key protection.
    pub(crate) const KEY: u64 = 0x0020_0000;
    /// Program: floating-point enabled exception.
    pub(crate) const FLOAT: u64 = 0x0010_0000;
    /// Program: illegal instruction.
    pub(crate) const ILLEGAL: u64 = 0x0008_0000;
    /// Program: privileged instruction.
    pub(crate) const PRIVILEGED: u64 = 0x0004_0000;
    /// Trace: set with each.
    pub(crate) const TRACED: u64 = 0x4000_0000;
    /// Trace: the instruction loads, or is treated as if it did.
    pub(crate) const TRACED_LOAD: u64 = 0x1000_0000;
    /// Trace: the instruction stores, or is treated as if it did.
    pub(crate) const TRACED_STORE: u64 = 0x0800_0000;
    /// Program: trap.
    pub(crate) const TRAP: u64 = 0x0002_0000;
}

/// DSISR bits (Book III §6.5.3).
pub(crate) mod dsisr {
    /// No translation.
    pub(crate) const NOT_FOUND: u32 = 0x4000_0000;
    /// Not permitted by the page's protection.
    pub(crate) const PROTECTION: u32 = 0x0800_0000;
    /// An access that only storage has that is cached: a quadword's, one that reserves, an atomic
    /// memory operation.
    pub(crate) const NOT_CACHED: u32 = 0x0400_0000;
    /// The access was a store.
    pub(crate) const STORE: u32 = 0x0200_0000;
    /// Not permitted by key protection.
    pub(crate) const KEY: u32 = 0x0020_0000;
    /// A radix tree that cannot be.
    pub(crate) const BAD_RADIX: u32 = 0x0008_0000;
    /// `copy` or `paste.` of storage that is not for it.
    pub(crate) const NOT_FOR_COPIES: u32 = 0x8;
    /// An atomic memory operation that there is not.
    pub(crate) const NO_ATOMIC_FUNCTION: u32 = 0x4;
}

/// Entries of the segment lookaside buffer, as `slbmte` takes them (Book III §5.9.3).
pub(crate) mod segment {
    /// RB: the address.
    pub(crate) const ESID: u64 = 0xffff_ffff_f000_0000;
    /// RB: there is an entry.
    pub(crate) const VALID: u64 = 0x0800_0000;
    /// RS: the size of the segment, 0 for 256 MiB, 1 for 1 TiB.
    pub(crate) const SIZE_SHIFT: u32 = 62;
    /// RS: privileged state has a key (Ks).
    pub(crate) const KEY_OF_KERNEL: u64 = 0x800;
    /// RS: problem state has a key (Kp).
    pub(crate) const KEY_OF_USER: u64 = 0x400;
    /// RS: nothing is executed in it.
    pub(crate) const NO_EXECUTE: u64 = 0x200;
    /// RS: its class.
    pub(crate) const CLASS: u64 = 0x80;
    /// RS: its base page size (L and LP); 0 is 4 KiB.
    pub(crate) const PAGE_SIZE: u64 = 0x130;
    /// Pages of 64 KiB.
    pub(crate) const PAGES_64K: u64 = 0x110;
    /// Pages of 16 MiB.
    pub(crate) const PAGES_16M: u64 = 0x100;
    /// RS: all that is kept of it.
    pub(crate) const KEPT: u64 = 0xffff_ffff_ffff_ffb0;
}

/// Facility status and control register (Book III §6.2), which says what facilities problem state
/// has: enable bits, and the code of the facility that was missing in the upper byte.
pub(crate) mod fscr {
    /// `scv` is available.
    pub(crate) const SCV: u64 = 1 << 12;
    /// TAR is available.
    pub(crate) const TAR: u64 = 1 << 8;
    /// Event-based branches are available.
    pub(crate) const EBB: u64 = 1 << 7;
    /// DSCR is available.
    pub(crate) const DSCR: u64 = 1 << 2;
    /// Interrupt cause: DSCR.
    pub(crate) const CAUSE_DSCR: u64 = 2;
    /// Interrupt cause: transactional memory.
    pub(crate) const CAUSE_TM: u64 = 5;
    /// Interrupt cause: event-based branches.
    pub(crate) const CAUSE_EBB: u64 = 7;
    /// Interrupt cause: TAR.
    pub(crate) const CAUSE_TAR: u64 = 8;
    /// Interrupt cause: `scv`.
    pub(crate) const CAUSE_SCV: u64 = 0xc;
}

/// Branch event status and control register (Book II, event-based branches).
pub(crate) mod bescr {
    /// Event-based branches are taken.
    pub(crate) const GE: u64 = 1 << 63;
    /// Those of external events are.
    pub(crate) const EE: u64 = 1 << 33;
    /// Those of the performance monitor are.
    pub(crate) const PME: u64 = 1 << 32;
    /// An external event has occurred.
    pub(crate) const EEO: u64 = 1 << 1;
    /// An event of the performance monitor has occurred.
    pub(crate) const PMEO: u64 = 1 << 0;
}

/// XER (Book I §3.2.2).
pub(crate) mod xer {
    /// Summary overflow.
    pub(crate) const SO: u64 = 1 << 31;
    /// Overflow.
    pub(crate) const OV: u64 = 1 << 30;
    /// Carry.
    pub(crate) const CA: u64 = 1 << 29;
    /// Overflow of the low word.
    pub(crate) const OV32: u64 = 1 << 19;
    /// Carry of the low word.
    pub(crate) const CA32: u64 = 1 << 18;
}

/// A condition register field: bits 0 to 3.
pub(crate) mod cr {
    /// Negative, or less than.
    pub(crate) const LT: u8 = 8;
    /// Positive, or greater than.
    pub(crate) const GT: u8 = 4;
    /// Zero, or equal.
    pub(crate) const EQ: u8 = 2;
    /// Summary overflow, or unordered.
    pub(crate) const SO: u8 = 1;
}
