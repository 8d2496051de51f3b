//! The structure that the guest hands over (LoPAPR §B.6.2.3).

use super::CasError;
use super::vectors::{
    ArchitectureLevels, EntitlementOptions, FirmwareOptions, PlatformOptions, ProcessorOptions,
};

/// The most entries that a list of processors may have, its end included. There is no limit in
/// LoPAPR; Linux has about 20.
pub const MAX_PROCESSORS: usize = 512;

const PROCESSOR_BYTES: usize = 8;

/// The most option vectors: their number, less one, is a byte.
const MAX_VECTORS: usize = 256;

/// The longest option vector: its length, less one, is a byte, and that byte comes first.
const MAX_VECTOR: usize = 1 + 256;

/// The most bytes that a structure of the guest's can have: what a reader of guest memory needs
/// to read at most.
pub const MAX_VECTOR_BYTES: usize = MAX_PROCESSORS * PROCESSOR_BYTES + 1 + MAX_VECTORS * MAX_VECTOR;

/// An entry of the list of processors: those whose version is `value` under `mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorPattern {
    /// Which bits count.
    pub mask: u32,
    /// What they have to be.
    pub value: u32,
}

impl ProcessorPattern {
    /// Whether a processor of this version, or of this logical version, is meant.
    pub const fn matches(&self, version: u32) -> bool {
        version & self.mask == self.value
    }

    /// No processor can be meant: the value has a bit that the mask has not. The first entry of
    /// the kind is the end of the list.
    const fn is_end(&self) -> bool {
        self.value & !self.mask != 0
    }
}

/// What a guest says of itself. A vector is `None` when the guest does not have it, or has it
/// ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Proposal {
    /// The processors that the guest knows; none when it does not care.
    pub processors: Vec<ProcessorPattern>,
    /// Vector 1.
    pub levels: Option<ArchitectureLevels>,
    /// Vector 2.
    pub firmware: Option<FirmwareOptions>,
    /// Vector 3.
    pub processor: Option<ProcessorOptions>,
    /// Vector 4.
    pub entitlement: Option<EntitlementOptions>,
    /// Vector 5.
    pub platform: Option<PlatformOptions>,
}

impl Proposal {
    /// Reads the structure at the start of `bytes`: pairs of mask and processor version, the last
    /// being none; the number of option vectors less one; and each vector, its length less one
    /// first. Vectors from the sixth on have to be there, and are not looked at.
    ///
    /// # Errors
    /// [`CasError::Truncated`] and [`CasError::EndlessProcessors`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CasError> {
        let mut reader = Reader { bytes, at: 0 };
        let mut proposal = Self { processors: reader.processors()?, ..Self::default() };
        let count = usize::from(reader.byte()?) + 1;
        for number in 1..=count {
            let vector = reader.vector()?;
            match number {
                1 => proposal.levels = ArchitectureLevels::of(vector),
                2 => proposal.firmware = FirmwareOptions::of(vector),
                3 => proposal.processor = ProcessorOptions::of(vector),
                4 => proposal.entitlement = EntitlementOptions::of(vector),
                5 => proposal.platform = PlatformOptions::of(vector),
                // Vector 6 gives hints, vector 7 the guest's name: there is nothing to decide.
                _ => {}
            }
        }
        Ok(proposal)
    }

    /// Whether the guest knows a processor of this version. One without a list takes any.
    pub fn knows(&self, version: u32) -> bool {
        self.processors.is_empty() || self.processors.iter().any(|one| one.matches(version))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], CasError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(CasError::Truncated { at: self.bytes.len() })?;
        self.at += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, CasError> {
        Ok(self.take(1)?[0])
    }

    fn cell(&mut self) -> Result<u32, CasError> {
        let cell = self.take(4)?;
        Ok(cell.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    fn processors(&mut self) -> Result<Vec<ProcessorPattern>, CasError> {
        let mut processors = Vec::new();
        for _ in 0..MAX_PROCESSORS {
            let pattern = ProcessorPattern { mask: self.cell()?, value: self.cell()? };
            if pattern.is_end() {
                return Ok(processors);
            }
            processors.push(pattern);
        }
        Err(CasError::EndlessProcessors)
    }

    /// One vector, without its length.
    fn vector(&mut self) -> Result<&'a [u8], CasError> {
        let len = usize::from(self.byte()?) + 1;
        self.take(len)
    }
}
