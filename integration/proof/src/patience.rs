//! How long it is waited for others.

use std::time::Duration;

/// Who gives no sign for so long hangs. It ends nothing else: machines may be slow.
pub(crate) const HANG: Duration = Duration::from_secs(600);
