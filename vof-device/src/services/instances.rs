//! Open packages and the tree (IEEE 1275 §6.3.2.2), and how an instance is asked for something.

use std::sync::TryLockError;
use std::time::Instant;

use super::device_tree::write_path;
use super::{DeviceCall, Reply};
use crate::args::Failed;
use crate::instances::{InFlight, OpenDevice};
use crate::limits::{IN_FLIGHT_LAPSE, MAX_CALL_CELLS, MAX_CALL_WAIT};
use crate::package::{Context, Instance};

/// instance-to-package (ihandle) → phandle, or −1.
pub(super) fn instance_to_package(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [ihandle] = call.arguments();
    let node = call.interface.opened().instances.get(ihandle).ok_or(Failed)?.node;
    Ok(call.interface.state().tree.phandle(node).into())
}

/// instance-to-path (ihandle, buffer, length) → length of the path by which the instance can be
/// opened again, its arguments included, or −1.
pub(super) fn instance_to_path(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    let [ihandle, buffer, room] = call.arguments();
    let opened = call.interface.opened();
    let open = opened.instances.get(ihandle).ok_or(Failed)?;
    let tree = &call.interface.state().tree;
    write_path(tree, call.guest, open.node, &open.arguments, [buffer, room])
}

/// What came of asking an instance: the reply, or nothing yet.
pub(super) type Asked<E> = Result<Option<Reply>, E>;

impl DeviceCall<'_> {
    /// Asks an instance, which nobody else asks at the same time.
    ///
    /// Where there is no answer yet, or another CPU is in its way, it waits for [`MAX_CALL_WAIT`],
    /// and the client's call is made again. A call that has no answer yet keeps other CPUs from the
    /// instance for as long as it is tried again within [`IN_FLIGHT_LAPSE`].
    pub(super) fn ask<E>(
        &self,
        device: &OpenDevice,
        ask: impl FnOnce(&mut dyn Instance, &Context<'_>) -> Asked<E>,
    ) -> Result<Reply, E> {
        let mut in_use = match device.in_use.try_lock() {
            Ok(in_use) => in_use,
            // One that panicked (a bug) is still an instance.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(again_later()),
        };
        let in_use = &mut *in_use;
        if let Some(in_flight) = &in_use.in_flight {
            if !self.is_again(in_flight) {
                let lasts = in_flight.last_try.elapsed() < IN_FLIGHT_LAPSE;
                if in_flight.caller != self.caller && lasts {
                    return Ok(again_later());
                }
                in_use.in_flight = None;
                in_use.instance.abandon();
            }
        }
        let context = Context::new(self.guest, self.caller, &self.interface.state);
        let answer = ask(&mut *in_use.instance, &context);
        if !matches!(answer, Ok(None)) {
            in_use.in_flight = None;
        }
        if let Some(reply) = answer? {
            return Ok(reply);
        }
        in_use.instance.wait(MAX_CALL_WAIT);
        let last_try = Instant::now();
        match &mut in_use.in_flight {
            Some(in_flight) => in_flight.last_try = last_try,
            None => {
                let (caller, service) = (self.caller, self.service.name());
                let arguments = self.cells(&mut [0; MAX_CALL_CELLS]).to_vec();
                let in_flight = InFlight { caller, service, arguments, last_try };
                in_use.in_flight = Some(Box::new(in_flight));
            }
        }
        Ok(Reply::again())
    }

    /// Whether this is the call that had no answer yet.
    fn is_again(&self, in_flight: &InFlight) -> bool {
        in_flight.caller == self.caller
            && in_flight.service == self.service.name()
            && in_flight.arguments == self.cells(&mut [0; MAX_CALL_CELLS])
    }

    /// All arguments.
    fn cells<'a>(&self, room: &'a mut [u32; MAX_CALL_CELLS]) -> &'a [u32] {
        *room = self.arguments.first();
        room.get(..self.arguments.count()).unwrap_or_default()
    }
}

/// The reply to a CPU that another one is in the way of.
pub(super) fn again_later() -> Reply {
    std::thread::sleep(MAX_CALL_WAIT);
    Reply::again()
}
