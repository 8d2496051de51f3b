//! Events and errors of the platform (LoPAPR §7.3.3).

use super::args::RtasStatus;
use super::handler::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome};
use crate::platform::Device;

const CALLS: &[RtasCall] =
    &[RtasCall::new("event-scan", &[4], 1), RtasCall::new("check-exception", &[6, 7], 1)];

/// `event-scan` and `check-exception`.
#[derive(Debug)]
pub struct EventSources;

impl RtasHandler for EventSources {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, _: usize, _: &mut RtasInvocation<'_>) -> RtasOutcome {
        RtasStatus::NO_ERRORS_FOUND.into()
    }
}

impl Device for EventSources {
    fn id(&self) -> &str {
        "event-sources"
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }
}
