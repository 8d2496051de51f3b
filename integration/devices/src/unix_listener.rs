//! A Unix socket of this program's own: made, and taken away when it is not wanted any more.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::unix_socket;

/// The socket at a path, which goes when this does.
#[derive(Debug)]
pub(crate) struct Listener {
    path: PathBuf,
    socket: UnixListener,
    /// Device and inode: what is removed is what was made.
    file: (u64, u64),
}

impl Listener {
    /// Listens at `path`. A socket that is there is taken over if nobody listens any more.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_dead(path) => {
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            result => result?,
        };
        socket.set_nonblocking(true)?;
        let metadata = fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), socket, file: (metadata.dev(), metadata.ino()) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, which does not wait.
    pub(crate) fn socket(&self) -> &UnixListener {
        &self.socket
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let is_ours = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether there is a socket that nobody listens at, such as one of a VMM that was killed.
fn is_dead(path: &Path) -> bool {
    let is_socket =
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket
        && unix_socket::connect(path)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use vmm_sys_util::tempdir::TempDir;

    use super::*;

    #[test]
    fn sockets_are_taken_over_from_the_dead_only() {
        let folder = TempDir::new().unwrap();
        let path = folder.as_path().join("socket");
        let first = Listener::bind(&path).unwrap();
        assert_eq!(Listener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = Listener::bind(&path).unwrap();
        // Who made it anew is left alone.
        fs::remove_file(&path).unwrap();
        let third = Listener::bind(&path).unwrap();
        drop(second);
        assert!(path.exists());
        drop(third);
        fs::write(&path, "a file").unwrap();
        assert_eq!(Listener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}
