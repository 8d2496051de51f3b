//! From a saved state, which nobody vouches for, to one that works.

use super::{
    RestoreError, STATE_VERSION, Saved, SavedInstances, SavedRange, SavedTable, VofState, tree,
};
use crate::claims::Claims;
use crate::clock::Clock;
use crate::instances::{Instance, Instances};
use crate::limits::{MAX_BOOTSPEC_BYTES, MAX_FREE_RANGES, MAX_PATH_BYTES};
use crate::services;
use crate::state::State;

/// Makes `state`, which was just built, what `saved` says.
pub(crate) fn restore(
    state: &mut State,
    ram_bytes: u64,
    saved: &VofState,
) -> Result<(), RestoreError> {
    let VofState { version, vof: saved } = saved;
    if *version != STATE_VERSION {
        return Err(RestoreError::Version { found: *version });
    }
    if saved.ram_bytes != ram_bytes {
        return Err(RestoreError::Ram { found: saved.ram_bytes, expected: ram_bytes });
    }
    let expected = super::console(state);
    if saved.console != expected {
        return Err(RestoreError::Console { found: saved.console.clone(), expected });
    }
    state.added_bytes = tree::restore(&mut state.tree, saved)?;
    state.claims = claims(&state.claims, &saved.free_memory, SavedTable::Memory)?;
    state.virtual_claims = claims(&state.virtual_claims, &saved.free_virtual, SavedTable::Virtual)?;
    state.instances = instances(state, &saved.instances)?;
    state.callback = saved.callback;
    state.boot_arguments = boot_arguments(saved)?;
    state.clock = Clock::running_since(saved.milliseconds);
    state.calls = calls(saved)?;
    Ok(())
}

fn claims(built: &Claims, free: &[SavedRange], table: SavedTable) -> Result<Claims, RestoreError> {
    if !are_free_ranges(free, built.ram_bytes()) {
        return Err(RestoreError::Ranges(table));
    }
    let ranges = free.iter().map(|range| range.start..range.end);
    built.with_free(ranges).ok_or(RestoreError::Ranges(table))
}

/// Whether these ranges can be all that is free below `end`: in order, apart, none empty, no more
/// of them than there can be.
fn are_free_ranges(ranges: &[SavedRange], end: u64) -> bool {
    ranges.len() <= MAX_FREE_RANGES
        && ranges.iter().all(|range| range.start < range.end && range.end <= end)
        && ranges.is_sorted_by(|one, next| one.end < next.start)
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
        Some(arguments) if arguments.len() > MAX_BOOTSPEC_BYTES || arguments.contains('\0') => {
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
