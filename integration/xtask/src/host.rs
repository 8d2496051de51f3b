//! The emulated POWER host: a POWER9 or POWER10 that QEMU emulates, bare metal or a partition, with
//! Debian's kernel and its real KVM-HV.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;

use crate::cpio::Archive;
use crate::failure::{Attempt, Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::guest::{Guest, NO_WATCHDOGS};
use crate::modules;

/// The host's first program, which becomes `/init`.
const INIT: &str = include_str!("../host/init");

/// QEMU's limit for the initial RAM disk of these machines (hw/ppc/pnv.c).
const DISK_LIMIT_BYTES: usize = 128 << 20;

/// How many disks the host takes at most: as many as a chip has PCI host bridges.
pub(crate) const DISKS: usize = 6;

/// The modules that the host's kernel needs for its disks, and for networks of guests on it.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "tun", "vhost_net"];

/// Eight nanoseconds an instruction, as many as the emulator needs for one, more or less. Nothing is
/// waited for where there is nothing to execute.
const COUNTED: [&str; 2] = ["-icount", "shift=3,sleep=off"];

/// A machine that QEMU emulates for a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostMachine {
    /// A bare-metal POWER9: guests of POWER9 and of POWER8's level, by radix or hash, XICS or XIVE
    #[default]
    Powernv9,
    /// A bare-metal POWER10: guests of POWER10 and of POWER9's and POWER8's levels, by radix or
    /// hash, XICS or XIVE
    Powernv10,
    /// A partition of a POWER9 that runs guests of its own (nested KVM-HV): guests of POWER9, by
    /// radix and XICS only
    Pseries9,
    /// A partition of a POWER10: guests of POWER10 and of POWER9's level, by radix and XICS only
    Pseries10,
}

impl HostMachine {
    /// Its processor.
    pub(crate) fn cpu(self) -> &'static str {
        match self {
            Self::Powernv9 | Self::Pseries9 => "POWER9",
            Self::Powernv10 | Self::Pseries10 => "POWER10",
        }
    }

    /// What it is, for people.
    pub(crate) fn description(self) -> String {
        let cpu = self.cpu();
        if self.is_partition() { format!("{cpu} partition") } else { format!("{cpu} host") }
    }

    /// Whether there is a hypervisor below it, whose guest it is.
    pub(crate) fn is_partition(self) -> bool {
        matches!(self, Self::Pseries9 | Self::Pseries10)
    }

    /// QEMU's arguments for it: one processor is enough for guests of many.
    fn arguments(self) -> Vec<&'static str> {
        let machine = match self {
            Self::Powernv9 => "powernv9",
            Self::Powernv10 => "powernv10",
            // The emulator has the hypercalls of nested guests, and says so when told to. What it
            // cannot emulate it is told not to promise.
            Self::Pseries9 | Self::Pseries10 => {
                "pseries,x-vof=on,cap-nested-hv=on,cap-ccf-assist=off,cap-cfpc=broken,\
                 cap-sbbc=broken,cap-ibs=broken"
            }
        };
        let mut arguments = vec!["-M", machine, "-cpu", self.cpu(), "-smp", "1"];
        if !self.is_partition() {
            // Without a service processor a restart, and so a panic, would not end the emulator.
            arguments.extend(["-device", "ipmi-bmc-sim,id=bmc0"]);
            arguments.extend(["-device", "isa-ipmi-bt,bmc=bmc0,irq=10"]);
        }
        arguments
    }

    /// QEMU's device for a disk, with the bridges that it needs: each of bare metal has one of a
    /// chip's PCI host bridges to itself, as without the usual devices there is nothing below them.
    fn disk_devices(self, place: usize) -> Vec<String> {
        if self.is_partition() {
            return vec![format!("virtio-blk-pci,drive=disk{place}")];
        }
        vec![
            format!("pnv-phb,index={place},id=bridge{place}"),
            format!("pnv-phb-root-port,bus=bridge{place},id=port{place}"),
            format!("virtio-blk-pci,drive=disk{place},bus=port{place}"),
        ]
    }
}

/// What the host does, and how it starts.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) machine: HostMachine,
    /// As QEMU wants it, such as "4G".
    pub(crate) memory: String,
    /// Shell assignments for `host/init`.
    pub(crate) settings: String,
    /// The shell program that becomes the command.
    pub(crate) command: String,
    /// Files for the command's folder.
    pub(crate) files: Vec<PathBuf>,
    /// Disk images, `/dev/vda` and so on, [`DISKS`] at most. What is written to them stays.
    pub(crate) disks: Vec<PathBuf>,
    /// A program for the command's PATH.
    pub(crate) vmm: PathBuf,
    /// Its clock goes by the instructions that it executes. For partitions only: the emulator of bare
    /// metal ends where a timer is set.
    pub(crate) is_counted: bool,
}

/// A running emulator, ended with its owner.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) qemu: Child,
    folder: TemporaryFolder,
}

impl Host {
    /// Starts the host on a job. Its console is the child's standard input and output.
    pub(crate) fn start(guest: &Guest, job: &Job) -> Result<Self> {
        let parent = folders::target().join("power");
        folders::make(&parent)?;
        let folder = TemporaryFolder::make(&parent, "host")?;
        let disk = folder.path().join("host.cpio");
        folders::write(&disk, &initramfs(guest, job)?)?;
        let errors = errors_file(&folder);
        let errors = File::create(&errors).attempt(|| format!("write {}", errors.display()))?;
        let mut command = Command::new("qemu-system-ppc64");
        command
            .args(job.machine.arguments())
            .args(["-m", &job.memory])
            .args(["-nographic", "-nodefaults", "-no-reboot"])
            .args(["-serial", "stdio", "-monitor", "none"])
            .arg("-kernel")
            .arg(&guest.kernel)
            .arg("-initrd")
            .arg(&disk)
            // A panic restarts the machine, which is the end of it.
            .arg("-append")
            .arg(format!("console=hvc0 quiet cryptomgr.notests panic=-1 {NO_WATCHDOGS}"))
            .args(disk_arguments(job.machine, &job.disks)?)
            .args(if job.is_counted { &COUNTED[..] } else { &[] })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // A Ctrl-C on the terminal is for xtask, which ends the emulator in order.
            .process_group(0);
        // SAFETY: prctl(2) with these arguments may be called between fork and exec; it touches no
        // memory.
        unsafe {
            command.pre_exec(|| {
                // Even when xtask is killed, the emulator does not stay behind.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let qemu = command.spawn().attempt(|| "run qemu-system-ppc64".into())?;
        Ok(Self { qemu, folder })
    }

    /// What the emulator itself complained about.
    pub(crate) fn complaints(&self) -> String {
        let errors = fs::read(errors_file(&self.folder)).unwrap_or_default();
        String::from_utf8_lossy(&errors).trim().to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Fails only when it is gone already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn errors_file(folder: &TemporaryFolder) -> PathBuf {
    folder.path().join("qemu.log")
}

/// QEMU's arguments for disks. What is written is in its file when the emulator ends, and need not
/// outlast this machine.
fn disk_arguments(machine: HostMachine, disks: &[PathBuf]) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for (place, disk) in disks.iter().enumerate() {
        let path = disk.to_str().ok_or_else(|| {
            Failure::new(format!("{} is no path that QEMU can be told", disk.display()))
        })?;
        // A comma ends a value, two are one (QEMU, "Standard options").
        let path = path.replace(',', ",,");
        arguments.push("-drive".into());
        arguments.push(format!("if=none,id=disk{place},format=raw,cache=unsafe,file={path}"));
        for device in machine.disk_devices(place) {
            arguments.extend(["-device".into(), device]);
        }
    }
    Ok(arguments)
}

fn initramfs(guest: &Guest, job: &Job) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "tmp", "lib", "job", "job/files"] {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.program("init", INIT.as_bytes());
    archive.program("bin/busybox", &folders::read(&guest.busybox)?);
    archive.program("bin/pseries-vmm", &folders::read(&job.vmm)?);
    for module in &guest.modules {
        archive.file(&format!("lib/{}", base_name(module)?), &folders::read(module)?);
    }
    archive.file("job/settings", job.settings.as_bytes());
    archive.program("job/command", job.command.as_bytes());
    for file in &job.files {
        let name = format!("job/files/{}", base_name(file)?);
        let metadata = fs::metadata(file).attempt(|| format!("read {}", file.display()))?;
        let content = folders::read(file)?;
        if metadata.permissions().mode() & 0o111 != 0 {
            archive.program(&name, &content);
        } else {
            archive.file(&name, &content);
        }
    }
    let mut disk = archive.finish();
    if !job.disks.is_empty() {
        // The kernel takes archives one behind the other.
        disk.extend_from_slice(&folders::read(&modules::archive(
            guest,
            "host-modules",
            &MODULES,
        )?)?);
    }
    if disk.len() > DISK_LIMIT_BYTES {
        return Err(Failure::new(format!(
            "the files are too large: with the host's own they make {} MiB, and the emulated \
             machine takes {} MiB at most",
            disk.len().div_ceil(1 << 20),
            DISK_LIMIT_BYTES >> 20
        )));
    }
    Ok(disk)
}

/// A path's last part.
pub(crate) fn base_name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Failure::new(format!("{} has no name to be found under on the host", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_has_a_bridge_of_its_own_on_bare_metal() {
        let disks = ["a".into(), "b,c".into()];
        let arguments = disk_arguments(HostMachine::Powernv9, &disks).unwrap().join(" ");
        assert_eq!(
            arguments,
            "-drive if=none,id=disk0,format=raw,cache=unsafe,file=a \
             -device pnv-phb,index=0,id=bridge0 \
             -device pnv-phb-root-port,bus=bridge0,id=port0 \
             -device virtio-blk-pci,drive=disk0,bus=port0 \
             -drive if=none,id=disk1,format=raw,cache=unsafe,file=b,,c \
             -device pnv-phb,index=1,id=bridge1 \
             -device pnv-phb-root-port,bus=bridge1,id=port1 \
             -device virtio-blk-pci,drive=disk1,bus=port1"
        );
        let arguments = disk_arguments(HostMachine::Pseries10, &disks[..1]).unwrap().join(" ");
        assert_eq!(
            arguments,
            "-drive if=none,id=disk0,format=raw,cache=unsafe,file=a \
             -device virtio-blk-pci,drive=disk0"
        );
    }
}
