//! A reference VMM for pseries guests: how the parts of the project go together.
//!
//! [`run`] takes the command line's arguments to the guest's end. The parts, from the outside in:
//! [`cli`] and [`config`] say what is wanted, `boot` puts the guest's first instructions and
//! data in place, `vmm` has the event loop and a thread a virtual CPU, [`vcpu`] is what it needs
//! of a back end, and [`kvm`] is one.

/// The project's README: its example is tested with this crate's.
#[cfg(all(doctest, feature = "vof"))]
#[doc = include_str!("../../../README.md")]
mod readme {}

mod boot;
pub mod cli;
pub mod config;
mod console;
mod dump;
pub mod kvm;
pub mod logger;
pub mod ram;
mod signals;
mod smp;
mod terminal;
pub mod vcpu;
mod vmm;

use arch_ppc64::cpu::CpuError;
use arch_ppc64::{ConfigError, Machine};

pub use boot::{BootError, Payload};
pub use dump::DumpError;
pub use signals::die_of;
pub use vmm::{Ending, VmmError};

use cli::{BackendChoice, Cli};
use config::{FileError, VmConfig};
use vcpu::{Backend, BackendError};

/// Why there was no run, or none to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The configuration file cannot be used.
    #[error("cannot use the configuration file")]
    File(#[from] FileError),
    /// The configuration is none that a machine can have.
    #[error("the machine cannot be")]
    Config(#[from] ConfigError),
    /// The client interface was asked for, and is not there.
    #[error(
        "x-vof=on: this pseries-vmm was built without the client interface; build it with the \
         cargo feature \"vof\""
    )]
    NoVof,
    /// A file that the user named is not what it should be.
    #[error("cannot start")]
    Payload(#[source] BootError),
    /// The device tree was not written.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The host's processor cannot be the configured one.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The back end cannot be had.
    #[error("cannot use the back end {name}")]
    Backend {
        /// Its name.
        name: &'static str,
        /// The reason.
        #[source]
        source: BackendError,
    },
    /// The run ended early.
    #[error(transparent)]
    Run(#[from] VmmError),
}

impl Failure {
    /// The exit status: 2 for what the user said, 1 for the host.
    pub fn status(&self) -> u8 {
        match self {
            Self::File(_) | Self::Config(_) | Self::NoVof | Self::Payload(_) | Self::Cpu(_) => 2,
            Self::Dump(DumpError::Write { .. }) => 2,
            Self::Dump(DumpError::Boot(error)) | Self::Run(VmmError::Boot(error))
                if error.is_the_users() =>
            {
                2
            }
            Self::Backend { .. } | Self::Dump(_) | Self::Run(_) => 1,
        }
    }
}

/// Runs the machine that the arguments describe, to its end.
///
/// # Errors
/// [`Failure`]; its [`status`](Failure::status) is the exit status.
pub fn run(cli: &Cli) -> Result<Ending, Failure> {
    let (config, machine) = machine(cli)?;
    let payload = Payload::open(&config.payload).map_err(Failure::Payload)?;
    payload.check(&machine).map_err(Failure::Payload)?;
    let backend = backend(cli.backend)?;
    let name = backend.name();
    let machine = match backend.host_pvr() {
        Ok(Some(pvr)) => machine.on_host(pvr)?,
        Ok(None) => machine,
        Err(source) => return Err(Failure::Backend { name, source }),
    };
    let cpu = machine.cpu();
    log::info!("{} on {name}, processor version {:#010x}", cpu.model(), cpu.pvr());
    Ok(vmm::run(&vmm::Setup { machine, payload, backend, reboot: !cli.no_reboot })?)
}

/// Writes the device tree of the machine that the arguments describe.
///
/// # Errors
/// [`Failure`]; its [`status`](Failure::status) is the exit status.
pub fn dump_fdt(cli: &Cli, path: &std::path::Path) -> Result<(), Failure> {
    let (config, machine) = machine(cli)?;
    Ok(dump::dump_fdt(&machine, &config, path)?)
}

fn machine(cli: &Cli) -> Result<(VmConfig, Machine), Failure> {
    let config = cli.vm_config()?;
    if config.machine.x_vof == Some(true) && !cfg!(feature = "vof") {
        return Err(Failure::NoVof);
    }
    let machine = Machine::new(&config)?;
    Ok((config, machine))
}

fn backend(choice: BackendChoice) -> Result<Box<dyn Backend>, Failure> {
    match choice {
        // There is one; `auto` will have more to choose from.
        BackendChoice::Auto | BackendChoice::Kvm => match kvm::Kvm::open() {
            Ok(kvm) => Ok(Box::new(kvm)),
            Err(source) => Err(Failure::Backend { name: "kvm", source }),
        },
    }
}
