//! A reference VMM for pseries guests: how the parts of the project go together.
//!
//! [`run`] takes the command line's arguments to the guest's end. The parts, from the outside in:
//! [`cli`] and [`config`] say what is wanted, `consoles` and `devices` have what is behind the
//! machine's devices on the host, `nvram` what it keeps, `boot` puts the guest's first instructions
//! and data in place, [`vmm`] has the machine's starts and its end, [`vcpu`] is what it needs of a
//! back end, and [`kvm`] and [`software`] are the two that there are. [`vmm::run`] takes another, too.
//! [`resize`] gives a machine that runs more CPUs and memory, and takes them back. [`lifecycle`] has
//! machines one after the other, and [`api`] has programs say so.
//!
//! There is a thread for each virtual CPU (`cpus`, `cpu_thread`), one that plugs (`resize`), one for
//! standard input (`input`), one for signals (`watch`), one for each file that is written to while a
//! machine runs (`outlet`), and those of devices: of each queue that a driver uses, or of all queues of
//! a device. With an API there is one that has its clients, and some that do what they ask for.

/// The project's README: its example is tested with this crate's.
#[cfg(all(doctest, feature = "vof"))]
#[doc = include_str!("../../../README.md")]
mod readme {}

pub mod api;
mod boot;
pub mod cli;
pub mod config;
pub mod confine;
mod console;
mod consoles;
pub mod counters;
mod cpu_thread;
mod cpus;
mod devices;
pub mod dirty_log;
mod dump;
mod end;
mod error;
mod failure;
mod halves;
mod host_file;
mod input;
pub mod kvm;
pub mod lifecycle;
mod locks;
pub mod logger;
mod lost;
pub mod migration;
mod moments;
mod monitor;
pub mod name;
mod nvram;
mod operate;
mod outlet;
pub mod pause;
mod prepare;
pub mod program;
pub mod quoted;
pub mod ram;
mod ready;
mod reasons;
pub mod resize;
pub mod saved;
mod signals;
mod slots;
mod snapshot;
pub mod software;
mod stats;
mod terminal;
mod terminal_end;
mod turn;
pub mod vcpu;
pub mod vmm;
mod watch;

use std::path::Path;
use std::sync::Arc;

pub use boot::{BootDevices, BootError, BootFrom, Payload, RamError, RamPlan, Randomness};
pub use consoles::{ConsoleError, Consoles};
pub use devices::{
    DeviceChangeError, DeviceConfig, DeviceInfo, DeviceOpenError, DeviceState, Devices, HeldError,
    Needs, PciDeviceInfo, PlugError, Removal,
};
pub use dump::DumpError;
pub use error::VmmError;
pub use failure::Failure;
pub use moments::{Moment, Moments, Phase};
pub use monitor::{EventsTo, MonitorError};
pub use nvram::{KeptNvram, NvramOpenError};
pub use outlet::{finish, is_reader_gone};
pub use prepare::RunOptions;
pub use signals::{die_of, take_limits_as_errors};
pub use stats::{ClientTime, Exits, Stats};
pub use vmm::Ending;

use api::{Listener, Server};
use cli::Cli;
use config::{RestoreConfig, VmConfig};
use lifecycle::Vmm;
use monitor::Monitor;
use resize::Control;
use saved::{Resumption, SavedMachine};
use software::{Clock, Software};

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
    if cli.event_monitor.is_some() || cli.api_socket.is_some() {
        return run_operated(cli, control);
    }
    let mut moments = Moments::since(cli.started);
    moments.reach(Phase::Understood);
    if let Some(restore) = &cli.restore {
        let (config, resumption) = saved(cli, restore)?;
        let options = RunOptions::from(cli).on_backend(resumption.backend());
        let ready = prepare::setup(&config, None, &options, control, moments)?;
        return ready.resuming(resumption).run();
    }
    let config = cli.vm_config()?;
    prepare::setup(&config, cli.config.as_deref(), &cli.into(), control, moments)?.run()
}

/// A machine that was saved: what it is, and the rest.
fn saved(cli: &Cli, restore: &RestoreConfig) -> Result<(VmConfig, Resumption), Failure> {
    let saved = SavedMachine::open(restore.source_url.path())?.prefaulted(restore.prefault);
    let mut config = saved.config().clone().without_landlock();
    cli.set_consoles(&mut config);
    // Without a socket nobody could have it go on.
    let resumes = restore.resume.unwrap_or(cli.api_socket.is_none());
    Ok((config, saved.resumption(!resumes)))
}

/// The same, where programs are told what happens, or control it: by `--event-monitor` and
/// `--api-socket`.
fn run_operated(cli: &Cli, control: &Control) -> Result<Ending, Failure> {
    let mut moments = Moments::since(cli.started);
    moments.reach(Phase::Understood);
    let monitor = cli.event_monitor.as_ref().map_or(Ok(Monitor::default()), Monitor::start)?;
    signals::hold().map_err(error::create("a mask of signals"))?;
    monitor.event("vmm", "starting");
    let vmm = Vmm::with_monitor(cli.into(), control.clone(), monitor.clone());
    let is_first = match &cli.restore {
        Some(restore) => {
            let (config, resumption) = saved(cli, restore)?;
            vmm.resume_first(config, resumption)?;
            true
        }
        None if cli.has_machine() => {
            vmm.create_first(cli.vm_config()?, cli.config.clone())?;
            true
        }
        None if cli.vm_config()? != VmConfig::default() => return Err(Failure::NoMachine),
        None => false,
    };
    let listener = cli.api_socket.as_ref().map(Listener::open).transpose()?;
    let server = listener.map(|listener| Server::start(listener, vmm.clone())).transpose()?;
    let ending = vmm.serve(is_first.then_some(moments));
    drop(server);
    monitor.finish();
    ending
}

/// Writes the device tree of the machine that the arguments describe.
///
/// # Errors
/// [`Failure`]; its [`status`](Failure::status) is the exit status.
pub fn dump_fdt(cli: &Cli, path: &Path) -> Result<(), Failure> {
    let config = cli.vm_config()?;
    let machine = prepare::machine(&config, cli.config.as_deref(), &cli.into())?;
    let machine = prepare::offered(machine, &Software::new(Arc::new(Clock::of_instructions())))?;
    Ok(dump::dump_fdt(&machine, &config, path)?)
}
