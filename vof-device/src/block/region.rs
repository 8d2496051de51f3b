//! Parts of a disk: a partition, or the pieces that a file lies in.

/// Bytes of a disk that lie one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where they begin, in bytes from the start of the disk.
    pub start: u64,
    /// How many there are.
    pub bytes: u64,
}

impl Extent {
    /// So many bytes from `start` on.
    pub const fn new(start: u64, bytes: u64) -> Self {
        Self { start, bytes }
    }

    /// Where they end; `None` where that is no number.
    pub const fn end(&self) -> Option<u64> {
        self.start.checked_add(self.bytes)
    }
}

/// A part of a disk that is read as if it were one: all of it, a partition, or a file. Its extents
/// are inside of the disk, none is empty, and a file's need not be multiples of anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    extents: Vec<Extent>,
    /// Where each of them ends in the region.
    ends: Vec<u64>,
}

impl Region {
    /// All of a disk.
    pub fn whole(disk_bytes: u64) -> Self {
        let extents = (disk_bytes > 0).then_some(Extent::new(0, disk_bytes));
        Self {
            extents: extents.into_iter().collect(),
            ends: extents.map(|all| all.bytes).into_iter().collect(),
        }
    }

    /// These extents, one after the other, empty ones left out; `None` where one of them is not
    /// inside a disk of `disk_bytes`, or all of them have more bytes than a number can tell.
    pub fn new(mut extents: Vec<Extent>, disk_bytes: u64) -> Option<Self> {
        extents.retain(|extent| extent.bytes > 0 || extent.start > disk_bytes);
        extents.shrink_to_fit();
        let mut ends = Vec::with_capacity(extents.len());
        let mut bytes: u64 = 0;
        for extent in &extents {
            extent.end().filter(|&end| end <= disk_bytes)?;
            bytes = bytes.checked_add(extent.bytes)?;
            ends.push(bytes);
        }
        Some(Self { extents, ends })
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Its extents.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The bytes of the disk that are at `position` of the region: as many of `bytes` as lie one
    /// after the other there. `None` at its end and beyond. It takes no longer for a file that lies
    /// in many pieces.
    pub fn at(&self, position: u64, bytes: u64) -> Option<Extent> {
        let number = self.ends.partition_point(|&end| end <= position);
        let (extent, end) = (self.extents.get(number)?, self.ends.get(number)?);
        let left = end - position;
        Some(Extent::new(extent.start + (extent.bytes - left), left.min(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_inside_the_disk_is_no_region() {
        for extents in [
            vec![Extent::new(1, 1024)],
            vec![Extent::new(0, 512), Extent::new(u64::MAX, 2)],
            vec![Extent::new(u64::MAX, 1)],
        ] {
            assert_eq!(Region::new(extents.clone(), 1024), None, "{extents:?}");
        }
        assert_eq!(Region::new(vec![Extent::new(0, 1024)], 1024).unwrap().bytes(), 1024);
        assert_eq!(Region::new(vec![], 1024).unwrap().bytes(), 0);
    }

    #[test]
    fn places_are_found_across_extents() {
        let extents = vec![Extent::new(1000, 10), Extent::new(5, 0), Extent::new(200, 20)];
        let region = Region::new(extents, 2000).unwrap();
        assert_eq!(region.bytes(), 30);
        assert_eq!(region.extents().len(), 2);
        assert_eq!(region.at(0, 30), Some(Extent::new(1000, 10)));
        assert_eq!(region.at(9, 4), Some(Extent::new(1009, 1)));
        assert_eq!(region.at(10, 4), Some(Extent::new(200, 4)));
        assert_eq!(region.at(29, 4), Some(Extent::new(219, 1)));
        assert_eq!(region.at(30, 4), None);
        assert_eq!(region.at(u64::MAX, 4), None);
    }
}
