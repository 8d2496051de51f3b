//! Saves and moves guests that notice it when something is wrong, by the API as its clients have it.
//!
//! `cargo xtask test` runs this on the machine itself and on emulated POWER hosts; `cargo xtask bench`
//! has figures from it. The program in the guest is `witness.c` of `integration/xtask`.

mod account;
mod alone;
mod api;
mod failure;
mod figures;
mod machine;
mod migrations;
mod network;
mod patience;
mod pauses;
mod process;
mod proxy;
mod snapshots;

use std::process::ExitCode;

use clap::Parser;

use self::alone::Alone;
use self::migrations::Migrations;
use self::pauses::Pauses;
use self::snapshots::Snapshots;

/// Saves and moves guests that notice it when something is wrong
#[derive(Debug, Parser)]
enum Cli {
    Alone(Alone),
    Migrations(Migrations),
    Pauses(Pauses),
    Snapshots(Snapshots),
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Alone(alone) => alone.run(),
        Cli::Migrations(migrations) => migrations.run(),
        Cli::Pauses(pauses) => pauses.run(),
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
