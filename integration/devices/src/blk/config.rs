//! The configuration of a block device (Virtio 1.2 §5.2.4).

use super::QUEUE_SIZE;
use crate::disk::{Disk, SECTOR_BYTES};

/// How long it is, up to what there is no feature for.
const BYTES: usize = 60;

/// Where `writeback` is, one byte.
pub(super) const WRITEBACK: u64 = 32;

/// What a request has beside its data (§5.2.6): a header and a status.
const OTHER_SEGMENTS: u32 = 2;

/// The most buffers of a request, in queues that have room for more, too.
const MAX_SEGMENTS: u32 = QUEUE_SIZE as u32 - OTHER_SEGMENTS;

/// The most bytes of a buffer.
const MAX_SEGMENT_BYTES: u32 = 1 << 20;

/// The most bytes of a transfer, so that a device is not long at one.
pub(super) const MAX_TRANSFER_BYTES: u64 = MAX_SEGMENTS as u64 * MAX_SEGMENT_BYTES as u64;

/// The most sectors of one range to discard: 1 GiB.
pub(super) const MAX_DISCARD_SECTORS: u32 = 1 << 21;

/// The most ranges of one request to discard.
pub(super) const MAX_DISCARD_RANGES: usize = 32;

/// The most sectors of one range to zero: 64 MiB, as it may have to be written.
pub(super) const MAX_ZEROES_SECTORS: u32 = 1 << 17;

/// The most ranges of one request to zero.
pub(super) const MAX_ZEROES_RANGES: usize = 1;

/// All of it.
pub(super) fn space(
    disk: &dyn Disk,
    queues: u16,
    queue_size: u16,
    writes_back: bool,
) -> [u8; BYTES] {
    // A request finds room in a queue even without indirect descriptors.
    let segments = MAX_SEGMENTS.min(u32::from(queue_size).saturating_sub(OTHER_SEGMENTS));
    let mut space = [0; BYTES];
    let mut put =
        |offset: usize, field: &[u8]| space[offset..][..field.len()].copy_from_slice(field);
    let blocks = disk.block_sizes();
    let physical_exponent = (blocks.physical / blocks.logical).trailing_zeros() as u8;
    // The smallest sensible transfer, in logical blocks.
    let minimum = u16::try_from(blocks.physical / blocks.logical).unwrap_or(1);
    put(0, &(disk.size_bytes() / SECTOR_BYTES).to_le_bytes()); // capacity
    put(8, &MAX_SEGMENT_BYTES.to_le_bytes()); // size_max
    put(12, &segments.to_le_bytes()); // seg_max
    put(20, &blocks.logical.to_le_bytes()); // blk_size
    put(24, &[physical_exponent]); // topology.physical_block_exp
    put(26, &minimum.to_le_bytes()); // topology.min_io_size
    put(WRITEBACK as usize, &[u8::from(writes_back)]);
    put(34, &queues.to_le_bytes()); // num_queues
    if !disk.is_read_only() {
        let unit = blocks.physical / SECTOR_BYTES as u32;
        put(36, &MAX_DISCARD_SECTORS.to_le_bytes()); // max_discard_sectors
        put(40, &(MAX_DISCARD_RANGES as u32).to_le_bytes()); // max_discard_seg
        put(44, &unit.to_le_bytes()); // discard_sector_alignment
        put(48, &MAX_ZEROES_SECTORS.to_le_bytes()); // max_write_zeroes_sectors
        put(52, &(MAX_ZEROES_RANGES as u32).to_le_bytes()); // max_write_zeroes_seg
        put(56, &[1]); // write_zeroes_may_unmap
    }
    space
}
