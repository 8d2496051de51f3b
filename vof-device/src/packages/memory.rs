//! The memory, which `/chosen` gives clients an instance of as `memory` (IEEE 1275 §3.5 and Annex
//! A, PowerPC binding §8).

use std::sync::{Arc, Mutex};

use super::real_address;
use crate::args::Failed;
use crate::interface::lock;
use crate::package::{Context, Instance, Package, Progress, Stack, Throw};
use crate::state::State;

pub(super) const METHODS: [&str; 2] = ["claim", "release"];

/// The memory that starts at 0.
pub(crate) struct MemoryPackage(pub(crate) Arc<Mutex<State>>);

impl Package for MemoryPackage {
    fn open(&self, _arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(Self(self.0.clone())))
    }

    fn methods(&self) -> &[&'static str] {
        &METHODS
    }
}

impl Instance for MemoryPackage {
    fn method(
        &mut self,
        context: &Context<'_>,
        name: &str,
        stack: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        let mut state = lock(&self.0);
        match name {
            "claim" => claim(&mut state, context, stack),
            "release" => release(&mut state, stack),
            _ => Err(Throw::UNDEFINED_WORD),
        }
    }
}

/// claim ( [addr] size align -- base ).
fn claim(
    state: &mut State,
    context: &Context<'_>,
    stack: &mut Stack<'_>,
) -> Result<Progress, Throw> {
    let (align, size) = (stack.pop()?, stack.pop()?);
    let cells = real_address::cells_of(state.memory, stack.passed());
    let at = match align {
        0 => real_address::take(stack, cells)?,
        // It means nothing, and need not be there.
        _ => 0,
    };
    let claimed = state.claim(context.guest(), at, size, align);
    real_address::put(stack, claimed.map_err(|_| Throw::ABORT)?, cells)?;
    Ok(Progress::Done)
}

/// release ( addr size -- ).
fn release(state: &mut State, stack: &mut Stack<'_>) -> Result<Progress, Throw> {
    let size = stack.pop()?;
    let cells = real_address::cells_of(state.memory, stack.passed());
    let at = real_address::take(stack, cells)?;
    state.claims.release(at, size).map_err(|_| Throw::INVALID_ADDRESS)?;
    Ok(Progress::Done)
}
