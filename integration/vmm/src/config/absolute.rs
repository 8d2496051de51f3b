//! Configurations that outlive the folder in which their program runs.

use std::io;
use std::path::{Path, PathBuf};

use super::{ConsoleConfig, HostPath, NetBackend, VmConfig};

impl VmConfig {
    /// The same machine for a program that runs elsewhere on the host: no path depends on the working
    /// directory.
    ///
    /// # Errors
    /// [`io::Error`] when there is no working directory any more, or a path in it is no text.
    pub fn with_absolute_paths(mut self) -> io::Result<Self> {
        let payload = &mut self.payload;
        for path in [&mut payload.kernel, &mut payload.initramfs].into_iter().flatten() {
            *path = absolute(path)?;
        }
        let sockets = self.vsock.iter_mut().filter_map(|vsock| vsock.socket.as_mut());
        let networks = self.net.iter_mut().filter_map(|net| match &mut net.backend {
            NetBackend::Socket(socket) => Some(socket),
            NetBackend::Tap(_) => None,
        });
        let consoles = [&mut self.serial, &mut self.console].into_iter();
        let paths = (self.disks.iter_mut().map(|disk| &mut disk.path))
            .chain(networks)
            .chain(self.rng.iter_mut().map(|rng| &mut rng.src))
            .chain(sockets)
            .chain(self.fs.iter_mut().map(|fs| &mut fs.socket))
            .chain(self.nvram.iter_mut().map(|nvram| &mut nvram.path))
            .chain(self.landlock_rules.iter_mut().map(|rule| &mut rule.path))
            .chain(consoles.filter_map(|console| match console {
                ConsoleConfig::File(path) | ConsoleConfig::Socket(path) => Some(path),
                _ => None,
            }));
        for path in paths {
            *path = host_path(path)?;
        }
        Ok(self)
    }
}

/// An empty path stays, to be named as what it is.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    if path.as_os_str().is_empty() { Ok(path.to_owned()) } else { std::path::absolute(path) }
}

fn host_path(path: &HostPath) -> io::Result<HostPath> {
    let no_text = || io::Error::new(io::ErrorKind::InvalidData, "the path is no text in UTF-8");
    let path = absolute(path.as_path())?;
    let text = path.to_str().ok_or_else(no_text)?;
    text.parse().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))
}

#[cfg(test)]
mod tests {
    use super::super::{DiskConfig, FsConfig, NetConfig, NvramConfig, RngConfig, VsockConfig};
    use super::*;

    #[test]
    fn every_path_is_absolute_then() {
        let mut config = VmConfig::default();
        config.payload.kernel = Some("k".into());
        config.payload.initramfs = Some("/i".into());
        config.disks = vec![DiskConfig::parse("path=d").unwrap()];
        config.net = ["socket=n", "tap=tap0"].map(|net| NetConfig::parse(net).unwrap()).to_vec();
        config.rng = vec![RngConfig::parse("src=r").unwrap()];
        config.vsock = vec![VsockConfig::parse("cid=3,socket=v").unwrap()];
        config.fs = vec![FsConfig::parse("tag=t,socket=f").unwrap()];
        config.nvram = Some(NvramConfig::parse("path=m").unwrap());
        config.serial = "file=s".parse().unwrap();
        config.console = "socket=c".parse().unwrap();
        let config = config.with_absolute_paths().unwrap();
        let here = std::env::current_dir().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        for name in ["k", "d", "n", "r", "v", "f", "m", "s", "c"] {
            let path = here.join(name);
            assert!(json.contains(&format!("{:?}", path.to_str().unwrap())), "{name}: {json}");
        }
        assert!(json.contains("\"/i\"") && json.contains("\"tap0\""), "{json}");
        assert_eq!(config.clone().with_absolute_paths().unwrap(), config);
    }
}
