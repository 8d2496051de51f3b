//! A guest that nobody saves or moves: what it notices anyhow.

use std::thread;
use std::time::Duration;

use clap::Args;

use crate::failure::Result;
use crate::machine::{Machine, Options};

/// Leaves a guest alone for a while: what it notices then is the machine's own
#[derive(Debug, Args)]
pub(crate) struct Alone {
    #[command(flatten)]
    options: Options,

    /// For how long it runs, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    every: u64,
}

impl Alone {
    pub(crate) fn run(&self) -> Result<()> {
        let machine = Machine::start(&self.options)?;
        thread::sleep(Duration::from_millis(self.every));
        machine.check()?;
        println!("alone, and the guest has noticed nothing: {}", machine.finish()?);
        Ok(())
    }
}
