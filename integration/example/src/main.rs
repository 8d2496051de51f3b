//! A small VMM in another style than pseries-vmm, on public API only, in the form that larger ones
//! have: a hypervisor behind traits, and a machine that is paused, saved and restored.
//! docs/integrate.md walks through it.

#![deny(unsafe_code)]

mod config;
mod console;
mod counter;
mod cpus;
mod hypervisor;
mod machine;
mod memory;
mod snapshot;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arch_ppc64::StopReason;
use clap::Parser;
use vmm_sys_util::terminal::Terminal;

use config::VmConfig;
use machine::Board;
use snapshot::Folder;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Runs a pseries machine on the terminal, from its start or from where it was saved
#[derive(Debug, Parser)]
#[command(
    name = "example-vmm",
    after_help = "Exit status: 0 when the guest switched itself off \
    or was saved, 1 when something failed, 2 for wrong arguments."
)]
struct Cli {
    /// The machine, a JSON file
    #[arg(value_name = "MACHINE.json", required_unless_present = "restore")]
    machine: Option<PathBuf>,

    /// Go on with the machine that was saved in this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["machine", "hypervisor"])]
    restore: Option<PathBuf>,

    /// What runs the guest: KVM where it can, else software
    #[arg(long, value_parser = ["kvm", "software"])]
    hypervisor: Option<String>,

    /// Save the machine in this folder, once it has done as much as --after says
    #[arg(long, value_name = "FOLDER", requires = "after")]
    save: Option<PathBuf>,

    /// So many hypercalls (1200), or so much time (350ms)
    #[arg(long, value_name = "COUNT|TIMEms", requires = "save", allow_hyphen_values = true, value_parser = after)]
    after: Option<After>,

    /// Let the machine go on when it is saved; else it ends
    #[arg(long, requires = "save")]
    go_on: bool,
}

/// When a machine is saved.
#[derive(Debug, Clone, Copy)]
enum After {
    Calls(u64),
    Time(Duration),
}

fn after(text: &str) -> std::result::Result<After, String> {
    let number = |digits: &str| match digits.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("it is a number from 1 on, such as 1200, or with ms behind it".to_owned()),
    };
    match text.strip_suffix("ms") {
        Some(digits) => Ok(After::Time(Duration::from_millis(number(digits)?))),
        None => Ok(After::Calls(number(text)?)),
    }
}

fn main() -> ExitCode {
    let ended = run(&Cli::parse());
    let _ = io::stdin().lock().set_canon_mode();
    let Err(error) = ended else { return ExitCode::SUCCESS };
    let causes = std::iter::successors(error.source(), |error| error.source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    eprintln!("example-vmm: {error}{causes}");
    ExitCode::FAILURE
}

fn run(cli: &Cli) -> Result<()> {
    let saved = cli.restore.clone().map(Folder::new);
    let saved = saved.map(|folder| Ok::<_, Error>((folder.read()?, folder))).transpose()?;
    let (hypervisor, config) = match (&saved, &cli.machine) {
        (Some((saved, _)), _) => (Some(&*saved.hypervisor), saved.config.clone()),
        (None, Some(file)) => (cli.hypervisor.as_deref(), VmConfig::read(file)?),
        (None, None) => return Err("there is no machine".into()),
    };
    let board = Board::new(hypervisor::open(hypervisor)?, config)?;
    match cli.after {
        Some(After::Calls(calls)) => board.calls_left.store(calls, Ordering::SeqCst),
        Some(After::Time(time)) => board.console.pause_after(time),
        None => {}
    }
    let mut machine = match &saved {
        Some((saved, folder)) => board.restore(saved, folder)?,
        None => board.boot(1)?,
    };
    io::stdin().lock().set_raw_mode()?;
    let mut save = cli.save.clone().map(Folder::new);
    machine.resume();
    loop {
        machine.attend(&board)?;
        if let (true, Some(folder)) = (machine.pause(), save.take()) {
            machine.save(&board, &folder)?;
            if !cli.go_on {
                return Ok(());
            }
            machine.resume();
            continue;
        }
        let boot_count = machine.boot_count() + 1;
        match machine.end()? {
            Some(StopReason::Reset) => machine = board.boot(boot_count)?,
            Some(StopReason::PowerOff) => return Ok(()),
            reason => return Err(format!("the guest ended: {reason:?}").into()),
        }
    }
}
