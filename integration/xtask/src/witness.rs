//! The guest that notices when it is saved or moved badly, and the program that saves and moves it: the
//! package `proof`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::boot;
use crate::cpio::Archive;
use crate::failure::{Attempt, Result};
use crate::folders;
use crate::guest::{self, Guest, NO_WATCHDOGS, QUICK};
use crate::modules;
use crate::packages::{self, Tool};
use crate::power;
use crate::program::{output_of, tool};
use crate::user_programs;

/// What notices things, and what runs it.
const PROGRAM: &str = "witness";
const SCRIPT: &str = include_str!("../guest/witness");

/// What the guest's kernel needs besides.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "crc32c_generic", "ext4"];

/// A file system with its journal, and twice what the program writes.
const DISK_BYTES: u64 = 24 << 20;

/// The files of a guest that notices things; the disk is one that is written to.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) disk: PathBuf,
    pub(crate) folder: folders::TemporaryFolder,
}

impl Witness {
    /// Makes them, in a folder of that name.
    pub(crate) fn make(name: &str) -> Result<Self> {
        packages::ensure(&[Tool::PowerCompiler, Tool::PowerLibrary, Tool::Ext4])?;
        let guest = guest::make(false)?;
        let folder = folders::TemporaryFolder::make(&guest::folder(), name)?;
        let initramfs = folder.path().join("witness.cpio.gz");
        folders::write(&initramfs, &disk_of_programs(&guest, folder.path())?)?;
        let disk = folder.path().join("witness.img");
        make_disk(&disk)?;
        Ok(Self { kernel: guest.kernel, initramfs, disk, folder })
    }

    /// The program that saves and moves guests, with this guest, on the processor in software.
    pub(crate) fn here(&self, what: &str) -> Result<Command> {
        let vmm = boot::build()?;
        let mut proof = Command::new(boot::build_package("proof")?);
        proof.arg(what).arg("--vmm").arg(vmm).args(["--backend", "interp"]);
        proof.arg("--kernel").arg(&self.kernel).arg("--initramfs").arg(&self.initramfs);
        proof.arg("--disk").arg(&self.disk);
        proof.arg("--folder").arg(self.folder.path().join("proof"));
        Ok(proof)
    }

    /// Whether the file system is whole: e2fsck(8) finds nothing.
    pub(crate) fn check_disk(&self) -> Result<()> {
        output_of(tool("e2fsck").args(["-f", "-n"]).arg(&self.disk)).map(drop)
    }
}

/// The command line of its kernel: so much memory is written, at that rate a second.
pub(crate) fn cmdline(mib: u32, rate: u32) -> String {
    format!("{QUICK} {NO_WATCHDOGS} quiet autorun=/bin/{PROGRAM} memory={mib} rate={rate}")
}

/// The same where the kernel watches its CPUs, and what it says of them is looked for.
pub(crate) fn watched_cmdline(mib: u32, rate: u32) -> String {
    format!("{QUICK} quiet watched autorun=/bin/{PROGRAM} memory={mib} rate={rate}")
}

/// The program that saves and moves guests, for POWER hosts.
pub(crate) fn build_for_power() -> Result<PathBuf> {
    power::build_package("proof")
}

/// The usual guest with the program and the modules besides.
fn disk_of_programs(guest: &Guest, scratch: &Path) -> Result<Vec<u8>> {
    let options = ["-maltivec", "-pthread"];
    let program = user_programs::compile("powerpc64le-linux-gnu-gcc", &options, PROGRAM, scratch)?;
    let mut archive = Archive::default();
    archive.program("bin/witness", SCRIPT.as_bytes());
    archive.program("bin/witness-program", &program);
    let modules = modules::archive(guest, "witness-modules", &MODULES)?;
    guest.with(&[archive.finish(), folders::read(&modules)?])
}

fn make_disk(to: &Path) -> Result<()> {
    let file = File::create(to).attempt(|| format!("write {}", to.display()))?;
    file.set_len(DISK_BYTES).attempt(|| format!("write {}", to.display()))?;
    output_of(tool("mke2fs").args(["-q", "-t", "ext4"]).arg(to)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_loads_the_modules_and_runs_the_program() {
        let loads = MODULES.join(" ");
        assert!(SCRIPT.contains(&format!("for module in {loads}; do")));
        assert!(SCRIPT.contains("\nwitness-program /mnt/"));
        let words = cmdline(3, 4);
        assert!(words.ends_with(" autorun=/bin/witness memory=3 rate=4"));
        assert!(SCRIPT.contains("grep -qw watched") && !watched_cmdline(3, 4).contains("nowatch"));
    }
}
