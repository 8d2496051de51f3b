//! What devices are called: by their ids, or by what they are and their numbers; in messages, by what
//! tells them from others on the command line.

use super::{
    ConsoleConfig, DeviceId, DiskConfig, FsConfig, NetBackend, NetConfig, RngConfig, VsockConfig,
};

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
