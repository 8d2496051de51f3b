//! A big-endian guest: Linux for ppc64 with ELFv1, which no release of Debian has. Debian's cross
//! compiler builds it from Debian's source of Linux, with a small configuration, and the one program
//! of its initial RAM disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::apt::Release;
use crate::cache::{self, Fetched, PackageSet, Part};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest;
use crate::packages::{self, Tool};
use crate::program::{output_of, progress, run};
use crate::user_programs::compile;

/// What the kernel has, for `make allnoconfig`.
const CONFIG: &str = include_str!("../guest/big_endian/config");

/// The guest's first program, which becomes `/init`.
const INIT: &str = include_str!("../guest/big_endian/init.c");

/// How the names of the cross compiler's programs begin.
const CROSS: &str = "powerpc64-linux-gnu-";

/// What builds Linux.
const TOOLS: [Tool; 6] = [
    Tool::BigEndianCompiler,
    Tool::BigEndianLibrary,
    Tool::Make,
    Tool::Flex,
    Tool::Bison,
    Tool::Calculator,
];

/// The files of a big-endian guest.
#[derive(Debug)]
pub(crate) struct BigEndian {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// An initial RAM disk with kernel and RAM disk for it to start.
    pub(crate) kexec: PathBuf,
}

/// Fetches what is missing and builds what is out of date.
pub(crate) fn make(refresh: bool) -> Result<BigEndian> {
    packages::ensure(&TOOLS)?;
    let linux = Linux::find(refresh)?;
    let built = linux.build()?;
    let in_folder = |name| guest::folder().join(name);
    let guest = BigEndian {
        kernel: in_folder("vmlinux-6.1-big-endian"),
        initramfs: in_folder("big-endian.cpio"),
        kexec: in_folder("big-endian-kexec.cpio"),
    };
    let files = [&guest.kernel, &guest.initramfs, &guest.kexec];
    guest::build("big-endian", &format!("{}{INIT}", linux.source), &files, |scratch| {
        let kernel = folders::read(&built)?;
        folders::write(&guest.kernel, &kernel)?;
        let compiler = format!("{CROSS}gcc");
        let init = compile(&compiler, &["-mcpu=power8"], "big_endian/init", scratch)?;
        let initramfs = initramfs(&init).finish();
        let mut kexec = self::initramfs(&init);
        kexec.folder("boot");
        kexec.file("boot/vmlinux", &kernel);
        kexec.file("boot/initramfs.cpio", &initramfs);
        folders::write(&guest.initramfs, &initramfs)?;
        folders::write(&guest.kexec, &kexec.finish())
    })?;
    Ok(guest)
}

/// Not compressed: the kernel need not know how to decompress it.
fn initramfs(init: &[u8]) -> Archive {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys"] {
        archive.folder(folder);
    }
    // The kernel opens it for init before there is anybody to mount devtmpfs.
    archive.character_device("dev/console", 5, 1);
    archive.program("init", init);
    archive
}

/// The kernel, and what it is built of.
struct Linux {
    package: Fetched,
    /// The same text means the same kernel.
    source: String,
}

impl Linux {
    fn find(refresh: bool) -> Result<Self> {
        let package = cache::fetch(&source_package(), refresh)?;
        let compiler = output_of(Command::new(format!("{CROSS}gcc")).arg("--version"))?;
        let source = format!("{}{compiler}{CONFIG}", package.manifest);
        Ok(Self { package, source })
    }

    /// Builds the kernel where it is missing or out of date. It is kept with what is downloaded, as
    /// it takes more time than that.
    fn build(&self) -> Result<PathBuf> {
        let folder = folders::cache()?.join("linux-big-endian");
        let kernel = folder.join("vmlinux");
        guest::build_in(&folder, "big-endian-kernel", &self.source, &[&kernel], |scratch| {
            self.build_in(scratch, &kernel)
        })?;
        Ok(kernel)
    }

    fn build_in(&self, scratch: &Path, kernel: &Path) -> Result<()> {
        let archives = "usr/src/linux-source-6.1.tar.xz";
        deb::unpack(self.package.package("linux-source-")?, scratch, &[&format!("./{archives}")])?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(scratch.join(archives));
        run(tar.arg("--directory").arg(scratch))?;
        let tree = scratch.join("linux-source-6.1");
        let config = scratch.join("config");
        folders::write(&config, CONFIG.as_bytes())?;
        progress!("building Linux 6.1 for big-endian POWER (two minutes on four processors)");
        let make = |target: &str| {
            let processors = thread::available_parallelism().map_or(1, usize::from);
            let mut make = Command::new("make");
            make.arg("--silent").arg("--directory").arg(&tree).arg(format!("--jobs={processors}"));
            make.args(["ARCH=powerpc", &format!("CROSS_COMPILE={CROSS}"), target]);
            // The same source makes the same kernel.
            make.env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970");
            make.env("KBUILD_BUILD_USER", "xtask").env("KBUILD_BUILD_HOST", "pseries");
            make.env("KCONFIG_ALLCONFIG", &config);
            // Cargo's own jobs are none of make's.
            make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
            make
        };
        run(&mut make("allnoconfig"))?;
        let made = folders::read(&tree.join(".config"))?;
        if let Some(missing) = missing(&String::from_utf8_lossy(&made)) {
            return Err(Failure::new(format!("this Linux knows no {missing}")));
        }
        run(&mut make("vmlinux"))?;
        guest::take(&tree.join("vmlinux"), kernel)
    }
}

/// The first option of [`CONFIG`] that is not in what was made of it.
fn missing(made: &str) -> Option<&'static str> {
    let mut wanted = CONFIG.lines().filter(|line| line.starts_with("CONFIG_"));
    wanted.find(|option| !made.lines().any(|line| line == *option))
}

fn source_package() -> PackageSet {
    PackageSet {
        name: "linux-source",
        releases: &[Release::Bookworm],
        what: "the source of Linux 6.1 (Debian's, 140 MB)",
        parts: vec![Part::any("linux-source-6.1", "all")],
        is_one_build: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_did_not_come_about_is_named() {
        let all = CONFIG.replace("# ", "#");
        assert_eq!(missing(&all), None);
        assert_eq!(missing(&all.replace("CONFIG_VSX=y", "")), Some("CONFIG_VSX=y"));
    }
}
