//! What images of GRUB are put together with and of: Debian's `grub-mkimage` for this machine, and
//! the modules of a series.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Apt, POWER, Release};
use crate::cache::{self, Fetched, PackageSet, Part};
use crate::deb;
use crate::failure::{Failure, Result};
use crate::guest;
use crate::program::output_of;

/// The name of the images' format, in grub-mkimage(1) and in the modules' path.
pub(crate) const FORMAT: &str = "powerpc-ieee1275";

/// The package with the modules.
const MODULES: &str = "grub-ieee1275-bin";

/// A series of GRUB, as Debian's versions begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    /// 2.06, Debian 12's.
    Older,
    /// 2.12, Debian 13's; Debian 12's backports have it as well.
    Newer,
}

impl Series {
    /// A word for file names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Older => "grub-2.06",
            Self::Newer => "grub-2.12",
        }
    }

    /// How it calls itself above its menu.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Older => "2.06",
            Self::Newer => "2.12",
        }
    }

    /// Makes sure that its modules are in the cache.
    pub(crate) fn modules(self, refresh: bool) -> Result<Fetched> {
        cache::fetch(&self.packages(), refresh)
    }

    fn packages(self) -> PackageSet {
        match self {
            Self::Older => PackageSet {
                name: self.name(),
                releases: &[Release::Bookworm],
                what: "GRUB 2.06 (Debian's for POWER)",
                parts: vec![part(MODULES, POWER, "2.06-")],
                is_one_build: false,
            },
            Self::Newer => PackageSet {
                name: self.name(),
                releases: &[Release::Trixie, Release::Backports],
                what: "GRUB 2.12 (Debian's for POWER)",
                parts: vec![part(MODULES, POWER, "2.12-")],
                is_one_build: false,
            },
        }
    }
}

/// Makes sure that what puts images together is in the cache.
pub(crate) fn tools(refresh: bool) -> Result<Fetched> {
    cache::fetch(&tool_packages()?, refresh)
}

/// Unpacks the modules of a series into a folder. Gives where they are.
pub(crate) fn unpack_modules(modules: &Fetched, to: &Path) -> Result<PathBuf> {
    let folder = modules_folder();
    deb::unpack(modules.package(MODULES)?, to, &[&format!("./{folder}/*")])?;
    Ok(to.join(folder))
}

/// Where the modules of an installed system are, from its root.
pub(crate) fn modules_folder() -> String {
    format!("usr/lib/grub/{FORMAT}")
}

/// `grub-mkimage`, unpacked.
pub(crate) struct Mkimage {
    program: PathBuf,
    libraries: PathBuf,
}

impl Mkimage {
    /// Unpacks it into a folder.
    pub(crate) fn unpack(tools: &Fetched, to: &Path) -> Result<Self> {
        deb::unpack(tools.package("grub-common_")?, to, &["./usr/bin/grub-mkimage"])?;
        deb::unpack(tools.package("libdevmapper1.02.1_")?, to, &["./lib/*"])?;
        let libraries = guest::only_entry(&to.join("lib"))?;
        Ok(Self { program: to.join("usr/bin/grub-mkimage"), libraries })
    }

    /// Puts an image together of modules that are in a folder: those of `parts`, and what they need.
    pub(crate) fn run(
        &self,
        modules: &Path,
        parts: &[&str],
        wanted: &Image<'_>,
        to: &Path,
    ) -> Result<()> {
        let mut mkimage = Command::new(&self.program);
        mkimage.env("LD_LIBRARY_PATH", &self.libraries);
        mkimage.args(["--format", FORMAT, "--directory"]).arg(modules);
        if let Some(disk) = wanted.disk {
            mkimage.arg("--memdisk").arg(disk);
        }
        if let Some(commands) = wanted.commands {
            mkimage.arg("--config").arg(commands);
        }
        // Behind the disk, which sets a prefix of its own.
        mkimage.args(["--prefix", wanted.prefix]).arg("--output").arg(to).args(parts);
        output_of(&mut mkimage).map(drop)
    }
}

/// What is particular to an image.
pub(crate) struct Image<'a> {
    /// Where it looks for `grub.cfg`, and for modules.
    pub(crate) prefix: &'a str,
    /// A file with commands that are run first.
    pub(crate) commands: Option<&'a Path>,
    /// A disk that it has in memory.
    pub(crate) disk: Option<&'a Path>,
}

/// The older one, which runs on more machines, serves both series. The library is the only one of its
/// libraries that not every Debian has.
fn tool_packages() -> Result<PackageSet> {
    let native = apt::native()?;
    Ok(PackageSet {
        name: "grub-mkimage",
        releases: &[Release::Bookworm],
        what: "the program that puts GRUB together (Debian's grub-mkimage)",
        parts: vec![part("grub-common", native, "2.06-"), part("libdevmapper1.02.1", native, "")],
        is_one_build: false,
    })
}

/// A package in the versions that start so.
fn part(name: &'static str, architecture: &'static str, start: &'static str) -> Part {
    let choose = move |apt: &Apt| {
        let name = format!("{name}:{architecture}");
        pick(&name, &apt.versions(&name)?, start)
    };
    Part { file: format!("{name}_{start}*_{architecture}.deb"), choose: Box::new(choose) }
}

/// Those of a package's versions that start so, as apt is asked for them.
fn pick(name: &str, versions: &[String], start: &str) -> Result<Vec<String>> {
    let fit = versions.iter().filter(|version| version.starts_with(start));
    let names: Vec<String> = fit.map(|version| format!("{name}={version}")).collect();
    if !names.is_empty() {
        return Ok(names);
    }
    let offer = match versions {
        [] => "none at all".into(),
        versions => format!("only {}", versions.join(", ")),
    };
    Err(Failure::new(format!(
        "the machine's package sources offer no version {start}* of {name}, but {offer}; they have \
         to be Debian's"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_a_series_are_picked() {
        let versions = ["2.14-1", "2.12-9+deb13u1", "2.12-1~bpo12+1"].map(String::from);
        let picked = pick("grub:amd64", &versions, "2.12-").unwrap();
        assert_eq!(picked, ["grub:amd64=2.12-9+deb13u1", "grub:amd64=2.12-1~bpo12+1"]);
        let failure = pick("grub:amd64", &versions[..1], "2.12-").unwrap_err().to_string();
        assert!(failure.contains("2.12-* of grub:amd64, but only 2.14-1;"), "{failure}");
        let failure = pick("grub:amd64", &[], "2.12-").unwrap_err().to_string();
        assert!(failure.contains("but none at all"), "{failure}");
    }
}
