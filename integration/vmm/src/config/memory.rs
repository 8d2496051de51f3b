//! The memory of the user's machine.

use std::str::FromStr;

use arch_ppc64::config::Memory;
use arch_ppc64::topology::{MemoryMap, MemoryMapError, MemoryRange, NumaNode};
use schemars::JsonSchema;
use serde::Deserialize;
use vm_memory::GuestAddress;

use super::{Size, file};

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct MemoryConfig {
    /// RAM at boot, at least 64M, a multiple of 64K: one range from address 0.
    pub size: Size,
    /// How much more the device tree leaves room for, a multiple of 256M; then the RAM at boot must
    /// be made of such, too. It is behind all RAM. Nothing plugs it in yet.
    pub hotplug_size: Size,
    /// RAM at boot in several ranges, in place of `size`: between them are holes. The first of at
    /// least 64M is at address 0.
    #[serde(deserialize_with = "file::objects")]
    pub ranges: Vec<RangeConfig>,
}

/// A range of RAM. On the command line it is `SIZE@START`, or `SIZE@START/NODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct RangeConfig {
    /// Its first address, a multiple of 64K.
    pub start: Size,
    /// Its size, a multiple of 64K.
    pub size: Size,
    /// The NUMA node that it belongs to; 0 when left out.
    #[serde(default)]
    pub numa_node: u8,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { size: Size(1 << 30), hotplug_size: Size(0), ranges: Vec::new() }
    }
}

impl MemoryConfig {
    /// What it is without `ranges`.
    pub(super) fn in_one(&self) -> Memory {
        Memory::of_size(self.size.0).with_hotplug(self.hotplug_size.0)
    }

    /// Where memory is.
    pub(super) fn map(&self) -> Result<MemoryMap, MemoryMapError> {
        if self.ranges.is_empty() {
            return self.in_one().map();
        }
        let ram: Vec<_> = self.ranges.iter().map(RangeConfig::range).collect();
        let end = ram.iter().map(MemoryRange::end).max().unwrap_or_default();
        let hotplug = MemoryRange::hotplug(end, self.hotplug_size.0);
        MemoryMap::new(ram.into_iter().chain((hotplug.bytes != 0).then_some(hotplug)))
    }
}

impl RangeConfig {
    fn range(&self) -> MemoryRange {
        let node = NumaNode(self.numa_node);
        MemoryRange::ram(GuestAddress(self.start.0), self.size.0).on_node(node)
    }
}

impl FromStr for RangeConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a range is SIZE@START, or SIZE@START/NODE, as in 512M@2G/1".to_owned();
        let (size, place) = text.split_once('@').ok_or_else(wrong)?;
        let (start, node) = place.split_once('/').unwrap_or((place, "0"));
        // `parse` would take a sign.
        let is_number = node.bytes().all(|digit| digit.is_ascii_digit());
        let numa_node = node.parse().ok().filter(|_| is_number);
        let numa_node = numa_node.ok_or("a NUMA node is a number from 0 to 255")?;
        Ok(Self { start: start.parse()?, size: size.parse()?, numa_node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, size: u64, numa_node: u8) -> RangeConfig {
        RangeConfig { start: Size(start), size: Size(size), numa_node }
    }

    #[test]
    fn ranges_are_sizes_at_places() {
        assert_eq!("512M@0".parse(), Ok(range(0, 512 << 20, 0)));
        assert_eq!("65536@2G/255".parse(), Ok(range(2 << 30, 65536, 255)));
        let error = |text: &str| text.parse::<RangeConfig>().unwrap_err();
        assert!(error("512M").contains("SIZE@START"), "{}", error("512M"));
        for (text, word) in [
            ("@0", "a size"),
            ("1G@x", "a size"),
            ("1G@0/256", "NUMA"),
            ("1G@0/+1", "NUMA"),
            ("1G@0/", "NUMA"),
        ] {
            assert!(error(text).contains(word), "{text}: {}", error(text));
        }
    }

    #[test]
    fn ranges_are_in_place_of_the_size() {
        let config = MemoryConfig {
            ranges: vec![range(2 << 30, 1 << 30, 1), range(0, 1 << 30, 0)],
            hotplug_size: Size(256 << 20),
            ..Default::default()
        };
        let map = config.map().unwrap();
        let expected = [
            MemoryRange::ram(GuestAddress(0), 1 << 30),
            MemoryRange::ram(GuestAddress(2 << 30), 1 << 30).on_node(NumaNode(1)),
            MemoryRange::hotplug(GuestAddress(3 << 30), 256 << 20),
        ];
        assert_eq!(map.ranges(), expected);
        let map = MemoryConfig::default().map().unwrap();
        assert_eq!(map.ranges(), [MemoryRange::ram(GuestAddress(0), 1 << 30)]);
        let far = MemoryConfig { ranges: vec![range(u64::MAX - 65535, 65536, 0)], ..config };
        assert!(matches!(far.map(), Err(MemoryMapError::Wraps { .. })));
    }
}
