//! The methods by which a system and its platform come together: those of the root and of `/rtas`.

use arch_ppc64::cas::TreeChange;
use arch_ppc64::rtas;
use vm_memory::GuestAddress;

use super::{Left, Throw};
use crate::limits::{MAX_ARCHITECTURE_VECTOR_BYTES, MAX_NEGOTIATED_BYTES};
use crate::policy::changes_what_is_fixed;
use crate::services::{Call, MINUS_ONE};

/// ibm,client-architecture-support (vectors -- failed?) of the root (LoPAPR §B.6.2.3).
///
/// The changes that the machine makes are all made, or none is.
pub(super) fn negotiate(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[vectors_at, ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
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
    if bytes_of(&changes) > MAX_NEGOTIATED_BYTES {
        let limit = MAX_NEGOTIATED_BYTES;
        state.complaints.tell(format_args!("negotiation sets more than {limit} bytes"));
        return Ok(MINUS_ONE.into());
    }
    if let Err(error) = state.tree.apply(&changes, changes_what_is_fixed) {
        // A client can have filled a node.
        state.complaints.tell(format_args!("negotiation {error}"));
        return Ok(MINUS_ONE.into());
    }
    Ok(0.into())
}

fn bytes_of(changes: &[TreeChange]) -> usize {
    let set = changes.iter().map(|change| match change {
        TreeChange::Set { name, value, .. } => name.len() + value.len(),
        TreeChange::Remove { .. } => 0,
    });
    set.sum()
}

/// instantiate-rtas (base -- entry) of `/rtas` (LoPAPR §B.6.4.2 and §7.2.5).
pub(super) fn instantiate_rtas(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[base, ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let entry = rtas::instantiate(call.guest.ram(), GuestAddress(base.into()));
    match entry {
        Ok(entry) => u32::try_from(entry.0).map(Left::from).map_err(|_| Throw::ABORT),
        Err(error) => {
            call.state.complaints.tell(format_args!("instantiate-rtas: {error}"));
            Err(Throw::ABORT)
        }
    }
}
