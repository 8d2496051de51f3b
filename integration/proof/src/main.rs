//! Saves and moves guests that notice it when something is wrong, by the API as its clients have it.
//!
//! `cargo xtask test` runs this on the machine itself and on emulated POWER hosts; `cargo xtask bench`
//! has figures from it. The program in the guest is `witness.c` of `integration/xtask`.

mod account;
mod api;
mod failure;
mod machine;
mod network;
mod process;
mod snapshots;

use std::process::ExitCode;

use clap::Parser;

use self::snapshots::Snapshots;

/// Saves and moves guests that notice it when something is wrong
#[derive(Debug, Parser)]
enum Cli {
    Snapshots(Snapshots),
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Snapshots(snapshots) => snapshots.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("proof: {failure}");
            ExitCode::FAILURE
        }
    }
}
