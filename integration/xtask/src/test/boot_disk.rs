//! The steps that start a Debian from its disk as on a POWER machine, without being told of a kernel:
//! by GRUB, which is on the disk. And those that start a CD.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::boot;
use crate::cd;
use crate::debian::{self, Variant};
use crate::failure::Result;
use crate::folders::TemporaryFolder;
use crate::guest;
use crate::packages::{self, Tool};
use crate::peer;

use super::boots;
use super::disk::{PROMPT, log_in};
use super::grub_terminal::GrubTerminal;
use super::log::Log;
use super::on_host::{relative, xtask};

/// RAM of guests.
const MEMORY: [&str; 2] = ["--memory", "size=1G"];

/// The entries of the disk's menu (`guest/debian/grub.cfg`), and those of the CD's (`cd/grub.cfg`).
const DISK_ENTRIES: [&str; 2] = ["Debian GNU/Linux", "Debian GNU/Linux (rescue)"];
const CD_ENTRIES: [&str; 3] = ["Debian's Linux with a shell", "Restart", "Switch off"];

/// What may be typed at GRUB's command line, and what has to come of it. The menu has found the root
/// file system by then.
const COMMANDS: [(&str, &[&str]); 8] = [
    ("ls", &["(ieee1275/", ",gpt1)", ",gpt2)"]),
    ("ls /boot/grub", &["grub.cfg", "grubenv", "powerpc-ieee1275/"]),
    ("search --label root", &[",gpt2"]),
    ("cat /etc/fstab", &["errors=remount-ro"]),
    ("loadfont unicode", &[]),
    ("lsfonts", &["Unifont Regular 16"]),
    ("set greeting=from-grub", &[]),
    ("save_env greeting", &[]),
];

/// Says what the firmware started from, and whether that is the guest's disk, by an answer that is not
/// in what is typed.
const BOOTPATH: [(&str, &str); 2] = [
    (
        "boot=$(tr -d '\\0' </proc/device-tree/chosen/bootpath); echo \"started: $boot\"",
        "started: /",
    ),
    (
        "[ /sys/firmware/devicetree/base${boot%%:*} = \
         \"$(readlink -f /sys/block/vda/device/../of_node)\" ] && echo same-$((6*7))",
        "same-42",
    ),
];

/// The same for a guest that has no driver for the disk.
const CD_BOOTPATH: [(&str, &str); 2] =
    [BOOTPATH[0], ("[ -d /proc/device-tree${boot%%:*} ] && echo there-$((6*7))", "there-42")];

/// Makes the next start one of the second entry, by itself; and undoes the latter.
const CHOOSE: (&str, &str) =
    ("grub-editenv - set timeout=1 && grub-reboot rescue && echo chosen-$((6*7))", "chosen-42");
const UNDO: (&str, &str) = ("grub-editenv - set timeout=-1 && echo undone-$((6*7))", "undone-42");

/// Makes GRUB anew, as Debian does: its image, and its menu.
const INSTALL: [(&str, &str); 2] = [
    ("grub-install --no-nvram /dev/vda1 && echo installed-$((6*7))", "installed-42"),
    ("update-grub && echo updated-$((6*7))", "updated-42"),
];

/// The usual disk in software: command line, first entry, and one start by the second.
pub(super) fn software(log: &mut Log) -> Result<()> {
    let disk = Disk::make(Variant::USUAL)?;
    let mut terminal = disk.start(Place::Software, log)?;
    terminal.command_line()?;
    terminal.answers(&COMMANDS)?;
    terminal.type_in("configfile /boot/grub/grub.cfg\r")?;
    terminal.shows_menu()?;
    terminal.type_in("\r")?;
    log_in(&mut terminal.pty)?;
    asks(&mut terminal, &BOOTPATH)?;
    asks(&mut terminal, &[("grub-editenv - list", "greeting=from-grub"), CHOOSE])?;
    terminal.type_in("reboot\r")?;
    terminal.shows_menu_of("2.")?;
    terminal.highlights(1)?;
    terminal.expect("Press Enter for maintenance")?;
    terminal.type_in("\r")?;
    terminal.expect(PROMPT)?;
    asks(&mut terminal, &[UNDO])?;
    terminal.type_in("reboot\r")?;
    // Once only.
    terminal.shows_menu()?;
    terminal.command_line()?;
    terminal.answers(&[("list_env", &["greeting=from-grub", "next_entry="])])?;
    terminal.type_in("halt\r")?;
    disk.ends_well(terminal)
}

/// Another form of it on KVM; for the VMM, the disk is a block device of its host.
pub(super) fn kvm(log: &mut Log) -> Result<()> {
    Disk::make(Variant::UNUSUAL)?.start_and_off(Place::Kvm, log)
}

/// The CD in software.
pub(super) fn cd(log: &mut Log) -> Result<()> {
    cd_start_and_off(Place::Software, log)
}

/// Each form of the disk, and the CD, in software and on KVM.
pub(super) fn all(log: &mut Log) -> Result<()> {
    for place in [Place::Software, Place::Kvm] {
        for variant in Variant::ALL {
            Disk::make(variant)?.start_and_off(place, log)?;
        }
        cd_start_and_off(place, log)?;
    }
    Ok(())
}

/// The same under QEMU with its usual firmware.
pub(super) fn peer(log: &mut Log) -> Result<()> {
    packages::ensure(&[Tool::Qemu])?;
    for variant in Variant::ALL {
        Disk::make(variant)?.start_and_off(Place::Peer, log)?;
    }
    cd_start_and_off(Place::Peer, log)
}

/// What Debian's own programs make of the disk, in the guest.
pub(super) fn installed(log: &mut Log) -> Result<()> {
    let disk = Disk::make(Variant::USUAL)?;
    let mut terminal = disk.start(Place::Software, log)?;
    terminal.type_in("\r")?;
    log_in(&mut terminal.pty)?;
    asks(&mut terminal, &INSTALL)?;
    terminal.type_in("reboot\r")?;
    terminal.shows_menu_of(disk.variant.grub.version())?;
    terminal.highlights(0)?;
    terminal.expect("Advanced options for Debian GNU/Linux")?;
    terminal.type_in("\r")?;
    log_in(&mut terminal.pty)?;
    asks(&mut terminal, &BOOTPATH)?;
    terminal.type_in("poweroff\r")?;
    disk.ends_well(terminal)
}

/// Where a guest runs.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// On the processor in software.
    Software,
    /// On KVM, in the emulated host.
    Kvm,
    /// In QEMU, with SLOF.
    Peer,
}

impl Place {
    /// What starts from a disk alone.
    fn command(self, disk: &Path, is_written: bool) -> Result<Command> {
        let option = |disk: &Path| {
            format!("path={}{}", disk.display(), if is_written { "" } else { ",readonly=on" })
        };
        Ok(match self {
            Self::Software => {
                let mut command = Command::new(boot::build()?);
                command.args(["--backend", "interp"]).args(MEMORY);
                command.arg("--disk").arg(option(disk));
                command
            }
            Self::Kvm => {
                let mut command = xtask();
                command.arg("on-power").arg("--disk").arg(relative(disk));
                command.args(["--", "pseries-vmm", "--backend", "kvm"]).args(MEMORY);
                command.arg("--disk").arg(option(Path::new("/dev/vda")));
                command
            }
            Self::Peer => peer::from_disk(disk, is_written),
        })
    }
}

/// A form of the disk that belongs to a step alone.
struct Disk {
    variant: Variant,
    file: PathBuf,
    _folder: TemporaryFolder,
}

impl Disk {
    /// Makes one whose menu waits.
    fn make(variant: Variant) -> Result<Self> {
        let made = debian::make(&guest::make(false)?, false)?;
        let folder = TemporaryFolder::make(&guest::folder(), "boot-disk")?;
        let file = variant.copy(&made, folder.path())?;
        debian::set_variables(&file, &["timeout=-1"], folder.path())?;
        Ok(Self { variant, file, _folder: folder })
    }

    /// Starts from it, up to its menu.
    fn start<'a>(&self, place: Place, log: &'a mut Log) -> Result<GrubTerminal<'a>> {
        log.add(format!("{}\n", self.variant).as_bytes())?;
        let mut command = place.command(&self.file, true)?;
        let mut terminal = GrubTerminal::start(&mut command, &DISK_ENTRIES, log)?;
        terminal.shows_menu_of(self.variant.grub.version())?;
        terminal.highlights(0)?;
        terminal.expect(DISK_ENTRIES[1])?;
        Ok(terminal)
    }

    /// Its first entry, a look at what was started from, and the end.
    fn start_and_off(&self, place: Place, log: &mut Log) -> Result<()> {
        let mut terminal = self.start(place, log)?;
        terminal.type_in("\r")?;
        log_in(&mut terminal.pty)?;
        asks(&mut terminal, &BOOTPATH)?;
        terminal.type_in("poweroff\r")?;
        self.ends_well(terminal)
    }

    fn ends_well(&self, terminal: GrubTerminal<'_>) -> Result<()> {
        terminal.pty.ends_well()?;
        debian::check(&self.file)
    }
}

fn cd_start_and_off(place: Place, log: &mut Log) -> Result<()> {
    let image = cd::make(&guest::make(false)?, false)?;
    let mut terminal = GrubTerminal::start(&mut place.command(&image, false)?, &CD_ENTRIES, log)?;
    terminal.shows_menu()?;
    terminal.type_in("\r")?;
    terminal.expect(boots::PROMPT)?;
    for (command, answer) in CD_BOOTPATH {
        terminal.type_in(&format!("{command}\r"))?;
        terminal.expect(answer)?;
        terminal.expect(boots::PROMPT)?;
    }
    terminal.type_in("poweroff -f\r")?;
    terminal.pty.ends_well()
}

/// Types commands at root's prompt, of which this has to come.
fn asks(terminal: &mut GrubTerminal<'_>, commands: &[(&str, &str)]) -> Result<()> {
    for (command, answer) in commands {
        terminal.type_in(&format!("{command}\r"))?;
        terminal.expect(answer)?;
        terminal.expect(PROMPT)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_are_those_of_the_menus() {
        let titles = |menu: &str, quote: char| -> Vec<String> {
            let entries = menu.lines().filter_map(|line| line.strip_prefix("menuentry "));
            entries.filter_map(|line| Some(line.split(quote).nth(1)?.to_owned())).collect()
        };
        assert_eq!(titles(include_str!("../../guest/debian/grub.cfg"), '\''), DISK_ENTRIES);
        assert_eq!(titles(include_str!("../../cd/grub.cfg"), '"'), CD_ENTRIES);
    }

    #[test]
    fn no_answer_is_in_what_is_typed() {
        let all = [BOOTPATH, CD_BOOTPATH, INSTALL, [CHOOSE, UNDO]];
        for (command, answer) in all.as_flattened() {
            assert!(!command.contains(answer), "{command}");
        }
    }
}
