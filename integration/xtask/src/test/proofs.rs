//! Guests that are saved and moved while they count, write to a disk and talk over a network, and that
//! have to notice nothing: what `integration/proof` does, in software and on KVM.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::failure::Result;
use crate::folders;
use crate::grub;
use crate::guest::{self, NO_WATCHDOGS, QUICK};
use crate::host::base_name;
use crate::program::{cargo, quoted};
use crate::witness::{self, Witness, cmdline, watched_cmdline};

use super::boots::{shows, tests_for_power};
use super::log::Log;
use super::on_host::on_host_with;

/// How often guests are saved, each time after a second: in every run, and in the long ones.
const SAVES: u32 = 10;
const KVM_SAVES: u32 = 5;
const MANY_SAVES: u32 = 60;

/// How often the line of a migration is cut, and its destination killed.
const CUTS: u32 = 20;
const KILLS: u32 = 3;
const KVM_CUTS: u32 = 4;
const KVM_KILLS: u32 = 1;
/// An emulated host sends some megabytes a second.
const KVM_DOWNTIME_MS: u32 = 20_000;

/// For how long guests stand still, in seconds.
const PAUSES: [&str; 4] = ["--seconds", "1", "--seconds", "60"];

/// What a guest writes over and over, in MiB, and how much of it a second.
const MEMORY: u32 = 16;
const RATE: u32 = 16;
const KVM_RATE: u32 = 2;

/// The guests of the tests of moments.
const MOMENTS_CLIENTS: [&str; 2] = ["moments.elf", "services.elf"];

pub(super) fn software_snapshots(log: &mut Log) -> Result<()> {
    software(log, "snapshots", &[("--saves", SAVES)])
}

pub(super) fn software_minute(log: &mut Log) -> Result<()> {
    software(log, "snapshots", &[("--saves", MANY_SAVES)])
}

pub(super) fn software_migrations(log: &mut Log) -> Result<()> {
    software(log, "migrations", &[("--cuts", CUTS), ("--kills", KILLS)])
}

pub(super) fn kvm_snapshots(log: &mut Log) -> Result<()> {
    kvm(log, "snapshots", &[("--saves", KVM_SAVES)])
}

pub(super) fn kvm_minute(log: &mut Log) -> Result<()> {
    kvm(log, "snapshots", &[("--saves", MANY_SAVES)])
}

pub(super) fn kvm_migrations(log: &mut Log) -> Result<()> {
    let downtime = ("--downtime-ms", KVM_DOWNTIME_MS);
    kvm(log, "migrations", &[downtime, ("--cuts", KVM_CUTS), ("--kills", KVM_KILLS)])
}

/// For longer than a kernel that watches its CPUs bears.
pub(super) fn software_pauses(log: &mut Log) -> Result<()> {
    let witness = Witness::make("pauses")?;
    let cmdline = watched_cmdline(MEMORY, RATE);
    log.run(witness.here("pauses")?.arg("--cmdline").arg(cmdline).args(PAUSES))?;
    witness.check_disk()
}

/// In GRUB's menu, and in the first part of Linux, which asks the client interface: by tests of the
/// VMM that count its guest's calls, and need a guest.
pub(super) fn software_moments(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let images = grub::make(false)?;
    let ran = |log: &mut Log, name: &str, image: &Path| {
        let mut cargo = cargo();
        cargo.args(["test", "--package", "pseries-vmm", "--test", "saved_moments"]);
        cargo.args(["--", "--ignored", "--exact", name]);
        cargo.envs(moments(&guest.kernel, &guest.initramfs, image));
        shows(&log.run_with_input(&mut cargo, "")?, &["test result: ok. 1 passed"])
    };
    for image in [&images.older, &images.newer] {
        ran(log, "a_grub_is_saved_in_its_menu", image)?;
    }
    ran(log, "a_linux_is_saved_within_prom_init", &images.newer)
}

/// The same, and at each call of small clients, among them CAS and those with open instances and claims.
pub(super) fn kvm_moments(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let images = grub::make(false)?;
    let tests = tests_for_power(log, &["--test", "saved_moments"])?;
    let clients = MOMENTS_CLIENTS
        .map(|name| folders::workspace().join("integration/vmm/tests/guests").join(name));
    let files = [&guest.kernel, &guest.initramfs, &images.older, &images.newer];
    let files = files.into_iter().chain(&clients).chain(&tests);
    let name = |file| base_name(file).map(Path::new);
    let (kernel, initramfs) = (name(&guest.kernel)?, name(&guest.initramfs)?);
    let mut commands = Vec::new();
    for test in &tests {
        for (image, which) in [(&images.older, " a_grub"), (&images.newer, "")] {
            let given = moments(kernel, initramfs, name(image)?).into_iter();
            let given = given.chain([("TEST_BACKEND", "kvm".into())]);
            let given = given.map(|(name, value)| format!("{name}={}", quoted(&value)));
            let given = given.collect::<Vec<_>>().join(" ");
            commands.push(format!("{given} ./{} --include-ignored{which}", base_name(test)?));
        }
    }
    let mut host = on_host_with("powernv9", files, &["sh", "-c", &commands.join(" && ")]);
    let said = log.run_with_input(&mut host, "")?;
    shows(&said, &["test result: ok. 1 passed", "test result: ok. 8 passed"])
}

/// What `integration/vmm/tests/saved_moments.rs` asks the environment for.
fn moments(kernel: &Path, initramfs: &Path, grub: &Path) -> [(&'static str, OsString); 5] {
    [
        ("MOMENTS_KERNEL", kernel.into()),
        ("MOMENTS_INITRAMFS", initramfs.into()),
        ("MOMENTS_CMDLINE", format!("{QUICK} {NO_WATCHDOGS} autotest").into()),
        ("MOMENTS_SHOWS", "GUEST-READY".into()),
        ("MOMENTS_GRUB", grub.into()),
    ]
}

pub(super) fn kvm_pauses(log: &mut Log) -> Result<()> {
    kvm_by(log, "pauses", &watched_cmdline(MEMORY, KVM_RATE), &PAUSES)
}

/// On this machine.
fn software(log: &mut Log, what: &str, counts: &[(&str, u32)]) -> Result<()> {
    let witness = Witness::make(what)?;
    let mut proof = witness.here(what)?;
    proof.arg("--cmdline").arg(cmdline(MEMORY, RATE));
    for (option, count) in counts {
        proof.arg(option).arg(count.to_string());
    }
    log.run(&mut proof)?;
    witness.check_disk()
}

/// On an emulated POWER host, in a folder with the files.
fn kvm(log: &mut Log, what: &str, counts: &[(&str, u32)]) -> Result<()> {
    let counts =
        counts.iter().flat_map(|(option, count)| [(*option).to_owned(), count.to_string()]);
    kvm_by(log, what, &cmdline(MEMORY, KVM_RATE), &counts.collect::<Vec<_>>())
}

fn kvm_by(log: &mut Log, what: &str, cmdline: &str, options: &[impl AsRef<OsStr>]) -> Result<()> {
    let witness = Witness::make(&format!("{what}-kvm"))?;
    let program = witness::build_for_power()?;
    let files = [&program, &witness.kernel, &witness.initramfs, &witness.disk];
    let mut proof = on_host_with("powernv9", files, &["./proof", what, "--vmm", "pseries-vmm"]);
    proof.args(["--backend", "kvm", "--memory", "256M", "--folder", "proofs"]);
    for (option, file) in ["--kernel", "--initramfs", "--disk"].into_iter().zip(&files[1..]) {
        proof.args([option, base_name(file)?]);
    }
    log.run(proof.arg("--cmdline").arg(cmdline).args(options))
}
