//! A disk that is a file with its blocks, or a block device of the host.

use std::fmt;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::direct::{AlignedBuffer, Direct};
use super::error::{DiskError, DiskFault};
use super::file_lock::FileLock;
use super::flush::Flushes;
use super::format::{HEAD_BYTES, ImageType, recognise};
use super::{BlockSizes, Disk, SECTOR_BYTES, host};
use crate::iovec::{Gather, Scatter};

/// The unit of a file: no file system keeps track of less than this, and none that is in use of
/// more.
const FILE_BLOCK_BYTES: u32 = 4096;

/// How many zeros are written at once where the host cannot make them otherwise.
const ZEROES_BYTES: u64 = 1 << 20;

/// How a file is used as a disk.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DiskOptions {
    /// Nobody writes to it, the guest neither.
    pub read_only: bool,
    /// Past the page cache of the host.
    pub direct: bool,
    /// What it is. If that is not said, it is raw, but what looks like another format is refused.
    pub image_type: Option<ImageType>,
    /// What the guest is told as its serial number.
    pub id: String,
    /// Whether somebody else has it until [`Disk::lock`] is called.
    pub lock_later: bool,
}

impl DiskOptions {
    /// A raw image that is written to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it is only read.
    #[must_use]
    pub fn read_only(mut self, is_read_only: bool) -> Self {
        self.read_only = is_read_only;
        self
    }

    /// Whether it is accessed past the page cache of the host.
    #[must_use]
    pub fn direct(mut self, is_direct: bool) -> Self {
        self.direct = is_direct;
        self
    }

    /// What it is.
    #[must_use]
    pub fn image_type(mut self, image_type: ImageType) -> Self {
        self.image_type = Some(image_type);
        self
    }

    /// What the guest is told as its serial number.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Whether it is opened without its lock, which is taken by [`Disk::lock`] before the disk is
    /// used: somebody else has it until then, and hands it over.
    #[must_use]
    pub fn lock_later(mut self, is_later: bool) -> Self {
        self.lock_later = is_later;
        self
    }
}

/// A raw disk image, or a block device of the host.
///
/// As long as it exists, the file is locked: against everybody else if it is written to, else
/// against those that write; but for one that is handed over ([`Disk::lock`], [`Disk::unlock`]). It is
/// never mapped, so that a file that is truncated is an error of a
/// read and nothing worse. (A write behind the new end makes it longer again.)
pub struct FileDisk {
    path: PathBuf,
    file: File,
    lock: FileLock,
    id: String,
    bytes: u64,
    blocks: BlockSizes,
    is_device: bool,
    /// It is a file of a file system that has nothing but memory.
    is_in_memory: bool,
    is_read_only: bool,
    direct: Option<Direct>,
    flushes: Flushes,
}

impl FileDisk {
    /// Opens and locks it.
    ///
    /// # Errors
    /// [`DiskError`] with what is wrong: it is not there, no file or block device, empty, part of a
    /// sector too long, not to be written, in use, of another format, or without direct I/O.
    pub fn open(path: &Path, options: &DiskOptions) -> Result<Self, DiskError> {
        Self::open_file(path, options)
            .map_err(|reason| DiskError { path: path.to_path_buf(), reason })
    }

    fn open_file(path: &Path, options: &DiskOptions) -> Result<Self, DiskFault> {
        if options.image_type == Some(ImageType::Qcow2) {
            return Err(DiskFault::Unsupported { format: "qcow2" });
        }
        // Before it is opened, as opening a device may do things.
        let kind = std::fs::metadata(path).map_err(DiskFault::Host)?.file_type();
        refuse_others(kind)?;
        let mut file = open(path, options)?;
        let metadata = file.metadata().map_err(DiskFault::Host)?;
        // Another file may have come in its place.
        refuse_others(metadata.file_type())?;
        let lock = FileLock::new(&metadata, !options.read_only);
        if !options.lock_later {
            lock.take(&file, path)?;
        }

        // A device says how large it is where it ends.
        let bytes = file.seek(SeekFrom::End(0)).map_err(DiskFault::Host)?;
        if bytes == 0 {
            return Err(DiskFault::Empty);
        }
        let is_multiple =
            |unit: u64| (bytes % unit == 0).then_some(()).ok_or(DiskFault::Size { bytes, unit });
        is_multiple(SECTOR_BYTES)?;
        let direct = if options.direct {
            let alignment = host::direct_alignment(&file).map_err(DiskFault::Host)?;
            let alignment = alignment.ok_or(DiskFault::NoDirectIo)?;
            is_multiple(alignment.block as u64)?;
            Some(Direct::new(alignment))
        } else {
            None
        };
        let is_device = metadata.file_type().is_block_device();
        let blocks = if is_device {
            host::device_blocks(&file).map_err(DiskFault::Host)?
        } else {
            let unit = u32::try_from(metadata.blksize()).unwrap_or(FILE_BLOCK_BYTES);
            BlockSizes::new(SECTOR_BYTES as u32, unit.min(FILE_BLOCK_BYTES))
        };
        let is_in_memory = !is_device && host::is_in_memory(&file);
        let disk = Self {
            path: path.to_path_buf(),
            file,
            lock,
            id: options.id.clone(),
            bytes,
            blocks,
            is_device,
            is_in_memory,
            is_read_only: options.read_only,
            direct,
            flushes: Flushes::default(),
        };
        if options.image_type.is_none() {
            disk.refuse_formats()?;
        }
        Ok(disk)
    }

    fn refuse_formats(&self) -> Result<(), DiskFault> {
        let mut head = [0; HEAD_BYTES];
        self.read_at(&mut Scatter::from(&mut head[..]), 0).map_err(DiskFault::Host)?;
        recognise(&head).map_or(Ok(()), |format| Err(DiskFault::Format { format }))
    }

    /// # Errors
    /// What is not inside, and what is only read and is to be written.
    fn check(&self, offset: u64, bytes: u64, to_write: bool) -> io::Result<()> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "behind the end of the disk"));
        }
        if to_write && self.is_read_only {
            return Err(io::Error::from_raw_os_error(libc::EROFS));
        }
        Ok(())
    }

    fn write_zeros(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let zeros = AlignedBuffer::new(bytes.min(ZEROES_BYTES) as usize, FILE_BLOCK_BYTES as usize);
        let zeros = zeros.as_ref();
        let mut done = 0;
        while done < bytes {
            let part = (bytes - done).min(zeros.len() as u64);
            self.write_at(&mut Gather::from(&zeros[..part as usize]), offset + done)?;
            done += part;
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn size_bytes(&self) -> u64 {
        self.bytes
    }

    fn block_sizes(&self) -> BlockSizes {
        self.blocks
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn read_at(&self, to: &mut Scatter<'_>, offset: u64) -> io::Result<()> {
        self.check(offset, to.len() as u64, false)?;
        match &self.direct {
            None => to.read_exact_at(&self.file, offset),
            Some(direct) => direct.read_at(&self.file, to, offset),
        }
    }

    /// What is in the page cache, and all of a file system in memory: there a read cannot be told to
    /// wait for nothing, and waits for no more than what the host has swapped out.
    fn try_read_at(&self, to: &mut Scatter<'_>, offset: u64) -> io::Result<bool> {
        self.check(offset, to.len() as u64, false)?;
        match &self.direct {
            None if self.is_in_memory => to.read_exact_at(&self.file, offset).map(|()| true),
            None => to.try_read_exact_at(&self.file, offset),
            Some(_) => Ok(false),
        }
    }

    /// As long as the host has memory for it, the page cache takes it.
    fn write_waits(&self) -> bool {
        self.direct.is_some()
    }

    fn write_at(&self, from: &mut Gather<'_>, offset: u64) -> io::Result<()> {
        self.check(offset, from.len() as u64, true)?;
        match &self.direct {
            None => from.write_all_at(&self.file, offset),
            Some(direct) => {
                let _guard = direct.guard(offset, from.len() as u64);
                direct.write_at(&self.file, from, offset)
            }
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.flush(|| self.file.sync_data())
    }

    fn lock(&self) -> Result<(), DiskError> {
        let failed = |reason| DiskError { path: self.path.clone(), reason };
        if self.lock.take(&self.file, &self.path).map_err(failed)? {
            // Who had it before has written.
            host::forget_cached(&self.file);
        }
        Ok(())
    }

    fn unlock(&self) {
        self.lock.release(&self.file);
    }

    fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.check(offset, bytes, true)?;
        if bytes == 0 {
            return Ok(());
        }
        let _guard = self.direct.as_ref().map(|direct| direct.guard(offset, bytes));
        let result = if self.is_device {
            host::discard_device(&self.file, offset, bytes)
        } else {
            host::allocate(&self.file, host::PUNCH_HOLE, offset, bytes)
        };
        result.or_else(|error| if host::cannot(&error) { Ok(()) } else { Err(error) })
    }

    fn write_zeroes(&self, offset: u64, bytes: u64, may_unmap: bool) -> io::Result<()> {
        self.check(offset, bytes, true)?;
        if bytes == 0 {
            return Ok(());
        }
        let modes: &[_] =
            if may_unmap { &[host::PUNCH_HOLE, host::ZERO_RANGE] } else { &[host::ZERO_RANGE] };
        for mode in modes {
            let _guard = self.direct.as_ref().map(|direct| direct.guard(offset, bytes));
            match host::allocate(&self.file, *mode, offset, bytes) {
                Err(error) if host::cannot(&error) => {}
                result => return result,
            }
        }
        self.write_zeros(offset, bytes)
    }
}

impl fmt::Debug for FileDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDisk")
            .field("file", &self.file)
            .field("bytes", &self.bytes)
            .field("is_read_only", &self.is_read_only)
            .field("direct", &self.direct)
            .finish_non_exhaustive()
    }
}

fn refuse_others(kind: FileType) -> Result<(), DiskFault> {
    let what = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_fifo() {
        "a pipe"
    } else {
        "a socket"
    };
    Err(DiskFault::Kind(what))
}

fn open(path: &Path, options: &DiskOptions) -> Result<File, DiskFault> {
    let to_write = !options.read_only;
    // Should it have become a pipe, opening it does not wait.
    let mut flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    if options.direct {
        flags |= libc::O_DIRECT;
    }
    let open_to = |write| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    open_to(to_write).map_err(|error| match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EROFS) if to_write && open_to(false).is_ok() => {
            DiskFault::ReadOnly(error)
        }
        Some(libc::EINVAL) if options.direct => DiskFault::NoDirectIo,
        _ => DiskFault::Host(error),
    })
}
