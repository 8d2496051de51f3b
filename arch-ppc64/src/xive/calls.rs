//! The hypercalls by which a guest assigns sources and sets queues (PAPR+, "Hypervisor Call
//! Functions" H_INT_…; their numbers and bits are in Linux's `asm/hvcall.h` and
//! `sysdev/xive/spapr.c`).
//!
//! Arguments that cannot be are told by their places: the first is flags, H_Parameter, and so on
//! with H_P2 to H_P5.

use vm_memory::GuestAddress;

use super::esb::Load;
use super::mmio::{management_page, notification_page, trigger_page};
use super::queue::{DATA_MASK, Queue};
use super::server::NO_PRIORITY;
use super::state::{Assignment, Refused};
use super::{PAGE_SHIFT, Xive};
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::layout::{XIVE_LAST_PRIORITY, XIVE_QUEUE_SHIFT as QUEUE_SHIFT};
use crate::ram::GuestRam;
use crate::vcpu::{CpuIndex, ServerNumber};

/// Where a call would tell an address, and there is none.
const NO_ADDRESS: u64 = u64::MAX;

// What H_INT_GET_SOURCE_INFO says of a source.
const SOURCE_BY_HYPERCALL: u64 = 1 << 3;
const SOURCE_IS_LEVEL: u64 = 1 << 2;

// Flags of H_INT_SET_SOURCE_CONFIG.
const SET_DATA: u64 = 1 << 1;
const MASK: u64 = 1 << 0;

/// A queue's entries are notified of, each of them.
const ALWAYS_NOTIFY: u64 = 1 << 0;

// Of H_INT_GET_QUEUE_CONFIG: what is asked for besides, and what is told then.
const DEBUG: u64 = 1 << 0;
const GENERATION: u64 = 1 << 1;

/// H_INT_ESB is a store.
const STORE: u64 = 1 << 0;

/// A queue with no place in memory.
const NO_QUEUE: u64 = 0;

impl HypercallHandler for Xive {
    fn tokens(&self) -> &[u64] {
        token::XIVE_CALLS
    }

    fn handle(&self, _caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let done = match call.token {
            token::INT_GET_SOURCE_INFO => self.source_info(call),
            token::INT_SET_SOURCE_CONFIG => self.set_source(call),
            token::INT_GET_SOURCE_CONFIG => self.source_config(call),
            token::INT_GET_QUEUE_INFO => self.queue_info(call),
            token::INT_SET_QUEUE_CONFIG => self.set_queue(ram, call),
            token::INT_GET_QUEUE_CONFIG => self.queue_config(call),
            token::INT_ESB => self.event_state(call),
            token::INT_SYNC => self.sync(call),
            token::INT_RESET => self.forget(call),
            // There are no cache lines to report to: H_INT_SET_OS_REPORTING_LINE and
            // H_INT_GET_OS_REPORTING_LINE.
            _ => Err(Status::FUNCTION),
        };
        call.finish(done.err().unwrap_or(Status::SUCCESS))
    }
}

impl Xive {
    /// H_INT_GET_SOURCE_INFO (flags, lisn): R4 has what is special, R5 and R6 the pages, R7 their
    /// size as a power of two.
    ///
    /// A level is ended by H_INT_ESB, as it has to be where a host's controller is behind this.
    fn source_info(&self, call: &mut Hypercall) -> Result<(), Status> {
        let [flags, lisn, ..] = call.args;
        no_flags(flags, 0)?;
        let (lisn, is_level) = self.source_of(lisn, |source| source.is_level)?;
        let special = if is_level { SOURCE_BY_HYPERCALL | SOURCE_IS_LEVEL } else { 0 };
        let [management, trigger] = match is_level {
            true => [NO_ADDRESS; 2],
            false => [management_page(lisn), trigger_page(lisn)],
        };
        answer(call, [special, management, trigger, PAGE_SHIFT.into()])
    }

    /// H_INT_SET_SOURCE_CONFIG (flags, lisn, target, priority, eisn). "Priority 0xff" assigns to
    /// nobody.
    fn set_source(&self, call: &mut Hypercall) -> Result<(), Status> {
        let [flags, lisn, target, priority, data, ..] = call.args;
        no_flags(flags, SET_DATA | MASK)?;
        let (lisn, before) = self.source_of(lisn, |source| source.assignment)?;
        let to = if priority == u64::from(NO_PRIORITY) {
            Assignment::none(lisn)
        } else {
            let priority = priority_of(priority).ok_or(Status::P4)?;
            let target = self.server_of(target).ok_or(Status::P3)?;
            let data = if flags & SET_DATA == 0 { before.data.into() } else { data };
            let data = u32::try_from(data).ok().filter(|data| data & !DATA_MASK == 0);
            let data = data.ok_or(Status::P5)?;
            Assignment { target, priority, is_masked: flags & MASK != 0, data }
        };
        self.lock().assign(lisn, to).map_err(|Refused| Status::P2)
    }

    /// H_INT_GET_SOURCE_CONFIG (flags, lisn): R4 has the target, R5 the priority, R6 the EISN.
    fn source_config(&self, call: &mut Hypercall) -> Result<(), Status> {
        let [flags, lisn, ..] = call.args;
        no_flags(flags, 0)?;
        let (_, to) = self.source_of(lisn, |source| source.assignment)?;
        let ServerNumber(target) = self.topology.server(to.target);
        answer(call, [target.into(), to.shown_priority().into(), to.data.into()])
    }

    /// H_INT_GET_QUEUE_INFO (flags, target, priority): R4 has the page of the queue's
    /// notifications, R5 its size as a power of two.
    fn queue_info(&self, call: &mut Hypercall) -> Result<(), Status> {
        no_flags(call.args[0], 0)?;
        let (target, priority) = self.queue_of(call)?;
        answer(call, [notification_page(target, priority), PAGE_SHIFT.into()])
    }

    /// H_INT_SET_QUEUE_CONFIG (flags, target, priority, eventQueue, eventQueueSize). "An EQ size of
    /// 0 is used to reset the EQ config".
    fn set_queue(&self, ram: &dyn GuestRam, call: &mut Hypercall) -> Result<(), Status> {
        let [flags, _, _, at, shift, ..] = call.args;
        no_flags(flags, ALWAYS_NOTIFY)?;
        let (target, priority) = self.queue_of(call)?;
        let queue = if shift == NO_QUEUE {
            None
        } else if shift == u64::from(QUEUE_SHIFT) {
            let at = GuestAddress(at);
            if !Queue::is_aligned(at) || ram.check_ram(at, 1 << QUEUE_SHIFT).is_err() {
                return Err(Status::P4);
            }
            Some(Queue::new(at, flags & ALWAYS_NOTIFY != 0))
        } else {
            return Err(Status::P5);
        };
        *self.lock().queue_mut(target, priority).map_err(|Refused| Status::P2)? = queue;
        Ok(())
    }

    /// H_INT_GET_QUEUE_CONFIG (flags, target, priority): R4 has the flags, R5 the address, R6 the
    /// size as a power of two, and for who debugs R7 the next entry.
    fn queue_config(&self, call: &mut Hypercall) -> Result<(), Status> {
        let flags = call.args[0];
        no_flags(flags, DEBUG)?;
        let (target, priority) = self.queue_of(call)?;
        let queue = *self.lock().queue_mut(target, priority).map_err(|Refused| Status::P2)?;
        let Some(queue) = queue else { return answer(call, [0; 4]) };
        let mut told = if queue.always_notifies { ALWAYS_NOTIFY } else { 0 };
        let mut index = 0;
        if flags & DEBUG != 0 {
            told |= if queue.generation { GENERATION } else { 0 };
            index = queue.index;
        }
        answer(call, [told, queue.at.0, QUEUE_SHIFT.into(), index.into()])
    }

    /// H_INT_ESB (flags, lisn, esbOffset, storeData): a load of the source's management page, R4;
    /// a store does nothing there, as by a store to it.
    fn event_state(&self, call: &mut Hypercall) -> Result<(), Status> {
        let [flags, lisn, offset, ..] = call.args;
        no_flags(flags, STORE)?;
        let (lisn, ()) = self.source_of(lisn, |_| ())?;
        if offset >> PAGE_SHIFT != 0 {
            return Err(Status::P3);
        }
        let value = match Load::at(offset) {
            Some(load) if flags & STORE == 0 => {
                self.lock().load(lisn, load).map_err(|Refused| Status::P2)?
            }
            _ => NO_ADDRESS,
        };
        answer(call, [value])
    }

    /// H_INT_SYNC (flags, lisn): "any in flight events for the input lisn are in the event queue".
    /// They are, as soon as whoever caused them has been answered.
    fn sync(&self, call: &mut Hypercall) -> Result<(), Status> {
        let [flags, lisn, ..] = call.args;
        no_flags(flags, 0)?;
        self.source_of(lisn, |_| ()).map(drop)
    }

    /// H_INT_RESET (flags): "losing all previously set interrupt state set via
    /// H_INT_SET_SOURCE_CONFIG and H_INT_SET_QUEUE_CONFIG".
    fn forget(&self, call: &mut Hypercall) -> Result<(), Status> {
        no_flags(call.args[0], 0)?;
        self.lock().forget();
        Ok(())
    }

    /// A source of the number that a guest passed, and something of it.
    fn source_of<T>(
        &self,
        lisn: u64,
        of: impl FnOnce(&super::state::Source) -> T,
    ) -> Result<(u32, T), Status> {
        let lisn = u32::try_from(lisn).map_err(|_| Status::P2)?;
        let state = self.lock();
        let source = state.source(lisn).map_err(|Refused| Status::P2)?;
        Ok((lisn, of(source)))
    }

    /// The CPU and the priority of a queue, the second and the third argument.
    fn queue_of(&self, call: &Hypercall) -> Result<(CpuIndex, u8), Status> {
        let [_, target, priority, ..] = call.args;
        let priority = priority_of(priority).ok_or(Status::P3)?;
        Ok((self.server_of(target).ok_or(Status::P2)?, priority))
    }

    fn server_of(&self, target: u64) -> Option<CpuIndex> {
        self.topology.index(ServerNumber(u32::try_from(target).ok()?))
    }
}

/// A priority that guests can use.
fn priority_of(priority: u64) -> Option<u8> {
    u8::try_from(priority).ok().filter(|&priority| priority <= XIVE_LAST_PRIORITY)
}

fn no_flags(flags: u64, known: u64) -> Result<(), Status> {
    if flags & !known == 0 { Ok(()) } else { Err(Status::PARAMETER) }
}

/// Results from R4 on.
fn answer<const N: usize>(call: &mut Hypercall, results: [u64; N]) -> Result<(), Status> {
    for (register, result) in call.args.iter_mut().zip(results) {
        *register = result;
    }
    Ok(())
}
