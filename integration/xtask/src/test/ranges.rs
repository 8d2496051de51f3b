//! RAM in several ranges, with holes between them: what the VMM is told, and what its guest then says.

use crate::failure::{Failure, Result};

/// RAM in three ranges, of which the last is above 4 GiB and on a NUMA node of its own, in a machine of
/// one CPU.
pub(super) const MEMORY: [&str; 9] = [
    "--memory",
    "size=0",
    "--memory-zone",
    "id=low,size=256M",
    "id=middle,size=256M,start=1G",
    "id=high,size=256M,start=4G",
    "--numa",
    "guest_numa_id=0,cpus=[0],memory_zones=[low,middle]",
    "guest_numa_id=1,memory_zones=[high]",
];

/// The guest's init is to say them.
pub(super) const TASK: &str = "showram autotest";

/// How it says the start and the end of each (Linux, `/proc/iomem`).
const SAID: [&str; 3] = ["00000000-0fffffff", "40000000-4fffffff", "100000000-10fffffff"];

/// Whose the last is, as the guest's kernel says when it starts.
const ON_NODE: &str = "Initmem setup node 1 [mem 0x0000000100000000-0x000000010fffffff]";

/// That the guest has these ranges, and nothing else as RAM.
pub(super) fn shown(console: &str) -> Result<()> {
    let said: Vec<&str> =
        console.lines().filter_map(|line| line.trim_end().strip_prefix("GUEST-RAM ")).collect();
    if said != SAID {
        return Err(Failure::new(format!("the guest has RAM at {said:?} instead of {SAID:?}")));
    }
    if !console.contains(ON_NODE) {
        return Err(Failure::new(format!("the console does not show {ON_NODE:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_is_wanted_and_no_other() {
        let lines = SAID.map(|range| format!("GUEST-RAM {range}\r\n"));
        shown(&format!("[ 0.0] {ON_NODE}\r\n{}", lines.concat())).unwrap();
        let failure = shown(&lines[..2].concat()).unwrap_err().to_string();
        assert!(failure.starts_with("the guest has RAM at [\"00000000-0fff"), "{failure}");
        let more = format!("{ON_NODE}\n{}GUEST-RAM 20000000-2fffffff\n", lines.concat());
        assert!(shown(&more).unwrap_err().to_string().contains("20000000"));
        // All of it, but on one node.
        let failure = shown(&lines.concat()).unwrap_err().to_string();
        assert!(failure.contains("node 1"), "{failure}");
    }
}
