//! Which fuzzers are run, and how.

use std::path::PathBuf;
use std::time::Duration;

use super::Target;

/// What is to be run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) targets: Vec<&'static Target>,
    pub(super) time: Duration,
    pub(super) at_a_time: usize,
    pub(super) seed: Option<u32>,
    /// Where the programs are.
    pub(super) programs: PathBuf,
}
