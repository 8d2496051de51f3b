//! From a saved state, which nobody vouches for, to one that works.

use super::{RestoreError, STATE_VERSION, Saved, SavedInstances, Table, VofState, are_free_ranges};
use crate::claims::Claims;
use crate::clock::Clock;
use crate::instances::{Instance, Instances};
use crate::limits::{MAX_ADDED_BYTES, MAX_BOOT_ARGUMENT_BYTES, MAX_PATH_BYTES};
use crate::policy::is_structural;
use crate::services;
use crate::state::State;
use crate::tree::{DeviceTree, NodeId};

/// How much of a tree's growth may be the machine's own doing: what negotiation sets, and what
/// differs from one start to the next.
const MACHINE_BYTES: usize = 64 << 10;

/// Makes `state`, which was just built, what `saved` says.
pub(crate) fn restore(
    state: &mut State,
    ram_bytes: u64,
    saved: &VofState,
) -> Result<(), RestoreError> {
    let VofState { version, saved } = saved;
    if *version != STATE_VERSION {
        return Err(RestoreError::Version { found: *version });
    }
    if saved.ram_bytes != ram_bytes {
        return Err(RestoreError::Ram { found: saved.ram_bytes, expected: ram_bytes });
    }
    let expected = super::save(state, ram_bytes).saved.console;
    if saved.console != expected {
        return Err(RestoreError::Console { found: saved.console.clone(), expected });
    }
    let tree = DeviceTree::from_blob(&saved.tree).map_err(RestoreError::Blob)?;
    restore_tree(&mut state.tree, &tree)?;
    state.added_bytes = growth(&state.tree, saved)?;
    state.claims = claims(&state.claims, &saved.free_memory, Table::Memory)?;
    state.virtual_claims = claims(&state.virtual_claims, &saved.free_virtual, Table::Virtual)?;
    state.instances = instances(state, &saved.instances)?;
    state.callback = saved.callback;
    state.boot_arguments = boot_arguments(saved)?;
    state.clock = Clock::running_since(saved.milliseconds);
    state.calls = calls(saved)?;
    Ok(())
}

/// Makes the properties of `tree` those of `saved`, in their order.
fn restore_tree(tree: &mut DeviceTree, saved: &DeviceTree) -> Result<(), RestoreError> {
    if tree.nodes().len() != saved.nodes().len() {
        let path = tree.path(tree.nodes().last().unwrap_or(tree.root()));
        return Err(RestoreError::Nodes { path });
    }
    for node in tree.nodes() {
        let is_same = tree.parent(node) == saved.parent(node)
            && tree.full_name(node) == saved.full_name(node)
            && tree.phandle(node) == saved.phandle(node);
        let path = tree.path(node);
        if !is_same {
            return Err(RestoreError::Nodes { path });
        }
        restore_properties(tree, saved, node, &path)?;
    }
    Ok(())
}

fn restore_properties(
    tree: &mut DeviceTree,
    saved: &DeviceTree,
    node: NodeId,
    path: &str,
) -> Result<(), RestoreError> {
    let differs = |name: &str| {
        let (path, name) = (path.to_owned(), name.to_owned());
        RestoreError::Property { path, name }
    };
    let before: Vec<&str> = tree.properties(node).map(|(name, _)| name).collect();
    let kept: Vec<&str> =
        before.iter().copied().filter(|name| saved.property(node, name).is_some()).collect();
    // Those that stand where they stood; the others come anew, one behind the other.
    let in_place =
        kept.iter().zip(saved.properties(node)).take_while(|(name, (other, _))| *name == other);
    let in_place = in_place.count();
    let staying = kept.get(..in_place).unwrap_or_default();
    let leaving: Vec<String> =
        before.iter().filter(|name| !staying.contains(name)).map(|&name| name.to_owned()).collect();
    for name in before {
        let is_fixed = is_machine(path, name);
        if is_fixed && tree.property(node, name) != saved.property(node, name) {
            return Err(differs(name));
        }
    }
    if let Some(name) = leaving.iter().find(|name| *name == "phandle") {
        return Err(differs(name));
    }
    for name in leaving {
        tree.remove_property(node, &name);
    }
    for (name, value) in saved.properties(node) {
        if tree.property(node, name) != Some(value) {
            tree.set_property(node, name, value).map_err(|_| differs(name))?;
        }
    }
    Ok(())
}

/// Whether a property is as the machine has it: neither a client nor negotiation changes it.
fn is_machine(path: &str, name: &str) -> bool {
    is_structural(path, name) && !name.starts_with("ibm,") && name != "status"
}

fn growth(tree: &DeviceTree, saved: &Saved) -> Result<usize, RestoreError> {
    let found = saved.added_bytes.saturating_add(tree.set_bytes() as u64);
    let limit = MAX_ADDED_BYTES + MACHINE_BYTES;
    match usize::try_from(saved.added_bytes) {
        Ok(added) if found <= limit as u64 && added <= MAX_ADDED_BYTES => Ok(added),
        _ => Err(RestoreError::Growth { found, limit: limit as u64 }),
    }
}

fn claims(
    built: &Claims,
    free: &[super::SavedRange],
    table: Table,
) -> Result<Claims, RestoreError> {
    if !are_free_ranges(free, built.ram_bytes()) {
        return Err(RestoreError::Ranges(table));
    }
    let ranges = free.iter().map(|range| range.start..range.end);
    built.with_free(ranges).ok_or(RestoreError::Ranges(table))
}

fn instances(state: &State, saved: &SavedInstances) -> Result<Instances, RestoreError> {
    Instances::restore(saved, |slot, instance| {
        let wrong = |what: String| RestoreError::Instance { slot, what };
        let node = state.tree.node_by_phandle(instance.phandle);
        let node = node.ok_or_else(|| wrong(format!("phandle is {}", instance.phandle)))?;
        if instance.arguments.len() > MAX_PATH_BYTES || instance.arguments.contains('\0') {
            return Err(wrong(format!("arguments have {} bytes", instance.arguments.len())));
        }
        if instance.position != 0 {
            return Err(wrong(format!("position is {}", instance.position)));
        }
        let arguments = instance.arguments.as_str().into();
        Ok(Instance { node, kind: state.kind(node), arguments })
    })
}

fn boot_arguments(saved: &Saved) -> Result<Option<Box<str>>, RestoreError> {
    match &saved.boot_arguments {
        Some(arguments)
            if arguments.len() > MAX_BOOT_ARGUMENT_BYTES || arguments.contains('\0') =>
        {
            Err(RestoreError::BootArguments)
        }
        arguments => Ok(arguments.as_deref().map(Box::from)),
    }
}

fn calls(saved: &Saved) -> Result<[u64; services::COUNT], RestoreError> {
    let mut calls = [0; services::COUNT];
    if saved.calls.len() != calls.len() {
        return Err(RestoreError::Calls(format!("there are {}", saved.calls.len())));
    }
    for ((name, count), (place, expected)) in
        saved.calls.iter().zip(calls.iter_mut().zip(services::names()))
    {
        if name != expected {
            return Err(RestoreError::Calls(format!("{name:?} where {expected:?} belongs")));
        }
        *place = *count;
    }
    Ok(calls)
}
