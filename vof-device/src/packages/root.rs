//! The root, where a system and its platform come together.

use std::sync::{Arc, Mutex};

use arch_ppc64::cas::TreeChange;

use crate::args::Failed;
use crate::interface::lock;
use crate::limits::{MAX_ARCHITECTURE_VECTOR_BYTES, MAX_NEGOTIATED_BYTES};
use crate::package::{Context, Instance, Package, Progress, Stack, Throw};
use crate::policy::changes_what_is_fixed;
use crate::state::State;

pub(super) const METHODS: [&str; 1] = ["ibm,client-architecture-support"];

/// The root of a machine that negotiates.
pub(crate) struct RootPackage(pub(crate) Arc<Mutex<State>>);

impl Package for RootPackage {
    fn open(&self, _arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(Self(self.0.clone())))
    }

    fn methods(&self) -> &[&'static str] {
        &METHODS
    }
}

impl Instance for RootPackage {
    /// ibm,client-architecture-support (vectors -- failed?) (LoPAPR §B.6.2.3).
    fn method(
        &mut self,
        context: &Context<'_>,
        name: &str,
        stack: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        if name != METHODS[0] {
            return Err(Throw::UNDEFINED_WORD);
        }
        let vectors_at = stack.pop()?;
        let mut vectors = vec![0; MAX_ARCHITECTURE_VECTOR_BYTES];
        let vectors = context.guest().read_available(vectors_at.into(), &mut vectors);
        if vectors.is_empty() {
            return Err(Throw::INVALID_ADDRESS);
        }
        let agreed = negotiate(&mut lock(&self.0), vectors)?;
        stack.push(if agreed { 0 } else { u32::MAX })?;
        Ok(Progress::Done)
    }
}

/// The changes that the machine makes are all made, or none is.
fn negotiate(state: &mut State, vectors: &[u8]) -> Result<bool, Throw> {
    let cas = state.cas.as_mut().ok_or(Throw::UNDEFINED_WORD)?;
    let changes = match cas.negotiate(vectors) {
        Ok(changes) => changes,
        Err(refusal) => {
            let reason = std::error::Error::source(&refusal).map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            state.complaints.tell(format_args!("{refusal}: {reason}"));
            return Ok(false);
        }
    };
    if bytes_of(&changes) > MAX_NEGOTIATED_BYTES {
        let limit = MAX_NEGOTIATED_BYTES;
        state.complaints.tell(format_args!("negotiation sets more than {limit} bytes"));
        return Ok(false);
    }
    if let Err(error) = state.tree.apply(&changes, changes_what_is_fixed) {
        // A client can have filled a node.
        state.complaints.tell(format_args!("negotiation {error}"));
        return Ok(false);
    }
    Ok(true)
}

fn bytes_of(changes: &[TreeChange]) -> usize {
    let set = changes.iter().map(|change| match change {
        TreeChange::Set { name, value, .. } => name.len() + value.len(),
        TreeChange::Remove { .. } => 0,
    });
    set.sum()
}
