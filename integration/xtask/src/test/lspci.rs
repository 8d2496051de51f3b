//! What a guest's `lspci -vvn` shows, beside what the device tree says.

use crate::failure::{Failure, Result};

/// Shows the tree's functions, a line each: name, and properties in hexadecimal digits; and last the
/// bridge's `ranges`.
pub(super) const TREE: &str = "cd /proc/device-tree/pci@* && hex() { od -An -v -tx1 $1 | tr -d ' \\n'; }; \
     for n in */; do [ -e $n/vendor-id ] && echo $n $(hex $n/vendor-id) $(hex $n/device-id) \
     $(hex $n/class-code) $(hex $n/assigned-addresses); done; echo ranges $(hex ranges); cd";

/// A function, as both have it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Function {
    device: u64,
    /// Vendor and device.
    id: (u64, u64),
    /// Without the programming interface.
    class: u64,
    /// Number, address for the processor, bytes.
    regions: Vec<(u64, u64, u64)>,
}

/// Checks that both show the same: as many functions as there have to be, with their addresses, and
/// with a driver each.
pub(super) fn compare(shown: &str, tree: &str, functions: usize) -> Result<()> {
    let wrong = |why: &str| Failure::new(format!("{why}\nlspci:\n{shown}\nthe tree:\n{tree}"));
    let of_lspci = of_lspci(shown).ok_or_else(|| wrong("lspci cannot be read"))?;
    let of_tree = of_tree(tree).ok_or_else(|| wrong("the tree cannot be read"))?;
    let drivers = shown.matches("Kernel driver in use: virtio-pci").count();
    let nodes = shown.matches("Device tree node: /sys/firmware/devicetree/base/pci@").count();
    match of_tree.len() {
        count if count != functions => Err(wrong("the tree has not as many functions")),
        _ if of_lspci != of_tree => {
            Err(wrong(&format!("lspci {of_lspci:x?}\nis not what the tree says: {of_tree:x?}")))
        }
        count if drivers != count => Err(wrong("some function has no driver")),
        count if nodes != count => Err(wrong("some function has no node")),
        _ => Ok(()),
    }
}

fn of_lspci(shown: &str) -> Option<Vec<Function>> {
    let mut functions: Vec<Function> = Vec::new();
    for line in shown.lines() {
        if let Some(region) = line.trim().strip_prefix("Region ") {
            let (number, rest) = region.split_once(": Memory at ")?;
            let (address, rest) = rest.split_once(' ')?;
            let bytes = rest.split_once("[size=")?.1.trim_end_matches(']');
            let bytes = match bytes.strip_suffix('K') {
                Some(kib) => kib.parse::<u64>().ok()? << 10,
                None => bytes.parse().ok()?,
            };
            functions.last_mut()?.regions.push((number.parse().ok()?, hex(address)?, bytes));
        } else if line.starts_with(|c: char| c.is_ascii_hexdigit()) {
            // 00:01.0 0100: 1af4:1042 (rev 01)
            let mut words = line.split(' ');
            let device = words.next()?.split(':').next_back()?.strip_suffix(".0")?;
            let class = words.next()?.strip_suffix(':')?;
            let (vendor, id) = words.next()?.split_once(':')?;
            let (device, class, id) = (hex(device)?, hex(class)?, (hex(vendor)?, hex(id)?));
            functions.push(Function { device, id, class, regions: Vec::new() });
        }
    }
    functions.sort();
    Some(functions)
}

fn of_tree(tree: &str) -> Option<Vec<Function>> {
    // Space, child's address, parent's address, bytes (IEEE 1275 PCI binding §2.2.1).
    let ranges = cells(tree.lines().find_map(|line| line.strip_prefix("ranges "))?)?;
    let to_cpu = |space: u64, address: u64| {
        ranges.chunks_exact(7).find_map(|range| {
            let (child, parent, bytes) = (wide(&range[1..]), wide(&range[3..]), wide(&range[5..]));
            let is_in = range[0] >> 24 & 3 == space && (child..child + bytes).contains(&address);
            is_in.then(|| address - child + parent)
        })
    };
    let mut functions = Vec::new();
    for line in tree.lines().filter(|line| line.contains('@')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, vendor, id, class, addresses] = words[..] else { return None };
        let mut regions = Vec::new();
        for address in cells(addresses)?.chunks_exact(5) {
            let number = ((address[0] & 0xff) - 0x10) / 4;
            let at = to_cpu(address[0] >> 24 & 3, wide(&address[1..]))?;
            regions.push((number, at, wide(&address[3..])));
        }
        let device = hex(name.trim_end_matches('/').split_once('@')?.1)?;
        let class = hex(class)? >> 8;
        functions.push(Function { device, id: (hex(vendor)?, hex(id)?), class, regions });
    }
    functions.sort();
    Some(functions)
}

/// Numbers of 32 bits.
fn cells(digits: &str) -> Option<Vec<u64>> {
    let cell = |at: usize| digits.get(at..at + 8).and_then(hex);
    (0..digits.len()).step_by(8).map(cell).collect()
}

/// A number of two cells.
fn wide(cells: &[u64]) -> u64 {
    cells[0] << 32 | cells[1]
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "00:01.0 0100: 1af4:1042 (rev 01)\n\
        \tDevice tree node: /sys/firmware/devicetree/base/pci@800000020000000/scsi@1\n\
        \tRegion 0: Memory at 210000010000 (64-bit, prefetchable) [size=64K]\n\
        \tKernel driver in use: virtio-pci\n";

    const TREE: &str = "scsi@1/ 00001af4 00001042 00010000 c300081000002100000100000000000000010000\n\
        ranges 02000000000000008000000000002000800000000000000080000000\
        03000000000021000000000000002100000000000000010000000000\n";

    #[test]
    fn what_is_the_same_is_found_the_same() {
        compare(SHOWN, TREE, 1).unwrap();
    }

    #[test]
    fn what_is_not_is_told() {
        for (shown, tree, why) in [
            (
                SHOWN.replace("210000010000", "210000020000"),
                TREE.into(),
                "is not what the tree says",
            ),
            (SHOWN.replace("64K", "4K"), TREE.into(), "is not what the tree says"),
            (SHOWN.replace(":1042", ":1041"), TREE.into(), "is not what the tree says"),
            (SHOWN.replace("virtio-pci", ""), TREE.into(), "no driver"),
            (SHOWN.into(), TREE.replace("scsi@1", "scsi"), "as many"),
            (SHOWN.into(), TREE.replace("ranges", ""), "cannot be read"),
        ] {
            let failure = compare(&shown, &tree, 1).unwrap_err().to_string();
            assert!(failure.contains(why), "{failure}");
        }
    }
}
