//! Memory that the host does not have.

use std::io;

use crate::config::Size;

/// Why a guest's memory cannot be had from the host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RamError {
    /// The host has no huge pages of that size.
    #[error("hugepage_size={}: {}", Size(*.page_bytes), known(.sizes))]
    PageSize {
        /// What was asked for, in bytes.
        page_bytes: u64,
        /// What there is.
        sizes: Vec<u64>,
    },
    /// The host has no huge pages at all, or does not say so.
    #[error("hugepages=on: {}", known(&[]))]
    NoHugePages,
    /// Memory that is not made of whole huge pages.
    #[error(
        "memory of {} cannot be made of huge pages of {}: it has to be a multiple of that",
        Size(*.bytes), Size(*.page_bytes)
    )]
    PartOfPage {
        /// The size of the memory.
        bytes: u64,
        /// That of a page.
        page_bytes: u64,
    },
    /// There are too few huge pages.
    #[error(
        "memory of {} takes {needed} huge pages of {}, and {free} are free on this host; \
         /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages says how many it has",
        Size(*.bytes), Size(*.page_bytes), .page_bytes >> 10
    )]
    HugePages {
        /// The size of the memory.
        bytes: u64,
        /// That of a page.
        page_bytes: u64,
        /// How many it takes.
        needed: u64,
        /// How many nobody has.
        free: u64,
    },
    /// The host has not so much to give, or does not let this process have it.
    #[error(
        "cannot have {} of memory for the guest; limits are those of the process (ulimit -v, ulimit \
         -f) and of the host (/proc/sys/vm/overcommit_memory)", Size(*.bytes)
    )]
    Map {
        /// How much it was to be.
        bytes: u64,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Memory cannot be where it is to be.
    #[error("memory of {} cannot be where it is to be", Size(*.bytes))]
    Place {
        /// How much it is.
        bytes: u64,
    },
    /// The host has not so much free memory.
    #[error(
        "prefault=on takes {} at once, and this host has {} of memory to give",
        Size(*.bytes), Size(*.available)
    )]
    TooMuchAtOnce {
        /// How much there is still to be taken.
        bytes: u64,
        /// How much the host has.
        available: u64,
    },
    /// The host failed while memory was taken.
    #[error("prefault=on: cannot take {} of memory", Size(*.bytes))]
    Populate {
        /// How much it was to be.
        bytes: u64,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// What was saved of memory cannot be had.
    #[error("cannot have what was saved of the guest's memory")]
    Bring(#[source] io::Error),
    /// What a client left in memory cannot be taken away for the next one.
    #[error("cannot clear the guest's memory")]
    Clear(#[source] io::Error),
}

impl RamError {
    /// Whether it is for the user to put right, rather than for the host.
    pub(crate) fn is_the_users(&self) -> bool {
        matches!(self, Self::PageSize { .. } | Self::PartOfPage { .. })
    }
}

/// The sizes of huge pages that there are.
fn known(sizes: &[u64]) -> String {
    let all: Vec<String> = sizes.iter().map(|bytes| Size(*bytes).to_string()).collect();
    match all.split_last() {
        None => "this host has no huge pages".to_owned(),
        Some((only, [])) => format!("this host has huge pages of {only}"),
        Some((last, others)) => {
            format!("this host has huge pages of {} and {last}", others.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_named() {
        let error = RamError::PageSize { page_bytes: 3 << 20, sizes: vec![2 << 20, 1 << 30] };
        assert_eq!(error.to_string(), "hugepage_size=3M: this host has huge pages of 2M and 1G");
        let one = RamError::PageSize { page_bytes: 1 << 30, sizes: vec![2 << 20] };
        assert_eq!(one.to_string(), "hugepage_size=1G: this host has huge pages of 2M");
        let none = RamError::PageSize { page_bytes: 1 << 30, sizes: vec![] };
        assert!(none.to_string().ends_with("this host has no huge pages"));
        let few = RamError::HugePages { bytes: 1 << 30, page_bytes: 2 << 20, needed: 512, free: 7 };
        let said = few.to_string();
        assert!(said.contains("1G takes 512 huge pages of 2M, and 7 are free"), "{said}");
        assert!(said.contains("hugepages-2048kB"), "{said}");
        assert!(error.is_the_users() && !few.is_the_users());
    }
}
