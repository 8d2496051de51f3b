//! `cargo xtask fuzz`: what guests and users give is made up, by libFuzzer, until something breaks.
//!
//! The fuzzers are the programs of the workspace `integration/fuzz`. They are built by any
//! toolchain that builds the rest: coverage is LLVM's, and stable compilers have it.

mod build;
mod corpus;
mod fuzzer;
mod plan;
mod run;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::program::{ended, line};

use self::plan::Plan;

/// A fuzzer.
#[derive(Debug)]
struct Target {
    name: &'static str,
    what: &'static str,
    /// The longest input in bytes that is made up.
    max_len: usize,
}

const fn target(name: &'static str, max_len: usize, what: &'static str) -> Target {
    Target { name, what, max_len }
}

/// All of them: the programs of `integration/fuzz/targets`.
const TARGETS: &[Target] = &[
    target("arguments", 2048, "client interface: argument arrays of anything, anywhere"),
    target("sequences", 2048, "client interface: good calls, each answer as a plain model says"),
    target("from_blob", 4096, "flattened trees: read, within the limits, written as they were"),
    target("cas", 4500, "architecture vectors: nothing is agreed on that one side cannot do"),
    target("elf", 2048, "programs and initrds: loaded where they were planned to be, or refused"),
    target("json", 2048, "configurations: what validates is a machine with a tree"),
    target("rtas", 2048, "RTAS: argument buffers of anything, anywhere"),
    target("nvram", 1024, "NVRAM: files of anything, calls and restarts, as a plain model says"),
    target("hotplug", 1024, "hotplug: calls about connectors, and a VMM that plugs and unplugs"),
    target("hpt", 1024, "hashed page tables: hypercalls, and CPUs that look for pages"),
    target("bus", 2048, "hypercalls: any registers, on a bus with all handlers"),
    target("xive", 1024, "XIVE: hypercalls and accesses of its pages, of anything, in any order"),
    target(
        "pci_config",
        1024,
        "PCI: RTAS calls, and accesses of the windows, of anything, anywhere",
    ),
    target("virtio_common", 2048, "virtio-pci: registers in any order and width, queues anywhere"),
    target("virtio_chains", 2048, "virtio devices: descriptors, rings and requests of anything"),
    target("device_states", 256, "saved devices: taken up, or refused with nothing changed"),
    target("requests", 1024, "API: requests of anything, in any pieces; answers that make sense"),
    target(
        "saved",
        256,
        "saved machines: files that were changed are taken up, or refused by name",
    ),
    target("moves", 256, "migrations: either side says anything; one side has the machine"),
    target("labels", 1024, "tables of partitions: read as made, and nothing outside of the disk"),
    target("iso9660", 1024, "ISO 9660: files found as made, and nothing outside of the disk"),
    target("fat", 1024, "FAT: files found as others wrote them, and nothing outside of the disk"),
    target("bootinfo", 1024, "bootinfo.txt: boots what it says, or nothing"),
];

/// Fuzz what takes input from guests and users
///
/// Runs each fuzzer for a minute, or those that are named. What a fuzzer finds to reach new code
/// is kept in target/fuzz/corpus and is where its next run starts from, with the inputs in
/// integration/fuzz/corpus.
#[derive(Debug, Args)]
#[command(after_help = help())]
pub(crate) struct Fuzz {
    /// Run these fuzzers only; see --list
    #[arg(value_name = "TARGET", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
    targets: Vec<String>,

    /// How long each fuzzer runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// How many run at a time; of a single TARGET, so many that share what they find
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,

    /// Make the inputs of this number and of those in the tree, the same each time, and keep none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seed: Option<u32>,

    /// Give this input to the fuzzer, once, and show what comes of it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "jobs", "seed"])]
    input: Option<PathBuf>,

    /// Write integration/fuzz/corpus anew: the fewest inputs that reach what all known ones do
    #[arg(long, conflicts_with_all = ["seconds", "jobs", "seed", "input"])]
    minimise: bool,

    /// Show the fuzzers, and run none
    #[arg(long, conflicts_with_all = ["seconds", "jobs", "seed", "input", "minimise"])]
    list: bool,
}

fn help() -> String {
    "Examples:\n  \
     cargo xtask fuzz\n  \
     cargo xtask fuzz rtas --seconds 600 --jobs 2\n  \
     cargo xtask fuzz rtas --input target/fuzz/findings/rtas/crash-0123abcd\n  \
     cargo xtask fuzz rtas --minimise\n\n\
     Exit status: 0 when nothing was found, 1 when something was, or the fuzzers could not be run. \
     A finding is a file; its path is shown, and the command that repeats it."
        .to_owned()
}

impl Fuzz {
    pub(crate) fn run(&self) -> Result<u8> {
        let targets: Vec<&'static Target> =
            TARGETS.iter().filter(|target| self.wants(target)).collect();
        if self.list {
            for target in targets {
                println!("{:<14}{}", target.name, target.what);
            }
            return Ok(0);
        }
        if let Some(input) = &self.input {
            let [target] = targets[..] else {
                return Err(Failure::new("--input is for one TARGET: name it"));
            };
            return repeat(target, input);
        }
        let programs = build::programs()?;
        if self.minimise {
            for target in targets {
                corpus::minimise(target, &programs)?;
            }
            return Ok(0);
        }
        // Several of one target share their corpus.
        let copies = if targets.len() == 1 { self.jobs } else { 1 };
        let targets =
            targets.iter().flat_map(|target| std::iter::repeat_n(*target, copies.into())).collect();
        let plan = Plan {
            targets,
            time: Duration::from_secs(self.seconds.into()),
            at_a_time: self.jobs.into(),
            seed: self.seed,
            programs,
        };
        run::run_all(&plan)
    }

    fn wants(&self, target: &Target) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|name| name == target.name)
    }
}

/// Runs one input once, for a person to look at.
fn repeat(target: &Target, input: &Path) -> Result<u8> {
    folders::read(input)?;
    let programs = build::programs()?;
    let mut program = std::process::Command::new(programs.join(target.name));
    program.args(fuzzer::LIMITS).arg(input).env("RUST_BACKTRACE", "1");
    // Nothing is found anew.
    program.arg(format!("-artifact_prefix={}/", findings(target)?.display()));
    let status = program.status().attempt(|| format!("run {}", line(&program)))?;
    if status.success() {
        println!("{}: nothing is wrong with {}", target.name, input.display());
        return Ok(0);
    }
    Err(Failure::new(format!("{} {}", target.name, ended(status))))
}

/// What the fuzzers keep.
fn folder() -> PathBuf {
    folders::target().join("fuzz")
}

/// Where the inputs go that break something.
fn findings(target: &Target) -> Result<PathBuf> {
    let folder = folder().join("findings").join(target.name);
    folders::make(&folder)?;
    Ok(folder)
}

/// The workspace of the fuzzers.
pub(crate) fn workspace() -> PathBuf {
    folders::workspace().join("integration/fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_programs() {
        let mut files: Vec<String> = std::fs::read_dir(workspace().join("targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort_unstable();
        let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
        let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
        for name in names {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }
}
