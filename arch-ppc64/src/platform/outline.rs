//! The machine that nobody runs.

use std::sync::Arc;

use super::builder::PlatformBuilder;
use super::device::Device;
use super::error::PlatformError;
use super::interrupts::{InterruptKind, NoInterrupts};
use super::machine::Platform;
use super::simple::KernelCalls;
use crate::cas::decision::InterruptMode;
use crate::console::NoConsole;
use crate::hotplug::{self, Hotplug, NoHost};
use crate::hvterm::{self, HvTerm};
use crate::layout::VTY_UNIT;
use crate::machine::Machine;
use crate::rtas::{EPOW, EVENT_SOURCES_ID, EventSources, StandardCalls};
use crate::vcpu::NoCpus;
use crate::xics::KernelXics;
use crate::xive::KernelXive;

/// A machine of the devices that each has, with nothing behind them: for its
/// [tree](Platform::tree), when there is no back end to run it. Its console shows nothing and its
/// CPUs do not start.
///
/// # Errors
/// None is known that a validated machine can cause.
pub fn outline(machine: &Machine) -> Result<Platform, PlatformError> {
    outline_with(machine, |_| Ok(()))
}

/// As [`outline`], with devices that `add` adds behind the others.
///
/// # Errors
/// Those of `add`, and [`PlatformError`] for devices that cannot be in one machine.
pub fn outline_with<E: From<PlatformError>>(
    machine: &Machine,
    add: impl FnOnce(&mut PlatformBuilder<'_>) -> Result<(), E>,
) -> Result<Platform, E> {
    let mut builder = standard(machine)?;
    add(&mut builder)?;
    Ok(builder.build()?)
}

/// The devices that each machine has.
fn standard(machine: &Machine) -> Result<PlatformBuilder<'_>, PlatformError> {
    let mut builder = PlatformBuilder::new(machine, Arc::new(NoInterrupts));
    let id = hvterm::id_of(VTY_UNIT);
    let input = builder.interrupt(&id, hvterm::INPUT, InterruptKind::Edge)?;
    let warnings = builder.interrupt(EVENT_SOURCES_ID, EPOW, InterruptKind::Edge)?;
    let mut sources = EventSources::new(warnings, Arc::default());
    if machine.has_room() {
        let events = builder.interrupt(hotplug::ID, hotplug::EVENTS, InterruptKind::Edge)?;
        let hotplug = Hotplug::new(machine, events, Arc::new(NoCpus), Arc::new(NoHost));
        sources = sources.with_hotplug(&hotplug);
        builder.add(Arc::new(hotplug));
    }
    builder
        .add(controller(machine))
        .add(Arc::new(KernelCalls::new(&["hcall-splpar", "hcall-set-mode"])))
        .add(Arc::new(HvTerm::new(VTY_UNIT, Arc::new(NoConsole)).with_interrupt(input)))
        .add(Arc::new(sources))
        .add_all(StandardCalls::new(machine, Arc::new(NoCpus), Arc::new(NoConsole)).devices());
    Ok(builder)
}

/// What the machine's interrupt controller says of itself at its start.
fn controller(machine: &Machine) -> Arc<dyn Device> {
    let topology = machine.topology();
    match machine.interrupts().first() {
        InterruptMode::Xics => Arc::new(KernelXics::new(topology)),
        InterruptMode::Xive => Arc::new(KernelXive::new(topology)),
    }
}
