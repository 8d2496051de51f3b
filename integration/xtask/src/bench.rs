//! `cargo xtask bench`: what things cost, beside what they may cost.

use std::path::PathBuf;
use std::process::Command;

use clap::{Args, Subcommand};

use crate::boot_bench;
use crate::bootdisk_bench;
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::io_bench;
use crate::largest_bench;
use crate::moving_bench;
use crate::packages::{self, Tool};
use crate::program::{cargo, ended, line, run};
use crate::start_bench;

/// Measure what things cost, beside their targets
///
/// Times depend on the machine, and on what else it does. They are judged by other work that is
/// measured in the same run, and so depends on them in the same way. A target that is missed is no
/// failure, unless you say --check.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// Calls of the client interface, on trees of up to 100,000 nodes, beside libfdt; claims
    Tree(Tree),
    /// The longest that one call of the client interface takes, of each service
    Worst {
        /// Fail where a target is missed by more than twice
        #[arg(long)]
        check: bool,
    },
    /// What a client reads of a disk a second, beside plain reads of the host
    Disk {
        /// Fail where a target is missed by more than twice
        #[arg(long)]
        check: bool,
    },
    /// How fast the processor in software computes, and four of them on two cores beside one
    Cpu,
    /// Guests of 1, 2 and 4 CPUs in software that start another kernel: what several CPUs take,
    /// beside what one takes
    Kexec,
    /// The tree of a machine of 2,048 CPUs and 16 TiB on 256 NUMA nodes, and what calls of the client
    /// interface take of a kernel's start on it, in software
    Largest,
    /// A guest that uses its disk and its network, on KVM in an emulated POWER host, beside QEMU
    /// there
    Io {
        /// How often each is run
        #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,

        /// What the guest uses
        #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
        what: io_bench::What,

        /// Measure on a host whose clock goes by the instructions that it executes, whatever else
        /// this machine does: a partition, as the emulator cannot have bare metal do that
        #[arg(long)]
        counted: bool,
    },
    /// An installed Debian from start to GRUB's menu and to a login on the processor in software,
    /// beside QEMU with SLOF
    Bootdisk {
        /// How often each is run
        #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,
    },
    /// A guest from the start of a process to its first instruction, its kernel, its first program and
    /// its end, and the memory that goes for it, beside QEMU: in software, and on KVM in an emulated
    /// POWER host
    Start {
        /// How often each is run
        #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,

        /// Where
        #[arg(long, value_name = "PLACE", value_enum, default_value_t)]
        place: start_bench::Where,

        /// Write the figures to a file, for docs/performance/phases.py
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
    },
    /// A guest of 1 GiB that is saved and restored on the processor in software: how long each takes,
    /// what a saved machine takes of a disk
    Snapshot {
        /// How often it is saved
        #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        runs: u32,
    },
    /// A guest with 256 MiB that it has written, moved from process to process on the processor in
    /// software: how long it is not there, by its own clock and by that of who talks to it
    Migrate {
        /// How often it is moved, at each rate of writing
        #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        runs: u32,
    },
    /// A guest from start to power-off on the processor in software, beside QEMU
    Boot {
        /// How often each is run
        #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,
    },
}

#[derive(Debug, Args)]
struct Tree {
    /// Fail where a target is missed by more than twice
    #[arg(long)]
    check: bool,

    /// Write the figures to a file, for docs/performance/plot.py
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Measure without libfdt, which has to be installed
    #[arg(long)]
    no_libfdt: bool,
}

impl Bench {
    pub(crate) fn run(self) -> Result<u8> {
        match self.suite {
            Suite::Tree(tree) => tree.run(),
            Suite::Worst { check } => worst(check),
            Suite::Disk { check } => disk(check),
            Suite::Cpu => {
                let mut cargo = cargo();
                cargo.args(["bench", "--package", "interp"]);
                cargo.args(["--bench", "loops", "--bench", "scaling"]);
                run(cargo.current_dir(folders::workspace()))?;
                Ok(0)
            }
            Suite::Kexec => boot_bench::kexec(),
            Suite::Largest => largest_bench::run(),
            Suite::Io { runs, what, counted } => io_bench::run(runs, what, counted),
            Suite::Bootdisk { runs } => bootdisk_bench::run(runs),
            Suite::Start { runs, place, csv } => start_bench::run(runs, place, csv),
            Suite::Snapshot { runs } => moving_bench::snapshot(runs),
            Suite::Migrate { runs } => moving_bench::migrate(runs),
            Suite::Boot { runs } => boot_bench::run(runs),
        }
    }
}

impl Tree {
    fn run(self) -> Result<u8> {
        let mut features: &[&str] = &[];
        if !self.no_libfdt {
            packages::ensure(&[Tool::Libfdt])?;
            features = &["--features", "libfdt"];
        }
        let mut bench = built(features)?;
        if self.check {
            bench.arg("--check");
        }
        if let Some(file) = self.csv {
            bench.arg("--csv").arg(file);
        }
        status_of(bench)
    }
}

fn worst(check: bool) -> Result<u8> {
    let mut bench = built(&[])?;
    bench.arg("--worst").args(check.then_some("--check"));
    status_of(bench)
}

fn disk(check: bool) -> Result<u8> {
    let mut bench = built(&[])?;
    bench.arg("--disk").arg(folders::target()).args(check.then_some("--check"));
    status_of(bench)
}

/// `vof-bench`, built.
fn built(features: &[&str]) -> Result<Command> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "vof-bench"]).args(features);
    run(build.current_dir(folders::workspace()).env("CARGO_TARGET_DIR", folders::target()))?;
    Ok(Command::new(folders::target().join("release/vof-bench")))
}

/// Runs a program; its status is ours.
fn status_of(mut bench: Command) -> Result<u8> {
    let status = bench.status().attempt(|| format!("run {}", line(&bench)))?;
    match status.code() {
        Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
        None => Err(Failure::new(format!("vof-bench {}", ended(status)))),
    }
}
