//! The argument buffer of an RTAS call (LoPAPR §7.2.7): the only code that reads or writes it.

use vm_memory::GuestAddress;

use crate::ram::{GuestRam, MemoryFault};

const CELL_BYTES: usize = 4;
/// Token, number of inputs, number of outputs.
const HEADER_CELLS: usize = 3;
/// The most inputs, and the most outputs, that a buffer may have. No call that LoPAPR defines has
/// more; the limit bounds what is read on a guest's word.
const CELLS_MAX: u32 = 16;

/// What a call reports in its first output (LoPAPR §7.2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtasStatus(pub i32);

impl RtasStatus {
    /// The call did what it says.
    pub const SUCCESS: Self = Self(0);
    /// `event-scan` and `check-exception`: there is nothing to report (§7.3.3.1, §7.3.3.2).
    pub const NO_ERRORS_FOUND: Self = Self(1);
    /// The hardware failed.
    pub const HARDWARE_ERROR: Self = Self(-1);
    /// Call again.
    pub const BUSY: Self = Self(-2);
    /// "When such checks are made, the appropriate return code for invalid parameters is -3"
    /// (§7.2.7). Also: "system parameter not supported" (§7.3.16).
    pub const PARAMETER_ERROR: Self = Self(-3);
    /// The system parameter may not be set (§7.3.16.2).
    pub const NOT_AUTHORIZED: Self = Self(-9002);
    /// The calls for system parameters have their own number for a wrong argument (§7.3.16.1).
    pub const PARAMETER_BUFFER_ERROR: Self = Self(-9999);
}

/// An argument buffer that is wholly in RAM: a copy of its inputs, and room for its outputs.
pub(super) struct ArgumentBuffer {
    at: GuestAddress,
    token: u32,
    inputs: Vec<u32>,
    /// Without the status.
    outputs: Vec<u32>,
}

/// The argument buffer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadBuffer;

impl From<MemoryFault> for BadBuffer {
    fn from(_: MemoryFault) -> Self {
        Self
    }
}

impl ArgumentBuffer {
    /// Reads the buffer at `at`. Its outputs are read too, so that a call has no effect whose
    /// results could not be told.
    pub(super) fn read(ram: &dyn GuestRam, at: GuestAddress) -> Result<Self, BadBuffer> {
        let header = cells(ram, at, HEADER_CELLS)?;
        let &[token, inputs, outputs] = header.as_slice() else { return Err(BadBuffer) };
        if inputs > CELLS_MAX || outputs > CELLS_MAX || outputs == 0 {
            return Err(BadBuffer);
        }
        let (inputs, outputs) = (inputs as usize, outputs as usize);
        let mut all = cells(ram, at, HEADER_CELLS + inputs + outputs)?;
        // The guest may have changed the header meanwhile; the counts above are what is used.
        let inputs = all.drain(HEADER_CELLS..HEADER_CELLS + inputs).collect();
        Ok(Self { at, token, inputs, outputs: vec![0; outputs - 1] })
    }

    pub(super) fn token(&self) -> u32 {
        self.token
    }

    /// How many inputs there are, and how many outputs with the status.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.inputs.len(), self.outputs.len() + 1)
    }

    /// The inputs, and the outputs without the status.
    pub(super) fn cells(&self) -> (&[u32], &[u32]) {
        (&self.inputs, &self.outputs)
    }

    /// The inputs to read, and the outputs to fill.
    pub(super) fn cells_mut(&mut self) -> (&[u32], &mut [u32]) {
        (&self.inputs, &mut self.outputs)
    }

    /// Writes the outputs. With a status that is no success, the others are zero.
    pub(super) fn write_results(
        &self,
        ram: &dyn GuestRam,
        status: RtasStatus,
    ) -> Result<(), MemoryFault> {
        let mut bytes = status.0.to_be_bytes().to_vec();
        bytes.extend(self.outputs.iter().flat_map(|cell| cell.to_be_bytes()));
        // Cannot wrap: `read` has been there.
        let offset = (HEADER_CELLS + self.inputs.len()) * CELL_BYTES;
        ram.write(GuestAddress(self.at.0.wrapping_add(offset as u64)), &bytes)
    }
}

/// Reads `count` cells: big-endian, 32 bits each, as RTAS is instantiated in 32-bit mode.
fn cells(ram: &dyn GuestRam, at: GuestAddress, count: usize) -> Result<Vec<u32>, MemoryFault> {
    let mut bytes = vec![0; count * CELL_BYTES];
    ram.read(at, &mut bytes)?;
    let cell = |bytes: &[u8]| bytes.iter().fold(0, |cell, &byte| cell << 8 | u32::from(byte));
    Ok(bytes.chunks_exact(CELL_BYTES).map(cell).collect())
}
