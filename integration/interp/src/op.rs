//! The decoded form of an instruction.

use crate::page_map::PAGE_SHIFT;

/// Operations of a page.
pub(crate) const PAGE_OPS: usize = 1 << (PAGE_SHIFT - 2);

/// A decoded instruction, in eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub(crate) struct Op {
    pub(crate) code: Code,
    pub(crate) a: u8,
    pub(crate) b: u8,
    /// A displacement or immediate value; or a third register in the low byte and flags above.
    pub(crate) imm: u32,
}

const _: () = assert!(size_of::<Op>() == 8);

impl Op {
    /// In [`Op::imm`] of register forms: sets CR field 0.
    pub(crate) const RECORD: u32 = 1 << 8;
    /// In [`Op::imm`] of register forms: sets XER.OV.
    pub(crate) const OVERFLOW: u32 = 1 << 9;
    /// In [`Op::imm`] of branches: sets LR.
    pub(crate) const LINK: u32 = 1;

    /// What a page that was never looked at is full of.
    pub(crate) const UNDECODED: Self = Self { code: Code::Undecoded, a: 0, b: 0, imm: 0 };

    pub(crate) const fn new(code: Code, a: u32, b: u32, imm: u32) -> Self {
        Self { code, a: a as u8, b: b as u8, imm }
    }

    #[inline(always)]
    pub(crate) fn c(&self) -> u8 {
        self.imm as u8
    }

    #[inline(always)]
    pub(crate) fn signed(&self) -> i64 {
        i64::from(self.imm as i32)
    }

    #[inline(always)]
    pub(crate) fn records(&self) -> bool {
        self.imm & Self::RECORD != 0
    }

    #[inline(always)]
    pub(crate) fn overflows(&self) -> bool {
        self.imm & Self::OVERFLOW != 0
    }
}

/// What the core's loop does for an operation: the instructions that make up nearly all of what
/// programs execute. All others are [`Code::Call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Not looked at yet.
    Undecoded,
    /// Calls the function of the instruction number `a | b << 8` with the word in `imm`.
    Call,
    // a = target, b = source or [`crate::state::ZERO`], imm = value
    Addi,
    // a = target, b = source, imm = value
    Ori,
    Xori,
    AndiRecord,
    Mulli,
    Addic,
    Subfic,
    // a = target, b and c = sources
    Add,
    Subf,
    And,
    Or,
    Xor,
    Nor,
    Nand,
    Eqv,
    Andc,
    Orc,
    Mullw,
    Mulld,
    Mulhw,
    Mulhwu,
    Mulhd,
    Mulhdu,
    Divw,
    Divwu,
    Divd,
    Divdu,
    Addc,
    Adde,
    Subfc,
    Subfe,
    // a = target, b = source
    Addze,
    Addme,
    Subfze,
    Subfme,
    Neg,
    Extsb,
    Extsh,
    Extsw,
    Cntlzw,
    Cntlzd,
    Cnttzw,
    Cnttzd,
    // a = target, b = source, c = amount register
    Slw,
    Srw,
    Sraw,
    Sld,
    Srd,
    Srad,
    // a = target, b = source, c = amount
    Srawi,
    Sradi,
    // a = target, b = source; imm bytes: amount, flags, mask begin, mask end
    Rlwinm,
    Rlwnm,
    Rlwimi,
    Rldicl,
    Rldicr,
    Rldic,
    Rldimi,
    Rldcl,
    Rldcr,
    // a = field, b = source, imm = value or c = source
    Cmpdi,
    Cmpwi,
    Cmpldi,
    Cmplwi,
    Cmpd,
    Cmpw,
    Cmpld,
    Cmplw,
    // a = target, b, c = sources, flags byte = bit of CR
    Isel,
    // imm = displacement
    B,
    Bl,
    // a = field, b = bit of it, imm = displacement
    Bt,
    Bf,
    // imm = displacement
    Bdnz,
    // a = BO, b = BI, imm = displacement and flags
    BcAny,
    /// Absolute: imm = address and LINK.
    Ba,
    Blr,
    Bctr,
    Bctrl,
    // a = BO, b = BI, imm = LINK
    BclrAny,
    BcctrAny,
    BctarAny,
    Mflr,
    Mtlr,
    Mfctr,
    Mtctr,
    Mfcr,
    // a = source, imm = mask of fields
    Mtcrf,
    /// A register that depends on the time: a = register, imm = its number.
    Mftime,
    Mttime,
    // D-forms: a = target, b = base or zero, imm = displacement. X-forms: c = index
    Lbz,
    Lbzx,
    Lbzu,
    Lbzux,
    Lhz,
    Lhzx,
    Lhzu,
    Lhzux,
    Lha,
    Lhax,
    Lhau,
    Lhaux,
    Lwz,
    Lwzx,
    Lwzu,
    Lwzux,
    Lwa,
    Lwax,
    Lwaux,
    Ld,
    Ldx,
    Ldu,
    Ldux,
    Stb,
    Stbx,
    Stbu,
    Stbux,
    Sth,
    Sthx,
    Sthu,
    Sthux,
    Stw,
    Stwx,
    Stwu,
    Stwux,
    Std,
    Stdx,
    Stdu,
    Stdux,
    Dcbz,
    /// A hint, or a wait for what this core does in order anyway.
    Nop,
}
