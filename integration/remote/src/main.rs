//! The command line client of the API of pseries-vmm: one request, its answer, and an exit status.
//!
//! [`cli`] is what the user says, [`verb`] makes a [`request`] of it, [`client`] takes that to the VMM
//! and brings the answer, [`show`] shows it.

mod arguments;
mod cli;
mod client;
mod error;
mod request;
mod show;
mod verb;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use pseries_vmm::quoted;

use cli::Cli;
use client::Client;
use error::Error;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = quoted::message(&error::with_causes(&error));
            // When standard error is gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "pseries-remote: {message}");
            ExitCode::from(error.status())
        }
    }
}

fn run(cli: &Cli) -> Result<(), Error> {
    let request = cli.verb.request()?;
    let client = Client::new(&cli.api_socket, cli.timeout());
    let answer = client.exchange(&request)?;
    show::show(&answer, request.answer)
}
