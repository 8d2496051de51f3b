//! Arguments of verbs that are no devices, in the option grammar of pseries-vmm.

use pseries_vmm::config::options::{OptionError, Options, Switch};
use pseries_vmm::lifecycle::TimeoutStrategy;

/// What a downtime is.
pub(crate) const MILLISECONDS: &str = "a number of milliseconds";

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
        let source_url: String = options.need("source_url")?;
        if source_url.is_empty() {
            return Err(OptionError::Value {
                key: "source_url".to_owned(),
                value: source_url,
                reason: "the path of the folder is empty".to_owned(),
            });
        }
        Ok(Self { source_url, resume: switch("resume")?, prefault: switch("prefault")? })
    }
}

/// The argument of `send-migration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendTo {
    pub(crate) destination_url: String,
    pub(crate) local: Option<bool>,
    pub(crate) downtime_ms: Option<u64>,
    pub(crate) timeout_s: Option<u64>,
    pub(crate) timeout_strategy: Option<TimeoutStrategy>,
}

impl SendTo {
    pub(crate) fn parse(text: &str) -> Result<Self, OptionError> {
        let text = with_key("destination_url", text);
        let keys = ["destination_url", "local", "downtime_ms", "timeout_s", "timeout_strategy"];
        let options = Options::parse(&text, &keys)?;
        Ok(Self {
            destination_url: options.need("destination_url")?,
            local: options.get("local")?.map(|Switch(is_on)| is_on),
            downtime_ms: options.number("downtime_ms", MILLISECONDS)?,
            timeout_s: options.number("timeout_s", "a number of seconds")?,
            timeout_strategy: options.get("timeout_strategy")?,
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
