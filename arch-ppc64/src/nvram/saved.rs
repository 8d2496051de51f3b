//! The NVRAM as it is saved: a machine that goes on elsewhere takes it along.

use serde::{Deserialize, Serialize};

use super::{MAX_BYTES, Nvram};
use crate::platform::{SaveState, StateError, StateValue};

/// What is saved of an NVRAM.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NvramState {
    /// How many bytes it has.
    bytes: usize,
    /// Those before the zeros at its end, of two hexadecimal digits each.
    content: String,
}

impl SaveState for Nvram {
    fn save(&self) -> Result<StateValue, StateError> {
        let content = self.content();
        let used = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let digits = content.iter().take(used).map(|byte| format!("{byte:02x}"));
        StateValue::of(&NvramState { bytes: content.len(), content: digits.collect() })
    }

    /// What is in it is taken as it is: guests may write what they like. It is kept from now on.
    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let NvramState { bytes, content: digits } = state.get()?;
        let wrong = |what: String| Err(StateError::Value(what));
        let own = self.size_bytes();
        if bytes != own {
            return wrong(format!("its NVRAM has {bytes} bytes, and the one here {own}"));
        }
        if digits.len() > 2 * bytes.min(MAX_BYTES) {
            return wrong(format!("{} digits are more than an NVRAM has", digits.len()));
        }
        let Some(mut restored) = bytes_of(&digits) else {
            return wrong("an NVRAM is saved as two hexadecimal digits a byte".to_owned());
        };
        restored.resize(own, 0);
        let mut content = self.content();
        self.store.store(0, &restored)?;
        *content = restored;
        Ok(())
    }
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}
