//! The inputs that fuzzers start from.

use std::fs;
use std::io::ErrorKind;
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

/// An empty folder for what a run finds, which no later run starts from.
pub(super) fn fresh(target: &Target, number: usize) -> Result<PathBuf> {
    let folder = super::folder().join("fresh").join(format!("{}-{number}", target.name));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed.attempt(|| format!("remove {}", folder.display()))?,
    }
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
    let mut inputs = files(chosen.path())?;
    if inputs.is_empty() {
        return Err(Failure::new(format!("no input of {} does anything", target.name)));
    }
    let others = [files(&kept)?, files(&grown)?].concat();
    inputs.extend(for_other_goals(&programs.join(target.name), &inputs, others)?);
    let contents = inputs.iter().map(|input| Ok((name(input), folders::read(input)?)));
    let contents = contents.collect::<Result<Vec<_>>>()?;
    for old in files(&kept)? {
        fs::remove_file(&old).attempt(|| format!("remove {}", old.display()))?;
    }
    let bytes: usize = contents.iter().map(|(_, content)| content.len()).sum();
    for (name, content) in &contents {
        folders::write(&kept.join(name), content)?;
    }
    progress!("{}: {} inputs of {bytes} bytes in {}", target.name, inputs.len(), kept.display());
    Ok(())
}

/// The shortest of `others` that reach goals which `inputs` do not.
fn for_other_goals(
    program: &Path,
    inputs: &[PathBuf],
    mut others: Vec<PathBuf>,
) -> Result<Vec<PathBuf>> {
    others.sort_by_key(|path| fs::metadata(path).map_or(u64::MAX, |data| data.len()));
    let mut run = Command::new(program);
    let output = run.args(inputs).args(&others).output();
    let output = output.attempt(|| format!("run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let mut wanted: Vec<PathBuf> = Vec::new();
    let mut running = None;
    for line in said.lines() {
        if let Some(path) = line.strip_prefix("Running: ") {
            running = Some(PathBuf::from(path));
        }
        // Told once of each goal.
        let new = running.take_if(|path| line.starts_with("REACHED ") && others.contains(path));
        wanted.extend(new);
    }
    Ok(wanted)
}

/// A short name: libFuzzer's is the SHA-1 of the content.
fn name(input: &Path) -> String {
    let name = input.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.get(..12).map_or_else(|| name.clone(), str::to_owned)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).attempt(|| format!("read {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}
