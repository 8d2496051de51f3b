//! Everything that is measured about the tree and the claims, in order.

use std::hint::black_box;
use std::time::{Duration, Instant};

use vof_device::DeviceTree;

use crate::claims::{Churn, LIVE};
use crate::guest::{self, Client};
use crate::measure::{Laps, ns_each};
use crate::random::Random;
use crate::report::{Bound, Figure, number};
use crate::unit::{MILLISECOND, Unit};
use crate::walk::walk;
use crate::{memory, trees};

/// How long each thing is measured, at least.
const TIME: Duration = Duration::from_millis(1500);
const RUNS: u32 = 3;

/// Nodes of the trees.
pub const SIZES: [usize; 5] = [50, 500, 2_000, 10_000, 100_000];

/// How many properties are asked for at random.
const PICKS: usize = 200_000;

/// What things may cost, in units that are measured in turns with them. On the machine of
/// docs/performance.md these are about 150, 500, 1,000 and 2,000 ns.
const WALK: f64 = 3.6;
const RANDOM: f64 = 2.0;
const BLOB: f64 = 3.0;
const CLAIM: f64 = 8.0;

/// What a tree of one size costs. Times in nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Nodes.
    pub nodes: usize,
    /// Calls of a walk.
    pub calls: u64,
    /// Each of them.
    pub walk: f64,
    /// The accesses to guest memory that such a call cannot do without, in the same run.
    pub walk_unit: f64,
    /// The same with libfdt, if that was measured.
    pub libfdt_walk: Option<f64>,
    /// A random getprop.
    pub random: f64,
    /// The accesses, and the way through memory, that it cannot do without.
    pub random_unit: f64,
    /// The same with libfdt, if that was measured.
    pub libfdt_random: Option<f64>,
    /// Blob → tree → blob, of each node.
    pub blob: f64,
    /// Memory for a node, filled and given back, in the same run.
    pub blob_unit: f64,
    /// Host memory of each node besides names and values, in bytes.
    pub bytes: f64,
}

impl Tree {
    /// How many times faster the walk is than libfdt's.
    pub fn walk_ratio(&self) -> Option<f64> {
        Some(self.libfdt_walk? / self.walk)
    }

    /// How many times faster a random getprop is than libfdt's.
    pub fn random_ratio(&self) -> Option<f64> {
        Some(self.libfdt_random? / self.random)
    }
}

/// The units that things are judged by.
#[derive(Debug)]
pub struct Units {
    accesses: Unit,
    places: Unit,
}

impl Default for Units {
    fn default() -> Self {
        Self { accesses: Unit::accesses(), places: Unit::places() }
    }
}

/// Measures a tree.
pub fn measure_tree(nodes: usize, units: &mut Units) -> Tree {
    let blob = trees::blob(nodes);
    let mut pieces = Unit::pieces(&blob, nodes);
    let round_trip = Laps::time(TIME, RUNS, &mut pieces, |laps| {
        let tree = DeviceTree::from_blob(&blob).expect("the tree is a valid one");
        laps.end_lap();
        black_box(tree.to_blob());
    });
    let blob_unit = pieces.take_ns();
    drop(pieces);
    let (tree, bytes) = memory::tree(&blob);
    let machine = guest::machine(tree);
    let mut client = Client::new(&machine);
    let root = trees::phandle(0);
    let found = walk(&mut client, root, &mut Laps::default());
    let walk_time = Laps::time(TIME, RUNS, &mut units.accesses, |laps| {
        black_box(walk(&mut client, root, laps));
    });
    let names = trees::NAMES.map(|name| client.text(name));
    let picks = picks(nodes);
    let random_time = Laps::time(TIME, RUNS, &mut units.places, |laps| {
        for (made, &(node, name)) in picks.iter().enumerate() {
            laps.made(made as u64);
            black_box(client.getprop_all(node, names[name]));
        }
    });
    let mut measured = Tree {
        nodes,
        calls: found.calls,
        walk: ns_each(walk_time, found.calls),
        walk_unit: units.accesses.take_ns(),
        random: ns_each(random_time, PICKS as u64),
        random_unit: units.places.take_ns(),
        blob: ns_each(round_trip, nodes as u64),
        blob_unit,
        bytes,
        ..Tree::default()
    };
    measure_libfdt(&mut measured, &blob, &picks, units);
    measured
}

/// Phandles of nodes and numbers of names.
fn picks(nodes: usize) -> Vec<(u32, usize)> {
    let mut random = Random::default();
    let mut below = |end: usize| random.below(end as u32) as usize;
    let pick = |_| (trees::phandle(below(nodes)), below(trees::NAMES.len()));
    (0..PICKS).map(pick).collect()
}

/// The same with libfdt where that ends in our time: it is quadratic. Of the walk, it makes the
/// calls about some nodes only, which lie all over the tree.
#[cfg(feature = "libfdt")]
fn measure_libfdt(measured: &mut Tree, blob: &[u8], picks: &[(u32, usize)], units: &mut Units) {
    const MOST_NODES: usize = 2_000;
    const VISITED: usize = 50;
    const PICKED: usize = 1_000;
    if measured.nodes > MOST_NODES {
        return;
    }
    let mut libfdt = crate::libfdt::Libfdt::new(blob);
    let step = measured.nodes / VISITED;
    let mut calls = 0;
    let unit = &mut units.accesses;
    let time = Laps::time(TIME / 3, 1, unit, |laps| {
        let nodes = (0..measured.nodes).step_by(step).map(trees::phandle);
        calls = crate::walk::visit(&mut libfdt, nodes, laps).calls;
    });
    measured.libfdt_walk = Some(ns_each(time, calls));
    let names = trees::NAMES.map(|name| std::ffi::CString::new(name).unwrap_or_default());
    let time = Laps::time(TIME / 3, 1, unit, |_| {
        for &(node, name) in picks.iter().take(PICKED) {
            black_box(libfdt.getprop(node, &names[name], u32::MAX));
        }
    });
    measured.libfdt_random = Some(ns_each(time, PICKED as u64));
    // Nothing is judged by it here.
    unit.take_ns();
}

#[cfg(not(feature = "libfdt"))]
fn measure_libfdt(_: &mut Tree, _: &[u8], _: &[(u32, usize)], _: &mut Units) {}

/// What memory services cost with [`LIVE`] claims. Times in nanoseconds.
#[derive(Debug, Clone)]
pub struct Claims {
    /// A claim or a release, in the shortest of many rounds.
    pub call: f64,
    /// The accesses to guest memory, and the way through memory, in the same run.
    pub call_unit: f64,
    /// How many pieces free memory was in, at the end.
    pub free_ranges: usize,
    /// Reading the whole list of free memory: the shortest of many times.
    pub available: f64,
    /// The accesses to guest memory of one call, in the same run.
    pub available_unit: f64,
}

/// Measures claims.
///
/// # Panics
/// If the client cannot have its claims.
pub fn measure_claims(units: &mut Units) -> Claims {
    const ROUNDS: usize = 101;
    const TURNS: u64 = 1_000;
    let blob = trees::memory_blob();
    let tree = DeviceTree::from_blob(&blob).expect("the tree is a valid one");
    let machine = guest::machine(tree);
    let mut churn = Churn::new(&machine);
    // No round finds the claims as another did, but all of them are long enough to be alike.
    let rounds = [(); ROUNDS].map(|()| {
        units.places.turn();
        let start = Instant::now();
        (0..TURNS).for_each(|_| churn.turn());
        start.elapsed()
    });
    let shortest = rounds.into_iter().min().unwrap_or_default();
    let client = churn.client();
    let (memory, name) = (trees::phandle(1), client.text("available"));
    let bytes = client.available(memory, name);
    let available = Laps::time(TIME / 3, RUNS, &mut units.accesses, |_| {
        black_box(client.available(memory, name));
    });
    Claims {
        call: ns_each(shortest, TURNS * 2),
        call_unit: units.places.take_ns(),
        free_ranges: bytes as usize / 16,
        available: ns_each(available, 1),
        available_unit: units.accesses.take_ns(),
    }
}

/// What was measured, each beside its target.
pub fn figures(trees: &[Tree], claims: &Claims) -> Vec<Figure> {
    use Bound::{AtLeast, AtMost};
    let of = |nodes: usize| trees.iter().find(|tree| tree.nodes == nodes);
    let (small, middle, large) = (of(500), of(2_000), of(100_000));
    let unit = |tree: Option<&Tree>, ns: fn(&Tree) -> f64| tree.map_or(f64::NAN, ns);
    let growth = small
        .zip(large)
        .map(|(small, large)| (large.walk / large.walk_unit) / (small.walk / small.walk_unit));
    let most_bytes = trees.iter().map(|tree| tree.bytes).reduce(f64::max);
    let live = format!("claim or release, {} live", number(Some(LIVE as f64)));
    let ranges = format!("`available` of {} ranges", number(Some(claims.free_ranges as f64)));
    let figure =
        |what: &str, value, unit, bound| Figure { what: what.to_owned(), value, unit, bound };
    #[rustfmt::skip]
    let figures = vec![
        figure("walk, 2,000 nodes", middle.map(|tree| tree.walk), "ns a call", AtMost(WALK * unit(middle, |tree| tree.walk_unit))),
        figure("walk, growth from 500 to 100,000 nodes", growth, "times", AtMost(1.3)),
        figure("walk, 2,000 nodes, beside libfdt's", middle.and_then(Tree::walk_ratio), "times faster", AtLeast(1000.0)),
        figure("random getprop, 100,000 nodes", large.map(|tree| tree.random), "ns a call", AtMost(RANDOM * unit(large, |tree| tree.random_unit))),
        figure("blob → tree → blob, 100,000 nodes", large.map(|tree| tree.blob), "ns a node", AtMost(BLOB * unit(large, |tree| tree.blob_unit))),
        figure("memory besides names and values, at most", most_bytes, "bytes a node", AtMost(200.0)),
        figure(&live, Some(claims.call), "ns a call", AtMost(CLAIM * claims.call_unit)),
        figure(&ranges, Some(claims.available / 1000.0), "µs a call", AtMost(MILLISECOND * claims.available_unit / 1000.0)),
    ];
    figures
}
