//! Names of more than 31 characters, which PAPR has and vm-fdt refuses.
//!
//! They are written as placeholders. One pass over the finished blob puts them in: long property
//! names make the strings block longer, and the offsets into it move; a long node name takes the
//! place of a placeholder of the same length.

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::FdtError;

/// The longest name that vm-fdt writes, in bytes; of a node's, what comes before the `@`.
const SHORT_NAME_BYTES: usize = 31;

/// Up to how much slack there is capacity for at once, in bytes.
const SLACK_BYTES_USUAL: usize = 1 << 20;

// Devicetree specification v0.4, §5.2 and §5.4.1.
const HEADER_OFF_DT_STRUCT: usize = 8;
const HEADER_OFF_DT_STRINGS: usize = 12;
const HEADER_SIZE_DT_STRINGS: usize = 32;
const FDT_BEGIN_NODE: u32 = 1;
const FDT_END_NODE: u32 = 2;
const FDT_PROP: u32 = 3;
const FDT_NOP: u32 = 4;
const FDT_END: u32 = 9;

/// Which long names stand behind which placeholders.
#[derive(Debug, Default)]
pub(super) struct LongNames {
    /// Long name → placeholder.
    properties: HashMap<String, String>,
    /// Placeholder → long name. A name that is there twice has two placeholders.
    nodes: HashMap<String, String>,
}

impl LongNames {
    /// What to write for the name of a property.
    pub(super) fn property<'a>(&'a mut self, name: &'a str) -> &'a str {
        if name.len() <= SHORT_NAME_BYTES {
            return name;
        }
        let number = self.properties.len();
        let placeholder = || format!("rust-vmm,long-name-{number}");
        self.properties.entry(name.to_owned()).or_insert_with(placeholder)
    }

    /// What to write for the name of a node: a placeholder is of the same length, with all of it
    /// behind an `@`, where vm-fdt takes any length.
    pub(super) fn node<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        let base = name.split('@').next().unwrap_or(name);
        if base.len() <= SHORT_NAME_BYTES {
            return Cow::Borrowed(name);
        }
        let number = self.nodes.len();
        let placeholder = format!("x@{number:0width$}", width = name.len() - 2);
        self.nodes.insert(placeholder.clone(), name.to_owned());
        Cow::Owned(placeholder)
    }

    /// The blob with the names in the place of what stands for them, and with capacity for
    /// `slack_bytes` behind it. Its strings block is its last, as vm-fdt writes it.
    pub(super) fn put_into(&self, blob: &[u8], slack_bytes: usize) -> Result<Vec<u8>, FdtError> {
        let struct_at = cell(blob, HEADER_OFF_DT_STRUCT)? as usize;
        let strings_at = cell(blob, HEADER_OFF_DT_STRINGS)? as usize;
        let structure = blob.get(..strings_at).ok_or(FdtError::Layout { at: strings_at })?;
        let (strings, moved) = self.strings(&blob[strings_at..])?;
        // Slack that no memory can have is refused later.
        let slack = slack_bytes.min(SLACK_BYTES_USUAL);
        let mut out = Vec::with_capacity(structure.len() + strings.len() + slack);
        out.extend_from_slice(structure);
        let mut at = struct_at;
        loop {
            let tag = cell(blob, at)?;
            at += 4;
            match tag {
                FDT_BEGIN_NODE => {
                    let name = c_string(blob, at)?;
                    let end = at + name.len();
                    if let Some(long) = self.nodes.get(name) {
                        let place = out.get_mut(at..end).ok_or(FdtError::Layout { at })?;
                        place.copy_from_slice(long.as_bytes());
                    }
                    at = (end + 1).next_multiple_of(4);
                }
                FDT_PROP => {
                    let value_bytes = cell(blob, at)? as usize;
                    let name =
                        moved.get(cell(blob, at + 4)? as usize).ok_or(FdtError::Layout { at })?;
                    put_cell(&mut out, at + 4, *name)?;
                    at = (at + 8 + value_bytes).next_multiple_of(4);
                }
                FDT_END_NODE | FDT_NOP => {}
                FDT_END => break,
                _ => return Err(FdtError::Layout { at }),
            }
        }
        let strings_bytes = u32::try_from(strings.len()).map_err(|_| FdtError::TooLarge)?;
        put_cell(&mut out, HEADER_SIZE_DT_STRINGS, strings_bytes)?;
        out.extend_from_slice(&strings);
        Ok(out)
    }

    /// The strings block anew, and for each offset of a name before where in it that name went.
    fn strings(&self, old: &[u8]) -> Result<(Vec<u8>, Vec<u32>), FdtError> {
        let long: HashMap<&str, &str> = self
            .properties
            .iter()
            .map(|(long, placeholder)| (placeholder.as_str(), long.as_str()))
            .collect();
        let mut moved = vec![0; old.len()];
        let mut new = Vec::with_capacity(old.len());
        let mut at = 0;
        while at < old.len() {
            let name = c_string(old, at)?;
            moved[at] = new.len() as u32;
            new.extend_from_slice(long.get(name).copied().unwrap_or(name).as_bytes());
            new.push(0);
            at += name.len() + 1;
        }
        Ok((new, moved))
    }
}

fn cell(blob: &[u8], at: usize) -> Result<u32, FdtError> {
    blob.get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| u32::from_be_bytes(*bytes))
        .ok_or(FdtError::Layout { at })
}

pub(super) fn put_cell(blob: &mut [u8], at: usize, value: u32) -> Result<(), FdtError> {
    let place = blob.get_mut(at..at + 4).ok_or(FdtError::Layout { at })?;
    place.copy_from_slice(&value.to_be_bytes());
    Ok(())
}

fn c_string(blob: &[u8], at: usize) -> Result<&str, FdtError> {
    let rest = blob.get(at..).ok_or(FdtError::Layout { at })?;
    let end = rest.iter().position(|&byte| byte == 0).ok_or(FdtError::Layout { at })?;
    std::str::from_utf8(&rest[..end]).map_err(|_| FdtError::Layout { at })
}
