//! Memory in pieces, as the host's kernel reads into it and writes from it in one call.
//!
//! A [`Gather`] is what a write takes its bytes from, a [`Scatter`] where a read puts them. Both
//! are used up from the front by what is done with them. They are made of a slice, or of
//! guest memory ([`Pieces`](crate::chain::Pieces)), which others may change at any time.
//!
//! This is where addresses of memory go to the kernel; the rest of the crate passes these two.
#![allow(unsafe_code)]

use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use libc::{c_int, iovec, off_t};
use smallvec::SmallVec;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{Bytes, VolatileSlice};

/// How many pieces the kernel takes in one call.
pub const MAX_PIECES: usize = 1024;

/// So many pieces need no allocation.
const INLINE: usize = 16;

/// Memory that is read from, to be written elsewhere.
#[derive(Debug)]
pub struct Gather<'m> {
    pieces: Iovecs,
    memory: PhantomData<&'m [u8]>,
}

/// Memory that is written to by what is read elsewhere.
#[derive(Debug)]
pub struct Scatter<'m> {
    pieces: Iovecs,
    memory: PhantomData<&'m mut [u8]>,
}

impl<'m> Gather<'m> {
    /// These pieces, in this order.
    pub(crate) fn new<B: BitmapSlice>(pieces: &[VolatileSlice<'m, B>]) -> Self {
        Self { pieces: Iovecs::new(pieces), memory: PhantomData }
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.pieces.bytes
    }

    /// Whether there are none left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the address of each piece is a multiple of `address`, and the length of `length`,
    /// which are powers of two.
    pub fn is_aligned(&self, address: usize, length: usize) -> bool {
        self.pieces.is_aligned(address, length)
    }

    /// Takes the first `bytes` away from the rest, or all that there are.
    #[must_use]
    pub fn split_front(&mut self, bytes: usize) -> Self {
        Self { pieces: self.pieces.split_front(bytes), memory: PhantomData }
    }

    /// Puts the pieces of `other` behind its own.
    pub fn append(&mut self, other: Self) {
        self.pieces.append(&other.pieces);
    }

    /// Copies the next bytes, up to the length of `buf`, and tells how many.
    pub fn copy_to(&mut self, buf: &mut [u8]) -> usize {
        self.pieces.each(buf.len(), |done, piece| {
            // In its bounds.
            let _ = piece.read_slice(&mut buf[done..done + piece.len()], 0);
        })
    }

    /// Writes all of it to `file` from `offset` bytes on.
    ///
    /// # Errors
    /// What the host says; part of it may have been written.
    pub fn write_all_at(&mut self, file: impl AsFd, offset: u64) -> io::Result<()> {
        self.pieces.transfer_at(
            file.as_fd().as_raw_fd(),
            offset,
            libc::pwritev,
            ErrorKind::WriteZero,
        )
    }

    /// Writes what a stream takes in one call, and tells how many bytes. A packet is taken whole,
    /// for pieces that do not come in more than [`MAX_PIECES`].
    ///
    /// # Errors
    /// What the host says; `WouldBlock` where a non-blocking file takes none.
    pub fn write(&mut self, file: impl AsFd) -> io::Result<usize> {
        self.pieces.transfer(file.as_fd().as_raw_fd(), libc::writev)
    }
}

impl<'m> From<&'m [u8]> for Gather<'m> {
    fn from(memory: &'m [u8]) -> Self {
        // The kernel and `copy_to` only read it.
        Self { pieces: Iovecs::of(memory.as_ptr().cast_mut(), memory.len()), memory: PhantomData }
    }
}

impl<'m> Scatter<'m> {
    /// These pieces, in this order. The caller marks as dirty what was written there.
    pub(crate) fn new<B: BitmapSlice>(pieces: &[VolatileSlice<'m, B>]) -> Self {
        Self { pieces: Iovecs::new(pieces), memory: PhantomData }
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.pieces.bytes
    }

    /// Whether there are none left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the address of each piece is a multiple of `address`, and the length of `length`,
    /// which are powers of two.
    pub fn is_aligned(&self, address: usize, length: usize) -> bool {
        self.pieces.is_aligned(address, length)
    }

    /// Takes the first `bytes` away from the rest, or all that there are.
    #[must_use]
    pub fn split_front(&mut self, bytes: usize) -> Self {
        Self { pieces: self.pieces.split_front(bytes), memory: PhantomData }
    }

    /// Puts the pieces of `other` behind its own.
    pub fn append(&mut self, other: Self) {
        self.pieces.append(&other.pieces);
    }

    /// Copies `data` to the front, as much as there is room for, and tells how many bytes.
    pub fn copy_from(&mut self, data: &[u8]) -> usize {
        self.pieces.each(data.len(), |done, piece| {
            // In its bounds.
            let _ = piece.write_slice(&data[done..done + piece.len()], 0);
        })
    }

    /// Reads all of it from `file`, from `offset` bytes on.
    ///
    /// # Errors
    /// What the host says, or `UnexpectedEof` where the file ends before; part of it may have been
    /// read.
    pub fn read_exact_at(&mut self, file: impl AsFd, offset: u64) -> io::Result<()> {
        let end = ErrorKind::UnexpectedEof;
        self.pieces.transfer_at(file.as_fd().as_raw_fd(), offset, libc::preadv, end)
    }

    /// The same, but it waits for nothing: `false` where the host does not have all of it at hand, or
    /// cannot tell. What is in the pieces is nobody's then.
    ///
    /// # Errors
    /// As [`read_exact_at`](Self::read_exact_at).
    pub fn try_read_exact_at(&mut self, file: impl AsFd, offset: u64) -> io::Result<bool> {
        let end = ErrorKind::UnexpectedEof;
        let read = self.pieces.transfer_at(file.as_fd().as_raw_fd(), offset, preadv_now, end);
        match read.as_ref().map_err(io::Error::raw_os_error) {
            Ok(()) => Ok(true),
            // The last two are file systems and kernels without this.
            Err(Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::ENOSYS)) => Ok(false),
            Err(_) => read.map(|()| true),
        }
    }

    /// Reads what a stream has in one call, or the next packet, and tells how many bytes; 0 at the
    /// end.
    ///
    /// # Errors
    /// What the host says; `WouldBlock` where a non-blocking file has none.
    pub fn read(&mut self, file: impl AsFd) -> io::Result<usize> {
        self.pieces.transfer(file.as_fd().as_raw_fd(), libc::readv)
    }
}

impl<'m> From<&'m mut [u8]> for Scatter<'m> {
    fn from(memory: &'m mut [u8]) -> Self {
        Self { pieces: Iovecs::of(memory.as_mut_ptr(), memory.len()), memory: PhantomData }
    }
}

/// Pieces of memory that is there, and may be accessed, for as long as the owner says.
struct Iovecs {
    list: SmallVec<[iovec; INLINE]>,
    /// Those before are used up.
    first: usize,
    /// In those that are left.
    bytes: usize,
}

type TransferAt = unsafe extern "C" fn(RawFd, *const iovec, c_int, off_t) -> isize;
type Transfer = unsafe extern "C" fn(RawFd, *const iovec, c_int) -> isize;

/// As `preadv`, of what the host has at hand.
unsafe extern "C" fn preadv_now(file: RawFd, list: *const iovec, count: c_int, at: off_t) -> isize {
    // SAFETY: the caller's promise is passed on.
    unsafe { libc::preadv2(file, list, count, at, libc::RWF_NOWAIT) }
}

impl Iovecs {
    fn new<B: BitmapSlice>(pieces: &[VolatileSlice<'_, B>]) -> Self {
        let list = pieces.iter().map(|piece| piece_of(piece.ptr_guard_mut().as_ptr(), piece.len()));
        let bytes = pieces.iter().map(VolatileSlice::len).sum();
        Self { list: list.collect(), first: 0, bytes }
    }

    fn of(start: *mut u8, bytes: usize) -> Self {
        Self { list: SmallVec::from_iter([piece_of(start, bytes)]), first: 0, bytes }
    }

    fn left(&self) -> &[iovec] {
        &self.list[self.first..]
    }

    fn is_aligned(&self, address: usize, length: usize) -> bool {
        let has = |value: usize, unit: usize| value & unit.wrapping_sub(1) == 0;
        self.left()
            .iter()
            .all(|piece| has(piece.iov_base.addr(), address) && has(piece.iov_len, length))
    }

    /// Uses up so many bytes, which there are.
    fn advance(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let mut bytes = bytes;
        while let Some(piece) = self.list.get_mut(self.first) {
            if bytes < piece.iov_len {
                piece.iov_base = piece.iov_base.wrapping_byte_add(bytes);
                piece.iov_len -= bytes;
                break;
            }
            bytes -= piece.iov_len;
            self.first += 1;
        }
    }

    fn split_front(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        let mut list = SmallVec::new();
        let mut missing = bytes;
        for piece in self.left() {
            if missing == 0 {
                break;
            }
            let part = missing.min(piece.iov_len);
            list.push(iovec { iov_base: piece.iov_base, iov_len: part });
            missing -= part;
        }
        self.advance(bytes);
        Self { list, first: 0, bytes }
    }

    fn append(&mut self, other: &Self) {
        self.list.extend_from_slice(other.left());
        self.bytes += other.bytes;
    }

    /// Uses up to `most` bytes by calling `copy` with each piece of them and how many came before.
    fn each(&mut self, most: usize, mut copy: impl FnMut(usize, &VolatileSlice<'_>)) -> usize {
        let mut done = 0;
        for piece in self.left() {
            let bytes = piece.iov_len.min(most - done);
            if bytes == 0 && done == most {
                break;
            }
            // SAFETY: such memory is there while this is. It is guest memory, which all access as
            // such, or that of a slice, which is borrowed.
            let slice = unsafe { VolatileSlice::new(piece.iov_base.cast(), bytes) };
            copy(done, &slice);
            done += bytes;
        }
        self.advance(done);
        done
    }

    /// Calls until all is used up. `end` is the error where the file has or takes no more.
    fn transfer_at(
        &mut self,
        file: RawFd,
        offset: u64,
        call: TransferAt,
        end: ErrorKind,
    ) -> io::Result<()> {
        let too_far = || io::Error::from_raw_os_error(libc::EFBIG);
        let mut at = off_t::try_from(offset).map_err(|_| too_far())?;
        while self.bytes != 0 {
            // SAFETY: the kernel accesses what the list names and nothing else, and that is there
            // while this is.
            let result = self.with_next(|list, count| unsafe { call(file, list, count, at) });
            match result {
                Ok(0) => return Err(end.into()),
                Ok(bytes) => at = at.checked_add(bytes as off_t).ok_or_else(too_far)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Calls once.
    fn transfer(&mut self, file: RawFd, call: Transfer) -> io::Result<usize> {
        loop {
            // SAFETY: as above.
            match self.with_next(|list, count| unsafe { call(file, list, count) }) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn with_next(&mut self, call: impl FnOnce(*const iovec, c_int) -> isize) -> io::Result<usize> {
        let next = self.left();
        let count = next.len().min(MAX_PIECES);
        let Ok(bytes) = usize::try_from(call(next.as_ptr(), count as c_int)) else {
            return Err(io::Error::last_os_error());
        };
        self.advance(bytes.min(self.bytes));
        Ok(bytes)
    }
}

impl std::fmt::Debug for Iovecs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iovecs")
            .field("pieces", &self.left().len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

fn piece_of(start: *mut u8, bytes: usize) -> iovec {
    iovec { iov_base: start.cast(), iov_len: bytes }
}
