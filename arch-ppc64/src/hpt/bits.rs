//! The bits of an entry (Power ISA 2.07, Book III §5.7.7.1): the form in which guests pass entries
//! on every processor, whatever that of the processor is.

/// First doubleword: the size of the segment (B), 0 for 256 MiB, 1 for 1 TiB.
pub const SEGMENT_SHIFT: u32 = 62;
/// First doubleword: the abbreviated virtual page number.
pub const AVPN: u64 = 0x3fff_ffff_ffff_ff80;
/// First doubleword, of the software's bits: the entry stays when the table is resized.
pub const BOLTED: u64 = 0x10;
/// First doubleword: the page is not one of 4 KiB (L).
pub const LARGE: u64 = 0x4;
/// First doubleword: the entry is where the secondary hash says (H).
pub const SECONDARY: u64 = 0x2;
/// First doubleword: there is an entry.
pub const VALID: u64 = 0x1;
/// Second doubleword: the upper bit of the page protection.
pub const PP0: u64 = 1 << 63;
/// Second doubleword: the upper bits of the key.
pub const KEY_HIGH: u64 = 0x3000_0000_0000_0000;
/// Second doubleword: the real page number, and LP.
pub const REAL_PAGE: u64 = 0x0fff_ffff_ffff_f000;
/// Second doubleword: the lower bits of the key.
pub const KEY_LOW: u64 = 0xe00;
/// Second doubleword: referenced.
pub const REFERENCED: u64 = 0x100;
/// Second doubleword: changed.
pub const CHANGED: u64 = 0x80;
/// Second doubleword: write through.
pub const W: u64 = 0x40;
/// Second doubleword: not cached.
pub const I: u64 = 0x20;
/// Second doubleword: coherent.
pub const M: u64 = 0x10;
/// Second doubleword: guarded.
pub const G: u64 = 0x8;
/// Second doubleword: must not be executed.
pub const NO_EXECUTE: u64 = 0x4;
/// Second doubleword: the lower bits of the page protection.
pub const PP: u64 = 0x3;
