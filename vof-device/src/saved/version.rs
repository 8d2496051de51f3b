//! Reading a state: the version first, so that another one is told as such, whatever follows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{RestoreError, STATE_VERSION, Saved, VofState};

const VERSION: &str = "version";
const SAVED: &str = "saved";
const FIELDS: [&str; 2] = [VERSION, SAVED];

impl<'de> Deserialize<'de> for VofState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("VofState", &FIELDS, StateVisitor)
    }
}

struct StateVisitor;

impl<'de> Visitor<'de> for StateVisitor {
    type Value = VofState;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a state of version {STATE_VERSION}: `{VERSION}`, then `{SAVED}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VofState, A::Error> {
        let expect = |name: &'static str, map: &mut A| match map.next_key::<String>()? {
            Some(key) if key == name => Ok(()),
            Some(key) => Err(A::Error::custom(format_args!("`{key}` where `{name}` belongs"))),
            None => Err(A::Error::missing_field(name)),
        };
        expect(VERSION, &mut map)?;
        let version = checked(map.next_value()?)?;
        expect(SAVED, &mut map)?;
        let saved = map.next_value::<Saved>()?;
        match map.next_key::<String>()? {
            Some(key) => Err(A::Error::unknown_field(&key, &FIELDS)),
            None => Ok(VofState { version, saved }),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VofState, A::Error> {
        let missing = |at: usize| A::Error::invalid_length(at, &self);
        let version = checked(seq.next_element()?.ok_or_else(|| missing(0))?)?;
        let saved = seq.next_element::<Saved>()?.ok_or_else(|| missing(1))?;
        Ok(VofState { version, saved })
    }
}

fn checked<E: Error>(found: u32) -> Result<u32, E> {
    match found {
        STATE_VERSION => Ok(found),
        found => Err(E::custom(RestoreError::Version { found })),
    }
}
