//! VSX arithmetic, scalar and vector (Power ISA 3.0B, Book I §7.6.1.3).

use std::cmp::Ordering;

use super::fields::*;
use super::vmx::Done;
use super::vsx::*;
use super::{Insn, call};
use crate::bits::cr::{EQ, GT, LT, SO};
use crate::float::{
    Class, Control, Number, Operation, Outcome, Precision, arithmetic, fused, is_nan, is_negative,
    is_signalling, is_zero, reciprocal, root, root_estimate,
};
use crate::float::{compare, fpscr};
use crate::state::State;

use Elements::{Double, Single};

fn class(elements: Elements) -> Class {
    if elements.is_single() { Class::Single } else { Class::Double }
}

fn scalar_2(s: &mut State, w: u32, operation: Operation, format: Elements) -> Done {
    need_vsx(s)?;
    let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
    let outcome = arithmetic(operation, [a, b], format.precision(), &s.float_control());
    finish(s, w, &outcome, class(format))
}

fn vector_2(s: &mut State, w: u32, operation: Operation, format: Elements) -> Done {
    vector(s, w, format, |s, number, control| {
        let (a, b) = (format.get(s.vsr[xa(w)], number), format.get(s.vsr[xb(w)], number));
        arithmetic(operation, [a, b], format.precision(), control)
    })
}

type Unary = fn(u64, Precision, &Control) -> Outcome;

fn scalar_1(s: &mut State, w: u32, f: Unary, format: Elements) -> Done {
    need_vsx(s)?;
    let outcome = f(scalar(s, xb(w)), format.precision(), &s.float_control());
    finish(s, w, &outcome, class(format))
}

fn vector_1(s: &mut State, w: u32, f: Unary, format: Elements) -> Done {
    vector(s, w, format, |s, number, control| {
        f(format.get(s.vsr[xb(w)], number), format.precision(), control)
    })
}

/// Which registers are multiplied by XA and which are added: the target is one of them.
#[derive(Clone, Copy)]
enum Fused {
    /// XA * XB + XT.
    A,
    /// XA * XT + XB.
    M,
}

impl Fused {
    fn operands(self, a: u64, b: u64, t: u64) -> [u64; 3] {
        match self {
            Self::A => [a, b, t],
            Self::M => [a, t, b],
        }
    }
}

fn scalar_3(s: &mut State, w: u32, kind: Fused, negate: [bool; 2], format: Elements) -> Done {
    need_vsx(s)?;
    let operands = kind.operands(scalar(s, xa(w)), scalar(s, xb(w)), scalar(s, xt(w)));
    let outcome = fused(operands, negate, format.precision(), &s.float_control());
    finish(s, w, &outcome, class(format))
}

fn vector_3(s: &mut State, w: u32, kind: Fused, negate: [bool; 2], format: Elements) -> Done {
    vector(s, w, format, |s, number, control| {
        let [a, b, t] = [xa(w), xb(w), xt(w)].map(|register| format.get(s.vsr[register], number));
        fused(kind.operands(a, b, t), negate, format.precision(), control)
    })
}

const ADD: [bool; 2] = [false, false];
const SUBTRACT: [bool; 2] = [true, false];
const NEGATIVE_ADD: [bool; 2] = [false, true];
const NEGATIVE_SUBTRACT: [bool; 2] = [true, true];

/// The greater or the smaller number; a number rather than a NaN (IEEE 754-2008 maxNum).
fn extreme(a: u64, b: u64, max: bool, control: &Control) -> Outcome {
    let signalling = is_signalling(a) || is_signalling(b);
    let a_wins = if is_signalling(a) {
        true
    } else if is_signalling(b) {
        false
    } else if is_nan(a) || is_nan(b) {
        !is_nan(a) || is_nan(b)
    } else if is_zero(a) && is_zero(b) {
        is_negative(a) != max
    } else {
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        if max { x >= y } else { x <= y }
    };
    let value = if a_wins { a } else { b };
    let quiet = if is_signalling(value) { value | 1 << 51 } else { value };
    let flags = if signalling { fpscr::VXSNAN } else { 0 };
    Outcome { value: quiet, flags, suppressed: signalling && control.enables_invalid() }
}

fn scalar_extreme(s: &mut State, w: u32, max: bool) -> Done {
    need_vsx(s)?;
    let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
    let outcome = extreme(a, b, max, &s.float_control());
    finish_comparison(s, w, &outcome)
}

/// Comparisons and the like leave FR, FI and FPRF alone.
fn finish_comparison(s: &mut State, w: u32, outcome: &Outcome) -> Done {
    s.add_exceptions(outcome.flags);
    if !outcome.suppressed {
        set_scalar(s, xt(w), outcome.value);
    }
    s.float_trap(outcome.flags)
}

/// "C-type" maximum and minimum: what a?b:c makes of a comparison.
fn c_extreme(s: &mut State, w: u32, max: bool) -> Done {
    need_vsx(s)?;
    let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
    let (x, y) = (f64::from_bits(a), f64::from_bits(b));
    let a_wins = if max { x > y } else { x < y };
    let outcome = Outcome {
        value: if a_wins { a } else { b },
        flags: if is_signalling(a) || is_signalling(b) { fpscr::VXSNAN } else { 0 },
        suppressed: false,
    };
    let suppressed = outcome.flags != 0 && s.float_control().enables_invalid();
    finish_comparison(s, w, &Outcome { suppressed, ..outcome })
}

/// "J-type": a NaN wins, and zeros have an order.
fn j_extreme(s: &mut State, w: u32, max: bool) -> Done {
    need_vsx(s)?;
    let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
    let control = s.float_control();
    let value = if is_nan(a) {
        a
    } else if is_nan(b) {
        b
    } else {
        extreme(a, b, max, &control).value
    };
    let flags = if is_signalling(a) || is_signalling(b) { fpscr::VXSNAN } else { 0 };
    let suppressed = flags != 0 && control.enables_invalid();
    finish_comparison(s, w, &Outcome { value, flags, suppressed })
}

fn vector_extreme(s: &mut State, w: u32, max: bool, format: Elements) -> Done {
    vector(s, w, format, |s, number, control| {
        let (a, b) = (format.get(s.vsr[xa(w)], number), format.get(s.vsr[xb(w)], number));
        extreme(a, b, max, control)
    })
}

/// What a comparison is for.
type Test = fn(u8) -> bool;

/// XT = all ones or zeros by a comparison; `ordered` ones are invalid for any NaN.
fn vector_test(s: &mut State, w: u32, format: Elements, ordered: bool, test: Test) -> Done {
    need_vsx(s)?;
    let values = outcomes(s, format.count(), |s, number, _| {
        let (a, b) = (format.get(s.vsr[xa(w)], number), format.get(s.vsr[xb(w)], number));
        let value = if test(compare(a, b)) { u64::MAX } else { 0 };
        Outcome { value, flags: comparison_flags(s, a, b, ordered), suppressed: false }
    });
    let Some(values) = values else { return trap(s) };
    let all = if format.is_single() {
        crate::lanes::from_fn::<u32>(|number| values[number as usize] as u32)
    } else {
        crate::lanes::from_fn::<u64>(|number| values[number as usize])
    };
    s.vsr[xt(w)] = all;
    if w >> 10 & 1 != 0 {
        s.cr[6] = u8::from(all == u128::MAX) << 3 | u8::from(all == 0) << 1;
    }
    Ok(())
}

/// VXSNAN for a signalling NaN; VXVC for any, or if VXSNAN is not enabled to come first.
pub(super) fn comparison_flags<N: Number>(s: &State, a: N, b: N, ordered: bool) -> u64 {
    let signalling = is_signalling(a) || is_signalling(b);
    let mut flags = if signalling { fpscr::VXSNAN } else { 0 };
    if ordered && (is_nan(a) || is_nan(b)) && !(signalling && s.float_control().enables_invalid()) {
        flags |= fpscr::VXVC;
    }
    flags
}

fn scalar_test(s: &mut State, w: u32, ordered: bool, test: Test) -> Done {
    need_vsx(s)?;
    let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
    let flags = comparison_flags(s, a, b, ordered);
    let is_enabled = s.add_exceptions(flags);
    if !is_enabled {
        let value = if test(compare(a, b)) { u128::MAX } else { 0 };
        s.vsr[xt(w)] = value & u128::from(u64::MAX) << 64;
    }
    s.float_trap(flags)
}

/// Sets a CR field and FPCC.
pub(super) fn compare_to_cr<N: Number>(s: &mut State, w: u32, a: N, b: N, ordered: bool) -> Done {
    let field = compare(a, b);
    let flags = comparison_flags(s, a, b, ordered);
    set_condition(s, w, field);
    s.add_exceptions(flags);
    s.float_trap(flags)
}

/// Sets a CR field and FPCC by the exponents, whatever the sign; NaNs are unordered.
pub(super) fn compare_exponents<N: Number>(s: &mut State, w: u32, a: N, b: N) -> Done {
    let field = match (a & N::INFINITY).partial_cmp(&(b & N::INFINITY)) {
        _ if is_nan(a) || is_nan(b) => SO,
        Some(Ordering::Less) => LT,
        Some(Ordering::Greater) => GT,
        _ => EQ,
    };
    set_condition(s, w, field);
    Ok(())
}

macro_rules! four {
    ($operation:expr, $ssp:literal = $ssp_xo:literal, $sdp:literal = $sdp_xo:literal,
     $vsp:literal = $vsp_xo:literal, $vdp:literal = $vdp_xo:literal) => {
        [
            call($ssp, xx3($ssp_xo), "xt,xa,xb", |s, _, w| scalar_2(s, w, $operation, Single)),
            call($sdp, xx3($sdp_xo), "xt,xa,xb", |s, _, w| scalar_2(s, w, $operation, Double)),
            call($vsp, xx3($vsp_xo), "xt,xa,xb", |s, _, w| vector_2(s, w, $operation, Single)),
            call($vdp, xx3($vdp_xo), "xt,xa,xb", |s, _, w| vector_2(s, w, $operation, Double)),
        ]
    };
}

macro_rules! unary {
    ($f:expr, $ssp:literal = $ssp_xo:literal, $sdp:literal = $sdp_xo:literal,
     $vsp:literal = $vsp_xo:literal, $vdp:literal = $vdp_xo:literal) => {
        [
            call($ssp, xx2($ssp_xo), "xt,xb", |s, _, w| scalar_1(s, w, $f, Single)),
            call($sdp, xx2($sdp_xo), "xt,xb", |s, _, w| scalar_1(s, w, $f, Double)),
            call($vsp, xx2($vsp_xo), "xt,xb", |s, _, w| vector_1(s, w, $f, Single)),
            call($vdp, xx2($vdp_xo), "xt,xb", |s, _, w| vector_1(s, w, $f, Double)),
        ]
    };
}

/// A fused operation in its eight kinds; the extended opcodes follow from the first.
macro_rules! fused {
    ($negate:expr, $first:literal, $vector:literal, $names:expr) => {{
        const NAMES: [&str; 8] = $names;
        [
            call(NAMES[0], xx3($first), "xt,xa,xb", |s, _, w| {
                scalar_3(s, w, Fused::A, $negate, Single)
            }),
            call(NAMES[1], xx3($first + 8), "xt,xa,xb", |s, _, w| {
                scalar_3(s, w, Fused::M, $negate, Single)
            }),
            call(NAMES[2], xx3($first + 32), "xt,xa,xb", |s, _, w| {
                scalar_3(s, w, Fused::A, $negate, Double)
            }),
            call(NAMES[3], xx3($first + 40), "xt,xa,xb", |s, _, w| {
                scalar_3(s, w, Fused::M, $negate, Double)
            }),
            call(NAMES[4], xx3($vector), "xt,xa,xb", |s, _, w| {
                vector_3(s, w, Fused::A, $negate, Single)
            }),
            call(NAMES[5], xx3($vector + 8), "xt,xa,xb", |s, _, w| {
                vector_3(s, w, Fused::M, $negate, Single)
            }),
            call(NAMES[6], xx3($vector + 32), "xt,xa,xb", |s, _, w| {
                vector_3(s, w, Fused::A, $negate, Double)
            }),
            call(NAMES[7], xx3($vector + 40), "xt,xa,xb", |s, _, w| {
                vector_3(s, w, Fused::M, $negate, Double)
            }),
        ]
    }};
}

pub(super) const SUMS: &[Insn] =
    &four!(Operation::Add, "xsaddsp" = 0, "xsadddp" = 32, "xvaddsp" = 64, "xvadddp" = 96);
pub(super) const DIFFERENCES: &[Insn] =
    &four!(Operation::Subtract, "xssubsp" = 8, "xssubdp" = 40, "xvsubsp" = 72, "xvsubdp" = 104);
pub(super) const PRODUCTS: &[Insn] =
    &four!(Operation::Multiply, "xsmulsp" = 16, "xsmuldp" = 48, "xvmulsp" = 80, "xvmuldp" = 112);
pub(super) const QUOTIENTS: &[Insn] =
    &four!(Operation::Divide, "xsdivsp" = 24, "xsdivdp" = 56, "xvdivsp" = 88, "xvdivdp" = 120);
pub(super) const ROOTS: &[Insn] =
    &unary!(root, "xssqrtsp" = 11, "xssqrtdp" = 75, "xvsqrtsp" = 139, "xvsqrtdp" = 203);
pub(super) const ROOT_ESTIMATES: &[Insn] = &unary!(
    root_estimate,
    "xsrsqrtesp" = 10,
    "xsrsqrtedp" = 74,
    "xvrsqrtesp" = 138,
    "xvrsqrtedp" = 202
);
pub(super) const RECIPROCALS: &[Insn] =
    &unary!(reciprocal, "xsresp" = 26, "xsredp" = 90, "xvresp" = 154, "xvredp" = 218);
pub(super) const FUSED_ADD: &[Insn] = &fused!(
    ADD,
    1,
    65,
    [
        "xsmaddasp",
        "xsmaddmsp",
        "xsmaddadp",
        "xsmaddmdp",
        "xvmaddasp",
        "xvmaddmsp",
        "xvmaddadp",
        "xvmaddmdp",
    ]
);
pub(super) const FUSED_SUBTRACT: &[Insn] = &fused!(
    SUBTRACT,
    17,
    81,
    [
        "xsmsubasp",
        "xsmsubmsp",
        "xsmsubadp",
        "xsmsubmdp",
        "xvmsubasp",
        "xvmsubmsp",
        "xvmsubadp",
        "xvmsubmdp",
    ]
);
pub(super) const FUSED_NEGATIVE_ADD: &[Insn] = &fused!(
    NEGATIVE_ADD,
    129,
    193,
    [
        "xsnmaddasp",
        "xsnmaddmsp",
        "xsnmaddadp",
        "xsnmaddmdp",
        "xvnmaddasp",
        "xvnmaddmsp",
        "xvnmaddadp",
        "xvnmaddmdp",
    ]
);
pub(super) const FUSED_NEGATIVE_SUBTRACT: &[Insn] = &fused!(
    NEGATIVE_SUBTRACT,
    145,
    209,
    [
        "xsnmsubasp",
        "xsnmsubmsp",
        "xsnmsubadp",
        "xsnmsubmdp",
        "xvnmsubasp",
        "xvnmsubmsp",
        "xvnmsubadp",
        "xvnmsubmdp",
    ]
);

pub(super) const COMPARISONS: &[Insn] = &[
    call("xsmaxdp", xx3(160), "xt,xa,xb", |s, _, w| scalar_extreme(s, w, true)),
    call("xsmindp", xx3(168), "xt,xa,xb", |s, _, w| scalar_extreme(s, w, false)),
    call("xsmaxcdp", xx3(128), "xt,xa,xb", |s, _, w| c_extreme(s, w, true)),
    call("xsmincdp", xx3(136), "xt,xa,xb", |s, _, w| c_extreme(s, w, false)),
    call("xsmaxjdp", xx3(144), "xt,xa,xb", |s, _, w| j_extreme(s, w, true)),
    call("xsminjdp", xx3(152), "xt,xa,xb", |s, _, w| j_extreme(s, w, false)),
    call("xvmaxsp", xx3(192), "xt,xa,xb", |s, _, w| vector_extreme(s, w, true, Single)),
    call("xvminsp", xx3(200), "xt,xa,xb", |s, _, w| vector_extreme(s, w, false, Single)),
    call("xvmaxdp", xx3(224), "xt,xa,xb", |s, _, w| vector_extreme(s, w, true, Double)),
    call("xvmindp", xx3(232), "xt,xa,xb", |s, _, w| vector_extreme(s, w, false, Double)),
    call("xscmpudp", xx3(35), "bf,xa,xb", |s, _, w| {
        need_vsx(s)?;
        let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
        compare_to_cr(s, w, a, b, false)
    }),
    call("xscmpodp", xx3(43), "bf,xa,xb", |s, _, w| {
        need_vsx(s)?;
        let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
        compare_to_cr(s, w, a, b, true)
    }),
    call("xscmpeqdp", xx3(3), "xt,xa,xb", |s, _, w| scalar_test(s, w, false, |f| f == EQ)),
    call("xscmpgtdp", xx3(11), "xt,xa,xb", |s, _, w| scalar_test(s, w, true, |f| f == GT)),
    call("xscmpgedp", xx3(19), "xt,xa,xb", |s, _, w| {
        scalar_test(s, w, true, |f| f & (GT | EQ) != 0)
    }),
    call("xvcmpeqsp", xx3_record(67), "; xt,xa,xb", |s, _, w| {
        vector_test(s, w, Single, false, |f| f == EQ)
    }),
    call("xvcmpgtsp", xx3_record(75), "; xt,xa,xb", |s, _, w| {
        vector_test(s, w, Single, true, |f| f == GT)
    }),
    call("xvcmpgesp", xx3_record(83), "; xt,xa,xb", |s, _, w| {
        vector_test(s, w, Single, true, |f| f & (GT | EQ) != 0)
    }),
    call("xvcmpeqdp", xx3_record(99), "; xt,xa,xb", |s, _, w| {
        vector_test(s, w, Double, false, |f| f == EQ)
    }),
    call("xvcmpgtdp", xx3_record(107), "; xt,xa,xb", |s, _, w| {
        vector_test(s, w, Double, true, |f| f == GT)
    }),
    call("xvcmpgedp", xx3_record(115), "; xt,xa,xb", |s, _, w| {
        vector_test(s, w, Double, true, |f| f & (GT | EQ) != 0)
    }),
    call("xscmpexpdp", xx3(59), "bf,xa,xb", |s, _, w| {
        need_vsx(s)?;
        let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
        compare_exponents(s, w, a, b)
    }),
];
