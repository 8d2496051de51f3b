//! Control transfer (IEEE 1275 §6.3.2.5; `quiesce` and `start-cpu`, which the CHRP platforms added).

use arch_ppc64::{StartError, StopReason};
use vm_memory::GuestAddress;

use super::{Call, DeviceCall, Program, Reply, Then};
use crate::args::{Failed, characters};
use crate::limits::MAX_BOOTSPEC_BYTES;
use crate::tree::DeviceTree;

/// boot (bootspec): the machine restarts, and its next start is from the bootspec's device and has
/// the bootspec's arguments, as far as it has them, in place of its own.
///
/// A bootspec is a device specifier and arguments for the program, either of which may be missing
/// (§7.4.3.2). Where the VMM has the program, the device makes no difference.
pub(super) fn boot(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [bootspec] = call.arguments();
    let mut text = [0; MAX_BOOTSPEC_BYTES + 1];
    let bootspec = characters(call.guest.text(bootspec, &mut text)?)?;
    let (device, arguments) = parts_of(&call.state.tree, bootspec);
    let kept = |text: &str| (!text.is_empty()).then(|| text.into());
    let (device, arguments) = (kept(device), kept(arguments));
    (call.state.boot_device, call.state.boot_arguments) = (device, arguments);
    Ok(Reply::stopping(StopReason::Reset))
}

/// The device specifier of a bootspec, if it starts with one (a path, or the name of an alias), and
/// what follows it.
fn parts_of<'a>(tree: &DeviceTree, bootspec: &'a str) -> (&'a str, &'a str) {
    let bootspec = bootspec.trim_matches(' ');
    let (first, rest) = bootspec.split_once(' ').unwrap_or((bootspec, ""));
    // What stands behind its colon may have slashes of either kind.
    let name = first.split(':').next().unwrap_or(first);
    let is_device = first.starts_with('/') || tree.resolve(name).is_some();
    if is_device { (first, rest.trim_matches(' ')) } else { ("", bootspec) }
}

/// enter: the client hands over to whoever sits at the console, who may type `go` to let it go on
/// (§6.3.2.5). There is no user interface to type that in, so it goes on at once, and the console
/// says so.
pub(super) fn enter(call: &DeviceCall<'_>) -> Result<Reply, Failed> {
    if let Some(console) = &call.interface.attachments.console {
        // Whether it is seen is no matter of the client's.
        console.device.write(b"\r\nOpen Firmware has no user interface here: going on\r\n");
    }
    Ok(Reply::default())
}

/// exit: the client gives up, for good.
pub(super) fn exit(_call: &mut Call<'_>) -> Result<Reply, Failed> {
    Ok(Reply::stopping(StopReason::ClientExit))
}

/// chain (virt, size, entry, arguments, length): memory that the client is in is released, and
/// another program is entered in its place.
///
/// It returns only where that cannot be: `entry` is no place for an instruction, or the memory is
/// not the client's.
pub(super) fn chain(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [virt, size, entry, arguments, len] = call.arguments();
    let state = &mut *call.state;
    if entry % 4 != 0 || call.guest.check(entry, 4).is_err() {
        state.complaints.warn(format_args!("chain: {entry:#x} is no entry point"));
        return Err(Failed);
    }
    if size > 0 {
        state.claims.release(virt, size).map_err(|error| {
            let complaints = &state.complaints;
            complaints.warn(format_args!("chain: {size:#x} bytes at {virt:#x}: {error}"));
            Failed
        })?;
    }
    let program = Program { entry, arguments, len };
    Ok(Reply { then: Then::Enter(program), ..Reply::default() })
}

/// quiesce: no device acts by itself any more. None of ours ever does; tree, claims and instances
/// stay as they are.
pub(super) fn quiesce(_call: &mut Call<'_>) -> Result<Reply, Failed> {
    Ok(Reply::default())
}

/// start-cpu (phandle, entry, argument): the processor of that node starts at `entry` in 64-bit
/// real mode with `argument` in r3 (as RTAS `start-cpu` does, LoPAPR §7.3.8.2).
pub(super) fn start_cpu(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle, entry, argument] = call.arguments();
    let node = call.node(phandle)?;
    let state = &mut *call.state;
    let (cpus, topology) = state.cpus.as_ref().ok_or(Failed)?;
    let server = state.cpu_number(node).ok_or(Failed)?;
    let entry = GuestAddress(entry.into());
    let started = topology.index(server).ok_or(StartError::NoSuchCpu).and_then(|cpu| {
        arch_ppc64::start_cpu(&**cpus, call.guest.ram(), cpu, entry, argument.into())
    });
    started.map(|()| Reply::default()).map_err(|error| {
        state.complaints.warn(format_args!("start-cpu, {server}: {error}"));
        Failed
    })
}
