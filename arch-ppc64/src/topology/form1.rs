//! Distances as far as associativity of form 1 can say them (LoPAPR chapter 15; Linux's
//! `powerpc/associativity` document).
//!
//! Form 1 has no distances, only resources that are in one domain of a level or not. Linux makes
//! distances of them: 10 in the same node, and twice as much for each level, from the node up, whose
//! domains differ. With three levels above the node there are 20, 40, 80 and 160 for two nodes, and
//! who is near to a node is near to all that are near to it.

use super::affinity::NumaNode;
use super::distances::NumaDistances;

/// Levels above the node.
pub(super) const LEVELS: usize = 3;

/// The domains of a node at the levels above it, highest first.
pub(super) type Above = [u32; LEVELS];

/// The domains of nodes at the levels above them, by the nodes' numbers. Nothing for a node is a 0
/// at each level.
///
/// Nodes are put together by their average distance, the nearest first (average linkage): a table
/// that form 1 can express comes out as it is, and of another it is what is usually done to come near.
pub(super) fn above(nodes: &[NumaNode], distances: &NumaDistances) -> Vec<Above> {
    let numbers: Vec<u32> = nodes.iter().map(|node| node.0.into()).collect();
    let merges = Clusters::of(nodes, distances).merge_all();
    let mut above = vec![[0; LEVELS]; numbers.last().map_or(0, |last| *last as usize + 1)];
    for level in 1..=LEVELS {
        let mut first = (0..nodes.len()).collect::<Vec<_>>();
        for merge in merges.iter().filter(|merge| merge.is_within(level as u32)) {
            let (one, other) = (root(&first, merge.one), root(&first, merge.other));
            first[one.max(other)] = one.min(other);
        }
        for (place, &number) in numbers.iter().enumerate() {
            // A domain has the number of its first node.
            above[number as usize][LEVELS - level] = numbers[root(&first, place)];
        }
    }
    above
}

/// How many levels differ at this distance, if form 1 is to come as near to it as it can.
fn levels(distance: u8) -> u32 {
    match distance {
        ..=10 => 0,
        11..=30 => 1,
        31..=60 => 2,
        61..=120 => 3,
        121.. => 4,
    }
}

/// The first of those that `place` was put together with.
fn root(first: &[usize], mut place: usize) -> usize {
    while first[place] != place {
        place = first[place];
    }
    place
}

/// Two groups of nodes that become one: their first nodes, how many pairs there are of a node of the
/// one and a node of the other, and how many levels differ for all pairs together.
struct Merge {
    one: usize,
    other: usize,
    pairs: u32,
    levels: u32,
}

impl Merge {
    /// Whether the average of the pairs is this level or below, rounded.
    fn is_within(&self, level: u32) -> bool {
        2 * self.levels <= (2 * level + 1) * self.pairs
    }
}

/// Groups of nodes, each by its first node's place.
struct Clusters {
    /// How many nodes each has; 0 for one that is part of another.
    sizes: Vec<u32>,
    /// For each two, the levels that differ for all of their pairs together.
    levels: Vec<Vec<u32>>,
}

impl Clusters {
    fn of(nodes: &[NumaNode], distances: &NumaDistances) -> Self {
        let row = |&one: &NumaNode| {
            nodes.iter().map(|&other| levels(distances.between(one, other))).collect()
        };
        Self { sizes: vec![1; nodes.len()], levels: nodes.iter().map(row).collect() }
    }

    /// Puts all together, step by step. A chain in which each is the one nearest to that before it
    /// ends in two that are nearest to each other; so it takes a number of steps that is the square of
    /// that of nodes, not its cube.
    fn merge_all(mut self) -> Vec<Merge> {
        let count = self.sizes.len();
        let mut merges = Vec::with_capacity(count);
        let mut chain: Vec<usize> = Vec::new();
        while merges.len() + 1 < count {
            let Some(&last) = chain.last() else {
                chain.extend(self.sizes.iter().position(|&size| size > 0));
                continue;
            };
            let before = chain.len().checked_sub(2).map(|place| chain[place]);
            match self.nearest(last, before) {
                Some(nearest) if Some(nearest) == before => {
                    chain.truncate(chain.len() - 2);
                    merges.push(self.merge(last, nearest));
                }
                Some(nearest) => chain.push(nearest),
                None => break,
            }
        }
        merges
    }

    /// The one that is nearest to `to`: `preferred`, unless another is nearer.
    fn nearest(&self, to: usize, preferred: Option<usize>) -> Option<usize> {
        let others = (0..self.sizes.len()).filter(|&other| other != to && self.sizes[other] > 0);
        // By the average: levels over pairs, of which the size of `to` is the same for all.
        let is_nearer = |one: usize, than: usize| {
            self.levels[to][one] * self.sizes[than] < self.levels[to][than] * self.sizes[one]
        };
        preferred
            .into_iter()
            .chain(others)
            .reduce(|best, other| if is_nearer(other, best) { other } else { best })
    }

    fn merge(&mut self, one: usize, other: usize) -> Merge {
        let merge = Merge {
            one,
            other,
            pairs: self.sizes[one] * self.sizes[other],
            levels: self.levels[one][other],
        };
        let (first, gone) = (one.min(other), one.max(other));
        self.sizes[first] += std::mem::take(&mut self.sizes[gone]);
        for third in 0..self.sizes.len() {
            let more = self.levels[gone][third];
            self.levels[first][third] += more;
            self.levels[third][first] += more;
        }
        merge
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The distance that Linux makes of domains.
    fn distance(above: &[Above], one: NumaNode, other: NumaNode) -> u8 {
        let all = |node: NumaNode| {
            let [a, b, c] = above[usize::from(node.0)];
            [node.0.into(), c, b, a]
        };
        let differ = all(one).into_iter().zip(all(other)).take_while(|(x, y)| x != y).count();
        10 << differ
    }

    fn table(nodes: &[NumaNode], distances: &NumaDistances) -> Vec<u8> {
        let above = above(nodes, distances);
        let of = |&one: &NumaNode| nodes.iter().map(move |&other| (one, other));
        nodes.iter().flat_map(of).map(|(one, other)| distance(&above, one, other)).collect()
    }

    fn nodes(count: u8) -> Vec<NumaNode> {
        (0..count).map(NumaNode).collect()
    }

    fn distances(entries: &[(u8, u8, u8)]) -> NumaDistances {
        let entry = |&(one, other, distance)| (NumaNode(one), NumaNode(other), distance);
        NumaDistances::new(entries.iter().map(entry)).unwrap()
    }

    #[test]
    fn nodes_are_alike_unless_something_is_said() {
        assert_eq!(above(&nodes(3), &NumaDistances::default()), [[0; 3]; 3]);
        assert_eq!(above(&[NumaNode(2)], &NumaDistances::default()), [[0; 3], [0; 3], [2; 3]]);
    }

    #[test]
    fn each_distance_of_form_1_can_be_said() {
        for wanted in [20, 40, 80, 160] {
            let two = distances(&[(0, 1, wanted)]);
            assert_eq!(table(&nodes(2), &two), [10, wanted, wanted, 10]);
        }
        for (between, nearest) in
            [(11, 20), (30, 20), (31, 40), (60, 40), (61, 80), (120, 80), (121, 160), (254, 160)]
        {
            assert_eq!(table(&nodes(2), &distances(&[(0, 1, between)]))[1], nearest, "{between}");
        }
    }

    /// Two sockets of two nodes, and memory far from both.
    #[test]
    fn a_hierarchy_comes_out_as_it_is() {
        let far: Vec<_> = (0..4).map(|node| (node, 7, 160)).collect();
        let across = [(0, 2, 40), (0, 3, 40), (1, 2, 40), (1, 3, 40)];
        let all = distances(&[&across[..], &far].concat());
        let nodes = [0, 1, 2, 3, 7].map(NumaNode);
        #[rustfmt::skip]
        assert_eq!(table(&nodes, &all), [
            10, 20, 40, 40, 160,
            20, 10, 40, 40, 160,
            40, 40, 10, 20, 160,
            40, 40, 20, 10, 160,
            160, 160, 160, 160, 10,
        ]);
    }

    /// A chain, whose ends form 1 cannot keep apart from those between: none is off by more than one
    /// level.
    #[test]
    fn what_cannot_be_said_comes_near() {
        let chain =
            distances(&[(0, 1, 20), (1, 2, 20), (2, 3, 20), (0, 2, 40), (1, 3, 40), (0, 3, 80)]);
        let found = table(&nodes(4), &chain);
        #[rustfmt::skip]
        assert_eq!(found, [
            10, 20, 40, 40,
            20, 10, 40, 40,
            40, 40, 10, 20,
            40, 40, 20, 10,
        ]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Distances that domains say are said by the domains that come out.
        #[test]
        fn what_form_1_says_it_says_again(
            domains in prop::collection::vec([0..3_u32, 0..3_u32, 0..3_u32], 1..20),
        ) {
            // Nested: a domain is one of those above it.
            let nested: Vec<Above> =
                domains.iter().map(|[a, b, c]| [*a, a * 3 + b, a * 9 + b * 3 + c]).collect();
            let nodes = nodes(nested.len() as u8);
            let mut entries = Vec::new();
            for &one in &nodes {
                for &other in &nodes {
                    entries.push((one, other, distance(&nested, one, other)));
                }
            }
            let distances = NumaDistances::new(entries.iter().copied()).unwrap();
            let wanted: Vec<u8> = entries.iter().map(|entry| entry.2).collect();
            prop_assert_eq!(table(&nodes, &distances), wanted);
        }

        /// Whatever is wanted: nodes that are in one domain are in one of each level above, and 0 is
        /// in domains 0, which Linux before 5.15 takes for granted.
        #[test]
        fn domains_are_nested(
            wanted in prop::collection::vec((0..12_u8, 0..12_u8, 11..=254_u8), 0..60),
        ) {
            let mut seen = std::collections::BTreeSet::new();
            let entries = wanted.into_iter().filter(|&(one, other, _)| {
                one != other && seen.insert((one.min(other), one.max(other)))
            });
            let all = distances(&entries.collect::<Vec<_>>());
            let above = above(&nodes(12), &all);
            prop_assert_eq!(above[0], [0; LEVELS]);
            for one in &above {
                for other in &above {
                    let same: Vec<bool> = one.iter().zip(other).map(|(x, y)| x == y).collect();
                    prop_assert!(same.is_sorted_by(|high, low| high >= low), "{one:?} {other:?}");
                }
                prop_assert!(one.iter().all(|&domain| domain < 12));
            }
        }
    }
}
