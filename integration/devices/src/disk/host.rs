//! What the host's kernel does with files of disks.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use libc::{c_int, c_short, off_t};

use super::direct::{AlignedBuffer, Alignment};
use super::{BlockSizes, SECTOR_BYTES};

/// Gives the space back; it reads as zeros.
pub(super) const PUNCH_HOLE: c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
/// Keeps the space; it reads as zeros.
pub(super) const ZERO_RANGE: c_int = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

/// Locks the file as long as it is open; whoever opened it, even in this process, counts. The lock
/// ends with the last descriptor, however the process ends.
///
/// False where somebody has a lock that excludes this one.
pub(crate) fn lock(file: &File, is_exclusive: bool) -> io::Result<bool> {
    match set_lock(file, if is_exclusive { libc::F_WRLCK } else { libc::F_RDLCK }) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(false),
            _ => Err(error),
        },
    }
}

fn set_lock(file: &File, kind: c_int) -> io::Result<()> {
    // All of it, however long it gets.
    let lock = libc::flock {
        l_type: kind as c_short,
        l_whence: libc::SEEK_SET as c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: reads the structure.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends [`lock`].
pub(crate) fn unlock(file: &File) {
    // Cannot fail: it takes nothing.
    let _ = set_lock(file, libc::F_UNLCK);
}

/// What the host has read of a file ahead of now, it reads again: somebody on another host may have
/// written to it meanwhile.
pub(super) fn forget_cached(file: &File) {
    // SAFETY: passes numbers. It is advice.
    unsafe { libc::posix_fadvise64(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

/// Whether a file is in memory for as long as it exists, as those of tmpfs are. Such a file system
/// does not know of reads that wait for nothing (Linux 6.18 refuses `RWF_NOWAIT`). What the host has
/// swapped out of it is waited for, as the guest's own RAM is.
pub(super) fn is_in_memory(file: &File) -> bool {
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: fills the structure, if it returns 0.
    if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: as above.
    let found = unsafe { found.assume_init() };
    // The type is of another width elsewhere.
    #[expect(clippy::unnecessary_cast, reason = "it is on this host")]
    let is_tmpfs = found.f_type as i64 == libc::TMPFS_MAGIC as i64;
    is_tmpfs
}

/// Has the space of a file's first bytes there, as they are.
pub(crate) fn allocate_ahead(file: &File, bytes: u64) -> io::Result<()> {
    allocate(file, libc::FALLOC_FL_KEEP_SIZE, 0, bytes)
}

/// `fallocate` over so many bytes.
pub(super) fn allocate(file: &File, mode: c_int, offset: u64, bytes: u64) -> io::Result<()> {
    let too_far = |_| io::Error::from_raw_os_error(libc::EFBIG);
    let (offset, bytes) =
        (off_t::try_from(offset).map_err(too_far)?, off_t::try_from(bytes).map_err(too_far)?);
    loop {
        // SAFETY: passes numbers.
        if unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, bytes) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// `linux/fs.h`.
pub(crate) const BLKDISCARD: libc::Ioctl = libc::_IO(0x12, 119);

/// Tells a block device that these bytes are not needed any more.
pub(super) fn discard_device(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let range = [offset, bytes];
    // SAFETY: reads two numbers.
    match unsafe { libc::ioctl(file.as_raw_fd(), BLKDISCARD, range.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The blocks of a block device.
pub(super) fn device_blocks(file: &File) -> io::Result<BlockSizes> {
    let (mut logical, mut physical): (c_int, libc::c_uint) = (0, 0);
    // SAFETY: each writes a number.
    let results = unsafe {
        [
            libc::ioctl(file.as_raw_fd(), libc::BLKSSZGET, &raw mut logical),
            libc::ioctl(file.as_raw_fd(), libc::BLKPBSZGET, &raw mut physical),
        ]
    };
    if results != [0, 0] {
        return Err(io::Error::last_os_error());
    }
    Ok(BlockSizes::new(logical as u32, physical))
}

/// What direct I/O needs; `None` where there is no direct I/O.
pub(super) fn direct_alignment(file: &File) -> io::Result<Option<Alignment>> {
    if let Some((memory, block)) = told_alignment(file) {
        let valid = |bytes: u32| bytes.is_power_of_two() && bytes <= 1 << 16;
        let alignment = Alignment {
            memory: memory as usize,
            block: (block as usize).max(SECTOR_BYTES as usize),
        };
        return Ok((valid(memory) && valid(block)).then_some(alignment));
    }
    // Kernels before 6.1, and file systems that do not say: it is what a read needs.
    for bytes in [512, 1024, 2048, 4096] {
        match file.read_at(AlignedBuffer::new(bytes, bytes).as_mut(), 0) {
            Ok(_) => return Ok(Some(Alignment { memory: bytes, block: bytes })),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What the kernel says of memory and of offsets, if it does.
fn told_alignment(file: &File) -> Option<(u32, u32)> {
    let mut status = MaybeUninit::<libc::statx>::zeroed();
    let (fd, flags) = (file.as_raw_fd(), libc::AT_EMPTY_PATH);
    // SAFETY: reads the name, which is empty, and writes the structure.
    let result =
        unsafe { libc::statx(fd, c"".as_ptr(), flags, libc::STATX_DIOALIGN, status.as_mut_ptr()) };
    // SAFETY: numbers, all of which may be 0.
    let status = unsafe { status.assume_init() };
    let is_told = result == 0 && status.stx_mask & libc::STATX_DIOALIGN != 0;
    is_told.then_some((status.stx_dio_mem_align, status.stx_dio_offset_align))
}

/// Whether the host says that it has no such function.
pub(super) fn cannot(error: &io::Error) -> bool {
    // EINVAL is what drivers say of a range that they have no command for.
    let none = [libc::EOPNOTSUPP, libc::ENOSYS, libc::ENOTTY, libc::EINVAL, libc::ENODEV];
    error.raw_os_error().is_some_and(|error| none.contains(&error))
}
