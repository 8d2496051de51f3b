//! Networks.

use std::fmt;
use std::str::FromStr;

use pseries_devices::net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::options::{OptionError, Options, Switch};
use super::{DeviceId, HostPath, as_text};

/// The longest name of an interface, in bytes (netdevice(7), IFNAMSIZ without the zero).
const NAME_BYTES_MAX: usize = 15;

/// A network interface: `tap=NAME[,vhost=on|off]` or `socket=PATH`, `[,mac=MAC][,id=ID]`, on the
/// command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "Keys", into = "Keys")]
#[schemars(!try_from, with = "Keys")]
pub struct NetConfig {
    /// Where its frames go.
    pub backend: NetBackend,
    /// Whether the host's kernel carries them to and from a TAP interface, and not a thread of ours.
    pub vhost: bool,
    /// The guest's address; a random one when left out.
    pub mac: Option<MacAddress>,
    /// What the interface is called here; `net0` and so on when left out.
    pub id: Option<DeviceId>,
}

/// Where the frames of an interface go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetBackend {
    /// To a TAP interface of the host.
    Tap(TapName),
    /// To a program such as passt, by a socket.
    Socket(HostPath),
}

/// A network interface: one of `tap` and `socket`, and more.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schemars(
    rename = "NetConfig",
    extend("oneOf" = [{ "required": ["tap"] }, { "required": ["socket"] }])
)]
struct Keys {
    /// The TAP interface of the host that it is connected with. It is made if there is none and
    /// this process may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tap: Option<TapName>,
    /// Whether the host's kernel (/dev/vhost-net) carries frames to and from the TAP interface.
    #[serde(default)]
    vhost: bool,
    /// The Unix socket of a program that is its network, such as passt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    socket: Option<HostPath>,
    /// The guest's address; a random one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<MacAddress>,
    /// What the interface is called here; `net0` and so on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<DeviceId>,
}

impl TryFrom<Keys> for NetConfig {
    type Error = OptionError;

    fn try_from(keys: Keys) -> Result<Self, OptionError> {
        let backend = match (keys.tap, keys.socket) {
            (Some(tap), None) => NetBackend::Tap(tap),
            (None, Some(socket)) => NetBackend::Socket(socket),
            (Some(_), Some(_)) => return Err(OptionError::Both("tap", "socket")),
            (None, None) => return Err(OptionError::Neither("tap", "socket")),
        };
        if keys.vhost && !matches!(backend, NetBackend::Tap(_)) {
            return Err(OptionError::Needs("vhost", "tap"));
        }
        Ok(Self { backend, vhost: keys.vhost, mac: keys.mac, id: keys.id })
    }
}

impl From<NetConfig> for Keys {
    fn from(config: NetConfig) -> Self {
        let NetConfig { backend, vhost, mac, id } = config;
        let (tap, socket) = match backend {
            NetBackend::Tap(tap) => (Some(tap), None),
            NetBackend::Socket(socket) => (None, Some(socket)),
        };
        Self { tap, vhost, socket, mac, id }
    }
}

impl NetConfig {
    /// Takes the argument of `--net` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["tap", "vhost", "socket", "mac", "id"])?;
        let keys = Keys {
            tap: options.get("tap")?,
            vhost: options.get("vhost")?.is_some_and(|Switch(is_on)| is_on),
            socket: options.get("socket")?,
            mac: options.get("mac")?,
            id: options.get("id")?,
        };
        keys.try_into()
    }
}

/// The name of a network interface of the host: 1 to 15 bytes without blanks and slashes.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("minLength" = 1, "maxLength" = 15))]
pub struct TapName(String);

impl TapName {
    /// The same as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TapName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        // A name with % is a pattern for the kernel.
        if matches!(text, "" | "." | "..") || text.contains(is_odd) || text.contains('%') {
            return Err("this is no name of a network interface");
        }
        match text.len() {
            1..=NAME_BYTES_MAX => Ok(Self(text.to_owned())),
            _ => Err("the name of a network interface has at most 15 bytes"),
        }
    }
}

as_text!(TapName, |TapName(name)| name);

/// The Ethernet address of an interface: six bytes in hexadecimal, with colons between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, with = "String", extend("pattern" = "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$"))]
pub struct MacAddress(net::MacAddress);

impl MacAddress {
    /// One that nobody gave out, by a number: the same for the same number.
    pub const fn local(number: u32) -> Self {
        Self(net::MacAddress::local(number))
    }
}

impl From<MacAddress> for net::MacAddress {
    fn from(address: MacAddress) -> Self {
        address.0
    }
}

impl FromStr for MacAddress {
    type Err = net::MacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

as_text!(MacAddress, |address| address.to_string());

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_interfaces() {
        let net = NetConfig::parse("tap=tap0,mac=52:54:00:AB:cd:ef,id=lan").unwrap();
        let json = r#"{"tap": "tap0", "mac": "52:54:00:ab:cd:ef", "id": "lan", "vhost": false}"#;
        assert_eq!(net, serde_json::from_str(json).unwrap());
        assert_eq!(net.mac.unwrap().to_string(), "52:54:00:ab:cd:ef");
        let net = NetConfig::parse("tap=tap0,vhost=on").unwrap();
        assert_eq!(net, serde_json::from_str(r#"{"tap": "tap0", "vhost": true}"#).unwrap());
        assert!(net.vhost);
        let net = NetConfig::parse("socket=/run/passt.socket").unwrap();
        assert!(matches!(net.backend, NetBackend::Socket(_)));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (text, words) in [
            ("mac=52:54:00:12:34:56", "\"tap\" and \"socket\""),
            ("tap=tap0,socket=s", "not both"),
            ("socket=s,vhost=on", "\"vhost\" needs the key \"tap\""),
            ("tap=tap0,vhost=yes", "vhost=yes"),
            ("tap=", "no name"),
            ("tap=a/b", "no name"),
            ("tap=tap%d", "no name"),
            ("tap=abcdefghijklmnop", "15 bytes"),
            ("socket=", "the path is empty"),
            ("tap=t,mac=52:54:00:12:34", "six pairs"),
            ("tap=t,mac=52:54:00:12:34:56:78", "six pairs"),
            ("tap=t,mac=52-54-00-12-34-56", "six pairs"),
            ("tap=t,mac=52:54:00:12:34:+6", "six pairs"),
            ("tap=t,mac=01:00:5e:00:00:01", "group"),
            ("tap=t,mac=ff:ff:ff:ff:ff:ff", "group"),
            ("tap=t,mac=00:00:00:00:00:00", "nobody"),
            ("tap=t,ip=10.0.0.1", "\"ip\""),
        ] {
            let error = NetConfig::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
