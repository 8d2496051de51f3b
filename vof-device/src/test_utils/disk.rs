//! A disk in memory.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::block::{BlockDevice, SECTOR_BYTES};

/// A disk in memory, and a host that is as good or bad as it is told to be.
#[derive(Debug)]
pub struct TestDisk {
    state: Mutex<State>,
    changed: Condvar,
    block_bytes: u32,
    is_read_only: bool,
    works_in_calls: bool,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    is_at_hand: bool,
    is_held: bool,
    waiting: usize,
    bad: Range<u64>,
    cannot_flush: bool,
    counts: DiskCounts,
}

/// How often a [`TestDisk`] was asked for what, and did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DiskCounts {
    /// Reads of what was at hand.
    pub at_hand: usize,
    /// Reads that may wait.
    pub reads: usize,
    /// Writes.
    pub writes: usize,
    /// Flushes.
    pub flushes: usize,
}

impl TestDisk {
    /// A disk with these bytes, which are whole sectors. All of it is at hand.
    ///
    /// # Panics
    /// If they are none.
    pub fn new(bytes: Vec<u8>) -> Self {
        assert_eq!(bytes.len() as u64 % SECTOR_BYTES, 0, "a disk has whole sectors");
        let state = State {
            bytes,
            is_at_hand: true,
            is_held: false,
            waiting: 0,
            bad: 0..0,
            cannot_flush: false,
            counts: DiskCounts::default(),
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self {
            state,
            changed,
            block_bytes: SECTOR_BYTES as u32,
            is_read_only: false,
            works_in_calls: false,
        }
    }

    /// A disk of so many sectors, with bytes that nearly always say where they are.
    pub fn numbered(sectors: u64) -> Self {
        Self::new((0..sectors * SECTOR_BYTES).map(numbered_byte).collect())
    }

    /// The same with blocks of so many bytes.
    #[must_use]
    pub fn with_block_bytes(self, block_bytes: u32) -> Self {
        Self { block_bytes, ..self }
    }

    /// The same, which works in its clients' calls.
    #[must_use]
    pub fn in_calls(self) -> Self {
        Self { works_in_calls: true, ..self }
    }

    /// The same, and only read.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { is_read_only: true, ..self }
    }

    /// Whether it is at hand from now on: what is not has to be waited for.
    pub fn set_at_hand(&self, is_at_hand: bool) {
        self.lock().is_at_hand = is_at_hand;
    }

    /// Has whoever may wait for it wait, until it is [released](Self::release).
    pub fn hold(&self) {
        self.lock().is_held = true;
    }

    /// Lets all go on who wait for it.
    pub fn release(&self) {
        self.lock().is_held = false;
        self.changed.notify_all();
    }

    /// Waits until somebody waits for it.
    pub fn wait_for_somebody(&self) {
        let none = |state: &mut State| state.waiting == 0;
        drop(self.changed.wait_while(self.lock(), none));
    }

    /// Fails whoever reads or writes any of these bytes from now on.
    pub fn spoil(&self, bytes: Range<u64>) {
        self.lock().bad = bytes;
    }

    /// Fails to flush from now on.
    pub fn spoil_flushes(&self) {
        self.lock().cannot_flush = true;
    }

    /// What is on it.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Changes what is on it, behind everybody's back.
    pub fn change(&self, change: impl FnOnce(&mut [u8])) {
        change(&mut self.lock().bytes);
    }

    /// What was done so far.
    pub fn counts(&self) -> DiskCounts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once the host is so good.
    fn wait(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.waiting += 1;
        self.changed.notify_all();
        let held = self.changed.wait_while(state, |state| state.is_held);
        let mut state = held.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }
}

/// The byte of a [`TestDisk::numbered`] at an offset.
pub fn numbered_byte(offset: u64) -> u8 {
    (offset ^ (offset >> 8).wrapping_mul(7) ^ (offset >> 16).wrapping_mul(59)) as u8
}

impl State {
    /// Where these bytes are, if all of it is right.
    ///
    /// # Panics
    /// If the rules of disks are broken.
    fn place(&self, offset: u64, len: usize) -> io::Result<Range<usize>> {
        assert_eq!(offset % SECTOR_BYTES, 0, "an offset is that of a sector");
        assert_eq!(len as u64 % SECTOR_BYTES, 0, "a length is that of sectors");
        let end = offset.saturating_add(len as u64);
        if end > self.bytes.len() as u64 {
            return Err(ErrorKind::InvalidInput.into());
        }
        if offset < self.bad.end && self.bad.start < end {
            return Err(ErrorKind::Other.into());
        }
        Ok(offset as usize..end as usize)
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let place = self.place(offset, to.len())?;
        to.copy_from_slice(&self.bytes[place]);
        Ok(())
    }
}

impl BlockDevice for TestDisk {
    fn size_bytes(&self) -> u64 {
        self.lock().bytes.len() as u64
    }

    fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn works_in_calls(&self) -> bool {
        self.works_in_calls
    }

    fn try_read(&self, to: &mut [u8], offset: u64) -> io::Result<bool> {
        let mut state = self.lock();
        if !state.is_at_hand {
            // "What is in `to` is nobody's then."
            to.fill(0xee);
            return Ok(false);
        }
        state.read(to, offset)?;
        state.counts.at_hand += 1;
        Ok(true)
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.wait();
        state.read(to, offset)?;
        state.counts.reads += 1;
        Ok(())
    }

    fn write(&self, from: &[u8], offset: u64) -> io::Result<()> {
        assert!(!self.is_read_only, "a disk that is only read is not written");
        let mut state = self.wait();
        let place = state.place(offset, from.len())?;
        state.bytes[place].copy_from_slice(from);
        state.counts.writes += 1;
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.wait();
        if state.cannot_flush {
            return Err(ErrorKind::Other.into());
        }
        state.counts.flushes += 1;
        Ok(())
    }
}
