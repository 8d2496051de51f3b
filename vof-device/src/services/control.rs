//! Control transfer (IEEE 1275 §6.3.2.5, and `quiesce`, which the PowerPC platforms added).

use arch_ppc64::StopReason;

use super::{Call, Reply};
use crate::args::Failed;

/// exit: the client gives up, for good.
pub(super) fn exit(_call: &mut Call<'_>) -> Result<Reply, Failed> {
    Ok(Reply::stopping(StopReason::ClientExit))
}

/// quiesce: no device acts by itself any more. None of ours ever does; tree, claims and instances
/// stay as they are.
pub(super) fn quiesce(_call: &mut Call<'_>) -> Result<Reply, Failed> {
    Ok(Reply::default())
}
