//! The steps that start GRUB, as somebody at a terminal: each with the older and the newer one, on
//! the processor in software.

use std::path::Path;
use std::process::Command;

use crate::boot;
use crate::failure::{Failure, Result};
use crate::grub;

use super::boots::PROMPT;
use super::grub_terminal::{DOWN, GrubTerminal, UP};
use super::log::Log;

/// RAM in MiB.
const RAM_MIB: u64 = 512;

/// The entries of the menu (`xtask/grub/grub.cfg`), in its order.
const ENTRIES: [&str; 4] = ["Debian's Linux", "Say hello", "Restart", "Switch off"];

/// What may be typed, and what has to come of it.
const COMMANDS: [(&str, &[&str]); 5] = [
    ("ls", &["(memdisk)"]),
    ("ls (memdisk)/", &["grub.cfg", "hello.txt", "vmlinux.gz"]),
    ("cat (memdisk)/hello.txt", &["Hello from the disk in memory."]),
    ("echo \"$grub_platform $grub_cpu\"", &["ieee1275 powerpc"]),
    ("no-such-command", &["can't find command"]),
];

/// Menu, command line, the end.
pub(super) fn commands(log: &mut Log) -> Result<()> {
    for_each(log, |terminal| {
        terminal.shows_menu()?;
        for (key, entry) in [(DOWN, 1), (DOWN, 2), (UP, 1), (UP, 0), (DOWN, 1)] {
            terminal.type_in(key)?;
            terminal.highlights(entry)?;
        }
        terminal.type_in("\r")?;
        terminal.expect("Hello from the disk in memory.")?;
        terminal.shows_menu()?;
        terminal.command_line()?;
        terminal.answers(&COMMANDS)?;
        check_map(&terminal.answer("lsmmap")?)?;
        terminal.type_in("halt\r")
    })
}

/// The restart of the menu and that of the command line.
pub(super) fn reboot(log: &mut Log) -> Result<()> {
    for_each(log, |terminal| {
        terminal.shows_menu()?;
        terminal.type_in(DOWN)?;
        terminal.highlights(1)?;
        terminal.type_in(DOWN)?;
        terminal.highlights(2)?;
        terminal.type_in("\r")?;
        terminal.shows_menu()?;
        terminal.command_line()?;
        terminal.type_in("reboot\r")?;
        terminal.shows_menu()?;
        terminal.type_in("\x01x")
    })
}

/// A kernel started by GRUB, and GRUB started by the kernel's restart.
pub(super) fn linux(log: &mut Log) -> Result<()> {
    for_each(log, |terminal| {
        terminal.shows_menu()?;
        terminal.type_in("\r")?;
        terminal.expect("Preparing to boot Linux version 6.1.")?;
        terminal.expect(PROMPT)?;
        terminal.type_in("grep -o BOOT_IMAGE=.* /proc/cmdline\r")?;
        terminal.expect("BOOT_IMAGE=(memdisk)/vmlinux.gz console=hvc0")?;
        terminal.type_in("reboot -f\r")?;
        terminal.shows_menu()?;
        for entry in 1..ENTRIES.len() {
            terminal.type_in(DOWN)?;
            terminal.highlights(entry)?;
        }
        terminal.type_in("\r")
    })
}

/// Runs each GRUB on a terminal; `play` makes it end.
fn for_each(log: &mut Log, play: fn(&mut GrubTerminal<'_>) -> Result<()>) -> Result<()> {
    let images = grub::make(false)?;
    let vmm = boot::build()?;
    for image in [&images.older, &images.newer] {
        let mut terminal = GrubTerminal::start(&mut command(&vmm, image), &ENTRIES, log)?;
        play(&mut terminal)?;
        terminal.pty.ends_well()?;
    }
    Ok(())
}

fn command(vmm: &Path, image: &Path) -> Command {
    let mut command = Command::new(vmm);
    command.args(["--backend", "interp", "--machine", "x-vof=on"]);
    command.args(["--memory", &format!("size={RAM_MIB}M"), "--kernel"]).arg(image);
    command
}

/// Checks that `lsmmap` shows RAM: ranges in order, all in RAM, the last up to its end.
fn check_map(said: &str) -> Result<()> {
    let wrong = |why: &str| Failure::new(format!("`lsmmap` {why}:\n{said}"));
    let mut end = 0;
    let mut ranges = 0;
    for line in said.lines().filter(|line| line.contains("base_addr")) {
        let (start, length) = range(line).ok_or_else(|| wrong("shows what is not RAM"))?;
        if start < end || length == 0 {
            return Err(wrong("shows ranges that are not in order"));
        }
        end = start.saturating_add(length);
        ranges += 1;
    }
    match (ranges, end) {
        (0, _) => Err(wrong("shows no ranges")),
        (_, end) if end != RAM_MIB << 20 => Err(wrong("shows another end of RAM")),
        _ => Ok(()),
    }
}

/// `base_addr = 0x2000000, length = 0x1e000000, available RAM`: start and length.
fn range(line: &str) -> Option<(u64, u64)> {
    let line = line.trim().strip_prefix("base_addr = 0x")?;
    let (start, rest) = line.split_once(", length = 0x")?;
    let length = rest.strip_suffix(", available RAM")?;
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    Some((number(start)?, number(length)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::grub_terminal::GRUB_PROMPT;

    #[test]
    fn a_map_of_ram_ends_where_ram_ends() {
        let first = "base_addr = 0x1fffff, length = 0x1, available RAM\r\n";
        let last = "base_addr = 0x2000000, length = 0x1e000000, available RAM\r\n";
        check_map(&[first, last, GRUB_PROMPT].concat()).unwrap();
        for (said, why) in [
            (GRUB_PROMPT.to_owned(), "no ranges"),
            (first.to_owned(), "another end"),
            ([last, first].concat(), "not in order"),
            (last.replace("available", "reserved"), "not RAM"),
        ] {
            let failure = check_map(&said).unwrap_err().to_string();
            assert!(failure.contains(why), "{failure}");
        }
    }

    #[test]
    fn the_entries_are_those_of_the_menu() {
        let menu = include_str!("../../grub/grub.cfg");
        let entries = menu.lines().filter_map(|line| line.strip_prefix("menuentry \""));
        let entries: Vec<&str> = entries.filter_map(|line| line.split('"').next()).collect();
        assert_eq!(entries, ENTRIES);
    }
}
