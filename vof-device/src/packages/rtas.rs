//! `/rtas`, where run-time services begin.

use arch_ppc64::rtas;
use vm_memory::GuestAddress;

use super::own::Method;
use crate::package::{Context, Stack, Throw};
use crate::state::State;

pub(super) const METHODS: &[Method] = &[("instantiate-rtas", instantiate)];

/// instantiate-rtas (base -- entry) (LoPAPR §B.6.4.2 and §7.2.5).
fn instantiate(
    state: &mut State,
    context: &Context<'_>,
    stack: &mut Stack<'_>,
) -> Result<(), Throw> {
    let base = stack.pop()?;
    let entry = rtas::instantiate(context.guest().ram(), GuestAddress(base.into()));
    let entry = entry.map_err(|error| {
        state.complaints.warn(format_args!("instantiate-rtas: {error}"));
        Throw::ABORT
    })?;
    stack.push(u32::try_from(entry.0).map_err(|_| Throw::ABORT)?)
}
