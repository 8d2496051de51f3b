//! Device input and output (IEEE 1275 §6.3.2.3).

use std::sync::Arc;

use super::instances::again_later;
use super::{DeviceCall, MINUS_ONE, Reply, Then};
use crate::args::{Failed, PATH_ROOM, characters};
use crate::instances::{Open, OpenDevice};
use crate::interface::CannotOpen;
use crate::limits::{MAX_CALL_WAIT, MAX_INSTANCES};
use crate::openings::{Begun, Wanted};
use crate::package::{Package, Progress, Transfer};
use crate::tree::NodeId;

/// The result of a `read` that finds nothing yet: −2.
const NOTHING_YET: u32 = -2_i32 as u32;

/// open (device specifier) → ihandle, or 0.
///
/// Every node can be opened; most of them have no other methods.
pub(super) fn open(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let answer = open_path(call);
    let openings = &call.interface.openings;
    // With its answer the call is at its end, whatever the CPU was opening before.
    if openings.are_there() && !answer.is_ok_and(|reply| reply.then() == Then::Again) {
        openings.end(call.caller);
    }
    answer
}

fn open_path(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [path] = call.arguments();
    let mut text = PATH_ROOM;
    let path = characters(call.guest.text(path, &mut text)?)?;
    let (node, arguments) = {
        let tree = &call.interface.state().tree;
        let found = tree.resolve(path).ok_or(Failed)?;
        (found.node, found.arguments.to_owned())
    };
    open_node(call, node, &arguments).map_err(|error| {
        if error == CannotOpen::Full {
            let complaints = &call.interface.state().complaints;
            complaints.warn(format_args!("open: {MAX_INSTANCES} packages are open, the most"));
        }
        Failed
    })
}

fn open_node(call: &DeviceCall<'_>, node: NodeId, arguments: &str) -> Result<Reply, CannotOpen> {
    let device = match call.interface.package(node)? {
        Some(package) => match open_package(call, package, Wanted { node, arguments }) {
            Ok(Some(device)) => Some(device),
            Ok(None) => return Ok(Reply::again()),
            Err(Failed) => return Err(CannotOpen::Refused),
        },
        None => None,
    };
    let open = Open { node, arguments: arguments.into(), device };
    call.interface.add(open).map(Reply::from)
}

/// A new instance, if it is ready; one that is not is kept for the CPU's next try.
fn open_package(
    call: &DeviceCall<'_>,
    package: Arc<dyn Package>,
    wanted: Wanted<'_>,
) -> Result<Option<Arc<OpenDevice>>, Failed> {
    let openings = &call.interface.openings;
    let mut instance = match openings.begin(call.caller, wanted) {
        Begun::Before(instance) => instance,
        Begun::Now => package.open(wanted.arguments)?,
        Begun::NotYet => {
            again_later();
            return Ok(None);
        }
    };
    match instance.ready()? {
        Progress::Done => Ok(Some(OpenDevice::new(package, instance, None))),
        Progress::NotYet => {
            instance.wait(MAX_CALL_WAIT);
            openings.keep(call.caller, instance);
            Ok(None)
        }
    }
}

/// close (ihandle).
pub(super) fn close(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [ihandle] = call.arguments();
    // What goes away may have more to do than can be done under a lock.
    let closed = call.interface.opened().instances.close(ihandle);
    closed.map(|_| Reply::default()).ok_or(Failed)
}

/// read (ihandle, buffer, length) → how many bytes were read; −2 when there are none yet, −1 when
/// there never are.
pub(super) fn read(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [ihandle, buffer, len] = call.arguments();
    let device = call.interface.device(ihandle).ok_or(Failed)?;
    // What was typed is not to be lost because the buffer is none.
    let len = (len as usize).min(device.package.max_transfer_bytes());
    call.guest.check(buffer, len)?;
    call.ask(&device, |instance, context| {
        let transfer = instance.read(context, &context.buffer(buffer, len)?)?;
        Ok(cell_of(transfer, len).map(Reply::from))
    })
}

/// write (ihandle, buffer, length) → how many bytes were written, or −1.
pub(super) fn write(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [ihandle, buffer, len] = call.arguments();
    let device = call.interface.device(ihandle).ok_or(Failed)?;
    let len = (len as usize).min(device.package.max_transfer_bytes());
    call.guest.check(buffer, len)?;
    call.ask(&device, |instance, context| {
        let transfer = instance.write(context, &context.buffer(buffer, len)?)?;
        Ok(cell_of(transfer, len).map(Reply::from))
    })
}

/// seek (ihandle, high, low) → 0, or −1 where there is no going to that place.
pub(super) fn seek(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [ihandle, high, low] = call.arguments();
    let device = call.interface.device(ihandle).ok_or(Failed)?;
    call.ask(&device, |instance, context| {
        let progress = instance.seek(context, position(high, low))?;
        Ok((progress == Progress::Done).then(|| 0.into()))
    })
}

/// What a transfer of up to `len` bytes is told as, if it is at its end.
pub(super) fn cell_of(transfer: Transfer, len: usize) -> Option<u32> {
    match transfer {
        Transfer::Done(bytes) => Some(bytes.min(len) as u32),
        Transfer::Nothing => Some(NOTHING_YET),
        Transfer::NotYet => None,
    }
}

/// A position of two cells.
pub(super) fn position(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// What a failure is told as.
pub(super) const FAILURE: u32 = MINUS_ONE;
