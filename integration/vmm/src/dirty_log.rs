//! What was written to RAM while somebody copies it: by the guest, and by this process for it.

use arch_ppc64::memory_slot::DirtyPages;
use vm_memory::GuestAddress;

/// How long a page of the log is: that of vm-memory's bitmap here, and no host has shorter ones.
pub const LOG_PAGE_BYTES: u64 = 4096;

/// Which pages of some RAM were written to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirtyRange {
    /// Real address of the first page.
    pub start: GuestAddress,
    /// The pages, of [`LOG_PAGE_BYTES`].
    pub pages: DirtyPages,
}

impl DirtyRange {
    /// How many bytes were written to, in whole pages.
    pub fn bytes(&self) -> u64 {
        self.pages.count() * self.pages.page_bytes
    }

    /// The pages in stretches that follow each other, each of at most so many bytes, which is a
    /// multiple of a page: real address and length.
    pub fn stretches(&self, bytes_max: u64) -> impl Iterator<Item = (GuestAddress, u64)> + '_ {
        let mut offsets = self.pages.offsets().peekable();
        let page = self.pages.page_bytes;
        std::iter::from_fn(move || {
            let first = offsets.next()?;
            let mut bytes = page;
            while bytes < bytes_max && offsets.next_if_eq(&(first + bytes)).is_some() {
                bytes += page;
            }
            Some((GuestAddress(self.start.0 + first), bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_follow_each_other_are_stretches() {
        let pages = DirtyPages::new(LOG_PAGE_BYTES, vec![1 << 63 | 0b1110, 1, 0]);
        let range = DirtyRange { start: GuestAddress(0x10_0000), pages };
        assert_eq!(range.bytes(), 0x5000);
        let all = |most| range.stretches(most).map(|(at, bytes)| (at.0, bytes)).collect::<Vec<_>>();
        assert_eq!(all(u64::MAX), [(0x10_1000, 0x3000), (0x13_f000, 0x2000)]);
        let short = [(0x10_1000, 0x2000), (0x10_3000, 0x1000), (0x13_f000, 0x2000)];
        assert_eq!(all(0x2000), short);
    }
}
