//! What the device tree says that a processor has: `ibm,pa-features` (LoPAPR §B.6.2.1).

use crate::cpu::CpuModel;

pub(crate) const FEATURES_PROPERTY: &str = "ibm,pa-features";

/// Byte and bit (0 is the most significant) of what each processor has, and each host can give. Only
/// what guests act on is named.
const FEATURES: &[(usize, u8)] = &[
    (0, 0), // memory management unit
    (0, 1), // floating point unit
    (0, 2), // segment lookaside buffer
    (0, 3), // run latch (CTRL)
    (0, 6), // no-execute bit in pages
    (1, 2), // caching-inhibited large pages
    (5, 0), // little-endian mode
];

const RADIX: (usize, u8) = (40, 0);

/// One descriptor: its length in bytes, its type 0 and the attribute bytes, of which POWER8 has
/// fewer.
///
/// The same from POWER9 on: what POWER10 and POWER11 add needs the host's leave, and is not offered.
pub(crate) fn processor_features(model: CpuModel, has_radix: bool) -> Vec<u8> {
    let bytes = if model == CpuModel::Power8 { 24 } else { 66 };
    let mut features = vec![0; 2 + bytes];
    features[0] = bytes as u8;
    for &(byte, bit) in FEATURES.iter().chain(has_radix.then_some(&RADIX)) {
        if let Some(features) = features.get_mut(2 + byte) {
            *features |= 0x80 >> bit;
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radix_is_said_of_those_that_have_it() {
        for model in CpuModel::ALL {
            for has_radix in [false, true] {
                let features = processor_features(model, has_radix);
                assert_eq!((features[0] as usize, features[1]), (features.len() - 2, 0), "{model}");
                assert_eq!(features[2..8], [0xf2, 0x20, 0, 0, 0, 0x80], "{model}");
                let radix = features.get(2 + 40).copied();
                let said = if has_radix { 0x80 } else { 0 };
                assert_eq!(radix, (model != CpuModel::Power8).then_some(said), "{model}");
            }
        }
    }
}
