//! The memory, which `/chosen` gives clients an instance of as `memory` (IEEE 1275 §3.5 and Annex
//! A, PowerPC binding §8).

use super::own::Method;
use super::real_address;
use crate::package::{Context, Stack, Throw};
use crate::state::State;

pub(super) const METHODS: &[Method] = &[("claim", claim), ("release", release)];

/// claim ( [addr] size align -- base ).
fn claim(state: &mut State, context: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let (align, size) = (stack.pop()?, stack.pop()?);
    let cells = real_address::cells_of(state.memory, stack.passed());
    let at = match align {
        0 => real_address::take(stack, cells)?,
        // It means nothing, and need not be there.
        _ => 0,
    };
    let claimed = state.claim(context.guest(), at, size, align);
    real_address::put(stack, claimed.map_err(|_| Throw::ABORT)?, cells)
}

/// release ( addr size -- ).
fn release(state: &mut State, _: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let size = stack.pop()?;
    let cells = real_address::cells_of(state.memory, stack.passed());
    let at = real_address::take(stack, cells)?;
    state.claims.release(at, size).map_err(|_| Throw::INVALID_ADDRESS)
}
