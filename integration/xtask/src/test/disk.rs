//! The steps that start an installed Debian from its disk, as somebody at a terminal.

use std::path::PathBuf;
use std::process::Command;

use crate::boot;
use crate::debian::{self, Variant};
use crate::failure::Result;
use crate::folders::TemporaryFolder;
use crate::guest::{self, NO_WATCHDOGS};
use crate::host::base_name;
use crate::petitboot;

use super::log::Log;
use super::on_host::{relative, xtask};
use super::pty::Pty;

/// root's prompt.
pub(super) const PROMPT: &str = "root@debian:~# ";

/// The VMM's arguments that are the same on both.
const MACHINE: [&str; 2] = ["--memory", "size=1G"];

/// What may be typed, and what has to come of it: text that is not in what is typed.
const COMMANDS: [(&str, &str); 5] = [
    ("systemctl is-system-running --wait", "running\r"),
    ("findmnt --noheadings /", "/dev/vda2 ext4"),
    ("lspci -n", " 1af4:1042 (rev 01)"),
    ("dpkg --audit && apt-get check -qq && echo packages-$((6*7))", "packages-42"),
    ("echo errors-$(journalctl -k | grep -ciE 'i/o error|ext4-fs error|remounting')", "errors-0\r"),
];

/// On the processor in software.
pub(super) fn software(log: &mut Log) -> Result<()> {
    let files = Files::make()?;
    let mut command = Command::new(boot::build()?);
    command.args(["--backend", "interp", "--kernel"]).arg(&files.kernel);
    command.arg("--initramfs").arg(&files.menu);
    command.arg("--disk").arg(format!("path={}", files.disk.display()));
    files.menu_and_back(command.args(MACHINE).arg("--cmdline").arg(cmdline()), log)
}

/// On KVM; for the VMM, the disk is a block device of its host.
pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let files = Files::make()?;
    let mut xtask = xtask();
    xtask.arg("on-power").arg("--disk").arg(relative(&files.disk));
    for file in [&files.kernel, &files.menu] {
        xtask.arg("--file").arg(relative(file));
    }
    xtask.args(["--", "pseries-vmm", "--backend", "kvm"]);
    xtask.args(["--kernel", base_name(&files.kernel)?, "--initramfs", base_name(&files.menu)?]);
    xtask.args(["--disk", "path=/dev/vda"]).args(MACHINE).arg("--cmdline").arg(cmdline());
    files.menu_and_back(&mut xtask, log)
}

fn cmdline() -> String {
    format!("console=hvc0 cryptomgr.notests {NO_WATCHDOGS} quiet menu.timeout=0")
}

/// What is started, and the disk that belongs to the step alone.
struct Files {
    kernel: PathBuf,
    menu: PathBuf,
    disk: PathBuf,
    _folder: TemporaryFolder,
}

impl Files {
    fn make() -> Result<Self> {
        let guest = guest::make(false)?;
        let menu = petitboot::make(&guest, false)?;
        let made = debian::make(&guest, false)?;
        let folder = TemporaryFolder::make(&guest::folder(), "disk")?;
        let disk = Variant::USUAL.copy(&made, folder.path())?;
        Ok(Self { kernel: guest.kernel, menu, disk, _folder: folder })
    }

    /// The menu, kexec, a login; a restart, by which the menu is back; and the end.
    fn menu_and_back(&self, command: &mut Command, log: &mut Log) -> Result<()> {
        let mut terminal = Pty::spawn(command, log)?;
        terminal.expect("1) Debian GNU/Linux  [vda2: boot/grub/grub.cfg]")?;
        terminal.expect("Choose: ")?;
        terminal.type_in("none\r")?;
        terminal.expect("there is no \"none\"")?;
        terminal.expect("Choose: ")?;
        terminal.type_in("1\r")?;
        log_in(&mut terminal)?;
        for (command, answer) in COMMANDS {
            terminal.type_in(&format!("{command}\r"))?;
            terminal.expect(answer)?;
            terminal.expect(PROMPT)?;
        }
        terminal.type_in("reboot\r")?;
        terminal.expect("by its loader entry")?;
        terminal.expect("Choose: ")?;
        terminal.type_in("3\r")?;
        log_in(&mut terminal)?;
        terminal.type_in("poweroff\r")?;
        terminal.ends_well()?;
        debian::check(&self.disk)
    }
}

/// Waits for the login prompt, and logs in.
pub(super) fn log_in(terminal: &mut Pty<'_>) -> Result<()> {
    terminal.expect("debian login: ")?;
    terminal.type_in("root\r")?;
    terminal.expect(PROMPT).map(drop)
}
