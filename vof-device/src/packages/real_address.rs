//! Real addresses on a stack: as many cells as the root says, but clients of 32 bits are known to
//! pass one, whatever the root says, and get one.

use crate::memory_node::MemoryNode;
use crate::package::{Stack, Throw};

/// Cells of a real address, where so many were passed.
pub(super) fn cells_of(memory: Option<MemoryNode>, passed: &[u32]) -> usize {
    let cells = address_cells(memory);
    if passed.is_empty() { cells } else { cells.min(passed.len()) }
}

/// Cells of a real address.
pub(super) fn address_cells(memory: Option<MemoryNode>) -> usize {
    memory.map_or(1, |memory| memory.address_cells)
}

/// A real address of so many cells, the most significant first, as it lies on the stack. Only
/// those below 4 GiB are of use to a client.
pub(super) fn take(stack: &mut Stack<'_>, cells: usize) -> Result<u32, Throw> {
    let address = match (cells, stack.passed()) {
        (0 | 1, &[address, ..]) => address,
        (_, &[0, address, ..]) => {
            stack.pop()?;
            address
        }
        (_, &[_, _, ..]) => return Err(Throw::INVALID_ADDRESS),
        _ => return Err(Throw::STACK_UNDERFLOW),
    };
    stack.pop()?;
    Ok(address)
}

/// Puts an address on top: its cells, the least significant one first.
pub(super) fn put(stack: &mut Stack<'_>, address: u32, cells: usize) -> Result<(), Throw> {
    stack.push(address)?;
    if cells > 1 { stack.push(0) } else { Ok(()) }
}
