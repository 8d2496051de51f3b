//! The one table of RTAS calls: which device answers which token.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::handler::{RtasCall, RtasUnit};
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
    /// Which calls of the token are for it, if not all.
    pub(super) unit: Option<RtasUnit>,
}

impl Entry {
    /// Whether some call could be for this one and for another one.
    fn is_in_the_way_of(&self, call: &RtasCall, unit: Option<RtasUnit>) -> bool {
        let are_apart = match (self.unit, unit) {
            (Some(one), Some(two)) => one.input == two.input && one.number != two.number,
            _ => false,
        };
        self.call.name == call.name && !are_apart
    }
}

/// All calls, in the order of their tokens. Those of several units have one token.
#[derive(Debug)]
pub(super) struct Table(Vec<Entry>);

impl Table {
    /// The calls of `devices`. Those that are not well known are numbered in that order.
    pub(super) fn new(devices: &[Arc<dyn Device>]) -> Result<Self, DuplicateCall> {
        let mut tokens: BTreeMap<&str, u32> = BTreeMap::new();
        let mut entries: Vec<Entry> = Vec::new();
        let mut others = FIRST_OTHER..;
        for (device, view) in devices.iter().enumerate() {
            let calls = view.rtas().map_or(&[][..], |handler| handler.calls());
            for (number, &call) in calls.iter().enumerate() {
                let unit = view.rtas().and_then(|handler| handler.unit(number));
                let taken = entries.iter().find(|known| known.is_in_the_way_of(&call, unit));
                if let Some(known) = taken {
                    let first = devices[known.device].id().to_owned();
                    let second = view.id().to_owned();
                    return Err(DuplicateCall { name: call.name, first, second });
                }
                // There are fewer calls than numbers.
                let new = || token_of(call.name).or_else(|| others.next()).unwrap_or(u32::MAX);
                let token = *tokens.entry(call.name).or_insert_with(new);
                entries.push(Entry { token, call, device, number, unit });
            }
        }
        Ok(Self::sorted(entries))
    }

    /// Who answers a call of a token with these inputs.
    pub(super) fn find(&self, token: u32, inputs: &[u32]) -> Option<Entry> {
        let first = self.0.partition_point(|entry| entry.token < token);
        let mut known = self.0[first..].iter().take_while(|entry| entry.token == token);
        known.find(|entry| entry.unit.is_none_or(|unit| unit.is_meant(inputs))).copied()
    }

    /// Every call by name and token.
    pub(super) fn calls(&self) -> Vec<(&'static str, u32)> {
        let mut calls: Vec<_> = self.0.iter().map(|entry| (entry.call.name, entry.token)).collect();
        calls.dedup();
        calls
    }

    #[cfg(feature = "serde")]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Of these calls, in any order.
    pub(super) fn sorted(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.token);
        Self(entries)
    }
}
