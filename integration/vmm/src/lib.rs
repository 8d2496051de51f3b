//! A reference VMM for pseries guests: how the parts of the project go together.
//!
//! [`run`] takes the command line's arguments to the guest's end. The parts, from the outside in:
//! [`cli`] and [`config`] say what is wanted, `consoles` and `devices` have what is behind the
//! machine's devices on the host, `nvram` what it keeps, `boot` puts the guest's first instructions
//! and data in place, [`vmm`] has the machine's starts and its end, [`vcpu`] is what it needs of a
//! back end, and [`kvm`] and [`software`] are the two that there are. [`vmm::run`] takes another, too.
//! [`resize`] gives a machine that runs more CPUs and memory, and takes them back.
//!
//! There is a thread for each virtual CPU (`cpus`, `cpu_thread`), one that plugs (`resize`), one for
//! standard input (`input`), one for
//! signals (`watch`), one for each file that is written to while a machine runs (`outlet`), and those
//! of devices: of each queue that a driver uses, or of all queues of a device.

/// The project's README: its example is tested with this crate's.
#[cfg(all(doctest, feature = "vof"))]
#[doc = include_str!("../../../README.md")]
mod readme {}

mod boot;
pub mod cli;
pub mod config;
mod console;
mod consoles;
mod cpu_thread;
mod cpus;
mod devices;
pub mod dirty_log;
mod dump;
mod end;
mod error;
mod halves;
mod host_file;
mod input;
pub mod kvm;
pub mod logger;
mod moments;
mod nvram;
mod outlet;
pub mod pause;
pub mod program;
pub mod quoted;
pub mod ram;
pub mod resize;
mod signals;
mod slots;
pub mod software;
mod stats;
mod terminal;
mod terminal_end;
pub mod vcpu;
pub mod vmm;
mod watch;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arch_ppc64::cas::Support;
use arch_ppc64::cpu::{CpuError, CpuModel};
use arch_ppc64::rtas::RealTimeClock;
use arch_ppc64::{ConfigError, Machine};

pub use boot::{BootDevices, BootError, BootFrom, Payload, RamError, RamPlan, Randomness};
pub use consoles::{ConsoleError, Consoles};
pub use devices::{
    DeviceChangeError, DeviceConfig, DeviceInfo, DeviceOpenError, DeviceState, Devices, Needs,
    PciDeviceInfo, PlugError, Removal,
};
pub use dump::DumpError;
pub use error::VmmError;
pub use moments::{Moment, Moments, Phase};
pub use nvram::{KeptNvram, NvramOpenError};
pub use outlet::{finish, is_reader_gone};
pub use signals::{die_of, take_limits_as_errors};
pub use stats::{ClientTime, Exits, Stats};
pub use vmm::Ending;

use cli::{BackendChoice, Cli};
use config::{DeviceError, FileError, LayoutError, VmConfig};
use resize::Control;
use software::{Clock, GuestTime, Software};
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
            Self::Nvram(error) if error.is_the_users() => 2,
            Self::Nvram(_) => 1,
            Self::File(_) | Self::Payload(_) | Self::DeviceOpen(_) | Self::Console(_) => 1,
            Self::Backend { .. } | Self::Dump(_) | Self::Run(_) => 1,
        }
    }
}

/// Runs the machine that the arguments describe, to its end.
///
/// # Errors
/// [`Failure`]; its [`status`](Failure::status) is the exit status.
pub fn run(cli: &Cli) -> Result<Ending, Failure> {
    run_controlled(cli, &Control::new())
}

/// The same, for whoever has a control of the machine.
///
/// # Errors
/// As [`run`].
pub fn run_controlled(cli: &Cli, control: &Control) -> Result<Ending, Failure> {
    let mut moments = Moments::since(cli.started);
    moments.reach(Phase::Understood);
    let (config, machine) = machine(cli)?;
    let from = BootFrom::open(&config, &machine).map_err(Failure::Payload)?;
    if let BootFrom::Payload(payload) = &from {
        if let Some(hint) = payload.hint(&machine).map_err(Failure::Payload)? {
            log::warn!("{hint}");
        }
    }
    moments.reach(Phase::Configured);
    let timer = Arc::new(if cli.icount { Clock::of_instructions() } else { Clock::of_host() });
    let backend = backend(cli, &timer)?;
    let unusable = |source| Failure::Backend { name: backend.name(), source };
    let machine = machine.on_host(backend.host_pvr().map_err(unusable)?)?;
    let machine = offered(machine, &*backend)?;
    backend.check(&machine).map_err(Failure::Unsuitable)?;
    let cpu = machine.cpu();
    log::info!("{} on {}, processor version {:#010x}", cpu.model(), backend.name(), cpu.pvr());
    let mut consoles = Consoles::open(&config, cli.icount)?;
    let needs = Needs { repeatable: cli.icount, notes_of_writes: backend.keeps_code() };
    let devices = Arc::new(Devices::open(&config, consoles.second.take(), needs)?);
    let (clock, randomness) = if cli.icount {
        (RealTimeClock::new(Box::new(GuestTime::new(timer))), Randomness::Fixed)
    } else {
        (RealTimeClock::default(), Randomness::Host)
    };
    let (reboot, clock) = (!cli.no_reboot, Arc::new(clock));
    let kept = KeptNvram::open(config.nvram.as_ref())?;
    let nvram = kept.device().clone();
    let ram = RamPlan::of(&config);
    let control = control.clone();
    let setup = vmm::Setup {
        machine,
        from,
        backend,
        reboot,
        clock,
        nvram,
        randomness,
        ram,
        devices,
        control,
    };
    moments.reach(Phase::Opened);
    let stats = Arc::new(Mutex::new(Stats { moments, ..Stats::default() }));
    let start = Instant::now();
    let ending = vmm::run(&setup, consoles, &stats);
    kept.finish();
    if cli.stats {
        let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.wall = start.elapsed();
        outlet::tell(stats.to_string().trim_end());
    }
    Ok(ending?)
}

/// Writes the device tree of the machine that the arguments describe.
///
/// # Errors
/// [`Failure`]; its [`status`](Failure::status) is the exit status.
pub fn dump_fdt(cli: &Cli, path: &std::path::Path) -> Result<(), Failure> {
    let (config, machine) = machine(cli)?;
    let machine = offered(machine, &Software::new(Arc::new(Clock::of_instructions())))?;
    Ok(dump::dump_fdt(&machine, &config, path)?)
}

/// The machine with what a guest is offered on a back end.
fn offered(machine: Machine, backend: &dyn Backend) -> Result<Machine, Failure> {
    let interrupts =
        backend.interrupts(machine.wanted_interrupts()).map_err(Failure::Unsuitable)?;
    let model = machine.cpu().model();
    let mmu = backend.mmu(machine.wanted_mmu()).map_err(|source| match model.mmu() {
        Support::Only(_) => Failure::NeedsHash { model, source },
        Support::Either => Failure::Unsuitable(source),
    })?;
    Ok(machine.with_interrupts(interrupts).with_mmu(mmu))
}

fn machine(cli: &Cli) -> Result<(VmConfig, Machine), Failure> {
    let config = cli.vm_config()?;
    if config.machine.x_vof == Some(true) && !cfg!(feature = "vof") {
        return Err(Failure::NoVof);
    }
    config.check_devices_beside(cli.config.as_deref())?;
    if cli.icount {
        config.check_repeatable()?;
    }
    config.check_layout()?;
    let machine = Machine::new(&config)?;
    Ok((config, machine))
}

/// The back end that is asked for; `auto` is KVM where that can run these guests.
fn backend(cli: &Cli, timer: &Arc<Clock>) -> Result<Box<dyn Backend>, Failure> {
    let software = || {
        let software = Software::new(timer.clone());
        Box::new(software.stop_at_unimplemented(cli.debug_unimplemented))
    };
    match (cli.backend, cli.icount || cli.debug_unimplemented) {
        (BackendChoice::Kvm, true) if cli.icount => Err(Failure::Icount),
        (BackendChoice::Kvm, true) => Err(Failure::DebugUnimplemented),
        // Only instructions that are counted can be the time; only one's own core can be debugged.
        (BackendChoice::Interp, _) | (BackendChoice::Auto, true) => Ok(software()),
        (BackendChoice::Kvm, false) => match kvm::Kvm::open() {
            Ok(kvm) => Ok(Box::new(kvm)),
            Err(source) => Err(Failure::Backend { name: "kvm", source }),
        },
        (BackendChoice::Auto, false) => match kvm::Kvm::open() {
            Ok(kvm) => Ok(Box::new(kvm)),
            Err(why) => {
                // A host that could is one whose owner wants to know.
                let level = match why {
                    BackendError::Unsuitable(_) => log::Level::Info,
                    _ => log::Level::Warn,
                };
                let reason = why.source().map_or_else(String::new, |source| format!(": {source}"));
                log::log!(level, "the processor is software, as KVM cannot be used: {why}{reason}");
                Ok(software())
            }
        },
    }
}
