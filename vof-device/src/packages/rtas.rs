//! `/rtas`, where run-time services begin.

use std::sync::{Arc, Mutex};

use arch_ppc64::rtas;
use vm_memory::GuestAddress;

use crate::args::Failed;
use crate::interface::lock;
use crate::package::{Context, Instance, Package, Progress, Stack, Throw};
use crate::state::State;

pub(super) const METHODS: [&str; 1] = ["instantiate-rtas"];

/// `/rtas`.
pub(crate) struct RtasPackage(pub(crate) Arc<Mutex<State>>);

impl Package for RtasPackage {
    fn open(&self, _arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(Self(self.0.clone())))
    }

    fn methods(&self) -> &[&'static str] {
        &METHODS
    }
}

impl Instance for RtasPackage {
    /// instantiate-rtas (base -- entry) (LoPAPR §B.6.4.2 and §7.2.5).
    fn method(
        &mut self,
        context: &Context<'_>,
        name: &str,
        stack: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        if name != METHODS[0] {
            return Err(Throw::UNDEFINED_WORD);
        }
        let base = stack.pop()?;
        let entry = rtas::instantiate(context.guest().ram(), GuestAddress(base.into()));
        let entry = entry.map_err(|error| {
            lock(&self.0).complaints.warn(format_args!("instantiate-rtas: {error}"));
            Throw::ABORT
        })?;
        stack.push(u32::try_from(entry.0).map_err(|_| Throw::ABORT)?)?;
        Ok(Progress::Done)
    }
}
