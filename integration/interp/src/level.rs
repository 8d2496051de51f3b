//! Levels of the architecture.

/// A level of the architecture that programs are held to, by the processor compatibility register
/// (Power ISA 3.0B, Book III §2.5). A kernel is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Level {
    /// All that the processor has.
    #[default]
    V3_0,
    /// What is newer than Power ISA 2.07, which POWER8 has, is illegal in problem state.
    V2_07,
}

/// PCR, version 2.07.
const V2_07: u64 = 1 << 3;

impl Level {
    /// The value of PCR.
    pub(crate) const fn pcr(self) -> u64 {
        match self {
            Self::V3_0 => 0,
            Self::V2_07 => V2_07,
        }
    }

    /// The level of a value of PCR.
    pub(crate) const fn of_pcr(value: u64) -> Self {
        if value & V2_07 != 0 { Self::V2_07 } else { Self::V3_0 }
    }
}
