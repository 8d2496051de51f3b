//! Figures beside their targets.

use std::fmt;

/// What a figure has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// What was measured, and what it has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The figure; none when it could not be measured.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: &'static str,
    /// What it has to be.
    pub bound: Bound,
}

/// How far a target may be missed before `--check` fails: machines differ.
const TOLERANCE: f64 = 2.0;

impl Figure {
    /// Whether the target is met, as far as it was measured.
    pub fn is_met(&self) -> bool {
        self.excess() <= 1.0
    }

    /// Whether the target is missed by more than a machine can be blamed for.
    pub fn is_far_off(&self) -> bool {
        self.excess() > TOLERANCE
    }

    /// How many times worse the figure is than its bound.
    fn excess(&self) -> f64 {
        self.value.map_or(0.0, |value| match self.bound {
            Bound::AtMost(most) => value / most,
            Bound::AtLeast(least) => least / value,
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match self.bound {
            Bound::AtMost(most) => ("≤", most),
            Bound::AtLeast(least) => ("≥", least),
        };
        let verdict = match (self.value, self.is_met()) {
            (None, _) => "not measured",
            (_, true) => "met",
            (_, false) => "missed",
        };
        let (value, bound) = (number(self.value), number(Some(bound)));
        write!(f, "  {:<46}{value:>9} {:<13}{sign} {bound:>6}  {verdict}", self.what, self.unit)
    }
}

/// A number as people read it: three digits tell it, and thousands are set apart.
pub fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let shown =
            [0.0, 1.0, 1.234, 9.999, 12.6, 999.0, 1234.0, 1_234_567.0].map(Some).map(number);
        assert_eq!(shown, ["0", "1", "1.23", "10.00", "13", "999", "1,234", "1,234,567"]);
        assert_eq!(number(None), "–");
    }

    #[test]
    fn figures_are_judged() {
        let figure = |value, bound| Figure { what: "x".into(), value, unit: "ns", bound };
        let judged = |figure: Figure| (figure.is_met(), figure.is_far_off());
        assert_eq!(judged(figure(Some(150.0), Bound::AtMost(150.0))), (true, false));
        assert_eq!(judged(figure(Some(151.0), Bound::AtMost(150.0))), (false, false));
        assert_eq!(judged(figure(Some(301.0), Bound::AtMost(150.0))), (false, true));
        assert_eq!(judged(figure(Some(999.0), Bound::AtLeast(1000.0))), (false, false));
        assert_eq!(judged(figure(Some(499.0), Bound::AtLeast(1000.0))), (false, true));
        assert_eq!(judged(figure(None, Bound::AtLeast(1000.0))), (true, false));
        let line = figure(None, Bound::AtLeast(1000.0)).to_string();
        assert!(line.ends_with("≥  1,000  not measured"), "{line}");
    }
}
