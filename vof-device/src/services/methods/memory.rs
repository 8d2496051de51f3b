//! The methods of the memory and of the processor's address translation, which `/chosen` gives
//! clients instances of as `memory` and `mmu` (IEEE 1275 §3.5 and Annex A, PowerPC binding §8).
//!
//! A client runs in real mode: every virtual address is the real one, is mapped as long as there
//! is RAM, and cannot be mapped to anything else. Virtual addresses are kept apart from RAM all
//! the same, for clients that claim the two one after the other.

use super::{Left, Throw};
use crate::services::Call;

/// The storage attributes of RAM in real mode, as `translate` tells them: WIMG and PP of a
/// page-table entry, with memory coherence required, read and write (PowerPC binding, `map`).
const RAM_MODE: u32 = 0x12;

/// What a client passes for "the usual" (PowerPC binding, `map`).
const USUAL_MODE: u32 = u32::MAX;

/// claim ( [addr] size align -- base ) of memory.
///
/// Real addresses have as many cells as the root says, but clients of 32 bits are known to pass
/// one, whatever the root says: they get one.
pub(super) fn claim(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[align, size, ref address @ ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let cells = cells_of(call, address);
    let at = match align {
        0 => real_address(address, cells)?,
        // It means nothing, and need not be there.
        _ => 0,
    };
    let claimed = call.claim(at, size, align);
    let base = claimed.map_err(|_| Throw::ABORT)?;
    Ok(Left::default().and_address(base, cells))
}

/// release ( addr size -- ) of memory.
pub(super) fn release(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[size, ref address @ ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let at = real_address(address, cells_of(call, address))?;
    let released = call.state.claims.release(at, size);
    released.map(|()| Left::default()).map_err(|_| Throw::INVALID_ADDRESS)
}

/// claim ( [virt] size align -- base ) of virtual addresses.
pub(super) fn claim_virtual(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[align, size, ref virt @ ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let at = match (align, virt.first()) {
        (0, Some(&virt)) => virt,
        (0, None) => return Err(Throw::STACK_UNDERFLOW),
        _ => 0,
    };
    let claimed = call.state.virtual_claims.claim(at, size, align);
    claimed.map(Left::from).map_err(|_| Throw::ABORT)
}

/// release ( virt size -- ) of virtual addresses.
pub(super) fn release_virtual(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[size, virt, ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let released = call.state.virtual_claims.release(virt, size);
    released.map(|()| Left::default()).map_err(|_| Throw::INVALID_ADDRESS)
}

/// translate ( virt -- false | phys mode true ).
pub(super) fn translate(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[virt, ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    if call.guest.check(virt, 1).is_err() {
        return Ok(0.into());
    }
    let physical = Left::default().and_address(virt, address_cells(call));
    Ok(physical.and(RAM_MODE).and(u32::MAX))
}

/// map ( phys virt size mode -- ): only what is mapped already.
pub(super) fn map(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[mode, size, virt, ref address @ ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let cells = cells_of(call, address);
    is_mapped(call, virt, size, mode)?;
    if real_address(address, cells)? == virt {
        Ok(Left::default())
    } else {
        call.state.complaints.tell(format_args!(
            "map of {virt:#x} to another real address: there is no translation in real mode"
        ));
        Err(Throw::INVALID_ADDRESS)
    }
}

/// modify ( virt size mode -- ): to the attributes that it has.
pub(super) fn modify(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[mode, size, virt, ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    is_mapped(call, virt, size, mode)
}

/// unmap ( virt size -- ): nothing, for what is mapped stays so in real mode.
pub(super) fn unmap(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[size, virt, ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    is_mapped(call, virt, size, RAM_MODE)
}

fn is_mapped(call: &Call<'_>, virt: u32, size: u32, mode: u32) -> Result<Left, Throw> {
    // Write-through, caching-inhibited, guarded and read-only there is not.
    if mode != USUAL_MODE && mode & !RAM_MODE != 0 {
        return Err(Throw::ABORT);
    }
    call.guest.check(virt, size as usize)?;
    Ok(Left::default())
}

/// Cells of a real address.
fn address_cells(call: &Call<'_>) -> usize {
    call.state.memory.map_or(1, |memory| memory.address_cells)
}

/// Cells of a real address, where so many were passed.
fn cells_of(call: &Call<'_>, passed: &[u32]) -> usize {
    let cells = address_cells(call);
    if passed.is_empty() { cells } else { cells.min(passed.len()) }
}

/// A real address of so many cells, the most significant first, as it lies on the stack. Only
/// those below 4 GiB are of use to a client.
fn real_address(stack: &[u32], cells: usize) -> Result<u32, Throw> {
    match (cells, stack) {
        (0 | 1, &[address, ..]) | (_, &[0, address, ..]) => Ok(address),
        (_, &[_, _, ..]) => Err(Throw::INVALID_ADDRESS),
        _ => Err(Throw::STACK_UNDERFLOW),
    }
}
