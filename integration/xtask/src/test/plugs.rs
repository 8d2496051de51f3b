//! The steps that give a running guest devices, and take them back.

use std::process::Command;

use crate::boot;
use crate::failure::Result;
use crate::folders::{self, TemporaryFolder};
use crate::guest::{self, Guest, NO_WATCHDOGS, QUICK};
use crate::host::base_name;
use crate::modules;
use crate::packages::{self, Tool};
use crate::power;
use crate::tools;

use super::boots::{shows, shows_times};
use super::http::Server;
use super::log::Log;
use super::on_host::on_host_with;
use super::peers::{HOST, Peer, sockets};
use super::resizes::{RESIZE, script};

/// How often the guest gets each device and gives it back.
const ROUNDS: usize = 10;

const DISK_BYTES: usize = 4 << 20;

/// A disk and a network.
pub(super) fn software(log: &mut Log) -> Result<()> {
    packages::ensure(&[Tool::Passt])?;
    let program = boot::build_example(RESIZE)?;
    let guest = guest::make(false)?;
    let folder = TemporaryFolder::make(&guest::folder(), "plugs")?;
    let sockets = sockets("plugs")?;
    let [disk, web, initramfs] = ["disk", "web", "initramfs"].map(|name| folder.path().join(name));
    folders::write(&disk, &vec![0; DISK_BYTES])?;
    folders::make(&web)?;
    folders::write(&web.join("file"), b"plugged\n")?;
    folders::write(&initramfs, &archive(&guest)?)?;
    let server = Server::start(&web)?;
    let socket = sockets.path().join("passt");
    let _passt = Peer::passt(&socket)?;
    let mut command = Command::new("sh");
    command.arg(script()).arg(folder.path()).arg(program).args(["--backend", "interp"]);
    command.arg("--kernel").arg(&guest.kernel).arg("--initramfs").arg(&initramfs);
    let url = format!("http://{HOST}:{}/file", server.port());
    let network = format!("plugnet=socket={} plugurl={url}", socket.display());
    plugged(log, &mut command, &format!("plugdisk=path={} {network}", disk.display()))
}

/// A disk.
pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let program = power::build_example(RESIZE)?;
    let guest = guest::make(false)?;
    let folder = TemporaryFolder::make(&guest::folder(), "plugs-on-kvm")?;
    let [disk, initramfs] = ["disk", "initramfs"].map(|name| folder.path().join(name));
    folders::write(&disk, &vec![0; DISK_BYTES])?;
    folders::write(&initramfs, &archive(&guest)?)?;
    let script = script();
    let files = [&guest.kernel, &initramfs, &script, &program, &disk];
    let mut command = on_host_with("powernv9", files, &["sh", base_name(&script)?, "."]);
    command.arg(format!("./{RESIZE}")).args(["--backend", "kvm"]);
    command.args(["--kernel", base_name(&guest.kernel)?]);
    command.args(["--initramfs", base_name(&initramfs)?]);
    plugged(log, &mut command, &format!("plugdisk=path={}", base_name(&disk)?))
}

/// The guest's initial RAM disk, with the modules that devices need.
fn archive(guest: &Guest) -> Result<Vec<u8>> {
    let modules = ["virtio_pci", "virtio_blk", "virtio_net"];
    let modules = modules::archive(guest, "guest-plugs", &modules)?;
    let tools = tools::initramfs(guest, false)?;
    Ok([folders::read(&tools)?, folders::read(&modules)?].concat())
}

/// Runs the machine. The guest asks for what is next, and uses it.
fn plugged(log: &mut Log, command: &mut Command, task: &str) -> Result<()> {
    command.args(["--cpus", "boot=2", "--memory", "size=512M"]);
    let cmdline = format!("{QUICK} {NO_WATCHDOGS} loglevel=1 autorun=/bin/plugs {task}");
    let console = log.run_with_input(command.arg("--cmdline").arg(cmdline), "")?;
    shows_times(&console, "GUEST-ROUND ", ROUNDS)?;
    shows(&console, &["GUEST-PLUGGED\n", "GUEST-RAN /bin/plugs: 0\n"])
}
