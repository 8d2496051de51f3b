//! Arguments of verbs that are no devices, in the option grammar of pseries-vmm.

use pseries_vmm::config::options::{OptionError, Options, Switch};

/// The argument of `restore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestoreFrom {
    pub(crate) source_url: String,
    pub(crate) resume: Option<bool>,
    pub(crate) prefault: Option<bool>,
}

impl RestoreFrom {
    pub(crate) fn parse(text: &str) -> Result<Self, OptionError> {
        let text = with_key("source_url", text);
        let options = Options::parse(&text, &["source_url", "resume", "prefault"])?;
        let switch = |key| Ok::<_, OptionError>(options.get(key)?.map(|Switch(is_on)| is_on));
        Ok(Self {
            source_url: options.need("source_url")?,
            resume: switch("resume")?,
            prefault: switch("prefault")?,
        })
    }
}

/// The argument of `send-migration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendTo {
    pub(crate) destination_url: String,
    pub(crate) local: Option<bool>,
    pub(crate) downtime_ms: Option<u64>,
    pub(crate) timeout_s: Option<u64>,
}

impl SendTo {
    pub(crate) fn parse(text: &str) -> Result<Self, OptionError> {
        let text = with_key("destination_url", text);
        let keys = ["destination_url", "local", "downtime_ms", "timeout_s"];
        let options = Options::parse(&text, &keys)?;
        Ok(Self {
            destination_url: options.need("destination_url")?,
            local: options.get("local")?.map(|Switch(is_on)| is_on),
            downtime_ms: options.get("downtime_ms")?,
            timeout_s: options.get("timeout_s")?,
        })
    }
}

/// The argument of `receive-migration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiveFrom {
    pub(crate) receiver_url: String,
}

impl ReceiveFrom {
    pub(crate) fn parse(text: &str) -> Result<Self, OptionError> {
        let text = with_key("receiver_url", text);
        let options = Options::parse(&text, &["receiver_url"])?;
        Ok(Self { receiver_url: options.need("receiver_url")? })
    }
}

/// The first key can be left out.
fn with_key(key: &str, text: &str) -> String {
    let first = text.split(',').next().unwrap_or_default();
    if first.contains('=') { text.to_owned() } else { format!("{key}={text}") }
}
