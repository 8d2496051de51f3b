//! Quadruple precision: what the oracle does not tell, or gets wrong.

use interp::Registers;

use super::execute;

const FX: u64 = 1 << 31;
const FEX: u64 = 1 << 30;
const VX: u64 = 1 << 29;
const OX: u64 = 1 << 28;
const UX: u64 = 1 << 27;
const ZX: u64 = 1 << 26;
const XX: u64 = 1 << 25;
const VXSNAN: u64 = 1 << 24;
const VXISI: u64 = 1 << 23;
const FR: u64 = 1 << 18;
const FI: u64 = 1 << 17;
const VE: u64 = 1 << 7;
const OE: u64 = 1 << 6;
const UE: u64 = 1 << 5;
const ZE: u64 = 1 << 4;
const RN_ZERO: u64 = 1;
const RN_UP: u64 = 2;
const RN_DOWN: u64 = 3;

const SIGN: u128 = 1 << 127;
const ONE: u128 = 0x3fff << 112;
const INFINITY: u128 = 0x7fff << 112;
/// What is in a target before.
const OLD: u128 = 0x0123_4567;

/// FPRF, as it is for classes of results.
fn fprf(class: u64) -> u64 {
    class << 12
}

const POSITIVE: u64 = 0x04;
const NEGATIVE: u64 = 0x08;

fn two(power: i32) -> u128 {
    ((16383 + power) as u128) << 112
}

/// X-form with v1 as target, v2 and v3 as sources.
fn word(extended: u32) -> u32 {
    63 << 26 | 1 << 21 | 2 << 16 | 3 << 11 | extended << 1
}

/// X-form with v1 as target, v3 as source.
fn unary_word(extended: u32, by_a: u32) -> u32 {
    63 << 26 | 1 << 21 | by_a << 16 | 3 << 11 | extended << 1
}

/// The target and FPSCR after a word.
fn run(word: u32, a: u128, b: u128, fpscr: u64) -> (u128, u64) {
    run_with(word, [OLD, a, b], fpscr)
}

fn run_with(word: u32, [t, a, b]: [u128; 3], fpscr: u64) -> (u128, u64) {
    let set = |r: &mut Registers| {
        r.fpscr = fpscr;
        (r.vsr[33], r.vsr[34], r.vsr[35]) = (t, a, b);
    };
    let (after, _) = execute(word, set);
    (after.vsr[33], after.fpscr)
}

/// FR tells that rounding made the fraction greater (Book I §4.2.2).
#[test]
fn fraction_rounded() {
    let xsaddqp = word(4);
    let three_quarters = 0x3f8e_8000 << 96;
    let (value, fpscr) = run(xsaddqp, ONE, three_quarters, 0);
    assert_eq!((value, fpscr), (ONE + 1, FX | XX | FR | FI | fprf(POSITIVE)));
    let (value, fpscr) = run(xsaddqp, ONE, two(-114), 0);
    assert_eq!((value, fpscr), (ONE, FX | XX | FI | fprf(POSITIVE)));
    let (value, fpscr) = run(xsaddqp, ONE, ONE, FR | FI);
    assert_eq!((value, fpscr), (two(1), fprf(POSITIVE)));
}

/// What is lost sets the last bit, whatever FPSCR.RN is (Book I §7.3).
#[test]
fn rounding_to_odd() {
    let xsaddqpo = word(4) | 1;
    for (b, value, fr) in
        [(two(-200), ONE + 1, FR), (two(-200) | SIGN, ONE - 1, 0), (two(-112), ONE + 1, 0)]
    {
        let inexact = if b == two(-112) { 0 } else { FX | XX | FI };
        let expected = (value, inexact | fr | fprf(POSITIVE));
        assert_eq!(run(xsaddqpo, ONE, b, RN_UP), (expected.0, expected.1 | RN_UP), "{b:x}");
    }
    // Overflow goes no further than the greatest number.
    let (value, fpscr) = run(word(36) | 1, two(16000), two(16000), 0);
    assert_eq!((value, fpscr & OX), (INFINITY - 1, OX));
}

/// xsnmsubqpo negates what has been rounded; the oracle does not round to odd.
#[test]
fn negative_multiply_subtract_to_odd() {
    let xsnmsubqpo = word(484) | 1;
    for (t, value) in [(two(-200) | SIGN, ONE + 1), (two(-200), ONE - 1)] {
        let (result, fpscr) = run_with(xsnmsubqpo, [t, ONE, ONE], RN_UP);
        assert_eq!((result, fpscr & fprf(0x1f)), (value | SIGN, fprf(NEGATIVE)));
    }
}

/// An enabled overflow gives the result scaled by 2^-24576, an enabled underflow by 2^24576 (Book
/// I §7.4.3, §7.4.4).
#[test]
fn enabled_exceptions_scale() {
    let xsmulqp = word(36);
    let (value, fpscr) = run(xsmulqp, two(16000), two(16000), OE);
    assert_eq!((value, fpscr), (two(32000 - 24576), FX | FEX | OX | fprf(POSITIVE) | OE));
    let (value, fpscr) = run(xsmulqp, two(-16000), two(-16000) | SIGN, UE);
    assert_eq!((value, fpscr), (two(24576 - 32000) | SIGN, FX | FEX | UX | fprf(NEGATIVE) | UE));
    // An exact denormal number is no underflow unless it is enabled.
    let (value, fpscr) = run(xsmulqp, two(-16382), two(-10), 0);
    assert_eq!((value, fpscr), (1 << 102, fprf(0x14)));
    // A double has another scale.
    let (value, fpscr) = run(unary_word(836, 20), 0, two(2000), OE);
    assert_eq!((value, fpscr), ((1023 + 2000 - 1536) << 116, FX | FEX | OX | fprf(POSITIVE) | OE));
}

/// An enabled invalid operation or division by zero changes neither the target nor FPRF; FR and FI
/// become zero (Book I §7.4.1, §7.4.2).
#[test]
fn enabled_exceptions_keep_the_target() {
    let before = FR | FI | fprf(POSITIVE);
    let (value, fpscr) = run(word(4), INFINITY, INFINITY | SIGN, before | VE);
    assert_eq!((value, fpscr), (OLD, FX | FEX | VX | VXISI | fprf(POSITIVE) | VE));
    let (value, fpscr) = run(word(4), INFINITY, INFINITY | SIGN, before);
    assert_eq!((value, fpscr), (0x7fff_8000 << 96, FX | VX | VXISI | fprf(0x11)));
    let (value, fpscr) = run(word(548), ONE, 0, before | ZE);
    assert_eq!((value, fpscr), (OLD, FX | FEX | ZX | fprf(POSITIVE) | ZE));
    let (value, fpscr) = run(word(548), ONE, SIGN, before);
    assert_eq!((value, fpscr), (INFINITY | SIGN, FX | ZX | fprf(0x09)));
}

/// √2 = 1.6a09e667f3bcc908b2fb1366ea95|7d3e…, to all of the digits that there are.
#[test]
fn roots() {
    let xssqrtqp = unary_word(804, 27);
    let root = 0x3fff_6a09_e667_f3bc_c908_b2fb_1366_ea95;
    assert_eq!(run(xssqrtqp, 0, two(1), 0).0, root);
    assert_eq!(run(xssqrtqp, 0, two(1), RN_UP).0, root + 1);
    assert_eq!(run(xssqrtqp, 0, two(1), RN_DOWN).0, root);
    assert_eq!(run(xssqrtqp, 0, 0x4002_2000 << 96, 0), (0x4000_8000 << 96, fprf(POSITIVE)));
    // The smallest number is 2^-16494.
    assert_eq!(run(xssqrtqp, 0, 1, 0), (two(-8247), fprf(POSITIVE)));
}

/// xsrqpi with R of 0 and RMC of 3 rounds as FPSCR.RN says (Book I, xsrqpi); the oracle takes it
/// for another mode.
#[test]
fn rounding_to_integral_as_fpscr_says() {
    let xsrqpi = |exact: u32| unary_word(5, 0) | 3 << 9 | exact;
    let minus_half = two(-1) | SIGN;
    for (rn, value, class) in [(RN_ZERO, SIGN, 0x12), (RN_DOWN, ONE | SIGN, NEGATIVE)] {
        let (result, fpscr) = run(xsrqpi(0), 0, minus_half, rn);
        assert_eq!((result, fpscr), (value, fprf(class) | rn));
        let fr = if rn == RN_DOWN { FR } else { 0 };
        let (result, fpscr) = run(xsrqpi(1), 0, minus_half, rn);
        assert_eq!((result, fpscr), (value, FX | XX | fr | FI | fprf(class) | rn));
    }
}

/// Double extended has 64 bits; the oracle cuts NaNs to them.
#[test]
fn rounding_to_double_extended() {
    let xsrqpxp = unary_word(37, 0) | 3 << 9;
    let more = ONE | 3 << 47;
    for (rn, value) in [(0, ONE | 1 << 49), (RN_ZERO, ONE), (RN_UP, ONE | 1 << 49)] {
        let (result, fpscr) = run(xsrqpxp, 0, more, rn);
        let fr = if value == ONE { 0 } else { FR };
        assert_eq!((result, fpscr), (value, FX | XX | fr | FI | fprf(POSITIVE) | rn));
    }
    let (result, fpscr) = run(xsrqpxp, 0, INFINITY | 1, 0);
    assert_eq!((result, fpscr), (0x7fff_8000 << 96 | 1, FX | VX | VXSNAN | fprf(0x11)));
}
