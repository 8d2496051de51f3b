//! The largest machine that there is: 2,048 CPUs and 16 TiB on 256 NUMA nodes.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::folders;

pub(crate) const CPUS: u64 = 2048;
pub(crate) const NODES: u64 = 256;

/// Of each node; 16 TiB in all.
pub(crate) const NODE_BYTES: u64 = 64 << 30;

/// A node that is far from the one before it, and how far.
pub(crate) const FAR: (u64, u64) = (100, 80);

/// Its configuration file for the VMM, written to a folder.
pub(crate) fn machine(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("largest.json");
    let text = serde_json::to_vec_pretty(&configuration());
    let text = text.map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
    folders::write(&path, &text)?;
    Ok(path)
}

/// What starts a kernel on it and tells at the end what it did.
pub(crate) fn arguments(machine: &Path, kernel: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["--backend", "interp", "--stats", "--cmdline", "console=hvc0"].map(Into::into).into();
    for (option, path) in [("--config", machine), ("--kernel", kernel)] {
        arguments.extend([option.into(), path.into()]);
    }
    arguments
}

fn configuration() -> Value {
    let per_node = CPUS / NODES;
    let zone = |node: u64| format!("zone{node}");
    let numa = |node: u64| {
        let cpus: Vec<u64> = (node * per_node..(node + 1) * per_node).collect();
        let mut numa = json!({"guest_numa_id": node, "cpus": cpus, "memory_zones": [zone(node)]});
        if node == FAR.0 {
            numa["distances"] = json!([{"destination": node - 1, "distance": FAR.1}]);
        }
        numa
    };
    let zones: Vec<Value> =
        (0..NODES).map(|node| json!({"id": zone(node), "size": NODE_BYTES})).collect();
    json!({
        "cpus": {"boot_vcpus": CPUS, "max_vcpus": CPUS},
        "memory": {"size": 0, "zones": zones},
        "numa": (0..NODES).map(numa).collect::<Vec<Value>>(),
    })
}

/// What `--stats` says of the calls of the client interface.
#[derive(Debug, PartialEq)]
pub(crate) struct ClientCalls {
    /// All of them.
    pub(crate) calls: u64,
    /// What they took, and what all of the run did, in seconds.
    pub(crate) seconds: f64,
    pub(crate) of: f64,
    /// The longest of them.
    pub(crate) longest: f64,
}

impl ClientCalls {
    /// Reads them.
    pub(crate) fn read(stats: &str) -> Option<Self> {
        let number = |line: &str| {
            let words = line.trim().trim_end_matches(" s").rsplit(' ');
            words.into_iter().next()?.parse::<f64>().ok()
        };
        let find = |name: &str| {
            let line = stats.lines().map(str::trim).find(|line| line.starts_with(name))?;
            number(line)
        };
        let (_, counts) = stats.split_once("\nclient calls")?;
        let (counts, _) = counts.split_once("\nhost time")?;
        let calls = counts.lines().filter_map(number).map(|count| count as u64).sum();
        Some(Self {
            calls,
            seconds: find("all of it")?,
            of: find("wall time")?,
            longest: find("the longest")?,
        })
    }
}

impl fmt::Display for ClientCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, seconds, of, longest } = self;
        let share = 100.0 * seconds / of;
        let longest = longest * 1e3;
        write!(
            f,
            "{calls} calls of the client interface took {seconds:.3} s of {of:.3} s ({share:.1} %), \
             the longest {longest:.3} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_all_in_a_file_that_the_vmm_reads() {
        let machine = configuration();
        let text = serde_json::to_vec_pretty(&machine).unwrap();
        assert!(text.len() < 1 << 20, "{}", text.len());
        assert_eq!(machine["numa"][255]["cpus"], json!((2040..2048).collect::<Vec<_>>()));
        assert_eq!(NODES * NODE_BYTES, 16 << 40);
    }

    #[test]
    fn what_client_calls_took_is_read() {
        let stats = "wall time                2.000 s\nexits\n  hypercall   12\nhypercalls\n  \
                     vof  9\nclient calls\n  getprop     7\n  peer        2\nhost time of client \
                     calls\n  all of it      0.500000 s\n  the longest      0.010000 s\n";
        let calls = ClientCalls::read(stats).unwrap();
        assert_eq!(calls, ClientCalls { calls: 9, seconds: 0.5, of: 2.0, longest: 0.01 });
        assert_eq!(
            calls.to_string(),
            "9 calls of the client interface took 0.500 s of 2.000 s (25.0 %), the longest 10.000 ms"
        );
        assert_eq!(ClientCalls::read(&stats.replace("all of it", "some")), None);
    }
}
