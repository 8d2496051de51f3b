//! The step that has the largest machine: its tree is read back, and a kernel goes through it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::boot;
use crate::failure::{Failure, Result};
use crate::folders::TemporaryFolder;
use crate::guest;
use crate::largest::{self, CPUS, ClientCalls, FAR, NODE_BYTES, NODES};
use crate::packages::{self, Tool};
use crate::program::output_of;

use super::boots::VOF_LINES;
use super::log::Log;
use super::pty::Pty;

/// The tree, as dtc shows it, and prom_init, which ends when the kernel itself begins.
pub(super) fn software(log: &mut Log) -> Result<()> {
    packages::ensure(&[Tool::DeviceTreeCompiler])?;
    let guest = guest::make(false)?;
    let vmm = boot::build()?;
    let folder = TemporaryFolder::make(&guest::folder(), "largest")?;
    let machine = largest::machine(folder.path())?;

    let blob = folder.path().join("largest.dtb");
    log.run(Command::new(&vmm).arg("--config").arg(&machine).arg("--dump-fdt").arg(&blob))?;
    let mut dtc = Command::new("dtc");
    is_whole(&output_of(dtc.args(["-q", "-I", "dtb", "-O", "dts"]).arg(&blob))?)?;

    let mut command = Command::new(&vmm);
    let mut terminal = Pty::spawn(command.args(largest::arguments(&machine, &guest.kernel)), log)?;
    for line in VOF_LINES {
        terminal.expect(line)?;
    }
    terminal.type_in("\x01x")?;
    let stats = terminal.expect("the longest")? + &terminal.expect(" s")?;
    terminal.ends_well()?;
    let calls = ClientCalls::read(&stats.replace('\r', ""))
        .ok_or_else(|| Failure::new(format!("what client calls took is not in {stats:?}")))?;
    log.add(format!("{calls}\n").as_bytes())
}

/// That a tree has all CPUs and all of the memory, each on its node.
fn is_whole(source: &str) -> Result<()> {
    let tree = Tree::read(source);
    for node in 0..NODES {
        let (bytes, cpus) = (tree.bytes(node), tree.cpus(node));
        if bytes != NODE_BYTES || cpus != CPUS / NODES {
            return Err(Failure::new(format!(
                "NUMA node {node} has {cpus} CPUs and {bytes} bytes of memory in the tree"
            )));
        }
    }
    if tree.servers.len() as u64 != CPUS {
        return Err(Failure::new(format!("the tree has {} CPUs", tree.servers.len())));
    }
    let (node, distance) = FAR;
    let said = tree.distance(node - 1, node);
    match said == Some(distance) && tree.distance(0, 1) == Some(20) {
        true => Ok(()),
        false => Err(Failure::new(format!("nodes {} and {node} are {said:?} apart", node - 1))),
    }
}

/// What the source of a tree says of CPUs, memory and distances.
#[derive(Debug, Default)]
struct Tree {
    /// Of each core: its NUMA node, and how many threads it has.
    cores: Vec<(u64, u64)>,
    /// Each interrupt server number once.
    servers: BTreeSet<u64>,
    /// Of each range of memory: its NUMA node, and its bytes.
    memory: Vec<(u64, u64)>,
    /// The numbers of nodes in the table of distances, and its rows.
    nodes: Vec<u64>,
    distances: Vec<u8>,
}

impl Tree {
    /// Reads the source that dtc writes: a line a property, numbers in cells.
    fn read(source: &str) -> Self {
        let mut tree = Self::default();
        let mut properties = BTreeMap::new();
        for line in source.lines().map(str::trim) {
            if line.ends_with('{') {
                properties.clear();
            } else if let Some((name, value)) = line.split_once(" = ") {
                properties.insert(name, value);
            } else if line == "};" {
                tree.take(&std::mem::take(&mut properties));
            }
        }
        tree
    }

    /// Takes what is told of a node, whose own properties come before other nodes.
    fn take(&mut self, properties: &BTreeMap<&str, &str>) {
        let cells = |name: &str| properties.get(name).map(|value| cells(value));
        // LoPAPR §B.6.2.1 and §B.6.3: a list's length, and then its domains, of which the fourth is
        // the NUMA node.
        let node = cells("ibm,associativity").and_then(|list| list.get(4).copied());
        match (properties.get("device_type").copied(), node) {
            (Some("\"cpu\";"), Some(node)) => {
                let servers = cells("ibm,ppc-interrupt-server#s").unwrap_or_default();
                self.cores.push((node, servers.len() as u64));
                self.servers.extend(servers);
            }
            (Some("\"memory\";"), Some(node)) => {
                if let Some([.., high, low]) = cells("reg").as_deref() {
                    self.memory.push((node, high << 32 | low));
                }
            }
            _ => {}
        }
        // Each table has how many there are before the rest.
        if let (Some(nodes), Some(table)) =
            (cells("ibm,numa-lookup-index-table"), cells("ibm,numa-distance-table"))
        {
            let table: Vec<u8> =
                table.iter().flat_map(|&cell| (cell as u32).to_be_bytes()).collect();
            (self.nodes, self.distances) = (nodes[1..].to_vec(), table[4..].to_vec());
        }
    }

    fn cpus(&self, node: u64) -> u64 {
        self.cores.iter().filter(|(of, _)| *of == node).map(|(_, threads)| threads).sum()
    }

    fn bytes(&self, node: u64) -> u64 {
        self.memory.iter().filter(|(of, _)| *of == node).map(|(_, bytes)| bytes).sum()
    }

    fn distance(&self, from: u64, to: u64) -> Option<u64> {
        let place = |node| self.nodes.iter().position(|&other| other == node);
        let at = place(from)? * self.nodes.len() + place(to)?;
        self.distances.get(at).map(|&distance| distance.into())
    }
}

/// The cells of a value such as `<0x00 0x10>;`.
fn cells(value: &str) -> Vec<u64> {
    let words = value.trim_matches(['<', '>', ';']).split(' ');
    words.filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_memory_and_distances_are_read() {
        let tree = Tree::read(
            "/dts-v1/;\n\n/ {\n\tmodel = \"x\";\n\n\tcpus {\n\t\t#size-cells = <0x00>;\n\n\
             \t\tPowerPC,POWER9@0 {\n\t\t\tdevice_type = \"cpu\";\n\
             \t\t\tibm,ppc-interrupt-server#s = <0x00 0x01>;\n\
             \t\t\tibm,associativity = <0x05 0x00 0x00 0x00 0x03 0x00>;\n\t\t};\n\t};\n\n\
             \tmemory@100000000 {\n\t\tdevice_type = \"memory\";\n\
             \t\treg = <0x01 0x00 0x10 0x20>;\n\
             \t\tibm,associativity = <0x04 0x00 0x00 0x00 0x03>;\n\t};\n\n\trtas {\n\
             \t\tibm,numa-lookup-index-table = <0x02 0x00 0x03>;\n\
             \t\tibm,numa-distance-table = <0x04 0xa14140a>;\n\t};\n};\n",
        );
        assert_eq!((tree.cpus(3), tree.bytes(3)), (2, 0x10_0000_0020));
        assert_eq!((tree.cpus(0), tree.bytes(0)), (0, 0));
        assert_eq!(tree.servers.len(), 2);
        assert_eq!((tree.distance(0, 3), tree.distance(3, 3)), (Some(20), Some(10)));
        assert_eq!(tree.distance(0, 1), None);
    }
}
