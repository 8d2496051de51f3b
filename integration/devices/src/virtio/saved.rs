//! States of devices that are taken up.

use arch_ppc64::platform::StateError;

/// Whether a state of this version is known, where `newest` is the last.
pub(crate) const fn check_version(found: u32, newest: u32) -> Result<(), StateError> {
    if found > newest { Err(StateError::Version { found, newest }) } else { Ok(()) }
}
