//! The inputs that fuzzers start from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Attempt, Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::program::{progress, run};

use super::Target;

/// The longest input that goes into the tree, in bytes.
const KEPT_BYTES_MAX: usize = 1024;

/// The inputs in the tree, made if there are none.
pub(super) fn kept(target: &Target) -> Result<PathBuf> {
    let folder = super::workspace().join("corpus").join(target.name);
    folders::make(&folder)?;
    Ok(folder)
}

/// The inputs that were found on this machine.
pub(super) fn grown(target: &Target) -> Result<PathBuf> {
    let folder = super::folder().join("corpus").join(target.name);
    folders::make(&folder)?;
    Ok(folder)
}

/// Words for the fuzzer to make inputs of, if there are any.
pub(super) fn dictionary(target: &Target) -> Option<PathBuf> {
    let file = super::workspace().join("dictionaries").join(format!("{}.dict", target.name));
    file.is_file().then_some(file)
}

/// Puts into the tree the fewest inputs that reach what all known ones do.
pub(super) fn minimise(target: &Target, programs: &Path) -> Result<()> {
    let (kept, grown) = (kept(target)?, grown(target)?);
    let chosen = TemporaryFolder::make(&super::folder(), target.name)?;
    let mut merge = Command::new(programs.join(target.name));
    // How often code is run is left to the machine's own corpus: the tree's is to be small.
    merge.args(["-set_cover_merge=1", "-use_counters=0"]);
    merge.arg(format!("-max_len={KEPT_BYTES_MAX}"));
    run(merge.arg(chosen.path()).arg(&kept).arg(&grown))?;
    let inputs = files(chosen.path())?;
    if inputs.is_empty() {
        return Err(Failure::new(format!("no input of {} does anything", target.name)));
    }
    for old in files(&kept)? {
        fs::remove_file(&old).attempt(|| format!("remove {}", old.display()))?;
    }
    let mut bytes = 0;
    for input in &inputs {
        let content = folders::read(input)?;
        bytes += content.len();
        // libFuzzer names a file by the SHA-1 of its content.
        let name = input.file_name().unwrap_or_default().to_string_lossy().into_owned();
        folders::write(&kept.join(name.get(..12).unwrap_or(&name)), &content)?;
    }
    progress!("{}: {} inputs of {bytes} bytes in {}", target.name, inputs.len(), kept.display());
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).attempt(|| format!("read {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}
