//! H_SIGNAL_SYS_RESET (not in LoPAPR 1.1; Linux's `asm/hvcall.h` has its number and argument).

use crate::hypercall::{Hypercall, Status};
use crate::topology::CpuTopology;
use crate::vcpu::{CpuIndex, ServerNumber};

/// Who is to get a system reset interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTargets {
    /// Every CPU.
    All,
    /// Every CPU but the caller.
    Others,
    /// One CPU, which may not be there yet.
    One(CpuIndex),
}

impl ResetTargets {
    /// Decodes the argument: −1 for all, −2 for all others, or a CPU by its server number.
    ///
    /// # Errors
    /// H_PARAMETER for a number that can be no CPU.
    pub fn decode(call: &Hypercall, topology: &CpuTopology) -> Result<Self, Status> {
        let [target, ..] = call.args;
        match target as i64 {
            -1 => Ok(Self::All),
            -2 => Ok(Self::Others),
            cpu => {
                let server = u32::try_from(cpu).map(ServerNumber).or(Err(Status::PARAMETER))?;
                topology.index(server).map(Self::One).ok_or(Status::PARAMETER)
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
            let topology = CpuTopology::new(8).with_threads(2, 8).unwrap();
            let call = Hypercall::new(token::SIGNAL_SYS_RESET, &[target as u64]);
            ResetTargets::decode(&call, &topology)
        };
        assert_eq!(decode(-1), Ok(ResetTargets::All));
        assert_eq!(decode(-2), Ok(ResetTargets::Others));
        assert_eq!(decode(25), Ok(ResetTargets::One(CpuIndex(7))));
        for target in [2, 7, 26, 32, -3, i64::MIN, 1 << 32, i64::MAX] {
            assert_eq!(decode(target), Err(Status::PARAMETER));
        }
    }
}
