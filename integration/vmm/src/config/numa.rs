//! The NUMA nodes of the user's machine.

use std::fmt;
use std::str::FromStr;

use arch_ppc64::layout::MAX_CPUS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::{List, OptionError, Options};
use super::{DeviceId, file};

/// A NUMA node. Where there is one in the configuration, all CPUs and all memory are in one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct NumaConfig {
    /// The number that the guest knows it by.
    pub guest_numa_id: u8,
    /// Its CPUs, by their numbers from 0 on, those included that may be plugged: whole cores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u32>,
    /// Its memory: ids of zones. Without a list of zones, `mem0` is all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_zones: Vec<DeviceId>,
    /// How far others are from it, and it from them: 20 where neither says so.
    #[serde(default, deserialize_with = "file::objects", skip_serializing_if = "Vec::is_empty")]
    pub distances: Vec<DistanceConfig>,
}

/// How far a NUMA node is from another. On the command line it is `NODE@DISTANCE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct DistanceConfig {
    /// The other.
    pub destination: u8,
    /// From 11 to 254, where 10 is a node itself; the same both ways.
    pub distance: u8,
}

impl NumaConfig {
    /// Takes the argument of `--numa` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options =
            Options::parse(text, &["guest_numa_id", "cpus", "memory_zones", "distances"])?;
        let Node(guest_numa_id) = options.need("guest_numa_id")?;
        let cpus: Option<List<CpuRange>> = options.get("cpus")?;
        let memory_zones = options.get("memory_zones")?.map_or_else(Vec::new, |List(zones)| zones);
        let distances = options.get("distances")?.map_or_else(Vec::new, |List(all)| all);
        let cpus = cpus.map_or_else(Vec::new, |List(ranges)| {
            ranges.into_iter().flat_map(|CpuRange { first, last }| first..=last).collect()
        });
        Ok(Self { guest_numa_id, cpus, memory_zones, distances })
    }
}

/// As on the command line.
impl fmt::Display for NumaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--numa guest_numa_id={}", self.guest_numa_id)
    }
}

/// CPUs whose numbers follow each other: `FIRST-LAST`, or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuRange {
    first: u32,
    last: u32,
}

impl FromStr for CpuRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let last = MAX_CPUS - 1;
            format!("CPUs are numbers from 0 to {last}, or FIRST-LAST, as in [0-3,8]")
        };
        let number = |text: &str| -> Option<u32> {
            // `parse` would take a sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            // There are no more, and a list is not to be longer.
            text.parse().ok().filter(|cpu| digits && *cpu < MAX_CPUS)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(wrong()),
        }
    }
}

struct Node(u8);

impl FromStr for Node {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
        let node = text.parse().ok().filter(|_| is_number);
        node.map(Self).ok_or("a NUMA node is a number from 0 to 255")
    }
}

impl FromStr for DistanceConfig {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (node, distance) =
            text.split_once('@').ok_or("a distance is NODE@DISTANCE, as in [1@20,2@30]")?;
        let Node(destination) = node.parse()?;
        // Which distances there can be is checked where all are known.
        let Node(distance) =
            distance.parse().map_err(|_| "a distance is a number from 11 to 254, or 10")?;
        Ok(Self { destination, distance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_options() {
        let node = NumaConfig::parse(
            "guest_numa_id=255,cpus=[0-2,7],memory_zones=[a,b-1],distances=[1@20,2@254]",
        );
        let ids = ["a", "b-1"].map(|id| id.parse().unwrap());
        let distance = |destination, distance| DistanceConfig { destination, distance };
        let expected = NumaConfig {
            guest_numa_id: 255,
            cpus: vec![0, 1, 2, 7],
            memory_zones: ids.to_vec(),
            distances: vec![distance(1, 20), distance(2, 254)],
        };
        assert_eq!(node.unwrap(), expected);
        let node = NumaConfig::parse("guest_numa_id=0,cpus=4-5,memory_zones=a").unwrap();
        assert_eq!((node.cpus, node.memory_zones.len(), node.distances.len()), (vec![4, 5], 1, 0));
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, words) in [
            ("cpus=0", "\"guest_numa_id\" is missing"),
            ("guest_numa_id=256", "from 0 to 255"),
            ("guest_numa_id=+1", "from 0 to 255"),
            ("guest_numa_id=0,cpus=[]", "FIRST-LAST"),
            ("guest_numa_id=0,cpus=3-1", "cpus=3-1"),
            ("guest_numa_id=0,cpus=0-4294967295", "0 to 2047"),
            ("guest_numa_id=0,cpus=0-2048", "0 to 2047"),
            ("guest_numa_id=0,cpus=x", "FIRST-LAST"),
            ("guest_numa_id=0,memory_zones=[a,]", "an id has"),
            ("guest_numa_id=0,distances=1", "NODE@DISTANCE"),
            ("guest_numa_id=0,distances=[256@20]", "from 0 to 255"),
            ("guest_numa_id=0,distances=[1@300]", "11 to 254"),
            ("guest_numa_id=0,nodes=1", "\"nodes\""),
        ] {
            let error = NumaConfig::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
