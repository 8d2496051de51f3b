//! The programs of the host that a machine's devices work with: passt, virtiofsd.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Attempt, Failure, Result};
use crate::folders::TemporaryFolder;
use crate::group::{Group, TICK};
use crate::packages::VIRTIOFSD;
use crate::patience::{HANG, Patience};
use crate::program::{ended, line};

/// In the guest, the address of the host.
pub(super) const HOST: &str = "10.0.2.2";

/// In the guest, its own.
pub(super) const GUEST: &str = "10.0.2.15";

/// A folder for sockets. It is where all may write, as passt makes itself nobody before it makes its
/// socket, if root starts it.
pub(super) fn sockets(name: &str) -> Result<TemporaryFolder> {
    let folder = TemporaryFolder::make(&std::env::temp_dir(), &format!("xtask-{name}"))?;
    let all = Permissions::from_mode(0o777);
    let set = fs::set_permissions(folder.path(), all);
    set.attempt(|| format!("let all write to {}", folder.path().display()))?;
    Ok(folder)
}

/// A program that listens at a socket. Whoever drops it kills it.
pub(super) struct Peer {
    command: Command,
    socket: PathBuf,
    program: Option<Group>,
}

impl Peer {
    /// A network without a network: of its host it has this machine, whatever that is connected to.
    pub(super) fn passt(socket: &Path) -> Result<Self> {
        let mut command = Command::new("passt");
        // That interface has no address of its own, so that passt has to be told one.
        command.args(["--foreground", "--quiet", "--ipv4-only", "--interface", "lo"]);
        command.args(["--mac-addr", "52:55:0a:00:02:02"]);
        command.args(["--address", GUEST, "--netmask", "24", "--gateway", HOST]);
        command.args(["--dns", HOST, "--tcp-ports", "none", "--udp-ports", "none", "--socket"]);
        command.arg(socket);
        Self::start(command, socket)
    }

    /// A folder of the host's.
    pub(super) fn virtiofsd(socket: &Path, folder: &Path) -> Result<Self> {
        // SAFETY: has no arguments and cannot fail.
        let mut command = if unsafe { libc::geteuid() } == 0 {
            Command::new(VIRTIOFSD)
        } else {
            // It wants to be root, if only of a namespace.
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "--kill-child", VIRTIOFSD]);
            command
        };
        command.arg(format!("--socket-path={}", socket.display()));
        command.arg("-o").arg(format!("source={},sandbox=chroot", folder.display()));
        Self::start(command, socket)
    }

    fn start(mut command: Command, socket: &Path) -> Result<Self> {
        // What they say is for people.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut peer = Self { command, socket: socket.into(), program: None };
        peer.start_again()?;
        Ok(peer)
    }

    /// Starts it, and waits until it listens.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.kill();
        let name = line(&self.command);
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.attempt(|| format!("remove {}", self.socket.display()))?,
        }
        let mut program = Group::spawn(&mut self.command).attempt(|| format!("run {name}"))?;
        let mut patience = Patience::new(HANG);
        while !listens(&self.socket) {
            if let Some(status) = program.look().attempt(|| format!("wait for {name}"))? {
                return Err(Failure::new(format!("{name} {}", ended(status))));
            }
            if patience.is_over() {
                return Err(Failure::new(format!("{name} does not listen")));
            }
            std::thread::sleep(TICK);
        }
        self.program = Some(program);
        Ok(())
    }

    /// Kills it, as a host does that has no memory left.
    pub(super) fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            // It may have ended by itself.
            let _ = program.leader.kill();
        }
    }
}

/// Whether somebody listens at a socket (proc_pid_net(5): the flag `__SO_ACCEPTCON`).
fn listens(socket: &Path) -> bool {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let path = socket.to_string_lossy();
    sockets.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.nth(3) == Some("00010000") && words.next_back() == Some(&path)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_listens_or_does_not() {
        let folder = sockets("peers-test").unwrap();
        let path = folder.path().join("socket");
        assert!(!listens(&path));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(listens(&path));
        drop(listener);
        assert!(path.exists() && !listens(&path));
    }
}
