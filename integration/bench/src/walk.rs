//! The calls that Linux makes to copy the device tree: `flatten_device_tree` of
//! arch/powerpc/kernel/prom_init.c, which goes through the whole tree twice.

use crate::measure::Laps;

/// One of a client's two buffers for names of properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The first.
    A,
    /// The second.
    B,
}

impl Name {
    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The services that the walk calls. Names and values stay in the buffers of whoever answers.
pub trait ClientInterface {
    /// child.
    fn child(&mut self, node: u32) -> u32;
    /// peer.
    fn peer(&mut self, node: u32) -> u32;
    /// nextprop: puts the name behind the one in `previous` (behind none: the first) into `next`.
    fn next_property(&mut self, node: u32, previous: Option<Name>, next: Name) -> u32;
    /// getproplen of the property whose name is in the buffer.
    fn property_length(&mut self, node: u32, name: Name) -> u32;
    /// getprop of the property whose name is in the buffer.
    fn property(&mut self, node: u32, name: Name, room: u32) -> u32;
    /// package-to-path.
    fn path(&mut self, node: u32, room: u32) -> u32;
    /// No service: whether the buffer has "name".
    fn is_name(&self, name: Name) -> bool;
}

/// What was found on the way: the same, whoever answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Nodes.
    pub nodes: u64,
    /// Calls that were made.
    pub calls: u64,
    /// Properties whose values were read.
    pub properties: u64,
    /// Length of those values.
    pub value_bytes: u64,
    /// Length of all paths.
    pub path_bytes: u64,
}

/// The most that Linux lets a node's path have.
const PATH_ROOM: u32 = 255;

/// Walks the tree below `root`, as Linux does.
pub fn walk(client: &mut impl ClientInterface, root: u32, laps: &mut Laps) -> Found {
    let mut found = Found::default();
    descend(client, root, &mut found, laps, collect_names);
    descend(client, root, &mut found, laps, copy_node);
    found
}

/// Makes the walk's calls about these nodes only. Nodes are counted twice, as in the walk.
pub fn visit(
    client: &mut impl ClientInterface,
    nodes: impl Iterator<Item = u32>,
    laps: &mut Laps,
) -> Found {
    let mut found = Found::default();
    for node in nodes {
        for pass in [collect_names, copy_node] {
            pass(client, node, &mut found);
            client.child(node);
            client.peer(node);
            found.calls += 2;
        }
        laps.made(found.calls);
    }
    found
}

fn descend<C: ClientInterface>(
    client: &mut C,
    node: u32,
    found: &mut Found,
    laps: &mut Laps,
    visit: fn(&mut C, u32, &mut Found),
) {
    visit(client, node, found);
    laps.made(found.calls);
    let mut child = client.child(node);
    found.calls += 1;
    while child != 0 {
        descend(client, child, found, laps, visit);
        child = client.peer(child);
        found.calls += 1;
    }
}

/// `scan_dt_build_strings`.
fn collect_names(client: &mut impl ClientInterface, node: u32, found: &mut Found) {
    found.nodes += 1;
    each_property(client, node, found, |_, _, _| ());
}

/// `scan_dt_build_struct`, which asks for the path a second time for its messages.
fn copy_node(client: &mut impl ClientInterface, node: u32, found: &mut Found) {
    found.nodes += 1;
    for _ in 0..2 {
        found.path_bytes += u64::from(client.path(node, PATH_ROOM));
        found.calls += 1;
    }
    each_property(client, node, found, |client, name, found| {
        let len = client.property_length(node, name);
        found.value_bytes += u64::from(client.property(node, name, len));
        found.properties += 1;
        found.calls += 2;
    });
}

/// Every property but `name`, which Linux leaves out.
fn each_property<C: ClientInterface>(
    client: &mut C,
    node: u32,
    found: &mut Found,
    mut take: impl FnMut(&mut C, Name, &mut Found),
) {
    let (mut previous, mut next) = (None, Name::A);
    loop {
        let more = client.next_property(node, previous, next);
        found.calls += 1;
        if more != 1 {
            return;
        }
        if !client.is_name(next) {
            take(client, next, found);
        }
        previous = Some(next);
        next = next.other();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{self, Client};
    use crate::trees;
    use vof_device::DeviceTree;

    #[test]
    fn the_walk_finds_everything_twice_and_whoever_answers_says_the_same() {
        const NODES: usize = 100;
        let blob = trees::blob(NODES);
        let tree = DeviceTree::from_blob(&blob).unwrap();
        let properties = (NODES * trees::PROPERTIES) as u64;
        let value_bytes = tree.nodes().flat_map(|node| tree.properties(node));
        let value_bytes = value_bytes.map(|(_, value)| value.len() as u64).sum();
        let machine = guest::machine(tree);
        let mut client = Client::new(&machine);
        let found = walk(&mut client, trees::phandle(0), &mut Laps::default());
        // Twice nextprop of each, of `name` and of the end; two lengths and values, two paths;
        // child and peer, but no peer of the root.
        let calls = (NODES * (2 * (trees::PROPERTIES + 2) + 2 + 4)) as u64 + 2 * properties - 2;
        assert_eq!((found.nodes, found.calls), (2 * NODES as u64, calls));
        assert_eq!((found.properties, found.value_bytes), (properties, value_bytes));
        #[cfg(feature = "libfdt")]
        {
            let mut libfdt = crate::libfdt::Libfdt::new(&blob);
            assert_eq!(walk(&mut libfdt, trees::phandle(0), &mut Laps::default()), found);
        }
    }
}
