//! H_SIGNAL_SYS_RESET (not in LoPAPR 1.1; Linux's `asm/hvcall.h` has its number and argument).

use crate::hypercall::{Hypercall, Status};
use crate::vcpu::CpuIndex;

/// Who is to get a system reset interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTargets {
    /// Every CPU.
    All,
    /// Every CPU but the caller.
    Others,
    /// One CPU; the machine may not have it.
    One(CpuIndex),
}

impl ResetTargets {
    /// Decodes the argument: −1 for all, −2 for all others, or a CPU.
    ///
    /// # Errors
    /// H_PARAMETER for a number that can be no CPU.
    pub fn decode(call: &Hypercall) -> Result<Self, Status> {
        let [target, ..] = call.args;
        match target as i64 {
            -1 => Ok(Self::All),
            -2 => Ok(Self::Others),
            cpu => {
                u32::try_from(cpu).map(|cpu| Self::One(CpuIndex(cpu))).or(Err(Status::PARAMETER))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypercall::token;

    #[test]
    fn targets_are_signed() {
        let decode = |target: i64| {
            ResetTargets::decode(&Hypercall::new(token::SIGNAL_SYS_RESET, &[target as u64]))
        };
        assert_eq!(decode(-1), Ok(ResetTargets::All));
        assert_eq!(decode(-2), Ok(ResetTargets::Others));
        assert_eq!(decode(7), Ok(ResetTargets::One(CpuIndex(7))));
        for target in [-3, i64::MIN, 1 << 32, i64::MAX] {
            assert_eq!(decode(target), Err(Status::PARAMETER));
        }
    }
}
