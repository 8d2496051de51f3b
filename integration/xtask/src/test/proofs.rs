//! Guests that are saved and moved while they count, write to a disk and talk over a network, and that
//! have to notice nothing: what `integration/proof` does, in software and on KVM.

use std::process::Command;

use crate::boot;
use crate::failure::Result;
use crate::witness::{self, Witness, cmdline};

use super::log::Log;

/// How often guests are saved, a second of running before each: in every run, and in the long ones.
const SAVES: u32 = 10;
const MANY_SAVES: u32 = 60;

/// What a guest writes over and over, in MiB, and how much of it a second.
const MEMORY: u32 = 16;
const RATE: u32 = 16;

pub(super) fn software_snapshots(log: &mut Log) -> Result<()> {
    snapshots(log, SAVES)
}

pub(super) fn software_minute(log: &mut Log) -> Result<()> {
    snapshots(log, MANY_SAVES)
}

fn snapshots(log: &mut Log, saves: u32) -> Result<()> {
    let witness = Witness::make("snapshots")?;
    let mut proof = here("snapshots", &witness)?;
    log.run(proof.args(["--saves", &saves.to_string()]))?;
    witness.check_disk()
}

/// What is run on this machine.
fn here(what: &str, witness: &Witness) -> Result<Command> {
    let vmm = boot::build()?;
    let mut proof = Command::new(witness::build()?);
    proof.arg(what).arg("--vmm").arg(vmm).args(["--backend", "interp"]);
    proof.arg("--kernel").arg(&witness.kernel).arg("--initramfs").arg(&witness.initramfs);
    proof.arg("--disk").arg(&witness.disk);
    proof.arg("--folder").arg(witness.folder.path().join("proof"));
    proof.arg("--cmdline").arg(cmdline(MEMORY, RATE));
    Ok(proof)
}
