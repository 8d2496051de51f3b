//! `cargo xtask test`: everything that CI checks, step by step, up to the first that fails.

mod big_endian;
mod boot_disk;
mod boots;
mod checks;
mod circles;
mod cpus;
mod debian_guest;
mod devices;
mod disk;
mod faults;
mod grub;
mod grub_terminal;
mod hash;
mod http;
mod interrupts;
mod lane;
mod largest;
mod log;
mod lspci;
mod matrix;
mod members;
mod netboot;
mod network;
mod nodes;
mod nvram;
mod on_host;
mod operate;
mod package;
mod patched;
mod peers;
mod plugs;
mod power10;
mod proofs;
mod pty;
mod ranges;
mod resizes;
mod row;
mod saves;
mod scripts;
mod software;
mod user_programs;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::failure::{Ending, Failure, Result};
use crate::folders;
use crate::packages::{self, Tool};

use self::lane::Lane;
use self::log::Log;
use self::row::{PASSED, Row, seconds, write};

/// Something that must hold.
struct Step {
    name: &'static str,
    /// What holds when it passes.
    what: &'static str,
    run: fn(&mut Log) -> Result<()>,
    when: When,
}

/// When a step is run, if it is not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// In turn.
    Usual,
    /// Guests on the processor in software: in turn among themselves, beside all others.
    Software,
    /// Guests on emulated POWER hosts: likewise.
    OnPower,
    /// With `--all` only, so long does it take.
    Long,
}

const fn step(name: &'static str, what: &'static str, run: fn(&mut Log) -> Result<()>) -> Step {
    Step { name, what, run, when: When::Usual }
}

const fn soft(name: &'static str, what: &'static str, run: fn(&mut Log) -> Result<()>) -> Step {
    Step { when: When::Software, ..step(name, what, run) }
}

const fn host(name: &'static str, what: &'static str, run: fn(&mut Log) -> Result<()>) -> Step {
    Step { when: When::OnPower, ..step(name, what, run) }
}

const fn long(name: &'static str, what: &'static str, run: fn(&mut Log) -> Result<()>) -> Step {
    Step { when: When::Long, ..step(name, what, run) }
}

/// From what is quick to what is slow; guests that boot behind the others.
const STEPS: &[Step] = &[
    step("fmt", "the source is formatted", checks::fmt),
    step("circles", "no file imports one that imports it", circles::step),
    step("clippy", "no lint is broken, all features on", checks::clippy),
    step("features", "each set of features builds without a lint", checks::features),
    step("package", "the packages for a registry build by themselves", package::step),
    step("doc", "the documentation builds without a warning", checks::doc),
    step("unit", "unit, integration and doc tests, all features on", checks::unit),
    step("unit-no-vof", "the VMM's tests without the client interface", checks::unit_no_vof),
    step("tools", "what is built rebuilds to the same bytes, dtc agrees", checks::tools),
    step("hostile", "guests that mean harm, a million calls each", checks::hostile),
    step("rust-1.85", "it builds with the oldest Rust", checks::oldest_rust),
    step("fuzz", "half a minute of each fuzzer finds nothing", checks::fuzz),
    step("clippy-power", "no lint is broken in the code for POWER hosts", checks::clippy_power),
    soft("soft-kernels", "guests boot and restart on the processor in software", software::kernels),
    soft("soft-threads", "CPUs and threads of cores go off and on", cpus::software),
    soft("soft-32-cpus", "a guest with 32 CPUs sees them all", cpus::thirty_two),
    soft("soft-numa", "numactl shows the nodes that a guest has", nodes::software),
    soft("soft-hotplug", "a guest gets CPUs and memory and gives them back", resizes::software),
    soft("soft-plug", "a guest gets devices and gives them back", plugs::software),
    soft("soft-largest", "2,048 CPUs and 16 TiB are in a tree and start", largest::software),
    soft(
        "soft-ranges",
        "a guest has RAM in three ranges, none in the holes",
        software::three_ranges,
    ),
    soft("soft-icount", "two runs in counted instructions are the same", software::icount),
    soft("soft-words", "whatever a guest's users execute, it goes on", user_programs::words),
    soft("soft-float128", "programs reckon in quadruple precision", user_programs::float128),
    soft("soft-kexec", "guests of 1, 2, 4 CPUs start another kernel, and crash", software::kexec),
    soft("soft-shell", "`cargo xtask boot` gives a shell, then the terminal back", software::shell),
    soft("soft-ctrl-a", "Ctrl-A X leaves a guest, the terminal is given back", software::ctrl_a_x),
    soft(
        "soft-xive",
        "guests take interrupts by XIVE or XICS, as they agree",
        interrupts::software,
    ),
    soft("soft-hash", "guests translate by hashed page tables, where they may", hash::software),
    soft(
        "soft-power",
        "a guest shuts down at the press of its power button",
        software::power_button,
    ),
    soft("soft-nvram", "a guest's NVRAM outlives restarts, crashes and machines", nvram::all),
    soft("soft-disk", "a Debian starts from its disk, by a menu and kexec", disk::software),
    soft(
        "soft-bootdisk",
        "a Debian starts from its disk by GRUB, as on POWER",
        boot_disk::software,
    ),
    soft("soft-bootcd", "a CD starts, by its script and GRUB", boot_disk::cd),
    soft("soft-devices", "all devices of a Debian work, with MSI and without", devices::all),
    soft("soft-netboot", "GRUB comes from the network, and boots Linux from it", netboot::all),
    soft("soft-faults", "a Debian survives its host's faults, its disk a kill", faults::all),
    soft("soft-example", "guests of the example VMM boot, by both ways in", saves::software_boots),
    soft(
        "soft-entropy",
        "a guest of the example VMM uses a device on its PCI bus",
        saves::software_entropy,
    ),
    soft("soft-saves", "its guests are saved at random points, and go on", saves::software),
    soft(
        "soft-snapshot",
        "a guest is saved over and over, and misses nothing",
        proofs::software_snapshots,
    ),
    soft(
        "soft-pause",
        "a guest stands still for a minute, and sees none of it",
        proofs::software_pauses,
    ),
    soft(
        "soft-moments",
        "GRUB in its menu and Linux in prom_init are saved",
        proofs::software_moments,
    ),
    soft(
        "soft-migrate",
        "a guest moves, its line is cut, and it runs in one place",
        proofs::software_migrations,
    ),
    soft("soft-api", "the scripts of docs/api.md do what it shows", operate::api),
    soft("soft-service", "the systemd unit starts a guest and shuts it down", operate::service),
    soft("soft-image", "a guest runs in a root of its own, as an image has it", operate::container),
    soft("grub", "GRUB shows its menu, answers commands, switches off", grub::commands),
    soft("grub-reboot", "GRUB restarts the machine and comes up again", grub::reboot),
    soft("grub-linux", "GRUB boots Linux, and is back when that restarts", grub::linux),
    host("unit-power", "unit tests and small guests on a POWER host", boots::unit_tests_on_power),
    host("boots", "guests boot, of each size, by both ways in", boots::each_size),
    host("cpus", "CPUs and threads on KVM go off and on", cpus::kvm),
    host("numa", "numactl shows the nodes of a guest on KVM", nodes::kvm),
    host("hotplug", "a guest on KVM gets more and gives it back", resizes::kvm),
    host("xive", "guests on KVM take interrupts by XIVE or XICS", interrupts::kvm),
    host("reboot-10", "ten restarts leave the VMM's memory where it was", boots::ten_reboots),
    host("examples", "configuration files boot, with older and newer kernels", boots::examples),
    host("disk", "a Debian starts on KVM from a disk of the POWER host", disk::kvm),
    host("bootdisk", "a Debian starts on KVM from its disk by GRUB", boot_disk::kvm),
    host("example-vmm", "the example VMM boots and restarts a guest", saves::kvm_boots),
    host("saves", "guests are saved at random points, and go on", saves::kvm),
    host("snapshot", "a guest on KVM is saved over and over", proofs::kvm_snapshots),
    host("hash", "guests on KVM translate by hashed page tables, or choose", hash::kvm),
    host("power10", "guests of each level boot on a POWER10 host", power10::levels),
    host("refusals", "what a POWER host cannot do is refused", boots::refusals),
    host("pipe", "a guest takes its commands from a pipe", boots::pipe),
    host("shell", "`boot --on-power` gives a shell, then the terminal back", boots::shell),
    host("shell-ctrl-a", "Ctrl-A X leaves it, the terminal is given back", boots::ctrl_a_x),
    long("plug", "a guest on KVM gets a disk and gives it back", plugs::kvm),
    long("pause", "a guest on KVM stands still for a minute", proofs::kvm_pauses),
    long("migrate", "a guest on KVM moves, and runs in one place", proofs::kvm_migrations),
    long("moments", "the same on KVM, and small clients at each call", proofs::kvm_moments),
    long("soft-be", "big-endian guests boot on the processor in software", big_endian::software),
    long("be", "big-endian guests boot on KVM", big_endian::kvm),
    long("soft-minute", "a guest is saved every second of a minute", proofs::software_minute),
    long("minute", "the same on KVM", proofs::kvm_minute),
    long("wide", "the wide tests, which take too long for every change", checks::wide),
    long("matrix", "what each host offers boots, what it has not is refused", matrix::all),
    long("bootdisk-all", "each form of the disk and the CD start in all places", boot_disk::all),
    long("bootdisk-own", "what grub-install makes in the guest starts", boot_disk::installed),
    long("bootdisk-peer", "the same disks and CD start in QEMU, with SLOF", boot_disk::peer),
    long("fuzz-long", "half an hour of each fuzzer finds nothing", checks::fuzz_long),
];

/// Check everything that CI checks
///
/// Installs or fetches what it needs, then runs the steps in order, those that boot guests beside
/// the others, and stops at the first that fails, with its output. Steps that are named are run one
/// by one. How fast they are is not judged: what gives no sign for ten minutes (of
/// the wide tests, four hours) hangs, and that is all that ends for the sake of time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask test\n  \
    cargo xtask test unit soft-shell\n  \
    cargo xtask test --all\n\n\
    Exit status: 0 when all steps passed, 1 when one failed.")]
pub(crate) struct Test {
    /// Show the steps, and run none
    #[arg(long)]
    list: bool,

    /// Run the long steps as well, such as the matrix of hosts, wide tests and hours of fuzzing
    #[arg(long, conflicts_with = "steps")]
    all: bool,

    /// The steps are run beside others, whose process sums up
    #[arg(long, hide = true)]
    beside: bool,

    /// Run these steps only
    #[arg(value_name = "STEP", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    steps: Vec<String>,
}

impl Test {
    pub(crate) fn run(&self) -> Result<u8> {
        let steps: Vec<&Step> = STEPS.iter().filter(|step| self.wants(step)).collect();
        if self.list {
            let note = |step: &Step| match step.when {
                When::Long => " (with --all)",
                _ => "",
            };
            let row = |step: &&Step| format!("{:<14}{}{}\n", step.name, step.what, note(step));
            write(&steps.iter().map(row).collect::<String>())?;
            return Ok(0);
        }
        if self.steps.is_empty() {
            // All at once, and before the first minutes have passed.
            packages::ensure(&Tool::ALL)?;
        }
        folders::make(&logs())?;
        let start = Instant::now();
        let all = steps.len();
        let mut lanes = Vec::new();
        let mut steps = steps;
        for when in [When::Software, When::OnPower] {
            let (beside, others): (Vec<&Step>, Vec<&Step>) =
                steps.iter().partition(|step| !self.is_named() && step.when == when);
            if !beside.is_empty() {
                lanes.push(Lane::start(&beside.iter().map(|step| step.name).collect::<Vec<_>>())?);
            }
            steps = others;
        }
        let (mut passed, result) = run_all(&steps, &mut lanes);
        // They end here if they have not.
        passed += lanes.drain(..).map(|lane| lane.passed()).sum::<usize>();
        if self.beside {
            return result.map_or_else(|failed| failed.reported(), |()| Ok(0));
        }
        match result {
            Ok(()) => {
                write(&summary(start.elapsed(), passed, 0, 0))?;
                Ok(0)
            }
            Err(failed) => {
                let count = usize::from(!failed.is_broken_off());
                write(&summary(start.elapsed(), passed, count, all - passed - count))?;
                failed.reported()
            }
        }
    }

    fn is_named(&self) -> bool {
        !self.steps.is_empty()
    }

    fn wants(&self, step: &Step) -> bool {
        match &self.steps[..] {
            [] => self.all || self.list || step.when != When::Long,
            names => names.iter().any(|name| name == step.name),
        }
    }
}

/// Why no more steps are run.
enum Failed {
    /// A step failed, and that was shown.
    Step,
    /// This could not go on.
    Here(Failure),
}

impl Failed {
    fn is_broken_off(&self) -> bool {
        matches!(self, Self::Here(failure) if matches!(failure.how(), Ending::Signal(_)))
    }

    /// What is left to be said of it.
    fn reported(self) -> Result<u8> {
        match self {
            Self::Step => Ok(1),
            Self::Here(failure) => Err(failure),
        }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

/// Runs steps in order, until one of them or of those beside fails. Gives how many passed here.
fn run_all(steps: &[&Step], lanes: &mut [Lane]) -> (usize, std::result::Result<(), Failed>) {
    let mut passed = 0;
    for step in steps {
        let result = run(step).and_then(|()| {
            passed += 1;
            lane::look(lanes).map(drop)
        });
        if result.is_err() {
            return (passed, result);
        }
    }
    (passed, lane::wait(lanes))
}

/// Runs a step, and shows how it ended.
fn run(step: &Step) -> std::result::Result<(), Failed> {
    let row = Row::begin(step.name, step.what)?;
    let mut log = Log::create(&logs().join(format!("{}.log", step.name)), row)?;
    let result = (step.run)(&mut log);
    let (path, tail) = (log.path().display().to_string(), log.tail());
    let Err(failure) = result else {
        log.into_row().end(PASSED)?;
        return Ok(());
    };
    if let Ending::Signal(_) = failure.how() {
        log.into_row().end("BROKEN OFF")?;
        return Err(Failed::Here(failure));
    }
    log.into_row().end("FAILED")?;
    write(&format!("\n{tail}\n\n{}\n", what_to_do(step.name, &path, &failure)))?;
    Err(Failed::Step)
}

/// Where the output of steps is kept.
fn logs() -> PathBuf {
    folders::target().join("test")
}

fn summary(time: Duration, passed: usize, failed: usize, not_run: usize) -> String {
    let not_run = match not_run {
        0 => String::new(),
        count => format!("; {count} not run"),
    };
    format!("{} in all{not_run}\n{passed} passed, {failed} failed\n", seconds(time))
}

fn what_to_do(step: &str, log: &str, failure: &Failure) -> String {
    format!(
        "{failure}\nThe whole output is in {log}\n\
         When it is mended, run this step again with\n  cargo xtask test {step}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(test: &Test) -> Vec<&'static str> {
        STEPS.iter().filter(|step| test.wants(step)).map(|step| step.name).collect()
    }

    #[test]
    fn long_steps_are_run_when_they_are_asked_for() {
        let mut test = Test { list: false, all: false, beside: false, steps: Vec::new() };
        let usual = wanted(&test);
        assert!(usual.contains(&"fmt") && !usual.contains(&"fuzz-long"));
        test.all = true;
        assert_eq!(wanted(&test).len(), STEPS.len());
        let test = Test { list: false, all: false, beside: false, steps: vec!["wide".into()] };
        assert_eq!(wanted(&test), ["wide"]);
    }

    #[test]
    fn every_step_has_a_name_of_its_own_that_fits_the_table() {
        for (place, step) in STEPS.iter().enumerate() {
            assert!(step.name.len() < 14 && step.what.len() < 58, "{}", step.name);
            assert!(STEPS[..place].iter().all(|other| other.name != step.name), "{}", step.name);
        }
    }

    #[test]
    fn the_pipeline_for_other_agents_runs_steps_that_are_there() {
        let file = folders::read(&folders::workspace().join(".buildkite/custom-tests.json"));
        let pipeline: serde_json::Value = serde_json::from_slice(&file.unwrap()).unwrap();
        for test in pipeline["tests"].as_array().unwrap() {
            let command = test["command"].as_str().unwrap();
            let name = command.strip_prefix("cargo xtask test ").unwrap();
            assert!(STEPS.iter().any(|step| step.name == name), "{command}");
            assert_eq!(test["test_name"], name);
        }
    }

    #[test]
    fn who_sees_a_failure_sees_what_to_do() {
        let said = what_to_do("unit", "target/test/unit.log", &Failure::new("it broke"));
        assert!(said.starts_with("it broke\nThe whole output is in target/test/unit.log\n"));
        assert!(said.ends_with("\n  cargo xtask test unit\n"), "{said}");
        assert_eq!(
            summary(Duration::from_secs(2), 3, 1, 4),
            "2.0 s in all; 4 not run\n3 passed, 1 failed\n"
        );
    }
}
