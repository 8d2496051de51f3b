//! VSX conversions and rounding (Power ISA 3.0B, Book I §7.6.1.5, §7.6.1.6).

use super::fields::*;
use super::vmx::Done;
use super::vsx::*;
use super::{Insn, call};
use crate::float::{
    Class, Control, Integer, Outcome, Rounding, double_to_single, from_integer, half_to_double,
    round_to_half, round_to_integral, round_to_single, single_to_double, to_integer,
};
use crate::lanes::{from_fn, get, put};
use crate::state::State;

use Elements::{Double, Single};

fn to_fixed(s: &mut State, w: u32, integer: Integer) -> Done {
    need_vsx(s)?;
    let outcome = to_integer(scalar(s, xb(w)), integer, Rounding::Zero, &s.float_control());
    if let Some(value) = s.commit(&outcome, Class::Unchanged) {
        match integer {
            // Words are in both words of doubleword 0.
            Integer::Signed32 | Integer::Unsigned32 => {
                let word = value as u32;
                s.vsr[xt(w)] = put(put(0, 0, word), 1, word);
            }
            _ => set_scalar(s, xt(w), value),
        }
    }
    s.float_trap(outcome.flags)
}

/// Elements of one size to integers of another; words of doublewords go to both their words.
fn vector_to_fixed(s: &mut State, w: u32, from: Elements, integer: Integer) -> Done {
    need_vsx(s)?;
    let is_word = matches!(integer, Integer::Signed32 | Integer::Unsigned32);
    let count = if is_word && from.is_single() { 4 } else { 2 };
    let values = outcomes(s, count, |s, number, control| {
        let source = if from.is_single() && !is_word { 2 * number } else { number };
        to_integer(from.get(s.vsr[xb(w)], source), integer, Rounding::Zero, control)
    });
    let Some(values) = values else { return trap(s) };
    s.vsr[xt(w)] = match (is_word, from) {
        (true, Single) => from_fn::<u32>(|number| values[number as usize] as u32),
        (true, Double) => from_fn::<u32>(|number| values[number as usize / 2] as u32),
        (false, _) => from_fn::<u64>(|number| values[number as usize]),
    };
    Ok(())
}

fn from_fixed(s: &mut State, w: u32, signed: bool, format: Elements) -> Done {
    need_vsx(s)?;
    let bits = scalar(s, xb(w));
    let value = if signed { i128::from(bits as i64) } else { i128::from(bits) };
    let outcome = from_integer(value, format.precision(), &s.float_control());
    let class = if format.is_single() { Class::Single } else { Class::Double };
    finish(s, w, &outcome, class)
}

/// Integers of a size to elements of one; words become doubles from every other word, and
/// singles from doublewords go to both words.
fn vector_from_fixed(s: &mut State, w: u32, signed: bool, words: bool, to: Elements) -> Done {
    need_vsx(s)?;
    let count = if words && to.is_single() { 4 } else { 2 };
    let values = outcomes(s, count, |s, number, control| {
        let b = s.vsr[xb(w)];
        let value = match (words, signed) {
            (true, _) => {
                let word: u32 = get(b, if to.is_single() { number } else { 2 * number });
                if signed { i128::from(word as i32) } else { i128::from(word) }
            }
            (false, true) => get::<i64>(b, number).into(),
            (false, false) => get::<u64>(b, number).into(),
        };
        from_integer(value, to.precision(), control)
    });
    let Some(values) = values else { return trap(s) };
    s.vsr[xt(w)] = match (words, to) {
        (false, Single) => from_fn(|number| double_to_single(values[number as usize / 2])),
        _ => to.collect(&values),
    };
    Ok(())
}

fn scalar_round(s: &mut State, w: u32, rounding: Option<Rounding>) -> Done {
    need_vsx(s)?;
    let control = s.float_control();
    let outcome = rounded(scalar(s, xb(w)), rounding, &control);
    finish(s, w, &outcome, Class::Double)
}

/// With the mode of the instruction, or, telling of it, that of FPSCR.
fn rounded(value: u64, rounding: Option<Rounding>, control: &Control) -> Outcome {
    let mode = rounding.unwrap_or(control.rounding);
    round_to_integral(value, mode, rounding.is_none(), control)
}

fn vector_round(s: &mut State, w: u32, rounding: Option<Rounding>, format: Elements) -> Done {
    vector(s, w, format, |s, number, control| {
        rounded(format.get(s.vsr[xb(w)], number), rounding, control)
    })
}

/// A single in word 0 to a double.
fn single_to_scalar(s: &mut State, w: u32) -> Done {
    need_vsx(s)?;
    let outcome = quieted(single_to_double(get(s.vsr[xb(w)], 0)), &s.float_control());
    finish(s, w, &outcome, Class::Double)
}

/// A number of another format is exact; a signalling NaN is invalid.
fn quieted(value: u64, control: &Control) -> Outcome {
    if crate::float::is_nan(value) {
        round_to_integral(value, Rounding::Zero, false, control)
    } else {
        Outcome { value, flags: 0, suppressed: false }
    }
}

/// A double rounded to a single, which is in both words of doubleword 0.
fn scalar_to_single(s: &mut State, w: u32) -> Done {
    need_vsx(s)?;
    let outcome = round_to_single(scalar(s, xb(w)), &s.float_control());
    if let Some(value) = s.commit(&outcome, Class::Single) {
        let single = double_to_single(value);
        s.vsr[xt(w)] = put(put(0, 0, single), 1, single);
    }
    s.float_trap(outcome.flags)
}

pub(super) const TABLE: &[Insn] = &[
    call("xscvdpuxws", xx2(72), "xt,xb", |s, _, w| to_fixed(s, w, Integer::Unsigned32)),
    call("xscvdpsxws", xx2(88), "xt,xb", |s, _, w| to_fixed(s, w, Integer::Signed32)),
    call("xscvdpuxds", xx2(328), "xt,xb", |s, _, w| to_fixed(s, w, Integer::Unsigned64)),
    call("xscvdpsxds", xx2(344), "xt,xb", |s, _, w| to_fixed(s, w, Integer::Signed64)),
    call("xvcvspuxws", xx2(136), "xt,xb", |s, _, w| {
        vector_to_fixed(s, w, Single, Integer::Unsigned32)
    }),
    call("xvcvspsxws", xx2(152), "xt,xb", |s, _, w| {
        vector_to_fixed(s, w, Single, Integer::Signed32)
    }),
    call("xvcvdpuxws", xx2(200), "xt,xb", |s, _, w| {
        vector_to_fixed(s, w, Double, Integer::Unsigned32)
    }),
    call("xvcvdpsxws", xx2(216), "xt,xb", |s, _, w| {
        vector_to_fixed(s, w, Double, Integer::Signed32)
    }),
    call("xvcvspuxds", xx2(392), "xt,xb", |s, _, w| {
        vector_to_fixed(s, w, Single, Integer::Unsigned64)
    }),
    call("xvcvspsxds", xx2(408), "xt,xb", |s, _, w| {
        vector_to_fixed(s, w, Single, Integer::Signed64)
    }),
    call("xvcvdpuxds", xx2(456), "xt,xb", |s, _, w| {
        vector_to_fixed(s, w, Double, Integer::Unsigned64)
    }),
    call("xvcvdpsxds", xx2(472), "xt,xb", |s, _, w| {
        vector_to_fixed(s, w, Double, Integer::Signed64)
    }),
    call("xscvuxdsp", xx2(296), "xt,xb", |s, _, w| from_fixed(s, w, false, Single)),
    call("xscvsxdsp", xx2(312), "xt,xb", |s, _, w| from_fixed(s, w, true, Single)),
    call("xscvuxddp", xx2(360), "xt,xb", |s, _, w| from_fixed(s, w, false, Double)),
    call("xscvsxddp", xx2(376), "xt,xb", |s, _, w| from_fixed(s, w, true, Double)),
    call("xvcvuxwsp", xx2(168), "xt,xb", |s, _, w| vector_from_fixed(s, w, false, true, Single)),
    call("xvcvsxwsp", xx2(184), "xt,xb", |s, _, w| vector_from_fixed(s, w, true, true, Single)),
    call("xvcvuxwdp", xx2(232), "xt,xb", |s, _, w| vector_from_fixed(s, w, false, true, Double)),
    call("xvcvsxwdp", xx2(248), "xt,xb", |s, _, w| vector_from_fixed(s, w, true, true, Double)),
    call("xvcvuxdsp", xx2(424), "xt,xb", |s, _, w| vector_from_fixed(s, w, false, false, Single)),
    call("xvcvsxdsp", xx2(440), "xt,xb", |s, _, w| vector_from_fixed(s, w, true, false, Single)),
    call("xvcvuxddp", xx2(488), "xt,xb", |s, _, w| vector_from_fixed(s, w, false, false, Double)),
    call("xvcvsxddp", xx2(504), "xt,xb", |s, _, w| vector_from_fixed(s, w, true, false, Double)),
    call("xsrdpi", xx2(73), "xt,xb", |s, _, w| scalar_round(s, w, Some(Rounding::NearestAway))),
    call("xsrdpiz", xx2(89), "xt,xb", |s, _, w| scalar_round(s, w, Some(Rounding::Zero))),
    call("xsrdpip", xx2(105), "xt,xb", |s, _, w| scalar_round(s, w, Some(Rounding::Up))),
    call("xsrdpim", xx2(121), "xt,xb", |s, _, w| scalar_round(s, w, Some(Rounding::Down))),
    call("xsrdpic", xx2(107), "xt,xb", |s, _, w| scalar_round(s, w, None)),
    call("xvrspi", xx2(137), "xt,xb", |s, _, w| {
        vector_round(s, w, Some(Rounding::NearestAway), Single)
    }),
    call("xvrspiz", xx2(153), "xt,xb", |s, _, w| vector_round(s, w, Some(Rounding::Zero), Single)),
    call("xvrspip", xx2(169), "xt,xb", |s, _, w| vector_round(s, w, Some(Rounding::Up), Single)),
    call("xvrspim", xx2(185), "xt,xb", |s, _, w| vector_round(s, w, Some(Rounding::Down), Single)),
    call("xvrspic", xx2(171), "xt,xb", |s, _, w| vector_round(s, w, None, Single)),
    call("xvrdpi", xx2(201), "xt,xb", |s, _, w| {
        vector_round(s, w, Some(Rounding::NearestAway), Double)
    }),
    call("xvrdpiz", xx2(217), "xt,xb", |s, _, w| vector_round(s, w, Some(Rounding::Zero), Double)),
    call("xvrdpip", xx2(233), "xt,xb", |s, _, w| vector_round(s, w, Some(Rounding::Up), Double)),
    call("xvrdpim", xx2(249), "xt,xb", |s, _, w| vector_round(s, w, Some(Rounding::Down), Double)),
    call("xvrdpic", xx2(235), "xt,xb", |s, _, w| vector_round(s, w, None, Double)),
    call("xscvspdp", xx2(329), "xt,xb", |s, _, w| single_to_scalar(s, w)),
    call("xscvdpsp", xx2(265), "xt,xb", |s, _, w| scalar_to_single(s, w)),
    call("xsrsp", xx2(281), "xt,xb", |s, _, w| {
        need_vsx(s)?;
        let outcome = round_to_single(scalar(s, xb(w)), &s.float_control());
        finish(s, w, &outcome, Class::Single)
    }),
    call("xvcvspdp", xx2(457), "xt,xb", |s, _, w| {
        vector(s, w, Double, |s, number, control| {
            quieted(single_to_double(get(s.vsr[xb(w)], 2 * number)), control)
        })
    }),
    call("xvcvdpsp", xx2(393), "xt,xb", |s, _, w| {
        need_vsx(s)?;
        let values = outcomes(s, 2, |s, number, control| {
            round_to_single(get(s.vsr[xb(w)], number), control)
        });
        let Some(values) = values else { return trap(s) };
        s.vsr[xt(w)] = from_fn(|number| double_to_single(values[number as usize / 2]));
        Ok(())
    }),
    call("xscvhpdp", xx2_by_a(347, 16), "xt,xb", |s, _, w| {
        need_vsx(s)?;
        let outcome = half_to_double(get(s.vsr[xb(w)], 3), &s.float_control());
        finish(s, w, &outcome, Class::Double)
    }),
    call("xscvdphp", xx2_by_a(347, 17), "xt,xb", |s, _, w| {
        need_vsx(s)?;
        let outcome = round_to_half(scalar(s, xb(w)), &s.float_control());
        let class = half_to_double(outcome.value as u16, &s.float_control()).value;
        if let Some(value) = s.commit(&outcome, Class::Unchanged) {
            set_scalar(s, xt(w), value);
            s.set_class_of(class, outcome.value & 0x7c00 == 0);
        }
        s.float_trap(outcome.flags)
    }),
    call("xvcvhpsp", xx2_by_a(475, 24), "xt,xb", |s, _, w| {
        vector(s, w, Single, |s, number, control| {
            half_to_double(get(s.vsr[xb(w)], 2 * number + 1), control)
        })
    }),
    call("xvcvsphp", xx2_by_a(475, 25), "xt,xb", |s, _, w| {
        need_vsx(s)?;
        let values = outcomes(s, 4, |s, number, control| {
            round_to_half(Single.get(s.vsr[xb(w)], number), control)
        });
        let Some(values) = values else { return trap(s) };
        s.vsr[xt(w)] = from_fn::<u32>(|number| values[number as usize] as u32);
        Ok(())
    }),
];
