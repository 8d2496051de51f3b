//! What the file systems have in common: directories to go through by names, and files in pieces.

use crate::block::Extent;
use crate::limits::MAX_FILE_EXTENTS;

use super::LabelError;
use super::reader::Reader;

/// A tree of directories.
pub(super) trait Tree {
    /// What is known of a file or directory, without having looked at it.
    type Entry;

    /// The directory that paths start from.
    fn root(&self) -> Self::Entry;

    fn is_directory(&self, entry: &Self::Entry) -> bool;

    /// What has this name in a directory, whatever case its letters are in.
    fn child(
        &self,
        reader: &mut Reader<'_>,
        directory: &Self::Entry,
        name: &str,
    ) -> Result<Option<Self::Entry>, LabelError>;

    /// Where a file is on the disk.
    fn pieces(
        &self,
        reader: &mut Reader<'_>,
        file: &Self::Entry,
    ) -> Result<Vec<Extent>, LabelError>;
}

/// Where the file is that these names lead to. As it goes down one directory a name, it ends,
/// wherever the directories lead.
pub(super) fn find<T: Tree>(
    tree: &T,
    reader: &mut Reader<'_>,
    names: &[&str],
) -> Result<Vec<Extent>, LabelError> {
    let mut entry = tree.root();
    for name in names {
        if !tree.is_directory(&entry) {
            return Err(LabelError::NoFile);
        }
        entry = tree.child(reader, &entry, name)?.ok_or(LabelError::NoFile)?;
    }
    if tree.is_directory(&entry) {
        return Err(LabelError::NotAFile);
    }
    tree.pieces(reader, &entry)
}

/// The pieces of a file, in its order; what lies one after the other is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces(Vec<Extent>);

impl Pieces {
    pub(super) fn push(&mut self, piece: Extent) -> Result<(), LabelError> {
        if piece.bytes == 0 {
            return Ok(());
        }
        if let Some(last) = self.0.last_mut().filter(|last| last.end() == Some(piece.start)) {
            last.bytes += piece.bytes;
            return Ok(());
        }
        if self.0.len() >= MAX_FILE_EXTENTS {
            return Err(LabelError::too_much("the file is in too many pieces"));
        }
        self.0.push(piece);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_extents(self) -> Vec<Extent> {
        self.0
    }
}

/// The part of a volume, in bytes from its start; an error where it is not inside of it.
pub(super) fn within(volume: Extent, start: u64, bytes: u64) -> Result<Extent, LabelError> {
    let is_inside = start.checked_add(bytes).is_some_and(|end| end <= volume.bytes);
    let outside = LabelError::damaged("something is said to be where the file system is not");
    is_inside.then(|| Extent::new(volume.start + start, bytes)).ok_or(outside)
}

/// Whether two names are the same but for the case of letters.
pub(super) fn is_same(name: impl Iterator<Item = char>, other: &str) -> bool {
    let lower = |letter: char| letter.to_lowercase();
    name.flat_map(lower).eq(other.chars().flat_map(lower))
}
