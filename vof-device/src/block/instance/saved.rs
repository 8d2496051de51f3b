//! An open disk as it is saved, and as it is opened anew in another process.

use std::sync::{Arc, PoisonError, Weak};

use arch_ppc64::platform::{StateError, StateValue};
use serde::{Deserialize, Serialize};

use super::OpenDisk;
use crate::block::disk::Disk;
use crate::block::label::{self, Arguments, LabelError};
use crate::block::region::Region;
use crate::limits::MAX_REOPENED_PARTS;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedDisk {
    position: u64,
    /// How much is done of the transfer that has no answer yet.
    done: u32,
    part: SavedPart,
}

/// What tells a part of a disk from others. The disk says where it is: this is nothing to go by.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPart {
    bytes: u64,
    pieces: u64,
    /// Of where the pieces are.
    digest: u64,
}

pub(super) fn state(region: &Region, position: u64, done: usize) -> Result<StateValue, StateError> {
    let done = u32::try_from(done).unwrap_or(u32::MAX);
    StateValue::of(&SavedDisk { position, done, part: SavedPart::of(region) })
}

/// Opens it. The label is read anew, once for all that are open by the same arguments, which waits
/// for the host, and has to give the same part.
pub(in crate::block) fn reopen(
    disk: &Arc<Disk>,
    arguments: &str,
    state: &StateValue,
) -> Result<OpenDisk, StateError> {
    let SavedDisk { position, done, part } = state.get()?;
    let wrong = |what: String| StateError::Value(format!("{arguments:?} of the disk: {what}"));
    let parsed = Arguments::parse(arguments).map_err(|error| wrong(error.to_string()))?;
    let region = find(disk, parsed).map_err(|error| wrong(error.to_string()))?;
    let found = SavedPart::of(&region);
    if found != part {
        let SavedPart { bytes, pieces, .. } = found;
        let before = format!("{} bytes in {} pieces", part.bytes, part.pieces);
        let what =
            format!("it was {before}, and is {bytes} bytes in {pieces} pieces, or elsewhere");
        return Err(wrong(what));
    }
    let open = OpenDisk::of_part(disk, region);
    let open = open.map_err(|_| wrong("too many pieces of files are open".to_owned()))?;
    Ok(open.at(position, done as usize))
}

/// The part of the disk, as it was found for another one that is opened anew, or is found now.
fn find(disk: &Disk, arguments: Arguments) -> Result<Arc<Region>, LabelError> {
    let list = || disk.reopened.lock().unwrap_or_else(PoisonError::into_inner);
    let known = list().iter().find(|(known, _)| *known == arguments).map(|(_, it)| it.clone());
    if let Some(region) = known.as_ref().and_then(Weak::upgrade) {
        return Ok(region);
    }
    let region = Arc::new(label::find(&*disk.device, &arguments)?);
    let mut list = list();
    list.retain(|(_, region)| region.strong_count() > 0);
    if list.len() >= MAX_REOPENED_PARTS {
        list.remove(0);
    }
    list.push((arguments, Arc::downgrade(&region)));
    Ok(region)
}

impl SavedPart {
    fn of(region: &Region) -> Self {
        let extents = region.extents();
        let places = extents.iter().flat_map(|extent| [extent.start, extent.bytes]);
        let bytes = places.flat_map(u64::to_le_bytes);
        // FNV-1a, which is the same in every release: nobody relies on more than chance.
        let digest = bytes.fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self { bytes: region.bytes(), pieces: extents.len() as u64, digest }
    }
}
