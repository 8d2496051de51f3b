//! The methods of a disk (IEEE 1275 §3.7.2, §3.8.2 and §3.8.3).
//!
//! What a method takes and leaves is written as there: the top of the stack last.

use super::{OpenDisk, Way};
use crate::block::access::Moved;
use crate::block::task::Place;
use crate::limits::MAX_DISK_TRANSFER_BYTES;
use crate::package::{Context, Progress, Stack, Throw};

/// All of them. The first three are services, too.
pub(crate) const NAMES: [&str; 12] = [
    "read",
    "write",
    "seek",
    "load",
    "read-blocks",
    "write-blocks",
    "block-size",
    "#blocks",
    "max-transfer",
    "dma-alloc",
    "dma-free",
    "offset",
];

/// What memory for transfers begins at a multiple of, in bytes.
const DMA_ALIGN_BYTES: u32 = 4096;

/// Calls one.
pub(super) fn call(
    open: &mut OpenDisk,
    context: &Context<'_>,
    name: &str,
    stack: &mut Stack<'_>,
) -> Result<Progress, Throw> {
    match name {
        "load" => return load(open, context, stack),
        "read-blocks" => return blocks(Way::Read, open, context, stack),
        "write-blocks" => return blocks(Way::Write, open, context, stack),
        // ( -- block-len )
        "block-size" => stack.push(open.disk().block_bytes())?,
        // ( -- #blocks ): of the whole disk; −1 where a cell cannot tell.
        "#blocks" => {
            let blocks = open.disk().whole.bytes() / u64::from(open.disk().block_bytes());
            stack.push(u32::try_from(blocks).unwrap_or(u32::MAX))?;
        }
        // ( -- max-len ): what is moved at once. More is moved as well.
        "max-transfer" => stack.push(MAX_DISK_TRANSFER_BYTES as u32)?,
        // ( size -- virt )
        "dma-alloc" => {
            let bytes = stack.pop()?;
            stack.push(context.claim(bytes, DMA_ALIGN_BYTES).map_err(|_| Throw::ABORT)?)?;
        }
        // ( virt size -- )
        "dma-free" => {
            let (bytes, at) = (stack.pop()?, stack.pop()?);
            context.release(at, bytes)?;
        }
        "offset" => offset(open, stack)?,
        _ => return Err(Throw::UNDEFINED_WORD),
    }
    Ok(Progress::Done)
}

/// load ( addr -- size ): all of the file, or of the partition.
fn load(
    open: &mut OpenDisk,
    context: &Context<'_>,
    stack: &mut Stack<'_>,
) -> Result<Progress, Throw> {
    let at = stack.pop()?;
    let region = open.region()?.clone();
    let bytes = u32::try_from(region.bytes()).map_err(|_| Throw::INVALID_ADDRESS)?;
    let buffer = context.buffer(at, bytes as usize)?;
    match open.transfer(Way::Read, &Place { region, position: 0 }, &buffer)? {
        None => Ok(Progress::NotYet),
        // A part of a program is none.
        Some(Moved { has_failed: true, .. }) => Err(Throw::ABORT),
        Some(Moved { has_failed: false, .. }) => {
            stack.push(bytes)?;
            Ok(Progress::Done)
        }
    }
}

/// read-blocks ( addr block# #blocks -- #read ), write-blocks ( addr block# #blocks -- #written ):
/// of the whole disk, whatever part of it is open, up to its end.
fn blocks(
    way: Way,
    open: &mut OpenDisk,
    context: &Context<'_>,
    stack: &mut Stack<'_>,
) -> Result<Progress, Throw> {
    let (count, block, at) = (stack.pop()?, stack.pop()?, stack.pop()?);
    let (disk, block_bytes) = (open.disk(), u64::from(open.disk().block_bytes()));
    let region = disk.whole.clone();
    let position = u64::from(block) * block_bytes;
    let left = region.bytes().saturating_sub(position) / block_bytes;
    let bytes = left.min(count.into()) * block_bytes;
    let buffer = context.buffer(at, usize::try_from(bytes).map_err(|_| Throw::INVALID_ADDRESS)?)?;
    match open.transfer(way, &Place { region, position }, &buffer)? {
        None => Ok(Progress::NotYet),
        Some(moved) => {
            stack.push((moved.bytes as u64 / block_bytes) as u32)?;
            Ok(Progress::Done)
        }
    }
}

/// offset ( d.rel -- d.abs ): where on the disk what is open has this byte. Behind its end, as if
/// its last piece went on.
fn offset(open: &OpenDisk, stack: &mut Stack<'_>) -> Result<(), Throw> {
    let (high, low) = (stack.pop()?, stack.pop()?);
    let relative = u64::from(high) << 32 | u64::from(low);
    let region = open.region()?;
    let absolute = match region.at(relative, 1) {
        Some(extent) => Some(extent.start),
        None => {
            let end = region.extents().last().and_then(|last| last.end()).unwrap_or(0);
            end.checked_add(relative - region.bytes())
        }
    };
    let absolute = absolute.ok_or(Throw::ABORT)?;
    stack.push(absolute as u32)?;
    stack.push((absolute >> 32) as u32)
}
