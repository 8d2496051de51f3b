//! Takes an input apart. Every input is one: where it ends, zeros follow.

/// What is left of an input.
#[derive(Debug, Clone)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// So many bytes, or as many as there are.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A big-endian number.
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A big-endian number.
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// A big-endian number.
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// One of a few.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// A number that is close to something: RAM's start or end, the ends of 32 and 64 bits, or
    /// what is written out.
    pub(crate) fn number(&mut self, ram_bytes: u64) -> u64 {
        let kind = self.byte();
        match kind {
            0..=0x7f => kind.into(),
            0x80..=0x8f => u64::from(self.byte()) << 8,
            0x90..=0x9f => u64::from(self.u16()),
            0xa0..=0xaf => ram_bytes.wrapping_sub(self.byte().into()),
            0xb0..=0xbf => (1_u64 << 32).wrapping_sub(self.byte().into()),
            0xc0..=0xc7 => 0_u64.wrapping_sub(self.byte().into()),
            0xc8..=0xcf => (1_u64 << 31).wrapping_sub(self.byte().into()),
            0xd0..=0xd7 => 1_u64 << (self.byte() % 64),
            0xd8..=0xe7 => u64::from(self.u16()) << 4 & !0xfff,
            0xe8..=0xf7 => self.u32().into(),
            0xf8..=0xff => self.u64(),
        }
    }
}
