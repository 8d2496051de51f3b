//! Downloaded packages, kept in the user's cache folder.
//!
//! A set of packages has a manifest, in the form of `sha256sum`, made from the package lists that
//! apt checked the signatures of; as long as the files agree with it, the network is left alone.
//! What is missing of a set is fetched, and no more: mirrors are out of step for hours at a time,
//! and what is there does not depend on them.

mod closure;
mod manifest;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::again::{self, PAUSES, Tried};
use crate::apt::{Apt, Release};
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::locked;
use crate::program::{output_of, progress};

pub(crate) use self::closure::Closure;

use self::manifest::{Line, matches, text_of};

/// A package of a set.
pub(crate) struct Part {
    /// Its file, with `*` for what changes between versions.
    pub(crate) file: String,
    /// The packages on offer that will do, as `name:architecture=version`, the first choice first.
    pub(crate) choose: Choose,
}

impl Part {
    /// A package of which every version on offer will do, the newest first.
    pub(crate) fn any(name: &'static str, architecture: &'static str) -> Self {
        let choose = move |apt: &Apt| {
            let name = format!("{name}:{architecture}");
            Ok(apt.versions(&name)?.iter().map(|version| format!("{name}={version}")).collect())
        };
        Self { file: format!("{name}_*_{architecture}.deb"), choose: Box::new(choose) }
    }
}

type Choose = Box<dyn Fn(&Apt) -> Result<Vec<String>>>;

/// Packages that are needed together.
pub(crate) struct PackageSet {
    /// A word for file names.
    pub(crate) name: &'static str,
    /// The releases that have them, the first choice first.
    pub(crate) releases: &'static [Release],
    /// What it is, to complete "fetching …".
    pub(crate) what: &'static str,
    pub(crate) parts: Vec<Part>,
    /// They fit each other only as they are offered together: a part that is missing is fetched with
    /// all others. The choices of each part are in the same order then.
    pub(crate) is_one_build: bool,
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
    let cache = Cache { folder: folders::cache()?, set, open: &Apt::open, pauses: &PAUSES };
    folders::make(&cache.packages())?;
    let _lock = locked::take(&cache.folder.join("lock"))?;
    cache.fetch(refresh)
}

struct Cache<'a> {
    folder: PathBuf,
    set: &'a PackageSet,
    /// Gives the apt of a release, with a private root.
    open: &'a dyn Fn(&Path, Release) -> Result<Apt>,
    /// Before each new try.
    pauses: &'a [Duration],
}

/// Of each part, what was found of it.
type Found = Vec<Option<Line>>;

impl Cache<'_> {
    fn fetch(&self, refresh: bool) -> Result<Fetched> {
        let kept = self.kept();
        let is_complete = kept.iter().all(Option::is_some);
        if is_complete && !refresh {
            return self.fetched(kept);
        }
        if !Apt::is_present() {
            if is_complete {
                progress!("without apt-get nothing newer can be fetched: the cache's files stay");
                return self.fetched(kept);
            }
            return self.take_what_was_brought();
        }
        self.download(&kept, refresh)
    }

    fn packages(&self) -> PathBuf {
        packages_of(&self.folder)
    }

    fn manifest(&self) -> PathBuf {
        self.folder.join(format!("{}.sha256", self.set.name))
    }

    /// What the manifest names and is there as it was. Another version of this program may have
    /// needed other parts.
    fn kept(&self) -> Found {
        let mut lines = self.written();
        if let Err(failure) = self.check(&lines) {
            progress!("{failure}");
            progress!("some of what was kept in {} is damaged or gone", self.folder.display());
            lines.retain(|line| self.check(std::slice::from_ref(line)).is_ok());
        }
        let of_part = |part: &Part| lines.iter().find(|line| matches(&part.file, &line.file));
        let kept: Found = self.set.parts.iter().map(|part| of_part(part).cloned()).collect();
        if self.set.is_one_build && kept.iter().any(Option::is_none) {
            return self.nothing();
        }
        kept
    }

    fn nothing(&self) -> Found {
        self.set.parts.iter().map(|_| None).collect()
    }

    /// Checks that files are there and are what they should be.
    fn check(&self, lines: &[Line]) -> Result<()> {
        check(&self.folder, self.set.name, lines)
    }

    /// Writes down what is there, if that is more or something else than before.
    fn fetched(&self, found: Found) -> Result<Fetched> {
        let lines: Vec<Line> = found.into_iter().flatten().collect();
        let before = self.written();
        if !lines.iter().all(|line| before.contains(line)) {
            // Other versions of this program may need other parts.
            let of_others = before
                .into_iter()
                .filter(|line| !self.set.parts.iter().any(|part| matches(&part.file, &line.file)));
            let lines: Vec<Line> = lines.iter().cloned().chain(of_others).collect();
            folders::write(&self.manifest(), text_of(&lines).as_bytes())?;
        }
        let files = lines.iter().map(|line| self.packages().join(&line.file)).collect();
        Ok(Fetched { manifest: text_of(&lines), files })
    }

    fn written(&self) -> Vec<Line> {
        let text = fs::read(self.manifest()).unwrap_or_default();
        manifest::parse(&String::from_utf8_lossy(&text))
    }

    /// Fetches what is not kept, or newer versions of all.
    fn download(&self, kept: &Found, refresh: bool) -> Result<Fetched> {
        progress!("fetching {} into {}", self.set.what, self.folder.display());
        let mut found = if refresh { self.nothing() } else { kept.clone() };
        // Nobody waits for what is only newer.
        let is_complete = kept.iter().all(Option::is_some);
        let pauses = if is_complete { &[] } else { self.pauses };
        let ended = again::with_pauses(pauses, || self.download_from_any(&mut found));
        let is_new = found.iter().any(Option::is_some);
        if !self.set.is_one_build {
            found.iter_mut().zip(kept).for_each(|(new, old)| *new = new.take().or(old.clone()));
        } else if !is_new {
            found.clone_from(kept);
        }
        let is_complete = found.iter().all(Option::is_some);
        match ended {
            Ok(()) => self.fetched(found),
            Err(failure) if is_complete => {
                progress!("{failure}");
                progress!("what the cache has of {} will do", self.set.what);
                self.fetched(found)
            }
            Err(failure) => {
                if is_new {
                    // What came is not fetched twice.
                    self.fetched(found)?;
                }
                let what = self.set.what;
                Err(Failure::new(format!(
                    "cannot fetch {what}: {failure}\n{}",
                    self.how_to_bring()
                )))
            }
        }
    }

    /// One try of each release: the lists of one can be out of step for hours.
    fn download_from_any(&self, found: &mut Found) -> Tried<()> {
        let mut failed: Option<(Failure, bool)> = None;
        for &release in self.set.releases {
            if let Some((failure, _)) = &failed {
                progress!("{failure}");
                progress!("trying {} instead", release.title());
            }
            let root = self.folder.join("apt").join(release.codename());
            let tried = (self.open)(&root, release)
                .map_err(|failure| (failure, false))
                .and_then(|apt| self.download_from(&apt, found));
            match tried {
                Ok(()) => return Ok(()),
                Err((failure, may_pass)) => {
                    let might_pass = failed.is_some_and(|(_, may_pass)| may_pass);
                    failed = Some((failure, may_pass || might_pass));
                }
            }
        }
        Err(failed.unwrap_or_else(|| (Failure::new("no release has it"), false)))
    }

    /// One try, and whether another one may go better.
    fn download_from(&self, apt: &Apt, found: &mut Found) -> Tried<()> {
        // A list that cannot be had does no harm when the others have what is needed.
        let lists = apt.update();
        let tried = if self.set.is_one_build {
            self.download_all(apt, found)
        } else {
            self.download_each(apt, found)
        };
        match (&lists, tried) {
            (Ok(()), tried) => tried,
            (Err(_), Ok(())) => {
                progress!("not every package list could be had; the others have what is needed");
                Ok(())
            }
            (Err(lists), Err((failure, _))) => Err((without_lists(&failure, lists), true)),
        }
    }

    /// What is lacking, each by itself: what fails does not keep the others from coming.
    fn download_each(&self, apt: &Apt, found: &mut Found) -> Tried<()> {
        let mut failed = Ok(());
        for (part, found) in self.set.parts.iter().zip(found).filter(|(_, found)| found.is_none()) {
            let tried = (part.choose)(apt).map_err(|failure| (failure, false)).and_then(|names| {
                first_success(
                    names.iter().map(|name| self.download_files(apt, std::slice::from_ref(name))),
                )
            });
            match tried {
                Ok(lines) => *found = lines.into_iter().next(),
                Err(failure) => failed = failed.and(Err(failure)),
            }
        }
        failed
    }

    /// All parts as they are offered together, or none.
    fn download_all(&self, apt: &Apt, found: &mut Found) -> Tried<()> {
        let choices = self.set.parts.iter().map(|part| (part.choose)(apt));
        let choices = choices.collect::<Result<Vec<_>>>().map_err(|failure| (failure, false))?;
        let rounds = choices.iter().map(Vec::len).max().unwrap_or(0);
        let tries = (0..rounds).map(|round| {
            let of_part = |names: &Vec<String>| names.get(round).or(names.last()).cloned();
            let names: Vec<String> = choices.iter().filter_map(of_part).collect();
            self.download_files(apt, &names)
        });
        *found = first_success(tries)?.into_iter().map(Some).collect();
        Ok(())
    }

    /// Fetches packages, in their order, unless their files are there.
    fn download_files(&self, apt: &Apt, names: &[String]) -> Tried<Vec<Line>> {
        let lines = names.iter().map(|name| {
            let signed = apt.signed(name)?;
            Ok(Line { sha256: signed.sha256, file: signed.file })
        });
        let lines = lines.collect::<Result<Vec<_>>>().map_err(|failure| (failure, true))?;
        if self.check(&lines).is_err() {
            let came = apt.download(names, &self.packages()).and_then(|()| self.check(&lines));
            came.map_err(|failure| (failure, true))?;
        }
        Ok(lines)
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
            .parts
            .iter()
            .map(|part| present.iter().rev().find(|name| matches(&part.file, name)))
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
        self.fetched(manifest::parse(&sums).into_iter().map(Some).collect())
    }

    fn how_to_bring(&self) -> String {
        let mut message = format!(
            "Bring these files from the archive of {} and put them into\n{}:",
            self.set.releases.first().map_or("Debian", |release| release.title()),
            self.packages().display()
        );
        for part in &self.set.parts {
            message.push_str("\n  ");
            message.push_str(&part.file);
        }
        message.push_str(
            "\nOr bring the whole folder above it from a Debian machine that ran this command.",
        );
        message
    }
}

/// The first that goes well; else the first failure, which is that of the first choice, and whether
/// any of them may pass.
fn first_success<T>(tries: impl Iterator<Item = Tried<T>>) -> Tried<T> {
    let mut failed: Option<(Failure, bool)> = None;
    for tried in tries {
        match (tried, &mut failed) {
            (Ok(success), _) => return Ok(success),
            (Err((failure, may_pass)), None) => {
                progress!("{failure}");
                failed = Some((failure, may_pass));
            }
            (Err((_, may_pass)), Some((_, might_pass))) => *might_pass |= may_pass,
        }
    }
    Err(failed.unwrap_or_else(|| (Failure::new("the package sources offer none"), false)))
}

/// What is missing may be in a list that could not be had.
fn without_lists(failure: &Failure, lists: &Failure) -> Failure {
    Failure::new(format!(
        "{failure}\nNot every package list could be had, though: {lists}\nA mirror that is out of \
         step with itself passes within hours; another one may be right now."
    ))
}

/// Checks that files in the cache are there and are what they should be; `name` is that of their set.
fn check(cache: &Path, name: &str, lines: &[Line]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let unchecked = cache.join(format!("{name}.sha256.new"));
    folders::write(&unchecked, text_of(lines).as_bytes())?;
    let mut command = Command::new("sha256sum");
    command.args(["--check", "--strict", "--quiet"]).arg(&unchecked);
    let checked = output_of(command.current_dir(packages_of(cache))).map(drop);
    // In nobody's way.
    let _ = fs::remove_file(&unchecked);
    checked
}

/// Where package files are.
fn packages_of(cache: &Path) -> PathBuf {
    cache.join("packages")
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
