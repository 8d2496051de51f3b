//! Execution: the loop over decoded operations.

mod arith;
mod run;

pub(crate) use run::{Leave, run};
