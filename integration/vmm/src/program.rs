//! What the program does, beside its command line: for other programs that are the same, and have a
//! control of the machine.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::api::ApiSocket;
use crate::cli::Cli;
use crate::name::VmName;
use crate::resize::Control;
use crate::{
    Ending, Failure, api, config, confine, die_of, dump_fdt, finish, is_reader_gone, logger, name,
    quoted, reasons, run_controlled,
};

/// The command line of this process, or what it asked for or has wrong, which was said, and the exit
/// status.
///
/// # Errors
/// The exit status.
pub fn command_line(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Cli, ExitCode> {
    Cli::of(arguments).map_err(|asked_for| print(&asked_for))
}

/// Does all that a command line says, with a control of the machine that it describes. What is
/// the matter is said on standard error.
pub fn run(cli: &Cli, control: &Control) -> ExitCode {
    if cli.api_document {
        return print(&format!("{}\n", api::document()));
    }
    if cli.config_schema {
        return print(&format!("{}\n", config::schema()));
    }
    let of_socket = || match &cli.api_socket {
        Some(ApiSocket::Path(path)) => VmName::of_socket(path),
        _ => None,
    };
    if let Some(name) = cli.name.clone().or_else(of_socket) {
        name::set(name);
    }
    // Before any other thread is there. What writes a file and ends runs no guest.
    let mut confinement = cli.confinement();
    confinement.has_requests |= control.is_shared();
    let confined = match cli.dump_fdt {
        None => confine::start(&confinement),
        Some(_) => Ok(None),
    };
    if let Err(error) = logger::start(cli.log.filter(), cli.trace.as_ref()) {
        logger::tell(&quoted::message(&error.to_string()));
        return ExitCode::from(error.status());
    }
    match confined {
        Ok(None) => {}
        Ok(Some(warning)) => log::warn!("{warning}"),
        Err(error) => {
            logger::tell(&error.to_string());
            finish(false);
            return ExitCode::from(2);
        }
    }
    let ending = match &cli.dump_fdt {
        Some(path) => dump_fdt(cli, path).map(|()| None),
        None => run_controlled(cli, control).map(Some),
    };
    let status = match &ending {
        Ok(None) => 0,
        Ok(Some(ending)) => status(ending),
        Err(failure) => {
            complain(failure);
            failure.status()
        }
    };
    let left = matches!(ending, Ok(Some(Ending::Left | Ending::Signal(_))));
    let all_is_written = finish(left);
    if let Ok(Some(Ending::Signal(signal))) = ending {
        die_of(signal);
    }
    match status {
        0 if !all_is_written => ExitCode::FAILURE,
        status => ExitCode::from(status),
    }
}

/// The exit status, and a word on standard error where the end was not the guest's wish.
fn status(ending: &Ending) -> u8 {
    match ending {
        Ending::PowerOff | Ending::Reset | Ending::Left | Ending::Stopped => 0,
        Ending::Signal(_) => 1,
        Ending::ClientExit => {
            logger::tell("the guest's client program gave up (service \"exit\")");
            3
        }
        Ending::NothingToStart => {
            logger::tell("there is nothing to start on the machine's devices");
            3
        }
        Ending::Crash(what) => {
            logger::tell(&format!("the guest crashed: {what}"));
            3
        }
    }
}

/// Shows a failure and what it came from.
fn complain(failure: &Failure) {
    logger::tell(&quoted::message(&reasons::in_one_line(failure)));
    if let Some(hint) = confine::hint(failure) {
        logger::tell(hint);
    }
}

/// Writes to standard output. Whoever does not read to the end has read enough.
fn print(text: &str) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if !is_reader_gone(&error) => {
            logger::tell(&format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
