//! What back ends and VMMs tell each other about a virtual CPU that runs: the same words for KVM
//! and for a processor in software.

use vm_memory::GuestAddress;

use crate::hypercall::Hypercall;

/// Why a virtual CPU left guest code.
#[derive(Debug)]
#[non_exhaustive]
pub enum VcpuExit<'a> {
    /// `sc 1`: the registers, to be changed in place before the CPU runs on.
    Hypercall(&'a mut Hypercall),
    /// A load where there is no RAM: the bytes to be filled, in memory order.
    MmioRead(GuestAddress, &'a mut [u8]),
    /// A store where there is no RAM: the bytes stored, in memory order.
    MmioWrite(GuestAddress, &'a [u8]),
    /// Somebody [kicked](Kick::kick) the CPU.
    Interrupted,
    /// The guest did what no machine could go on from.
    Crashed(String),
}

/// Gets a virtual CPU out of guest code, from any thread.
pub trait Kick: Send + Sync {
    /// Makes the present or the next run of the CPU return [`VcpuExit::Interrupted`] soon. Does
    /// not wait for it.
    fn kick(&self);

    /// The CPU has been told to start, or to go on from a state that was saved, and its thread will
    /// see to it soon: called by whoever tells it. A back end whose CPUs execute in a fixed order
    /// has to know when that was. Must not wait.
    fn starts(&self) {}
}
