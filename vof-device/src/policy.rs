//! What the machine decides: how it negotiates with its guest, and what a client may change.

use std::error::Error;
use std::fmt;

use arch_ppc64::cas::{self, Decision, TreeChange};

/// Negotiates with the guest's system: `ibm,client-architecture-support` (LoPAPR §B.6.2.3).
///
/// A [`Platform`](cas::Platform) is one, and so is any closure of the right type.
pub trait CasPolicy: Send {
    /// What is agreed on, given what the guest says it supports. It holds when the machine's
    /// [`VcpuHost`](arch_ppc64::VcpuHost::negotiated) can make it so.
    ///
    /// `vectors` is as much of guest memory from the structure's address on as there is, up to
    /// [`MAX_ARCHITECTURE_VECTOR_BYTES`](crate::limits::MAX_ARCHITECTURE_VECTOR_BYTES): where the
    /// structure ends is for its reader to find. A client may negotiate more than once. A
    /// property of a change that is set twice has the last value.
    ///
    /// Some of what the machine is stays, and changes of it fail: `name`, `reg`, `ranges`,
    /// `assigned-addresses`, `phandle`, all that start with `#`, `/memory`'s `available`, the
    /// handles in `/chosen`, and which nodes are processors and memory. So do changes of more than
    /// [`MAX_NEGOTIATED_BYTES`](crate::limits::MAX_NEGOTIATED_BYTES).
    ///
    /// # Errors
    /// [`CasRefusal`]: the client gets "failed", and the tree stays as it is.
    fn negotiate(&mut self, vectors: &[u8]) -> Result<Agreement, CasRefusal>;
}

impl<F, A> CasPolicy for F
where
    F: FnMut(&[u8]) -> Result<A, CasRefusal> + Send,
    A: Into<Agreement>,
{
    fn negotiate(&mut self, vectors: &[u8]) -> Result<Agreement, CasRefusal> {
        self(vectors).map(Into::into)
    }
}

impl CasPolicy for cas::Platform {
    fn negotiate(&mut self, vectors: &[u8]) -> Result<Agreement, CasRefusal> {
        cas::negotiate(self, vectors).map(Into::into).map_err(CasRefusal::new)
    }
}

/// What comes of a negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreement {
    /// What the machine's CPUs have to do with it: for
    /// [`VcpuHost::negotiated`](arch_ppc64::VcpuHost::negotiated). `None`: nothing.
    pub decision: Option<Decision>,
    /// What it changes in the tree.
    pub changes: Vec<TreeChange>,
}

impl From<(Decision, Vec<TreeChange>)> for Agreement {
    fn from((decision, changes): (Decision, Vec<TreeChange>)) -> Self {
        Self { decision: Some(decision), changes }
    }
}

impl From<Vec<TreeChange>> for Agreement {
    /// An agreement that no CPU has to do with.
    fn from(changes: Vec<TreeChange>) -> Self {
        Self { decision: None, changes }
    }
}

/// The machine cannot be what the guest's system needs, or what it says cannot be understood.
#[derive(Debug)]
pub struct CasRefusal(Box<dyn Error + Send + Sync>);

impl CasRefusal {
    /// A refusal for this reason, which goes to the log.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for CasRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guest's system and the machine do not agree")
    }
}

impl Error for CasRefusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Decides which properties a client may set, and learns of those that were.
///
/// Properties that say what the machine is are never up to a policy: `name`, `reg`, `ranges`,
/// `device_type`, `compatible`, `model`, `status`, `phandle`, all that start with `#`, `ibm,`,
/// `interrupt` or `dma-`, `/memory`'s `available`, and the handles in `/chosen` (`stdin`,
/// `stdout`, `memory`, `mmu`).
pub trait PropertyPolicy: Send {
    /// Whether a client may give the property `name` of the node `path` this value.
    fn may_set(&self, path: &str, name: &str, value: &[u8]) -> bool;

    /// A client has given the property `name` of the node `path` this value.
    fn was_set(&mut self, path: &str, name: &str, value: &[u8]) {
        let _ = (path, name, value);
    }
}

/// What clients are known to set, and nothing else; nobody learns of it.
///
/// In `/chosen`, `bootargs` and what starts with `linux,`; in `/rtas`, `linux,rtas-base` and
/// `linux,rtas-entry`; in `/options`, everything: its properties are settings, and setting them
/// by `setprop` is how a client changes one (IEEE 1275 §3.5 and §7.4.4.1). A machine with non-volatile
/// memory ([`arch_ppc64::nvram`]) keeps a setting; else it lasts until the machine starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownProperties;

impl PropertyPolicy for KnownProperties {
    fn may_set(&self, path: &str, name: &str, _value: &[u8]) -> bool {
        match path {
            "/chosen" => name == "bootargs" || name.starts_with("linux,"),
            "/rtas" => matches!(name, "linux,rtas-base" | "linux,rtas-entry"),
            "/options" => true,
            _ => false,
        }
    }
}

/// Whether a property stays as it was built, whoever wants to change it.
fn is_fixed(path: &str, name: &str) -> bool {
    const NAMES: [&str; 6] =
        ["name", "reg", "ranges", "phandle", "linux,phandle", "assigned-addresses"];
    NAMES.contains(&name)
        || name.starts_with('#')
        || path.starts_with("/memory") && name == "available"
        || path == "/chosen" && matches!(name, "stdin" | "stdout" | "memory" | "mmu")
}

/// Whether a change of a property from `before` to `after` (`None` for none) is of what stays: what
/// [`is_fixed`], and which nodes are processors and memory.
pub(crate) fn changes_what_is_fixed(
    path: &str,
    name: &str,
    before: Option<&[u8]>,
    after: Option<&[u8]>,
) -> bool {
    let is_role = |value: Option<&[u8]>| matches!(value, Some(b"cpu\0" | b"memory\0"));
    let changes_role = || name == "device_type" && (is_role(before) || is_role(after));
    before != after && (is_fixed(path, name) || changes_role())
}

/// Whether a property says what the machine is.
pub(crate) fn is_structural(path: &str, name: &str) -> bool {
    const NAMES: [&str; 4] = ["device_type", "compatible", "model", "status"];
    const STARTS: [&str; 3] = ["ibm,", "interrupt", "dma-"];
    is_fixed(path, name)
        || NAMES.contains(&name)
        || STARTS.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_properties_are_those_that_clients_set() {
        let may = |path: &str, name: &str| KnownProperties.may_set(path, name, b"");
        assert!(may("/chosen", "bootargs"));
        assert!(may("/chosen", "linux,initrd-start"));
        assert!(may("/rtas", "linux,rtas-entry"));
        assert!(may("/options", "boot-command"));
        assert!(!may("/chosen", "rust-vmm,client"));
        assert!(!may("/rtas", "rtas-size"));
        assert!(!may("/", "linux,anything"));
    }

    #[test]
    fn what_the_machine_is_stays() {
        for name in ["reg", "#address-cells", "#size-cells", "phandle", "device_type", "name"] {
            assert!(is_structural("/options", name), "{name}");
        }
        assert!(is_structural("/rtas", "ibm,hypertas-functions"));
        assert!(is_structural("/memory@0", "available"));
        assert!(is_structural("/chosen", "stdout"));
        assert!(!is_structural("/chosen", "linux,stdout-path"));
        assert!(!is_structural("/options", "stdout"));
    }
}
