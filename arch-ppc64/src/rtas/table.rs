//! The one table of RTAS calls: which device answers which token.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::handler::RtasCall;
use super::tokens::{FIRST_OTHER, token_of};
use crate::platform::Device;

/// Two devices answer the same call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two devices answer the RTAS call {name}: {first} and {second}")]
#[non_exhaustive]
pub struct DuplicateCall {
    /// The call.
    pub name: &'static str,
    /// The [id](Device::id) of the device that came first.
    pub first: String,
    /// That of the other.
    pub second: String,
}

/// One call, and who answers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) token: u32,
    pub(super) call: RtasCall,
    /// Which device.
    pub(super) device: usize,
    /// The number of the call among those of the device.
    pub(super) number: usize,
}

/// All calls, in the order of their tokens.
#[derive(Debug)]
pub(super) struct Table(Vec<Entry>);

impl Table {
    /// The calls of `devices`. Those that are not well known are numbered in that order.
    pub(super) fn new(devices: &[Arc<dyn Device>]) -> Result<Self, DuplicateCall> {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        let mut entries = Vec::new();
        let mut others = FIRST_OTHER..;
        for (device, view) in devices.iter().enumerate() {
            let calls = view.rtas().map_or(&[][..], |handler| handler.calls());
            for (number, &call) in calls.iter().enumerate() {
                if let Some(first) = first.insert(call.name, view.id()) {
                    let (first, second) = (first.to_owned(), view.id().to_owned());
                    return Err(DuplicateCall { name: call.name, first, second });
                }
                // There are fewer calls than numbers.
                let token = token_of(call.name).or_else(|| others.next()).unwrap_or(u32::MAX);
                entries.push(Entry { token, call, device, number });
            }
        }
        Ok(Self::sorted(entries))
    }

    /// The call of a token.
    pub(super) fn find(&self, token: u32) -> Option<Entry> {
        let place = self.0.binary_search_by_key(&token, |entry| entry.token);
        place.ok().map(|place| self.0[place])
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Of these calls, in any order.
    pub(super) fn sorted(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.token);
        Self(entries)
    }
}
