//! Time (IEEE 1275 §6.3.2.7).

use super::{Call, Reply};
use crate::args::Failed;

/// milliseconds → how many have passed since the start of the machine, modulo 2^32.
pub(super) fn milliseconds(call: &mut Call<'_>) -> Result<Reply, Failed> {
    Ok((call.state.clock.elapsed().as_millis() as u32).into())
}
