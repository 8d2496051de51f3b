//! The pages of the controller: of sources, of queues, and the thread interrupt management area.

use vm_memory::GuestAddress;

use super::controller::SourcePages;
use super::esb::Load;
use super::server::PRIORITIES;
use super::state::{PAGES_OF_SERVER, Refused};
use super::{PAGE_SHIFT, Xive};
use crate::layout::{
    FIRST_INTERRUPT, MAX_CPUS, XIVE_OS_PAGE, XIVE_QUEUES, XIVE_SOURCES, XIVE_USER_PAGE,
};
use crate::platform::{MAX_SOURCES, MmioHandler, MmioRange};
use crate::vcpu::CpuIndex;

/// Past the last number that a source can have: so many have pages.
pub(super) const SOURCE_END: u32 = FIRST_INTERRUPT + MAX_SOURCES;

const SOURCES: usize = 0;
const QUEUES: usize = 1;
const OS_PAGE: usize = 2;
const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

const RANGES: &[MmioRange] = &[
    MmioRange::new(XIVE_SOURCES, SOURCE_END as u64 * 2 * PAGE_BYTES),
    MmioRange::new(XIVE_QUEUES, MAX_CPUS as u64 * PAGES_OF_SERVER * PAGE_BYTES),
    MmioRange::new(XIVE_OS_PAGE, PAGE_BYTES),
    // Programs have nothing there: there are no event-based branches by interrupts.
    MmioRange::new(XIVE_USER_PAGE, PAGE_BYTES),
];

/// Who is no CPU has no ring.
const NO_CPU: CpuIndex = CpuIndex(u32::MAX);

/// What a load has where nothing is.
const NOTHING: u64 = u64::MAX;

// Offsets in the page for operating systems, and the sizes of accesses that mean something there.
const RING: u64 = 0x10;
const RINGS_END: u64 = 0x40;
const CPPR: (u64, usize) = (0x11, 1);
/// Accepts the interrupt that is presented: NSR and CPPR.
const ACCEPT: (u64, usize) = (0x810, 2);
/// An interrupt of the CPU's own, of the priority that is stored.
const SET_PENDING: (u64, usize) = (0x812, 1);
/// Accepts as well; what was accepted would be in the cache lines of H_INT_SET_OS_REPORTING_LINE.
const ACCEPT_UNREPORTED: (u64, usize) = (0xc10, 1);

/// The pages of a source: that of its management comes first.
pub(super) fn source_pages(source: u32) -> SourcePages {
    let management = XIVE_SOURCES.0 + u64::from(source) * 2 * PAGE_BYTES;
    SourcePages {
        management: GuestAddress(management),
        trigger: GuestAddress(management + PAGE_BYTES),
    }
}

/// The page of the notifications of a queue.
pub(super) fn notification_page(server: CpuIndex, priority: u8) -> GuestAddress {
    let number = u64::from(server.0) * PAGES_OF_SERVER + u64::from(priority);
    GuestAddress(XIVE_QUEUES.0 + number * PAGE_BYTES)
}

impl MmioHandler for Xive {
    fn ranges(&self) -> &[MmioRange] {
        RANGES
    }

    fn read(&self, range: usize, offset: u64, data: &mut [u8]) {
        self.read_by(NO_CPU, range, offset, data);
    }

    fn write(&self, range: usize, offset: u64, data: &[u8]) {
        self.write_by(NO_CPU, range, offset, data);
    }

    fn read_by(&self, caller: CpuIndex, range: usize, offset: u64, data: &mut [u8]) {
        let (page, within) = (offset >> PAGE_SHIFT, offset & (PAGE_BYTES - 1));
        let value = match (range, Load::at(within)) {
            (SOURCES, Some(load)) if page % 2 == 0 => self.lock().load((page / 2) as u32, load),
            (QUEUES, Some(load)) => self.lock().load_notification(page, load),
            (OS_PAGE, _) => self.load_ring(caller, within, data.len()),
            _ => Err(Refused),
        };
        fill(data, value.unwrap_or(NOTHING));
    }

    fn write_by(&self, caller: CpuIndex, range: usize, offset: u64, data: &[u8]) {
        let (page, within) = (offset >> PAGE_SHIFT, offset & (PAGE_BYTES - 1));
        // What nobody has, nobody hears of.
        let _ = match range {
            SOURCES if page % 2 == 1 => self.lock().trigger((page / 2) as u32),
            OS_PAGE => self.store_ring(caller, within, data),
            _ => Err(Refused),
        };
    }
}

impl Xive {
    fn load_ring(&self, caller: CpuIndex, offset: u64, bytes: usize) -> Result<u64, Refused> {
        if (offset, bytes) == ACCEPT {
            let (notification, cppr) = self.lock().change_server(caller, |own| own.accept())?;
            return Ok(u64::from(notification) << 8 | u64::from(cppr));
        }
        let end = offset + bytes as u64;
        if bytes > size_of::<u64>() || end > RINGS_END {
            return Err(Refused);
        }
        let ring = self.lock().server(caller)?.ring();
        // The other rings are those of programs and of the hypervisor: there is nothing in them.
        let byte =
            |at: u64| at.checked_sub(RING).and_then(|at| ring.get(at as usize)).unwrap_or(&0);
        Ok((offset..end).fold(0, |value, at| value << 8 | u64::from(*byte(at))))
    }

    fn store_ring(&self, caller: CpuIndex, offset: u64, data: &[u8]) -> Result<(), Refused> {
        let first = *data.first().ok_or(Refused)?;
        self.lock().change_server(caller, |own| match (offset, data.len()) {
            CPPR => own.set_cppr(first),
            SET_PENDING if usize::from(first) < PRIORITIES => own.notify(first),
            ACCEPT_UNREPORTED => drop(own.accept()),
            _ => {}
        })
    }
}

/// A number in its low-order bytes, as far as there are bytes: the controller is big-endian.
fn fill(data: &mut [u8], value: u64) {
    let bytes = value.to_be_bytes();
    match bytes.len().checked_sub(data.len()) {
        Some(left_out) => data.copy_from_slice(&bytes[left_out..]),
        None => data.fill(0xff),
    }
}
