//! Guests of the example VMM: booted, started again, and saved at random points of their boot.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::boot;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest::{self, Guest};
use crate::host::base_name;
use crate::modules;
use crate::power;

use super::boots::{VOF_LINES, shows, shows_times};
use super::log::Log;
use super::on_host::on_power_with;

/// What saves guests, on this machine and on an emulated host.
const SAVES: &str = "integration/xtask/host/saves";

const VMM: &str = "example-vmm";
const EXAMPLE: &str = "integration/example/machine.json";

/// How often guests are saved, by each controller: in software, and on KVM, where everything takes
/// longer.
const SOFTWARE_SAVES: u32 = 25;
const KVM_SAVES: u32 = 10;

/// How guests take interrupts, and how often they say that it is by XIVE: with the choice, they begin
/// as others do.
const CONTROLLERS: [(&str, &str); 2] = [("xics", "0"), ("auto", "1")];

/// Where the points come from: a failure says at which of them it was.
const SEED: &str = "1";

/// Typed at the guest's shell.
const ENTROPY: &str = "modprobe virtio_pci; modprobe virtio_rng
echo random-bytes-$(head -c 4096 /dev/hwrng | wc -c)
echo messages-$(grep -c 'MSI.*virtio0-input' /proc/interrupts)
poweroff -f
";

/// In software: both ways in, and a restart by each.
pub(super) fn software_boots(log: &mut Log) -> Result<()> {
    let vmm = boot::build_program(VMM)?;
    let guest = guest::make(false)?;
    for (x_vof, starts_by_vof) in [(true, 2), (false, 0)] {
        let mut machine = Machine::of(&guest)?;
        machine.0["machine"]["x-vof"] = x_vof.into();
        let file = machine.restarting()?.write("restarting.json")?;
        let mut command = Command::new(&vmm);
        let console =
            log.run_with_input(command.args(["--hypervisor", "software"]).arg(file), "")?;
        booted(&console, 2, starts_by_vof)?;
    }
    Ok(())
}

/// In software: the guest takes randomness from the device on the VMM's own PCI bus, by messages.
pub(super) fn software_entropy(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let modules = modules::archive(&guest, "guest-entropy", &["virtio_pci", "virtio_rng"])?;
    let disk = folders::target().join("test/entropy.cpio");
    folders::write(&disk, &guest.with(&[folders::read(&modules)?])?)?;
    let mut machine = Machine::of(&guest)?.with_cmdline("autotest", "")?;
    machine.0["payload"]["initramfs"] = path(&disk)?.into();
    machine.0["rng"] = serde_json::json!({"src": "/dev/urandom"});
    let file = machine.write("entropy.json")?;
    let mut command = Command::new(boot::build_program(VMM)?);
    let console =
        log.run_with_input(command.args(["--hypervisor", "software"]).arg(file), ENTROPY)?;
    shows(&console, &["random-bytes-4096", "messages-1"])
}

/// On KVM, by the file as it is, and with a restart.
pub(super) fn kvm_boots(log: &mut Log) -> Result<()> {
    let vmm = power::build(VMM)?;
    let restarting = Machine::example()?.restarting()?.write("restarting.json")?;
    for (machine, starts) in [(folders::workspace().join(EXAMPLE), 1), (restarting, 2)] {
        let command = ["./example-vmm", "--hypervisor", "kvm", base_name(&machine)?];
        let mut command = on_power_with(&[&vmm, &machine], &command)?;
        booted(&log.run_with_input(&mut command, "")?, starts, starts)?;
    }
    Ok(())
}

pub(super) fn software(log: &mut Log) -> Result<()> {
    let vmm = boot::build_program(VMM)?;
    let machine = Machine::of(&guest::make(false)?)?.small();
    let folder = folders::target().join("test/saves");
    folders::make(&folder)?;
    for (interrupts, xives) in CONTROLLERS {
        let machine = machine.with_interrupts(interrupts).write("saved.json")?;
        let mut command = Command::new("sh");
        command.arg(folders::workspace().join(SAVES));
        command.args([&SOFTWARE_SAVES.to_string(), SEED, xives]);
        command.arg(&vmm).arg("software").arg(machine).current_dir(&folder);
        saved(&log.run_with_input(&mut command, "")?, SOFTWARE_SAVES)?;
    }
    Ok(())
}

pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let vmm = power::build(VMM)?;
    let (saves, count) = (folders::workspace().join(SAVES), KVM_SAVES.to_string());
    for (interrupts, xives) in CONTROLLERS {
        let machine =
            Machine::example()?.small().with_interrupts(interrupts).write("saved.json")?;
        let file = base_name(&machine)?;
        let command = ["sh", "./saves", &count, SEED, xives, "./example-vmm", "kvm", file];
        let mut command = on_power_with(&[&vmm, &machine, &saves], &command)?;
        saved(&log.run_with_input(&mut command, "")?, KVM_SAVES)?;
    }
    Ok(())
}

/// A machine of the example VMM.
struct Machine(serde_json::Value);

impl Machine {
    /// The one that comes with it.
    fn example() -> Result<Self> {
        let text = folders::read(&folders::workspace().join(EXAMPLE))?;
        let machine = serde_json::from_slice(&text).map(Self);
        machine.map_err(|error| Failure::new(format!("cannot read {EXAMPLE}: {error}")))
    }

    /// The same with the guest's files where they are on this machine.
    fn of(guest: &Guest) -> Result<Self> {
        let mut machine = Self::example()?;
        machine.0["payload"]["kernel"] = path(&guest.kernel)?.into();
        machine.0["payload"]["initramfs"] = path(&guest.initramfs)?.into();
        Ok(machine)
    }

    /// With a guest that restarts once.
    fn restarting(self) -> Result<Self> {
        self.with_cmdline("autotest", "autoreboot")
    }

    /// With another word in place of this one on the kernel's command line.
    fn with_cmdline(mut self, word: &str, other: &str) -> Result<Self> {
        let cmdline = self.0["payload"]["cmdline"].as_str().unwrap_or_default();
        if !cmdline.contains(word) {
            return Err(Failure::new(format!("the guest of the example VMM has no {word}")));
        }
        self.0["payload"]["cmdline"] = cmdline.replace(word, other).into();
        Ok(self)
    }

    /// With as little memory as its guest needs: all of it is written and read each time.
    fn small(mut self) -> Self {
        self.0["memory"]["size"] = (256 << 20).into();
        self
    }

    /// With interrupts taken so.
    fn with_interrupts(&self, interrupts: &str) -> Self {
        let mut machine = Self(self.0.clone());
        machine.0["machine"]["interrupts"] = interrupts.into();
        machine
    }

    fn write(&self, name: &str) -> Result<PathBuf> {
        let folder = folders::target().join("test");
        folders::make(&folder)?;
        let file = folder.join(name);
        folders::write(&file, self.0.to_string().as_bytes())?;
        Ok(file)
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Failure::new(format!("{} is no UTF-8", path.display())))
}

fn booted(console: &str, starts: usize, starts_by_vof: usize) -> Result<()> {
    shows_times(console, "GUEST-READY", starts)?;
    shows_times(console, "processor\t: ", 2 * starts)?;
    VOF_LINES.iter().try_for_each(|line| shows_times(console, line, starts_by_vof))
}

/// The script looks at each boot by itself, and its status says so.
fn saved(console: &str, count: u32) -> Result<()> {
    let saves = console.lines().filter(|line| line.contains(", save ")).count();
    if saves < count as usize {
        return Err(Failure::new(format!("there were {saves} saves instead of {count}")));
    }
    Ok(())
}
