//! `cargo xtask test`: everything that CI checks, step by step, up to the first that fails.

mod boots;
mod checks;
mod grub;
mod log;
mod pty;
mod software;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::failure::{Attempt, Result};
use crate::folders;
use crate::packages::{self, Tool};

use self::log::Log;

/// Something that must hold.
struct Step {
    name: &'static str,
    /// What holds when it passes.
    what: &'static str,
    run: fn(&mut Log) -> Result<()>,
}

const fn step(name: &'static str, what: &'static str, run: fn(&mut Log) -> Result<()>) -> Step {
    Step { name, what, run }
}

/// From what is quick to what is slow.
const STEPS: &[Step] = &[
    step("fmt", "the source is formatted", checks::fmt),
    step("clippy", "no lint is broken, all features on", checks::clippy),
    step("features", "each set of features builds without a lint", checks::features),
    step("doc", "the documentation builds without a warning", checks::doc),
    step("unit", "unit, integration and doc tests, all features on", checks::unit),
    step("unit-no-vof", "the VMM's tests without the client interface", checks::unit_no_vof),
    step("tools", "what is built rebuilds to the same bytes, dtc agrees", checks::tools),
    step("hostile", "guests that mean harm, a million calls each", checks::hostile),
    step("rust-1.85", "it builds with the oldest Rust", checks::oldest_rust),
    step("soft-kernels", "guests boot and restart on the processor in software", software::kernels),
    step("soft-4-cpus", "a guest with four of those sees them all", software::four_cpus),
    step("soft-icount", "two runs in counted instructions are the same", software::icount),
    step("soft-shell", "`cargo xtask boot` gives a shell, then the terminal back", software::shell),
    step("soft-ctrl-a", "Ctrl-A X leaves a guest, the terminal is given back", software::ctrl_a_x),
    step("grub", "GRUB shows its menu, answers commands, switches off", grub::commands),
    step("grub-reboot", "GRUB restarts the machine and comes up again", grub::reboot),
    step("grub-linux", "GRUB boots Linux, and is back when that restarts", grub::linux),
    step("fuzz", "half a minute of each fuzzer finds nothing", checks::fuzz),
    step("clippy-power", "no lint is broken in the code for POWER hosts", checks::clippy_power),
    step("unit-power", "the VMM's unit tests on a POWER host", boots::unit_tests_on_power),
    step("boot-512M", "a guest boots through Open Firmware", boots::vof_512m),
    step("boot-flat", "a guest boots from a flat tree (x-vof=off)", boots::flat),
    step("boot-256M", "a small guest boots", boots::vof_256m),
    step("boot-2G", "a guest with 2 GiB boots", boots::vof_2g),
    step("boot-4-cpus", "a guest with four CPUs sees them all", boots::four_cpus),
    step("boot-4-flat", "the same from a flat tree", boots::four_cpus_flat),
    step("reboot", "a guest restarts and comes up again", boots::reboot),
    step("reboot-10", "ten restarts leave the VMM's memory where it was", boots::ten_reboots),
    step("examples", "configuration files boot, with older and newer kernels", boots::examples),
    step("example-vmm", "the example VMM boots and restarts a guest", boots::example_vmm),
    step("refusals", "what a POWER host cannot do is refused", boots::refusals),
    step("pipe", "a guest takes its commands from a pipe", boots::pipe),
    step("shell", "`boot --on-power` gives a shell, then the terminal back", boots::shell),
    step("shell-ctrl-a", "Ctrl-A X leaves it, the terminal is given back", boots::ctrl_a_x),
];

/// Check everything that CI checks
///
/// Installs or fetches what it needs, then runs the steps in order and stops at the first that
/// fails, with its output.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 when all steps passed, 1 when one failed.")]
pub(crate) struct Test {
    /// Show the steps, and run none
    #[arg(long)]
    list: bool,

    /// Run these steps only
    #[arg(value_name = "STEP", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    steps: Vec<String>,
}

impl Test {
    pub(crate) fn run(&self) -> Result<u8> {
        let wanted =
            |step: &&Step| self.steps.is_empty() || self.steps.iter().any(|name| name == step.name);
        let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
        let mut output = io::stdout();
        if self.list {
            let table: String =
                steps.iter().map(|step| format!("{:<14}{}\n", step.name, step.what)).collect();
            write(&mut output, &table)?;
            return Ok(0);
        }
        if self.steps.is_empty() {
            // All at once, and before the first minutes have passed.
            packages::ensure(&Tool::ALL)?;
        }
        let logs = folders::target().join("test");
        folders::make(&logs)?;
        let start = Instant::now();
        let mut passed = 0;
        let mut failed = 0;
        for step in &steps {
            write(&mut output, &format!("{:<14}{:<58}", step.name, step.what))?;
            let mut log = Log::create(&logs.join(format!("{}.log", step.name)))?;
            let step_start = Instant::now();
            let result = (step.run)(&mut log);
            let time = seconds(step_start.elapsed());
            let Err(failure) = result else {
                write(&mut output, &format!("ok {time:>9}\n"))?;
                passed += 1;
                continue;
            };
            failed += 1;
            let path = log.path().display();
            let tail = log.tail();
            write(&mut output, &format!("FAILED {time:>5}\n\n{tail}\n\n{failure}\n"))?;
            write(&mut output, &format!("The whole output is in {path}\n\n"))?;
            break;
        }
        let not_run = match steps.len() - passed - failed {
            0 => String::new(),
            count => format!("; {count} not run"),
        };
        let time = seconds(start.elapsed());
        write(&mut output, &format!("{time} in all{not_run}\n{passed} passed, {failed} failed\n"))?;
        Ok(u8::from(failed > 0))
    }
}

fn write(output: &mut io::Stdout, text: &str) -> Result<()> {
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.attempt(|| "write to standard output".into())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
