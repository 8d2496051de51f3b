//! The file `state.json`: the state of a machine, who wrote it, and what of its RAM is in the file beside.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::MachineState;
use super::id::Id;
use super::memory::{self, Range};
use crate::quoted;

/// The form of these files. It grows with each change.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    format: u32,
    /// Which release wrote it.
    release: String,
    /// The same as that of the file beside.
    id: Id,
    memory: Memory,
    /// CRC-32 of the text of `machine`.
    checksum: String,
    #[serde(borrow)]
    machine: &'a RawValue,
}

/// The only part of it that all forms have.
#[derive(Deserialize)]
struct Form {
    format: u32,
    #[serde(default)]
    release: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// How long the file beside is, without its last block.
    bytes: u64,
    ranges: Vec<Range>,
}

/// What is in such a file.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) id: Id,
    /// How long the file beside is, without its last block.
    pub(super) memory_bytes: u64,
    pub(super) ranges: Vec<Range>,
    pub(super) machine: MachineState,
}

impl Content {
    pub(super) fn to_text(&self) -> serde_json::Result<String> {
        let machine = serde_json::value::to_raw_value(&self.machine)?;
        let mut text = serde_json::to_string(&Document {
            format: FORMAT,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            id: self.id,
            memory: Memory { bytes: self.memory_bytes, ranges: self.ranges.clone() },
            checksum: checksum(machine.get()),
            machine: &machine,
        })?;
        text.push('\n');
        Ok(text)
    }

    /// What there is in a text that nobody vouches for, of so many values at most: each takes memory.
    pub(super) fn parse(text: &[u8], most_values: usize) -> Result<Self, String> {
        check_values(text, most_values)?;
        let Form { format, release } =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!(
                "it has form {format}, of release \"{}\"; this release, {}, reads form {FORMAT}",
                quoted::text(&release),
                env!("CARGO_PKG_VERSION")
            ));
        }
        let document: Document<'_> =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let machine = document.machine.get();
        if checksum(machine) != document.checksum {
            return Err(
                "it was changed after it had been written: its checksum is another".to_owned()
            );
        }
        let Memory { bytes, ranges } = document.memory;
        memory::check(&ranges, bytes)?;
        Ok(Self {
            id: document.id,
            memory_bytes: bytes,
            ranges,
            machine: serde_json::from_str(machine).map_err(|error| error.to_string())?,
        })
    }
}

/// Checks that a text in JSON has so many values at most, before anything is made of it.
pub(super) fn check_values(text: &[u8], most: usize) -> Result<(), String> {
    let values = text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
    match values <= most {
        true => Ok(()),
        false => Err(format!("it has more than {most} values")),
    }
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}
