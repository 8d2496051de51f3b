//! Guest RAM that remembers who did what to it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch_ppc64::{GuestRam, MemoryFault};
use vm_memory::GuestAddress;

const PAGE_BYTES: u64 = 4096;
static ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// RAM from address 0 on, perhaps with a hole, all zeros at first. It takes host memory only where something else than
/// zeros was written, so it can be of any size.
///
/// A write that RAM ends within is made as far as there is RAM: the worst that a [`GuestRam`] may
/// do.
#[derive(Debug)]
pub(crate) struct WatchedRam {
    end: u64,
    hole: Range<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<u64, Box<[u8]>>,
    writes: Vec<Range<u64>>,
    work: Work,
}

/// What was done since the last question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Work {
    pub(crate) accesses: u64,
    pub(crate) bytes: u64,
}

impl WatchedRam {
    pub(crate) fn new(bytes: u64) -> Self {
        Self::with_hole(bytes, 0..0)
    }

    /// To `end`, but for what is in `hole`.
    pub(crate) fn with_hole(end: u64, hole: Range<u64>) -> Self {
        Self { end, hole, state: Mutex::default() }
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes of RAM there are from `at` on.
    pub(crate) fn room_from(&self, at: u64) -> u64 {
        match at {
            at if self.hole.contains(&at) => 0,
            at if at < self.hole.start => self.hole.start - at,
            at => self.end.saturating_sub(at),
        }
    }

    /// Writes, as the guest itself does: as far as there is RAM, and not remembered.
    pub(crate) fn poke(&self, at: u64, data: &[u8]) {
        let room = self.room_from(at).min(data.len() as u64);
        self.lock().store(at, &data[..room as usize]);
    }

    /// As [`poke`](Self::poke), for big-endian cells.
    pub(crate) fn poke_cells(&self, at: u64, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.poke(at, &bytes);
    }

    /// Reads as the guest itself does; zeros where there is no RAM.
    pub(crate) fn peek(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let room = self.room_from(at).min(len as u64);
        self.lock().load(at, &mut bytes[..room as usize]);
        bytes
    }

    /// The big-endian cell at an address.
    pub(crate) fn peek_cell(&self, at: u64) -> u32 {
        self.peek(at, 4).iter().fold(0, |cell, &byte| cell << 8 | u32::from(byte))
    }

    /// What was written, and how much was done, since the last question.
    pub(crate) fn take(&self) -> (Vec<Range<u64>>, Work) {
        let mut state = self.lock();
        (std::mem::take(&mut state.writes), std::mem::take(&mut state.work))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes from `at` on are RAM, of `len`.
    fn room(&self, at: GuestAddress, len: usize) -> usize {
        self.room_from(at.0).min(len as u64) as usize
    }
}

impl State {
    fn count(&mut self, bytes: usize) {
        self.work.accesses += 1;
        self.work.bytes += bytes as u64;
    }

    fn load(&self, at: u64, buf: &mut [u8]) {
        for (place, address, len) in pieces(at, buf.len()) {
            let offset = (address % PAGE_BYTES) as usize;
            match self.pages.get(&(address / PAGE_BYTES)) {
                Some(page) => {
                    buf[place..place + len].copy_from_slice(&page[offset..offset + len]);
                }
                None => buf[place..place + len].fill(0),
            }
        }
    }

    fn store(&mut self, at: u64, data: &[u8]) {
        for (place, address, len) in pieces(at, data.len()) {
            let offset = (address % PAGE_BYTES) as usize;
            let data = &data[place..place + len];
            let number = address / PAGE_BYTES;
            if !self.pages.contains_key(&number) && *data == ZEROS[..len] {
                continue;
            }
            let page =
                self.pages.entry(number).or_insert_with(|| vec![0; PAGE_BYTES as usize].into());
            page[offset..offset + len].copy_from_slice(data);
        }
    }
}

/// The pieces of a range that lie in one page each: offset in the range, address, length.
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (usize, u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let address = at + done as u64;
        let piece = (len - done).min((PAGE_BYTES - address % PAGE_BYTES) as usize);
        let place = done;
        done += piece;
        (piece > 0).then_some((place, address, piece))
    })
}

impl GuestRam for WatchedRam {
    fn read(&self, at: GuestAddress, buf: &mut [u8]) -> Result<(), MemoryFault> {
        let len = buf.len();
        let room = self.room(at, len);
        let mut state = self.lock();
        state.count(room);
        state.load(at.0, &mut buf[..room]);
        if room == len { Ok(()) } else { Err(MemoryFault::new(at, len)) }
    }

    fn write(&self, at: GuestAddress, data: &[u8]) -> Result<(), MemoryFault> {
        let len = data.len();
        let room = self.room(at, len);
        let mut state = self.lock();
        state.count(room);
        state.store(at.0, &data[..room]);
        if room > 0 {
            let end = at.0 + room as u64;
            match state.writes.last_mut() {
                Some(last) if last.end == at.0 => last.end = end,
                _ => state.writes.push(at.0..end),
            }
        }
        if room == len { Ok(()) } else { Err(MemoryFault::new(at, len)) }
    }

    fn read_available(&self, at: GuestAddress, buf: &mut [u8]) -> usize {
        let room = self.room(at, buf.len());
        let mut state = self.lock();
        state.count(room);
        state.load(at.0, &mut buf[..room]);
        room
    }

    fn check_ram(&self, at: GuestAddress, bytes: u64) -> Result<(), MemoryFault> {
        let len = bytes as usize;
        let is_ram = self.room(at, len) == len;
        if is_ram { Ok(()) } else { Err(MemoryFault::new(at, len)) }
    }
}

/// Whether the ranges together have every byte that was written.
pub(crate) fn are_within(writes: &[Range<u64>], permitted: &[Range<u64>]) -> bool {
    let mut permitted = permitted.to_vec();
    permitted.sort_by_key(|range| range.start);
    writes.iter().all(|write| {
        let reached = permitted
            .iter()
            .fold(write.start, |at, range| if range.contains(&at) { range.end } else { at });
        reached >= write.end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_ram_and_remembers() {
        let ram = WatchedRam::new(0x1800);
        let at = GuestAddress(0xffe);
        ram.write(at, b"abcd").unwrap();
        ram.write(GuestAddress(0x1002), b"e").unwrap();
        let mut read = [0xff; 6];
        ram.read(at, &mut read).unwrap();
        assert_eq!(&read, b"abcde\0");
        assert_eq!(ram.write(GuestAddress(0x17ff), b"xy").unwrap_err().len, 2);
        assert_eq!(ram.peek(0x17ff, 2), b"x\0");
        assert!(ram.read(GuestAddress(0x17ff), &mut read).is_err());
        assert_eq!(ram.read_available(GuestAddress(0x17fe), &mut read), 2);
        assert_eq!(ram.read_available(GuestAddress(u64::MAX), &mut read), 0);
        let (writes, work) = ram.take();
        assert_eq!(writes, [0xffe..0x1003, 0x17ff..0x1800]);
        assert_eq!(work, Work { accesses: 7, bytes: 4 + 1 + 6 + 1 + 1 + 2 });
        assert_eq!(ram.take(), (vec![], Work::default()));
        let ram = WatchedRam::with_hole(0x3000, 0x1000..0x2000);
        let rooms = [0, 0xfff, 0x1000, 0x1fff, 0x2000, 0x2fff, 0x3000].map(|at| ram.room_from(at));
        assert_eq!(rooms, [0x1000, 1, 0, 0, 0x1000, 1, 0]);
        assert!(ram.check_ram(GuestAddress(0xff0), 0x20).is_err());
    }

    #[test]
    fn writes_are_within_or_not() {
        let within = |writes: &[Range<u64>]| are_within(writes, &[12..16, 0..4, 8..12]);
        assert!(within(&[]) && within(&[0..4, 9..10, 9..16]));
        assert!(!within(&[0..1, 3..5]) && !within(&[0..1, 16..17]) && !within(&[0..1, 2..9]));
    }
}
