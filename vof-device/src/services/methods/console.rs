//! The methods of the console, a package of the type `serial` (IEEE 1275 §3.7 and Annex A).

use super::{Left, Throw};
use crate::services::{Call, MINUS_ONE, device_io};

/// read ( addr len -- actual ): how many bytes were read, or −2 when there are none yet.
pub(super) fn read(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[len, buffer, ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let console = console(call)?;
    Ok(device_io::poll(call, &*console, buffer, len)?.into())
}

/// write ( addr len -- actual ): how many bytes were written.
pub(super) fn write(call: &mut Call<'_>, stack: &[u32]) -> Result<Left, Throw> {
    let &[len, buffer, ..] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let console = console(call)?;
    Ok(device_io::write_to(&*console, call.guest, buffer, len)?.into())
}

/// seek ( pos.lo pos.hi -- status ): −1, a console has no places to go to.
pub(super) fn seek(_call: &mut Call<'_>, _stack: &[u32]) -> Result<Left, Throw> {
    Ok(MINUS_ONE.into())
}

/// install-abort, remove-abort, restore ( -- ): there is no user interface that a key could lead
/// to, and the console is always fit for use.
pub(super) fn nothing(_call: &mut Call<'_>, _stack: &[u32]) -> Result<Left, Throw> {
    Ok(Left::default())
}

/// ring-bell ( -- ).
pub(super) fn ring_bell(call: &mut Call<'_>, _stack: &[u32]) -> Result<Left, Throw> {
    console(call)?.write(b"\x07");
    Ok(Left::default())
}

fn console(call: &Call<'_>) -> Result<std::sync::Arc<dyn arch_ppc64::Console>, Throw> {
    let console = call.state.console.as_ref().ok_or(Throw::UNDEFINED_WORD)?;
    Ok(console.device.clone())
}
