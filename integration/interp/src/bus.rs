//! What connects a CPU to its machine.

use crate::region::RamRegion;

/// What a machine supplies to a CPU that runs.
///
/// Every method may be called often (a few hundred thousand times a second) and must not wait.
pub trait CpuBus {
    /// The regions of RAM, of which none overlaps another. Asked once each time that a CPU enters
    /// guest code; they may be others then.
    fn ram(&self) -> &[RamRegion<'_>];

    /// The timebase, in ticks, when the CPU has executed so many instructions since it was made.
    ///
    /// A machine that reckons it from the instructions alone repeats itself exactly; one that
    /// wants the time of day asks its host's clock.
    fn timebase(&self, instructions: u64) -> u64;

    /// Whether the interrupt controller signals an external interrupt to this CPU.
    fn external_interrupt(&self) -> bool {
        false
    }

    /// Whether somebody wants [`crate::Cpu::run`] to return. Asking takes the wish back.
    fn kicked(&self) -> bool {
        false
    }
}
