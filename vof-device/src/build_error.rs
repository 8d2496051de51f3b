//! Why there can be no client interface.

use vm_memory::GuestAddress;

use crate::tree::SetError;

/// Why there can be no client interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The path of the console names no node.
    #[error("there is no node {path:?} to be the console")]
    NoConsole {
        /// The path.
        path: String,
    },
    /// The path of a package names no node.
    #[error("there is no node {path:?} for a package to be attached to")]
    NoPackageNode {
        /// The path.
        path: String,
    },
    /// A node is to have two packages. The root of a machine that negotiates, `/rtas`, processors,
    /// the memory at 0 and the console have one already.
    #[error("{path} is to have two packages")]
    TwoPackages {
        /// The node.
        path: String,
    },
    /// There is a console and no `/chosen` to tell of it.
    #[error("there is a console, but no node /chosen to hold stdin and stdout")]
    NoChosen,
    /// The root's `#address-cells` or `#size-cells` is not 1 or 2, or too few for the RAM.
    #[error(
        "{address_cells} address and {size_cells} size cells of the root cannot describe RAM that \
         ends at {ram_end:#x}; both must be 1 or 2, and 2 from 4 GiB on"
    )]
    Cells {
        /// The root's `#address-cells`, 2 if it has none.
        address_cells: u32,
        /// The root's `#size-cells`, 1 if it has none.
        size_cells: u32,
        /// Where the RAM ends that they are to describe.
        ram_end: u64,
    },
    /// Memory is reserved that is not RAM.
    #[error("{bytes} bytes at {:#x} are reserved but not all RAM", .start.0)]
    NotRam {
        /// Where they start.
        start: GuestAddress,
        /// How many they are.
        bytes: u64,
    },
    /// A property that the interface itself provides cannot be made.
    #[error("{path} cannot have the property {name}")]
    Property {
        /// The node.
        path: String,
        /// The property.
        name: &'static str,
        /// The reason.
        #[source]
        source: SetError,
    },
    /// A package cannot be opened for `/chosen` to tell of it.
    #[error("{path} cannot be opened for /chosen")]
    Open {
        /// The node.
        path: String,
    },
}
