//! Numbers in quad format, for registers.

use super::machine::Random;

/// Zeros, ones, halves, denormals, extremes, infinities, NaNs; integers at the edges of words and
/// doublewords; what doubles and double extended round up, down and at the middle, and where they
/// overflow and are denormal.
const QUADS: [u128; 36] = [
    0,
    1 << 127,
    0x3fff << 112,
    0xbfff << 112,
    0x3fff_8000 << 96,
    0x4000_4000 << 96,
    0xc000_4000 << 96,
    0x3ffe << 112,
    0xbffd_8000 << 96,
    1,
    1 << 127 | 1,
    (1 << 112) - 1,
    1 << 112,
    1 << 127 | 1 << 112,
    (0x7fff << 112) - 1,
    (0xffff << 112) - 1,
    0x7fff << 112,
    0xffff << 112,
    0x7fff_8000 << 96,
    0xffff_8123_4567_89ab_cdef_0123_4567_89ab,
    0x7fff << 112 | 1,
    0xffff_4000_0000_0000_2000_0000_0000_0001,
    0x4070 << 112,
    0x401e << 112,
    0xc01e_0000_0000_1000 << 64,
    0x403e << 112,
    0x403f << 112,
    0x403e_ffff_ffff_ffff_fff8 << 48,
    0x401e_ffff_ffff_ffff_ffff << 48,
    0x43fe_ffff_ffff_ffff_f000_0000_0000_0000,
    0x43fe_ffff_ffff_ffff_f800_0000_0000_0000,
    0x3fff_0000_0000_0000_0800_0000_0000_0000,
    0x3fff_0000_0000_0000_0001_0000_0000_0000,
    0x3fff_ffff_ffff_ffff_ffff_0000_0000_0001,
    0x3c01_5555_5555_5555_5555_5555_5555_5555,
    0x3bcc << 112,
];

/// One of them, or one made up.
pub(super) fn number(random: &mut Random) -> u128 {
    let fraction = u128::from(random.next()) << 64 | u128::from(random.next());
    let fraction = fraction >> 16;
    let sign = u128::from(random.below(2)) << 127;
    let (exponent, fraction) = match random.below(8) {
        0..3 => return random.of(&QUADS),
        // Where results overflow or are denormal.
        3 => (random.of(&[0, 1, 60, 113, 8100, 8250, 24500, 32700, 32765, 32766]), fraction),
        // Near one another.
        4 => (16383 - 3 + random.below(6), fraction),
        // Few bits at both ends, so that much is at the middle.
        5 => (16383 - 60 + random.below(120), fraction & 0xf | fraction & 0xf << 108),
        6 => (16383 - 1100 + random.below(2200), fraction & !0 << random.below(112)),
        _ => (random.below(0x7fff), fraction),
    };
    sign | u128::from(exponent) << 112 | fraction
}
