//! Where things are: the workspace, what is built, what is kept between builds.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Attempt, Failure, Result};

/// The workspace's own folder.
pub(crate) fn workspace() -> PathBuf {
    // Cargo sets the variable at run time, too; the built-in one is wrong once the folder moved.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .filter(|folder| Path::new(folder).ends_with("integration/xtask"))
        .unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    let package = PathBuf::from(package);
    package.ancestors().nth(2).map_or_else(|| package.clone(), Path::to_path_buf)
}

/// What is built goes here, as Cargo's own output does.
pub(crate) fn target() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    match chosen {
        // Relative to the folder that Cargo was called in, which is still the current one.
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => workspace().join("target"),
    }
}

/// What is downloaded goes here: the user's cache folder (XDG Base Directory Specification).
pub(crate) fn cache() -> Result<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".cache")));
    base.map(|folder| folder.join("pseries-vof")).ok_or_else(|| {
        Failure::new("there is no place for downloads: set XDG_CACHE_HOME or HOME to a folder")
    })
}

/// Makes a folder, and those above it.
pub(crate) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).attempt(|| format!("make the folder {}", folder.display()))
}

/// Reads a file whole.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).attempt(|| format!("read {}", file.display()))
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let mut unfinished = file.to_path_buf().into_os_string();
    unfinished.push(format!(".{}.part", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    fs::write(&unfinished, bytes).attempt(|| format!("write {}", unfinished.display()))?;
    fs::rename(&unfinished, file).attempt(|| format!("write {}", file.display()))
}

/// A folder that goes away with its owner.
#[derive(Debug)]
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Makes an empty folder inside `parent`; `name` is what it is for.
    pub(crate) fn make(parent: &Path, name: &str) -> Result<Self> {
        remove_abandoned(parent, name);
        let folder = parent.join(format!("{name}-{}", std::process::id()));
        make(&folder)?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Removes the folders of processes that were killed, and one that had this process's number.
fn remove_abandoned(parent: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let process = file_name.to_str().and_then(|n| n.strip_prefix(name)?.strip_prefix('-'));
        let Some(process) = process.and_then(|number| number.parse::<u32>().ok()) else { continue };
        let is_alive = Path::new("/proc").join(process.to_string()).exists();
        if process == std::process::id() || !is_alive {
            // What stays is in the way of nobody.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What is left behind is in a build folder, and harmless.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_away_and_takes_abandoned_ones_along() {
        let parent = std::env::temp_dir();
        // No process has a number of ten digits.
        let abandoned = parent.join("xtask-folders-test-4000000000");
        let other = parent.join("xtask-folders-test-4000000000x");
        make(&abandoned.join("deep")).unwrap();
        make(&other).unwrap();
        let folder = TemporaryFolder::make(&parent, "xtask-folders-test").unwrap();
        assert!(folder.path().is_dir() && !abandoned.exists() && other.is_dir());
        let path = folder.path().to_path_buf();
        drop(folder);
        assert!(!path.exists());
        fs::remove_dir(other).unwrap();
    }
}
