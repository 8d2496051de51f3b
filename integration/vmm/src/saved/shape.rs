//! What a machine is that its guest has seen: another one cannot go on with that guest.

use arch_ppc64::Machine;
use arch_ppc64::topology::{MemoryKind, MemoryRange};
use serde::{Deserialize, Serialize};

use super::RestoreError;

/// What of a machine its guest has seen, and no device has a state of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    processor: String,
    pvr: u32,
    /// The architecture level that it is held to, as a logical PVR.
    level: Option<u32>,
    /// How many CPUs there may be.
    cpus: u32,
    threads_per_core: u32,
    servers_per_core: u32,
    /// The NUMA node of each core.
    nodes: Vec<u8>,
    memory: Vec<Range>,
    interrupts: String,
    mmu: String,
    client_interface: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    start: u64,
    bytes: u64,
    kind: Kind,
    node: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Ram,
    Hotplug,
    Reserved,
}

impl Shape {
    pub(super) fn of(machine: &Machine) -> Self {
        let (cpu, topology) = (machine.cpu(), machine.topology());
        let firsts = machine.topology().threads_per_core() as usize;
        let cores = (0..topology.cpus()).step_by(firsts).map(arch_ppc64::CpuIndex);
        Self {
            processor: cpu.model().to_string(),
            pvr: cpu.pvr(),
            level: cpu.compat(),
            cpus: topology.cpus(),
            threads_per_core: topology.threads_per_core(),
            servers_per_core: topology.servers_per_core(),
            nodes: cores.map(|core| topology.node(core).0).collect(),
            memory: machine.memory_map().ranges().iter().map(Range::of).collect(),
            interrupts: machine.interrupts().to_string(),
            mmu: machine.mmu().to_string(),
            client_interface: machine.x_vof(),
        }
    }

    /// Checks that this one, which was saved, is the same as that of a machine.
    pub(super) fn check(&self, machine: &Machine) -> Result<(), RestoreError> {
        let here = Self::of(machine);
        let differ = |what, saved: String, here: String| match saved == here {
            true => Ok(()),
            false => Err(RestoreError::Machine { what, saved, here }),
        };
        differ("processor", self.processor(), here.processor())?;
        differ("CPUs", self.cpus.to_string(), here.cpus.to_string())?;
        differ("CPUs", self.threads(), here.threads())?;
        differ("memory", self.memory_sizes(), here.memory_sizes())?;
        differ("interrupts", self.interrupts.clone(), here.interrupts.clone())?;
        differ("mmu", self.mmu.clone(), here.mmu.clone())?;
        differ("x-vof", on_off(self.client_interface), on_off(here.client_interface))?;
        match *self == here {
            true => Ok(()),
            false => Err(RestoreError::Machine {
                what: "NUMA nodes",
                saved: "others".to_owned(),
                here: "its own".to_owned(),
            }),
        }
    }

    fn processor(&self) -> String {
        let Self { processor, pvr, level, .. } = self;
        match level {
            Some(level) => format!("{processor} of version {pvr:#010x}, held to {level:#010x}"),
            None => format!("{processor} of version {pvr:#010x}"),
        }
    }

    fn threads(&self) -> String {
        let Self { threads_per_core, servers_per_core, .. } = self;
        format!("{threads_per_core} threads a core, numbered by {servers_per_core}")
    }

    fn memory_sizes(&self) -> String {
        let range = |range: &Range| {
            let Range { start, bytes, kind, .. } = range;
            let kind = match kind {
                Kind::Ram => "",
                Kind::Hotplug => " of room",
                Kind::Reserved => " of none",
            };
            format!("{:#x} bytes{kind} at {start:#x}", bytes)
        };
        self.memory.iter().map(range).collect::<Vec<_>>().join(", ")
    }
}

impl Range {
    fn of(range: &MemoryRange) -> Self {
        let kind = match range.kind {
            MemoryKind::Ram => Kind::Ram,
            MemoryKind::Hotplug => Kind::Hotplug,
            _ => Kind::Reserved,
        };
        Self { start: range.start.0, bytes: range.bytes, kind, node: range.node.0 }
    }
}

fn on_off(on: bool) -> String {
    if on { "on".to_owned() } else { "off".to_owned() }
}
