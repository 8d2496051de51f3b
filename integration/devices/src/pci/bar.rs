//! Base address registers.

/// How many of them a type 0 header has.
pub(super) const BARS: usize = 6;

/// Where the first of them is in configuration space; each takes four bytes.
pub(super) const FIRST: u16 = 0x10;

/// Bits of the first four bytes of a register (PCI Local Bus Specification 3.0, §6.2.5.1).
pub(super) const IO: u32 = 1;
pub(super) const TYPE: u32 = 3 << 1;
pub(super) const TYPE_64: u32 = 2 << 1;
pub(super) const PREFETCHABLE: u32 = 1 << 3;
pub(super) const FLAGS: u32 = 0xf;

/// How wide a base address register is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarWidth {
    /// Addresses have 32 bits.
    Bits32,
    /// Addresses have 64 bits: it takes the place of two registers.
    Bits64,
}

/// What a base address register of memory says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bar {
    /// Its width.
    pub width: BarWidth,
    /// Whether reads have no side effects that anybody who reads ahead would notice.
    pub prefetchable: bool,
    /// How many bytes the registers take: a power of two, from 16 on.
    pub bytes: u64,
}

impl Bar {
    /// So many bytes, not prefetchable.
    pub const fn new(width: BarWidth, bytes: u64) -> Self {
        Self { width, prefetchable: false, bytes }
    }

    /// The same, prefetchable.
    #[must_use]
    pub const fn prefetchable(mut self) -> Self {
        self.prefetchable = true;
        self
    }

    /// Whether a register can say this.
    pub(super) const fn is_valid(self) -> bool {
        let largest = match self.width {
            BarWidth::Bits32 => 1 << 31,
            BarWidth::Bits64 => 1 << 63,
        };
        self.bytes.is_power_of_two() && self.bytes >= 16 && self.bytes <= largest
    }

    /// The bits of the first four bytes that say what it is.
    pub(super) const fn flags(self) -> u32 {
        let width = match self.width {
            BarWidth::Bits32 => 0,
            BarWidth::Bits64 => TYPE_64,
        };
        if self.prefetchable { width | PREFETCHABLE } else { width }
    }
}
