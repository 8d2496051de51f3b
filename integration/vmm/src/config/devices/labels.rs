//! What devices are called: by their ids, or by what they are and their numbers; in messages, by what
//! tells them from others on the command line.

use super::{
    ConsoleConfig, DeviceId, DiskConfig, FsConfig, NetBackend, NetConfig, RngConfig, VsockConfig,
};
use crate::config::VmConfig;

impl DiskConfig {
    /// The id of the disk that is the one of this number, from 0 on.
    pub fn id(&self, number: usize) -> DeviceId {
        self.id.clone().unwrap_or_else(|| DeviceId::default_of("disk", number))
    }

    pub(crate) fn label(&self) -> String {
        format!("--disk path={}", self.path)
    }
}

impl NetConfig {
    /// The id of the interface that is the one of this number, from 0 on.
    pub fn id(&self, number: usize) -> DeviceId {
        self.id.clone().unwrap_or_else(|| DeviceId::default_of("net", number))
    }

    pub(crate) fn label(&self) -> String {
        match &self.backend {
            NetBackend::Tap(tap) => format!("--net tap={}", tap.as_str()),
            NetBackend::Socket(socket) => format!("--net socket={socket}"),
        }
    }
}

impl RngConfig {
    /// The id of the source that is the one of this number, from 0 on.
    pub fn id(&self, number: usize) -> DeviceId {
        self.id.clone().unwrap_or_else(|| DeviceId::default_of("rng", number))
    }

    pub(crate) fn label(&self) -> String {
        format!("--rng src={}", self.src)
    }
}

impl VsockConfig {
    /// The id of the device that is the one of this number, from 0 on.
    pub fn id(&self, number: usize) -> DeviceId {
        self.id.clone().unwrap_or_else(|| DeviceId::default_of("vsock", number))
    }

    pub(crate) fn label(&self) -> String {
        format!("--vsock cid={}", self.cid)
    }
}

impl FsConfig {
    /// The id of the folder that is the one of this number, from 0 on.
    pub fn id(&self, number: usize) -> DeviceId {
        self.id.clone().unwrap_or_else(|| DeviceId::default_of("fs", number))
    }

    pub(crate) fn label(&self) -> String {
        format!("--fs tag={}", self.tag)
    }
}

impl VmConfig {
    /// The same machine, in which every device is called by an id of its own: what it is called does
    /// not depend on the others.
    pub(crate) fn with_ids(mut self) -> Self {
        for (n, disk) in self.disks.iter_mut().enumerate() {
            disk.id = Some(disk.id(n));
        }
        for (n, net) in self.net.iter_mut().enumerate() {
            net.id = Some(net.id(n));
        }
        for (n, rng) in self.rng.iter_mut().enumerate() {
            rng.id = Some(rng.id(n));
        }
        for (n, vsock) in self.vsock.iter_mut().enumerate() {
            vsock.id = Some(vsock.id(n));
        }
        for (n, fs) in self.fs.iter_mut().enumerate() {
            fs.id = Some(fs.id(n));
        }
        self
    }

    /// Takes a device out, by its id; the others keep theirs. Gives whether it was there.
    pub(crate) fn remove_device(&mut self, id: &str) -> bool {
        let mut config = std::mem::take(self).with_ids();
        let count = |config: &Self| {
            let Self { disks, net, rng, vsock, fs, .. } = config;
            disks.len() + net.len() + rng.len() + vsock.len() + fs.len()
        };
        let before = count(&config);
        let is_other = |other: &Option<DeviceId>| other.as_ref().is_none_or(|o| o.as_str() != id);
        config.disks.retain(|disk| is_other(&disk.id));
        config.net.retain(|net| is_other(&net.id));
        config.rng.retain(|rng| is_other(&rng.id));
        config.vsock.retain(|vsock| is_other(&vsock.id));
        config.fs.retain(|fs| is_other(&fs.id));
        let is_there = count(&config) < before;
        *self = config;
        is_there
    }
}

impl ConsoleConfig {
    /// The id of the console on the bus.
    pub fn id() -> DeviceId {
        DeviceId::default_of("console", 0)
    }

    pub(crate) fn label(&self, option: &str) -> String {
        match self {
            Self::Off => format!("{option} off"),
            Self::Null => format!("{option} null"),
            Self::Tty => format!("{option} tty"),
            Self::Pty => format!("{option} pty"),
            Self::File(path) => format!("{option} file={path}"),
            Self::Socket(path) => format!("{option} socket={path}"),
        }
    }
}
