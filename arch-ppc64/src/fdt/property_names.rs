//! The names of a tree's properties, each kept once.

use std::collections::HashMap;

use super::error::FdtError;
use super::names::is_property_name;

/// The name of a property, by the order in which names came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameId(u32);

/// All names that properties of a tree have.
#[derive(Debug, Default)]
pub(super) struct PropertyNames {
    names: Vec<Name>,
    by_name: HashMap<String, NameId>,
    last: Option<NameId>,
}

#[derive(Debug)]
struct Name {
    text: String,
    /// The one that came after this the last time: nodes of a kind have their properties in the same
    /// order, so it is likely to come again.
    next: Option<NameId>,
}

impl PropertyNames {
    /// The name, kept if it is new.
    ///
    /// # Errors
    /// [`FdtError::Name`] for what is no name.
    pub(super) fn intern(&mut self, name: &str) -> Result<NameId, FdtError> {
        let last = self.last.and_then(|last| self.names.get(last.0 as usize));
        let likely = last.and_then(|last| last.next);
        let id = match likely.filter(|&likely| self.text(likely) == name) {
            Some(likely) => likely,
            None => self.look_up(name)?,
        };
        if let Some(last) = self.last.and_then(|last| self.names.get_mut(last.0 as usize)) {
            last.next = Some(id);
        }
        self.last = Some(id);
        Ok(id)
    }

    /// The name, if a property has it.
    pub(super) fn get(&self, name: &str) -> Option<NameId> {
        self.by_name.get(name).copied()
    }

    /// The name itself.
    pub(super) fn text(&self, id: NameId) -> &str {
        self.names.get(id.0 as usize).map_or("", |name| &name.text)
    }

    fn look_up(&mut self, name: &str) -> Result<NameId, FdtError> {
        if let Some(id) = self.get(name) {
            return Ok(id);
        }
        if !is_property_name(name) {
            return Err(FdtError::Name { name: name.to_owned() });
        }
        let id = NameId(self.names.len() as u32);
        self.names.push(Name { text: name.to_owned(), next: None });
        self.by_name.insert(name.to_owned(), id);
        Ok(id)
    }
}
