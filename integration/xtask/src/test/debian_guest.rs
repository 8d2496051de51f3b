//! Somebody at the shell of a guest, such as an installed Debian, on the processor in software.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::boot;
use crate::debian::{self, Variant};
use crate::failure::{Failure, Result};
use crate::folders::TemporaryFolder;
use crate::guest::{self, NO_WATCHDOGS};

use super::log::Log;
use super::pty::Pty;

/// The shell's prompt, behind the status of the last command in brackets.
const PROMPT: &str = "] done# ";

/// Makes any shell of a guest one that can be asked: it has that prompt, and does not edit lines.
const BASH: &str = "exec env PS1='[$?] done# ' bash --noediting --norc";
pub(super) const ASH: &str = "exec env PS1='[$?] done# ' sh";

/// A disk with Debian that is written to, and what starts from it.
pub(super) struct Debian {
    pub(super) folder: TemporaryFolder,
    pub(super) disk: PathBuf,
    vmm: PathBuf,
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Debian {
    /// Makes a disk for a step. Its kernel is started without a boot loader, which is quicker.
    pub(super) fn make(name: &str) -> Result<Self> {
        let folder = TemporaryFolder::make(&guest::folder(), name)?;
        let made = debian::make(&guest::make(false)?, false)?;
        let disk = Variant::USUAL.copy(&made, folder.path())?;
        let [kernel, initrd] = debian::kernel(&disk, folder.path())?;
        Ok(Self { folder, disk, vmm: boot::build()?, kernel, initrd })
    }

    /// Starts a machine that has the disk, and logs in.
    pub(super) fn start<'a>(
        &self,
        log: &'a mut Log,
        arguments: &[OsString],
    ) -> Result<Session<'a>> {
        let mut terminal = Pty::spawn(&mut self.command("quiet", arguments), log)?;
        terminal.expect("debian login: ")?;
        terminal.type_in("root\r")?;
        terminal.expect(super::disk::PROMPT)?;
        Session::begin(terminal, BASH)
    }

    /// Starts a machine that has the disk, and stays in the initial RAM disk.
    pub(super) fn start_early<'a>(
        &self,
        log: &'a mut Log,
        cmdline: &str,
        arguments: &[OsString],
    ) -> Result<Session<'a>> {
        let cmdline = format!("quiet break {cmdline}");
        let mut terminal = Pty::spawn(&mut self.command(&cmdline, arguments), log)?;
        terminal.expect("The root file system is in /root.")?;
        terminal.expect("# ")?;
        Session::begin(terminal, ASH)
    }

    fn command(&self, cmdline: &str, arguments: &[OsString]) -> Command {
        let mut command = Command::new(&self.vmm);
        command.args(["--backend", "interp", "--memory", "size=1G", "--cpus", "boot=2"]);
        command.arg("--kernel").arg(&self.kernel).arg("--initramfs").arg(&self.initrd);
        let usual = "console=hvc0 root=/dev/vda2 ro cryptomgr.notests";
        command.arg("--cmdline").arg(format!("{usual} {NO_WATCHDOGS} {cmdline}"));
        command.arg("--disk").arg(format!("path={}", self.disk.display()));
        command.args(arguments);
        command
    }
}

/// A shell of the guest's.
pub(super) struct Session<'a> {
    terminal: Pty<'a>,
}

impl<'a> Session<'a> {
    pub(super) fn begin(mut terminal: Pty<'a>, shell: &str) -> Result<Self> {
        terminal.type_in(&format!("{shell}\r"))?;
        terminal.expect("[0] done# ")?;
        // Neither the terminal's echo, which may come late, nor the kernel has anything to say in the
        // midst of an answer.
        terminal.type_in("stty -echo; dmesg -n 1; echo ready-$((6 * 7))\r")?;
        terminal.expect("ready-42")?;
        terminal.expect("[0] done# ")?;
        Ok(Self { terminal })
    }

    /// What a command says that has to succeed.
    pub(super) fn ask(&mut self, command: &str) -> Result<String> {
        match self.try_to(command)? {
            (0, said) => Ok(said),
            (status, said) => {
                let failed = format!("in the guest, `{command}` ended with status {status}:");
                Err(Failure::new(format!("{failed}\n{said}")))
            }
        }
    }

    /// What a command says that has to fail.
    pub(super) fn ask_in_vain(&mut self, command: &str) -> Result<String> {
        match self.try_to(command)? {
            (0, _) => Err(Failure::new(format!("in the guest, `{command}` did not fail"))),
            (_, said) => Ok(said),
        }
    }

    /// A command that has to say this, and nothing else.
    pub(super) fn gets(&mut self, command: &str, answer: &str) -> Result<()> {
        match self.ask(command)?.trim() {
            said if said == answer => Ok(()),
            said => Err(Failure::new(format!(
                "in the guest, `{command}` says {said:?} instead of {answer:?}"
            ))),
        }
    }

    /// Begins with a command that goes on until the machine is killed.
    pub(super) fn begin_to(mut self, command: &str) -> Result<Pty<'a>> {
        self.terminal.type_in(&format!("{command}\r"))?;
        Ok(self.terminal)
    }

    /// Switches off, and waits for the machine to end.
    pub(super) fn power_off(mut self, command: &str) -> Result<()> {
        self.terminal.type_in(&format!("{command}\r"))?;
        self.terminal.ends_well()
    }

    /// The status of a command, and what it says.
    fn try_to(&mut self, command: &str) -> Result<(u8, String)> {
        self.terminal.note(command)?;
        self.terminal.type_in(&format!("{command}\r"))?;
        let said = self.terminal.expect(PROMPT)?.replace('\r', "");
        let said = said.trim_end_matches(PROMPT);
        let status = said
            .rsplit_once('[')
            .and_then(|(said, status)| Some((status.parse().ok()?, said.to_owned())));
        status.ok_or_else(|| Failure::new(format!("no status is in the guest's prompt: {said:?}")))
    }
}

/// The files of a machine's devices, for its arguments.
pub(super) fn option(option: &str, words: &str, path: &Path, rest: &str) -> [OsString; 2] {
    [option.into(), format!("{words}={}{rest}", path.display()).into()]
}
