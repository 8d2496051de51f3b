//! The pseries machine: what a PAPR guest expects of its platform, for rust-vmm style VMMs.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod console;
pub mod hypercall;
mod ram;
mod vcpu;

pub use console::{Console, NoConsole};
pub use hypercall::{
    DuplicateToken, Hypercall, HypercallBus, HypercallHandler, MutHypercallHandler, Next, Status,
    StopReason,
};
pub use ram::{GuestRam, MemoryFault};
pub use vcpu::{CpuState, StartError, VcpuControl, VcpuId};
