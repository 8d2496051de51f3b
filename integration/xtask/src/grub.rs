//! GRUB for POWER machines with an Open Firmware: Debian's, as one ELF file with a menu, a disk in
//! memory, and the guest's kernel on that.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Apt, POWER, Release};
use crate::cache::{self, Fetched, PackageSet, Part};
use crate::deb;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest::{self, Guest};
use crate::program::output_of;

/// What GRUB reads when it starts: `/grub.cfg` of its disk.
const MENU: &str = include_str!("../grub/grub.cfg");

/// A text to be shown.
const HELLO: &str = include_str!("../grub/hello.txt");

/// What GRUB is put together from, besides its kernel and what these need.
const PARTS: [&str; 19] = [
    "normal",
    "minicmd",
    "configfile",
    "help",
    "echo",
    "test",
    "true",
    "sleep",
    "ls",
    "cat",
    "lsmmap",
    "terminal",
    "serial",
    "halt",
    "reboot",
    "linux",
    "gzio",
    "memdisk",
    "tar",
];

/// Where GRUB looks for `grub.cfg`.
const PREFIX: &str = "(memdisk)";

/// The name of the images' format, in grub-mkimage(1) and in the modules' path.
const FORMAT: &str = "powerpc-ieee1275";

/// The package with the modules.
const MODULES: &str = "grub-ieee1275-bin";

/// A series of GRUB, as Debian's versions begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Series {
    /// 2.06, Debian 12's.
    Older,
    /// 2.12, Debian 13's; Debian 12's backports have it as well.
    Newer,
}

/// The images.
#[derive(Debug)]
pub(crate) struct Images {
    /// GRUB 2.06.
    pub(crate) older: PathBuf,
    /// GRUB 2.12.
    pub(crate) newer: PathBuf,
}

/// Fetches what is missing and puts together what is out of date.
pub(crate) fn make(refresh: bool) -> Result<Images> {
    let guest = guest::make(refresh)?;
    let tools = cache::fetch(&tools()?, refresh)?;
    let disk = make_disk(&guest)?;
    let make = |series: Series| {
        let modules = cache::fetch(&series.modules(), refresh)?;
        make_image(series, &tools, &modules, &disk)
    };
    Ok(Images { older: make(Series::Older)?, newer: make(Series::Newer)? })
}

/// Whether a path is that of a file that [`make`] makes.
pub(crate) fn is_made(path: &Path) -> bool {
    let name = path.file_name();
    let is_image = |series: Series| name == Some(OsStr::new(series.image()));
    guest::is_made(path) && (is_image(Series::Older) || is_image(Series::Newer))
}

impl Series {
    /// The file name of its image, in the guest's folder.
    fn image(self) -> &'static str {
        match self {
            Self::Older => "grub-2.06.elf",
            Self::Newer => "grub-2.12.elf",
        }
    }

    /// A word for file names.
    fn name(self) -> &'static str {
        match self {
            Self::Older => "grub-2.06",
            Self::Newer => "grub-2.12",
        }
    }

    fn modules(self) -> PackageSet {
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

/// What puts images together, for this machine: the older one, which runs on more machines, serves
/// both series. The library is the only one of its libraries that not every Debian has.
fn tools() -> Result<PackageSet> {
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

/// The disk in memory.
struct Disk {
    file: PathBuf,
    /// What it was made of.
    source: String,
}

fn make_disk(guest: &Guest) -> Result<Disk> {
    let file = guest::folder().join("grub-disk.tar");
    let source = [&guest.source, MENU, HELLO].concat();
    guest::build("grub-disk", &source, &[&file], |unpacked| {
        let files = unpacked.join("files");
        folders::make(&files)?;
        folders::write(&files.join("grub.cfg"), MENU.as_bytes())?;
        folders::write(&files.join("hello.txt"), HELLO.as_bytes())?;
        // GRUB keeps the whole disk in its heap, which is small in the older one.
        let kernel = guest::gzip(&folders::read(&guest.kernel)?)?;
        folders::write(&files.join("vmlinux.gz"), &kernel)?;
        folders::write(&files.join("initramfs.cpio.gz"), &folders::read(&guest.initramfs)?)?;
        let made = unpacked.join("disk.tar");
        let mut tar = Command::new("tar");
        tar.args(["--create", "--format=ustar", "--sort=name", "--mtime=@0"])
            .args(["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rw,go=r"])
            .arg("--file")
            .arg(&made)
            .arg("--directory")
            .arg(&files)
            .args(["grub.cfg", "hello.txt", "initramfs.cpio.gz", "vmlinux.gz"]);
        output_of(&mut tar)?;
        guest::take(&made, &file)
    })?;
    Ok(Disk { file, source })
}

fn make_image(series: Series, tools: &Fetched, modules: &Fetched, disk: &Disk) -> Result<PathBuf> {
    let image = guest::folder().join(series.image());
    let [tools_made_of, modules_made_of] = [tools, modules].map(|set| set.manifest.as_str());
    let source = [tools_made_of, modules_made_of, &disk.source, PREFIX, &PARTS.join(" ")].concat();
    guest::build(series.name(), &source, &[&image], |unpacked| {
        deb::unpack(tools.package("grub-common_")?, unpacked, &["./usr/bin/grub-mkimage"])?;
        deb::unpack(tools.package("libdevmapper1.02.1_")?, unpacked, &["./lib/*"])?;
        let folder = format!("usr/lib/grub/{FORMAT}");
        deb::unpack(modules.package(MODULES)?, unpacked, &[&format!("./{folder}/*")])?;
        let made = unpacked.join(series.image());
        let mut mkimage = Command::new(unpacked.join("usr/bin/grub-mkimage"));
        mkimage
            .env("LD_LIBRARY_PATH", guest::only_entry(&unpacked.join("lib"))?)
            .args(["--format", FORMAT, "--directory"])
            .arg(unpacked.join(&folder))
            .arg("--memdisk")
            .arg(&disk.file)
            // Behind the disk, which sets a prefix of its own.
            .args(["--prefix", PREFIX])
            .arg("--output")
            .arg(&made)
            .args(PARTS);
        output_of(&mut mkimage)?;
        guest::take(&made, &image)
    })?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_are_told_from_other_files() {
        let file = |name: &str| guest::folder().join(name);
        assert!(is_made(&file("grub-2.06.elf")) && is_made(&file("grub-2.12.elf")));
        assert!(!is_made(&file("vmlinux-6.1")));
        assert!(!is_made(Path::new("/somewhere/grub-2.06.elf")));
    }

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

    #[test]
    fn the_menu_names_what_is_on_the_disk() {
        for name in ["hello.txt", "vmlinux.gz", "initramfs.cpio.gz"] {
            assert!(MENU.contains(&format!("(memdisk)/{name}")), "{name}");
        }
    }
}
