//! The device tree (IEEE 1275 §6.3.2.2). Nothing here allocates but `setprop`.

use std::ops::Range;

use super::{Call, MINUS_ONE, Reply};
use crate::args::{Failed, Guest, NAME_ROOM, Output, PATH_ROOM, characters};
use crate::limits::{
    ADDED_PROPERTY_BYTES, ADDED_VALUE_BYTES, MAX_ADDED_BYTES, MAX_DEPTH, MAX_SETPROP_BYTES,
};
use crate::memory_node::MemoryNode;
use crate::tree::{DeviceTree, NextProperty, NodeId, Value, is_property_name};

/// peer (phandle) → the next sibling, 0 for none; the peer of 0 is the root.
pub(super) fn peer(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle] = call.arguments();
    let tree = &call.state.tree;
    let peer = match phandle {
        0 => Some(tree.root()),
        _ => tree.peer(call.node(phandle)?),
    };
    Ok(phandle_or_none(tree, peer))
}

/// child (phandle) → the first child, 0 for none.
pub(super) fn child(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle] = call.arguments();
    let tree = &call.state.tree;
    Ok(phandle_or_none(tree, tree.child(call.node(phandle)?)))
}

/// parent (phandle) → the parent, 0 for none.
pub(super) fn parent(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle] = call.arguments();
    let tree = &call.state.tree;
    Ok(phandle_or_none(tree, tree.parent(call.node(phandle)?)))
}

/// getproplen (phandle, name) → length of the value, or −1.
pub(super) fn getproplen(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle, name] = call.arguments();
    let node = call.node(phandle)?;
    let mut text = NAME_ROOM;
    let name = call.guest.text(name, &mut text)?;
    let state = &*call.state;
    let len = match state.is_available(node, name) {
        Some(memory) => state.claims.free_count() * memory.entry_bytes(),
        None => state.tree.value(node, name).ok_or(Failed)?.len(),
    };
    Ok((len as u32).into())
}

/// getprop (phandle, name, buffer, length) → length of the value, or −1; of a longer value, the
/// first `length` bytes are written.
pub(super) fn getprop(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle, name, buffer, room] = call.arguments();
    let node = call.node(phandle)?;
    let mut text = NAME_ROOM;
    let name = call.guest.text(name, &mut text)?;
    let state = &*call.state;
    if let Some(memory) = state.is_available(node, name) {
        let total = state.claims.free_count() * memory.entry_bytes();
        let output = Output::new(call.guest, buffer, room as usize, total)?;
        let count = (room as usize).div_ceil(memory.entry_bytes());
        let ranges = state.claims.free().take(count);
        match memory.entry_bytes() {
            8 => write_ranges::<8>(output, memory, ranges),
            12 => write_ranges::<12>(output, memory, ranges),
            _ => write_ranges::<16>(output, memory, ranges),
        }?;
        return Ok((total as u32).into());
    }
    let value = state.tree.value(node, name).ok_or(Failed)?;
    let total = value.len();
    match value {
        Value::Stored(bytes) => {
            call.guest.write(buffer, bytes.get(..room as usize).unwrap_or(bytes))?;
        }
        Value::Name(name) => {
            let mut output = Output::<256>::new(call.guest, buffer, room as usize, total)?;
            output.push(name.as_bytes())?;
            output.push(&[0])?;
            output.finish()?;
        }
    }
    Ok((total as u32).into())
}

/// Writes a list of ranges whose entries are of `ENTRY` bytes. There can be very many: they are made
/// by the hundred, and the compiler knows how long each is.
fn write_ranges<'a, const ENTRY: usize>(
    mut output: Output<'_, 2048>,
    memory: MemoryNode,
    mut ranges: impl Iterator<Item = &'a Range<u64>>,
) -> Result<(), Failed> {
    loop {
        let mut entries = [[0; ENTRY]; 128];
        let mut len = 0;
        for (place, range) in entries.iter_mut().zip(&mut ranges) {
            *place = *memory.entry(range).last_chunk().ok_or(Failed)?;
            len += 1;
        }
        output.push(entries.get(..len).unwrap_or_default().as_flattened())?;
        if len < entries.len() {
            return output.finish();
        }
    }
}

/// nextprop (phandle, previous, buffer) → 1 and the name of the property behind `previous`, with
/// its NUL, in the buffer; 0 when there is none; −1 when the node has no `previous`.
///
/// IEEE 1275 gives the buffer 32 bytes, but PAPR has longer names, and only as many bytes are
/// written as the name has.
pub(super) fn nextprop(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle, previous, buffer] = call.arguments();
    let node = call.node(phandle)?;
    let mut text = NAME_ROOM;
    let previous = match previous {
        0 => &[],
        _ => call.guest.text(previous, &mut text)?,
    };
    match call.state.tree.next_property_with_nul(node, previous) {
        NextProperty::Name(name) => {
            call.guest.write(buffer, name.as_bytes())?;
            Ok(1.into())
        }
        NextProperty::Last => Ok(0.into()),
        NextProperty::Unknown => Err(Failed),
    }
}

/// setprop (phandle, name, value, length) → the length, or −1. A property that is not there is
/// made.
pub(super) fn setprop(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle, name, value_at, len] = call.arguments();
    let node = call.node(phandle)?;
    let mut text = NAME_ROOM;
    let name = characters(call.guest.text(name, &mut text)?)?;
    if !is_property_name(name.as_bytes()) || len as usize > MAX_SETPROP_BYTES {
        return Err(Failed);
    }
    let mut value = vec![0; len as usize];
    call.guest.read(value_at, &mut value)?;
    let state = &mut *call.state;
    let path = state.tree.path(node);
    if !state.may_set(&path, name, &value) {
        state.complaints.warn(format_args!("setprop: {name} of {path} may not be set"));
        return Err(Failed);
    }
    let is_new = state.tree.property(node, name).is_none();
    let added = match is_new {
        true => name.len() + ADDED_PROPERTY_BYTES + state.tree.new_slot_bytes(node),
        false => 0,
    };
    let added = state.added_bytes + added;
    let value_bytes = value.len() + ADDED_VALUE_BYTES;
    if added + state.tree.set_bytes() + value_bytes > MAX_ADDED_BYTES {
        let limit = MAX_ADDED_BYTES;
        state.complaints.warn(format_args!("setprop: the tree has grown by {limit} bytes"));
        return Err(Failed);
    }
    if let Err(error) = state.tree.set_property(node, name, &value) {
        state.complaints.warn(format_args!("setprop: {name} of {path}: {error}"));
        return Err(Failed);
    }
    state.added_bytes = added;
    state.was_set(&path, name, &value);
    Ok(len.into())
}

/// canon (device specifier, buffer, length) → length of the node's full path, or −1. Arguments
/// are no part of it.
pub(super) fn canon(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [specifier, buffer, room] = call.arguments();
    let mut text = PATH_ROOM;
    let specifier = characters(call.guest.text(specifier, &mut text)?)?;
    let node = call.state.tree.find(specifier).ok_or(Failed)?;
    write_path(&call.state.tree, call.guest, node, "", [buffer, room])
}

/// finddevice (device specifier) → phandle, or −1.
pub(super) fn finddevice(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [specifier] = call.arguments();
    let mut text = PATH_ROOM;
    let specifier = characters(call.guest.text(specifier, &mut text)?)?;
    let tree = &call.state.tree;
    let found = tree.find(specifier);
    Ok(found.map_or(MINUS_ONE, |node| tree.phandle(node)).into())
}

/// package-to-path (phandle, buffer, length) → length of the path, or −1.
pub(super) fn package_to_path(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle, buffer, room] = call.arguments();
    write_path(&call.state.tree, call.guest, call.node(phandle)?, "", [buffer, room])
}

fn phandle_or_none(tree: &DeviceTree, node: Option<NodeId>) -> Reply {
    node.map_or(0, |node| tree.phandle(node)).into()
}

/// Writes a path, as much of it and its NUL as there is room for; the result is its full length,
/// without the NUL.
pub(super) fn write_path(
    tree: &DeviceTree,
    guest: Guest<'_>,
    node: NodeId,
    arguments: &str,
    [buffer, room]: [u32; 2],
) -> Result<Reply, Failed> {
    let colon = if arguments.is_empty() { "" } else { ":" };
    let mut ids = [node; MAX_DEPTH];
    let path = tree.path_pieces(node, &mut ids);
    let rest = [colon, arguments];
    let len = path.clone().chain(rest).map(str::len).sum::<usize>();
    let mut output = Output::<256>::new(guest, buffer, room as usize, len + 1)?;
    for piece in path.chain(rest) {
        output.push(piece.as_bytes())?;
    }
    output.push(&[0])?;
    output.finish()?;
    Ok((len as u32).into())
}
