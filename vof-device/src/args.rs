//! What a client passes: the argument array (IEEE 1275 §6.3.1), and the strings and buffers that
//! its cells point to. The only code that reads or writes an array.

use arch_ppc64::topology::MemoryMap;
use arch_ppc64::{GuestRam, MemoryFault};
use vm_memory::GuestAddress;

use crate::limits::{MAX_CALL_CELLS, MAX_METHOD_RESULTS, MAX_PATH_BYTES, MAX_PROPERTY_NAME_BYTES};

const CELL_BYTES: usize = 4;
/// Service, number of arguments, number of results.
const HEADER_BYTES: usize = 3 * CELL_BYTES;

/// How much of a string is read at once. No service and few property names are longer.
const TEXT_CHUNK_BYTES: usize = 64;

/// The most results that a service has: those of `call-method`, what it caught and what one
/// method leaves.
const MAX_RESULTS: usize = 1 + MAX_METHOD_RESULTS;

/// What was asked cannot be done: the client gets the value that says so, −1 or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the client asks for cannot be done")]
pub struct Failed;

impl From<MemoryFault> for Failed {
    fn from(_: MemoryFault) -> Self {
        Self
    }
}

/// An argument array that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadArray {
    #[error("the argument array at {0:#x} is not all RAM below 4 GiB")]
    NotRam(u64),
    #[error("an array of {arguments} arguments and {results} results is too long")]
    TooLong { arguments: u32, results: u32 },
}

/// A string that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadText {
    #[error("the string at {0:#x} does not end in RAM")]
    NotRam(u32),
    #[error("the string at {0:#x} is too long")]
    TooLong(u32),
}

impl From<BadText> for Failed {
    fn from(_: BadText) -> Self {
        Self
    }
}

/// Room for an argument array.
pub(crate) const ARRAY_ROOM: [u8; HEADER_BYTES + MAX_CALL_CELLS * CELL_BYTES] =
    [0; HEADER_BYTES + MAX_CALL_CELLS * CELL_BYTES];

/// One argument array, as it was when it was read.
#[derive(Debug)]
pub(crate) struct ArgumentArray<'a> {
    at: u64,
    service: u32,
    arguments: Arguments<'a>,
    results: usize,
}

impl<'a> ArgumentArray<'a> {
    /// Reads the array at `at`, in one access: a guest that changes it meanwhile gains nothing.
    ///
    /// The array may end at the last byte of RAM. The places of its results must be RAM too, so
    /// that no call has an effect and no way to tell.
    pub(crate) fn read(guest: &Guest<'_>, at: u64, room: &'a mut [u8]) -> Result<Self, BadArray> {
        let mut array = Arguments(guest.read_available(at, room));
        let [service, arguments, results] = array.first();
        array.0 = array.0.get(HEADER_BYTES..).ok_or(BadArray::NotRam(at))?;
        let too_long = BadArray::TooLong { arguments, results };
        let count = arguments.checked_add(results).ok_or(too_long)? as usize;
        if count > MAX_CALL_CELLS {
            return Err(too_long);
        }
        if array.0.len() < count * CELL_BYTES {
            return Err(BadArray::NotRam(at));
        }
        array.0 = array.0.get(..arguments as usize * CELL_BYTES).unwrap_or_default();
        Ok(Self { at, service, arguments: array, results: results as usize })
    }

    /// Address of the service's name.
    pub(crate) fn service(&self) -> u32 {
        self.service
    }

    /// The arguments.
    pub(crate) fn arguments(&self) -> Arguments<'a> {
        self.arguments
    }

    /// Writes the results that the array has places for, in one access. Places beyond `results`
    /// keep what they have.
    pub(crate) fn write_results(
        &self,
        guest: &Guest<'_>,
        results: &Results,
    ) -> Result<(), MemoryFault> {
        let count = usize::from(results.len).min(self.results);
        let at = self.at + (HEADER_BYTES + self.arguments.0.len()) as u64;
        let cells = results.cells.get(..count).unwrap_or_default();
        guest.ram.write(GuestAddress(at), cells.as_flattened())
    }
}

/// Results of a service, as they will lie in the array. vm-memory copies so few bytes one by one,
/// unless source and destination are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(align(8))]
pub(crate) struct Results {
    cells: [[u8; CELL_BYTES]; MAX_RESULTS],
    len: u8,
}

impl Results {
    /// One more, of [`MAX_RESULTS`] at most.
    #[inline]
    pub(crate) fn push(&mut self, result: u32) {
        if let Some(place) = self.cells.get_mut(usize::from(self.len)) {
            *place = result.to_be_bytes();
            self.len += 1;
        }
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.cells.iter().take(self.len.into()).map(|&cell| u32::from_be_bytes(cell))
    }
}

/// Cells that were passed. They stay bytes until somebody asks for a number of them that the
/// compiler knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arguments<'a>(&'a [u8]);

impl Arguments<'_> {
    /// How many there are.
    pub(crate) fn count(self) -> usize {
        self.0.len() / CELL_BYTES
    }

    /// The first so many. Those that are not there are 0.
    #[inline]
    pub(crate) fn first<const COUNT: usize>(self) -> [u32; COUNT] {
        // One by one: a loop would go through memory.
        std::array::from_fn(|number| {
            let cell = self.0.get(number * CELL_BYTES..).and_then(|rest| rest.first_chunk());
            cell.map_or(0, |cell| u32::from_be_bytes(*cell))
        })
    }
}

/// Guest memory as a client names it: by 32-bit real addresses.
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    ram: &'a dyn GuestRam,
    /// What of it a client may point to.
    memory: &'a MemoryMap,
    /// Where the first stretch of it ends, as far as a client can point: nearly all pointers lie
    /// below.
    first_end: u64,
}

/// Where addresses of a client end.
const ADDRESSES_END: u64 = 1 << 32;

impl<'a> Guest<'a> {
    /// The guest with this memory, which is where `memory` says.
    pub(crate) fn new(ram: &'a dyn GuestRam, memory: &'a MemoryMap) -> Self {
        let first_end = memory.ram_from(GuestAddress(0)).min(ADDRESSES_END);
        Self { ram, memory, first_end }
    }

    /// The memory itself.
    pub(crate) fn ram(&self) -> &'a dyn GuestRam {
        self.ram
    }

    /// Fails unless all of these bytes are RAM: before a transfer of several parts, so that none
    /// is made for nothing. No bytes are RAM everywhere.
    pub(crate) fn check(&self, at: u32, bytes: usize) -> Result<(), Failed> {
        self.check_map(at, bytes)?;
        Ok(self.ram.check_ram(GuestAddress(at.into()), bytes as u64)?)
    }

    /// Fails where not all of these bytes can be RAM.
    fn check_map(&self, at: u32, bytes: usize) -> Result<(), Failed> {
        if bytes as u64 <= self.room_from(at.into()) { Ok(()) } else { Err(Failed) }
    }

    /// How many bytes of RAM below 4 GiB there are from `at` on.
    #[inline]
    fn room_from(&self, at: u64) -> u64 {
        if at < self.first_end { self.first_end - at } else { self.room_further_up(at) }
    }

    #[cold]
    fn room_further_up(&self, at: u64) -> u64 {
        self.memory.ram_from(GuestAddress(at)).min(ADDRESSES_END.saturating_sub(at))
    }

    /// Fills `buffer`.
    pub(crate) fn read(&self, at: u32, buffer: &mut [u8]) -> Result<(), Failed> {
        // RAM that is missing makes the access fail, and what was read of it then is nobody's.
        self.check_map(at, buffer.len())?;
        if !buffer.is_empty() {
            self.ram.read(GuestAddress(u64::from(at)), buffer)?;
        }
        Ok(())
    }

    /// Writes `data`, all of it or, where RAM ends too early, nothing.
    pub(crate) fn write(&self, at: u32, data: &[u8]) -> Result<(), Failed> {
        self.check(at, data.len())?;
        if !data.is_empty() {
            self.ram.write(GuestAddress(u64::from(at)), data)?;
        }
        Ok(())
    }

    /// Reads as much as fits into `buffer` and as there is RAM for; gives what was read.
    #[inline]
    pub(crate) fn read_available<'b>(&self, at: u64, buffer: &'b mut [u8]) -> &'b [u8] {
        let room = self.room_from(at).min(buffer.len() as u64) as usize;
        let Some(buffer) = buffer.get_mut(..room).filter(|room| !room.is_empty()) else {
            return &[];
        };
        let len = self.ram.read_available(GuestAddress(at), buffer);
        buffer.get(..len).unwrap_or_default()
    }

    /// Reads a NUL-terminated string that fits into `room` with its NUL, by chunks: nothing behind
    /// the string has to be RAM. Gives the string without its NUL.
    #[inline]
    pub(crate) fn text<'b>(&self, at: u32, room: &'b mut [u8]) -> Result<&'b [u8], BadText> {
        let mut len = 0;
        while let Some(rest) = room.get_mut(len..).filter(|rest| !rest.is_empty()) {
            let chunk = rest.len().min(TEXT_CHUNK_BYTES);
            let from = u64::from(at) + len as u64;
            let read = self.read_available(from, rest.get_mut(..chunk).unwrap_or_default());
            if let Some(end) = first_nul(read) {
                return Ok(room.get(..len + end).unwrap_or_default());
            }
            if read.len() < chunk {
                return Err(BadText::NotRam(at));
            }
            len += chunk;
        }
        Err(BadText::TooLong(at))
    }
}

/// Room for the name of a property or method, and its NUL.
pub(crate) const NAME_ROOM: [u8; MAX_PROPERTY_NAME_BYTES + 1] = [0; MAX_PROPERTY_NAME_BYTES + 1];
/// Room for a device path, and its NUL.
pub(crate) const PATH_ROOM: [u8; MAX_PATH_BYTES + 1] = [0; MAX_PATH_BYTES + 1];

/// Characters that a client passed.
pub(crate) fn characters(text: &[u8]) -> Result<&str, Failed> {
    std::str::from_utf8(text).map_err(|_| Failed)
}

/// Where the first NUL is. Every call brings a name or two: eight bytes are looked at at once.
#[inline]
fn first_nul(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let mut words = bytes.chunks_exact(8);
    let mut at = 0;
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        // Of the top bits, the lowest one that is set is that of the first zero byte.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    words.remainder().iter().position(|&byte| byte == 0).map(|rest| at + rest)
}

/// A client's buffer that is filled piece by piece, each byte once, up to its length, by so many
/// bytes at a time.
pub(crate) struct Output<'a, const PENDING: usize> {
    guest: Guest<'a>,
    at: u32,
    room: usize,
    pending: [u8; PENDING],
    pending_len: usize,
}

impl<'a, const PENDING: usize> Output<'a, PENDING> {
    /// The buffer of `room` bytes at `at`, for `total` bytes.
    ///
    /// Fails, before anything is written, unless all that will be written is RAM.
    pub(crate) fn new(
        guest: Guest<'a>,
        at: u32,
        room: usize,
        total: usize,
    ) -> Result<Self, Failed> {
        let room = room.min(total);
        guest.check(at, room)?;
        Ok(Self { guest, at, room, pending: [0; PENDING], pending_len: 0 })
    }

    /// Appends `piece`, as far as there is room.
    #[inline]
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Failed> {
        let mut piece = piece.get(..self.room).unwrap_or(piece);
        self.room -= piece.len();
        while !piece.is_empty() {
            if self.pending_len == self.pending.len() {
                self.flush()?;
            }
            let place = self.pending.get_mut(self.pending_len..).unwrap_or_default();
            let (now, later) = piece.split_at(piece.len().min(place.len()));
            let (place, _) = place.split_at_mut(now.len());
            place.copy_from_slice(now);
            self.pending_len += now.len();
            piece = later;
        }
        Ok(())
    }

    /// Writes what is still to be written.
    pub(crate) fn finish(mut self) -> Result<(), Failed> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failed> {
        let pending = self.pending.get(..self.pending_len).unwrap_or_default();
        if !pending.is_empty() {
            // All of it is RAM: `new` has looked.
            self.guest.ram.write(GuestAddress(self.at.into()), pending)?;
        }
        // The last byte may be that at 4 GiB - 1; nothing follows it.
        self.at = self.at.wrapping_add(self.pending_len as u32);
        self.pending_len = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_nul_is_found_wherever_it_is() {
        for len in 0..40 {
            assert_eq!(first_nul(&vec![0x80; len]), None);
            for at in 0..len {
                // What follows, and bytes that are nearly NULs, do not matter.
                for (other, behind) in [(0x80, 1), (1, 0), (0xff, 0x80), (b'a', 0)] {
                    let mut bytes = vec![other; len];
                    bytes[at] = 0;
                    bytes[at + 1..].fill(behind);
                    assert_eq!(first_nul(&bytes), Some(at), "{at} of {len}");
                }
            }
        }
    }
}
