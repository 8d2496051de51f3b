//! Reading a state: the version first, so that another one is told as such, whatever follows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{RestoreError, STATE_VERSION, Saved, VofState};

const VERSION: &str = "version";
/// In formats that sort their keys, too, the version comes first.
const VOF: &str = "vof";
const FIELDS: [&str; 2] = [VERSION, VOF];

impl<'de> Deserialize<'de> for VofState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("VofState", &FIELDS, StateVisitor)
    }
}

struct StateVisitor;

impl<'de> Visitor<'de> for StateVisitor {
    type Value = VofState;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a state of version {STATE_VERSION}, with `{VERSION}` and `{VOF}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VofState, A::Error> {
        let (mut version, mut vof) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                VERSION if version.is_none() => version = Some(checked(map.next_value()?)?),
                VOF if vof.is_none() => vof = Some(map.next_value::<Saved>()?),
                VERSION => return Err(A::Error::duplicate_field(VERSION)),
                VOF => return Err(A::Error::duplicate_field(VOF)),
                other => return Err(A::Error::unknown_field(other, &FIELDS)),
            }
        }
        let version = version.ok_or_else(|| A::Error::missing_field(VERSION))?;
        let vof = vof.ok_or_else(|| A::Error::missing_field(VOF))?;
        Ok(VofState { version, vof })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VofState, A::Error> {
        let missing = |at: usize| A::Error::invalid_length(at, &self);
        let version = checked(seq.next_element()?.ok_or_else(|| missing(0))?)?;
        let vof = seq.next_element::<Saved>()?.ok_or_else(|| missing(1))?;
        Ok(VofState { version, vof })
    }
}

fn checked<E: Error>(found: u32) -> Result<u32, E> {
    match found {
        STATE_VERSION => Ok(found),
        found => Err(E::custom(RestoreError::Version { found })),
    }
}
