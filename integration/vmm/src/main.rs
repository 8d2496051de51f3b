//! `pseries-vmm`: runs a POWER guest in this terminal.

use std::process::ExitCode;

use pseries_vmm::resize::Control;
use pseries_vmm::{program, take_limits_as_errors};

fn main() -> ExitCode {
    take_limits_as_errors();
    match program::command_line(std::env::args_os()) {
        Ok(cli) => program::run(&cli, &Control::new()),
        Err(status) => status,
    }
}
