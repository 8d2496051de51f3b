#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![cfg_attr(not(feature = "kvm-ioctls"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub mod boot;
pub mod cas;
pub mod config;
pub mod console;
pub mod cpu;
mod cpu_features;
pub mod fdt;
pub mod hotplug;
pub mod hpt;
pub mod hvterm;
pub mod hypercall;
mod interrupt_node;
#[cfg(all(
    feature = "kvm-ioctls",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
pub mod kvm_ioctls;
pub mod layout;
pub mod loader;
pub mod log_limit;
mod machine;
mod memory_blocks;
pub mod memory_slot;
pub mod nvram;
pub mod papr;
pub mod pci;
pub mod platform;
mod ram;
pub mod rtas;
pub mod smp;
pub mod threads;
pub mod topology;
mod vcpu;
pub mod xics;
pub mod xive;

pub use console::{Console, NoConsole};
pub use hypercall::{
    DuplicateToken, Hypercall, HypercallBus, HypercallHandler, MutHypercallHandler, Next, Status,
    StopReason, TRACE_TARGET,
};
pub use machine::{ConfigError, Machine};
pub use ram::{FillError, GuestRam, MemoryFault};
pub use vcpu::{
    CpuIndex, CpuState, EntryRegisters, Kick, NoCpus, ServerNumber, StartError, VcpuExit, VcpuHost,
    start_cpu,
};
