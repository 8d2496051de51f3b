//! Instructions that are newer than Power ISA 2.07: a program that is held to that level does not have
//! them (Power ISA 3.0B, Book III §2.5, PCR; the appendix "Instructions sorted by version").

/// Their names. Those that only a kernel executes are not here: it is not held to a level.
pub(super) const NAMES: &[&str] = &[
    // Fixed-point.
    "addex",
    "addpcis",
    "cmpeqb",
    "cmprb",
    "cnttzd",
    "cnttzw",
    "darn",
    "extswsli",
    "maddhd",
    "maddhdu",
    "maddld",
    "mcrxrx",
    "modsd",
    "modsw",
    "modud",
    "moduw",
    "setb",
    // Storage.
    "copy",
    "cp_abort",
    "ldat",
    "lwat",
    "paste.",
    "stdat",
    "stwat",
    "lxsd",
    "lxsibzx",
    "lxsihzx",
    "lxssp",
    "lxv",
    "lxvb16x",
    "lxvh8x",
    "lxvl",
    "lxvll",
    "lxvwsx",
    "lxvx",
    "stxsd",
    "stxsibx",
    "stxsihx",
    "stxssp",
    "stxv",
    "stxvb16x",
    "stxvh8x",
    "stxvl",
    "stxvll",
    "stxvx",
    // Control.
    "scv",
    "wait",
    // Decimal.
    "bcdcfn.",
    "bcdcfsq.",
    "bcdcfz.",
    "bcdcpsgn.",
    "bcdctn.",
    "bcdctsq.",
    "bcdctz.",
    "bcds.",
    "bcdsetsgn.",
    "bcdsr.",
    "bcdtrunc.",
    "bcdus.",
    "bcdutrunc.",
    "dtstsfi",
    "dtstsfiq",
    // VMX.
    "vabsdub",
    "vabsduh",
    "vabsduw",
    "vbpermd",
    "vclzlsbb",
    "vcmpneb",
    "vcmpneh",
    "vcmpnew",
    "vcmpnezb",
    "vcmpnezh",
    "vcmpnezw",
    "vctzb",
    "vctzd",
    "vctzh",
    "vctzlsbb",
    "vctzw",
    "vextractd",
    "vextractub",
    "vextractuh",
    "vextractuw",
    "vextsb2d",
    "vextsb2w",
    "vextsh2d",
    "vextsh2w",
    "vextsw2d",
    "vextublx",
    "vextubrx",
    "vextuhlx",
    "vextuhrx",
    "vextuwlx",
    "vextuwrx",
    "vinsertb",
    "vinsertd",
    "vinserth",
    "vinsertw",
    "vmsumudm",
    "vmul10cuq",
    "vmul10ecuq",
    "vmul10euq",
    "vmul10uq",
    "vnegd",
    "vnegw",
    "vpermr",
    "vprtybd",
    "vprtybq",
    "vprtybw",
    "vrldmi",
    "vrldnm",
    "vrlwmi",
    "vrlwnm",
    "vslv",
    "vsrv",
    // VSX.
    "mfvsrld",
    "mtvsrdd",
    "mtvsrws",
    "xscmpeqdp",
    "xscmpexpdp",
    "xscmpgedp",
    "xscmpgtdp",
    "xscvdphp",
    "xscvhpdp",
    "xsiexpdp",
    "xsmaxcdp",
    "xsmaxjdp",
    "xsmincdp",
    "xsminjdp",
    "xststdcdp",
    "xststdcsp",
    "xsxexpdp",
    "xsxsigdp",
    "xvcvhpsp",
    "xvcvsphp",
    "xviexpdp",
    "xviexpsp",
    "xvtstdcdp",
    "xvtstdcsp",
    "xvxexpdp",
    "xvxexpsp",
    "xvxsigdp",
    "xvxsigsp",
    "xxbrd",
    "xxbrh",
    "xxbrq",
    "xxbrw",
    "xxextractuw",
    "xxinsertw",
    "xxperm",
    "xxpermr",
    "xxspltib",
    // Quadruple precision.
    "xsabsqp",
    "xsaddqp",
    "xscmpexpqp",
    "xscmpoqp",
    "xscmpuqp",
    "xscpsgnqp",
    "xscvdpqp",
    "xscvqpdp",
    "xscvqpsdz",
    "xscvqpswz",
    "xscvqpudz",
    "xscvqpuwz",
    "xscvsdqp",
    "xscvudqp",
    "xsdivqp",
    "xsiexpqp",
    "xsmaddqp",
    "xsmsubqp",
    "xsmulqp",
    "xsnabsqp",
    "xsnegqp",
    "xsnmaddqp",
    "xsnmsubqp",
    "xsrqpi",
    "xsrqpxp",
    "xssqrtqp",
    "xssubqp",
    "xststdcqp",
    "xsxexpqp",
    "xsxsigqp",
];

/// Instructions that were a form of `mffs` before they had a name: what tells them apart was a
/// reserved field, which a processor ignores (Book I §1.3.3). Programs rely on it.
pub(super) const FORMS_OF_MFFS: &[&str] =
    &["mffsce", "mffscdrn", "mffscdrni", "mffscrn", "mffscrni", "mffsl"];

/// The fields that were reserved in [`FORMS_OF_MFFS`]: RA and RB.
pub(super) const RESERVED_IN_MFFS: u32 = 0x001f_f800;

#[cfg(test)]
mod tests {
    use super::super::{Limit, decode, decode_limited, lookup, table};
    use super::*;

    #[test]
    fn every_name_is_an_instructions() {
        for name in NAMES.iter().chain(FORMS_OF_MFFS) {
            assert!(table().iter().any(|insn| insn.name == *name), "{name}");
            let count = NAMES.iter().chain(FORMS_OF_MFFS).filter(|other| *other == name).count();
            assert_eq!(count, 1, "{name}");
        }
    }

    #[test]
    fn what_is_older_stays_what_it_is() {
        for insn in table() {
            let is_newer = Limit::of(insn) != Limit::None;
            // A word may be another instruction's, of an earlier line.
            if lookup(insn.value).is_some_and(|found| found.name == insn.name) {
                let is_same = decode_limited(insn.value) == decode(insn.value);
                assert_eq!(is_same, !is_newer, "{}", insn.name);
            }
        }
    }
}
