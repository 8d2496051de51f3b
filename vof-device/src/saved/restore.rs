//! From a saved state, which nobody vouches for, to one that works.

use std::collections::BTreeSet;
use std::time::Instant;

use arch_ppc64::CpuIndex;
use arch_ppc64::topology::MemoryMap;

use super::{
    RestoreError, STATE_VERSION, Saved, SavedCall, SavedInstance, SavedInstances, SavedRange,
    SavedTable, VofState,
};
use crate::attachments::{AttachError, Attachments, Packages};
use crate::claims::Claims;
use crate::instances::{BadSlots, InFlight, Instances, Open, OpenDevice, Slot};
use crate::interface::{Interface, Opened, wait_until_ready};
use crate::limits::{
    MAX_ADDED_BYTES, MAX_BOOTSPEC_BYTES, MAX_CALL_CELLS, MAX_FREE_RANGES, MAX_INSTANCES,
    MAX_PATH_BYTES,
};
use crate::memory_node::{AVAILABLE, MemoryNode};
use crate::services;
use crate::tree::{ChangedNode, DeviceTree};

/// Makes an interface what `saved` says. It is as it was where that cannot be.
///
/// The tree is taken as it is: what this machine's own tree says does not matter. Clients see it,
/// and what else goes by it (memory, processors, packages) is looked at here or where it is used.
pub(super) fn restore(interface: &Interface, saved: &VofState) -> Result<(), RestoreError> {
    let VofState { version, vof: saved } = saved;
    if *version != STATE_VERSION {
        return Err(RestoreError::Version { found: *version });
    }
    let (has_memory, built, virtual_built) = {
        let state = interface.state();
        (state.memory.is_some(), state.claims.clone(), state.virtual_claims.clone())
    };
    let ram = super::ram(&built);
    if saved.ram != ram {
        let bytes = |ranges: &[SavedRange]| {
            ranges
                .iter()
                .fold(0u64, |sum, range| sum.saturating_add(range.end.saturating_sub(range.start)))
        };
        return Err(RestoreError::Ram { found: bytes(&saved.ram), expected: bytes(&ram) });
    }
    let expected = super::console(&interface.attachments);
    if saved.console != expected {
        return Err(RestoreError::Console { found: saved.console.clone(), expected });
    }
    let mut tree = DeviceTree::from_blob(&saved.tree).map_err(RestoreError::Blob)?;
    let memory = memory(&tree, built.memory(), has_memory)?;
    let packages = packages(&interface.attachments, &tree, memory)?;
    check_chosen(&tree, &interface.attachments, memory)?;
    let added_bytes = mark_changed(&mut tree, saved)?;
    let claims = claims(&built, &saved.free_memory, SavedTable::Memory)?;
    let virtual_claims = self::claims(&virtual_built, &saved.free_virtual, SavedTable::Virtual)?;
    let instances = instances(&tree, &packages, &saved.instances)?;
    let boot_arguments = of_bootspec(&saved.boot_arguments)?;
    let boot_device = of_bootspec(&saved.boot_device)?;
    interface.openings.clear();
    let mut opened = interface.opened();
    let mut state = interface.state();
    let before = std::mem::replace(&mut *opened, Opened { packages, instances });
    state.tree = tree;
    state.memory = memory;
    state.added_bytes = added_bytes;
    state.claims = claims;
    state.virtual_claims = virtual_claims;
    state.callback = saved.callback;
    state.boot_arguments = boot_arguments;
    state.boot_device = boot_device;
    state.clock.set(saved.milliseconds);
    drop((state, opened));
    // What goes away may have more to do than can be done under a lock.
    drop(before);
    Ok(())
}

fn memory(
    tree: &DeviceTree,
    map: &MemoryMap,
    is_expected: bool,
) -> Result<Option<MemoryNode>, RestoreError> {
    let memory = MemoryNode::find(tree, map)?;
    let tells = memory.is_none_or(|memory| tree.property(memory.node, AVAILABLE).is_some());
    if memory.is_some() != is_expected || !tells {
        return Err(RestoreError::Memory);
    }
    Ok(memory)
}

fn packages(
    attachments: &Attachments,
    tree: &DeviceTree,
    memory: Option<MemoryNode>,
) -> Result<Packages, RestoreError> {
    attachments.in_tree(tree, memory, true).map_err(|error| match error {
        AttachError::NoNode(path) => RestoreError::NoPackageNode { path },
        AttachError::Two(path) => RestoreError::TwoPackages { path },
    })
}

/// The handles that clients look for: what they name may be closed by now.
fn check_chosen(
    tree: &DeviceTree,
    attachments: &Attachments,
    memory: Option<MemoryNode>,
) -> Result<(), RestoreError> {
    let chosen = tree.find("/chosen");
    let (has_console, has_chosen) = (attachments.console.is_some(), chosen.is_some());
    let names = [
        ("stdin", has_console),
        ("stdout", has_console),
        ("memory", memory.is_some() && has_chosen),
        ("mmu", false),
    ];
    for (name, has_to_be) in names {
        let value = chosen.and_then(|chosen| tree.property(chosen, name));
        if value.map_or(has_to_be, |value| value.len() != 4) {
            return Err(RestoreError::Chosen { name });
        }
    }
    Ok(())
}

/// Makes the tree one that clients have changed. Gives what they have used of their budget besides
/// what the tree counts.
fn mark_changed(tree: &mut DeviceTree, saved: &Saved) -> Result<usize, RestoreError> {
    let mut seen = BTreeSet::new();
    for changed in &saved.changed {
        let wrong = || RestoreError::Changed(format!("phandle {:#x}", changed.phandle));
        let node = tree.node_by_phandle(changed.phandle).ok_or_else(wrong)?;
        let set: BTreeSet<_> = changed.set.iter().map(String::as_str).collect();
        let set = set.into_iter().collect();
        let changed = ChangedNode { node, has_other_list: changed.has_other_list, set };
        if !seen.insert(node) || !tree.mark_changed(&changed) {
            return Err(wrong());
        }
    }
    let added = usize::try_from(saved.added_bytes).ok().filter(|&added| added <= MAX_ADDED_BYTES);
    added.ok_or(RestoreError::Added { found: saved.added_bytes })
}

fn claims(built: &Claims, free: &[SavedRange], table: SavedTable) -> Result<Claims, RestoreError> {
    if !are_free_ranges(free, built) {
        return Err(RestoreError::Ranges(table));
    }
    let ranges = free.iter().map(|range| range.start..range.end);
    built.with_free(ranges).ok_or(RestoreError::Ranges(table))
}

/// Whether these ranges can be all that is free of RAM: in order, apart, none empty, no more of them
/// than there can be.
fn are_free_ranges(ranges: &[SavedRange], built: &Claims) -> bool {
    ranges.len() <= MAX_FREE_RANGES
        && ranges
            .iter()
            .all(|range| range.start < range.end && built.is_ram(&(range.start..range.end)))
        && ranges.is_sorted_by(|one, next| one.end < next.start)
}

fn instances(
    tree: &DeviceTree,
    packages: &Packages,
    saved: &SavedInstances,
) -> Result<Instances, RestoreError> {
    let mut slots = Vec::new();
    // More are refused below, and not one of them is opened.
    for (number, slot) in saved.slots.iter().take(MAX_INSTANCES + 1).enumerate() {
        let open = match &slot.instance {
            Some(instance) if number < MAX_INSTANCES => {
                let open = instance_of(tree, packages, instance);
                Some(open.map_err(|what| RestoreError::Instance { slot: number, what })?)
            }
            _ => None,
        };
        slots.push(Slot { generation: slot.generation, open });
    }
    Instances::from_slots(slots, &saved.free).map_err(|error| match error {
        BadSlots::Slot(slot, generation) => RestoreError::Slots { slot, generation },
        BadSlots::Free => RestoreError::Free,
    })
}

/// An open package, or what is wrong with it.
fn instance_of(
    tree: &DeviceTree,
    packages: &Packages,
    saved: &SavedInstance,
) -> Result<Open, String> {
    let SavedInstance { phandle, arguments, state, in_flight } = saved;
    let node = tree.node_by_phandle(*phandle).ok_or_else(|| format!("phandle is {phandle}"))?;
    if arguments.len() > MAX_PATH_BYTES || arguments.contains('\0') {
        return Err(format!("arguments have {} bytes", arguments.len()));
    }
    let Some(package) = packages.of(tree, node) else {
        if state.is_some() || in_flight.is_some() {
            return Err(format!("state or call is of {}, which has no package", tree.path(node)));
        }
        return Ok(Open { node, arguments: arguments.as_str().into(), device: None });
    };
    let instance = match state {
        Some(state) => {
            let reopened = package.reopen(arguments, state);
            reopened.map_err(|error| format!("state is refused by its package: {error}"))?
        }
        None => {
            let opened = package.open(arguments).and_then(|mut instance| {
                wait_until_ready(&mut *instance)?;
                Ok(instance)
            });
            opened.map_err(|_| format!("arguments {arguments:?} are refused by its package"))?
        }
    };
    let in_flight = in_flight.as_ref().map(call).transpose()?;
    let device = Some(OpenDevice::new(package.clone(), instance, in_flight));
    Ok(Open { node, arguments: arguments.as_str().into(), device })
}

fn call(saved: &SavedCall) -> Result<InFlight, String> {
    let SavedCall { cpu, service, arguments } = saved;
    let found = services::find(service.as_bytes()).filter(|_| arguments.len() <= MAX_CALL_CELLS);
    let Some((_, found)) = found else {
        return Err(format!("call is {service:?} with {} arguments", arguments.len()));
    };
    Ok(InFlight {
        caller: CpuIndex(*cpu),
        service: found.name(),
        arguments: arguments.clone(),
        last_try: Instant::now(),
    })
}

/// A part of what a client gave the next start with `boot`.
fn of_bootspec(part: &Option<String>) -> Result<Option<Box<str>>, RestoreError> {
    match part {
        Some(text) if text.len() > MAX_BOOTSPEC_BYTES || text.contains('\0') => {
            Err(RestoreError::BootArguments)
        }
        text => Ok(text.as_deref().map(Box::from)),
    }
}
