//! A plain model of the client interface: what clients must get, by rules that can be read in one
//! sitting, however slow they are.
//!
//! A [`Session`] makes calls, one [`Step`] after the other, and compares each answer with the
//! [`Model`]'s. Property tests and fuzzers choose the steps; [`Step::from_bytes`] is for the
//! latter.

mod bytes;
mod memory;
mod methods;
mod session;
mod step;
mod tree;

pub use memory::Memory;
pub use session::Session;
pub use step::{Change, Pick, Space, Step};
pub use tree::{Node, Row, Tree};

/// What the client interface is to know.
#[derive(Debug, Clone)]
pub struct Model {
    /// The tree.
    pub tree: Tree,
    /// Which memory is free.
    pub memory: Memory,
    /// Which virtual addresses are free, for those who claim them apart from memory.
    pub virtual_memory: Memory,
    /// Ihandles with what they are of: a node, and arguments.
    pub instances: Vec<(u32, usize, String)>,
    /// The function that was set with `set-callback`.
    pub callback: u32,
}
