//! Processor models and what the device tree says of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A processor that a guest can be given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CpuModel {
    /// POWER9: Power ISA 3.0.
    #[default]
    #[serde(rename = "POWER9")]
    Power9,
    /// POWER10: Power ISA 3.1.
    #[serde(rename = "POWER10")]
    Power10,
}

impl CpuModel {
    /// Every model, oldest first.
    pub const ALL: [Self; 2] = [Self::Power9, Self::Power10];

    /// The name users write, which is also the one in the name of a `/cpus` node.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power9 => "POWER9",
            Self::Power10 => "POWER10",
        }
    }

    /// The processor version register of the model's usual revision (version in the upper half,
    /// revision in the lower).
    pub const fn pvr(self) -> u32 {
        match self {
            Self::Power9 => 0x004e_1203,
            Self::Power10 => 0x0080_0200,
        }
    }

    /// The logical processor version: the architecture level as the tree and CAS name it
    /// (LoPAPR §B.6.2.1, "cpu-version").
    pub const fn logical_pvr(self) -> u32 {
        match self {
            Self::Power9 => 0x0f00_0005,
            Self::Power10 => 0x0f00_0006,
        }
    }

    /// The model whose silicon has this PVR, if it is one of [`Self::ALL`].
    pub const fn of_pvr(pvr: u32) -> Option<Self> {
        match pvr >> 16 {
            // 0x4f is the second POWER9 design.
            0x4e | 0x4f => Some(Self::Power9),
            0x80 => Some(Self::Power10),
            _ => None,
        }
    }
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`CpuModel`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no CPU model \"{0}\"; there are POWER9 and POWER10")]
pub struct UnknownCpu(pub String);

impl FromStr for CpuModel {
    type Err = UnknownCpu;

    fn from_str(name: &str) -> Result<Self, UnknownCpu> {
        Self::ALL
            .into_iter()
            .find(|model| model.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownCpu(name.to_owned()))
    }
}

/// The processor of one machine: a model, and how this machine's host provides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    model: CpuModel,
    pvr: u32,
    compat: bool,
}

impl Cpu {
    /// The model in its usual revision, for back ends that can be any processor.
    pub const fn of_model(model: CpuModel) -> Self {
        Self { model, pvr: model.pvr(), compat: false }
    }

    /// The model on a host whose hardware runs the guest's instructions: on its own generation
    /// the guest sees the host's PVR, on a later one it runs in the model's architecture level.
    ///
    /// # Errors
    /// [`CpuError`] when a processor of that PVR cannot be this model.
    pub fn on_host(model: CpuModel, host_pvr: u32) -> Result<Self, CpuError> {
        match CpuModel::of_pvr(host_pvr) {
            Some(host) if host == model => Ok(Self { model, pvr: host_pvr, compat: false }),
            Some(host) if host > model => Ok(Self { model, pvr: host_pvr, compat: true }),
            Some(host) => Err(CpuError::TooOld { model, host }),
            None => Err(CpuError::UnknownHost { host_pvr }),
        }
    }

    /// The model.
    pub const fn model(&self) -> CpuModel {
        self.model
    }

    /// What the PVR reads as in the guest.
    pub const fn pvr(&self) -> u32 {
        self.pvr
    }

    /// The architecture level that a newer host has to be held to (KVM_REG_PPC_ARCH_COMPAT), or
    /// `None` on a processor of the model's own generation.
    pub const fn compat(&self) -> Option<u32> {
        if self.compat { Some(self.model.logical_pvr()) } else { None }
    }

    /// The value of the `cpu-version` property: the logical PVR in a compatibility mode, else the
    /// PVR itself.
    pub const fn version(&self) -> u32 {
        match self.compat() {
            Some(logical) => logical,
            None => self.pvr,
        }
    }
}

/// Why a host cannot provide a CPU model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// The host's processor is of an earlier generation.
    #[error("a {model} guest needs a {model} host or a later one; this host is a {host}")]
    TooOld {
        /// What was asked for.
        model: CpuModel,
        /// What the host is.
        host: CpuModel,
    },
    /// The host's processor is none that we know to run these guests.
    #[error("a host with PVR {host_pvr:#010x} is neither POWER9 nor POWER10")]
    UnknownHost {
        /// The host's processor version register.
        host_pvr: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_generation_shows_the_hosts_pvr() {
        let cpu = Cpu::on_host(CpuModel::Power9, 0x004e_1200).unwrap();
        assert_eq!((cpu.pvr(), cpu.compat(), cpu.version()), (0x004e_1200, None, 0x004e_1200));
    }

    #[test]
    fn later_host_is_held_to_the_level_of_the_model() {
        let cpu = Cpu::on_host(CpuModel::Power9, 0x0080_0200).unwrap();
        assert_eq!(cpu.compat(), Some(0x0f00_0005));
        assert_eq!(cpu.version(), 0x0f00_0005);
    }

    #[test]
    fn other_hosts_are_refused() {
        let old = Cpu::on_host(CpuModel::Power10, 0x004e_1200).unwrap_err();
        assert_eq!(old, CpuError::TooOld { model: CpuModel::Power10, host: CpuModel::Power9 });
        let power8 = Cpu::on_host(CpuModel::Power9, 0x004d_0200).unwrap_err();
        assert!(power8.to_string().contains("0x004d0200"), "{power8}");
    }

    #[test]
    fn models_are_found_by_name() {
        assert_eq!("power9".parse(), Ok(CpuModel::Power9));
        let error = "POWER7".parse::<CpuModel>().unwrap_err().to_string();
        assert!(error.contains("POWER7") && error.contains("POWER10"), "{error}");
    }
}
