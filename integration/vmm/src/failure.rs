//! Why a machine did not run, or not to its end.

use arch_ppc64::ConfigError;
use arch_ppc64::cpu::{CpuError, CpuModel};

use crate::api::SocketError;
use crate::boot::BootError;
use crate::config::{DeviceError, FileError, LayoutError};
use crate::confine::ConfineError;
use crate::consoles::ConsoleError;
use crate::devices::DeviceOpenError;
use crate::dump::DumpError;
use crate::error::VmmError;
use crate::migration::MigrationError;
use crate::monitor::MonitorError;
use crate::nvram::NvramOpenError;
use crate::saved::RestoreError;
use crate::vcpu::BackendError;

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
    /// CPUs, memory and NUMA nodes cannot be in one machine.
    #[error("the machine cannot be")]
    Layout(#[from] LayoutError),
    /// The devices cannot be in one machine.
    #[error("the machine cannot be")]
    Device(#[from] DeviceError),
    /// The client interface was asked for, and is not there.
    #[error(
        "x-vof=on: this pseries-vmm was built without the client interface; build it with the \
         cargo feature \"vof\""
    )]
    NoVof,
    /// A file that the user named is not what it should be.
    #[error("cannot start")]
    Payload(#[source] BootError),
    /// A console cannot be had.
    #[error("cannot start")]
    Console(#[from] ConsoleError),
    /// A device cannot be had.
    #[error("cannot start")]
    DeviceOpen(#[from] DeviceOpenError),
    /// The non-volatile memory cannot be had.
    #[error("cannot start")]
    Nvram(#[from] NvramOpenError),
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
    /// The back end cannot be what the machine is.
    #[error("the machine cannot be")]
    Unsuitable(#[source] BackendError),
    /// The processor needs a hashed page table, which the back end does not have.
    #[error("a {model} guest needs a hashed page table; guests of cpu=POWER9 do not")]
    NeedsHash {
        /// The processor.
        model: CpuModel,
        /// What the back end has.
        #[source]
        source: BackendError,
    },
    /// KVM's time is the host's.
    #[error("--icount needs --backend interp: KVM does not count a guest's instructions")]
    Icount,
    /// KVM's guests run on the host's processor.
    #[error("--debug-unimplemented needs --backend interp: KVM's processor is the host's")]
    DebugUnimplemented,
    /// The API cannot be served.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Arguments are about a machine that there is none of.
    #[error(
        "--api-socket without --kernel, --disk, --net or --config waits for vm.create, which says all \
         of a machine; other arguments about one have no place"
    )]
    NoMachine,
    /// Events cannot be told.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// A machine that was saved cannot be had.
    #[error("cannot restore the machine")]
    Restore(#[from] RestoreError),
    /// No machine came from another process.
    #[error("no machine has come")]
    Migration(#[from] MigrationError),
    /// This process cannot be confined as was asked for.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The run ended early.
    #[error(transparent)]
    Run(#[from] VmmError),
}

impl Failure {
    /// The exit status: 2 for what the user said, 1 for the host.
    pub fn status(&self) -> u8 {
        match self {
            Self::File(error) if error.is_the_users() => 2,
            Self::Config(_) | Self::Layout(_) | Self::Device(_) => 2,
            Self::NoVof | Self::Cpu(_) => 2,
            Self::Unsuitable(_)
            | Self::NeedsHash { .. }
            | Self::Icount
            | Self::DebugUnimplemented => 2,
            Self::Dump(DumpError::Create { .. }) => 2,
            Self::Payload(error)
            | Self::Dump(DumpError::Boot(error))
            | Self::Run(VmmError::Boot(error))
                if error.is_the_users() =>
            {
                2
            }
            Self::DeviceOpen(error) if error.is_the_users() => 2,
            Self::Console(error) if error.is_the_users() => 2,
            Self::Socket(error) if error.is_the_users() => 2,
            Self::NoMachine => 2,
            Self::Socket(_) => 1,
            Self::Monitor(MonitorError::Thread(_)) => 1,
            Self::Monitor(_) => 2,
            Self::Restore(error) | Self::Run(VmmError::Restore(error)) if error.is_the_users() => 2,
            Self::Restore(_) => 1,
            Self::Confine(error) if error.is_the_users() => 2,
            Self::Confine(_) => 1,
            Self::Nvram(error) if error.is_the_users() => 2,
            Self::Nvram(_) => 1,
            Self::File(_) | Self::Payload(_) | Self::DeviceOpen(_) | Self::Console(_) => 1,
            Self::Migration(_) | Self::Backend { .. } | Self::Dump(_) | Self::Run(_) => 1,
        }
    }
}
