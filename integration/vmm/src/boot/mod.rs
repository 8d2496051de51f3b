//! The start of a machine: its RAM, what is in it, and who answers the guest's hypercalls.

mod error;
mod flat;
mod payload;
mod ram;
mod room;
mod spool;
#[cfg(feature = "vof")]
mod vof;

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use arch_ppc64::fdt::Start;
use arch_ppc64::hvterm::{self, HvTerm};
use arch_ppc64::layout::VTY_UNIT;
use arch_ppc64::loader::{self, Client, Placement, PlanRequest};
use arch_ppc64::platform::{
    Device, InterruptController, InterruptKind, InterruptLine, Platform, PlatformBuilder,
    PlatformError,
};
use arch_ppc64::rtas::{
    self, EPOW, EVENT_SOURCES_ID, EventSources, InterruptSources, PowerButton, RealTimeClock,
    StandardCalls,
};
use arch_ppc64::{Console, EntryRegisters, GuestRam, Machine, VcpuHost};

pub use error::BootError;
pub use payload::Payload;
pub(crate) use ram::{Ram, clear as clear_ram, create as create_ram};

/// What a machine keeps while it is started again and again.
pub(crate) struct Board {
    pub(crate) console: Arc<dyn Console>,
    pub(crate) clock: Arc<RealTimeClock>,
    pub(crate) randomness: Randomness,
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
    /// The interrupt sources that RTAS sets up, unless the back end answers those calls.
    pub(crate) sources: Option<Arc<dyn InterruptSources>>,
    /// The number of this start, 1 for the first.
    pub(crate) boot_count: u32,
    /// The back end's interrupt controller.
    pub(crate) interrupts: Arc<dyn InterruptController>,
    /// Its devices.
    pub(crate) devices: Vec<Arc<dyn Device>>,
    /// What the client of the start before wants this one to have as arguments.
    pub(crate) boot_arguments: Option<String>,
}

/// A machine that can be started.
pub(crate) struct Prepared {
    /// All devices.
    pub(crate) platform: Platform,
    /// The interrupt of the console.
    pub(crate) input: InterruptLine,
    /// How the first CPU starts.
    pub(crate) registers: EntryRegisters,
    /// Asks the guest's system to shut down.
    pub(crate) power_button: PowerButton,
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
}

/// Makes a report.
pub(crate) type ClientReporter = Box<dyn Fn() -> ClientReport + Send>;

/// Where a payload goes in a machine, and how it is started there.
struct Plan<'a> {
    client: Client<'a>,
    placement: Placement,
}

/// Puts everything in its place for one start of the machine.
pub(crate) fn prepare(
    machine: &Machine,
    payload: &Payload,
    board: &Board,
    parts: Parts<'_>,
) -> Result<Prepared, BootError> {
    let Parts { ram, cpus, sources, boot_count, interrupts, devices, boot_arguments } = parts;
    let console = &board.console;
    let mut builder = PlatformBuilder::new(machine, interrupts);
    let mut interrupt = |id: &str, name| builder.interrupt(id, name, InterruptKind::Edge);
    let input = interrupt(&hvterm::id_of(VTY_UNIT), hvterm::INPUT).map_err(PlatformError::from)?;
    let warnings = interrupt(EVENT_SOURCES_ID, EPOW).map_err(PlatformError::from)?;
    let events = EventSources::new(warnings, board.clock.clone());
    let power_button = events.power_button();
    let mut calls =
        StandardCalls::new(machine, cpus.clone(), console.clone()).with_clock(board.clock.clone());
    if let Some(sources) = sources {
        calls = calls.with_interrupt_sources(sources);
    }
    builder
        .add_all(devices)
        .add(Arc::new(HvTerm::new(VTY_UNIT, console.clone()).with_interrupt(input.clone())))
        .add_all(calls.devices())
        .add(Arc::new(events));
    let mut platform = builder.build()?;
    payload.check_unchanged()?;
    let plan = Plan::new(&platform, payload)?;
    let placement = &plan.placement;
    let loaded = loader::load(&plan.client, placement, payload.initrd(), ram);
    // What was changed meanwhile is the reason of whatever came of it.
    payload.check_unchanged()?;
    loaded.map_err(|source| payload.unusable(source))?;
    let rng_seed = seed(board.randomness).map_err(BootError::Random)?;
    let start = Start::of_placement(placement, rng_seed).number(boot_count);
    let tree = platform.blob(&start)?;
    let (registers, client_interface): (_, Option<(ClientReporter, Arc<dyn Device>)>) =
        match placement.flat_tree() {
            Some(at) => (flat::enter(placement, at, &tree, ram)?, None),
            #[cfg(feature = "vof")]
            None => {
                let host = vof::Host { console: board.console.clone(), cpus: cpus.clone() };
                let (registers, vof) =
                    vof::enter(machine, placement, &tree, ram, host, boot_arguments)?;
                (registers, Some((vof::reporter(&vof), vof)))
            }
            #[cfg(not(feature = "vof"))]
            None => {
                // Nobody can have asked for any.
                drop(boot_arguments);
                return Err(BootError::NoVof);
            }
        };
    let client = match client_interface {
        Some((reporter, device)) => {
            platform.plug_in(device)?;
            Some(reporter)
        }
        None => None,
    };
    Ok(Prepared { platform, registers, input, power_button, client })
}

impl<'a> Plan<'a> {
    fn new(platform: &Platform, payload: &'a Payload) -> Result<Self, BootError> {
        let client = payload.client()?;
        let request = plan_request(platform, payload.initrd_bytes())?;
        let placement =
            Placement::plan(&client, &request).map_err(|source| payload.unusable(source))?;
        Ok(Self { client, placement })
    }
}

/// What a machine needs room for, besides its program.
fn plan_request(
    platform: &Platform,
    initrd_bytes: Option<u64>,
) -> Result<PlanRequest<'_>, BootError> {
    let machine = platform.machine();
    let request = PlanRequest::new(machine.memory_map()).with_initrd(initrd_bytes);
    if machine.x_vof() {
        return Ok(request);
    }
    let tree_bytes = flat::tree_bytes(platform, initrd_bytes.is_some())?;
    Ok(request.with_flat_tree(tree_bytes, rtas::SIZE_BYTES.into()))
}

/// Randomness for the guest's own generator.
fn seed(randomness: Randomness) -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    if randomness == Randomness::Fixed {
        return Ok(seed);
    }
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

#[cfg(test)]
mod tests;
