//! The step that starts guests from the network, on the processor in software: GRUB loads a kernel
//! by the client interface, and comes from the network itself.

use std::path::Path;
use std::process::Command;

use crate::boot;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::grub;
use crate::guest;

use super::boots::PROMPT;
use super::log::Log;
use super::network::{Files, Network, SERVER};
use super::peers::sockets;
use super::pty::Pty;

/// What GRUB is called on the server.
const BOOT_FILE: &str = "boot/grub.elf";

/// A way to start: GRUB's own file from the host or from the network, and the protocols by which it
/// gets kernel and initial RAM disk.
struct Way {
    is_netboot: bool,
    kernel_by: &'static str,
    initrd_by: &'static str,
}

const WAYS: [Way; 2] = [
    Way { is_netboot: false, kernel_by: "tftp", initrd_by: "http" },
    Way { is_netboot: true, kernel_by: "http", initrd_by: "tftp" },
];

/// Both ways.
pub(super) fn all(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let image = grub::make_for_network(false)?;
    let vmm = boot::build()?;
    let folder = sockets("netboot")?;
    for (number, Way { is_netboot, kernel_by, initrd_by }) in WAYS.into_iter().enumerate() {
        let menu = format!(
            "linux ({kernel_by},{SERVER})/vmlinux console=hvc0 cryptomgr.notests\n\
             initrd ({initrd_by},{SERVER})/initramfs.cpio.gz\n\
             boot\n"
        );
        let files = Files::from([
            (BOOT_FILE.to_owned(), folders::read(&image)?.into()),
            ("grub.cfg".to_owned(), menu.into_bytes().into()),
            ("vmlinux".to_owned(), folders::read(&guest.kernel)?.into()),
            ("initramfs.cpio.gz".to_owned(), folders::read(&guest.initramfs)?.into()),
        ]);
        let socket = folder.path().join(format!("network-{number}"));
        let network = Network::start(&socket, files, BOOT_FILE)?;
        let mut command = command(&vmm, &socket);
        let mut expected = vec![
            ("grub.cfg", "TFTP".to_owned()),
            ("vmlinux", kernel_by.to_uppercase()),
            ("initramfs.cpio.gz", initrd_by.to_uppercase()),
        ];
        if is_netboot {
            expected.push((BOOT_FILE, "TFTP".to_owned()));
        } else {
            command.arg("--kernel").arg(&image);
        }
        starts(log, &mut command)?;
        check(log, &network, &expected)?;
    }
    Ok(())
}

fn command(vmm: &Path, socket: &Path) -> Command {
    let mut command = Command::new(vmm);
    command.args(["--backend", "interp", "--memory", "size=1G"]);
    command.arg("--net").arg(format!("socket={}", socket.display()));
    command
}

/// A guest comes up to its shell, and switches off.
fn starts(log: &mut Log, command: &mut Command) -> Result<()> {
    let mut terminal = Pty::spawn(command, log)?;
    terminal.expect("Preparing to boot Linux version 6.1.")?;
    terminal.expect(PROMPT)?;
    terminal.type_in("poweroff -f\r")?;
    terminal.ends_well()
}

/// The machine got these files, by these protocols.
fn check(log: &mut Log, network: &Network, expected: &[(&str, String)]) -> Result<()> {
    let given = network.given();
    for one in &given {
        log.add(format!("{one}\n").as_bytes())?;
    }
    let missing = expected.iter().find(|(file, protocol)| {
        !given.iter().any(|one| one.file == *file && one.protocol == *protocol)
    });
    match missing {
        None => Ok(()),
        Some((file, protocol)) => {
            let given: Vec<_> = given.iter().map(ToString::to_string).collect();
            let given = given.join("; ");
            Err(Failure::new(format!("{file} did not go by {protocol}, but only: {given}")))
        }
    }
}
