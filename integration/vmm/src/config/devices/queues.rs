//! Numbers of queues, and their sizes.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most queues that a device can be given.
pub const MAX_QUEUES: u16 = 64;

/// How many queues of requests a device has, from 1 to 64. Each has a thread of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "u64", into = "u64")]
#[schemars(inline, extend("minimum" = 1, "maximum" = 64))]
pub struct QueueCount(u16);

impl QueueCount {
    /// One queue.
    pub const ONE: Self = Self(1);

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for QueueCount {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<u64> for QueueCount {
    type Error = String;

    fn try_from(count: u64) -> Result<Self, String> {
        let number = u16::try_from(count).ok().filter(|count| (1..=MAX_QUEUES).contains(count));
        number.map(Self).ok_or(format!("a device has 1 to {MAX_QUEUES} queues, not {count}"))
    }
}

impl From<QueueCount> for u64 {
    fn from(QueueCount(count): QueueCount) -> Self {
        count.into()
    }
}

impl FromStr for QueueCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        decimal(text)?.try_into()
    }
}

/// How many descriptors a queue has, a power of two from 4 to 32768 (Virtio 1.2 §2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "u64", into = "u64")]
#[schemars(inline, extend("minimum" = 4, "maximum" = 32768))]
pub struct QueueSize(u16);

impl QueueSize {
    /// What is enough for most devices.
    pub const USUAL: Self = Self(256);

    /// For devices whose requests are many pieces.
    pub const LARGE: Self = Self(1024);

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u64> for QueueSize {
    type Error = String;

    fn try_from(size: u64) -> Result<Self, String> {
        let number = u16::try_from(size).ok();
        let number = number.filter(|size| (4..=32768).contains(size) && size.is_power_of_two());
        let wrong = || format!("the size of a queue is a power of two from 4 to 32768, not {size}");
        number.map(Self).ok_or_else(wrong)
    }
}

impl From<QueueSize> for u64 {
    fn from(QueueSize(size): QueueSize) -> Self {
        size.into()
    }
}

impl FromStr for QueueSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        decimal(text)?.try_into()
    }
}

/// `parse` would take a sign.
fn decimal(text: &str) -> Result<u64, String> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| "this is no number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sizes_have_limits() {
        assert_eq!("64".parse::<QueueCount>().unwrap().get(), 64);
        for wrong in ["0", "65", "-1", "+1", "", "x", "18446744073709551616"] {
            assert!(wrong.parse::<QueueCount>().is_err(), "{wrong}");
        }
        assert_eq!("32768".parse::<QueueSize>().unwrap().get(), 32768);
        for wrong in ["0", "2", "3", "100", "65536", "1K"] {
            assert!(wrong.parse::<QueueSize>().is_err(), "{wrong}");
        }
        assert!("100".parse::<QueueSize>().unwrap_err().contains("power of two"));
    }
}
