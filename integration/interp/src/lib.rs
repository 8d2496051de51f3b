//! A POWER9 in software: Power ISA 3.0B as a partition under a hypervisor sees it, which is what
//! a pseries guest needs: privileged but not hypervisor state, both byte orders, both widths,
//! both kinds of translation, and `sc 1` to its hypervisor, who is the user of this crate.
//!
//! A [`Cpu`] executes instructions until the machine is needed ([`Exit`]). It knows the machine
//! by one trait, [`CpuBus`]. CPUs of one machine share a [`System`].
//!
//! Instructions are decoded once, into eight bytes each, and kept in an array for each page of
//! real memory; one loop with one `match` executes them (`exec`). What each instruction is, is in
//! the tables of `isa`, a file a class.
//!
//! Not there: decimal floating point, transactional memory, accelerators to
//! `paste.` to, and a performance monitor that counts. Whoever executes what is not there gets the
//! interrupt that the architecture names, user or kernel.
#![cfg_attr(all(doctest, feature = "board"), doc = include_str!("../README.md"))]
#![deny(unsafe_code)]
#![deny(missing_docs)]

mod bits;
#[cfg(feature = "board")]
pub mod board;
mod bus;
mod code;
mod cpu;
mod cpu_state;
mod disasm;
mod exec;
mod exit;
mod float;
mod hash_table;
mod interrupt;
mod isa;
mod lanes;
mod level;
mod mmu;
mod op;
mod page_map;
mod ram;
mod region;
mod registers;
mod room;
mod spr;
mod state;
mod step;
mod system;
mod trap;

pub use bus::CpuBus;
pub use cpu::Cpu;
pub use cpu_state::{CpuState, CpuStateError};
pub use disasm::disassemble;
pub use exit::{Exit, Stuck, Unimplemented};
pub use hash_table::{GonePage, HashTable, PageEntry, VirtualPage};
pub use level::Level;
pub use page_map::{PageMap, PageMapSlice};
pub use region::RamRegion;
pub use registers::Registers;
pub use state::{ProcessTable, Stats};
pub use system::System;
