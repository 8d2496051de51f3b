//! A processor's address translation, which `/chosen` gives clients an instance of as `mmu` (IEEE
//! 1275 §3.5 and Annex A, PowerPC binding §8).
//!
//! A client runs in real mode: every virtual address is the real one, is mapped as long as there
//! is RAM, and cannot be mapped to anything else. Virtual addresses are kept apart from RAM all
//! the same, for clients that claim the two one after the other.

use super::own::Method;
use super::real_address;
use crate::package::{Context, Stack, Throw};
use crate::state::State;

pub(super) const METHODS: &[Method] = &[
    ("claim", claim),
    ("release", release),
    ("translate", translate),
    ("map", map),
    ("modify", modify),
    ("unmap", unmap),
];

/// The storage attributes of RAM in real mode, as `translate` tells them: WIMG and PP of a
/// page-table entry, with memory coherence required, read and write (PowerPC binding, `map`).
const RAM_MODE: u32 = 0x12;

/// What a client passes for "the usual" (PowerPC binding, `map`).
const USUAL_MODE: u32 = u32::MAX;

/// claim ( [virt] size align -- base ) of virtual addresses.
fn claim(state: &mut State, _: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let (align, size) = (stack.pop()?, stack.pop()?);
    let at = if align == 0 { stack.pop()? } else { 0 };
    let claimed = state.virtual_claims.claim(at, size, align);
    stack.push(claimed.map_err(|_| Throw::ABORT)?)
}

/// release ( virt size -- ) of virtual addresses.
fn release(state: &mut State, _: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let (size, virt) = (stack.pop()?, stack.pop()?);
    state.virtual_claims.release(virt, size).map_err(|_| Throw::INVALID_ADDRESS)
}

/// translate ( virt -- false | phys mode true ).
fn translate(state: &mut State, context: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let virt = stack.pop()?;
    if context.check(virt, 1).is_err() {
        return stack.push(0);
    }
    real_address::put(stack, virt, real_address::address_cells(state.memory))?;
    stack.push(RAM_MODE)?;
    stack.push(u32::MAX)
}

/// map ( phys virt size mode -- ): only what is mapped already.
fn map(state: &mut State, context: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    if stack.passed().len() < 4 {
        return Err(Throw::STACK_UNDERFLOW);
    }
    let (mode, size, virt) = (stack.pop()?, stack.pop()?, stack.pop()?);
    is_mapped(context, virt, size, mode)?;
    let cells = real_address::cells_of(state.memory, stack.passed());
    if real_address::take(stack, cells)? == virt {
        return Ok(());
    }
    state.complaints.warn(format_args!(
        "map of {virt:#x} to another real address: there is no translation in real mode"
    ));
    Err(Throw::INVALID_ADDRESS)
}

/// modify ( virt size mode -- ): to the attributes that it has.
fn modify(_: &mut State, context: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let (mode, size, virt) = (stack.pop()?, stack.pop()?, stack.pop()?);
    is_mapped(context, virt, size, mode)
}

/// unmap ( virt size -- ): nothing, for what is mapped stays so in real mode.
fn unmap(_: &mut State, context: &Context<'_>, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let (size, virt) = (stack.pop()?, stack.pop()?);
    is_mapped(context, virt, size, RAM_MODE)
}

fn is_mapped(context: &Context<'_>, virt: u32, size: u32, mode: u32) -> Result<(), Throw> {
    // Write-through, caching-inhibited, guarded and read-only there is not.
    if mode != USUAL_MODE && mode & !RAM_MODE != 0 {
        return Err(Throw::ABORT);
    }
    Ok(context.check(virt, size as usize)?)
}
