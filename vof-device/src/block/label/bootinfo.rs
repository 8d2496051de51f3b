//! `\ppc\bootinfo.txt`: what installation media and CHRP disks say to boot (the "Bootinfo" of the
//! CHRP binding of IEEE 1275).
//!
//! ```text
//! <chrp-boot>
//! <description>GNU/Linux</description>
//! <boot-script>boot &device;:\boot\grub\powerpc.elf</boot-script>
//! </chrp-boot>
//! ```
//!
//! The script is Forth. There is none behind this interface, so of it counts what it boots: the
//! first `boot` or `load`, and what stands behind that in its line.

use crate::block::{BlockDevice, SECTOR_BYTES};
use crate::limits::{MAX_BOOTINFO_BYTES, MAX_BOOTINFO_EXTENTS, MAX_BOOTSPEC_BYTES, MAX_PATH_BYTES};

use super::{Arguments, LabelError, find};

/// Where it is.
pub const PATH: &str = "\\ppc\\bootinfo.txt";

/// What a script boots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Boot {
    /// The path of a device, with the arguments for it: what `open` and `load` take.
    pub specifier: String,
    /// The arguments for the program, single blanks between their words.
    pub arguments: String,
}

/// Why a script boots nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootInfoError {
    /// It cannot be read from its disk.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// It is longer than [`MAX_BOOTINFO_BYTES`].
    #[error("the file is too long")]
    TooLong,
    /// There is no `<boot-script>`, or no end of it.
    #[error("the file has no boot script")]
    NoScript,
    /// The script is not text.
    #[error("the boot script is not text")]
    NotText,
    /// The script boots nothing that is known.
    #[error("the boot script boots nothing")]
    NoBoot,
    /// What it boots has a path longer than [`MAX_PATH_BYTES`] or arguments longer than
    /// [`MAX_BOOTSPEC_BYTES`].
    #[error("what the boot script boots has too long a path or arguments")]
    TooLongBoot,
}

/// Where a script was found: what its entities stand for.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The path of the disk, without arguments: `&device;`.
    pub device: &'a str,
    /// The partition: `&partition;`, which is 0 for the whole disk.
    pub partition: Option<u32>,
    /// The path of the file: `&directory;` and `&filename;`.
    pub path: &'a str,
}

/// What the [script](PATH) on a partition, or on the whole disk, boots. `device` is the disk's path,
/// without arguments.
///
/// # Errors
/// [`BootInfoError`] says why it boots nothing.
pub fn read(
    disk: &dyn BlockDevice,
    device: &str,
    partition: Option<u32>,
) -> Result<Boot, BootInfoError> {
    let region = find(disk, &Arguments::of_partition(partition).with_path(PATH))?;
    if region.bytes() > MAX_BOOTINFO_BYTES as u64 {
        return Err(BootInfoError::TooLong);
    }
    if region.extents().len() > MAX_BOOTINFO_EXTENTS {
        return Err(LabelError::too_much("the file is in too many pieces").into());
    }
    let mut text = Vec::new();
    for extent in region.extents() {
        // All of the sectors that it is in: they are inside of the disk.
        let first = extent.start / SECTOR_BYTES * SECTOR_BYTES;
        let skipped = (extent.start - first) as usize;
        let bytes = extent.bytes as usize;
        let mut sectors = vec![0; (skipped + bytes).next_multiple_of(SECTOR_BYTES as usize)];
        disk.read(&mut sectors, first).map_err(LabelError::Read)?;
        text.extend_from_slice(&sectors[skipped..][..bytes]);
    }
    parse(&text, &Origin { device, partition, path: PATH })
}

/// What a script boots.
///
/// Letters of tags, entities and words may be in either case. Comments of SGML (`<!-- -->`) and of
/// Forth (`\ ` to the end of a line, `( ` to `)`) are left out.
///
/// # Errors
/// [`BootInfoError`] says why it boots nothing.
pub fn parse(text: &[u8], origin: &Origin<'_>) -> Result<Boot, BootInfoError> {
    if text.len() > MAX_BOOTINFO_BYTES {
        return Err(BootInfoError::TooLong);
    }
    let script = script(&without_comments(text)).ok_or(BootInfoError::NoScript)?;
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~');
    if !script.iter().all(is_text) {
        return Err(BootInfoError::NotText);
    }
    let script = String::from_utf8(script).map_err(|_| BootInfoError::NotText)?;
    let mut words = booted(&script).ok_or(BootInfoError::NoBoot)?.into_iter();
    let specifier = words.next().ok_or(BootInfoError::NoBoot)?;
    let specifier = expand(&[specifier], origin, MAX_PATH_BYTES)?;
    let arguments = expand(words.as_slice(), origin, MAX_BOOTSPEC_BYTES)?;
    Ok(Boot { specifier, arguments })
}

/// The text without SGML comments; one without an end goes to the end.
fn without_comments(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = position(rest, b"<!--") {
        kept.extend_from_slice(&rest[..start]);
        // A blank, so that what it stands between stays apart.
        kept.push(b' ');
        let inside = &rest[start + 4..];
        rest = position(inside, b"-->").map_or(&[], |end| &inside[end + 3..]);
    }
    kept.extend_from_slice(rest);
    kept
}

/// What is between the tags of the first boot script.
fn script(text: &[u8]) -> Option<Vec<u8>> {
    let lower = text.to_ascii_lowercase();
    let mut from = 0;
    loop {
        from += position(&lower[from..], START)? + START.len();
        // Attributes may follow the name, but nothing that makes it another one.
        if lower.get(from).is_some_and(|next| *next == b'>' || next.is_ascii_whitespace()) {
            let start = from + position(&lower[from..], b">")? + 1;
            let end = start + position(&lower[start..], END)?;
            return Some(text[start..end].to_vec());
        }
    }
}

/// What a script is between, in lower case.
const START: &[u8] = b"<boot-script";
const END: &[u8] = b"</boot-script>";

fn position(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The words behind the first `boot` or `load`, up to the end of the line.
fn booted(script: &str) -> Option<Vec<&str>> {
    let mut is_comment = false;
    for line in script.split(['\r', '\n']) {
        let mut words = Vec::new();
        for word in line.split_ascii_whitespace() {
            match word {
                _ if is_comment => is_comment = !word.ends_with(')'),
                "(" => is_comment = true,
                "\\" => break,
                _ => words.push(word),
            }
        }
        let is_boot = |word: &&str| ["boot", "load"].iter().any(|it| word.eq_ignore_ascii_case(it));
        if let Some(at) = words.iter().position(is_boot) {
            return Some(words.split_off(at + 1));
        }
    }
    None
}

/// The words with a blank between them, and what their entities stand for; one that is not known
/// stays as it is.
fn expand(words: &[&str], origin: &Origin<'_>, bytes_max: usize) -> Result<String, BootInfoError> {
    let mut expanded = String::new();
    for (index, word) in words.iter().enumerate() {
        let blank = if index > 0 { " " } else { "" };
        expanded.push_str(blank);
        let mut rest = *word;
        while let Some((before, behind)) = rest.split_once('&') {
            expanded.push_str(before);
            let entity = behind.split_once(';');
            rest = match entity.and_then(|(name, rest)| Some((value(name, origin)?, rest))) {
                Some((value, rest)) => {
                    expanded.push_str(&value);
                    rest
                }
                None => {
                    expanded.push('&');
                    behind
                }
            };
            if expanded.len() > bytes_max {
                return Err(BootInfoError::TooLongBoot);
            }
        }
        expanded.push_str(rest);
        if expanded.len() > bytes_max {
            return Err(BootInfoError::TooLongBoot);
        }
    }
    Ok(expanded)
}

/// What an entity stands for; `None` for one that is not known.
fn value(name: &str, origin: &Origin<'_>) -> Option<String> {
    let partition = origin.partition.unwrap_or(0);
    let (directory, file) = match origin.path.rfind(['\\', '/']) {
        Some(at) => (&origin.path[..at], &origin.path[at + 1..]),
        None => ("", origin.path),
    };
    Some(match name.to_ascii_lowercase().as_str() {
        "device" => origin.device.to_owned(),
        "partition" => partition.to_string(),
        "directory" => directory.to_owned(),
        "filename" => file.to_owned(),
        "full-path" => format!("{}:{partition},{}", origin.device, origin.path),
        "lt" => "<".to_owned(),
        "gt" => ">".to_owned(),
        "amp" => "&".to_owned(),
        "quot" => "\"".to_owned(),
        "apos" => "'".to_owned(),
        _ => return None,
    })
}
