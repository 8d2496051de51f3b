//! The steps that give a running guest CPUs and memory, and take them back.

use std::path::PathBuf;
use std::process::Command;

use crate::boot;
use crate::failure::Result;
use crate::folders::{self, TemporaryFolder};
use crate::guest::{self, NO_WATCHDOGS, QUICK};
use crate::host::base_name;
use crate::power;
use crate::tools;

use super::boots::{shows, shows_times};
use super::log::Log;
use super::on_host::on_host_with;

/// The program that runs a machine and changes it, an example of the VMM's.
pub(super) const RESIZE: &str = "resize";

/// What runs it, on this machine and on an emulated host.
const SCRIPT: &str = "integration/xtask/host/resizes";

/// How often the guest gets all and gives it back.
const ROUNDS: usize = 10;

pub(super) fn software(log: &mut Log) -> Result<()> {
    let program = boot::build_example(RESIZE)?;
    let guest = guest::make(false)?;
    let initramfs = tools::initramfs(&guest, false)?;
    let folder = TemporaryFolder::make(&guest::folder(), "resizes")?;
    let mut command = Command::new("sh");
    command.arg(script()).arg(folder.path()).arg(program).args(["--backend", "interp"]);
    command.arg("--kernel").arg(&guest.kernel).arg("--initramfs").arg(&initramfs);
    resized(log, &mut command)
}

pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let program = power::build_example(RESIZE)?;
    let guest = guest::make(false)?;
    let initramfs = tools::initramfs(&guest, false)?;
    let script = script();
    let files = [&guest.kernel, &initramfs, &script, &program];
    let mut command = on_host_with("powernv9", files, &["sh", base_name(&script)?, "."]);
    command.arg(format!("./{RESIZE}")).args(["--backend", "kvm"]);
    command.args(["--kernel", base_name(&guest.kernel)?]);
    command.args(["--initramfs", base_name(&initramfs)?]);
    resized(log, &mut command)
}

pub(super) fn script() -> PathBuf {
    folders::workspace().join(SCRIPT)
}

/// Runs the machine. The guest looks at itself, and asks for what is next.
fn resized(log: &mut Log, command: &mut Command) -> Result<()> {
    command.args(["--cpus", "boot=2,max=4", "--memory", "size=512M,hotplug_size=1G"]);
    let task = "loglevel=1 movable_node autorun=/bin/resizes";
    let cmdline = format!("{QUICK} {NO_WATCHDOGS} {task}");
    let console = log.run_with_input(command.arg("--cmdline").arg(cmdline), "")?;
    shows_times(&console, "GUEST-HAS 4 CPUs, 1024 MiB more\n", ROUNDS)?;
    shows_times(&console, "GUEST-ROUND ", ROUNDS)?;
    shows_times(&console, "GUEST-KEEPS ", 2)?;
    shows(&console, &["GUEST-RESIZED\n", "GUEST-RAN /bin/resizes: 0\n"])
}
