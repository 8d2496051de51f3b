//! The start of a machine: its RAM, what is in it, and who answers the guest's hypercalls.

#[cfg(feature = "vof")]
mod autoboot;
mod error;
mod from;
mod payload;
mod ram;
mod room;
mod spool;

use std::io;
use std::sync::Arc;

use arch_ppc64::boot::Boot;
use arch_ppc64::hotplug::{self, Hotplug, HotplugHost};
use arch_ppc64::hvterm::{self, HvTerm};
#[cfg(feature = "vof")]
use arch_ppc64::layout::VTY_PATH;
use arch_ppc64::layout::VTY_UNIT;
use arch_ppc64::nvram::Nvram;
use arch_ppc64::platform::{
    Device, InterruptController, InterruptKind, InterruptLine, Platform, PlatformBuilder,
    PlatformError,
};
use arch_ppc64::rtas::{
    EPOW, EVENT_SOURCES_ID, EventSources, PowerButton, RealTimeClock, StandardCalls,
};
use arch_ppc64::{Console, EntryRegisters, GuestRam, Machine, VcpuHost};
#[cfg(feature = "vof")]
use vof_device::{Vof, VofBuilder};

use crate::devices::{Devices, Plugged, Wires};
use crate::host_file;
use crate::saved::MachineState;

pub use error::BootError;
pub use from::{BootDevices, BootFrom};
pub use payload::Payload;
pub(crate) use ram::MachineRam;
#[cfg(any(feature = "vof", test))]
pub(crate) use ram::clear as clear_ram;
pub(crate) use ram::create as create_ram;
pub(crate) use ram::{Loss, Touched};
pub use ram::{RamError, RamPlan};

/// What a machine keeps while it is started again and again.
pub(crate) struct Board {
    pub(crate) console: Arc<dyn Console>,
    /// Whether that is in the terminal.
    #[cfg_attr(
        not(feature = "vof"),
        expect(dead_code, reason = "nothing is started from devices")
    )]
    pub(crate) is_on_terminal: bool,
    pub(crate) clock: Arc<RealTimeClock>,
    pub(crate) nvram: Arc<Nvram>,
    pub(crate) randomness: Randomness,
    /// How its RAM is had from the host.
    #[cfg_attr(
        not(feature = "vof"),
        expect(dead_code, reason = "nothing is started from devices")
    )]
    pub(crate) ram: RamPlan,
    /// What is on the PCI bus.
    pub(crate) devices: Arc<Devices>,
}

/// Where the seed comes from that a guest gets for its own randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Randomness {
    /// The host's random numbers.
    Host,
    /// The same for each start: for runs that are to be repeated exactly.
    Fixed,
}

/// What one start is made with.
pub(crate) struct Parts<'a> {
    pub(crate) ram: &'a dyn GuestRam,
    pub(crate) cpus: Arc<dyn VcpuHost>,
    /// Hears what the guest does with what is plugged.
    pub(crate) hotplug: Arc<dyn HotplugHost>,
    /// The number of this start, 1 for the first.
    pub(crate) boot_count: u32,
    /// The back end's interrupt controller.
    pub(crate) interrupts: Arc<dyn InterruptController>,
    /// Its devices.
    pub(crate) devices: Vec<Arc<dyn Device>>,
    /// What those of the bus are connected with.
    pub(crate) wires: Wires,
    /// The machine that was saved, if this is where it goes on: nothing is loaded.
    pub(crate) resumed: Option<&'a MachineState>,
    /// What the client of the start before wants this one to have as arguments.
    pub(crate) boot_arguments: Option<String>,
    /// And where it wants it to start from, if that is not the machine's to say.
    #[cfg_attr(
        not(feature = "vof"),
        expect(dead_code, reason = "nothing is started from devices")
    )]
    pub(crate) boot_device: Option<String>,
    #[cfg_attr(
        not(feature = "vof"),
        expect(dead_code, reason = "nothing is started from devices")
    )]
    pub(crate) stopping: Stopping,
}

/// Tells whether somebody wants the machine to stop, before it has started.
#[derive(Clone)]
pub(crate) struct Stopping(Arc<dyn Fn() -> bool + Send + Sync>);

impl Stopping {
    pub(crate) fn new(is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_wanted))
    }

    pub(crate) fn is_wanted(&self) -> bool {
        (self.0)()
    }
}

/// A machine that can be started.
pub(crate) struct Prepared {
    /// All devices.
    pub(crate) platform: Platform,
    /// Those of the bus, which work until this is dropped.
    pub(crate) plugged: Option<Plugged>,
    /// The interrupt of the console.
    pub(crate) input: InterruptLine,
    /// How the first CPU starts; `None` where it goes on.
    pub(crate) registers: Option<EntryRegisters>,
    /// Asks the guest's system to shut down.
    pub(crate) power_button: PowerButton,
    /// Plugs CPUs and memory, where there is room for more.
    pub(crate) hotplug: Option<Hotplug>,
    /// Tells what the client did.
    pub(crate) client: Option<ClientReporter>,
}

/// What there is to say of a client when its machine has stopped.
#[derive(Debug, Default)]
pub(crate) struct ClientReport {
    /// Services of the client interface, and how often each was called.
    pub(crate) calls: Vec<(&'static str, u64)>,
    /// The arguments that it gave the next start.
    pub(crate) boot_arguments: Option<String>,
    /// Where it wants that to start from.
    pub(crate) boot_device: Option<String>,
}

/// Makes a report.
pub(crate) type ClientReporter = Arc<dyn Fn() -> ClientReport + Send + Sync>;

/// Puts everything in its place for one start of the machine.
pub(crate) fn prepare(
    machine: &Machine,
    from: &BootFrom,
    board: &Board,
    parts: Parts<'_>,
) -> Result<Prepared, BootError> {
    let Parts { ram, cpus, boot_count, interrupts, devices, wires, boot_arguments, .. } = parts;
    #[cfg(feature = "vof")]
    let memory = wires.memory.clone();
    let console = &board.console;
    let mut builder = PlatformBuilder::new(machine, interrupts);
    if let Some(state) = parts.resumed {
        builder = builder.with_interrupts(state.interrupts().clone()).map_err(BootError::Saved)?;
    }
    let mut interrupt = |id: &str, name| builder.interrupt(id, name, InterruptKind::Edge);
    let input = interrupt(&hvterm::id_of(VTY_UNIT), hvterm::INPUT).map_err(PlatformError::from)?;
    let warnings = interrupt(EVENT_SOURCES_ID, EPOW).map_err(PlatformError::from)?;
    let mut events = EventSources::new(warnings, board.clock.clone());
    let hotplug = if machine.has_room() {
        let plugs = interrupt(hotplug::ID, hotplug::EVENTS).map_err(PlatformError::from)?;
        let hotplug = Hotplug::new(machine, plugs, cpus.clone(), parts.hotplug);
        events = events.with_hotplug(&hotplug);
        Some(hotplug)
    } else {
        None
    };
    // Those that the guest has.
    let cpus = hotplug.as_ref().map_or(cpus, Hotplug::cpus);
    let power_button = events.power_button();
    let calls =
        StandardCalls::new(machine, cpus.clone(), console.clone()).with_clock(board.clock.clone());
    builder
        .add_all(devices)
        .add(Arc::new(HvTerm::new(VTY_UNIT, console.clone()).with_interrupt(input.clone())))
        .add_all(calls.devices())
        .add(Arc::new(events))
        .add(board.nvram.clone());
    if let Some(hotplug) = &hotplug {
        builder.add(Arc::new(hotplug.clone()));
    }
    let plugged = board.devices.plug(&mut builder, wires, hotplug.as_ref())?;
    let mut platform = builder.build()?;
    if parts.resumed.is_some() {
        let client = plug_in(&mut platform, plugged.as_ref(), console.clone(), cpus)?;
        return Ok(Prepared {
            platform,
            plugged,
            registers: None,
            input,
            power_button,
            hotplug,
            client,
        });
    }
    let rng_seed = seed(board.randomness).map_err(BootError::Random)?;
    let start = |platform: &mut Platform, boot: Boot<'_>| {
        let boot = boot.number(boot_count).with_boot_arguments(boot_arguments.as_deref());
        start(&boot, platform, ram, plugged.as_ref(), console.clone(), cpus.clone())
    };
    let (registers, client) = match from {
        BootFrom::Payload(payload) => {
            payload.check_unchanged()?;
            let started = start(&mut platform, payload.boot(rng_seed));
            // What was changed meanwhile is the reason of whatever came of it.
            payload.check_unchanged()?;
            started.map_err(|error| payload.named(error))?
        }
        #[cfg(feature = "vof")]
        BootFrom::Devices(from) => {
            let search = autoboot::Search {
                from,
                devices: plugged.as_ref().map_or(&[], Plugged::devices),
                wanted: parts.boot_device,
                console: &**console,
                is_on_terminal: board.is_on_terminal,
                ram: &memory,
                ram_plan: &board.ram,
                rng_seed,
                stopping: &parts.stopping,
            };
            search.first(&mut platform, start)?
        }
        #[cfg(not(feature = "vof"))]
        BootFrom::Devices(_) => return Err(BootError::NeedsKernel),
    };
    let registers = Some(registers);
    Ok(Prepared { platform, plugged, registers, input, power_button, hotplug, client })
}

/// Starts the way that the machine says; how the first CPU is entered then, and what tells what the
/// client did.
#[cfg(feature = "vof")]
fn start(
    boot: &Boot<'_>,
    platform: &mut Platform,
    ram: &dyn GuestRam,
    plugged: Option<&Plugged>,
    console: Arc<dyn Console>,
    cpus: Arc<dyn VcpuHost>,
) -> Result<(EntryRegisters, Option<ClientReporter>), BootError> {
    let topology = platform.machine().topology().clone();
    let booted = vof_device::boot(boot, platform, ram, |vof| {
        attach(plugged, vof).console(VTY_PATH, console).cpus(cpus, &topology)
    })?;
    Ok((booted.registers, booted.vof.map(reporter)))
}

/// Has the client interface, if the machine has one, where another one is taken up; what tells what
/// the client did.
#[cfg(feature = "vof")]
fn plug_in(
    platform: &mut Platform,
    plugged: Option<&Plugged>,
    console: Arc<dyn Console>,
    cpus: Arc<dyn VcpuHost>,
) -> Result<Option<ClientReporter>, BootError> {
    let topology = platform.machine().topology().clone();
    let vof = vof_device::plug_in(platform, |vof| {
        attach(plugged, vof).console(VTY_PATH, console).cpus(cpus, &topology)
    })?;
    Ok(vof.map(reporter))
}

#[cfg(feature = "vof")]
fn reporter(vof: Arc<Vof>) -> ClientReporter {
    Arc::new(move || ClientReport {
        calls: vof.calls(),
        boot_arguments: vof.boot_arguments(),
        boot_device: vof.boot_device(),
    })
}

/// Attaches the packages of the devices that have one.
#[cfg(feature = "vof")]
fn attach(plugged: Option<&Plugged>, vof: VofBuilder) -> VofBuilder {
    let devices = plugged.map_or(&[][..], Plugged::devices);
    devices.iter().fold(vof, |vof, device| match &device.client_side {
        Some(side) => vof.package(&device.path, side.package()),
        None => vof,
    })
}

/// The only way there is without the client interface.
#[cfg(not(feature = "vof"))]
fn start(
    boot: &Boot<'_>,
    platform: &mut Platform,
    ram: &dyn GuestRam,
    _: Option<&Plugged>,
    _: Arc<dyn Console>,
    _: Arc<dyn VcpuHost>,
) -> Result<(EntryRegisters, Option<ClientReporter>), BootError> {
    Ok((boot.flat(platform, ram)?, None))
}

/// There is none.
#[cfg(not(feature = "vof"))]
fn plug_in(
    _: &mut Platform,
    _: Option<&Plugged>,
    _: Arc<dyn Console>,
    _: Arc<dyn VcpuHost>,
) -> Result<Option<ClientReporter>, BootError> {
    Ok(None)
}

/// Randomness for the guest's own generator.
fn seed(randomness: Randomness) -> io::Result<[u8; 32]> {
    match randomness {
        Randomness::Fixed => Ok([0; 32]),
        Randomness::Host => host_file::random(),
    }
}

/// RAM as nothing is said of it.
#[cfg(test)]
pub(crate) fn plain_ram(machine: &Machine) -> MachineRam {
    let goes_on = Stopping::new(|| false);
    create_ram(machine.memory_map(), &RamPlan::default(), &goes_on).unwrap()
}

#[cfg(test)]
mod tests;
