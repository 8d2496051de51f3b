//! The step in which what a Debian's devices work with goes away, and at last its machine.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::debian;
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::packages::{self, Tool};

use super::debian_guest::{Debian, Session, option};
use super::devices::hole;
use super::http::Server;
use super::log::Log;
use super::peers::{GUEST, HOST, Peer, sockets};

/// A disk of zeros, and what is left of it.
const DISK_BYTES: u64 = 64 << 20;
const LEFT_BYTES: u64 = 1 << 20;

/// How many files are known to be on the disk when the machine is killed.
const SYNCED: u64 = 40;

/// Writes files for ever, and says of each when it is on the disk.
const WRITE: &str = "mkdir /root/kept; i=0; while :; do seq $i $((i + 9999)) >/root/kept/$i; \
     sync /root/kept/$i /root/kept || exit; echo kept-$i; i=$((i + 1)); done";

/// Errors of the devices, and then the machine's end.
pub(super) fn all(log: &mut Log) -> Result<()> {
    packages::ensure(&[Tool::Passt, Tool::Virtiofsd, Tool::Ext4])?;
    let debian = Debian::make("faults")?;
    let sockets = sockets("faults")?;
    let (folder, sockets) = (debian.folder.path(), sockets.path());
    let [disk, web, shared] = ["disk", "web", "shared"].map(|name| folder.join(name));
    for folder in [&web, &shared] {
        folders::make(folder)?;
        folders::write(&folder.join("file"), b"what is in it\n")?;
    }
    hole(&disk, DISK_BYTES)?;
    let server = Server::start(&web)?;
    let [network, files] = ["passt", "fs"].map(|name| sockets.join(name));
    let mut passt = Peer::passt(&network)?;
    let mut virtiofsd = Peer::virtiofsd(&files, &shared)?;
    let arguments = [
        option("--disk", "path", &disk, ""),
        option("--net", "socket", &network, ""),
        option("--fs", "tag=shared,socket", &files, ""),
    ];
    let mut guest = debian.start(log, arguments.as_flattened())?;
    no_network(&mut guest, &mut passt, &server)?;
    no_files(&mut guest, &mut virtiofsd)?;
    no_disk(&mut guest, &disk)?;

    let mut terminal = guest.begin_to(WRITE)?;
    terminal.expect(&format!("kept-{SYNCED}\r"))?;
    terminal.kill()?;
    kept(&debian::recovered(&debian.disk, folder)?, folder)
}

/// The link is down while there is no passt, and up when it is back.
fn no_network(guest: &mut Session<'_>, passt: &mut Peer, server: &Server) -> Result<()> {
    let fetch = format!("wget -qO - http://{HOST}:{}/file", server.port());
    guest.ask(&format!("until ip -4 address | grep -q {GUEST}; do sleep 0.2; done"))?;
    guest.gets(&fetch, "what is in it")?;
    let link = |is_up: u8| {
        format!("until [ \"$(cat /sys/class/net/en*/carrier)\" = {is_up} ]; do sleep 0.2; done")
    };
    passt.kill();
    guest.ask(&link(0))?;
    passt.start_again()?;
    guest.ask(&link(1))?;
    guest.ask(&format!("until {fetch}; do sleep 0.2; done"))?;
    guest.gets(&fetch, "what is in it")
}

/// Programs get errors while there is no virtiofsd; when it is back, its folder is mounted anew.
fn no_files(guest: &mut Session<'_>, virtiofsd: &mut Peer) -> Result<()> {
    guest.ask("mount -t virtiofs shared /mnt")?;
    guest.gets("cat /mnt/file", "what is in it")?;
    virtiofsd.kill();
    guest.ask_in_vain("cat /mnt/file; ls /mnt/other")?;
    guest.ask("umount /mnt")?;
    virtiofsd.start_again()?;
    guest.ask(
        "cd /sys/bus/virtio/drivers/virtiofs && device=$(echo virtio*) && echo $device >unbind \
         && echo $device >bind; cd",
    )?;
    guest.ask("mount -t virtiofs shared /mnt")?;
    guest.gets("cat /mnt/file", "what is in it")?;
    guest.ask("umount /mnt").map(drop)
}

/// What is behind the end of a file that became shorter is an error; what is before it is not.
fn no_disk(guest: &mut Session<'_>, disk: &Path) -> Result<()> {
    let read = |at: u64| {
        format!("dd if=/dev/vdb of=/dev/null bs=64K count=1 iflag=direct skip={}", at >> 16)
    };
    guest.ask(&read(DISK_BYTES / 2))?;
    let file = File::options().write(true).open(disk);
    file.and_then(|file| file.set_len(LEFT_BYTES)).attempt(|| "truncate a disk".into())?;
    let said = guest.ask_in_vain(&read(DISK_BYTES / 2))?;
    if !said.contains("Input/output error") {
        return Err(Failure::new(format!("a read behind the end of a disk says: {said}")));
    }
    guest.ask(&read(0))?;
    guest.gets("journalctl -k | grep -q 'I/O error, dev vdb' && echo told", "told")
}

/// Every file is there that the guest was told is.
fn kept(root: &Path, folder: &Path) -> Result<()> {
    debian::take_folder(root, "/root/kept", folder)?;
    for file in 0..=SYNCED {
        let content = folders::read(&folder.join(format!("kept/{file}")))?;
        let mut wanted = Vec::new();
        for line in file..file + 10_000 {
            // A vector takes all.
            let _ = writeln!(wanted, "{line}");
        }
        if content != wanted {
            return Err(Failure::new(format!("the file {file} is not as it was written")));
        }
    }
    Ok(())
}
