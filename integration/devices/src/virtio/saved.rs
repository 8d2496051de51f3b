//! States of devices that are taken up.

use arch_ppc64::platform::StateError;

/// Whether a state of this version is known, where `newest` is the last.
pub(crate) const fn check_version(found: u32, newest: u32) -> Result<(), StateError> {
    if found > newest { Err(StateError::Version { found, newest }) } else { Ok(()) }
}

/// Bytes as two hexadecimal digits each.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// And back, if they are such digits.
pub(crate) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// The state of a device after a way through a file.
#[cfg(test)]
pub(crate) fn written<M: vm_memory::GuestAddressSpace>(
    device: &dyn super::VirtioDevice<M>,
) -> arch_ppc64::platform::StateValue {
    let text = serde_json::to_string(&device.save().unwrap()).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Such a state with something changed.
#[cfg(test)]
pub(crate) fn changed(
    state: &arch_ppc64::platform::StateValue,
    field: &str,
    value: serde_json::Value,
) -> arch_ppc64::platform::StateValue {
    let mut state = serde_json::to_value(state).unwrap();
    state[field] = value;
    serde_json::from_value(state).unwrap()
}
