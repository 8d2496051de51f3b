//! The memory of the user's machine.

use std::fmt;

use arch_ppc64::config::Memory;
use arch_ppc64::topology::{MemoryRange, NumaNode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

use super::options::{OptionError, Options, Switch};
use super::{DeviceId, Size, file};

/// What the zone of a machine is called whose memory is no list of them.
pub const ONLY_ZONE: &str = "mem0";

/// Memory: a size, or zones.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct MemoryConfig {
    /// RAM at boot, at least 64M, a multiple of 64K, from address 0 on: a zone called `mem0`. 0 where
    /// there are `zones`.
    pub size: Size,
    /// How much more may be plugged while the machine runs, a multiple of 256M; then the RAM at boot
    /// must be made of such, too. It is behind all RAM. Zones have their own.
    pub hotplug_size: Size,
    /// Whether other programs of the host can have this memory, as those of `fs` do; when left out,
    /// they can where there is `fs`. Huge pages always are shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// Whether it is made of the host's huge pages; when left out, it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugepages: Option<bool>,
    /// How large those are: the host's default when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugepage_size: Option<Size>,
    /// Whether all of it is taken from the host before the machine starts; when left out, each page is
    /// when it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefault: Option<bool>,
    /// Its parts, in place of `size`: each behind the one before. What a zone does not say of how its
    /// memory is had from the host is as it is said here.
    #[serde(deserialize_with = "file::objects", skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<ZoneConfig>,
}

/// A part of memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ZoneConfig {
    /// What NUMA nodes know it by.
    pub id: DeviceId,
    /// RAM at boot, a multiple of 64K; of 256M where memory can be plugged, or is in several nodes. 0
    /// for a zone that is all to be plugged.
    pub size: Size,
    /// Its first address; when left out, that behind the zone before. What is between two zones is no
    /// memory. The first zone is at 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Size>,
    /// How much more of it may be plugged while the machine runs, a multiple of 256M. What can be
    /// plugged is behind all RAM, in the order of the zones.
    #[serde(default)]
    pub hotplug_size: Size,
    /// As of all memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// As of all memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugepages: Option<bool>,
    /// As of all memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugepage_size: Option<Size>,
    /// As of all memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefault: Option<bool>,
}

/// How memory is had from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backing {
    /// Whether other programs of the host can have it.
    pub shared: bool,
    /// Which pages of the host it is made of.
    pub pages: Pages,
    /// Whether all of it is there before the machine starts.
    pub prefault: bool,
}

/// Which pages of the host memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// The usual ones.
    Small,
    /// Huge ones, of so many bytes; where that is `None`, of the host's default size.
    Huge(Option<u64>),
}

/// A zone as it is in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    /// `None`: that of a machine without a list of them.
    pub(super) id: Option<DeviceId>,
    /// Its RAM, which may be none.
    pub(super) start: GuestAddress,
    pub(super) bytes: u64,
    /// What can be plugged.
    pub(super) hotplug_start: GuestAddress,
    pub(super) hotplug_bytes: u64,
    pub(super) backing: Backing,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            size: Size(1 << 30),
            hotplug_size: Size(0),
            shared: None,
            hugepages: None,
            hugepage_size: None,
            prefault: None,
            zones: Vec::new(),
        }
    }
}

impl Default for Backing {
    /// As memory is that nothing is said of: of this process only, in small pages, taken when it is used.
    fn default() -> Self {
        Self { shared: false, pages: Pages::Small, prefault: false }
    }
}

impl Backing {
    /// The same, taken from the host before the machine starts or when it is used.
    #[must_use]
    pub const fn with_prefault(self, prefault: bool) -> Self {
        Self { prefault, ..self }
    }

    /// The same in such pages; huge ones are shared.
    #[must_use]
    pub const fn with_pages(self, pages: Pages) -> Self {
        let shared = self.shared || matches!(pages, Pages::Huge(_));
        Self { shared, pages, ..self }
    }

    /// The same for other programs as well.
    #[must_use]
    pub const fn shared(self) -> Self {
        Self { shared: true, ..self }
    }
}

impl MemoryConfig {
    /// All of it as one number.
    pub(super) fn in_one(&self) -> Memory {
        let zones = self.zones(false);
        let sum = |part: fn(&Zone) -> u64| zones.iter().map(part).fold(0, u64::saturating_add);
        Memory::of_size(sum(|zone| zone.bytes)).with_hotplug(sum(|zone| zone.hotplug_bytes))
    }

    /// Where each zone is, and how it is had: `shared` where nothing is said of that. Sums beyond 64 bits
    /// stay at the end of them, where no memory can be.
    pub(super) fn zones(&self, shared: bool) -> Vec<Zone> {
        let mut end = 0;
        let mut place = |start: Option<Size>, bytes: u64| {
            let start = start.map_or(end, |Size(start)| start);
            end = start.saturating_add(bytes);
            GuestAddress(start)
        };
        let mut zones: Vec<Zone> = match &*self.zones {
            [] => vec![Zone {
                id: None,
                start: place(None, self.size.0),
                bytes: self.size.0,
                hotplug_start: GuestAddress(0),
                hotplug_bytes: self.hotplug_size.0,
                backing: self.backing(None, shared),
            }],
            zones => zones
                .iter()
                .map(|zone| Zone {
                    id: Some(zone.id.clone()),
                    start: place(zone.start, zone.size.0),
                    bytes: zone.size.0,
                    hotplug_start: GuestAddress(0),
                    hotplug_bytes: zone.hotplug_size.0,
                    backing: self.backing(Some(zone), shared),
                })
                .collect(),
        };
        let ends = zones.iter().map(|zone| zone.start.0.saturating_add(zone.bytes));
        let mut end = ends.max().unwrap_or(0);
        for zone in &mut zones {
            zone.hotplug_start = GuestAddress(end);
            end = end.saturating_add(zone.hotplug_bytes);
        }
        zones
    }

    /// What is said of huge pages for a zone, or for all memory: whether they are wanted, and how large
    /// they are.
    pub(super) fn huge_pages(&self, zone: Option<&ZoneConfig>) -> (bool, Option<Size>) {
        let wanted = zone.and_then(|zone| zone.hugepages).or(self.hugepages);
        let size = zone.and_then(|zone| zone.hugepage_size).or(self.hugepage_size);
        (wanted.unwrap_or(false), size)
    }

    fn backing(&self, zone: Option<&ZoneConfig>, shared: bool) -> Backing {
        let (is_huge, size) = self.huge_pages(zone);
        let shared = zone.and_then(|zone| zone.shared).or(self.shared).unwrap_or(shared);
        let prefault = zone.and_then(|zone| zone.prefault).or(self.prefault).unwrap_or(false);
        let backing = Backing { shared, pages: Pages::Small, prefault };
        match is_huge {
            true => backing.with_pages(Pages::Huge(size.map(|Size(bytes)| bytes))),
            false => backing,
        }
    }
}

impl Zone {
    /// How NUMA nodes call it.
    pub(super) fn name(&self) -> &str {
        self.id.as_ref().map_or(ONLY_ZONE, DeviceId::as_str)
    }

    /// Its ranges in the map of a machine where it is of such a node.
    pub(super) fn ranges(&self, node: NumaNode) -> impl Iterator<Item = MemoryRange> + use<> {
        let ram = MemoryRange::ram(self.start, self.bytes).on_node(node);
        let hotplug = MemoryRange::hotplug(self.hotplug_start, self.hotplug_bytes).on_node(node);
        // Without any, a machine that has no memory is told so.
        let has_ram = self.bytes != 0 || self.hotplug_bytes == 0;
        has_ram.then_some(ram).into_iter().chain((self.hotplug_bytes != 0).then_some(hotplug))
    }
}

/// As on the command line.
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "--memory-zone id={id}"),
            None => f.write_str("--memory"),
        }
    }
}

impl ZoneConfig {
    /// Takes the argument of `--memory-zone` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let keys = [
            "id",
            "size",
            "start",
            "hotplug_size",
            "shared",
            "hugepages",
            "hugepage_size",
            "prefault",
        ];
        let options = Options::parse(text, &keys)?;
        let switch = |key| Ok(options.get::<Switch>(key)?.map(|Switch(on)| on));
        Ok(Self {
            id: options.need("id")?,
            size: options.need("size")?,
            start: options.get("start")?,
            hotplug_size: options.get("hotplug_size")?.unwrap_or_default(),
            shared: switch("shared")?,
            hugepages: switch("hugepages")?,
            hugepage_size: options.get("hugepage_size")?,
            prefault: switch("prefault")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(zones: &[&str]) -> MemoryConfig {
        let zones = zones.iter().map(|text| ZoneConfig::parse(text).unwrap()).collect();
        MemoryConfig { size: Size(0), zones, ..Default::default() }
    }

    fn places(memory: &MemoryConfig) -> Vec<[u64; 4]> {
        let place = |zone: Zone| {
            [zone.start.0, zone.bytes, zone.hotplug_start.0, zone.hotplug_bytes].map(|n| n >> 20)
        };
        memory.zones(false).into_iter().map(place).collect()
    }

    #[test]
    fn zones_follow_each_other_unless_they_say_where_they_are() {
        let memory = memory(&[
            "id=a,size=512M,hotplug_size=1G",
            "id=b,size=256M",
            "id=c,size=0,hotplug_size=256M",
            "id=d,size=1G,start=4G",
            "id=e,size=256M,hotplug_size=512M",
        ]);
        let expected = [
            [0, 512, 5376, 1024],
            [512, 256, 6400, 0],
            [768, 0, 6400, 256],
            [4096, 1024, 6656, 0],
            [5120, 256, 6656, 512],
        ];
        assert_eq!(places(&memory), expected);
        assert_eq!(memory.in_one(), Memory::of_size(2 << 30).with_hotplug(1792 << 20));
        let ranges = |zone: usize| -> Vec<_> {
            memory.zones(false)[zone]
                .ranges(NumaNode(3))
                .map(|range| (range.kind, range.node))
                .collect()
        };
        use arch_ppc64::topology::MemoryKind::{Hotplug, Ram};
        assert_eq!(ranges(0), [(Ram, NumaNode(3)), (Hotplug, NumaNode(3))]);
        assert_eq!(ranges(1), [(Ram, NumaNode(3))]);
        assert_eq!(ranges(2), [(Hotplug, NumaNode(3))]);
    }

    #[test]
    fn a_size_is_a_zone_as_well() {
        let memory = MemoryConfig { hotplug_size: Size(256 << 20), ..Default::default() };
        assert_eq!(places(&memory), [[0, 1024, 1024, 256]]);
        let zone = &memory.zones(false)[0];
        assert_eq!((zone.name(), zone.to_string().as_str()), ("mem0", "--memory"));
        assert_eq!(zone.backing, Backing::default());
        assert_eq!(self::memory(&["id=x,size=1G"]).zones(false)[0].name(), "x");
    }

    #[test]
    fn what_a_zone_does_not_say_is_said_of_all() {
        let backings = |memory: &MemoryConfig| -> Vec<Backing> {
            memory.zones(true).into_iter().map(|zone| zone.backing).collect()
        };
        let mut memory = memory(&[
            "id=a,size=1G",
            "id=b,size=1G,shared=on,prefault=off",
            "id=c,size=1G,hugepages=on,hugepage_size=2M",
            "id=d,size=1G,hugepages=on",
        ]);
        memory.shared = Some(false);
        memory.prefault = Some(true);
        let early = Backing::default().with_prefault(true);
        let expected = [
            early,
            Backing::default().shared(),
            early.with_pages(Pages::Huge(Some(2 << 20))),
            early.with_pages(Pages::Huge(None)),
        ];
        assert_eq!(backings(&memory), expected);
        // Where nothing is said, it depends on who is there to share it.
        memory.shared = None;
        assert!(backings(&memory).iter().all(|backing| backing.shared));
        assert!(!memory.zones(false)[0].backing.shared);
        // Huge pages are shared, whatever is said.
        assert!(early.with_pages(Pages::Huge(None)).shared);
    }

    #[test]
    fn zones_are_options() {
        let error = |text| ZoneConfig::parse(text).unwrap_err().to_string();
        assert!(error("size=1G").contains("\"id\" is missing"), "{}", error("size=1G"));
        assert!(error("id=a").contains("\"size\" is missing"), "{}", error("id=a"));
        assert!(error("id=,size=1G").contains("an id has"), "{}", error("id=,size=1G"));
        let said = error("id=a,size=1G,file=x");
        assert!(said.contains("\"file\"") && said.contains("hugepage_size"), "{said}");
        let said = error("id=a,size=1G,shared=maybe");
        assert!(said.contains("shared=maybe") && said.contains("on and off"), "{said}");
    }

    /// Sums do not wrap around to where memory is.
    #[test]
    fn no_sum_wraps() {
        let memory = memory(&["id=a,size=1G", "id=b,size=18446744073709551615,hotplug_size=1G"]);
        let zones = memory.zones(false);
        assert_eq!(zones[1].hotplug_start.0, u64::MAX);
        assert_eq!(memory.in_one().size_bytes, u64::MAX);
    }
}
