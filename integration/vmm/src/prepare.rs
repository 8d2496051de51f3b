//! From a configuration to what [`vmm::run`] takes: everything that a machine needs of the host is had.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arch_ppc64::Machine;
use arch_ppc64::cas::Support;
use arch_ppc64::rtas::RealTimeClock;

use crate::boot::{BootFrom, RamPlan, Randomness};
use crate::cli::{BackendChoice, Cli};
use crate::config::VmConfig;
use crate::confine::{self, Beside};
use crate::consoles::{Consoles, Ptys};
use crate::devices::{Devices, Needs};
use crate::error::VmmError;
use crate::failure::Failure;
use crate::kvm::Kvm;
use crate::locks::lock;
use crate::migration::Incoming;
use crate::moments::{Moments, Phase};
use crate::nvram::KeptNvram;
use crate::outlet;
use crate::resize::Control;
use crate::saved::Resumption;
use crate::software::{Clock, GuestTime, Software};
use crate::stats::Stats;
use crate::vcpu::{Backend, BackendError};
use crate::vmm::{self, Ending};

/// How machines are run, besides what they are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// What runs the guest's instructions.
    pub backend: BackendChoice,
    /// Whether the guest's time is the number of its instructions.
    pub icount: bool,
    /// Whether an instruction that the processor in software does not have ends the machine.
    pub debug_unimplemented: bool,
    /// Whether a guest that asks for a restart gets it.
    pub reboot: bool,
    /// Whether it is told at the end what the machine did.
    pub stats: bool,
    /// Whether another process has the machine's files, and hands them over with the machine.
    pub(crate) handed_over: bool,
    /// What names the files that the process may have, where the machine's own configuration does not,
    /// as it comes from elsewhere.
    pub(crate) files: Option<Arc<VmConfig>>,
}

impl Default for RunOptions {
    /// As without any option.
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            icount: false,
            debug_unimplemented: false,
            reboot: true,
            stats: false,
            handed_over: false,
            files: None,
        }
    }
}

impl From<&Cli> for RunOptions {
    fn from(cli: &Cli) -> Self {
        Self {
            backend: cli.backend,
            icount: cli.icount,
            debug_unimplemented: cli.debug_unimplemented,
            reboot: !cli.no_reboot,
            stats: cli.stats,
            handed_over: false,
            files: None,
        }
    }
}

impl RunOptions {
    /// For a machine that was saved: nobody else than who ran it goes on with it.
    #[must_use]
    pub(crate) fn on_backend(&self, saved: Option<&str>) -> Self {
        let backend = match (self.backend, saved) {
            (BackendChoice::Auto, Some(Software::NAME)) => BackendChoice::Interp,
            (BackendChoice::Auto, Some(Kvm::NAME)) => BackendChoice::Kvm,
            (choice, _) => choice,
        };
        Self { backend, ..self.clone() }
    }
}

/// A machine that can be run: all that it needs of the host is open.
pub(crate) struct Ready {
    setup: vmm::Setup,
    consoles: Consoles,
    kept: KeptNvram,
    stats: Arc<Mutex<Stats>>,
    tells_stats: bool,
}

/// Checks a configuration, and opens what its machine needs of the host. `config_file` is where the
/// configuration is from, if it is from a file.
///
/// # Errors
/// [`Failure`].
pub(crate) fn setup(
    config: &VmConfig,
    config_file: Option<&Path>,
    options: &RunOptions,
    control: &Control,
    mut moments: Moments,
) -> Result<Ready, Failure> {
    let machine = machine(config, config_file, options)?;
    let kvm = options.backend != BackendChoice::Interp;
    let beside = Beside { kvm, ..Beside::default() };
    let files = options.files.as_deref().unwrap_or(config);
    if let Some(warning) = confine::to_files(files, &beside)? {
        log::warn!("{warning}");
    }
    let from = BootFrom::open(config, &machine).map_err(Failure::Payload)?;
    if let BootFrom::Payload(payload) = &from {
        if let Some(hint) = payload.hint(&machine).map_err(Failure::Payload)? {
            log::warn!("{hint}");
        }
    }
    moments.reach(Phase::Configured);
    let timer = Arc::new(if options.icount { Clock::of_instructions() } else { Clock::of_host() });
    let backend = backend(options, &timer)?;
    let unusable = |source| Failure::Backend { name: backend.name(), source };
    let machine = machine.on_host(backend.host_pvr().map_err(unusable)?)?;
    let machine = offered(machine, &*backend)?;
    backend.check(&machine).map_err(Failure::Unsuitable)?;
    let cpu = machine.cpu();
    log::info!("{} on {}, processor version {:#010x}", cpu.model(), backend.name(), cpu.pvr());
    let mut consoles = Consoles::open(config, options.icount)?;
    let needs = Needs {
        repeatable: options.icount,
        notes_of_writes: backend.keeps_code(),
        handed_over: options.handed_over,
    };
    let kept = KeptNvram::open(config.nvram.as_ref(), needs.handed_over)?;
    let mut devices = Devices::open(config, consoles.second.take(), needs)?;
    if let Some(held) = kept.held() {
        devices = devices.with_held(held);
    }
    let devices = Arc::new(devices);
    let (clock, randomness) = if options.icount {
        (RealTimeClock::new(Box::new(GuestTime::new(timer))), Randomness::Fixed)
    } else {
        (RealTimeClock::default(), Randomness::Host)
    };
    let setup = vmm::Setup {
        machine,
        from,
        backend,
        reboot: options.reboot,
        clock: Arc::new(clock),
        nvram: kept.device().clone(),
        randomness,
        ram: RamPlan::of(config),
        devices,
        control: control.clone(),
        resumption: Mutex::default(),
    };
    confine::to_open_sockets(config);
    moments.reach(Phase::Opened);
    let stats = Arc::new(Mutex::new(Stats { moments, ..Stats::default() }));
    Ok(Ready { setup, consoles, kept, stats, tells_stats: options.stats })
}

impl Ready {
    /// Where its consoles are, of those at pseudo-terminals.
    pub(crate) fn ptys(&self) -> &Ptys {
        self.consoles.ptys()
    }

    /// The same, whose first start goes on with a machine that was saved.
    #[must_use]
    pub(crate) fn resuming(self, resumption: Resumption) -> Self {
        let setup = vmm::Setup { resumption: Mutex::new(Some(resumption)), ..self.setup };
        Self { setup, ..self }
    }

    /// The same with a machine that comes from another process. It has to be what this one is made
    /// for.
    ///
    /// # Errors
    /// [`Failure::Run`] says what differs.
    pub(crate) fn taking(self, incoming: &mut Incoming) -> Result<Self, Failure> {
        let checked = incoming.outline.machine(&self.setup.machine, &*self.setup.backend);
        checked.map_err(VmmError::from)?;
        Ok(match incoming.resumption(self.setup.devices.clone()) {
            Some(resumption) => self.resuming(resumption),
            None => self,
        })
    }

    /// Runs the machine to its end, on this thread.
    ///
    /// # Errors
    /// [`Failure::Run`].
    pub(crate) fn run(self) -> Result<Ending, Failure> {
        let start = Instant::now();
        let ending = vmm::run(&self.setup, self.consoles, &self.stats);
        self.kept.finish();
        if self.tells_stats {
            let mut stats = lock(&self.stats);
            stats.wall = start.elapsed();
            outlet::tell(stats.to_string().trim_end());
        }
        Ok(ending?)
    }
}

/// The machine that a configuration describes, which is checked.
///
/// # Errors
/// [`Failure`] when there is none.
pub(crate) fn machine(
    config: &VmConfig,
    config_file: Option<&Path>,
    options: &RunOptions,
) -> Result<Machine, Failure> {
    if config.machine.x_vof == Some(true) && !cfg!(feature = "vof") {
        return Err(Failure::NoVof);
    }
    config.check_devices_beside(config_file)?;
    if options.icount {
        config.check_repeatable()?;
    }
    config.check_layout()?;
    Ok(Machine::new(config)?)
}

/// The machine with what a guest is offered on a back end.
///
/// # Errors
/// [`Failure`] when the back end does not have what it needs.
pub(crate) fn offered(machine: Machine, backend: &dyn Backend) -> Result<Machine, Failure> {
    let interrupts =
        backend.interrupts(machine.wanted_interrupts()).map_err(Failure::Unsuitable)?;
    let model = machine.cpu().model();
    let mmu = backend.mmu(machine.wanted_mmu()).map_err(|source| match model.mmu() {
        Support::Only(_) => Failure::NeedsHash { model, source },
        Support::Either => Failure::Unsuitable(source),
    })?;
    Ok(machine.with_interrupts(interrupts).with_mmu(mmu))
}

/// The back end that is asked for; `auto` is KVM where that can run these guests.
fn backend(options: &RunOptions, timer: &Arc<Clock>) -> Result<Box<dyn Backend>, Failure> {
    let software = || {
        let software = Software::new(timer.clone());
        Box::new(software.stop_at_unimplemented(options.debug_unimplemented))
    };
    match (options.backend, options.icount || options.debug_unimplemented) {
        (BackendChoice::Kvm, true) if options.icount => Err(Failure::Icount),
        (BackendChoice::Kvm, true) => Err(Failure::DebugUnimplemented),
        // Only instructions that are counted can be the time; only one's own core can be debugged.
        (BackendChoice::Interp, _) | (BackendChoice::Auto, true) => Ok(software()),
        (BackendChoice::Kvm, false) => match Kvm::open() {
            Ok(kvm) => Ok(Box::new(kvm)),
            Err(source) => Err(Failure::Backend { name: "kvm", source }),
        },
        (BackendChoice::Auto, false) => match Kvm::open() {
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
