//! Execution: the loop over decoded operations.

mod arith;
mod run;

pub(crate) use arith::mask;
pub(crate) use run::{Leave, run};
