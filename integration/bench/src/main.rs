//! `vof-bench`: what a call of the client interface costs. `cargo xtask bench tree` runs it.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use vof_bench::memory::Counting;
use vof_bench::report::{Bound, Figure, number};
use vof_bench::suite::{self, Tree};
use vof_bench::unit::MILLISECOND;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures the client interface by hypercalls, as a guest makes them
#[derive(Debug, Parser)]
#[command(after_help = "Exit status: 0, whatever the figures are, but see --check.")]
struct Cli {
    /// Fail where a target is missed by more than twice
    #[arg(long)]
    check: bool,

    /// Write the figures of the trees to a file, for docs/performance/plot.py
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Measure the longest that one call can take, of each service, and nothing else
    #[arg(long, conflicts_with = "csv")]
    worst: bool,

    /// Measure the trees of the largest machines, and nothing else
    #[arg(long, conflicts_with_all = ["csv", "worst", "disk"])]
    machine: bool,

    /// Measure reads of a disk, which is a file of 256 MiB in this folder, and nothing else
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["csv", "worst"])]
    disk: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    println!("{}: {}\n", vof_bench::measure::machine(), vof_bench::measure::METHOD);
    if cli.worst {
        let fails = worst() && cli.check;
        return if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    if let Some(folder) = &cli.disk {
        return match vof_bench::disk::figures(folder) {
            Ok(figures) => told(&figures, cli.check),
            Err(error) => {
                eprintln!("vof-bench: no disk in {}: {error}", folder.display());
                ExitCode::FAILURE
            }
        };
    }
    if cli.machine {
        return told(&vof_bench::machine::figures(), cli.check);
    }
    println!("Linux's walk of the tree, and a random getprop; nanoseconds a call\n");
    println!(
        "  {:>7} {:>9} {:>6} {:>9} {:>7} {:>8} {:>9} {:>7} {:>7} {:>6}",
        "nodes", "calls", "walk", "libfdt", "times", "getprop", "libfdt", "times", "blob", "bytes"
    );
    let mut units = suite::Units::default();
    let mut trees = Vec::new();
    for nodes in suite::SIZES {
        let tree = suite::measure_tree(nodes, &mut units);
        println!("{}", row(&tree));
        trees.push(tree);
    }
    println!("\n  blob: nanoseconds a node for blob → tree → blob");
    println!("  bytes: host memory a node besides names and values\n");
    let mut figures = suite::figures(&trees, &suite::measure_claims(&mut units));
    figures.extend(vof_bench::machine::figures());
    let code = told(&figures, cli.check);
    if let Some(file) = cli.csv {
        if let Err(error) = std::fs::write(&file, csv(&trees)) {
            eprintln!("vof-bench: cannot write {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    code
}

/// Shows figures beside their targets.
fn told(figures: &[Figure], check: bool) -> ExitCode {
    println!("Targets\n");
    for figure in figures {
        println!("{figure}");
    }
    let fails = check && figures.iter().any(Figure::is_far_off);
    if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The longest calls, and whether a target is missed by far.
fn worst() -> bool {
    let figures = vof_bench::worst::figures();
    println!("The longest that one call takes, of each service, and when\n");
    for Figure { what, value, unit, .. } in &figures {
        println!("  {:>9} {unit}  {what}", number(*value));
    }
    let target = figures.first().map(|figure| match figure.bound {
        Bound::AtMost(most) | Bound::AtLeast(most) => most,
    });
    let missed = figures.iter().filter(|figure| !figure.is_met()).count();
    println!(
        "\n  The target is what {} accesses to guest memory take, in this run {} µs: {missed} miss it",
        number(Some(MILLISECOND)),
        number(target)
    );
    figures.iter().any(Figure::is_far_off)
}

fn row(tree: &Tree) -> String {
    let whole = |value: f64| number(Some(value.round()));
    let other = |value: Option<f64>| number(value.map(f64::round));
    format!(
        "  {:>7} {:>9} {:>6} {:>9} {:>7} {:>8} {:>9} {:>7} {:>7} {:>6}",
        whole(tree.nodes as f64),
        whole(tree.calls as f64),
        whole(tree.walk),
        other(tree.libfdt_walk),
        other(tree.walk_ratio()),
        whole(tree.random),
        other(tree.libfdt_random),
        other(tree.random_ratio()),
        whole(tree.blob),
        whole(tree.bytes),
    )
}

fn csv(trees: &[Tree]) -> String {
    let mut text = String::from("nodes,walk,libfdt_walk,getprop,libfdt_getprop\n");
    for tree in trees {
        let other = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.0}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{},{:.0},{},{:.0},{}",
            tree.nodes,
            tree.walk,
            other(tree.libfdt_walk),
            tree.random,
            other(tree.libfdt_random)
        );
    }
    text
}
