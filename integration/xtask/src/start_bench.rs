//! `cargo xtask bench start`: how long a guest takes from the start of a process to its first
//! instruction, to its kernel, to its first program and to its end, beside QEMU; and what the VMM takes
//! of memory for itself.

mod boot;
mod here;
mod on_power;
mod report;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::failure::Result;
use crate::folders;

/// Where guests are started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Where {
    /// In both places.
    #[default]
    All,
    /// On this machine, by processors in software.
    Here,
    /// On KVM in an emulated POWER host.
    OnPower,
}

/// Measures, prints the figures beside their targets, and writes them to a file for
/// `docs/performance/phases.py`.
pub(crate) fn run(runs: u32, place: Where, csv: Option<PathBuf>) -> Result<u8> {
    let mut places = Vec::new();
    if place != Where::OnPower {
        places.push(here::measure(runs)?);
    }
    if place != Where::Here {
        places.push(on_power::measure(runs)?);
    }
    for place in &places {
        report::print(place);
    }
    if let Some(path) = csv {
        folders::write(&path, report::csv(&places).as_bytes())?;
    }
    Ok(0)
}
