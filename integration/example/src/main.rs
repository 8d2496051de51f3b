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
mod pause;
mod pci;
mod snapshot;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use arch_ppc64::StopReason;
use clap::Parser;
use vmm_sys_util::terminal::Terminal;

use config::VmConfig;
use machine::Board;
use pause::After;
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
    #[arg(long, value_name = "COUNT|TIMEms", requires = "save", allow_hyphen_values = true)]
    after: Option<After>,

    /// Let the machine go on when it is saved; else it ends
    #[arg(long, requires = "save")]
    go_on: bool,
}

fn main() -> ExitCode {
    let ended = run(&Cli::parse());
    let _ = io::stdin().lock().set_canon_mode();
    let Err(error) = ended else { return ExitCode::SUCCESS };
    eprintln!("example-vmm: {}", with_causes(&*error));
    ExitCode::FAILURE
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn run(cli: &Cli) -> Result<()> {
    let saved = cli.restore.clone().map(Folder::new);
    let saved = saved.map(|folder| Ok::<_, Error>((folder.read_state()?, folder))).transpose()?;
    let (hypervisor, config) = match (&saved, &cli.machine) {
        (Some((saved, _)), _) => (Some(&*saved.hypervisor), saved.config.clone()),
        (None, Some(file)) => (cli.hypervisor.as_deref(), VmConfig::read(file)?),
        (None, None) => return Err("there is no machine".into()),
    };
    let board = Board::new(hypervisor::open(hypervisor)?, config)?;
    let mut machine = match &saved {
        Some((saved, folder)) => board.restore(saved, folder)?,
        None => board.boot(1)?,
    };
    io::stdin().lock().set_raw_mode()?;
    let mut save = cli.save.clone().map(Folder::new);
    if let Some(after) = cli.after {
        board.pause.start(after);
    }
    loop {
        // Its moment may have come as the machine before it ended: then it stays paused.
        if !(save.is_some() && board.pause.has_come()) {
            machine.resume()?;
        }
        machine.attend(&board)?;
        if machine.pause()? {
            let Some(folder) = save.take() else { continue };
            machine.save(&board, &folder)?;
            board.console.show();
            if !cli.go_on {
                return Ok(());
            }
            continue;
        }
        let ended = machine.end();
        board.console.show();
        match ended? {
            Some(StopReason::Reset) => {
                machine = board.boot(machine.boot_count().saturating_add(1))?;
            }
            Some(StopReason::PowerOff) => {
                // Devices may still have had something to say.
                drop(machine);
                board.console.show();
                return Ok(());
            }
            reason => return Err(format!("the guest ended: {reason:?}").into()),
        }
    }
}
