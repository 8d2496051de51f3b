//! How far NUMA nodes are from each other.

use super::affinity::NumaNode;

/// How far the NUMA nodes of a machine are from each other, in the units of ACPI's SLIT, which
/// Linux's `numactl -H` shows: 10 is the node itself, 20 takes twice as long to access.
///
/// A distance is the same both ways. Two nodes that nothing is said of are
/// [`REMOTE`](Self::REMOTE).
///
/// ```
/// use arch_ppc64::topology::{NumaDistances, NumaNode};
///
/// let [near, far, other] = [0, 1, 2].map(NumaNode);
/// let distances = NumaDistances::new([(near, far, 40), (near, near, 10)])?;
/// assert_eq!(distances.between(far, near), 40);
/// assert_eq!(distances.between(far, other), NumaDistances::REMOTE);
/// assert_eq!(distances.between(far, far), NumaDistances::LOCAL);
/// # Ok::<(), arch_ppc64::topology::NumaDistanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumaDistances {
    /// A row for each node from 0 on; 0 where nothing is said.
    table: Vec<u8>,
    /// How many rows there are.
    count: usize,
    /// Every node that something was said of.
    named: Vec<NumaNode>,
}

/// A distance that two NUMA nodes cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumaDistanceError {
    /// A node is not 10 from itself.
    #[error(
        "NUMA {node} cannot be {distance} from itself; that distance is {}, always",
        NumaDistances::LOCAL
    )]
    Local {
        /// The node.
        node: NumaNode,
        /// What was asked for.
        distance: u8,
    },
    /// Two nodes are as near as one, or out of reach: 255 is what cannot be reached (ACPI 6.5,
    /// §5.2.17), and Linux works with no smaller distance than that of a node from itself.
    #[error(
        "NUMA {from} cannot be {distance} from {to}; a distance between two nodes is {} to {}",
        NumaDistances::LEAST,
        NumaDistances::MOST
    )]
    Range {
        /// The one node.
        from: NumaNode,
        /// The other.
        to: NumaNode,
        /// What was asked for.
        distance: u8,
    },
    /// A distance is not the same both ways, or is given twice with different values.
    #[error(
        "NUMA {from} cannot be {distance} from {to}, which is {other} from it elsewhere: a \
         distance is the same both ways"
    )]
    Asymmetric {
        /// The one node.
        from: NumaNode,
        /// The other.
        to: NumaNode,
        /// The distance that was given last.
        distance: u8,
        /// The distance that was given before.
        other: u8,
    },
}

impl NumaDistances {
    /// A node's distance from itself.
    pub const LOCAL: u8 = 10;

    /// The distance of two nodes that nothing is said of.
    pub const REMOTE: u8 = 20;

    /// The least distance of two nodes.
    pub const LEAST: u8 = Self::LOCAL + 1;

    /// The greatest distance of two nodes.
    pub const MOST: u8 = 254;

    /// These distances: two nodes, and how far the one is from the other. It may be said for one
    /// way or for both.
    ///
    /// # Errors
    /// [`NumaDistanceError`] names the first that cannot be.
    pub fn new(
        distances: impl IntoIterator<Item = (NumaNode, NumaNode, u8)>,
    ) -> Result<Self, NumaDistanceError> {
        let distances: Vec<_> = distances.into_iter().collect();
        let mut named: Vec<NumaNode> =
            distances.iter().flat_map(|&(from, to, _)| [from, to]).collect();
        named.sort_unstable();
        named.dedup();
        let count = named.last().map_or(0, |last| usize::from(last.0) + 1);
        let mut table = Self { table: vec![0; count * count], count, named };
        for (from, to, distance) in distances {
            table.set(from, to, distance)?;
        }
        Ok(table)
    }

    /// How far two nodes are from each other.
    pub fn between(&self, one: NumaNode, other: NumaNode) -> u8 {
        if one == other {
            return Self::LOCAL;
        }
        match self.said(one, other) {
            0 => Self::REMOTE,
            distance => distance,
        }
    }

    /// The nodes that something was said of, in the order of their numbers.
    pub fn named(&self) -> &[NumaNode] {
        &self.named
    }

    fn said(&self, from: NumaNode, to: NumaNode) -> u8 {
        let (from, to) = (usize::from(from.0), usize::from(to.0));
        if to < self.count {
            self.table.get(from * self.count + to).copied().unwrap_or(0)
        } else {
            0
        }
    }

    fn set(&mut self, from: NumaNode, to: NumaNode, distance: u8) -> Result<(), NumaDistanceError> {
        if from == to {
            return match distance {
                Self::LOCAL => Ok(()),
                _ => Err(NumaDistanceError::Local { node: from, distance }),
            };
        }
        if !(Self::LEAST..=Self::MOST).contains(&distance) {
            return Err(NumaDistanceError::Range { from, to, distance });
        }
        let other = self.said(from, to);
        if other != 0 && other != distance {
            return Err(NumaDistanceError::Asymmetric { from, to, distance, other });
        }
        for (row, column) in [(from, to), (to, from)] {
            let at = usize::from(row.0) * self.count + usize::from(column.0);
            if let Some(place) = self.table.get_mut(at) {
                *place = distance;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NumaNode = NumaNode(0);
    const B: NumaNode = NumaNode(1);
    const C: NumaNode = NumaNode(255);

    #[test]
    fn a_distance_is_the_same_both_ways() {
        let distances = NumaDistances::new([(A, B, 11), (C, A, 254), (A, C, 254), (C, C, 10)]);
        let distances = distances.unwrap();
        for (one, other, distance) in [(A, B, 11), (A, C, 254), (B, C, 20), (B, B, 10)] {
            assert_eq!(distances.between(one, other), distance);
            assert_eq!(distances.between(other, one), distance);
        }
        assert_eq!(distances.named(), [A, B, C]);
        assert_eq!(NumaDistances::default().between(A, C), 20);
        assert_eq!(NumaDistances::default().named(), []);
    }

    #[test]
    fn what_no_distance_can_be_is_named() {
        let error = |entries: &[_]| NumaDistances::new(entries.iter().copied()).unwrap_err();
        let local = error(&[(B, B, 20)]);
        assert_eq!(
            local.to_string(),
            "NUMA node 1 cannot be 20 from itself; that distance is 10, always"
        );
        for distance in [0, 9, 10, 255] {
            let range = error(&[(A, B, 30), (A, C, distance)]);
            assert_eq!(range, NumaDistanceError::Range { from: A, to: C, distance });
        }
        assert_eq!(
            error(&[(A, C, 255)]).to_string(),
            "NUMA node 0 cannot be 255 from node 255; a distance between two nodes is 11 to 254"
        );
        let asymmetric = error(&[(A, B, 30), (B, A, 31)]);
        assert_eq!(
            asymmetric.to_string(),
            "NUMA node 1 cannot be 31 from node 0, which is 30 from it elsewhere: a distance is \
             the same both ways"
        );
    }
}
