//! The methods by which a system and its platform come together: those of the root and of `/rtas`.

use arch_ppc64::cas::TreeChange;
use arch_ppc64::rtas;
use vm_memory::GuestAddress;

use super::{Left, Throw};
use crate::limits::MAX_ARCHITECTURE_VECTOR_BYTES;
use crate::services::{Call, MINUS_ONE};

/// ibm,client-architecture-support (vectors -- failed?) of the root (LoPAPR §B.6.2.3).
///
/// The changes that the machine makes are all made, or none is.
pub(super) fn negotiate(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[vectors_at] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let mut vectors = vec![0; MAX_ARCHITECTURE_VECTOR_BYTES];
    let vectors = call.guest.read_available(vectors_at.into(), &mut vectors);
    if vectors.is_empty() {
        return Err(Throw::INVALID_ADDRESS);
    }
    let state = &mut *call.state;
    let cas = state.cas.as_mut().ok_or(Throw::UNDEFINED_WORD)?;
    let changes = match cas.negotiate(vectors) {
        Ok(changes) => changes,
        Err(refusal) => {
            let reason = std::error::Error::source(&refusal).map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            state.complaints.tell(format_args!("{refusal}: {reason}"));
            return Ok(MINUS_ONE.into());
        }
    };
    let mut tree = state.tree.clone();
    for change in changes {
        let (TreeChange::Set { path, name, .. } | TreeChange::Remove { path, name }) = &change;
        let Some(node) = tree.find(path).filter(|&node| tree.path(node) == *path) else {
            let complaints = &mut state.complaints;
            complaints.tell(format_args!("negotiation changes {name} of {path}, which is no node"));
            return Ok(MINUS_ONE.into());
        };
        let done = match &change {
            TreeChange::Set { value, .. } => tree.set_property(node, name, value),
            TreeChange::Remove { .. } => {
                tree.remove_property(node, name);
                Ok(())
            }
        };
        if let Err(error) = done {
            // A client can have filled the node.
            let complaints = &mut state.complaints;
            complaints.tell(format_args!("negotiation cannot set {name} of {path}: {error}"));
            return Ok(MINUS_ONE.into());
        }
    }
    state.tree = tree;
    Ok(0.into())
}

/// instantiate-rtas (base -- entry) of `/rtas` (LoPAPR §B.6.4.2 and §7.2.5).
pub(super) fn instantiate_rtas(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[base] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let entry = rtas::instantiate(call.guest.ram(), GuestAddress(base.into()));
    match entry {
        Ok(entry) => u32::try_from(entry.0).map(Left::from).map_err(|_| Throw::ABORT),
        Err(error) => {
            call.state.complaints.tell(format_args!("instantiate-rtas: {error}"));
            Err(Throw::ABORT)
        }
    }
}
