//! The window through which functions can reach memory by addresses that the guest gives them, and
//! the hypercalls that fill its table of translation control entries (LoPAPR §14.5.4.2).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::GuestAddress;

use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::ram::GuestRam;
use crate::vcpu::CpuIndex;

/// How many bytes of the bus the window has, from 0 on.
pub(super) const WINDOW_BYTES: u64 = 16 << 20;

/// What an entry is for.
const PAGE_BYTES: u64 = 1 << 12;
pub(super) const ENTRIES: usize = (WINDOW_BYTES / PAGE_BYTES) as usize;

/// "Page Mapping and Control" of an entry: whether functions may read the page, and write it. None
/// of the two is "page fault" (LoPAPR §3.2, "TCE Definition").
const MAY_READ: u64 = 1;
const MAY_WRITE: u64 = 2;

/// The most entries that one call sets (§14.5.4.2.3 and §14.5.4.2.4).
const CALL_ENTRIES_MAX: u64 = 512;
const ENTRY_BYTES: usize = 8;

/// The number of the first bridge's window (its "LIOBN").
const FIRST_NUMBER: u32 = 0x8000_0000;

/// What a function does with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaAccess {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// The addresses of a bus at which functions find pages of RAM, as the guest has them mapped.
///
/// Functions that are told real addresses do not need it, as those of virtio without
/// `VIRTIO_F_ACCESS_PLATFORM`: the tree says that there is no need of it (`linux,iommu-off`). It is
/// there for guests that use it all the same, and for functions that are behind it, whose accesses
/// the VMM [translates](Self::translate).
#[derive(Clone)]
pub struct DmaWindow(Arc<Window>);

struct Window {
    number: u32,
    entries: Vec<AtomicU64>,
}

impl DmaWindow {
    /// That of the bridge of this number, with nothing mapped.
    pub fn of_bridge(bridge: u8) -> Self {
        let entries = std::iter::repeat_with(AtomicU64::default).take(ENTRIES).collect();
        Self(Arc::new(Window { number: FIRST_NUMBER | u32::from(bridge) << 8, entries }))
    }

    /// What guests call the window in hypercalls (its "LIOBN").
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// The real address of an address of the bus, good to the end of its page of 4 KiB; `None`
    /// where the guest does not let functions make this access. It was RAM when it was mapped;
    /// whether it is, the access has to see.
    pub fn translate(&self, at: u64, access: DmaAccess) -> Option<GuestAddress> {
        let entry = self.0.entries.get(usize::try_from(at / PAGE_BYTES).ok()?)?;
        let entry = entry.load(Ordering::Relaxed);
        let needed = match access {
            DmaAccess::Read => MAY_READ,
            DmaAccess::Write => MAY_WRITE,
        };
        (entry & needed != 0).then_some(GuestAddress(page(entry) + at % PAGE_BYTES))
    }

    /// Maps nothing any more.
    pub(super) fn clear(&self) {
        self.0.entries.iter().for_each(|entry| entry.store(0, Ordering::Relaxed));
    }

    /// The entries that are not 0, with their places.
    #[cfg(feature = "serde")]
    pub(super) fn entries(&self) -> Vec<(u32, u64)> {
        let entries = self.0.entries.iter().map(|entry| entry.load(Ordering::Relaxed));
        (0..).zip(entries).filter(|&(_, entry)| entry != 0).collect()
    }

    /// Sets entries from one on, as far as there are any.
    pub(super) fn set(&self, first: usize, values: impl Iterator<Item = u64>) {
        let entries = self.0.entries.iter().skip(first);
        entries.zip(values).for_each(|(entry, value)| entry.store(value, Ordering::Relaxed));
    }

    /// The first of `count` entries from an address of the bus on.
    fn place(&self, at: u64, count: u64) -> Result<usize, Status> {
        let first = at / PAGE_BYTES;
        match first.checked_add(count) {
            Some(end) if first < ENTRIES as u64 && end <= ENTRIES as u64 => Ok(first as usize),
            _ => Err(Status::PARAMETER),
        }
    }

    /// H_GET_TCE (§14.5.4.2.1): the entry is in R4.
    fn get(&self, call: &mut Hypercall) -> Result<(), Status> {
        let [_, at, ..] = call.args;
        call.args[0] = self.0.entries[self.place(at, 1)?].load(Ordering::Relaxed);
        Ok(())
    }

    /// H_PUT_TCE (§14.5.4.2.2).
    fn put(&self, ram: &dyn GuestRam, call: &Hypercall) -> Result<(), Status> {
        let [_, at, entry, ..] = call.args;
        let place = self.place(at, 1)?;
        check(ram, entry)?;
        self.set(place, std::iter::once(entry));
        Ok(())
    }

    /// H_STUFF_TCE (§14.5.4.2.3): the same for several entries.
    fn stuff(&self, ram: &dyn GuestRam, call: &Hypercall) -> Result<(), Status> {
        let [_, at, entry, count, ..] = call.args;
        if count > CALL_ENTRIES_MAX {
            return Err(Status::P4);
        }
        let place = self.place(at, count)?;
        check(ram, entry)?;
        self.set(place, std::iter::repeat_n(entry, count as usize));
        Ok(())
    }

    /// H_PUT_TCE_INDIRECT (§14.5.4.2.4): several entries out of a page of the guest's. All of them
    /// are checked before the first is set.
    fn put_list(&self, ram: &dyn GuestRam, call: &Hypercall) -> Result<(), Status> {
        let [_, at, list, count, ..] = call.args;
        if count > CALL_ENTRIES_MAX || list % PAGE_BYTES != 0 {
            return Err(Status::PARAMETER);
        }
        let place = self.place(at, count)?;
        let mut page = [0; CALL_ENTRIES_MAX as usize * ENTRY_BYTES];
        let bytes = &mut page[..count as usize * ENTRY_BYTES];
        ram.read(GuestAddress(list), bytes).map_err(|_| Status::PARAMETER)?;
        let entries = || {
            let numbers = bytes.chunks_exact(ENTRY_BYTES);
            numbers.map(|number| number.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
        };
        entries().try_for_each(|entry| check(ram, entry))?;
        self.set(place, entries());
        Ok(())
    }
}

/// "If the logical address within the TCE parameter is outside of the range of calling partition
/// assigned values then return H_PARAMETER."
fn check(ram: &dyn GuestRam, entry: u64) -> Result<(), Status> {
    if entry & (MAY_READ | MAY_WRITE) == 0 {
        return Ok(());
    }
    ram.check_ram(GuestAddress(page(entry)), PAGE_BYTES).map_err(|_| Status::PARAMETER)
}

fn page(entry: u64) -> u64 {
    entry & !(PAGE_BYTES - 1)
}

impl HypercallHandler for DmaWindow {
    fn tokens(&self) -> &[u64] {
        &[token::GET_TCE, token::PUT_TCE, token::STUFF_TCE, token::PUT_TCE_INDIRECT]
    }

    fn unit(&self) -> Option<u64> {
        Some(self.0.number.into())
    }

    fn handle(&self, _caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let [number, ..] = call.args;
        let done = match call.token {
            _ if number != u64::from(self.0.number) => Err(Status::PARAMETER),
            token::GET_TCE => self.get(call),
            token::PUT_TCE => self.put(ram, call),
            token::STUFF_TCE => self.stuff(ram, call),
            token::PUT_TCE_INDIRECT => self.put_list(ram, call),
            _ => Err(Status::FUNCTION),
        };
        call.finish(done.err().unwrap_or(Status::SUCCESS))
    }
}

impl fmt::Debug for DmaWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaWindow").field("number", &self.0.number).finish_non_exhaustive()
    }
}
