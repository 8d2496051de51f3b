//! Processor models and what the device tree says of them.

use std::fmt;
use std::str::FromStr;

use crate::cas::decision::{InterruptMode, Mmu, Support};

/// A processor that a guest can be given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum CpuModel {
    /// POWER8: Power ISA 2.07. It has hashed page tables and XICS only.
    #[cfg_attr(feature = "serde", serde(rename = "POWER8"))]
    Power8,
    /// POWER9: Power ISA 3.0.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "POWER9"))]
    Power9,
    /// POWER10: Power ISA 3.1.
    #[cfg_attr(feature = "serde", serde(rename = "POWER10"))]
    Power10,
    /// POWER11: Power ISA 3.1 as well.
    #[cfg_attr(feature = "serde", serde(rename = "POWER11"))]
    Power11,
}

impl CpuModel {
    /// Every model, oldest first.
    pub const ALL: [Self; 4] = [Self::Power8, Self::Power9, Self::Power10, Self::Power11];

    /// The lowest architecture level that a guest can be given, where there are hashed page tables:
    /// it has no radix trees.
    pub const LOWEST: Self = Self::Power8;

    /// The name users write, which is also the one in the name of a `/cpus` node.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power8 => "POWER8",
            Self::Power9 => "POWER9",
            Self::Power10 => "POWER10",
            Self::Power11 => "POWER11",
        }
    }

    /// The processor version register of the model's usual revision (version in the upper half,
    /// revision in the lower).
    pub const fn pvr(self) -> u32 {
        match self {
            Self::Power8 => 0x004d_0200,
            Self::Power9 => 0x004e_1203,
            Self::Power10 => 0x0080_0200,
            Self::Power11 => 0x0082_0200,
        }
    }

    /// The logical processor version: the architecture level as the tree and CAS name it
    /// (LoPAPR §B.6.2.1, "cpu-version"). Levels go by generations: POWER11 has one of its own,
    /// though its instructions are those of POWER10.
    pub const fn logical_pvr(self) -> u32 {
        match self {
            Self::Power8 => 0x0f00_0004,
            Self::Power9 => 0x0f00_0005,
            Self::Power10 => 0x0f00_0006,
            Self::Power11 => 0x0f00_0007,
        }
    }

    /// The model whose silicon has this PVR, if it is one of [`Self::ALL`].
    pub const fn of_pvr(pvr: u32) -> Option<Self> {
        match pvr >> 16 {
            // Three POWER8 designs.
            0x4b..=0x4d => Some(Self::Power8),
            // 0x4f is the second POWER9 design.
            0x4e | 0x4f => Some(Self::Power9),
            0x80 => Some(Self::Power10),
            0x82 => Some(Self::Power11),
            _ => None,
        }
    }

    /// How it can translate addresses: radix trees are since POWER9 (Power ISA 3.0B, Book III
    /// §5.7).
    pub const fn mmu(self) -> Support<Mmu> {
        match self {
            Self::Power8 => Support::Only(Mmu::Hash),
            _ => Support::Either,
        }
    }

    /// How it can take interrupts: XIVE, too, is since POWER9.
    pub const fn interrupts(self) -> Support<InterruptMode> {
        match self {
            Self::Power8 => Support::Only(InterruptMode::Xics),
            _ => Support::Either,
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
#[error("there is no CPU model \"{0}\"; there are {AllModels}")]
#[non_exhaustive]
pub struct UnknownCpu(pub String);

/// The names of all models, for messages.
struct AllModels;

impl fmt::Display for AllModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, between @ .., last] = &CpuModel::ALL;
        write!(f, "{first}")?;
        between.iter().try_for_each(|model| write!(f, ", {model}"))?;
        write!(f, " and {last}")
    }
}

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

    /// The models whose architecture level it can be held to, its own first, down to
    /// [`CpuModel::LOWEST`].
    pub fn levels(&self) -> impl Iterator<Item = CpuModel> + use<> {
        let own = self.model;
        let is_level = move |model: &CpuModel| (CpuModel::LOWEST..=own).contains(model);
        CpuModel::ALL.into_iter().rev().filter(is_level)
    }

    /// The value of the `cpu-version` property before negotiation: the logical PVR in a compatibility mode, else the
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
#[non_exhaustive]
pub enum CpuError {
    /// The host's processor is of an earlier generation.
    #[error(
        "a {model} guest needs a {model} or a later processor; this one is a {host}, for guests of \
         {host} and earlier"
    )]
    TooOld {
        /// What was asked for.
        model: CpuModel,
        /// What the host is.
        host: CpuModel,
    },
    /// The host's processor is none that we know to run these guests.
    #[error(
        "the processor of this host, with PVR {host_pvr:#010x}, is not known to run these guests; \
         {AllModels} are"
    )]
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

    /// As the README says.
    #[test]
    fn every_host_runs_its_own_generation_and_older_ones() {
        for host in CpuModel::ALL {
            assert_eq!(CpuModel::of_pvr(host.pvr()), Some(host));
            for model in CpuModel::ALL {
                let cpu = Cpu::on_host(model, host.pvr());
                if model > host {
                    assert_eq!(cpu, Err(CpuError::TooOld { model, host }));
                    continue;
                }
                let level = (model < host).then(|| model.logical_pvr());
                assert_eq!(cpu.unwrap().compat(), level, "{model} on {host}");
            }
        }
        // Whatever its revision.
        let power11 = Cpu::on_host(CpuModel::Power11, 0x0082_1201).unwrap();
        assert_eq!((power11.pvr(), power11.version()), (0x0082_1201, 0x0082_1201));
    }

    /// What its designs have in common.
    #[test]
    fn power8_has_hash_and_xics_only() {
        for pvr in [0x004b_0201, 0x004c_0100, 0x004d_0200] {
            assert_eq!(CpuModel::of_pvr(pvr), Some(CpuModel::Power8));
        }
        for model in CpuModel::ALL {
            let is_old = model == CpuModel::Power8;
            assert_eq!(model.mmu().includes(&Mmu::Radix), !is_old);
            assert_eq!(model.interrupts().includes(&InterruptMode::Xive), !is_old);
            assert!(model.mmu().includes(&Mmu::Hash));
        }
    }

    #[test]
    fn levels_rise_with_generations() {
        let levels = CpuModel::ALL.map(CpuModel::logical_pvr);
        assert_eq!(levels, [0x0f00_0004, 0x0f00_0005, 0x0f00_0006, 0x0f00_0007]);
        assert!(CpuModel::ALL.is_sorted());
    }

    #[test]
    fn processors_can_be_held_to_older_levels() {
        use CpuModel::{Power8, Power9, Power10, Power11};
        let levels = |model| Cpu::of_model(model).levels().collect::<Vec<_>>();
        assert_eq!(levels(Power8), [Power8]);
        assert_eq!(levels(Power9), [Power9, Power8]);
        assert_eq!(levels(Power10), [Power10, Power9, Power8]);
        assert_eq!(levels(Power11), [Power11, Power10, Power9, Power8]);
    }

    #[test]
    fn other_hosts_are_refused() {
        let old = Cpu::on_host(CpuModel::Power10, 0x004e_1200).unwrap_err();
        assert_eq!(old, CpuError::TooOld { model: CpuModel::Power10, host: CpuModel::Power9 });
        assert!(old.to_string().ends_with("for guests of POWER9 and earlier"), "{old}");
        let power7 = Cpu::on_host(CpuModel::Power8, 0x003f_0201).unwrap_err();
        assert!(power7.to_string().contains("0x003f0201"), "{power7}");
        // The one after POWER11, whatever its number will be: told, with what is known.
        let later = Cpu::on_host(CpuModel::Power9, 0x0084_0100).unwrap_err().to_string();
        assert!(later.contains("0x00840100"), "{later}");
        assert!(later.contains("POWER8, POWER9, POWER10 and POWER11"), "{later}");
    }

    #[test]
    fn models_are_found_by_name() {
        assert_eq!("power9".parse(), Ok(CpuModel::Power9));
        let error = "POWER7".parse::<CpuModel>().unwrap_err().to_string();
        assert!(error.contains("POWER7"), "{error}");
        assert!(error.contains("POWER8, POWER9, POWER10 and POWER11"), "{error}");
        for model in CpuModel::ALL {
            assert_eq!(model.name().parse(), Ok(model));
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn models_are_written_by_name() {
        for model in CpuModel::ALL {
            let in_json = serde_json::to_string(&model).unwrap();
            assert_eq!(in_json, format!("\"{model}\""));
        }
    }
}
