//! What is said against attacks by speculation.

/// `H_CPU_CHAR_COUNT_CACHE_DISABLED`: where a branch goes is not guessed.
const COUNT_CACHE_DISABLED: u64 = 1 << 56;

/// What a guest does that knows nothing of its processor: `H_CPU_BEHAV_FAVOUR_SECURITY`,
/// `H_CPU_BEHAV_L1D_FLUSH_PR`, `H_CPU_BEHAV_BNDS_CHK_SPEC_BAR`.
const CAREFUL: u64 = 7 << 61;

/// What such a guest does unless it hears that there is no need: `H_CPU_BEHAV_NO_L1D_FLUSH_ENTRY`,
/// `H_CPU_BEHAV_NO_L1D_FLUSH_UACCESS`, `H_CPU_BEHAV_NO_STF_BARRIER`.
const NO_NEED: u64 = 7 << 54;

/// What the processor does, and what the guest should do, against attacks by speculation: the
/// two doublewords of H_GET_CPU_CHARACTERISTICS, as Linux's `asm/hvcall.h` names their bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuCharacteristics {
    /// What the processor has (`H_CPU_CHAR_…`).
    pub character: u64,
    /// What the system on it should do (`H_CPU_BEHAV_…`).
    pub behaviour: u64,
}

impl CpuCharacteristics {
    /// A processor that executes one instruction after the other, and nothing in advance: there is
    /// nothing to be done.
    pub const IN_ORDER: Self = Self { character: COUNT_CACHE_DISABLED, behaviour: NO_NEED };

    /// What a host knows, of which it says by masks of which bits that is (KVM_PPC_GET_CPU_CHAR):
    /// where it does not say, a guest is as careful as it is without a word. `None` from a host that
    /// says nothing at all, as those do whose firmware does not.
    pub const fn known(self, masks: Self) -> Option<Self> {
        if masks.character | masks.behaviour == 0 {
            return None;
        }
        let behaviour = self.behaviour & masks.behaviour | CAREFUL & !masks.behaviour;
        Some(Self { character: self.character & masks.character, behaviour })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: u64 = 1 << 62;

    fn behaviour(says: u64, mask: u64) -> Option<u64> {
        let of = |behaviour| CpuCharacteristics { character: u64::MAX, behaviour };
        of(says).known(CpuCharacteristics { character: 1, behaviour: mask }).map(|known| {
            assert_eq!(known.character, 1);
            known.behaviour
        })
    }

    #[test]
    fn what_a_host_does_not_say_is_the_worst() {
        assert_eq!(behaviour(u64::MAX, u64::MAX), Some(u64::MAX));
        assert_eq!(behaviour(0, u64::MAX), Some(0));
        assert_eq!(behaviour(u64::MAX, 0), Some(CAREFUL));
        assert_eq!(behaviour(0, FLUSH), Some(CAREFUL & !FLUSH));
        // That there is no need is to be said.
        assert_eq!(behaviour(NO_NEED, !NO_NEED), Some(0));
        let nothing = CpuCharacteristics::default();
        assert_eq!(nothing.known(nothing), None);
    }
}
