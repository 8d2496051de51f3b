#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod cas;
pub mod config;
mod console;
pub mod cpu;
pub mod fdt;
pub mod hvterm;
pub mod hypercall;
pub mod layout;
pub mod loader;
mod machine;
mod memory_blocks;
pub mod papr;
mod ram;
pub mod rtas;
mod vcpu;

pub use console::{Console, NoConsole};
pub use hypercall::{
    DuplicateToken, Hypercall, HypercallBus, HypercallHandler, MutHypercallHandler, Next, Status,
    StopReason, TRACE_TARGET,
};
pub use machine::{ConfigError, Machine};
pub use ram::{GuestRam, MemoryFault};
pub use vcpu::{CpuState, StartError, VcpuControl, VcpuId};
