//! FAT12, FAT16 and FAT32 (Microsoft, FAT: General Overview of On-Disk Format, 1.03), read only.
//!
//! The crate `fatfs` 0.3 follows chains that go in circles without end, and does not say where on
//! the disk a file is.

use crate::block::Extent;

use super::LabelError;
use super::reader::{Reader, le16, le32};
use super::walk::{Pieces, Tree, is_same, within};

const ENTRY_BYTES: u64 = 32;
/// The number of the first cluster.
const FIRST_CLUSTER: u32 = 2;
/// So many clusters make a file system one of 16 bits, where its tables are short.
const MIN_CLUSTERS_16: u32 = 4085;
const MAX_CLUSTERS_16: u32 = 65524;
const MAX_CLUSTERS_32: u32 = 0x0fff_fff5;

/// Attributes of an entry.
const VOLUME: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;

/// A file system.
pub(super) struct Fat {
    volume: Extent,
    width: Width,
    /// Where its table is, in bytes of the disk.
    table: u64,
    root: Place,
    /// Where the clusters are, in bytes of the volume.
    data: u64,
    cluster_bytes: u64,
    /// How many there are.
    clusters: u32,
}

/// How many bits an entry of the table has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Bits12,
    Bits16,
    Bits32,
}

/// Where a directory or file is.
#[derive(Clone, Copy)]
enum Place {
    /// The root of FAT12 and FAT16.
    Fixed(Extent),
    /// From this cluster on.
    Chain(u32),
}

/// A directory or file.
pub(super) struct Entry {
    is_directory: bool,
    place: Place,
    bytes: u32,
}

impl Fat {
    /// The file system on a volume; `None` where there is none.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        volume: Extent,
    ) -> Result<Option<Self>, LabelError> {
        if volume.bytes < 512 {
            return Ok(None);
        }
        Ok(Self::from_boot_sector(&reader.array(volume.start)?, volume))
    }

    /// By the BIOS parameter block (§3); `None` where it is none.
    fn from_boot_sector(boot: &[u8; 512], volume: Extent) -> Option<Self> {
        let sector_bytes = u64::from(le16(boot, 11));
        let (sectors_per_cluster, tables, media) = (u64::from(boot[13]), boot[16], boot[21]);
        let reserved = u64::from(le16(boot, 14));
        let is_fat = matches!(boot[0], 0xe9 | 0xeb)
            && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
            && sectors_per_cluster.is_power_of_two()
            && reserved > 0
            && tables > 0
            && (media == 0xf0 || media >= 0xf8);
        if !is_fat {
            return None;
        }
        let is_wide = le16(boot, 22) == 0;
        let table_sectors = if is_wide { le32(boot, 36).into() } else { u64::from(le16(boot, 22)) };
        let table_bytes = table_sectors * sector_bytes;
        let root_bytes = u64::from(le16(boot, 17)) * ENTRY_BYTES;
        let sectors = match le16(boot, 19) {
            0 => u64::from(le32(boot, 32)),
            sectors => sectors.into(),
        };
        let root = reserved * sector_bytes + u64::from(tables) * table_bytes;
        let data = root + root_bytes.next_multiple_of(sector_bytes);
        let cluster_bytes = sectors_per_cluster * sector_bytes;
        let clusters = (sectors * sector_bytes).checked_sub(data)? / cluster_bytes;
        let clusters = u32::try_from(clusters).ok().filter(|&clusters| clusters > 0)?;
        let (width, bits, clusters_max) = match clusters {
            _ if is_wide => (Width::Bits32, 32, MAX_CLUSTERS_32),
            0..MIN_CLUSTERS_16 => (Width::Bits12, 12, MIN_CLUSTERS_16),
            _ => (Width::Bits16, 16, MAX_CLUSTERS_16),
        };
        let is_short = table_bytes * 8 / bits < u64::from(clusters) + u64::from(FIRST_CLUSTER);
        if is_short || clusters > clusters_max || (is_wide && root_bytes != 0) {
            return None;
        }
        // Which table counts where they are not all the same (FAT32 only).
        let flags = le16(boot, 40);
        let table = if is_wide && flags & 0x80 != 0 { (flags & 0xf) as u8 } else { 0 };
        if table >= tables {
            return None;
        }
        let table = reserved * sector_bytes + u64::from(table) * table_bytes;
        let table = within(volume, table, table_bytes).ok()?.start;
        let root = match is_wide {
            true => Place::Chain(le32(boot, 44)),
            false => Place::Fixed(within(volume, root, root_bytes).ok()?),
        };
        Some(Self { volume, width, table, root, data, cluster_bytes, clusters })
    }

    /// Where a cluster is.
    fn cluster(&self, number: u32) -> Result<Extent, LabelError> {
        let index = number.checked_sub(FIRST_CLUSTER).filter(|&index| index < self.clusters);
        let index = index.ok_or(LabelError::damaged("a chain of clusters leads nowhere"))?;
        within(self.volume, self.data + u64::from(index) * self.cluster_bytes, self.cluster_bytes)
    }

    /// The cluster after this one; `None` at the end of its chain.
    fn next(&self, reader: &mut Reader<'_>, cluster: u32) -> Result<Option<u32>, LabelError> {
        let at = u64::from(cluster);
        let (value, end) = match self.width {
            Width::Bits12 => {
                let pair = u16::from_le_bytes(reader.array(self.table + at + at / 2)?);
                let value = if at % 2 == 1 { pair >> 4 } else { pair & 0xfff };
                (value.into(), 0xff8)
            }
            Width::Bits16 => {
                (u16::from_le_bytes(reader.array(self.table + at * 2)?).into(), 0xfff8)
            }
            Width::Bits32 => {
                let value = u32::from_le_bytes(reader.array(self.table + at * 4)?);
                (value & 0x0fff_ffff, 0x0fff_fff8)
            }
        };
        Ok((value < end).then_some(value))
    }
}

/// The clusters of a file or directory, one after the other.
struct Chain {
    next: Option<u32>,
    passed: u32,
    /// A cluster that was passed: where it comes again, the chain goes in a circle. As it is set
    /// anew when twice as many have been passed, it is in the circle at some time.
    mark: u32,
}

impl Chain {
    fn new(first: u32) -> Self {
        Self { next: Some(first), passed: 0, mark: 0 }
    }

    fn next(&mut self, fat: &Fat, reader: &mut Reader<'_>) -> Result<Option<Extent>, LabelError> {
        let Some(number) = self.next else { return Ok(None) };
        let cluster = fat.cluster(number)?;
        if number == self.mark {
            return Err(LabelError::damaged("a chain of clusters goes in a circle"));
        }
        self.passed += 1;
        if self.passed.is_power_of_two() {
            self.mark = number;
        }
        self.next = fat.next(reader, number)?;
        Ok(Some(cluster))
    }
}

impl Tree for Fat {
    type Entry = Entry;

    fn root(&self) -> Entry {
        Entry { is_directory: true, place: self.root, bytes: 0 }
    }

    fn is_directory(&self, entry: &Entry) -> bool {
        entry.is_directory
    }

    fn child(
        &self,
        reader: &mut Reader<'_>,
        directory: &Entry,
        name: &str,
    ) -> Result<Option<Entry>, LabelError> {
        let mut search = Search { fat: self, name, long: LongName::default() };
        match directory.place {
            Place::Fixed(extent) => match search.look(reader, extent)? {
                Found::Entry(entry) => return Ok(Some(entry)),
                Found::End | Found::Nothing => {}
            },
            Place::Chain(first) => {
                let mut chain = Chain::new(first);
                while let Some(extent) = chain.next(self, reader)? {
                    match search.look(reader, extent)? {
                        Found::Entry(entry) => return Ok(Some(entry)),
                        Found::End => break,
                        Found::Nothing => {}
                    }
                }
            }
        }
        Ok(None)
    }

    fn pieces(&self, reader: &mut Reader<'_>, file: &Entry) -> Result<Vec<Extent>, LabelError> {
        let mut pieces = Pieces::default();
        let mut left = u64::from(file.bytes);
        let Place::Chain(first) = file.place else { return Err(LabelError::NotAFile) };
        let mut chain = Chain::new(first);
        while left > 0 {
            let cluster = chain.next(self, reader)?;
            let cluster = cluster.ok_or(LabelError::damaged("a file has too few clusters"))?;
            let bytes = cluster.bytes.min(left);
            pieces.push(Extent::new(cluster.start, bytes))?;
            left -= bytes;
        }
        Ok(pieces.into_extents())
    }
}

/// A name that is looked for in the pieces of a directory.
struct Search<'a> {
    fat: &'a Fat,
    name: &'a str,
    long: LongName,
}

enum Found {
    Entry(Entry),
    Nothing,
    /// The directory ends here.
    End,
}

impl Search<'_> {
    fn look(&mut self, reader: &mut Reader<'_>, extent: Extent) -> Result<Found, LabelError> {
        for index in 0..extent.bytes / ENTRY_BYTES {
            let entry: [u8; 32] = reader.array(extent.start + index * ENTRY_BYTES)?;
            let attributes = entry[11];
            match entry[0] {
                0 => return Ok(Found::End),
                // It was deleted.
                0xe5 => self.long = LongName::default(),
                _ if attributes & 0x3f == LONG_NAME => self.long.add(&entry),
                _ => {
                    let long = std::mem::take(&mut self.long);
                    let is_same = is_short_name(&entry, self.name) || long.is(&entry, self.name);
                    if is_same && attributes & VOLUME == 0 {
                        return Ok(Found::Entry(self.fat.entry(&entry)));
                    }
                }
            }
        }
        Ok(Found::Nothing)
    }
}

impl Fat {
    fn entry(&self, entry: &[u8; 32]) -> Entry {
        let high = if self.width == Width::Bits32 { le16(entry, 20) } else { 0 };
        let first = u32::from(high) << 16 | u32::from(le16(entry, 26));
        Entry {
            is_directory: entry[11] & DIRECTORY != 0,
            place: Place::Chain(first),
            bytes: le32(entry, 28),
        }
    }
}

/// Whether an entry has this name of up to eight and three letters. Which letters those beyond
/// ASCII are, a disk does not say.
fn is_short_name(entry: &[u8; 32], name: &str) -> bool {
    let (base, extension) = (entry[..8].trim_ascii_end(), entry[8..11].trim_ascii_end());
    let parts: [&[u8]; 3] = match extension {
        [] => [base, b"", b""],
        _ => [base, b".", extension],
    };
    let mut rest = name.as_bytes();
    parts.iter().all(|part| {
        let Some((start, behind)) = rest.split_at_checked(part.len()) else { return false };
        rest = behind;
        part.is_ascii() && part.eq_ignore_ascii_case(start)
    }) && rest.is_empty()
}

/// A long name, which is in the entries before that of the file, its end first (§7).
#[derive(Default)]
struct LongName {
    letters: Vec<u16>,
    /// How many entries of it are still to come.
    missing: u8,
    sum: u8,
}

/// Where letters are in an entry of a long name, and how many are in one.
const LETTERS_AT: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
const LETTERS: usize = LETTERS_AT.len();
/// The most entries of a long name.
const MAX_ENTRIES: u8 = 20;
/// Marks the last entry of a long name, which comes first.
const LAST: u8 = 0x40;

impl LongName {
    fn add(&mut self, entry: &[u8; 32]) {
        let (order, sum) = (entry[0] & !LAST, entry[13]);
        if entry[0] & LAST != 0 && (1..=MAX_ENTRIES).contains(&order) {
            let letters = vec![0; usize::from(order) * LETTERS];
            *self = Self { letters, missing: order, sum };
        }
        if order == 0 || order != self.missing || sum != self.sum {
            *self = Self::default();
            return;
        }
        self.missing = order - 1;
        let to = &mut self.letters[usize::from(self.missing) * LETTERS..][..LETTERS];
        for (letter, at) in to.iter_mut().zip(LETTERS_AT) {
            *letter = le16(entry, at);
        }
    }

    /// Whether it is this name, and of that entry.
    fn is(&self, entry: &[u8; 32], name: &str) -> bool {
        let sum =
            entry[..11].iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
        if self.letters.is_empty() || self.missing != 0 || self.sum != sum {
            return false;
        }
        let letters = self.letters.iter().copied().take_while(|&letter| letter != 0);
        let letters = char::decode_utf16(letters);
        is_same(letters.map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)), name)
    }
}
