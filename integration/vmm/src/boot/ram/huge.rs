//! The host's huge pages (Documentation/admin-guide/mm/hugetlbpage.rst of Linux).

use std::fs;
use std::path::Path;

use super::RamError;
use crate::config::Pages;

const SIZES: &str = "/sys/kernel/mm/hugepages";

/// How large the pages are that memory is made of, in bytes; those that are not huge are this host's.
pub(super) fn page_bytes(pages: Pages) -> Result<u64, RamError> {
    match pages {
        Pages::Small => Ok(small_page_bytes()),
        Pages::Huge(None) => default_bytes().ok_or(RamError::NoHugePages),
        Pages::Huge(Some(page_bytes)) => {
            let sizes = sizes();
            match sizes.contains(&page_bytes) {
                true => Ok(page_bytes),
                false => Err(RamError::PageSize { page_bytes, sizes }),
            }
        }
    }
}

/// The error of memory that could not be had: there are too few pages.
pub(super) fn too_few(bytes: u64, page_bytes: u64) -> RamError {
    let needed = bytes / page_bytes;
    RamError::HugePages { bytes, page_bytes, needed, free: free(page_bytes) }
}

pub(super) fn small_page_bytes() -> u64 {
    // SAFETY: asks for a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // It always has one.
    u64::try_from(bytes).unwrap_or(4096)
}

/// The sizes there are, in order.
fn sizes() -> Vec<u64> {
    let entries = fs::read_dir(SIZES).into_iter().flatten().flatten();
    let size = |name: &str| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok();
    let kib = entries.filter_map(|entry| size(entry.file_name().to_str()?));
    let mut sizes: Vec<u64> = kib.map(|kib: u64| kib << 10).collect();
    sizes.sort_unstable();
    sizes
}

fn default_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    kib_of(&meminfo, "Hugepagesize").map(|kib| kib << 10)
}

/// How many pages nobody has, and nobody has been promised; those included that the host makes when
/// they are wanted.
fn free(page_bytes: u64) -> u64 {
    let folder = Path::new(SIZES).join(format!("hugepages-{}kB", page_bytes >> 10));
    let count = |name| -> u64 {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let there = count("free_hugepages").saturating_sub(count("resv_hugepages"));
    let more = count("nr_overcommit_hugepages").saturating_sub(count("surplus_hugepages"));
    there + more
}

/// A line of `/proc/meminfo`, in KiB.
pub(super) fn kib_of(meminfo: &str, name: &str) -> Option<u64> {
    let lines = meminfo.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.into_iter().find(|(key, _)| *key == name)?;
    value.trim().split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_has_is_found() {
        let small = page_bytes(Pages::Small).unwrap();
        assert!(small.is_power_of_two() && small >= 4096);
        for bytes in sizes() {
            assert_eq!(page_bytes(Pages::Huge(Some(bytes))).unwrap(), bytes);
        }
        let error = page_bytes(Pages::Huge(Some(12345))).unwrap_err();
        assert!(matches!(error, RamError::PageSize { page_bytes: 12345, .. }), "{error}");
    }

    #[test]
    fn numbers_are_read() {
        let text = "MemTotal:  24683648 kB\nHugepagesize:       2048 kB\nHugetlb:  0 kB\n";
        assert_eq!(kib_of(text, "Hugepagesize"), Some(2048));
        assert_eq!(kib_of(text, "MemTotal"), Some(24_683_648));
        assert_eq!(kib_of(text, "Mem"), None);
    }
}
