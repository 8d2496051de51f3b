//! Addresses of Ethernet stations.

use std::fmt;
use std::str::FromStr;

/// The address of one station (IEEE 802.3 §3.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress([u8; 6]);

/// What is no address of a station.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MacError {
    /// It is not written as one.
    #[error("{0:?} is no MAC address: that is six pairs of hexadecimal digits, 52:54:00:12:34:56")]
    Form(String),
    /// It is one of a group.
    #[error("{0} is the address of a group: the first number of a station's is even")]
    Group(MacAddress),
    /// It is nobody's.
    #[error("00:00:00:00:00:00 is nobody's MAC address")]
    Zero,
}

/// The bit of the first byte that says that it is a group's.
const GROUP: u8 = 1;

/// The bit that says that it is chosen where it is used, and not by who made the station.
const LOCAL: u8 = 2;

impl MacAddress {
    /// The address of these bytes, in the order in which they are sent.
    ///
    /// # Errors
    /// [`MacError`] for that of a group, and for zero.
    pub fn new(bytes: [u8; 6]) -> Result<Self, MacError> {
        let address = Self(bytes);
        match bytes {
            [0, 0, 0, 0, 0, 0] => Err(MacError::Zero),
            [first, ..] if first & GROUP != 0 => Err(MacError::Group(address)),
            _ => Ok(address),
        }
    }

    /// An address of a station that nobody made, by a number: the same for the same number.
    pub const fn local(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        Self([0x50 | LOCAL, 0x54, a, b, c, d])
    }

    /// Its bytes, in the order in which they are sent.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut pairs = text.split(':');
        let bytes = [(); 6].map(|()| pairs.next().and_then(byte));
        match bytes {
            [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)] if pairs.next().is_none() => {
                Self::new([a, b, c, d, e, f])
            }
            _ => Err(MacError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

fn byte(pair: &str) -> Option<u8> {
    let is_pair = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(pair, 16).ok().filter(|_| is_pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let address: MacAddress = "52:54:00:AB:cd:0f".parse().unwrap();
        assert_eq!(address.bytes(), [0x52, 0x54, 0, 0xab, 0xcd, 0x0f]);
        assert_eq!(address.to_string(), "52:54:00:ab:cd:0f");
        assert_eq!(MacAddress::new(address.bytes()), Ok(address));
        let local = MacAddress::local(0x0102_0304);
        assert_eq!(local.to_string(), "52:54:01:02:03:04");
        assert_eq!(MacAddress::new(local.bytes()), Ok(local));
    }

    #[test]
    fn what_is_none_is_told() {
        for text in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:0f:1", "52:54:00:ab:cd:+f", "5254:00"] {
            let error = text.parse::<MacAddress>().unwrap_err();
            assert_eq!(error, MacError::Form(text.to_owned()));
        }
        let group = "01:00:5e:00:00:01".parse::<MacAddress>().unwrap_err();
        assert!(group.to_string().starts_with("01:00:5e:00:00:01 is the address of a group"));
        assert_eq!("00:00:00:00:00:00".parse::<MacAddress>(), Err(MacError::Zero));
    }
}
