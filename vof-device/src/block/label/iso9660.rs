//! ISO 9660 (ECMA-119), with the names of Rock Ridge (SUSP and RRIP 1.12) and of Joliet.
//!
//! No crate for it is both old enough to be trusted and made for images that are not: `iso9660` and
//! `iso9660_simple` are unfinished, and `hadris-iso` needs a newer Rust than this one.

use crate::block::Extent;
use crate::limits::{
    LABEL_READ_BYTES, MAX_ISO_CONTINUATIONS, MAX_ISO_DESCRIPTORS, MAX_ISO_DIRECTORY_EXTENTS,
};

use super::LabelError;
use super::reader::{Reader, le16, le32};
use super::walk::{Pieces, Tree, is_same, within};

/// The unit of descriptors and directories.
const SECTOR_BYTES: u64 = 2048;
/// The sector of the first descriptor.
const FIRST_DESCRIPTOR: u64 = 16;
const SIGNATURE: &[u8; 5] = b"CD001";

/// Types of descriptors (ECMA-119 §8.1.1).
const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const TERMINATOR: u8 = 255;

/// Flags of a file (ECMA-119 §9.1.6).
pub(super) const DIRECTORY: u8 = 0x02;
const ASSOCIATED: u8 = 0x04;
pub(super) const MORE_SECTIONS: u8 = 0x80;

/// A record without its name.
const RECORD_BYTES: usize = 33;

/// One of the trees that a volume has.
pub(super) struct Iso {
    volume: Extent,
    block_bytes: u64,
    root: Entry,
    names: Names,
}

/// What names are in its directories.
#[derive(Clone, Copy)]
enum Names {
    /// Those of ECMA-119 alone.
    Plain,
    /// And those of Rock Ridge, behind so many bytes that are somebody else's.
    RockRidge { skipped: usize },
    /// Those of Joliet alone, in UCS-2.
    Joliet,
}

/// A directory or file.
#[derive(Clone)]
pub(super) struct Entry {
    kind: Kind,
    pieces: Pieces,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    /// What is not read: links, and files that are interleaved with others.
    Other,
}

/// The trees on a volume: that of ISO 9660, with Rock Ridge where it has that; then that of Joliet.
/// None where there is no file system.
pub(super) fn read(reader: &mut Reader<'_>, volume: Extent) -> Result<Vec<Iso>, LabelError> {
    let mut trees: Vec<Iso> = Vec::new();
    for index in 0..MAX_ISO_DESCRIPTORS {
        let at = (FIRST_DESCRIPTOR + index) * SECTOR_BYTES;
        let Ok(sector) = within(volume, at, SECTOR_BYTES) else { break };
        let descriptor: [u8; 190] = reader.array(sector.start)?;
        if &descriptor[1..6] != SIGNATURE || descriptor[0] == TERMINATOR {
            break;
        }
        let names = match descriptor[0] {
            PRIMARY => Names::Plain,
            SUPPLEMENTARY if matches!(descriptor[88..91], [b'%', b'/', b'@' | b'C' | b'E']) => {
                Names::Joliet
            }
            _ => continue,
        };
        let block_bytes = u64::from(le16(&descriptor, 128));
        if !matches!(block_bytes, 512 | 1024 | 2048) {
            return Err(LabelError::damaged("blocks of the file system have no length"));
        }
        let pieces = Pieces::default();
        let mut tree =
            Iso { volume, block_bytes, root: Entry { kind: Kind::Directory, pieces }, names };
        tree.root.pieces.push(tree.section(&descriptor[156..])?)?;
        if matches!(names, Names::Plain) {
            tree.find_rock_ridge(reader)?;
        }
        trees.push(tree);
    }
    Ok(trees)
}

impl Iso {
    /// Where the section of a record is (ECMA-119 §9.1.2 to §9.1.4).
    fn section(&self, record: &[u8]) -> Result<Extent, LabelError> {
        let attributes = record.get(1).copied().unwrap_or(0);
        let block = u64::from(le32(record, 2)) + u64::from(attributes);
        within(self.volume, block * self.block_bytes, le32(record, 10).into())
    }

    /// Sees whether the first record of the root says that there are names of Rock Ridge (SUSP
    /// §5.3).
    fn find_rock_ridge(&mut self, reader: &mut Reader<'_>) -> Result<(), LabelError> {
        let mut records = Records::new(&self.root);
        if let Some(record) = records.next(reader)? {
            if let [b'S', b'P', 7, 1, 0xbe, 0xef, skipped, ..] = record.system_use(0) {
                self.names = Names::RockRidge { skipped: usize::from(*skipped) };
            }
        }
        Ok(())
    }

    /// Whether a record is what is looked for, and what it is.
    fn matches(
        &self,
        reader: &mut Reader<'_>,
        record: &Record,
        name: &str,
    ) -> Result<(Match, Kind), LabelError> {
        let flags = record.flags();
        let kind = match record.0.get(26..28) {
            _ if flags & DIRECTORY != 0 => Kind::Directory,
            Some([0, 0]) => Kind::File,
            _ => Kind::Other,
        };
        let id = record.id();
        // The directory itself, and the one above it.
        if flags & ASSOCIATED != 0 || matches!(id, [0 | 1]) {
            return Ok((Match::None, kind));
        }
        match self.names {
            Names::Joliet => {
                let letters = id.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                let letters: Vec<u16> = letters.collect();
                let letters = char::decode_utf16(without_version(&letters, b';'.into()).to_vec());
                let letters = letters.map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER));
                Ok((if is_same(letters, name) { Match::Id } else { Match::None }, kind))
            }
            Names::Plain => Ok((if is_id(id, name) { Match::Id } else { Match::None }, kind)),
            Names::RockRidge { skipped } => {
                let other = self.rock_ridge(reader, record.system_use(skipped))?;
                let kind = if other.is_link { Kind::Other } else { kind };
                let text = String::from_utf8_lossy(&other.name);
                let is_match = match text.is_empty() {
                    _ if is_id(id, name) => Match::Id,
                    false if is_same(text.chars(), name) => Match::Name,
                    _ => Match::None,
                };
                Ok((is_match, kind))
            }
        }
    }

    /// What Rock Ridge says of a record: entries of a signature and a length each (SUSP §4.1).
    fn rock_ridge(
        &self,
        reader: &mut Reader<'_>,
        system_use: &[u8],
    ) -> Result<RockRidge, LabelError> {
        let mut found = RockRidge::default();
        let mut area = system_use.to_vec();
        for _ in 0..=MAX_ISO_CONTINUATIONS {
            let mut rest = area.as_slice();
            let mut continuation = None;
            while let [first, second, bytes, _, ..] = *rest {
                let Some((entry, behind)) = rest.split_at_checked(bytes.into()) else { break };
                match (&[first, second], entry) {
                    _ if entry.len() < 4 => break,
                    (b"ST", _) => break,
                    // The name, in pieces; 2 and 4 stand for this directory and the one above.
                    (b"NM", [_, _, _, _, 0 | 1, name @ ..]) => found.name.extend_from_slice(name),
                    (b"SL", _) => found.is_link = true,
                    (b"CE", _) if entry.len() >= 28 => continuation = Some(entry.to_vec()),
                    _ => {}
                }
                rest = behind;
            }
            let Some(entry) = continuation else { break };
            let start = u64::from(le32(&entry, 4)) * self.block_bytes + u64::from(le32(&entry, 12));
            let bytes = u64::from(le32(&entry, 20)).min(SECTOR_BYTES);
            let place = within(self.volume, start, bytes)?;
            reader.count()?;
            area = vec![0; bytes as usize];
            reader.read(place.start, &mut area)?;
        }
        Ok(found)
    }
}

/// How a record has the name that is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    None,
    /// By Rock Ridge.
    Name,
    /// By its identifier, which goes before.
    Id,
}

#[derive(Default)]
struct RockRidge {
    name: Vec<u8>,
    is_link: bool,
}

impl Tree for Iso {
    type Entry = Entry;

    fn root(&self) -> Entry {
        self.root.clone()
    }

    fn is_directory(&self, entry: &Entry) -> bool {
        entry.kind == Kind::Directory
    }

    fn child(
        &self,
        reader: &mut Reader<'_>,
        directory: &Entry,
        name: &str,
    ) -> Result<Option<Entry>, LabelError> {
        let mut records = Records::new(directory);
        let mut by_name = None;
        while let Some(mut record) = records.next(reader)? {
            let (is_match, kind) = self.matches(reader, &record, name)?;
            // One list of pieces is kept at a time: the first by name, until there is one by
            // identifier.
            let is_match = match is_match {
                Match::Name if by_name.is_some() => Match::None,
                Match::Id => {
                    by_name = None;
                    Match::Id
                }
                other => other,
            };
            let mut pieces = Pieces::default();
            // Sections of a file have a record each, one after the other.
            loop {
                if is_match != Match::None {
                    pieces.push(self.section(&record.0)?)?;
                    if kind == Kind::Directory && pieces.len() > MAX_ISO_DIRECTORY_EXTENTS {
                        return Err(LabelError::too_much("a directory is in too many pieces"));
                    }
                }
                if record.flags() & MORE_SECTIONS == 0 {
                    break;
                }
                let next = records.next(reader)?;
                record = next.ok_or(LabelError::damaged("a file has too few sections"))?;
            }
            match is_match {
                Match::None => {}
                Match::Name => by_name = Some(Entry { kind, pieces }),
                Match::Id => return Ok(Some(Entry { kind, pieces })),
            }
        }
        Ok(by_name)
    }

    fn pieces(&self, _: &mut Reader<'_>, file: &Entry) -> Result<Vec<Extent>, LabelError> {
        match file.kind {
            Kind::File => Ok(file.pieces.clone().into_extents()),
            Kind::Directory | Kind::Other => Err(LabelError::NotAFile),
        }
    }
}

/// A record of a directory (ECMA-119 §9.1).
struct Record(Vec<u8>);

impl Record {
    fn flags(&self) -> u8 {
        self.0[25]
    }

    /// Its identifier.
    fn id(&self) -> &[u8] {
        &self.0[RECORD_BYTES..][..usize::from(self.0[32])]
    }

    /// What is behind the identifier, at an even place, and behind so many bytes of it.
    fn system_use(&self, skipped: usize) -> &[u8] {
        let start = (RECORD_BYTES + self.id().len()).next_multiple_of(2) + skipped;
        self.0.get(start..).unwrap_or(&[])
    }
}

/// The records of a directory.
struct Records {
    extents: Vec<Extent>,
    /// Where the next one is, in the last of the extents.
    at: u64,
    /// The piece of that extent, of [`LABEL_READ_BYTES`], that was counted.
    counted: Option<u64>,
}

impl Records {
    fn new(directory: &Entry) -> Self {
        let mut extents = directory.pieces.clone().into_extents();
        extents.reverse();
        Self { extents, at: 0, counted: None }
    }

    fn next(&mut self, reader: &mut Reader<'_>) -> Result<Option<Record>, LabelError> {
        while let Some(extent) = self.extents.last() {
            if self.at >= extent.bytes {
                self.extents.pop();
                (self.at, self.counted) = (0, None);
                continue;
            }
            // What is gone through counts, and not only what has to be read for it: extents may
            // all be the same few bytes.
            let piece = self.at / LABEL_READ_BYTES;
            if self.counted != Some(piece) {
                reader.count()?;
                self.counted = Some(piece);
            }
            let left = (SECTOR_BYTES - self.at % SECTOR_BYTES).min(extent.bytes - self.at);
            let [bytes] = reader.array(extent.start + self.at)?;
            if bytes == 0 {
                // The rest of the sector is empty: records are not cut by its end.
                self.at += left;
                continue;
            }
            let mut record = vec![0; bytes.into()];
            if u64::from(bytes) > left || record.len() <= RECORD_BYTES {
                return Err(LabelError::damaged("a record of a directory has no length"));
            }
            reader.read(extent.start + self.at, &mut record)?;
            self.at += u64::from(bytes);
            if RECORD_BYTES + usize::from(record[32]) > record.len() {
                return Err(LabelError::damaged("a record of a directory is too short"));
            }
            return Ok(Some(Record(record)));
        }
        Ok(None)
    }
}

/// Whether an identifier is this name, with or without its version, and with or without the dot
/// that ends it where there is no extension (ECMA-119 §7.5.1).
fn is_id(id: &[u8], name: &str) -> bool {
    let plain = without_version(id, b';');
    let plain = plain.strip_suffix(b".").unwrap_or(plain);
    [id, plain].iter().any(|id| id.eq_ignore_ascii_case(name.as_bytes()))
}

/// What stands before the version.
fn without_version<T: PartialEq>(id: &[T], separator: T) -> &[T] {
    let end = id.iter().rposition(|letter| *letter == separator);
    &id[..end.unwrap_or(id.len())]
}
