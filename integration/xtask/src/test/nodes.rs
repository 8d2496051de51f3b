//! The steps about NUMA nodes: what `numactl --hardware` says in the guest is what the machine has.

use std::path::Path;

use crate::failure::{Failure, Result};
use crate::guest::{self, NO_WATCHDOGS, QUICK};
use crate::tools;

use super::boots::{VOF_LINES, shows, shows_times};
use super::log::Log;
use super::on_host::OneHost;
use super::patched;
use super::software;

/// The MiB of each node. A kernel does not count what it takes for itself at the start: up to a
/// quarter here, as most of it is on the first node.
const SIZES_MIB: [u64; 2] = [512, 256];

/// The CPUs of each.
const CPUS: [[u32; 2]; 2] = [[0, 1], [2, 3]];

/// What a kernel asks for of affinity among other things (prom_init.c, `ibm_architecture_vec`, the
/// length and the first bytes of vector 5): forms 1 and 2, and form 1 alone.
const BOTH_FORMS: [u8; 7] = [25, 0x00, 0xf3, 0x00, 0x00, 0xe0, 0x05];
const FORM_1: [u8; 7] = [25, 0x00, 0xf3, 0x00, 0x00, 0xc0, 0x05];

/// What runs in the guest.
const TASK: &str = "loglevel=1 autorun=/bin/nodes";

/// What the guest says of a node.
#[derive(Debug, Default, PartialEq, Eq)]
struct Node {
    cpus: Vec<u32>,
    size_mib: u64,
    /// From each node, in order.
    distances: Vec<u32>,
}

/// The kernels, of which one knows the older form of affinity only, and both ways in.
pub(super) fn software(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    let initramfs = tools::initramfs(&guest, false)?;
    let form_1 = patched::kernel(&guest.kernel, "vmlinux-of-form-1", &BOTH_FORMS, &FORM_1)?;
    // Of form 1, distances are 10, 20, 40 and so on.
    let boots: [(&Path, &str, usize, u32); 3] = [
        (&form_1, "x-vof=on", 1, 40),
        (&newer, "x-vof=on", 1, 35),
        (&guest.kernel, "x-vof=off", 0, 35),
    ];
    for (kernel, machine, starts_by_vof, distance) in boots {
        let nodes = arguments(distance);
        let arguments: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let arguments = [&arguments[..], &["--machine", machine]].concat();
        let console = software::run(log, kernel, &initramfs, TASK, &arguments)?;
        shows_times(&console, VOF_LINES[1], starts_by_vof)?;
        shown(&console, distance)?;
    }
    Ok(())
}

pub(super) fn kvm(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let files = [&guest.kernel, &tools::initramfs(&guest, false)?];
    let mut host = OneHost::new("powernv9", files);
    let nodes = arguments(35);
    let arguments: Vec<&str> = nodes.iter().map(String::as_str).collect();
    host.add(files, &format!("{QUICK} {NO_WATCHDOGS} {TASK}"), &arguments)?;
    let console = host.run(log)?.concat();
    shows_times(&console, VOF_LINES[1], 1)?;
    shown(&console, 35)
}

/// Two nodes that are so far from each other.
fn arguments(distance: u32) -> Vec<String> {
    let mut zones = vec!["--memory".into(), "size=0".into(), "--memory-zone".into()];
    let mut nodes = vec!["--numa".into()];
    for (node, (size, cpus)) in SIZES_MIB.iter().zip(CPUS).enumerate() {
        let (other, [first, last]) = (1 - node, cpus);
        zones.push(format!("id=zone{node},size={size}M"));
        nodes.push(format!(
            "guest_numa_id={node},cpus=[{first}-{last}],memory_zones=[zone{node}],\
             distances=[{other}@{distance}]"
        ));
    }
    [vec!["--cpus".into(), "boot=4".into()], zones, nodes].concat()
}

/// That the guest has these nodes, runs on their CPUs and gets memory of each.
fn shown(console: &str, distance: u32) -> Result<()> {
    let nodes = nodes(console);
    let distances = [vec![10, distance], vec![distance, 10]];
    for (node, (size, cpus)) in SIZES_MIB.into_iter().zip(CPUS).enumerate() {
        let said = nodes.get(node).filter(|_| nodes.len() == SIZES_MIB.len());
        let is_right = said.is_some_and(|said| {
            said.cpus == cpus
                && said.distances == distances[node]
                && (size * 3 / 4..=size).contains(&said.size_mib)
        });
        if !is_right {
            return Err(Failure::new(format!(
                "the guest has the nodes {nodes:?}, of which node {node} should have the CPUs \
                 {cpus:?}, {size} MiB and the distances {:?}",
                distances[node]
            )));
        }
        let (runs, gives) = (
            format!("GUEST-NODE {node} runs on {} CPUs\n", cpus.len()),
            format!("GUEST-NODE {node} gives its memory\n"),
        );
        shows(console, &[&runs, &gives])?;
    }
    shows(console, &["available: 2 nodes (0-1)\n", "GUEST-RAN /bin/nodes: 0\n"])
}

/// What `numactl --hardware` says: lines `node 0 cpus: 0 1`, `node 0 size: 400 MB` and, with
/// distances, `  0:  10  20`.
fn nodes(console: &str) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for line in console.lines().map(str::trim) {
        let Some((what, numbers)) = line.split_once(':') else { continue };
        let words: Vec<&str> = what.split(' ').collect();
        let node = match words[..] {
            ["node", node, "cpus" | "size"] | [node] => node.parse::<usize>(),
            _ => continue,
        };
        let numbers: Vec<u32> =
            numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        // Nobody has as many.
        let Some(place) = node.ok().filter(|&node| node < 1024) else { continue };
        if nodes.len() <= place {
            nodes.resize_with(place + 1, Node::default);
        }
        match words[..] {
            [.., "cpus"] => nodes[place].cpus = numbers,
            [.., "size"] => nodes[place].size_mib = numbers.first().copied().unwrap_or(0).into(),
            _ => nodes[place].distances = numbers,
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "available: 2 nodes (0-1)\nnode 0 cpus: 0 1\nnode 0 size: 480 MB\n\
                        node 0 free: 400 MB\nnode 1 cpus: 2 3\nnode 1 size: 250 MB\n\
                        node 1 free: 200 MB\nnode distances:\nnode   0   1 \n  0:  10  40 \n  \
                        1:  40  10 \nGUEST-NODE 0 runs on 2 CPUs\nGUEST-NODE 0 gives its memory\n\
                        GUEST-NODE 1 runs on 2 CPUs\nGUEST-NODE 1 gives its memory\n\
                        GUEST-RAN /bin/nodes: 0\n";

    #[test]
    fn nodes_are_read() {
        let node = |cpus: &[u32], size_mib, distances: &[u32]| Node {
            cpus: cpus.into(),
            size_mib,
            distances: distances.into(),
        };
        assert_eq!(nodes(SAID), [node(&[0, 1], 480, &[10, 40]), node(&[2, 3], 250, &[40, 10])]);
        shown(SAID, 40).unwrap();
    }

    #[test]
    fn every_figure_is_looked_at() {
        for (from, to) in [
            ("cpus: 2 3", "cpus: 2"),
            ("size: 250", "size: 100"),
            ("size: 480", "size: 513"),
            ("10  40", "10  20"),
            ("node 1 size: 250 MB", "node 1 size: 250 MB\nnode 2 cpus:"),
            ("1 gives", "1 keeps"),
        ] {
            let said = SAID.replacen(from, to, 1);
            assert!(shown(&said, 40).is_err(), "{to}");
        }
    }

    #[test]
    fn the_vmm_is_told_of_each_node() {
        let words = arguments(30).join(" ");
        assert_eq!(
            words,
            "--cpus boot=4 --memory size=0 --memory-zone id=zone0,size=512M id=zone1,size=256M \
             --numa guest_numa_id=0,cpus=[0-1],memory_zones=[zone0],distances=[1@30] \
             guest_numa_id=1,cpus=[2-3],memory_zones=[zone1],distances=[0@30]"
        );
    }
}
