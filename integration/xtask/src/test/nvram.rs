//! The step that has a guest use its NVRAM, over restarts and machines, up to its crash.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::boot;
use crate::failure::{Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::guest::{self, NO_WATCHDOGS};
use crate::tools;

use super::boots::PROMPT;
use super::debian_guest::{ASH, Session};
use super::log::Log;
use super::pty::Pty;

/// What is set: the program takes the path for a text.
const PATH: &str = "/pci@800000020000000/disk@1";

/// The partitions in the order that they are in, by signature and name: the machine's, those that
/// Linux makes for itself, and what is left.
const PARTITIONS: [&str; 4] =
    ["70 common", "a0 ibm,rtas-log", "a0 lnx,oops-log", "7f wwwwwwwwwwww"];

/// Shows them so, out of a table with the checksum, the length and where each is.
const TABLE: &str = "nvram --partitions | awk '$2 ~ /^[0-9a-f][0-9a-f]$/ { print $2, $NF }'";

const GET: &str = "nvram -p common --print-config=boot-device";
const OPTION: &str = "tr -d '\\0' </proc/device-tree/options/boot-device";

/// What Linux's last words have to be.
const LAST_WORDS: &str = "nvram --unzip lnx,oops-log | grep -c 'sysrq: Trigger a crash'";

pub(super) fn all(log: &mut Log) -> Result<()> {
    let folder = TemporaryFolder::make(&guest::folder(), "nvram")?;
    let machine = Machine::make(folder.path())?;
    let is_set = |guest: &mut Session<'_>| {
        guest.gets(GET, PATH)?;
        guest.gets(OPTION, PATH)
    };

    let mut guest = machine.start(log)?;
    guest.gets("dmesg | grep -c 'nvram: Failed'; true", "0")?;
    guest.gets("tr -d '\\0' </proc/device-tree/vdevice/nvram@71000001/device_type", "nvram")?;
    guest.gets(TABLE, &PARTITIONS.join("\n"))?;
    guest.ask_in_vain(GET)?;
    guest.ask(&format!("nvram -p common --update-config boot-device={PATH}"))?;
    guest.gets(GET, PATH)?;
    // By way of the machine's next start.
    guest.ask_in_vain("test -e /proc/device-tree/options/boot-device")?;
    let mut guest = again(guest.begin_to("reboot -f")?)?;
    is_set(&mut guest)?;
    guest.gets("wc -c </dev/nvram", "65536")?;
    // The machine stops where its guest has crashed.
    guest.begin_to("echo c >/proc/sysrq-trigger")?.ends_with(3)?;

    let mut guest = machine.start(log)?;
    is_set(&mut guest)?;
    guest.gets(TABLE, &PARTITIONS.join("\n"))?;
    guest.gets(LAST_WORDS, "1")?;
    let damaged = "head -c 16 /dev/zero | tr '\\0' '\\245'";
    guest.ask(&format!("{damaged} | dd of=/dev/nvram bs=16 count=1 2>/dev/null"))?;
    guest.power_off("poweroff -f")?;

    let damaged = folders::read(&machine.nvram)?;
    let mut guest = machine.start(log)?;
    guest.gets(TABLE, &PARTITIONS.join("\n"))?;
    guest.ask_in_vain(GET)?;
    guest.power_off("poweroff -f")?;
    let aside = machine.nvram.with_extension("damaged-1");
    if damaged.first() != Some(&0xa5) || folders::read(&aside)? != damaged {
        return Err(Failure::new(format!("{} is not what was there", aside.display())));
    }
    Ok(())
}

struct Machine {
    vmm: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    nvram: PathBuf,
}

impl Machine {
    fn make(folder: &Path) -> Result<Self> {
        let guest = guest::make(false)?;
        let initramfs = tools::initramfs(&guest, false)?;
        let nvram = folder.join("nvram");
        Ok(Self { vmm: boot::build()?, kernel: guest.kernel, initramfs, nvram })
    }

    fn start<'a>(&self, log: &'a mut Log) -> Result<Session<'a>> {
        let mut command = Command::new(&self.vmm);
        command.args(["--backend", "interp", "--memory", "size=512M", "--cpus", "boot=2"]);
        command.arg("--kernel").arg(&self.kernel).arg("--initramfs").arg(&self.initramfs);
        let usual = "console=hvc0 cryptomgr.notests quiet";
        command.arg("--cmdline").arg(format!("{usual} {NO_WATCHDOGS}"));
        command.arg("--nvram").arg(format!("path={}", self.nvram.display()));
        again(Pty::spawn(&mut command, log)?)
    }
}

/// The shell of a guest that starts.
fn again(mut terminal: Pty<'_>) -> Result<Session<'_>> {
    terminal.expect(PROMPT)?;
    Session::begin(terminal, ASH)
}
