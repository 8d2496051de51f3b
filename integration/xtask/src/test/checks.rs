//! The steps that Cargo does.

use std::process::Command;
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::folders;
use crate::fuzz;
use crate::packages::{self, Tool};
use crate::power::Compiler;
use crate::program::{cargo, output_of};
use crate::toolchain::Toolchain;
use crate::vmms;

use super::log::Log;
use super::members;
use super::on_host::xtask;

const DENY_WARNINGS: [&str; 3] = ["--", "--deny", "warnings"];

/// Every set of features that a user may choose: a package, and what Cargo is told.
const FEATURES: &[(&str, &[&str])] = &[
    ("arch-ppc64", &[]),
    ("arch-ppc64", &["--no-default-features"]),
    ("arch-ppc64", &["--features", "kvm-ioctls"]),
    ("arch-ppc64", &["--features", "schema"]),
    ("vof-bench", &[]),
    ("vof-device", &[]),
    ("vof-device", &["--no-default-features"]),
    ("vof-device", &["--features", "netboot"]),
    ("vof-device", &["--no-default-features", "--features", "netboot"]),
    ("vof-device", &["--features", "test-utils"]),
    ("vof-device", &["--no-default-features", "--features", "test-utils"]),
    ("example-vmm", &[]),
    ("interp", &[]),
    ("interp", &["--no-default-features"]),
    ("interp", &["--no-default-features", "--features", "board"]),
    ("interp", &["--no-default-features", "--features", "serde"]),
    ("kvm-ppc64", &[]),
    ("kvm-ppc64", &["--no-default-features"]),
    ("pseries-devices", &[]),
    ("pseries-devices", &["--features", "test-utils"]),
    ("pseries-devices", &["--features", "vof"]),
    ("pseries-vmm", &[]),
    ("pseries-vmm", &["--no-default-features"]),
];

/// How the names of tests begin that need tools: they are `#[ignore]`d, and `tools` runs them.
const TOOLS: &str = "tools_";

/// How the names of tests begin that are wide: they are `#[ignore]`d, and `wide` runs them.
const WIDE: &str = "wide_";

pub(super) fn fmt(log: &mut Log) -> Result<()> {
    component("fmt", "rustfmt")?;
    log.run(workspace("fmt").args(["--all", "--check"]))
}

pub(super) fn clippy(log: &mut Log) -> Result<()> {
    component("clippy", "clippy")?;
    packages::ensure(&[Tool::Libfdt])?;
    let mut cargo = workspace("clippy");
    cargo.args(["--workspace", "--all-targets", "--all-features"]);
    log.run(cargo.args(DENY_WARNINGS))
}

pub(super) fn features(log: &mut Log) -> Result<()> {
    component("clippy", "clippy")?;
    for (package, features) in FEATURES {
        let mut cargo = workspace("clippy");
        cargo.args(["--package", package, "--all-targets"]).args(*features);
        log.run(cargo.args(DENY_WARNINGS))?;
    }
    published_without_serde(log)
}

/// Whoever saves no machine can have the published crates without serde, what they need included.
fn published_without_serde(log: &mut Log) -> Result<()> {
    for member in members::all()?.iter().filter(|member| member.is_published) {
        let mut tree = workspace("tree");
        tree.args(["--package", &member.name, "--no-default-features"]);
        let listed = output_of(tree.args(["--edges", "normal", "--prefix", "none"]))?;
        log.add(listed.as_bytes())?;
        if let Some(serde) = listed.lines().find(|line| line.starts_with("serde")) {
            let name = &member.name;
            return Err(Failure::new(format!("{name} without default features needs {serde}")));
        }
    }
    Ok(())
}

pub(super) fn doc(log: &mut Log) -> Result<()> {
    let mut cargo = workspace("doc");
    cargo.args(["--workspace", "--no-deps", "--all-features"]);
    log.run(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
}

pub(super) fn unit(log: &mut Log) -> Result<()> {
    packages::ensure(&[Tool::Libfdt])?;
    log.run(workspace("test").args(["--workspace", "--all-features"]))
}

pub(super) fn unit_no_vof(log: &mut Log) -> Result<()> {
    log.run(workspace("test").args(["--package", "pseries-vmm", "--no-default-features"]))
}

/// Tests that `cargo test` leaves out, as they need tools that not everybody has.
pub(super) fn tools(log: &mut Log) -> Result<()> {
    packages::ensure(&[Tool::PowerBinutils, Tool::PowerCompiler, Tool::DeviceTreeCompiler])?;
    let mut cargo = workspace("test");
    // As they are built for `unit`.
    cargo.args(["--workspace", "--all-features", "--tests"]);
    log.run(cargo.args(["--", "--ignored", TOOLS]))
}

/// The tests of that name, with optimisation. One of them may be at work for hours, and Cargo then
/// says nothing.
pub(super) fn wide(log: &mut Log) -> Result<()> {
    packages::ensure(&[Tool::Libfdt])?;
    log.allow_silence(Duration::from_secs(4 * 3600));
    let mut cargo = workspace("test");
    cargo.args(["--release", "--workspace", "--all-features"]);
    log.run(cargo.args(["--", "--ignored", "--nocapture", WIDE]))
}

/// Floods that take too long without optimisation. They tell the VMM's memory.
pub(super) fn hostile(log: &mut Log) -> Result<()> {
    let mut cargo = workspace("test");
    vmms::name(cargo.args(["--release", "--test", "hostile"]));
    log.run(cargo.args(["--", "--nocapture", "--test-threads", "1"]))
}

pub(super) fn oldest_rust(log: &mut Log) -> Result<()> {
    let mut cargo = Toolchain::make()?.cargo();
    // Tests and benches are for whoever works on this, with today's Rust.
    log.run(cargo.args(["check", "--workspace", "--all-features"]))
}

/// The fuzzers' own workspace, and half a minute of each.
pub(super) fn fuzz(log: &mut Log) -> Result<()> {
    component("fmt", "rustfmt")?;
    log.run(cargo().arg("fmt").arg("--check").current_dir(fuzz::workspace()))?;
    // Of a number: what is the same passes again. New things are for `cargo xtask fuzz` to find.
    log.run(xtask().args(["fuzz", "--seconds", "30", "--jobs", "2", "--seed", "1"]))
}

/// As a person would, from what was found before.
pub(super) fn fuzz_long(log: &mut Log) -> Result<()> {
    log.run(xtask().args(["fuzz", "--seconds", "1800", "--jobs", "2"]))
}

/// Only for POWER hosts is the code for their KVM compiled.
pub(super) fn clippy_power(log: &mut Log) -> Result<()> {
    log.run(&mut Compiler::find()?.check())
}

/// This toolchain's Cargo on the workspace.
fn workspace(subcommand: &str) -> Command {
    let mut cargo = cargo();
    cargo.arg(subcommand).current_dir(folders::workspace());
    cargo
}

/// Components of the toolchain are not packages: only whoever installed it can add one.
fn component(subcommand: &str, name: &str) -> Result<()> {
    let version = output_of(cargo().args([subcommand, "--version"]));
    version.map(drop).map_err(|_| {
        Failure::new(format!(
            "this Rust toolchain has no {name}; add it with `rustup component add {name}`, or \
             install your system's package of it"
        ))
    })
}
