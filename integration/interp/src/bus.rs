//! What connects a CPU to its machine.

use std::time::Duration;

use crate::region::RamRegion;

/// What a machine supplies to a CPU that runs.
///
/// Every method may be called often (a few hundred thousand times a second) and must not wait.
pub trait CpuBus {
    /// The regions of RAM, of which none overlaps another. Asked once each time that a CPU enters
    /// guest code; they may be others then. What is in the first is accessed fastest, and many are
    /// found faster in the order of their addresses.
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

    /// This CPU has rung the doorbell of another one (`msgsndp`): if that one sleeps, it is to look
    /// again ([`crate::Cpu::interrupt_is_pending`]).
    fn has_rung(&self, cpu: usize) {
        let _ = cpu;
    }

    /// This CPU has seen that it waits for another one, in a loop that only that one ends. Whether
    /// it leaves guest code for that, as if its budget were used up; by default, it goes on, and
    /// the host may give its core to somebody else for a moment.
    fn leaves_to_wait(&self) -> bool {
        std::thread::yield_now();
        false
    }

    /// This CPU has waited for another one for long, and the host has fewer cores than the machine
    /// has CPUs: it gives its core away for about so long. An interrupt may end that.
    fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Whether somebody wants [`crate::Cpu::run`] to return. Asking takes the wish back.
    fn kicked(&self) -> bool {
        false
    }
}
