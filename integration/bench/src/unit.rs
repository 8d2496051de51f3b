//! What calls are judged by: work of the same kind that is done in the same run, in turns with them.
//! A machine that is slower, or has other things to do, is slower in both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::random::Random;

/// Accesses that are timed together, and how often at a time.
const LAP: u32 = 500;
const LAPS: u32 = 32;

/// So many accesses are a millisecond on the machine of docs/performance.md.
pub const MILLISECOND: f64 = 24_000.0;

/// It is not measured more often than that: most of the time is for what is judged.
const PAUSE: Duration = Duration::from_millis(20);

/// Entries of four bytes: larger than caches are, as a tree of 100,000 nodes is.
const TABLE: u32 = 8 << 20;

/// Places in memory that a random `getprop` has to go to, one after the other: the node, its entry
/// for the property, the value.
const PLACES: u32 = 3;

/// The work that one unit is.
#[derive(Debug)]
enum Work {
    /// The accesses to guest memory that a `getprop` cannot do without.
    Accesses,
    /// The same, and the way to something in a large table: each entry is the place of the next, and
    /// all are on one way.
    Places(Vec<u32>),
    /// A copy of a blob, in so many pieces of so many bytes as its nodes have names, values and lists.
    Pieces { blob: Vec<u8>, nodes: u32 },
}

/// Pieces of a node.
const PIECES: u32 = 4;

/// A unit, and what it took.
#[derive(Debug)]
pub struct Unit {
    work: Work,
    place: u32,
    ram: GuestMemoryMmap,
    shortest: Duration,
    measured: Option<Instant>,
}

impl Unit {
    /// What a `getprop` does to guest memory: reads the array, the service's name, the property's
    /// name; writes the value, and the result.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn accesses() -> Self {
        Self::of(Work::Accesses)
    }

    /// The same, and the way to the property in a tree that is larger than caches are.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn places() -> Self {
        // One way through all of the table: S. Sattolo, "An algorithm to generate a random cyclic
        // permutation".
        let mut random = Random::default();
        let mut table: Vec<u32> = (0..TABLE).collect();
        for last in (1..TABLE).rev() {
            table.swap(last as usize, random.below(last) as usize);
        }
        Self::of(Work::Places(table))
    }

    /// Of each node of a blob, the memory for it, filled and given back.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn pieces(blob: &[u8], nodes: usize) -> Self {
        Self::of(Work::Pieces { blob: blob.to_vec(), nodes: nodes as u32 })
    }

    fn of(work: Work) -> Self {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]);
        let ram = ram.expect("a megabyte is there");
        Self { work, place: 0, ram, shortest: Duration::MAX, measured: None }
    }

    /// Measures it if that was not done just now.
    pub fn turn(&mut self) {
        if self.measured.is_some_and(|measured| measured.elapsed() < PAUSE) {
            return;
        }
        for _ in 0..LAPS {
            let start = Instant::now();
            self.lap();
            self.shortest = self.shortest.min(start.elapsed());
            if matches!(self.work, Work::Pieces { .. }) {
                // One takes as long as what is judged by it.
                break;
            }
        }
        self.measured = Some(Instant::now());
    }

    /// Nanoseconds of one, in the shortest lap since the last time that this was asked.
    pub fn take_ns(&mut self) -> f64 {
        let shortest = std::mem::replace(&mut self.shortest, Duration::MAX);
        self.measured = None;
        let times = if let Work::Pieces { nodes, .. } = self.work { nodes } else { LAP };
        shortest.as_nanos() as f64 / f64::from(times)
    }

    fn lap(&mut self) {
        if let Work::Pieces { blob, nodes } = &self.work {
            let size = blob.len().div_ceil((nodes * PIECES) as usize).max(1);
            let pieces: Vec<Box<[u8]>> = black_box(blob).chunks(size).map(Box::from).collect();
            drop(black_box(pieces));
            return;
        }
        for _ in 0..LAP {
            self.once();
        }
    }

    fn once(&mut self) {
        if let Work::Places(table) = &self.work {
            for _ in 0..PLACES {
                self.place = table[self.place as usize];
            }
        }
        let at = |address: u64| black_box(GuestAddress(address));
        let (mut array, mut service, mut name) = ([0; 28], [0; 8], [0; 16]);
        // The next unit's place depends on this one's: none begins before the other has ended.
        let value = u128::from(self.place);
        let done = self
            .ram
            .read_slice(&mut array, at(0x100))
            .and_then(|()| self.ram.read_slice(&mut service, at(0x200)))
            .and_then(|()| self.ram.read_slice(&mut name, at(0x300)))
            .and_then(|()| self.ram.write_slice(&value.to_be_bytes(), at(0x400)))
            .and_then(|()| self.ram.write_obj(1_u32.to_be(), at(0x118)));
        done.expect("it is RAM");
        black_box((array, service, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_goes_through_all_of_the_table() {
        let Work::Places(table) = Unit::places().work else { panic!("there is a table") };
        let mut place = 0;
        let mut steps = 0;
        while steps == 0 || place != 0 {
            place = table[place as usize];
            steps += 1;
        }
        assert_eq!(steps, TABLE);
    }

    #[test]
    fn a_unit_takes_time() {
        let mut unit = Unit::accesses();
        unit.turn();
        assert!(unit.take_ns() > 0.0);
        let mut unit = Unit::pieces(&[0; 1000], 3);
        unit.turn();
        assert!(unit.take_ns() > 0.0);
    }
}
