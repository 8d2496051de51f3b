//! The root, where a system and its platform come together.

use arch_ppc64::cas::{Decision, Negotiated};

use super::own::Method;
use crate::limits::{MAX_ARCHITECTURE_VECTOR_BYTES, MAX_NEGOTIATED_BYTES};
use crate::package::{Context, Stack, Throw};
use crate::policy::{Agreement, changes_what_is_fixed};
use crate::state::State;

pub(super) const METHODS: &[Method] = &[("ibm,client-architecture-support", support)];

/// ibm,client-architecture-support (vectors -- failed?) (LoPAPR §B.6.2.3).
fn support(state: &mut State, context: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let vectors_at = stack.pop()?;
    let mut vectors = vec![0; MAX_ARCHITECTURE_VECTOR_BYTES];
    let vectors = context.guest().read_available(vectors_at.into(), &mut vectors);
    if vectors.is_empty() {
        return Err(Throw::INVALID_ADDRESS);
    }
    let agreed = negotiate(state, vectors)?;
    stack.push(if agreed { 0 } else { u32::MAX })
}

/// The changes that the machine makes are all made, or none is; and none before its CPUs have
/// heard of the decision and taken it.
fn negotiate(state: &mut State, vectors: &[u8]) -> Result<bool, Throw> {
    let cas = state.cas.as_mut().ok_or(Throw::UNDEFINED_WORD)?;
    let Agreement { decision, changes } = match cas.negotiate(vectors) {
        Ok(agreement) => agreement,
        Err(refusal) => {
            let reason = std::error::Error::source(&refusal).map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            state.complaints.warn(format_args!("{refusal}: {reason}"));
            return Ok(false);
        }
    };
    if state.tree.changed_bytes(&changes) > MAX_NEGOTIATED_BYTES {
        let limit = MAX_NEGOTIATED_BYTES;
        state.complaints.warn(format_args!("negotiation sets more than {limit} bytes"));
        return Ok(false);
    }
    let checked = match state.tree.check_changes(&changes, changes_what_is_fixed) {
        Ok(checked) => checked,
        Err(error) => {
            // A client can have filled a node.
            state.complaints.warn(format_args!("negotiation {error}"));
            return Ok(false);
        }
    };
    match decision.map(|decision| (decision, tell(state, &decision))) {
        None | Some((_, Negotiated::Live)) => {}
        Some((decision, Negotiated::NeedsReset)) => {
            // The same start again, but for what is agreed on.
            state.boot_arguments = state.passed_arguments.clone();
            state.restart = Some(decision);
            return Ok(true);
        }
        Some((decision, _)) => {
            state.complaints.warn(format_args!(
                "the host refuses what was negotiated: cpu-version {:#010x}, {}, {}",
                decision.cpu_version, decision.mmu, decision.interrupts
            ));
            return Ok(false);
        }
    }
    // Checked: this cannot fail.
    state.tree.make(checked).map_err(|_| Throw::ABORT)?;
    Ok(true)
}

/// Tells the machine's CPUs. Without somebody who could change them, they are as they started.
fn tell(state: &State, decision: &Decision) -> Negotiated {
    match &state.cpus {
        Some((cpus, _)) => cpus.negotiated(decision),
        None if decision.is_as_started() => Negotiated::Live,
        None => Negotiated::Refused,
    }
}
