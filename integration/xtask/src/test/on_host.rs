//! Commands on an emulated POWER host.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::boot;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest;
use crate::host::base_name;
use crate::program::{cargo, quoted};

use super::log::Log;

/// What the host says before each of several machines.
const RUNS: &str = "HOST-RUNS";

/// The VMM's status for what its user has to change.
const REFUSED: u8 = 2;

/// `cargo xtask` as users have it. Not this executable: another step may have replaced it.
pub(super) fn xtask() -> Command {
    let mut cargo = cargo();
    cargo.arg("xtask").current_dir(folders::workspace());
    cargo
}

/// As it would be typed in the workspace's folder.
pub(super) fn relative(file: &Path) -> &Path {
    file.strip_prefix(folders::workspace()).unwrap_or(file)
}

/// A command on a POWER9 host, with a guest's files and others.
pub(super) fn on_power_with(files: &[&PathBuf], command: &[&str]) -> Result<Command> {
    let guest = guest::make(false)?;
    let files = [&guest.kernel, &guest.initramfs].into_iter().chain(files.iter().copied());
    Ok(on_host_with("powernv9", files, command))
}

/// A command on the host that is named, with these files and no others.
pub(super) fn on_host_with<'a>(
    host: &str,
    files: impl IntoIterator<Item = &'a PathBuf>,
    command: &[&str],
) -> Command {
    let mut xtask = xtask();
    xtask.args(["on-power", "--host", host]);
    for file in files {
        xtask.arg("--file").arg(relative(file));
    }
    xtask.arg("--").args(command);
    xtask
}

/// A host, and the machines that it is to run, one after the other: to start a host takes as long as
/// most of them do.
pub(super) struct OneHost {
    shell: Command,
    /// The VMM with its back end.
    vmm: [String; 3],
    /// Files are in the folder that this runs in, whatever their paths are here.
    has_files: bool,
    script: String,
    count: usize,
}

impl OneHost {
    /// A host with these files.
    pub(super) fn new<'a>(host: &str, files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let shell = on_host_with(host, files, &["sh", "-c"]);
        let vmm = ["pseries-vmm", "--backend", "kvm"].map(str::to_owned);
        Self { shell, vmm, has_files: true, script: "true".into(), count: 0 }
    }

    /// This machine, with the processor in software.
    pub(super) fn here() -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.arg("-c");
        let vmm = [path(&boot::build()?)?, "--backend", "interp"].map(str::to_owned);
        Ok(Self { shell, vmm, has_files: false, script: "true".into(), count: 0 })
    }

    /// Adds a machine that starts a kernel, which is one of the files, as the initial RAM disk is.
    pub(super) fn add(
        &mut self,
        [kernel, initramfs]: [&PathBuf; 2],
        cmdline: &str,
        arguments: &[&str],
    ) -> Result<()> {
        let (kernel, initramfs) = (self.name(kernel)?, self.name(initramfs)?);
        let usual = ["--kernel", kernel, "--initramfs", initramfs, "--cmdline", cmdline];
        let words = self.words(&[&usual[..], arguments].concat());
        self.push(&words);
        Ok(())
    }

    /// Adds a machine that the VMM has to refuse, as what its user asks for cannot be.
    pub(super) fn add_refused(&mut self, kernel: &Path, arguments: &[&str]) -> Result<()> {
        let words = self.words(&[&["--kernel", self.name(kernel)?][..], arguments].concat());
        self.push(&format!("{{ {words}; [ $? = {REFUSED} ]; }}"));
        Ok(())
    }

    fn name<'a>(&self, file: &'a Path) -> Result<&'a str> {
        if self.has_files { base_name(file) } else { path(file) }
    }

    fn words(&self, arguments: &[&str]) -> String {
        let words = self.vmm.iter().map(String::as_str).chain(arguments.iter().copied());
        words.map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
    }

    fn push(&mut self, command: &str) {
        // In one line, so that what is looked for is no line of the command's.
        self.script += &format!(" && echo {RUNS} {} && {command}", self.count);
        self.count += 1;
    }

    /// Runs them all, each of which has to end with status 0, or to be refused. Gives what each showed.
    pub(super) fn run(mut self, log: &mut Log) -> Result<Vec<String>> {
        let said = log.run_with_input(self.shell.arg(&self.script), "")?;
        let consoles = consoles(&said);
        match consoles.len() == self.count {
            true => Ok(consoles),
            false => Err(Failure::new(format!(
                "the host ran {} machines instead of {}",
                consoles.len(),
                self.count
            ))),
        }
    }
}

fn path(file: &Path) -> Result<&str> {
    let why = || Failure::new(format!("{} is no path that a shell can be told", file.display()));
    file.to_str().ok_or_else(why)
}

/// What is said behind each line that says that another machine runs.
fn consoles(said: &str) -> Vec<String> {
    let mut consoles: Vec<String> = Vec::new();
    for line in said.split_inclusive('\n') {
        if line.trim_end() == format!("{RUNS} {}", consoles.len()) {
            consoles.push(String::new());
        } else if let Some(console) = consoles.last_mut() {
            console.push_str(line);
        }
    }
    consoles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_what_it_showed() {
        let said = "$ sh -c 'true && echo HOST-RUNS 0 && x && echo HOST-RUNS 1'\n\
                    HOST-RUNS 0\na\nb\nHOST-RUNS 1\nHOST-RUNS 1\nc";
        assert_eq!(consoles(said), ["a\nb\n", "HOST-RUNS 1\nc"]);
        assert!(consoles("$ x\n").is_empty());
    }
}
