#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod device;
mod enter;
mod error;
mod hpt;
mod hpt_calls;
mod interrupts;
mod memory;
mod modes;
mod plug;
mod registers;
mod run_area;
mod seat;
mod state;
mod sys;
mod threads;
mod time;
mod translation;
mod vcpu;
mod vm;

pub use arch_ppc64::memory_slot::{DirtyPages, MemoryFlags};
pub use error::KvmError;
pub use interrupts::XicsOrXive;
pub use state::{CoreRegisters, NoRegisterValue, RegisterValue, Segment, VcpuState};
pub use sys::{INTERRUPT_IOCTLS, IOCTLS};
pub use time::TimePolicy;
pub use vcpu::Vcpu;
pub use vm::{Kvm, Vm, VmOptions};

/// What a VMM shares between its threads can be.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Kvm>();
    shared::<Vm>();
    shared::<Vcpu>();
    shared::<XicsOrXive>();
};
