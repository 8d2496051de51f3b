//! Floating-point arithmetic with all that FPSCR wants to know of it (Power ISA 3.0B, Book I
//! chapter 4).
//!
//! Functions here are pure: operands and [`Control`] in, [`Outcome`] out; [`State::commit`] puts
//! an outcome into the registers. Numbers are in double format, those of single precision too, as
//! registers hold them, or in quad format ([`Number`]).

mod arith;
mod convert;
mod fast;
mod number;
mod round;

pub(crate) use arith::{arithmetic, fused, reciprocal, root, root_estimate};
pub(crate) use convert::{
    Integer, double_to_quad, double_to_single, from_integer, half_to_double, quad_to_double,
    round_to_extended, round_to_half, round_to_integral, round_to_single, single_to_double,
    to_integer,
};

pub(crate) use fast::Operation;
pub(crate) use number::Number;

use crate::bits::{cr, msr};
use crate::state::State;
use crate::trap::Trap;

/// FPSCR (§4.2.2).
pub(crate) mod fpscr {
    pub(crate) const FX: u64 = 1 << 31;
    pub(crate) const FEX: u64 = 1 << 30;
    pub(crate) const VX: u64 = 1 << 29;
    pub(crate) const OX: u64 = 1 << 28;
    pub(crate) const UX: u64 = 1 << 27;
    pub(crate) const ZX: u64 = 1 << 26;
    pub(crate) const XX: u64 = 1 << 25;
    pub(crate) const VXSNAN: u64 = 1 << 24;
    pub(crate) const VXISI: u64 = 1 << 23;
    pub(crate) const VXIDI: u64 = 1 << 22;
    pub(crate) const VXZDZ: u64 = 1 << 21;
    pub(crate) const VXIMZ: u64 = 1 << 20;
    pub(crate) const VXVC: u64 = 1 << 19;
    pub(crate) const FR: u64 = 1 << 18;
    pub(crate) const FI: u64 = 1 << 17;
    pub(crate) const FPRF: u64 = 0x1f << 12;
    pub(crate) const FPRF_SHIFT: u32 = 12;
    /// The lower four bits of FPRF: the result of a comparison.
    pub(crate) const FPCC: u64 = 0xf << 12;
    pub(crate) const VXSOFT: u64 = 1 << 10;
    pub(crate) const VXSQRT: u64 = 1 << 9;
    pub(crate) const VXCVI: u64 = 1 << 8;
    pub(crate) const VE: u64 = 1 << 7;
    pub(crate) const OE: u64 = 1 << 6;
    pub(crate) const UE: u64 = 1 << 5;
    pub(crate) const ZE: u64 = 1 << 4;
    pub(crate) const XE: u64 = 1 << 3;
    pub(crate) const RN: u64 = 3;
    /// The reasons of VX.
    pub(crate) const VX_ALL: u64 =
        VXSNAN | VXISI | VXIDI | VXZDZ | VXIMZ | VXVC | VXSOFT | VXSQRT | VXCVI;
    /// What stays until it is reset, and sets FX.
    pub(crate) const STICKY: u64 = OX | UX | ZX | XX | VX_ALL;
    /// Bits that do not follow from others; the upper half holds the decimal rounding mode.
    pub(crate) const WRITABLE: u64 = 0x7_0000_0000 | 0xffff_ffff & !(FEX | VX | 1 << 11);
}

/// Rounding modes, numbered as FPSCR.RN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    NearestEven,
    Zero,
    Up,
    Down,
    /// Of the `fri`-instructions only.
    NearestAway,
    /// The last bit tells that something is lost: of instructions in quadruple precision only.
    Odd,
}

impl Rounding {
    /// By its number.
    pub(crate) fn of_rn(number: u64) -> Self {
        match number {
            0 => Self::NearestEven,
            1 => Self::Zero,
            2 => Self::Up,
            _ => Self::Down,
        }
    }
}

/// What a result is rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    Single,
    Double,
    /// 64 bits with the exponents of quad format.
    Extended,
    Quad,
}

/// What of FPSCR has a say in an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control {
    pub(crate) rounding: Rounding,
    fpscr: u64,
}

impl Control {
    pub(crate) fn new(fpscr: u64) -> Self {
        Self { rounding: Rounding::of_rn(fpscr & fpscr::RN), fpscr }
    }

    /// With a mode of the instruction's own.
    pub(crate) fn with(self, rounding: Rounding) -> Self {
        Self { rounding, ..self }
    }

    /// Whether invalid operations trap and keep their targets.
    pub(crate) fn enables_invalid(&self) -> bool {
        self.enables(fpscr::VE)
    }

    fn enables(&self, bit: u64) -> bool {
        self.fpscr & bit != 0
    }
}

/// What an operation gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome<N = u64> {
    /// In double or quad format, or an integer.
    pub(crate) value: N,
    /// Exceptions, as bits of FPSCR; FR and FI too.
    pub(crate) flags: u64,
    /// An enabled exception keeps the target as it was.
    pub(crate) suppressed: bool,
}

impl<N> Outcome<N> {
    fn exact(value: N) -> Self {
        Self { value, flags: 0, suppressed: false }
    }

    /// An invalid operation that gives `value` where it is not enabled.
    fn invalid(value: N, flags: u64, control: &Control) -> Self {
        Self { value, flags, suppressed: control.enables(fpscr::VE) }
    }
}

pub(crate) fn is_nan<N: Number>(value: N) -> bool {
    value & !N::SIGN > N::INFINITY
}

pub(crate) fn is_signalling<N: Number>(value: N) -> bool {
    is_nan(value) && value & N::QUIET == N::ZERO
}

pub(crate) fn is_infinite<N: Number>(value: N) -> bool {
    value & !N::SIGN == N::INFINITY
}

pub(crate) fn is_zero<N: Number>(value: N) -> bool {
    value & !N::SIGN == N::ZERO
}

pub(crate) fn is_negative<N: Number>(value: N) -> bool {
    value & N::SIGN != N::ZERO
}

/// The first NaN among the operands, quiet; and VXSNAN if one of them is signalling.
fn nan_of<N: Number>(operands: &[N], control: &Control) -> Option<Outcome<N>> {
    let nan = operands.iter().copied().find(|&value| is_nan(value))? | N::QUIET;
    if operands.iter().any(|&value| is_signalling(value)) {
        return Some(Outcome::invalid(nan, fpscr::VXSNAN, control));
    }
    Some(Outcome::exact(nan))
}

/// FPRF of a result (§4.2.2, figure 46).
fn class_of<N: Number>(value: N, class: Class) -> u64 {
    let negative = is_negative(value);
    let by_sign = |positive: u64, with_minus: u64| if negative { with_minus } else { positive };
    if is_nan(value) {
        0x11
    } else if is_infinite(value) {
        by_sign(0x05, 0x09)
    } else if is_zero(value) {
        by_sign(0x02, 0x12)
    } else if value & !N::SIGN < N::smallest_normal(class) {
        by_sign(0x14, 0x18)
    } else {
        by_sign(0x04, 0x08)
    }
}

/// Less, greater, equal or unordered, as a CR field.
pub(crate) fn compare<N: Number>(a: N, b: N) -> u8 {
    match a.compare(b) {
        Some(std::cmp::Ordering::Less) => cr::LT,
        Some(std::cmp::Ordering::Greater) => cr::GT,
        Some(std::cmp::Ordering::Equal) => cr::EQ,
        None => cr::SO,
    }
}

impl State {
    pub(crate) fn need_fp(&self) -> Result<(), Trap> {
        if self.msr() & msr::FP != 0 { Ok(()) } else { Err(Trap::FpUnavailable) }
    }

    pub(crate) fn float_control(&self) -> Control {
        Control::new(self.fpscr)
    }

    /// Adds exceptions to FPSCR; whether an enabled one is among them.
    pub(crate) fn add_exceptions(&mut self, flags: u64) -> bool {
        let flags = flags & fpscr::STICKY;
        if flags & !self.fpscr != 0 {
            self.fpscr |= fpscr::FX;
        }
        self.fpscr |= flags;
        self.summarise();
        enabled(flags, self.fpscr)
    }

    /// Makes VX and FEX what follows from the other bits.
    pub(crate) fn summarise(&mut self) {
        let mut value = self.fpscr & !(fpscr::VX | fpscr::FEX);
        if value & fpscr::VX_ALL != 0 {
            value |= fpscr::VX;
        }
        if enabled(value, value) {
            value |= fpscr::FEX;
        }
        self.fpscr = value;
    }

    /// Ends a scalar operation: FPSCR with FR, FI and, unless suppressed, FPRF. Returns the value
    /// if the target is to be set.
    pub(crate) fn commit<N: Number>(&mut self, outcome: &Outcome<N>, class: Class) -> Option<N> {
        let (fr_fi, flags) = (fpscr::FR | fpscr::FI, outcome.flags);
        self.fpscr = self.fpscr & !fr_fi | flags & fr_fi;
        self.add_exceptions(flags);
        if outcome.suppressed {
            return None;
        }
        if class != Class::Unchanged {
            let class = class_of(outcome.value, class);
            self.fpscr = self.fpscr & !fpscr::FPRF | class << fpscr::FPRF_SHIFT;
        }
        Some(outcome.value)
    }

    /// FPRF of a number of another format, which says by itself whether it is denormal.
    pub(crate) fn set_class_of(&mut self, value: u64, is_denormal: bool) {
        let class = match class_of(value, Class::Double) {
            class @ (0x04 | 0x08) if is_denormal => class | 0x10,
            class => class,
        };
        self.fpscr = self.fpscr & !fpscr::FPRF | class << fpscr::FPRF_SHIFT;
    }

    /// The interrupt for an enabled exception among `flags`, which comes after the registers are
    /// set. FE0 and FE1 choose how precisely it comes; here it always is precise.
    pub(crate) fn float_trap(&self, flags: u64) -> Result<(), Trap> {
        let wanted = self.msr() & (msr::FE0 | msr::FE1) != 0;
        if wanted && enabled(flags, self.fpscr) { Err(Trap::Float) } else { Ok(()) }
    }
}

/// What FPRF is after an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Double,
    Single,
    Quad,
    /// Integers have none.
    Unchanged,
}

/// Whether one of these exceptions is enabled.
fn enabled(flags: u64, fpscr: u64) -> bool {
    flags & (fpscr::VX_ALL | fpscr::VX) != 0 && fpscr & fpscr::VE != 0
        || flags & fpscr::OX != 0 && fpscr & fpscr::OE != 0
        || flags & fpscr::UX != 0 && fpscr & fpscr::UE != 0
        || flags & fpscr::ZX != 0 && fpscr & fpscr::ZE != 0
        || flags & fpscr::XX != 0 && fpscr & fpscr::XE != 0
}
