//! Downloaded packages, kept in the user's cache folder.
//!
//! A set of packages is fetched as one. Its manifest, in the form of `sha256sum`, is made from
//! the package lists that apt checked the signatures of; as long as the files agree with it, the
//! network is left alone.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::apt::{Apt, Release, Signed};
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::program::{output_of, progress};

/// How long to wait before each new try: mirrors are out of step for minutes at a time.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(60)];

/// Packages that are fetched together.
pub(crate) struct PackageSet {
    /// A word for file names.
    pub(crate) name: &'static str,
    /// The releases that have them, the first choice first.
    pub(crate) releases: &'static [Release],
    /// What it is, to complete "fetching …".
    pub(crate) what: &'static str,
    /// Its files, with `*` for what changes between versions: for those who bring them.
    pub(crate) files: Vec<String>,
    /// Picks the packages from what is on offer, as `name:architecture=version`.
    pub(crate) choose: fn(&Apt) -> Result<Vec<String>>,
}

/// A set whose files are there and intact.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Names and digests: the same text means the same content.
    pub(crate) manifest: String,
    files: Vec<PathBuf>,
}

impl Fetched {
    /// The file of the package of that name.
    pub(crate) fn package(&self, name_start: &str) -> Result<&Path> {
        let found = self.files.iter().find(|path| file_name(path).starts_with(name_start));
        found.map(PathBuf::as_path).ok_or_else(|| {
            Failure::new(format!("no file {name_start}… in the cache's list:\n{}", self.manifest))
        })
    }

    /// All files.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }
}

/// Makes sure that a set is in the cache. `refresh` asks for newer versions in any case.
pub(crate) fn fetch(set: &PackageSet, refresh: bool) -> Result<Fetched> {
    let cache = Cache { folder: folders::cache()?, set };
    folders::make(&cache.packages())?;
    let _lock = lock(&cache.folder)?;
    if !refresh {
        if let Some(fetched) = cache.intact()? {
            return Ok(fetched);
        }
    }
    if Apt::is_present() { cache.download() } else { cache.take_what_was_brought() }
}

struct Cache<'a> {
    folder: PathBuf,
    set: &'a PackageSet,
}

impl Cache<'_> {
    fn packages(&self) -> PathBuf {
        self.folder.join("packages")
    }

    fn manifest(&self) -> PathBuf {
        self.folder.join(format!("{}.sha256", self.set.name))
    }

    /// What the manifest names, if all of it is there as it was.
    fn intact(&self) -> Result<Option<Fetched>> {
        if !self.manifest().exists() {
            return Ok(None);
        }
        if let Err(failure) = self.check(&self.manifest()) {
            progress!("{failure}");
            progress!("the cache in {} is damaged: fetching again", self.folder.display());
            return Ok(None);
        }
        let manifest = String::from_utf8_lossy(&folders::read(&self.manifest())?).into_owned();
        let named = |pattern: &String| files_of(&manifest).any(|file| matches(pattern, file));
        if !self.set.files.iter().all(named) {
            // Of an earlier version of this program, which needed less.
            return Ok(None);
        }
        let files = files_of(&manifest).map(|file| self.packages().join(file)).collect();
        Ok(Some(Fetched { manifest, files }))
    }

    fn check(&self, manifest: &Path) -> Result<()> {
        let mut command = Command::new("sha256sum");
        command.args(["--check", "--strict", "--quiet"]).arg(manifest);
        output_of(command.current_dir(self.packages())).map(drop)
    }

    fn download(&self) -> Result<Fetched> {
        progress!("fetching {} into {}", self.set.what, self.folder.display());
        let mut pauses = PAUSES.iter();
        loop {
            let (failure, may_pass) = match self.download_from_any() {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => failed,
            };
            let Some(pause) = pauses.next().filter(|_| may_pass) else {
                return Err(Failure::new(format!(
                    "cannot fetch {}: {failure}\n{}",
                    self.set.what,
                    self.how_to_bring()
                )));
            };
            progress!("{failure}");
            progress!("trying again in {} seconds", pause.as_secs());
            std::thread::sleep(*pause);
        }
    }

    /// One try of each release: the lists of one can be out of step for hours.
    fn download_from_any(&self) -> std::result::Result<Fetched, (Failure, bool)> {
        let mut failures: Vec<(Failure, bool)> = Vec::new();
        for &release in self.set.releases {
            if let Some((failure, _)) = failures.last() {
                progress!("{failure}");
                progress!("trying {} instead", release.title());
            }
            let root = self.folder.join("apt").join(release.codename());
            let tried = Apt::open(&root, release)
                .map_err(|failure| (failure, false))
                .and_then(|apt| self.download_once(&apt));
            match tried {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => failures.push(failed),
            }
        }
        let may_pass = failures.iter().any(|(_, may_pass)| *may_pass);
        let failure = failures.pop().map(|(failure, _)| failure);
        Err((failure.unwrap_or_else(|| Failure::new("no release has it")), may_pass))
    }

    /// One try, and whether another one may go better.
    fn download_once(&self, apt: &Apt) -> std::result::Result<Fetched, (Failure, bool)> {
        // A list that cannot be had does no harm when the others have what is needed.
        let lists = apt.update();
        let chosen = (self.set.choose)(apt).and_then(|names| Ok((apt.signed(&names)?, names)));
        let (signed, names) = chosen.map_err(|failure| match &lists {
            Ok(()) => (failure, false),
            Err(lists) => (without_lists(&failure, lists), true),
        })?;
        if lists.is_err() {
            progress!("not every package list could be had; the others have what is needed");
        }
        self.complete(apt, &signed, &names).map_err(|failure| (failure, true))
    }

    fn complete(&self, apt: &Apt, signed: &[Signed], names: &[String]) -> Result<Fetched> {
        apt.download(names, &self.packages())?;
        let lines = signed.iter().map(|file| format!("{}  {}\n", file.sha256, file.file));
        let unchecked = self.folder.join(format!("{}.sha256.new", self.set.name));
        folders::write(&unchecked, lines.collect::<String>().as_bytes())?;
        self.check(&unchecked)?;
        fs::rename(&unchecked, self.manifest())
            .attempt(|| format!("write {}", self.manifest().display()))?;
        self.intact()?.ok_or_else(|| Failure::new("the files changed while they were read"))
    }

    /// Without apt there is nobody to ask for a signature: say so, once, and hold on to what came.
    fn take_what_was_brought(&self) -> Result<Fetched> {
        let entries = fs::read_dir(self.packages())
            .attempt(|| format!("list {}", self.packages().display()))?;
        let mut present: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        present.sort();
        let brought: Option<Vec<&String>> = self
            .set
            .files
            .iter()
            .map(|pattern| present.iter().rev().find(|name| matches(pattern, name)))
            .collect();
        let Some(brought) = brought else {
            return Err(Failure::new(format!(
                "apt-get is not on this machine, so {} cannot be fetched.\n{}",
                self.set.what,
                self.how_to_bring()
            )));
        };
        let mut command = Command::new("sha256sum");
        let sums = output_of(command.arg("--").args(brought).current_dir(self.packages()))?;
        progress!("taken as they were brought, with no signature to check them against:\n{sums}");
        folders::write(&self.manifest(), sums.as_bytes())?;
        self.intact()?.ok_or_else(|| Failure::new("the files changed while they were read"))
    }

    fn how_to_bring(&self) -> String {
        let mut message = format!(
            "Bring these files from the archive of {} and put them into\n{}:",
            self.set.releases.first().map_or("Debian", |release| release.title()),
            self.packages().display()
        );
        for file in &self.set.files {
            message.push_str("\n  ");
            message.push_str(file);
        }
        message.push_str(
            "\nOr bring the whole folder above it from a Debian machine that ran this command.",
        );
        message
    }
}

/// What is missing may be in a list that could not be had.
fn without_lists(failure: &Failure, lists: &Failure) -> Failure {
    Failure::new(format!("{failure}\nNot every package list could be had, though: {lists}"))
}

/// The file names in the output of `sha256sum`.
fn files_of(manifest: &str) -> impl Iterator<Item = &str> {
    manifest.lines().filter_map(|line| line.split_once("  ")).map(|(_, file)| file)
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whether a name is what a pattern, with `*` for any text, stands for.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| matches(rest, &name[at..]))
        }),
    }
}

/// Waits until no other process fetches into the cache.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).attempt(|| format!("write {}", path.display()))?;
    // SAFETY: an operation on an open descriptor, without memory.
    let try_lock = |how| unsafe { libc::flock(file.as_raw_fd(), how) };
    if try_lock(libc::LOCK_EX | libc::LOCK_NB) != 0 {
        progress!("waiting for another process that uses {}", folder.display());
        if try_lock(libc::LOCK_EX) != 0 {
            let error = std::io::Error::last_os_error();
            return Err(Failure::new(format!("cannot lock {}: {error}", path.display())));
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_tell_a_kernel_from_its_debug_symbols() {
        let pattern = "linux-image-6.1.*-powerpc64le_*_ppc64el.deb";
        assert!(matches(pattern, "linux-image-6.1.0-50-powerpc64le_6.1.176-1_ppc64el.deb"));
        assert!(!matches(pattern, "linux-image-6.1.0-50-powerpc64le-dbg_6.1.176-1_ppc64el.deb"));
        assert!(!matches(pattern, "linux-image-6.12.0-1-powerpc64le_6.12.1-1_ppc64el.deb"));
        assert!(matches("*", "") && matches("a*", "a") && !matches("a", "ab"));
    }

    #[test]
    fn a_list_that_is_missing_is_named_with_what_is() {
        let failure = without_lists(&Failure::new("no package x"), &Failure::new("update failed"));
        let failure = failure.to_string();
        assert!(failure.starts_with("no package x\n") && failure.ends_with(": update failed"));
    }

    #[test]
    fn a_manifest_names_its_files() {
        let manifest = "00aa  a_1%3a2_all.deb\n11bb  b_1_all.deb\n";
        assert_eq!(files_of(manifest).collect::<Vec<_>>(), ["a_1%3a2_all.deb", "b_1_all.deb"]);
    }
}
