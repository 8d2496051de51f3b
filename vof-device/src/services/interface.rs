//! The client interface itself (IEEE 1275 §6.3.2.1).

use super::{Call, MINUS_ONE, Reply};
use crate::args::Failed;

/// test (name) → 0 if there is such a service, else −1.
pub(super) fn test(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [name] = call.arguments();
    let mut text = super::NAME_ROOM;
    let name = call.guest.text(name, &mut text)?;
    Ok(if super::find(name).is_some() { 0 } else { MINUS_ONE }.into())
}
