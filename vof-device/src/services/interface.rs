//! The client interface itself (IEEE 1275 §6.3.2.1).

use super::{Call, MINUS_ONE, Reply};
use crate::args::{Failed, Text};
use crate::limits::MAX_SERVICE_NAME_BYTES;

/// test (name) → 0 if there is such a service, else −1.
pub(super) fn test(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [name] = call.arguments();
    let name: Text<{ MAX_SERVICE_NAME_BYTES + 1 }> = call.guest.text(name)?;
    Ok(if super::find(name.bytes()).is_some() { 0 } else { MINUS_ONE }.into())
}
