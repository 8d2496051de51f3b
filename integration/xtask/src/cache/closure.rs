//! Packages with all that they depend on: what is installed from nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::again::{self, PAUSES, Tried};
use crate::apt::{Apt, Release};
use crate::failure::{Failure, Result};
use crate::folders;
use crate::locked;
use crate::program::progress;

use super::manifest::{self, Line, matches, text_of};
use super::{Fetched, check, packages_of};

/// Packages, and with them those that they depend on, as apt finds them. They are kept as they were
/// offered together.
pub(crate) struct Closure {
    /// A word for file names.
    pub(crate) name: &'static str,
    pub(crate) release: Release,
    pub(crate) architecture: &'static str,
    /// What it is, to complete "fetching …".
    pub(crate) what: &'static str,
    /// The packages that are asked for.
    pub(crate) wanted: &'static [&'static str],
}

impl Closure {
    /// Makes sure that all of it is in the cache. `refresh` asks for newer versions in any case.
    pub(crate) fn fetch(&self, refresh: bool) -> Result<Fetched> {
        let cache = folders::cache()?;
        folders::make(&packages_of(&cache))?;
        let _lock = locked::take(&cache.join("lock"))?;
        let manifest = cache.join(format!("{}.sha256", self.name));
        let kept = self.kept(&cache, &manifest);
        if let Some(kept) = kept.as_ref().filter(|_| !refresh || !Apt::is_present()) {
            return Ok(fetched(&cache, kept));
        }
        if !Apt::is_present() {
            return Err(Failure::new(format!(
                "apt-get is not on this machine, so {} cannot be fetched.\nBring the whole folder \
                 {} from a Debian machine that ran this command.",
                self.what,
                cache.display()
            )));
        }
        progress!("fetching {} into {}", self.what, cache.display());
        // Nobody waits for what is only newer.
        let pauses = if kept.is_some() { &[][..] } else { &PAUSES };
        match (again::with_pauses(pauses, || self.download(&cache)), kept) {
            (Ok(lines), _) => {
                folders::write(&manifest, text_of(&lines).as_bytes())?;
                Ok(fetched(&cache, &lines))
            }
            (Err(failure), Some(kept)) => {
                progress!("{failure}");
                progress!("what the cache has of {} will do", self.what);
                Ok(fetched(&cache, &kept))
            }
            (Err(failure), None) => {
                Err(Failure::new(format!("cannot fetch {}: {failure}", self.what)))
            }
        }
    }

    /// What was fetched before, if it is what is wanted, and whole.
    fn kept(&self, cache: &Path, manifest: &Path) -> Option<Vec<Line>> {
        let text = fs::read(manifest).unwrap_or_default();
        let lines = manifest::parse(&String::from_utf8_lossy(&text));
        (self.has_all(&lines) && check(cache, self.name, &lines).is_ok()).then_some(lines)
    }

    fn has_all(&self, lines: &[Line]) -> bool {
        self.wanted.iter().all(|name| {
            let file = format!("{name}_*.deb");
            lines.iter().any(|line| matches(&file, &line.file))
        })
    }

    fn download(&self, cache: &Path) -> Tried<Vec<Line>> {
        let root = cache.join("apt").join(self.release.codename());
        let apt = Apt::open(&root, self.release).map_err(|failure| (failure, false))?;
        let lists = apt.update();
        if let Err(failure) = &lists {
            progress!("{failure}");
        }
        let may_pass = |failure| (failure, true);
        let files = apt
            .closure(self.wanted, self.architecture)
            .map_err(|failure| (failure, lists.is_err()))?;
        let mut lacking = Vec::new();
        let mut lines = Vec::new();
        for file in files {
            let line = Line { sha256: file.sha256.clone(), file: file.file.clone() };
            if check(cache, self.name, std::slice::from_ref(&line)).is_err() {
                let unknown = || Failure::new(format!("{} is no package's file", file.file));
                lacking.push(file.package().ok_or_else(unknown).map_err(|f| (f, false))?);
            }
            lines.push(line);
        }
        if !lacking.is_empty() {
            apt.download(&lacking, &packages_of(cache)).map_err(may_pass)?;
            check(cache, self.name, &lines).map_err(may_pass)?;
        }
        Ok(lines)
    }
}

fn fetched(cache: &Path, lines: &[Line]) -> Fetched {
    let files: Vec<PathBuf> =
        lines.iter().map(|line| packages_of(cache).join(&line.file)).collect();
    Fetched { manifest: text_of(lines), files }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::POWER;

    #[test]
    fn what_is_wanted_has_to_be_there() {
        let closure = Closure {
            name: "test",
            release: Release::Bookworm,
            architecture: POWER,
            what: "a test",
            wanted: &["apt", "tar"],
        };
        let line = |file: &str| Line { sha256: "00".into(), file: file.into() };
        let lines = [line("apt_2.6_ppc64el.deb"), line("tar_1.34_ppc64el.deb")];
        assert!(closure.has_all(&lines));
        assert!(!closure.has_all(&lines[..1]));
        assert!(!closure.has_all(&[line("apt-utils_2.6_ppc64el.deb"), lines[1].clone()]));
    }
}
