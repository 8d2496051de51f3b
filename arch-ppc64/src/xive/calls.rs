//! The hypercalls by which a guest assigns sources and sets queues (PAPR+, "Hypervisor Call
//! Functions" H_INT_…; their numbers and bits are in Linux's `asm/hvcall.h` and
//! `sysdev/xive/spapr.c`).
//!
//! Arguments that cannot be are told by their places: the first is flags, H_Parameter, and so on
//! with H_P2 to H_P5.

use vm_memory::GuestAddress;

use super::PAGE_SHIFT;
use super::controller::{Assignment, EventQueue, NO_PRIORITY, SourceInfo, XiveController};
use super::esb::Load;
use crate::hypercall::{Hypercall, Next, Status, token};
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

/// Answers a hypercall of [`token::XIVE_CALLS`] for a controller: what its
/// [`HypercallHandler`](crate::HypercallHandler) does.
pub fn answer(xive: &dyn XiveController, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
    let done = match call.token {
        token::INT_GET_SOURCE_INFO => source_info(xive, call),
        token::INT_SET_SOURCE_CONFIG => set_source(xive, call),
        token::INT_GET_SOURCE_CONFIG => source_config(xive, call),
        token::INT_GET_QUEUE_INFO => queue_info(xive, call),
        token::INT_SET_QUEUE_CONFIG => set_queue(xive, ram, call),
        token::INT_GET_QUEUE_CONFIG => queue_config(xive, call),
        token::INT_ESB => event_state(xive, call),
        token::INT_SYNC => sync(xive, call),
        token::INT_RESET => forget(xive, call),
        // There are no cache lines to report to: H_INT_SET_OS_REPORTING_LINE and
        // H_INT_GET_OS_REPORTING_LINE.
        _ => Err(Status::FUNCTION),
    };
    call.finish(done.err().unwrap_or(Status::SUCCESS))
}

/// H_INT_GET_SOURCE_INFO (flags, lisn): R4 has what is special, R5 and R6 the pages, R7 their
/// size as a power of two.
///
/// A level is ended by H_INT_ESB, as it has to be where a host's controller is behind this.
fn source_info(xive: &dyn XiveController, call: &mut Hypercall) -> Result<(), Status> {
    let [flags, lisn, ..] = call.args;
    no_flags(flags, 0)?;
    let (lisn, SourceInfo { is_level, .. }) = source_of(xive, lisn)?;
    let special = if is_level { SOURCE_BY_HYPERCALL | SOURCE_IS_LEVEL } else { 0 };
    let [management, trigger] = if is_level {
        [NO_ADDRESS; 2]
    } else {
        let pages = xive.pages(lisn);
        [pages.management.0, pages.trigger.0]
    };
    results(call, [special, management, trigger, PAGE_SHIFT.into()])
}

/// H_INT_SET_SOURCE_CONFIG (flags, lisn, target, priority, eisn). "Priority 0xff" assigns to
/// nobody.
fn set_source(xive: &dyn XiveController, call: &mut Hypercall) -> Result<(), Status> {
    let [flags, lisn, target, priority, data, ..] = call.args;
    no_flags(flags, SET_DATA | MASK)?;
    let (lisn, SourceInfo { assignment: before, .. }) = source_of(xive, lisn)?;
    let to = if priority == u64::from(NO_PRIORITY) {
        Assignment::none(lisn)
    } else {
        let priority = priority_of(priority).ok_or(Status::P4)?;
        let target = server_of(xive, target).ok_or(Status::P3)?;
        let data = if flags & SET_DATA == 0 { before.data.into() } else { data };
        let data = u32::try_from(data).map_err(|_| Status::P5)?;
        Assignment { target, priority, is_masked: flags & MASK != 0, data }
    };
    if to.is_possible() { xive.assign(lisn, &to) } else { Err(Status::P5) }
}

/// H_INT_GET_SOURCE_CONFIG (flags, lisn): R4 has the target, R5 the priority, R6 the EISN.
fn source_config(xive: &dyn XiveController, call: &mut Hypercall) -> Result<(), Status> {
    let [flags, lisn, ..] = call.args;
    no_flags(flags, 0)?;
    let (_, SourceInfo { assignment: to, .. }) = source_of(xive, lisn)?;
    let ServerNumber(target) = xive.topology().server(to.target);
    results(call, [target.into(), to.shown_priority().into(), to.data.into()])
}

/// H_INT_GET_QUEUE_INFO (flags, target, priority): R4 has the page of the queue's
/// notifications, R5 its size as a power of two.
fn queue_info(xive: &dyn XiveController, call: &mut Hypercall) -> Result<(), Status> {
    no_flags(call.args[0], 0)?;
    let (target, priority) = queue_of(xive, call)?;
    let page = xive.notification_page(target, priority).map_or(NO_ADDRESS, |page| page.0);
    results(call, [page, PAGE_SHIFT.into()])
}

/// H_INT_SET_QUEUE_CONFIG (flags, target, priority, eventQueue, eventQueueSize). "An EQ size of
/// 0 is used to reset the EQ config".
fn set_queue(
    xive: &dyn XiveController,
    ram: &dyn GuestRam,
    call: &mut Hypercall,
) -> Result<(), Status> {
    let [flags, _, _, at, shift, ..] = call.args;
    no_flags(flags, ALWAYS_NOTIFY)?;
    let (target, priority) = queue_of(xive, call)?;
    let queue = if shift == NO_QUEUE {
        None
    } else if shift == u64::from(QUEUE_SHIFT) {
        let queue = EventQueue::new(GuestAddress(at), flags & ALWAYS_NOTIFY != 0);
        if !queue.is_possible() || ram.check_ram(queue.at, 1 << QUEUE_SHIFT).is_err() {
            return Err(Status::P4);
        }
        Some(queue)
    } else {
        return Err(Status::P5);
    };
    xive.set_queue(target, priority, queue)
}

/// H_INT_GET_QUEUE_CONFIG (flags, target, priority): R4 has the flags, R5 the address, R6 the
/// size as a power of two, and for who debugs R7 the next entry.
fn queue_config(xive: &dyn XiveController, call: &mut Hypercall) -> Result<(), Status> {
    let flags = call.args[0];
    no_flags(flags, DEBUG)?;
    let (target, priority) = queue_of(xive, call)?;
    let Some(queue) = xive.queue(target, priority)? else { return results(call, [0; 4]) };
    let mut told = if queue.always_notifies { ALWAYS_NOTIFY } else { 0 };
    let mut index = 0;
    if flags & DEBUG != 0 {
        told |= if queue.generation { GENERATION } else { 0 };
        index = queue.index;
    }
    results(call, [told, queue.at.0, QUEUE_SHIFT.into(), index.into()])
}

/// H_INT_ESB (flags, lisn, esbOffset, storeData): a load of the source's management page, R4;
/// a store does nothing there, as by a store to it.
fn event_state(xive: &dyn XiveController, call: &mut Hypercall) -> Result<(), Status> {
    let [flags, lisn, offset, ..] = call.args;
    no_flags(flags, STORE)?;
    let (lisn, _) = source_of(xive, lisn)?;
    if offset >> PAGE_SHIFT != 0 {
        return Err(Status::P3);
    }
    let value = match Load::at(offset) {
        Some(load) if flags & STORE == 0 => xive.load(lisn, load)?,
        _ => NO_ADDRESS,
    };
    results(call, [value])
}

/// H_INT_SYNC (flags, lisn).
fn sync(xive: &dyn XiveController, call: &mut Hypercall) -> Result<(), Status> {
    let [flags, lisn, ..] = call.args;
    no_flags(flags, 0)?;
    let (lisn, _) = source_of(xive, lisn)?;
    xive.sync(lisn)
}

/// H_INT_RESET (flags): "losing all previously set interrupt state set via
/// H_INT_SET_SOURCE_CONFIG and H_INT_SET_QUEUE_CONFIG".
fn forget(xive: &dyn XiveController, call: &mut Hypercall) -> Result<(), Status> {
    no_flags(call.args[0], 0)?;
    xive.forget()
}

/// A source of the number that a guest passed.
fn source_of(xive: &dyn XiveController, lisn: u64) -> Result<(u32, SourceInfo), Status> {
    let lisn = u32::try_from(lisn).map_err(|_| Status::P2)?;
    Ok((lisn, xive.source(lisn).ok_or(Status::P2)?))
}

/// The CPU and the priority of a queue, the second and the third argument.
fn queue_of(xive: &dyn XiveController, call: &Hypercall) -> Result<(CpuIndex, u8), Status> {
    let [_, target, priority, ..] = call.args;
    let priority = priority_of(priority).ok_or(Status::P3)?;
    Ok((server_of(xive, target).ok_or(Status::P2)?, priority))
}

fn server_of(xive: &dyn XiveController, target: u64) -> Option<CpuIndex> {
    xive.topology().index(ServerNumber(u32::try_from(target).ok()?))
}

/// A priority that guests can use.
fn priority_of(priority: u64) -> Option<u8> {
    u8::try_from(priority).ok().filter(|&priority| priority <= XIVE_LAST_PRIORITY)
}

fn no_flags(flags: u64, known: u64) -> Result<(), Status> {
    if flags & !known == 0 { Ok(()) } else { Err(Status::PARAMETER) }
}

/// Results from R4 on.
fn results<const N: usize>(call: &mut Hypercall, results: [u64; N]) -> Result<(), Status> {
    for (register, result) in call.args.iter_mut().zip(results) {
        *register = result;
    }
    Ok(())
}
