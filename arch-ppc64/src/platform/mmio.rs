//! Memory-mapped registers.

use vm_memory::GuestAddress;

use crate::vcpu::CpuIndex;

/// A range of real addresses that a device answers loads and stores in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MmioRange {
    /// The first address.
    pub start: GuestAddress,
    /// How many bytes.
    pub bytes: u64,
}

impl MmioRange {
    /// So many bytes from `start` on.
    pub const fn new(start: GuestAddress, bytes: u64) -> Self {
        Self { start, bytes }
    }
}

/// Answers loads and stores where there is no RAM.
///
/// Each access is made once, by the instruction that is at it: the answer completes the
/// instruction. Calls come from several vCPU threads at once.
pub trait MmioHandler: Send + Sync {
    /// Where the registers are; asked once. No two devices of a machine share an address, and
    /// none of them is RAM.
    fn ranges(&self) -> &[MmioRange];

    /// A load: fills `data`, of 1 to 16 bytes in memory order, from `offset` of the range of that
    /// number on.
    fn read(&self, range: usize, offset: u64, data: &mut [u8]);

    /// A store of `data`, of 1 to 16 bytes in memory order, at `offset` of the range of that
    /// number.
    fn write(&self, range: usize, offset: u64, data: &[u8]);

    /// A load by a CPU, for registers of which each CPU has its own; by default it does not matter
    /// which CPU it is.
    fn read_by(&self, caller: CpuIndex, range: usize, offset: u64, data: &mut [u8]) {
        let _ = caller;
        self.read(range, offset, data);
    }

    /// A store by a CPU, likewise.
    fn write_by(&self, caller: CpuIndex, range: usize, offset: u64, data: &[u8]) {
        let _ = caller;
        self.write(range, offset, data);
    }
}
