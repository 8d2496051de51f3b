//! How the methods of packages are found and called (IEEE 1275 §6.3.2.2).
//!
//! What a method takes and leaves is written as in IEEE 1275: the top of the stack last. A client
//! passes and gets it the other way round, the top first.

use std::sync::Arc;

use super::device_io::{FAILURE, cell_of, position};
use super::instances::Asked;
use super::{DeviceCall, MINUS_ONE, Reply, node};
use crate::args::{Failed, NAME_ROOM};
use crate::instances::OpenDevice;
use crate::limits::MAX_CALL_CELLS;
use crate::package::{Context, Instance, Package, Progress, Stack, Throw, Transfer};

/// call-method (method, ihandle, top of stack, …) → 0 and what the method leaves, the top of the
/// stack first; or what it threw, and then nothing else is written.
pub(super) fn call_method(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [name_at, ihandle] = call.arguments();
    let mut text = NAME_ROOM;
    let name = call.guest.text(name_at, &mut text)?;
    let device = {
        let opened = call.interface.opened();
        opened.instances.get(ihandle).ok_or(Failed)?.device.clone()
    };
    let method = device.and_then(|device| Some((method(&*device.package, name)?, device)));
    let Some((name, device)) = method else {
        // Clients find out in this way what a package can do: no complaint.
        log::debug!("call-method: there is no method {}", name.escape_ascii());
        return Ok(thrown(Throw::UNDEFINED_WORD));
    };
    let passed = call.arguments.count().saturating_sub(2);
    let [_, _, stack @ ..]: [u32; MAX_CALL_CELLS] = call.arguments();
    let stack = stack.get(..passed).unwrap_or(&stack);
    Ok(run(call, &device, name, stack).unwrap_or_else(thrown))
}

/// test-method (phandle, method) → 0 if the package has such a method, else −1.
///
/// Every package can be opened and closed.
pub(super) fn test_method(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [phandle, name] = call.arguments();
    let mut text = NAME_ROOM;
    let is_there = {
        let opened = call.interface.opened();
        let tree = &call.interface.state().tree;
        let node = node(tree, phandle)?;
        let name = call.guest.text(name, &mut text)?;
        let package = opened.packages.of(tree, node);
        matches!(name, b"open" | b"close")
            || package.is_some_and(|package| method(&**package, name).is_some())
    };
    Ok(if is_there { 0 } else { MINUS_ONE }.into())
}

/// The method of that name.
fn method(package: &dyn Package, name: &[u8]) -> Option<&'static str> {
    package.methods().iter().find(|method| method.as_bytes() == name).copied()
}

/// Calls a method with this stack, the top first.
fn run(
    call: &DeviceCall<'_>,
    device: &Arc<OpenDevice>,
    name: &'static str,
    passed: &[u32],
) -> Result<Reply, Throw> {
    match name {
        // ( addr len -- actual )
        "read" | "write" => {
            let &[len, at, ..] = passed else { return Err(Throw::STACK_UNDERFLOW) };
            let len = (len as usize).min(device.package.max_transfer_bytes());
            call.guest.check(at, len)?;
            call.ask(device, |instance, context| {
                let buffer = context.buffer(at, len)?;
                let transfer = match name {
                    "read" => instance.read(context, &buffer),
                    _ => instance.write(context, &buffer),
                };
                Ok(actual(transfer, len).map(|actual| Reply::from(0).and(actual)))
            })
        }
        // ( pos.lo pos.hi -- status )
        "seek" => {
            let &[high, low, ..] = passed else { return Err(Throw::STACK_UNDERFLOW) };
            call.ask(device, |instance, context| {
                Ok(match instance.seek(context, position(high, low)) {
                    Ok(Progress::NotYet) => None,
                    Ok(Progress::Done) => Some(Reply::from(0).and(0)),
                    Err(Failed) => Some(Reply::from(0).and(FAILURE)),
                })
            })
        }
        _ => call.ask(device, |instance, context| run_own(instance, context, name, passed)),
    }
}

/// Calls a method of an instance's own.
fn run_own(
    instance: &mut dyn Instance,
    context: &Context<'_>,
    name: &str,
    passed: &[u32],
) -> Asked<Throw> {
    let mut stack = Stack::new(passed);
    Ok(match instance.method(context, name, &mut stack)? {
        Progress::Done => Some(stack.left().fold(Reply::from(0), Reply::and)),
        Progress::NotYet => None,
    })
}

fn actual(transfer: Result<Transfer, Failed>, len: usize) -> Option<u32> {
    transfer.map_or(Some(FAILURE), |transfer| cell_of(transfer, len))
}

fn thrown(throw: Throw) -> Reply {
    (throw.0 as u32).into()
}
