//! The parts of a disk: partitions, and files on them (IEEE 1275 §3.8.2, "disk-label").
//!
//! What is on a disk is as little trusted as a guest. Looking for a part takes [a limited number of
//! reads](crate::limits::MAX_LABEL_READS) and a limited amount of memory, and what is found is
//! inside of the disk. Each of the functions reads the disk anew, and may wait for the host.

mod arguments;
pub mod bootinfo;
mod error;
mod fat;
mod gpt;
mod iso9660;
mod mbr;
mod reader;
mod walk;

pub use arguments::Arguments;
pub use error::LabelError;

use std::sync::atomic::AtomicBool;

use super::{BlockDevice, Extent, Region};

use self::fat::Fat;
use self::mbr::Mbr;
use self::reader::{OUTSIDE, Reader};

/// A partition that is inside of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its number, from 1, as Linux counts: the entry in the table; in extended partitions from 5.
    pub number: u32,
    /// Where it is.
    pub extent: Extent,
    /// What it is for.
    pub kind: PartitionKind,
    /// Whether the table says that the disk starts from it; only a [`Table::Mbr`] says so.
    pub is_active: bool,
    /// The table that it is in.
    pub table: Table,
}

/// What a partition is for, as far as it means something to a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionKind {
    /// A program by itself, without a file system (PReP; MBR 0x41, GPT
    /// 9E1A2D38-C612-4316-AA26-8B49521E5A8B).
    Prep,
    /// An ISO 9660 file system that CHRP machines start from (MBR 0x96).
    Chrp,
    /// The EFI system partition, which has a FAT (MBR 0xEF, GPT
    /// C12A7328-F81F-11D2-BA4B-00A0C93EC93B).
    EfiSystem,
    /// Files, in a FAT or another file system of its time (MBR 0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E,
    /// GPT EBD0A0A2-B9E5-4433-87C0-68B6B72699C7).
    Data,
    /// Files of a Linux (MBR 0x83, GPT 0FC63DAF-8483-4772-8E79-3D69D8477DE4).
    Linux,
    /// Anything else.
    Other,
}

/// A table of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// The master boot record.
    Mbr,
    /// The GUID partition table.
    Gpt,
}

/// The partitions of a disk by number; none where it has no table. Those that are not inside of
/// the disk are left out.
///
/// The GUID partition table counts where the master boot record says so. What the tables of
/// extended partitions say counts as far as it makes sense.
///
/// # Errors
/// [`LabelError`]: the disk cannot be read, or its GUID partition table and the table's copy are
/// damaged or longer than [`MAX_GPT_TABLE_BYTES`](crate::limits::MAX_GPT_TABLE_BYTES).
pub fn partitions(device: &dyn BlockDevice) -> Result<Vec<Partition>, LabelError> {
    read_partitions(&mut Reader::new(device, &AtomicBool::new(false)))
}

/// The part of the disk that is meant: all of it, a partition, or a file.
///
/// # Errors
/// [`LabelError`] says why there is none.
pub fn find(device: &dyn BlockDevice, arguments: &Arguments) -> Result<Region, LabelError> {
    find_unless(&AtomicBool::new(false), device, arguments)
}

/// The same, but for the [error](LabelError::Read) that comes soon after it is given up.
pub(super) fn find_unless(
    is_given_up: &AtomicBool,
    device: &dyn BlockDevice,
    arguments: &Arguments,
) -> Result<Region, LabelError> {
    let mut reader = Reader::new(device, is_given_up);
    let volume = match arguments.partition() {
        None => reader.disk(),
        Some(number) => {
            let partitions = read_partitions(&mut reader)?;
            let partition = partitions.iter().find(|partition| partition.number == number);
            partition.ok_or(LabelError::NoPartition { number })?.extent
        }
    };
    let extents = match arguments.path() {
        None => vec![volume],
        Some(path) => read_file(&mut reader, volume, path)?,
    };
    Region::new(extents, reader.disk().bytes).ok_or(OUTSIDE)
}

fn read_partitions(reader: &mut Reader<'_>) -> Result<Vec<Partition>, LabelError> {
    match Mbr::read(reader)? {
        None => Ok(Vec::new()),
        Some(mbr) if mbr.is_protective() => gpt::partitions(reader),
        Some(mbr) => mbr.partitions(reader),
    }
}

/// Where a file on a volume is. A FAT goes before an ISO 9660 file system, as it may have been made
/// where one was, and left the latter's first sectors as they were.
fn read_file(
    reader: &mut Reader<'_>,
    volume: Extent,
    path: &str,
) -> Result<Vec<Extent>, LabelError> {
    let names = arguments::names(path);
    if let Some(fat) = Fat::read(reader, volume)? {
        return walk::find(&fat, reader, &names);
    }
    let mut found = Err(LabelError::NoFileSystem);
    for tree in iso9660::read(reader, volume)? {
        found = walk::find(&tree, reader, &names);
        if !matches!(found, Err(LabelError::NoFile)) {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests;
