//! A guest that stands still for longer than its kernel would bear, and whose clock says nothing of it.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::account;
use crate::failure::{Failure, Result};
use crate::machine::{Machine, Options};

/// How long a frame takes to its peer.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Pauses a guest; no time has to pass for it
#[derive(Debug, Args)]
pub(crate) struct Pauses {
    #[command(flatten)]
    options: Options,

    /// For how long it stands still, in seconds, one pause after the other
    #[arg(long, value_name = "SECONDS", default_values_t = [1, 60])]
    seconds: Vec<u64>,
}

impl Pauses {
    pub(crate) fn run(&self) -> Result<()> {
        let mut machine = Machine::start(&self.options)?;
        let began = machine.process.began;
        let mut paused = Duration::ZERO;
        for &seconds in &self.seconds {
            // Two may ask at once, and who is second changes nothing.
            let asked = Instant::now();
            let api = machine.process.api.clone();
            let other = thread::spawn(move || api.put("vm.pause", None));
            let mine = machine.process.api.put("vm.pause", None);
            let other = other.join().map_err(|_| Failure::new("a thread panicked"))?;
            mine.or(other)?;
            let took = asked.elapsed();
            let still = Instant::now();
            let state = machine.process.api.state()?;
            if state != "Paused" {
                return Err(machine.process.failed(&format!("it is {state}")));
            }
            // What it had sent is on its way.
            thread::sleep(ON_ITS_WAY);
            let before = (machine.console()?, machine.network.turns().len());
            thread::sleep(Duration::from_secs(seconds));
            if (machine.console()?, machine.network.turns().len()) != before {
                return Err(machine.process.failed("a guest that stands still says something"));
            }
            paused += still.elapsed();
            machine.process.api.put("vm.resume", None)?;
            // Whole lines: one that was under way, and one of now.
            machine.counts()?;
            machine.counts()?;
            machine.check()?;
            let console = machine.console()?;
            let last = account::counts(&console).last().map_or(Duration::ZERO, |last| last.clock);
            let most = began.elapsed().saturating_sub(paused);
            println!(
                "paused in {took:.1?}, for {seconds} s: its clock is at {last:.1?} of {most:.1?}"
            );
            if last > most {
                let why = format!("its clock is at {last:?}, and it can have run for {most:?}");
                return Err(machine.process.failed(&why));
            }
        }
        let witnessed = machine.finish()?;
        println!("{} pauses, and the guest has noticed nothing: {witnessed}", self.seconds.len());
        Ok(())
    }
}
