//! Sockets between the guest and the host.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::options::{OptionError, Options};
use super::{DeviceId, HostPath};

/// The least context id of a guest, and the largest: what is below is the host, and what is above
/// means any (vsock(7)).
const FIRST: u64 = 3;
const LAST: u64 = 0xffff_fffe;

/// A device for sockets between guest and host: `cid=N[,socket=PATH][,id=ID]` on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct VsockConfig {
    /// The guest's context id.
    pub cid: Cid,
    /// The Unix socket that programs of the host connect to: they say `CONNECT PORT` first. What
    /// the guest connects to is at this path with `_PORT` behind it.
    /// When it is left out, the host's kernel does the work (`/dev/vhost-vsock`): then guest and host
    /// have sockets of one family, and the context id is one of the whole host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<HostPath>,
    /// What the device is called; `vsock0` and so on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeviceId>,
}

impl VsockConfig {
    /// Takes the argument of `--vsock` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["cid", "socket", "id"])?;
        Ok(Self {
            cid: options.need("cid")?,
            socket: options.get("socket")?,
            id: options.get("id")?,
        })
    }
}

/// A guest's context id, from 3 to 4294967294.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(try_from = "u64", into = "u64")]
#[schemars(inline, extend("minimum" = FIRST, "maximum" = LAST))]
pub struct Cid(u32);

impl Cid {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for Cid {
    type Error = String;

    fn try_from(cid: u64) -> Result<Self, String> {
        let number = u32::try_from(cid).ok().filter(|_| (FIRST..=LAST).contains(&cid));
        number.map(Self).ok_or(format!("a guest's context id is from {FIRST} to {LAST}, not {cid}"))
    }
}

impl From<Cid> for u64 {
    fn from(Cid(cid): Cid) -> Self {
        cid.into()
    }
}

impl FromStr for Cid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `parse` would take a sign.
        let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
        let wrong = || format!("a guest's context id is a number from {FIRST} to {LAST}");
        number.ok_or_else(wrong)?.try_into()
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_ids_have_limits() {
        for (text, cid) in [("3", 3), ("4294967294", u32::MAX - 1)] {
            assert_eq!(text.parse::<Cid>().unwrap().get(), cid);
        }
        for text in ["0", "1", "2", "-1", "4294967295", "4294967296", "18446744073709551616", "x"] {
            let error = VsockConfig::parse(&format!("cid={text},socket=s")).unwrap_err();
            assert!(error.to_string().contains("from 3 to 4294967294"), "{error}");
        }
        assert_eq!(VsockConfig::parse("cid=3").unwrap().socket, None);
    }
}
