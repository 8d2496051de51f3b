//! `pseries-vmm`: runs a POWER guest in this terminal.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use pseries_vmm::cli::Cli;
use pseries_vmm::{Ending, Failure, config, die_of, dump_fdt, logger, quoted, run};

fn main() -> ExitCode {
    let cli = Cli::of_process();
    if cli.config_schema {
        // Whoever does not read to the end has read enough.
        let _ = writeln!(io::stdout(), "{}", config::schema());
        return ExitCode::SUCCESS;
    }
    if let Err(error) = logger::start(cli.log.filter(), cli.trace.as_ref()) {
        tell(&quoted::message(&error.to_string()));
        return ExitCode::from(2);
    }
    let status = match &cli.dump_fdt {
        Some(path) => dump_fdt(&cli, path).map(|()| 0),
        None => run(&cli).map(|ending| status(&ending)),
    };
    match status {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.status())
        }
    }
}

/// The exit status, and a word on standard error where the end was not the guest's wish.
fn status(ending: &Ending) -> u8 {
    match ending {
        Ending::PowerOff | Ending::Reset | Ending::Left => 0,
        Ending::Signal(signal) => {
            die_of(*signal);
            1
        }
        Ending::ClientExit => {
            tell("the guest's client program gave up (service \"exit\")");
            3
        }
        Ending::Crash(what) => {
            tell(&format!("the guest crashed: {what}"));
            3
        }
    }
}

/// Shows a failure and what it came from. An error that says what its source says is shown once.
fn complain(failure: &Failure) {
    let mut message = failure.to_string();
    let mut source = failure.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !message.ends_with(&said) {
            message.push_str(": ");
            message.push_str(&said);
        }
        source = error.source();
    }
    tell(&quoted::message(&message));
}

/// A word on standard error. When that is gone there is nobody to tell.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "pseries-vmm: {message}");
}
