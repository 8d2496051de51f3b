//! What the RTAS calls about interrupts need of an interrupt controller.

use crate::vcpu::ServerNumber;

/// Where the interrupts of a source go: its external interrupt vector entry (LoPAPR §7.3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorEntry {
    /// The server, which is a CPU's.
    pub server: ServerNumber,
    /// The priority: 0 is the most favoured, 0xff masks the source.
    pub priority: u8,
}

/// There is no interrupt source of that number, or no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no interrupt source or no interrupt server of that number")]
pub struct UnknownSource;

/// The interrupt sources of an XICS that the VMM emulates.
///
/// KVM's XICS in the kernel answers these calls by itself once it knows their tokens
/// (KVM_PPC_RTAS_DEFINE_TOKEN), so its VMM needs none of this. Calls come from several vCPU
/// threads at once: "must be reentrant to the number of processors on the platform".
pub trait InterruptSources: Send + Sync {
    /// Sets server and priority of `source`. While the source is off, the priority is what
    /// [`Self::int_on`] will give back to it (LoPAPR §7.3.10.2).
    ///
    /// # Errors
    /// [`UnknownSource`] when there is no such source or no such server.
    fn set_xive(&self, source: u32, xive: VectorEntry) -> Result<(), UnknownSource>;

    /// Server and priority as last set by [`Self::set_xive`]; least favoured at boot (§7.3.10.1).
    ///
    /// # Errors
    /// [`UnknownSource`] when there is no such source.
    fn xive(&self, source: u32) -> Result<VectorEntry, UnknownSource>;

    /// Lets a source interrupt, with its priority of before (§7.3.10.4).
    ///
    /// # Errors
    /// [`UnknownSource`] when there is no such source.
    fn int_on(&self, source: u32) -> Result<(), UnknownSource>;

    /// Masks a source, keeping its priority for later (§7.3.10.3).
    ///
    /// # Errors
    /// [`UnknownSource`] when there is no such source.
    fn int_off(&self, source: u32) -> Result<(), UnknownSource>;
}
