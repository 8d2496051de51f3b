//! Memory (IEEE 1275 §6.3.2.4). In real mode a virtual address is a real one.

use super::{Call, Reply};
use crate::args::Failed;

/// claim (virt, size, align) → where, or −1.
///
/// With an alignment of 0, exactly `size` bytes from `virt` on are claimed; with another one,
/// `virt` means nothing.
pub(super) fn claim(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [virt, size, align] = call.arguments();
    let claimed = call.state.claim(call.guest, virt, size, align);
    // Clients try one place after the other: only the table of claims can be to blame.
    claimed.map(Reply::from).map_err(|error| {
        log::debug!("claim of {size:#x} bytes at {virt:#x}, alignment {align:#x}: {error}");
        Failed
    })
}

/// release (virt, size): all of it, or nothing.
pub(super) fn release(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [virt, size] = call.arguments();
    call.state.claims.release(virt, size).map_err(|error| {
        let complaints = &call.state.complaints;
        complaints.warn(format_args!("release of {size:#x} bytes at {virt:#x}: {error}"));
        Failed
    })?;
    Ok(Reply::default())
}
