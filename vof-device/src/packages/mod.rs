//! The interface's own packages. What a method takes and leaves is written as in IEEE 1275: the top
//! of the stack last.

mod console;
mod memory;
mod mmu;
mod own;
mod real_address;
mod root;
mod rtas;

use std::sync::{Arc, Mutex};

use crate::state::State;
#[cfg(any(test, feature = "test-utils"))]
use crate::{block, network};

pub(crate) use console::ConsolePackage;
pub(crate) use own::OwnPackage;

/// The root of a machine that negotiates.
pub(crate) fn root(state: &Arc<Mutex<State>>) -> OwnPackage {
    OwnPackage::new(state, root::METHODS)
}

/// `/rtas`.
pub(crate) fn rtas(state: &Arc<Mutex<State>>) -> OwnPackage {
    OwnPackage::new(state, rtas::METHODS)
}

/// The memory that starts at 0.
pub(crate) fn memory(state: &Arc<Mutex<State>>) -> OwnPackage {
    OwnPackage::new(state, memory::METHODS)
}

/// The translation of any processor.
pub(crate) fn mmu(state: &Arc<Mutex<State>>) -> OwnPackage {
    OwnPackage::new(state, mmu::METHODS)
}

/// The packages' names, and those of their methods, with all features.
#[cfg(any(test, feature = "test-utils"))]
pub(crate) fn method_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = [
        ("/", root::METHODS),
        ("/rtas", rtas::METHODS),
        ("memory", memory::METHODS),
        ("mmu", mmu::METHODS),
    ];
    let own = own
        .into_iter()
        .flat_map(|(package, methods)| methods.iter().map(move |&(name, _)| (package, name)));
    own.chain(console::METHODS.map(|name| ("console", name)))
        .chain(block::METHODS.map(|name| ("block", name)))
        .chain(network::METHODS.map(|name| ("network", name)))
}
