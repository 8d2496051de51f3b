//! Sizes in bytes, as people write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A number of bytes, written with or without one of the units K, M, G, T (powers of 1,024). In
/// JSON it is a number of bytes, or such a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Size(pub u64);

const WRONG: &str = "a size is a number of bytes, or of units as in 64K, 512M, 2G, 1T";

/// In the largest unit of which it is a whole number.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let units = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];
        match units.into_iter().find(|(_, shift)| bytes != 0 && bytes % (1 << shift) == 0) {
            Some((unit, shift)) => write!(f, "{}{unit}", bytes >> shift),
            None => write!(f, "{bytes}"),
        }
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            Some(b'T' | b't') => (&text[..text.len() - 1], 40),
            _ => (text, 0),
        };
        // `parse` would take a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(WRONG);
        }
        let number: u64 = digits.parse().map_err(|_| WRONG)?;
        number.checked_mul(1 << shift).map(Self).ok_or("this size is beyond 64 bits")
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size: bytes, or a text such as \"512M\" or \"2G\"")
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(|reason| E::custom(format_args!("\"{text}\": {reason}")))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0, "description": "bytes" },
                { "type": "string", "pattern": "^[0-9]+[KMGTkmgt]?$", "examples": ["512M", "2G"] },
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("0", 0), ("65536", 65536), ("64K", 65536), ("512m", 512 << 20), ("2G", 2 << 30)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "G", "-1", "+1", "1.5G", "1GB", "99999999999999T", "0x10", "1 G", "ä"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        for text in ["0", "1", "1025", "64K", "512M", "1G", "1025M", "16T", "18446744073709551615"]
        {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn json_has_numbers_and_texts() {
        let size = |json: &str| serde_json::from_str::<Size>(json);
        assert_eq!(size("1048576").unwrap(), Size(1 << 20));
        assert_eq!(size("\"1M\"").unwrap(), Size(1 << 20));
        let message = size("\"lots\"").unwrap_err().to_string();
        assert!(message.contains("lots") && message.contains("512M"), "{message}");
        assert!(size("-1").unwrap_err().to_string().contains("2G"));
        assert!(size("1.5").is_err());
    }
}
