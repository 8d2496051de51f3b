//! Requests of a block device (Virtio 1.2 §5.2.6).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arch_ppc64::log_limit::LogLimit;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR,
    VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use vm_memory::bitmap::BitmapSlice;

use super::config::{
    MAX_DISCARD_RANGES, MAX_DISCARD_SECTORS, MAX_TRANSFER_BYTES, MAX_ZEROES_RANGES,
    MAX_ZEROES_SECTORS,
};
use super::counts::{Counts, Done};
use crate::chain::{Chain, Pieces};
use crate::disk::{Disk, SECTOR_BYTES};

/// type (4), reserved (4), sector (8), little-endian.
const HEADER_BYTES: usize = 16;

/// sector (8), num_sectors (4), flags (4), little-endian.
const RANGE_BYTES: usize = 16;

static HOST_ERRORS: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("disk");

/// A transfer of so many bytes takes long, even where it is one of memory.
const LONG_BYTES: usize = 128 << 10;

/// A write that should be one to memory and takes so long waits for the disk: the host has no memory
/// left for it.
const SLOW_WRITE: Duration = Duration::from_millis(1);

/// What answers the requests of one queue.
pub(super) struct Requests {
    disk: Arc<dyn Disk>,
    can_discard: bool,
    can_zero: bool,
    writes_back: Arc<AtomicBool>,
    /// The last write was.
    is_slow: AtomicBool,
    counts: Arc<Counts>,
}

/// What a chain asks for.
pub(super) struct Request<'m, B> {
    /// If it has one.
    header: Option<[u8; HEADER_BYTES]>,
    chain: Chain<'m, B>,
    status: Pieces<'m, B>,
}

/// What a request has to do with the others of its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing.
    Any,
    /// It changes the disk.
    Write,
    /// It comes behind all of those that were before it.
    Flush,
}

/// Why a request is not done: the status that it gets.
enum Refusal {
    /// The driver asks for what cannot be.
    Invalid,
    /// The device does not know it.
    Unsupported,
    /// The host cannot, doing that.
    Host(&'static str, io::Error),
}

impl<'m, B: BitmapSlice> Request<'m, B> {
    /// `None` where there is no room for a status.
    pub(super) fn new(mut chain: Chain<'m, B>) -> Option<Self> {
        let status = chain.writable.split_back(1)?;
        let header = chain.readable.split_front(HEADER_BYTES).and_then(|header| header.read_obj());
        Some(Self { header, chain, status })
    }

    pub(super) fn order(&self) -> Order {
        match self.header.map(|header| u32_at(&header, 0)) {
            Some(VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES) => {
                Order::Write
            }
            Some(VIRTIO_BLK_T_FLUSH) => Order::Flush,
            _ => Order::Any,
        }
    }
}

impl Requests {
    /// On this disk, with the features that the driver took.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        features: u64,
        writes_back: Arc<AtomicBool>,
        counts: Arc<Counts>,
    ) -> Self {
        let has = |feature: u32| features >> feature & 1 != 0;
        let (can_discard, can_zero) = (has(VIRTIO_BLK_F_DISCARD), has(VIRTIO_BLK_F_WRITE_ZEROES));
        let is_slow = AtomicBool::new(false);
        Self { disk, can_discard, can_zero, writes_back, is_slow, counts }
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Does what a request says, and writes its status. Gives how many bytes were written from the
    /// first writable one on (§2.7.8). Before it waits for the disk, or is long at it, it calls
    /// `before_waiting`, if there is such.
    pub(super) fn answer<B: BitmapSlice>(
        &self,
        mut request: Request<'_, B>,
        before_waiting: Option<&mut dyn FnMut()>,
    ) -> u32 {
        let (status, written) = match self.execute(&mut request, before_waiting) {
            Ok((written, done)) => {
                self.counts.count(done);
                (VIRTIO_BLK_S_OK, written)
            }
            Err(Refusal::Unsupported) => (VIRTIO_BLK_S_UNSUPP, 0),
            Err(Refusal::Invalid) => (VIRTIO_BLK_S_IOERR, 0),
            Err(Refusal::Host(what, error)) => {
                self.counts.count_error();
                HOST_ERRORS.warn(format_args!("{:?}: cannot {what}: {error}", self.disk.id()));
                (VIRTIO_BLK_S_IOERR, 0)
            }
        };
        // It has room for one byte.
        request.status.copy_from(&[status as u8]);
        let is_whole = written == request.chain.writable.len();
        // A chain has less than 2³² bytes.
        (written + usize::from(is_whole)) as u32
    }

    /// How many bytes were written into the driver's buffers, and what was done.
    fn execute<B: BitmapSlice>(
        &self,
        request: &mut Request<'_, B>,
        mut before_waiting: Option<&mut dyn FnMut()>,
    ) -> Result<(usize, Done), Refusal> {
        let header = request.header.ok_or(Refusal::Invalid)?;
        let chain = &request.chain;
        let kind = u32_at(&header, 0);
        let sector = u64_at(&header, 8);
        let mut wait = || {
            if let Some(before_waiting) = &mut before_waiting {
                before_waiting();
            }
        };
        match kind {
            VIRTIO_BLK_T_IN => {
                let offset = self.place_of(sector, &chain.writable)?;
                self.read(&chain.writable, offset, before_waiting)
                    .map_err(|error| Refusal::Host("read", error))?;
                let bytes = chain.writable.len();
                Ok((bytes, Done::Read(bytes)))
            }
            VIRTIO_BLK_T_OUT => {
                self.check_writable()?;
                let offset = self.place_of(sector, &chain.readable)?;
                let is_long = chain.readable.len() >= LONG_BYTES;
                let waits = self.disk.write_waits() || !self.writes_back.load(Ordering::Relaxed);
                if is_long || waits || self.is_slow.load(Ordering::Relaxed) {
                    wait();
                }
                let begin = Instant::now();
                self.disk
                    .write_at(&mut chain.readable.gather(), offset)
                    .map_err(|error| Refusal::Host("write", error))?;
                let is_slow = !is_long && begin.elapsed() >= SLOW_WRITE;
                self.is_slow.store(is_slow, Ordering::Relaxed);
                self.settle()?;
                Ok((0, Done::Write(chain.readable.len())))
            }
            VIRTIO_BLK_T_FLUSH => {
                wait();
                self.flush()?;
                Ok((0, Done::Flush))
            }
            VIRTIO_BLK_T_GET_ID => {
                let mut id = [0; VIRTIO_BLK_ID_BYTES as usize];
                let text = self.disk.id().as_bytes();
                let bytes = text.len().min(id.len());
                id[..bytes].copy_from_slice(&text[..bytes]);
                Ok((chain.writable.copy_from(&id), Done::Other))
            }
            VIRTIO_BLK_T_DISCARD if self.can_discard => {
                wait();
                let limits = (MAX_DISCARD_RANGES, MAX_DISCARD_SECTORS);
                self.for_ranges(&chain.readable, limits, 0, |offset, bytes, _| {
                    self.disk.discard(offset, bytes)
                })?;
                Ok((0, Done::Discard))
            }
            VIRTIO_BLK_T_WRITE_ZEROES if self.can_zero => {
                wait();
                let limits = (MAX_ZEROES_RANGES, MAX_ZEROES_SECTORS);
                let unmap = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
                self.for_ranges(&chain.readable, limits, unmap, |offset, bytes, flags| {
                    self.disk.write_zeroes(offset, bytes, flags & unmap != 0)
                })?;
                Ok((0, Done::Discard))
            }
            _ => Err(Refusal::Unsupported),
        }
    }

    /// What the host has at hand is read at once.
    fn read<B: BitmapSlice>(
        &self,
        to: &Pieces<'_, B>,
        offset: u64,
        before_waiting: Option<&mut dyn FnMut()>,
    ) -> io::Result<()> {
        if let Some(before_waiting) = before_waiting {
            let is_long = to.len() >= LONG_BYTES;
            if is_long {
                before_waiting();
            }
            if to.fill(|to| self.disk.try_read_at(to, offset))? {
                return Ok(());
            }
            if !is_long {
                before_waiting();
            }
        }
        to.fill(|to| self.disk.read_at(to, offset))
    }

    /// "A device MUST set the status byte to VIRTIO_BLK_S_IOERR for a write request if the
    /// VIRTIO_BLK_F_RO feature is offered, and MUST NOT write any data" (§5.2.6.2).
    fn check_writable(&self) -> Result<(), Refusal> {
        if self.disk.is_read_only() { Err(Refusal::Invalid) } else { Ok(()) }
    }

    /// Where a transfer begins, in bytes, if it is one of this disk.
    fn place_of<B: BitmapSlice>(&self, sector: u64, data: &Pieces<'_, B>) -> Result<u64, Refusal> {
        match data.len() as u64 {
            bytes if bytes <= MAX_TRANSFER_BYTES => self.place(sector, bytes),
            _ => Err(Refusal::Invalid),
        }
    }

    /// Where so many bytes from `sector` on are, in bytes, if they are inside the disk and whole
    /// sectors.
    fn place(&self, sector: u64, bytes: u64) -> Result<u64, Refusal> {
        let offset = sector.checked_mul(SECTOR_BYTES).ok_or(Refusal::Invalid)?;
        let end = offset.checked_add(bytes).ok_or(Refusal::Invalid)?;
        if end > self.disk.size_bytes() || bytes % SECTOR_BYTES != 0 {
            return Err(Refusal::Invalid);
        }
        Ok(offset)
    }

    /// Calls `act` with offset, length and flags of each range in `list`, once all were found to be
    /// valid. `limits` is how many ranges there may be, and of how many sectors each.
    fn for_ranges<B: BitmapSlice>(
        &self,
        list: &Pieces<'_, B>,
        limits: (usize, u32),
        known_flags: u32,
        mut act: impl FnMut(u64, u64, u32) -> io::Result<()>,
    ) -> Result<(), Refusal> {
        self.check_writable()?;
        let mut copy = [0; MAX_DISCARD_RANGES * RANGE_BYTES];
        if list.is_empty() || list.len() % RANGE_BYTES != 0 || list.len() > limits.0 * RANGE_BYTES {
            return Err(Refusal::Invalid);
        }
        let bytes = list.copy_to(&mut copy);
        let ranges = copy[..bytes].chunks_exact(RANGE_BYTES).map(|range| {
            let (sectors, flags) = (u32_at(range, 8), u32_at(range, 12));
            // "MUST set the status byte to VIRTIO_BLK_S_UNSUPP … if any unknown flag is set" (§5.2.6.2)
            if flags & !known_flags != 0 {
                return Err(Refusal::Unsupported);
            }
            if sectors > limits.1 {
                return Err(Refusal::Invalid);
            }
            let bytes = u64::from(sectors) * SECTOR_BYTES;
            Ok((self.place(u64_at(range, 0), bytes)?, bytes, flags))
        });
        ranges.clone().try_for_each(|range| range.map(drop))?;
        for range in ranges {
            let (offset, bytes, flags) = range?;
            act(offset, bytes, flags).map_err(|error| Refusal::Host("discard or zero", error))?;
        }
        self.settle()
    }

    /// A write is done where it lasts, unless the driver knows of flushes (§5.2.6.2).
    fn settle(&self) -> Result<(), Refusal> {
        if self.writes_back.load(Ordering::Relaxed) { Ok(()) } else { self.flush() }
    }

    fn flush(&self) -> Result<(), Refusal> {
        self.disk.flush().map_err(|error| Refusal::Host("flush", error))
    }
}

/// The caller knows that they are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}
