//! What the interface's own packages have in common: what their methods work on is the interface's
//! state, and their instances have none.

use std::sync::{Arc, Mutex};

use crate::args::Failed;
use crate::interface::lock;
use crate::package::{Context, Instance, Package, Progress, Stack, Throw};
use crate::state::State;

/// A method: its name, and what it does with the stack.
pub(super) type Method =
    (&'static str, fn(&mut State, &Context<'_>, &mut Stack<'_>) -> Result<(), Throw>);

/// A package of methods on the interface's state.
pub(crate) struct OwnPackage {
    state: Arc<Mutex<State>>,
    methods: &'static [Method],
    names: Vec<&'static str>,
}

impl OwnPackage {
    pub(super) fn new(state: &Arc<Mutex<State>>, methods: &'static [Method]) -> Self {
        let names = methods.iter().map(|method| method.0).collect();
        Self { state: state.clone(), methods, names }
    }
}

impl Package for OwnPackage {
    fn open(&self, _arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(Open { state: self.state.clone(), methods: self.methods }))
    }

    fn methods(&self) -> &[&'static str] {
        &self.names
    }
}

struct Open {
    state: Arc<Mutex<State>>,
    methods: &'static [Method],
}

impl Instance for Open {
    fn method(
        &mut self,
        context: &Context<'_>,
        name: &str,
        stack: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        let method = self.methods.iter().find(|method| method.0 == name);
        let (_, run) = method.ok_or(Throw::UNDEFINED_WORD)?;
        run(&mut lock(&self.state), context, stack)?;
        Ok(Progress::Done)
    }
}
