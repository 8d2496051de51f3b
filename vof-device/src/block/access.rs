//! Bytes of a region, on a disk that has sectors: what IEEE 1275 §3.8.3 calls a deblocker.

use std::sync::atomic::{AtomicBool, Ordering};

use super::device::{BlockDevice, SECTOR_BYTES};
use super::region::{Extent, Region};
use crate::args::Failed;

const SECTOR: usize = SECTOR_BYTES as usize;

/// How much is read at once of what the host has at hand, on the stack: it stays in the
/// processor's cache on its way to the guest.
const AT_HAND_BYTES: usize = 16 << 10;

/// How many pieces of what is at hand one try reads. Beyond: it goes on at the next one.
const MAX_PIECES: usize = 256;

/// What came of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    /// How many bytes, from its beginning on.
    pub(super) bytes: usize,
    /// Whether the host failed then.
    pub(super) has_failed: bool,
}

/// How reading what is at hand ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AtHand {
    pub(super) bytes: usize,
    /// Whether what comes next is not at hand.
    pub(super) is_missed: bool,
}

/// Reads what the host has at hand of `bytes` bytes from `position` on, and hands it to `put` piece
/// by piece. Nothing is waited for, and nothing is allocated.
///
/// # Errors
/// Those of `put`.
pub(super) fn read_at_hand(
    disk: &dyn BlockDevice,
    region: &Region,
    position: u64,
    bytes: usize,
    mut put: impl FnMut(usize, &[u8]) -> Result<(), Failed>,
) -> Result<AtHand, Failed> {
    let mut room = [0; AT_HAND_BYTES];
    let (mut done, mut pieces) = (0, 0);
    while done < bytes && pieces < MAX_PIECES {
        let Some(extent) = region.at(position + done as u64, (bytes - done) as u64) else { break };
        let skew = skew(extent);
        let piece = (AT_HAND_BYTES - skew).min(extent.bytes as usize);
        let sectors = room.get_mut(..(skew + piece).next_multiple_of(SECTOR)).unwrap_or_default();
        // Errors are for the thread that may wait: it finds out how much can be read.
        if !matches!(disk.try_read(sectors, extent.start - skew as u64), Ok(true)) {
            return Ok(AtHand { bytes: done, is_missed: true });
        }
        put(done, sectors.get(skew..skew + piece).unwrap_or_default())?;
        (done, pieces) = (done + piece, pieces + 1);
    }
    Ok(AtHand { bytes: done, is_missed: false })
}

/// Reads into all of `to`, from `position` on, or as far as the region and the host let it; no
/// further once it is given up.
pub(super) fn read(
    disk: &dyn BlockDevice,
    region: &Region,
    position: u64,
    to: &mut [u8],
    is_given_up: &AtomicBool,
) -> Moved {
    let read =
        |to: &mut [u8], start| !is_given_up.load(Ordering::Relaxed) && disk.read(to, start).is_ok();
    each_piece(region, position, to.len(), |done, piece| {
        let to = to.get_mut(done..done + piece.bytes()).unwrap_or_default();
        match piece {
            Piece::Sectors { start, .. } => read_sectors(read, to, start),
            Piece::Part { sector, skew, bytes } => {
                let mut whole = [0; SECTOR];
                if !read(&mut whole, sector) {
                    return 0;
                }
                to.copy_from_slice(whole.get(skew..skew + bytes).unwrap_or_default());
                bytes
            }
        }
    })
}

/// Writes all of `from`, from `position` on, as far as the region and the host let it, and makes it
/// last: clients have no word for that. What shares a sector with it is read before and stays.
pub(super) fn write(disk: &dyn BlockDevice, region: &Region, position: u64, from: &[u8]) -> Moved {
    let moved = each_piece(region, position, from.len(), |done, piece| {
        let from = from.get(done..done + piece.bytes()).unwrap_or_default();
        let written = match piece {
            Piece::Sectors { start, .. } => disk.write(from, start),
            Piece::Part { sector, skew, bytes } => {
                let mut whole = [0; SECTOR];
                disk.read(&mut whole, sector).and_then(|()| {
                    whole.get_mut(skew..skew + bytes).unwrap_or_default().copy_from_slice(from);
                    disk.write(&whole, sector)
                })
            }
        };
        written.map_or(0, |()| piece.bytes())
    });
    match disk.flush() {
        Ok(()) => moved,
        // Nobody knows what of it is there.
        Err(_) => Moved { bytes: 0, has_failed: true },
    }
}

/// Bytes that lie one after the other on the disk.
#[derive(Debug, Clone, Copy)]
enum Piece {
    /// Whole sectors.
    Sectors { start: u64, bytes: usize },
    /// Part of one.
    Part { sector: u64, skew: usize, bytes: usize },
}

impl Piece {
    /// The first of an extent's, which is not empty.
    fn first_of(extent: Extent) -> Self {
        let skew = skew(extent);
        let sectors = extent.bytes as usize / SECTOR * SECTOR;
        if skew == 0 && sectors > 0 {
            return Self::Sectors { start: extent.start, bytes: sectors };
        }
        let bytes = (SECTOR - skew).min(extent.bytes as usize);
        Self::Part { sector: extent.start - skew as u64, skew, bytes }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Sectors { bytes, .. } | Self::Part { bytes, .. } => bytes,
        }
    }
}

/// How far into its sector an extent begins.
fn skew(extent: Extent) -> usize {
    (extent.start % SECTOR_BYTES) as usize
}

/// Has `transfer` called for one piece after the other, until one of them is not moved whole.
fn each_piece(
    region: &Region,
    position: u64,
    bytes: usize,
    mut transfer: impl FnMut(usize, Piece) -> usize,
) -> Moved {
    let mut done = 0;
    while done < bytes {
        let left = (bytes - done) as u64;
        let Some(extent) = region.at(position.saturating_add(done as u64), left) else { break };
        let piece = Piece::first_of(extent);
        let moved = transfer(done, piece);
        done += moved;
        if moved < piece.bytes() {
            return Moved { bytes: done, has_failed: true };
        }
    }
    Moved { bytes: done, has_failed: false }
}

/// Reads whole sectors; where that fails, those before the one that cannot be read. Gives how many
/// bytes.
fn read_sectors(read: impl Fn(&mut [u8], u64) -> bool, to: &mut [u8], start: u64) -> usize {
    let mut done = 0;
    let mut step = to.len();
    while done < to.len() {
        let part = step.min(to.len() - done);
        let room = to.get_mut(done..done + part).unwrap_or_default();
        if read(room, start + done as u64) {
            done += part;
        } else if part <= SECTOR {
            break;
        } else {
            step = (part / 2).next_multiple_of(SECTOR);
        }
    }
    done
}
