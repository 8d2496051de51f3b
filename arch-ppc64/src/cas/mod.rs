//! Client architecture support: what guest and platform agree on at the guest's start
//! (LoPAPR §B.6.2.3, "ibm,client-architecture-support").
//!
//! The guest hands over a structure that lists the processors it knows and, in *option vectors*,
//! what else it supports. [`Proposal::parse`] types it; [`Decision::new`] is what this
//! [`Platform`] makes of it; [`Decision::changes`] is what that does to the device tree.
//! [`negotiate`] is all three. Everything here is a pure function of its arguments: a guest may
//! negotiate any number of times (a boot loader first, then its kernel), and the last time
//! counts.
//!
//! A guest that knows the machine's processor gets it as it is. One that does not, because it is
//! older, gets the highest architecture level that both know. The lowest is POWER8's, where the machine
//! has hashed page tables and XICS, which are all that there is at that level, and POWER9's elsewhere.
//! Whoever holds the CPUs to that level hears of it by
//! [`VcpuHost::negotiated`](crate::VcpuHost::negotiated).
//!
//! ```
//! use arch_ppc64::cas;
//! # use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
//! # struct Config;
//! # impl MachineConfig for Config {
//! #     fn memory(&self) -> Memory { Memory::of_size(512 << 20) }
//! #     fn cpus(&self) -> Cpus { Cpus::new(1, Default::default()) }
//! #     fn boot(&self) -> Boot<'_> { Boot::new("") }
//! #     fn x_vof(&self) -> bool { true }
//! # }
//! # let machine = arch_ppc64::Machine::new(&Config)?;
//! // What a boot loader sends: no processor, and one vector that says "ignore me".
//! let vectors = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80];
//! let (decision, changes) = cas::negotiate(&cas::Platform::of(&machine), &vectors)?;
//! assert_eq!(decision.mmu, cas::Mmu::Radix);
//! assert!(changes.iter().any(|change| matches!(change,
//!     cas::TreeChange::Set { name, .. } if name == "ibm,architecture-vec-5")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agree;
pub(crate) mod decision;
mod platform;
mod proposal;
mod vectors;

pub use decision::{Decision, InterruptMode, Mmu, Negotiated, Support};
pub use platform::{Platform, platform_support};
pub use proposal::{MAX_PROCESSORS, MAX_VECTOR_BYTES, ProcessorPattern, Proposal};
pub use vectors::{
    ArchitectureLevels, EntitlementOptions, FirmwareOptions, PlatformOptions, ProcessorOptions,
};

/// A change to the device tree that negotiation makes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeChange {
    /// A property gets a value; it is added where the node does not have it.
    Set {
        /// Full path of the node.
        path: String,
        /// Name of the property.
        name: String,
        /// Its new value.
        value: Vec<u8>,
    },
    /// A property of every child of a node gets a value, of those that have the property: one change
    /// for all cores of a machine.
    SetChildren {
        /// Full path of the parent.
        path: String,
        /// Name of the property.
        name: String,
        /// Its new value.
        value: Vec<u8>,
    },
    /// A property goes, if the node has it.
    Remove {
        /// Full path of the node.
        path: String,
        /// Name of the property.
        name: String,
    },
    /// A node gets another name. Its phandle stays; changes that follow find it by its new path. Where
    /// there is a node of that path already and none of the old one, it has been renamed before.
    Rename {
        /// Full path of the node before.
        path: String,
        /// Its new name, with the unit address.
        name: String,
    },
}

impl TreeChange {
    /// Full path of the node, or of the parent.
    pub fn path(&self) -> &str {
        let (path, _, _) = self.parts();
        path
    }

    /// Name of the property, or the node's new name.
    pub fn name(&self) -> &str {
        let (_, name, _) = self.parts();
        name
    }

    /// The property's new value; `None` where it goes, or where no property is changed.
    pub fn value(&self) -> Option<&[u8]> {
        let (_, _, value) = self.parts();
        value
    }

    fn parts(&self) -> (&str, &str, Option<&[u8]>) {
        match self {
            Self::Set { path, name, value } | Self::SetChildren { path, name, value } => {
                (path, name, Some(value))
            }
            Self::Remove { path, name } | Self::Rename { path, name } => (path, name, None),
        }
    }

    /// The path that a node of this path has with another name; `None` for the root, which has no
    /// name.
    pub fn renamed(path: &str, name: &str) -> Option<String> {
        let (parent, old) = path.rsplit_once('/')?;
        (!old.is_empty()).then(|| format!("{parent}/{name}"))
    }
}

/// Why there is no agreement. The guest gets "failed", and its tree stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CasError {
    /// The structure goes on where there are no more bytes.
    #[error("the guest's architecture vectors are cut off at byte {at}")]
    Truncated {
        /// Offset of the first byte that is missing.
        at: usize,
    },
    /// The list of processors has no end within [`MAX_PROCESSORS`] entries.
    #[error("the guest's list of processors has no end within {MAX_PROCESSORS} entries")]
    EndlessProcessors,
    /// The guest does not know the machine's processor, nor an architecture level that it can be
    /// held to.
    #[error(
        "the guest's list of processors has neither this machine's ({pvr:#010x}) nor an \
         architecture level from {lowest:#010x} to {logical_pvr:#010x}"
    )]
    Processor {
        /// The processor version register.
        pvr: u32,
        /// Its own architecture level.
        logical_pvr: u32,
        /// The lowest level that it can be held to.
        lowest: u32,
    },
    /// The guest translates addresses in no way that the machine has.
    #[error("the guest translates addresses by {0}, which this machine does not do")]
    Mmu(Support<Mmu>),
    /// The guest takes interrupts in no way that the machine has.
    #[error("the guest takes interrupts by {0}, which this machine does not do")]
    Interrupts(Support<InterruptMode>),
}

/// Negotiates: `vectors` is guest memory from the structure's address on, as much as there is, up
/// to [`MAX_VECTOR_BYTES`]; what lies behind the structure is not looked at.
///
/// Returns what is agreed, and what that changes in the tree. The changes are all that any
/// agreement may change, whether it has its value already or not, so they hold whatever was
/// agreed before.
///
/// # Errors
/// [`CasError`] when the structure is malformed, or when the machine cannot be what the guest
/// needs.
pub fn negotiate(
    platform: &Platform,
    vectors: &[u8],
) -> Result<(Decision, Vec<TreeChange>), CasError> {
    let decision = Decision::new(&Proposal::parse(vectors)?, platform)?;
    let changes = decision.changes(platform);
    Ok((decision, changes))
}

#[cfg(test)]
mod tests;
