//! What the source says of its machine before anything of it is sent.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::config::VmConfig;
use crate::saved::Outline;

/// A machine that is to move.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Offer {
    /// The release of its VMM.
    pub(crate) release: String,
    /// What it is, as its user has said it.
    pub(crate) config: VmConfig,
    /// What it is, as its guest sees it.
    pub(crate) outline: Outline,
    /// Whether it stands still, and is to go on standing still.
    pub(crate) paused: bool,
}
