//! What hostile guests and files do to each interface of the machine, and what must hold then.
//!
//! A module each has a function `run`, which takes bytes, whatever they are, makes of them what
//! comes in through that interface, and panics where something does not hold. Fuzzers
//! (`integration/fuzz`) and property tests (`tests`) call it. What it returns tells which of its
//! [`goals`](Target::goals) were met: a target whose goals are never met tests nothing.

mod bus_machine;
mod changes;
mod common_state;
mod descriptors;
mod device_ram;
mod hotplug_machine;
mod input;
mod media;
mod names;
mod pci_machine;
mod process;
mod ram;
mod reach;

pub mod arguments;
pub mod bootinfo;
pub mod bus;
pub mod cas;
pub mod device_states;
pub mod elf;
pub mod fat;
pub mod from_blob;
pub mod hotplug;
pub mod hpt;
pub mod iso9660;
pub mod json;
pub mod labels;
pub mod moves;
pub mod nvram;
pub mod pci_config;
pub mod requests;
pub mod rtas;
pub mod saved;
pub mod sequences;
pub mod virtio_chains;
pub mod virtio_common;
pub mod xive;

pub use reach::Reach;

/// One way in.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes an input; panics where something does not hold.
    pub run: fn(&[u8]) -> Reach,
    /// What inputs can reach, in the order of the bits of [`Reach`].
    pub goals: fn() -> Vec<String>,
    /// Those of them that no input reaches.
    pub beyond: &'static [&'static str],
}

/// The target of a module.
macro_rules! target {
    ($name:ident, $beyond:expr) => {
        Target { name: stringify!($name), run: $name::run, goals: $name::goals, beyond: $beyond }
    };
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target!(arguments, arguments::BEYOND),
    target!(sequences, &[]),
    target!(from_blob, &[]),
    target!(cas, &[]),
    target!(elf, &[]),
    target!(json, &[]),
    target!(rtas, &[]),
    target!(nvram, &[]),
    target!(hotplug, &[]),
    target!(hpt, &[]),
    target!(bus, bus::BEYOND),
    target!(xive, &[]),
    target!(pci_config, &[]),
    target!(virtio_common, &[]),
    target!(virtio_chains, &[]),
    target!(device_states, &[]),
    target!(requests, requests::BEYOND),
    target!(saved, &[]),
    target!(moves, &[]),
    target!(labels, &[]),
    target!(iso9660, &[]),
    target!(fat, &[]),
    target!(bootinfo, &[]),
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
