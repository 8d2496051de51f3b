//! `cargo xtask boot`: the main job, from a fresh machine to a guest's shell in this terminal.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::guest::{self, Guest};
use crate::host::{HostMachine, base_name};
use crate::on_power::OnPower;
use crate::packages::{self, Tool};
use crate::program::{cargo, progress, run};
use crate::vmms;

/// Boot a guest to a shell in this terminal
///
/// Fetches Debian's kernel, builds pseries-vmm, and boots the kernel in it, through Open Firmware:
/// on KVM where this is a POWER host that has it, else on a processor in software. Everything that
/// is missing is fetched or built first; after the first time it takes three seconds.
#[derive(Debug, Args)]
#[command(after_help = "Leave with `poweroff -f` in the guest, or with Ctrl-A X.\n\n\
    Example: a guest of two CPUs that is started with a flat device tree\n  \
    cargo xtask boot -- --cpus boot=2 --machine x-vof=off\n\n\
    Exit status: that of pseries-vmm; 125 when it could not be run.")]
pub(crate) struct Boot {
    /// Boot on KVM in an emulated POWER host, whatever this machine is
    #[arg(long)]
    on_power: bool,

    /// Further arguments for pseries-vmm
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl Boot {
    pub(crate) fn run(self) -> Result<u8> {
        if self.on_power { self.in_emulated_host() } else { self.here() }
    }

    fn here(self) -> Result<u8> {
        let guest = guest::make(false)?;
        let vmm = build()?;
        progress!("leave the guest with `poweroff -f`, or with Ctrl-A X");
        let mut command = Command::new(&vmm);
        command.args(self.vmm_arguments(guest.kernel.as_os_str(), guest.initramfs.as_os_str()));
        // In the place of this program: terminal, signals and status are the VMM's.
        let error = command.exec();
        Err(Failure::new(format!("cannot run {}: {error}", vmm.display())))
    }

    fn in_emulated_host(self) -> Result<u8> {
        packages::ensure(&Tool::FOR_HOST)?;
        let guest = guest::make(false)?;
        let Guest { kernel, initramfs, .. } = guest;
        let mut command = vec![OsString::from("pseries-vmm")];
        let names = [base_name(&kernel)?, base_name(&initramfs)?];
        command.extend(self.vmm_arguments(names[0].as_ref(), names[1].as_ref()));
        progress!("leave the guest with `poweroff -f`, or with Ctrl-A X");
        let files = vec![kernel, initramfs];
        let host = HostMachine::default();
        let (memory, disks) = ("4G".into(), Vec::new());
        OnPower { files, disks, host, counted: false, memory, timeout: Some(0), command }.run()
    }

    /// What is given takes the place of what is usual: options may be said only once.
    fn vmm_arguments(
        &self,
        kernel: &std::ffi::OsStr,
        initramfs: &std::ffi::OsStr,
    ) -> Vec<OsString> {
        let usual = [
            ("--kernel", kernel),
            ("--initramfs", initramfs),
            ("--cmdline", "console=hvc0 cryptomgr.notests".as_ref()),
            ("--memory", "size=1G".as_ref()),
        ];
        let is_given = |option: &str| {
            let with_value = format!("{option}=");
            self.arguments.iter().any(|argument| {
                argument == option || argument.to_string_lossy().starts_with(&with_value)
            })
        };
        let usual = usual.into_iter().filter(|(option, _)| !is_given(option));
        let mut arguments: Vec<OsString> =
            usual.flat_map(|(option, value)| [option.into(), value.to_owned()]).collect();
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }
}

/// Builds the VMM for this machine.
pub(crate) fn build() -> Result<PathBuf> {
    build_program("pseries-vmm")
}

/// Builds one of the VMMs for this machine.
pub(crate) fn build_program(name: &str) -> Result<PathBuf> {
    build_with(&[], name)
}

/// Builds an example program that is made of the VMM, for this machine.
pub(crate) fn build_example(name: &str) -> Result<PathBuf> {
    build_with(&["--example", name], &format!("examples/{name}"))
}

/// Builds the program of a package beside the VMMs, for this machine.
pub(crate) fn build_package(name: &str) -> Result<PathBuf> {
    progress!("building {name}");
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--package", name]);
    built(&mut cargo, name)
}

fn build_with(what: &[&str], path: &str) -> Result<PathBuf> {
    progress!("building the VMMs");
    let mut cargo = cargo();
    built(vmms::name(cargo.args(["build", "--release"]).args(what)), path)
}

/// Has Cargo build. Gives the path of what is wanted of it.
fn built(cargo: &mut Command, path: &str) -> Result<PathBuf> {
    run(cargo.current_dir(folders::workspace()))?;
    let program = folders::target().join("release").join(path);
    program.canonicalize().attempt(|| format!("find {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_said_once() {
        let boot = |arguments: &[&str]| Boot {
            on_power: false,
            arguments: arguments.iter().map(OsString::from).collect(),
        };
        let words = boot(&["--memory=size=2G", "--cpus", "boot=2"])
            .vmm_arguments("kernel".as_ref(), "initramfs".as_ref());
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        let cmdline = "console=hvc0 cryptomgr.notests";
        assert_eq!(
            words.join(" "),
            format!(
                "--kernel kernel --initramfs initramfs --cmdline {cmdline} --memory=size=2G \
                 --cpus boot=2"
            )
        );
    }
}
