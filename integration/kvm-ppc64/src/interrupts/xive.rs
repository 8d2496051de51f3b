//! The kernel's XIVE in exploitation mode. Guests work it by its pages, and set it by hypercalls,
//! all of which come here; `arch_ppc64::xive::answer` makes sense of them.

#[cfg(feature = "serde")]
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arch_ppc64::layout::{
    FIRST_INTERRUPT, PAGE_BYTES, XIVE_OS_PAGE, XIVE_QUEUE_SHIFT, XIVE_SOURCES,
};
use arch_ppc64::platform::MAX_SOURCES;
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::xive::{Assignment, EventQueue, Load, Pq, SourceInfo, SourcePages, XiveController};
use arch_ppc64::{CpuIndex, Status};
use vm_memory::GuestAddress;

use super::pages::Pages;
use super::sources::Sources;
use crate::error::KvmError;
use crate::memory::{OwnSlot, Slots};
use crate::registers::VP_STATE;
use crate::seat::Seat;
use crate::sys;

/// Past the last number that a source can have: so many have pages.
pub(super) const SOURCE_END: u32 = FIRST_INTERRUPT + MAX_SOURCES;

/// Of the pages of threads, that for operating systems.
const OS_PAGE: u64 = 2;

/// The kernel's XIVE. What it knows goes when it is dropped.
#[derive(Debug)]
pub(super) struct Xive {
    vm: Arc<OwnedFd>,
    slots: Arc<Slots>,
    topology: CpuTopology,
    /// What devices assert.
    sources: Arc<Sources>,
    set: Mutex<Set>,
    // In this order: pages go before the device.
    pages: Pages,
    threads: Pages,
    device: OwnedFd,
}

/// What guests have set, as far as the kernel does not give it out.
#[derive(Debug, Default)]
struct Set {
    /// Of each source that there is.
    assignments: BTreeMap<u32, Assignment>,
    queues: BTreeSet<(CpuIndex, u8)>,
}

impl Xive {
    /// One without CPUs, and with the sources by which they interrupt each other.
    pub(super) fn create(
        vm: &Arc<OwnedFd>,
        slots: &Arc<Slots>,
        topology: &CpuTopology,
        sources: &Arc<Sources>,
    ) -> Result<Self, KvmError> {
        let failed = KvmError::kernel("create the XIVE");
        let made = || -> io::Result<(OwnedFd, Pages, Pages)> {
            let device = super::create_device(vm, sys::DEV_TYPE_XIVE)?;
            let servers = topology.server_end();
            let (group, attribute) = (sys::DEV_XIVE_GRP_CTRL, sys::DEV_XIVE_NR_SERVERS);
            sys::set_device_attr(&device, group, attribute, servers.into())?;
            let threads = Pages::of_threads(&device)?;
            let pages = Pages::of_sources(&device, SOURCE_END)?;
            Ok((device, threads, pages))
        };
        let (device, threads, pages) = made().map_err(failed)?;
        let xive = Self {
            vm: vm.clone(),
            slots: slots.clone(),
            topology: topology.clone(),
            sources: sources.clone(),
            set: Mutex::default(),
            pages,
            threads,
            device,
        };
        for number in 0..topology.cpus() {
            xive.add(number, false).map_err(KvmError::kernel("make an interrupt source"))?;
        }
        for (slot, at, host, bytes) in [
            (OwnSlot::Sources, XIVE_SOURCES, xive.pages.page(0), xive.pages.bytes()),
            (OwnSlot::Threads, XIVE_OS_PAGE, xive.threads.page(OS_PAGE), PAGE_BYTES),
        ] {
            // SAFETY: mapped until the slot is removed, and registers of a device.
            unsafe { slots.set_own(vm, slot, at, host, bytes) }?;
        }
        Ok(xive)
    }

    /// Has a CPU interrupted by it.
    pub(super) fn connect(&self, cpu: &Seat) -> Result<(), KvmError> {
        cpu.enable(sys::CAP_PPC_IRQ_XIVE, self.device.as_raw_fd() as u64, cpu.server.0.into())
            .map_err(KvmError::kernel("connect a virtual CPU to the XIVE"))
    }

    /// Makes a source, off and masked.
    pub(super) fn add(&self, number: u32, is_level: bool) -> io::Result<()> {
        let mut set = self.lock();
        let kind = if is_level { sys::XIVE_LEVEL_SENSITIVE } else { 0 };
        sys::set_device_attr(&self.device, sys::DEV_XIVE_GRP_SOURCE, number.into(), kind)?;
        set.assignments.insert(number, Assignment::none(number));
        Ok(())
    }

    /// What the line of a source is from here on; of an edge, one that is high is an event. The
    /// level itself is among the [sources](Sources).
    pub(super) fn set_line(&self, number: u32, high: bool) {
        if high && self.lock().assignments.contains_key(&number) {
            // SAFETY: the kernel has it, as it was added.
            unsafe { self.pages.trigger(number) };
        }
    }

    /// Takes the queues of a CPU that is plugged in again, and what it was presented with.
    pub(super) fn reset_server(&self, cpu: &Seat) -> Result<(), KvmError> {
        let mut queues: Vec<_> = self.lock().queues.iter().copied().collect();
        queues.retain(|(target, _)| *target == cpu.index);
        for (target, priority) in queues {
            self.change_queue(target, priority, None)
                .map_err(KvmError::kernel("take an event queue"))?;
        }
        sys::set_one_reg(&cpu.fd, VP_STATE, context(0, 0))
            .map_err(KvmError::kernel("reset how interrupts are presented to a virtual CPU"))
    }

    /// Tells the kernel where a source goes. It takes a queue for granted, so until there is one,
    /// events are dropped.
    fn route(&self, set: &Set, source: u32, to: &Assignment) -> io::Result<()> {
        let has_queue = set.queues.contains(&(to.target, to.priority));
        let is_masked = to.is_masked || !has_queue;
        let value = u64::from(to.priority) << sys::XIVE_SOURCE_PRIORITY_SHIFT
            | u64::from(self.topology.server(to.target).0) << sys::XIVE_SERVER_SHIFT
            | if is_masked { sys::XIVE_SOURCE_MASKED } else { 0 }
            | u64::from(to.data) << sys::XIVE_SOURCE_EISN_SHIFT;
        sys::set_device_attr(&self.device, sys::DEV_XIVE_GRP_SOURCE_CONFIG, source.into(), value)
    }

    /// How KVM numbers the queue.
    fn queue_number(&self, target: CpuIndex, priority: u8) -> u64 {
        u64::from(self.topology.server(target).0) << sys::XIVE_SERVER_SHIFT | u64::from(priority)
    }

    fn write_queue(&self, number: u64, queue: Option<&EventQueue>) -> io::Result<()> {
        let queue = queue.map_or_else(sys::XiveEq::default, |queue| sys::XiveEq {
            flags: if queue.always_notifies { sys::XIVE_EQ_ALWAYS_NOTIFY } else { 0 },
            shift: XIVE_QUEUE_SHIFT,
            address: queue.at.0,
            toggle: queue.generation.into(),
            index: queue.index,
            ..Default::default()
        });
        sys::set_event_queue(&self.device, number, queue)
    }

    fn read_queue(&self, number: u64) -> io::Result<EventQueue> {
        let queue = sys::get_event_queue(&self.device, number)?;
        Ok(EventQueue {
            at: GuestAddress(queue.address),
            always_notifies: queue.flags & sys::XIVE_EQ_ALWAYS_NOTIFY != 0,
            index: queue.index,
            generation: queue.toggle & 1 != 0,
        })
    }

    /// Sets a queue, or takes it away, and has the sources that are assigned to it go there.
    fn change_queue(
        &self,
        target: CpuIndex,
        priority: u8,
        queue: Option<&EventQueue>,
    ) -> io::Result<()> {
        let mut set = self.lock();
        let (key, number) = ((target, priority), self.queue_number(target, priority));
        // One that is set anew begins as no queue: of the old one, the kernel would keep the page.
        if set.queues.remove(&key) {
            self.route_all(&set, key)?;
            self.write_queue(number, None)?;
        }
        if queue.is_none() {
            return Ok(());
        }
        if let Err(error) = self.write_queue(number, queue) {
            // It may be there by half.
            let _ = self.write_queue(number, None);
            return Err(error);
        }
        set.queues.insert(key);
        self.route_all(&set, key)
    }

    /// Tells the kernel of all sources that are assigned to a queue.
    fn route_all(&self, set: &Set, (target, priority): (CpuIndex, u8)) -> io::Result<()> {
        let there =
            |to: &Assignment| !to.is_masked && (to.target, to.priority) == (target, priority);
        let mut sources = set.assignments.iter().filter(|(_, to)| there(to));
        sources.try_for_each(|(&source, to)| self.route(set, source, to))
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Xive {
    fn drop(&mut self) {
        for slot in [OwnSlot::Sources, OwnSlot::Threads] {
            // One that was not set yet is none.
            let _ = self.slots.remove_own(&self.vm, slot);
        }
    }
}

impl XiveController for Xive {
    fn topology(&self) -> &CpuTopology {
        &self.topology
    }

    fn source(&self, source: u32) -> Option<SourceInfo> {
        let assignment = *self.lock().assignments.get(&source)?;
        let is_level = self.sources.is_level(source).unwrap_or(false);
        Some(SourceInfo { is_level, assignment })
    }

    fn pages(&self, source: u32) -> SourcePages {
        let trigger = XIVE_SOURCES.0 + u64::from(source) * 2 * PAGE_BYTES;
        let management = trigger + PAGE_BYTES;
        SourcePages { management: GuestAddress(management), trigger: GuestAddress(trigger) }
    }

    fn assign(&self, source: u32, to: &Assignment) -> Result<(), Status> {
        let mut set = self.lock();
        self.route(&set, source, to).map_err(status(Status::P3))?;
        set.assignments.insert(source, *to);
        Ok(())
    }

    /// The kernel gives them to nobody.
    fn notification_page(&self, _: CpuIndex, _: u8) -> Option<GuestAddress> {
        None
    }

    fn queue(&self, target: CpuIndex, priority: u8) -> Result<Option<EventQueue>, Status> {
        if !self.lock().queues.contains(&(target, priority)) {
            return Ok(None);
        }
        let queue = self.read_queue(self.queue_number(target, priority));
        queue.map(Some).map_err(status(Status::P2))
    }

    fn set_queue(
        &self,
        target: CpuIndex,
        priority: u8,
        queue: Option<EventQueue>,
    ) -> Result<(), Status> {
        if queue.is_some_and(|queue| !queue.always_notifies) {
            return Err(Status::PARAMETER);
        }
        self.change_queue(target, priority, queue.as_ref()).map_err(status(Status::P2))
    }

    /// A level is an event whenever the source takes one, and never waits for the end of another.
    fn load(&self, source: u32, load: Load) -> Result<u64, Status> {
        // SAFETY: `answer` asks for sources that there are.
        let access = |load| unsafe { self.pages.load(source, load) };
        if self.sources.is_level(source) != Some(true) {
            return Ok(access(load));
        }
        let value = match load {
            Load::End => 0,
            Load::Get | Load::Set(_) => access(load),
        };
        if load == Load::End && Pq::of(access(Load::Get)) != Pq::Off {
            access(Load::Set(Pq::Reset));
        }
        let is_forwarded = self.sources.level(source) && Pq::of(access(Load::Get)) == Pq::Reset;
        if is_forwarded {
            // SAFETY: as above.
            unsafe { self.pages.trigger(source) };
        }
        Ok(if load == Load::End { is_forwarded.into() } else { value })
    }

    fn sync(&self, source: u32) -> Result<(), Status> {
        sys::set_device_attr(&self.device, sys::DEV_XIVE_GRP_SOURCE_SYNC, source.into(), 0)
            .map_err(status(Status::P2))
    }

    fn forget(&self) -> Result<(), Status> {
        let mut set = self.lock();
        sys::set_device_attr(&self.device, sys::DEV_XIVE_GRP_CTRL, sys::DEV_XIVE_RESET, 0)
            .map_err(status(Status::HARDWARE))?;
        set.queues.clear();
        for (&source, to) in &mut set.assignments {
            *to = Assignment::none(source);
        }
        Ok(())
    }
}

/// What the kernel keeps of a CPU's ring: its first eight bytes, as they are in its memory, of a
/// CPU that takes what is more favoured than `cppr`, with an interrupt of each priority in `pending`.
/// The others are those of a new one; what is presented is found out when the CPU next runs.
fn context(cppr: u8, pending: u8) -> u128 {
    let best = if pending == 0 { 0xff } else { pending.leading_zeros() as u8 };
    u64::from_le_bytes([0, cppr, pending, 0, 0xff, 0, 0, best]).into()
}

/// What a guest is told when the kernel refuses: `absent` where that has no such CPU.
fn status(absent: Status) -> impl Fn(io::Error) -> Status {
    move |error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO) => absent,
        _ => {
            log::debug!("the kernel's XIVE: {error}");
            Status::HARDWARE
        }
    }
}
