//! A virtual machine of processors in software: what KVM and a POWER host do besides executing
//! instructions. Memory by slots, the interrupt controller, the clock, CPUs that sleep, and the
//! modes that a guest sets for all of its CPUs.
//!
//! It has the shape of a VM of KVM: [`create_vm`], memory by [`Vm::set_memory_region`], CPUs one by
//! one by [`Vm::create_vcpu`], then [`Vcpu::start`] and [`Vcpu::run`]. It plugs into the machine of
//! `arch-ppc64`: [`Vm::devices`] for its platform, [`Vm::interrupts`] for its devices.
//!
//! A machine that was saved is restored in this order: the [`Vm`]
//! (feature `serde`: `arch_ppc64::platform::SaveState`), each CPU ([`Vcpu::restore`]), the platform.

mod clock;
mod error;
mod hash;
mod lines;
mod memory;
mod modes;
mod ram;
#[cfg(feature = "serde")]
mod saved;
mod turns;
mod vcpu;
mod vm;

pub use arch_ppc64::memory_slot::{DirtyPages, MemoryFlags};
pub use clock::{Clock, GuestTime};
pub use error::VmError;
pub use vcpu::{Vcpu, VcpuState};
pub use vm::{Vm, VmOptions, create_vm};
