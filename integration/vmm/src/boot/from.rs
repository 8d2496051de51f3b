//! What a machine is started from: the host's files, or its own devices.

use arch_ppc64::Machine;

use super::{BootError, Payload};
use crate::config::{BootConfig, VmConfig};

/// What a machine is started from.
#[derive(Debug)]
#[non_exhaustive]
pub enum BootFrom {
    /// Files of the host.
    Payload(Payload),
    /// What is on its devices, at each start.
    Devices(BootDevices),
}

/// Which of its devices a machine is started from, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootDevices {
    /// What the user chose; all of them, if nothing.
    pub(super) choice: Option<BootConfig>,
    /// Whether the user gave arguments for what is found.
    pub(super) has_cmdline: bool,
}

impl BootFrom {
    /// Opens the files that `config` names; without a kernel, it is the devices.
    ///
    /// # Errors
    /// As [`Payload::open`]; [`BootError::NoKernel`], [`BootError::NoProgram`] and
    /// [`BootError::NeedsKernel`] for a machine that has nothing it could start.
    pub fn open(config: &VmConfig, machine: &Machine) -> Result<Self, BootError> {
        let payload = &config.payload;
        if payload.kernel.is_some() && payload.boot.is_some() {
            return Err(BootError::Both);
        }
        if payload.kernel.is_some() {
            return Payload::open(payload, machine).map(Self::Payload);
        }
        if payload.initramfs.is_some() {
            return Err(BootError::NoKernel);
        }
        if !machine.x_vof() {
            return Err(BootError::NeedsKernel);
        }
        if config.disks.is_empty() && config.net.is_empty() {
            return Err(BootError::NoProgram);
        }
        let has_cmdline = payload.cmdline.is_some();
        Ok(Self::Devices(BootDevices { choice: payload.boot.clone(), has_cmdline }))
    }
}
