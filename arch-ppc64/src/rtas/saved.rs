//! Tokens as they are saved: a guest keeps those that it has read from its tree.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::Rtas;
use super::table::Table;
use super::tokens::{FIRST_OTHER, token_of};
use crate::platform::{SaveState, StateError, StateValue};

/// What is saved of RTAS: the tokens that are not well known, by the names of their calls.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RtasState {
    pub(super) tokens: BTreeMap<String, u32>,
}

impl SaveState for Rtas {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&RtasState { tokens: self.with_table(Table::others) })
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let RtasState { tokens } = state.get()?;
        let table = self.with_table(|table| table.with_others(&tokens))?;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }
}

impl Table {
    /// The tokens of the calls that are not well known.
    fn others(&self) -> BTreeMap<String, u32> {
        let others = self.entries().iter().filter(|entry| token_of(entry.call.name).is_none());
        others.map(|entry| (entry.call.name.to_owned(), entry.token)).collect()
    }

    /// The same calls, with the tokens that the guest knows those by that are not well known. What
    /// it does not know gets numbers behind these.
    fn with_others(&self, known: &BTreeMap<String, u32>) -> Result<Self, StateError> {
        let refused = |name: &str, why: &str| {
            Err(StateError::Value(format!("the RTAS call {name} of the guest {why}")))
        };
        let own = self.others();
        let mut tokens: Vec<u32> = Vec::with_capacity(known.len());
        for (name, &token) in known {
            if !own.contains_key(name) {
                return refused(name, "is answered by no device here");
            }
            if token < FIRST_OTHER || tokens.contains(&token) {
                return refused(name, &format!("cannot have the token {token:#x}"));
            }
            tokens.push(token);
        }
        let mut free = (FIRST_OTHER..).filter(|token| !tokens.contains(token));
        let mut entries = self.entries().to_vec();
        let mut given = known.clone();
        for entry in &mut entries {
            if let Some((name, _)) = own.get_key_value(entry.call.name) {
                let new = || free.next().unwrap_or(u32::MAX);
                entry.token = *given.entry(name.clone()).or_insert_with(new);
            }
        }
        Ok(Self::sorted(entries))
    }
}
