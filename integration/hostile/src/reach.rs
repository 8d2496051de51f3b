//! How far an input got.

/// A set of a target's goals, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach(u128);

impl Reach {
    /// Nothing was reached.
    pub const NONE: Self = Self(0);

    /// Goal `number` was reached. There is no place for those from 128 on.
    pub fn add(&mut self, number: usize) {
        self.0 |=
            u32::try_from(number).ok().and_then(|shift| 1_u128.checked_shl(shift)).unwrap_or(0);
    }

    /// Whether goal `number` was reached.
    pub fn has(self, number: usize) -> bool {
        let mut only = Self::NONE;
        only.add(number);
        only != Self::NONE && self.0 & only.0 != 0
    }

    /// What either reached.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What this one reached and the other did not.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}
