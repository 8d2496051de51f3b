//! How large a table is.

use std::fmt;

/// The size of a hashed page table: 2 to the power of this many bytes, 18 to 46 (Power ISA 2.07,
/// Book III §5.7.7.2: from 256 KiB, HTABSIZE 0 to 28). It is the second cell of `ibm,pft-size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order(u8);

impl Order {
    /// The smallest table.
    pub const MIN: Self = Self(18);

    /// The largest table.
    pub const MAX: Self = Self(46);

    /// A table of two to the power of `order` bytes; `None` where there is no such table.
    pub fn new(order: u64) -> Option<Self> {
        let order = u8::try_from(order).ok()?;
        (Self::MIN.0..=Self::MAX.0).contains(&order).then_some(Self(order))
    }

    /// What guests with so much memory are given: a 128th of it, rounded up to a power of two. That
    /// is room for two entries a page of 4 KiB.
    pub fn for_ram(ram_bytes: u64) -> Self {
        const SHARE_SHIFT: u32 = 7;
        let ram_order = u64::BITS - ram_bytes.saturating_sub(1).leading_zeros();
        let order = ram_order.saturating_sub(SHARE_SHIFT);
        Self((order as u8).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// The power.
    pub fn get(self) -> u32 {
        self.0.into()
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_128th_of_ram() {
        let cases = [
            (0, 18),
            (1, 18),
            (32 << 20, 18),
            ((32 << 20) + 1, 19),
            (256 << 20, 21),
            (1 << 30, 23),
            ((1 << 30) + 1, 24),
            (16 << 40, 37),
            (1 << 53, 46),
            (u64::MAX, 46),
        ];
        for (ram_bytes, order) in cases {
            let found = Order::for_ram(ram_bytes);
            assert_eq!(found.get(), order, "{ram_bytes:#x}");
            assert_eq!(Order::new(order.into()), Some(found));
        }
    }

    #[test]
    fn there_are_no_other_orders() {
        for order in [0, 17, 47, 64, 256 + 20, u64::MAX] {
            assert_eq!(Order::new(order), None, "{order}");
        }
        assert_eq!((Order::MIN.bytes(), Order::MAX.bytes()), (256 << 10, 64 << 40));
    }
}
