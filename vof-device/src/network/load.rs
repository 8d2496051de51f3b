//! The method `load`: a program from the network into a client's memory (IEEE 1275 §3.7).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;

use super::device::NetworkDevice;
use super::netboot::{Limits, Netboot, NetbootError, Request};
use crate::args::Failed;
use crate::limits::{LOG_PERIOD_SECONDS, MAX_LOGGED_COMPLAINTS};
use crate::package::{Context, Throw};

/// What a guest can cause without an end.
static COMPLAINTS: LogLimit =
    LogLimit::new(MAX_LOGGED_COMPLAINTS, Duration::from_secs(LOG_PERIOD_SECONDS))
        .with_target(module_path!())
        .with_topic("load from the network");

/// The program that is being loaded by an instance of a device: one at a time, so that no more is
/// kept of it. Who begins to load takes the place of who did before.
#[derive(Default)]
pub(super) struct Loading(Mutex<Option<Load>>);

struct Load {
    /// The number of the instance.
    owner: u64,
    at: u32,
    bytes: u32,
    session: Netboot,
}

impl Loading {
    /// Goes on loading for an instance, or begins to: `arguments` say which file, as
    /// [`Request::from_arguments`] has them. `None` while it is not there. `has_begun` is the
    /// instance's to keep: one that had begun, and finds another in its place, gets an error, or two
    /// of them would take the place from each other for ever.
    pub(super) fn poll(
        &self,
        owner: u64,
        device: &Arc<dyn NetworkDevice>,
        arguments: &str,
        context: &Context<'_>,
        at: u32,
        has_begun: &mut bool,
    ) -> Result<Option<u32>, Throw> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = place.as_ref().is_some_and(|load| load.owner == owner);
        if std::mem::take(has_begun) && !is_own {
            return Err(Throw::ABORT);
        }
        if !is_own || place.as_ref().is_none_or(|load| load.at != at) {
            let request = Request::from_arguments(arguments);
            // What there is room for is found out piece by piece.
            let limits = Limits::default().with_image_bytes(u32::MAX.into());
            let session = Netboot::new(device.clone(), &request, &limits);
            *place = Some(Load { owner, at, bytes: 0, session });
        }
        let Some(load) = place.as_mut() else { return Ok(None) };
        match load.poll(context) {
            Ok(false) => {
                *has_begun = true;
                Ok(None)
            }
            Ok(true) => {
                let bytes = load.bytes;
                *place = None;
                Ok(Some(bytes))
            }
            Err(error) => {
                *place = None;
                COMPLAINTS.warn(format_args!("{error}"));
                Err(match error {
                    NetbootError::NoRoom { .. } => Throw::INVALID_ADDRESS,
                    _ => Throw::ABORT,
                })
            }
        }
    }

    /// The instance does not want it any more.
    pub(super) fn abandon(&self, owner: u64) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.take_if(|load| load.owner == owner);
    }
}

impl Load {
    fn poll(&mut self, context: &Context<'_>) -> Result<bool, NetbootError> {
        let Self { at, bytes, session, .. } = self;
        let loaded = session.poll(&mut |data| {
            let end = u32::try_from(data.len()).ok().and_then(|more| bytes.checked_add(more));
            let end = end.ok_or(Failed)?;
            context.write(at.checked_add(*bytes).ok_or(Failed)?, data)?;
            *bytes = end;
            Ok(())
        })?;
        Ok(loaded.is_some())
    }
}
