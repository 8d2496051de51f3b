//! `/dev/kvm` and what is asked of it alone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arch_ppc64::cas::{Mmu, Support};
use arch_ppc64::hpt::{HashPage, Order, SEGMENT_PAGE_SIZES, SLB_ENTRIES, SegmentPageSizes};
use arch_ppc64::layout::PAGE_BYTES;

use crate::error::KvmError;
use crate::hpt::{self, NO_HASH};
use crate::interrupts;
use crate::memory::host_page_bytes;
use crate::registers::{ARCH_COMPAT, DEC_EXPIRY, TB_OFFSET};
use crate::sys;
use crate::time::{HostTime, OFFSET_STEP};

const PATH: &str = "/dev/kvm";

/// Why a host refuses that has no radix trees.
const NO_RADIX: &str = "KVM of this host has hashed page tables only: it translates by one itself (its \
                        kernel was started with disable_radix)";

/// The open device.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
    pub(crate) run_area_bytes: usize,
    /// The architecture levels that were asked for, and whether the host has them.
    levels: Mutex<BTreeMap<u32, bool>>,
    /// How guests can translate addresses; known when it was asked for.
    mmu: OnceLock<Support<Mmu>>,
    /// The pages of a hashed page table; known with that.
    hash_pages: OnceLock<Vec<HashPage>>,
    /// Why the host has no XIVE for guests, if it has none; known when it was asked for.
    no_xive: OnceLock<Option<String>>,
}

impl Device {
    pub(crate) fn open() -> Result<Self, KvmError> {
        if !cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            return Err(KvmError::Unsuitable(format!(
                "this host is {}; pseries guests need the KVM of a POWER host",
                std::env::consts::ARCH
            )));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(PATH)
            .map_err(|source| KvmError::Open { path: PATH, source })?;
        let version = sys::with_value(&file, sys::GET_API_VERSION, 0)
            .map_err(KvmError::kernel("ask KVM for its version"))?;
        if version != sys::API_VERSION {
            return Err(KvmError::Unsuitable(format!(
                "KVM has API version {version}; the only one known is {}",
                sys::API_VERSION
            )));
        }
        for (capability, what) in [
            (sys::CAP_PPC_PAPR, "PAPR guests"),
            (sys::CAP_IRQ_XICS, "an XICS interrupt controller"),
            (sys::CAP_IMMEDIATE_EXIT, "immediate exits"),
        ] {
            if capability_of(&file, capability)? == 0 {
                return Err(cannot(what));
            }
        }
        let translations = [sys::CAP_PPC_MMU_RADIX, sys::CAP_PPC_ALLOC_HTAB];
        if translations.iter().map(|&has| capability_of(&file, has)).all(|has| matches!(has, Ok(0)))
        {
            return Err(cannot("guests with radix trees or hashed page tables"));
        }
        let run_area_bytes = sys::with_value(&file, sys::GET_VCPU_MMAP_SIZE, 0)
            .map_err(KvmError::kernel("ask KVM for the size of its run area"))?;
        Ok(Self {
            file,
            run_area_bytes: run_area_bytes as usize,
            levels: Mutex::default(),
            mmu: OnceLock::new(),
            hash_pages: OnceLock::new(),
            no_xive: OnceLock::new(),
        })
    }

    /// What KVM says of a capability, 0 for one that it does not know.
    pub(crate) fn capability(&self, capability: u32) -> Result<i32, KvmError> {
        capability_of(&self.file, capability)
    }

    pub(crate) fn create_vm(&self) -> Result<OwnedFd, KvmError> {
        sys::with_value(&self.file, sys::CREATE_VM, sys::VM_PPC_HV)
            .map(sys::owned)
            .map_err(KvmError::kernel("create a virtual machine"))
    }

    /// The pages of a hashed page table, where there is such.
    pub(crate) fn hash_pages(&self) -> Vec<HashPage> {
        self.hash_pages.get().cloned().unwrap_or_default()
    }

    /// How guests can translate addresses. It is found out once.
    pub(crate) fn mmu(&self) -> Result<Support<Mmu>, KvmError> {
        match self.mmu.get() {
            Some(mmu) => Ok(*mmu),
            // Another may be first meanwhile, and finds the same.
            None => self.try_mmu().map(|mmu| *self.mmu.get_or_init(|| mmu)),
        }
    }

    fn try_mmu(&self) -> Result<Support<Mmu>, KvmError> {
        let has_radix = self.capability(sys::CAP_PPC_MMU_RADIX)? != 0;
        match (has_radix, self.has_hash(has_radix)?) {
            (true, true) => Ok(Support::Either),
            (true, false) => Ok(Support::Only(Mmu::Radix)),
            (false, true) => Ok(Support::Only(Mmu::Hash)),
            (false, false) => Err(cannot("guests with radix trees or hashed page tables")),
        }
    }

    /// Refuses what guests of this host cannot be offered.
    pub(crate) fn check_mmu(&self, wanted: Support<Mmu>) -> Result<(), KvmError> {
        // What is usual is not found out by making things.
        if wanted == Support::Only(Mmu::Radix) && self.capability(sys::CAP_PPC_MMU_RADIX)? != 0 {
            return Ok(());
        }
        match self.mmu()? {
            Support::Either => Ok(()),
            only if only == wanted => Ok(()),
            Support::Only(Mmu::Radix) => Err(KvmError::Unsuitable(NO_HASH.to_owned())),
            Support::Only(Mmu::Hash) => Err(KvmError::Unsuitable(NO_RADIX.to_owned())),
        }
    }

    fn has_hash(&self, has_radix: bool) -> Result<bool, KvmError> {
        let vm = self.create_vm()?;
        match hpt::allocate(&vm, Order::MIN) {
            Ok(()) => {}
            // A host that is a guest itself says the former.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOTTY)) => {
                return Ok(false);
            }
            Err(error) => return Err(KvmError::kernel("make a hashed page table")(error)),
        }
        let mut info = sys::SmmuInfo::default();
        sys::with_struct(&vm, sys::PPC_GET_SMMU_INFO, &mut info)
            .map_err(KvmError::kernel("ask KVM for its hash translation"))?;
        let is_apart =
            self.capability(sys::CAP_PPC_MMU_HASH_V3)? != 0 || !has_radix || !has_siblings();
        let pages = pages(&info, host_page_bytes().ilog2());
        // Guests count on small pages, and on what the tree says of the segment lookaside buffer.
        let is_usual = pages.iter().any(|page| page.shift == 12) && info.slb_size >= SLB_ENTRIES;
        let _ = self.hash_pages.set(pages);
        Ok(is_apart && is_usual)
    }

    /// A CPU of a VM of its own that never runs, to find out what the host does with it.
    fn create_probe(&self) -> Result<OwnedFd, KvmError> {
        sys::with_value(&self.create_vm()?, sys::CREATE_VCPU, 0)
            .map(sys::owned)
            .map_err(KvmError::kernel("create a virtual CPU"))
    }

    pub(crate) fn host_pvr(&self) -> Result<u32, KvmError> {
        let mut sregs = sys::Sregs::default();
        sys::with_struct(&self.create_probe()?, sys::GET_SREGS, &mut sregs)
            .map_err(KvmError::kernel("read the processor version"))?;
        Ok(sregs.pvr)
    }

    /// Whether the host can hold a CPU to this architecture level. It is found out once: a guest
    /// can have this asked again and again.
    pub(crate) fn has_level(&self, logical_pvr: u32) -> Result<bool, KvmError> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&has) = levels.get(&logical_pvr) {
            return Ok(has);
        }
        let has = self.try_level(logical_pvr)?;
        levels.insert(logical_pvr, has);
        Ok(has)
    }

    fn try_level(&self, logical_pvr: u32) -> Result<bool, KvmError> {
        match sys::set_one_reg(&self.create_probe()?, ARCH_COMPAT, logical_pvr.into()) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            Err(error) => Err(KvmError::kernel("ask for an architecture level")(error)),
        }
    }

    /// Why guests cannot take interrupts by XIVE here; `None` where they can. It is found out once.
    pub(crate) fn no_xive(&self) -> Result<Option<&str>, KvmError> {
        if self.no_xive.get().is_none() {
            // Another may be first meanwhile, and finds the same.
            let _ = self.no_xive.set(self.try_xive()?);
        }
        Ok(self.no_xive.get().and_then(Option::as_deref))
    }

    fn try_xive(&self) -> Result<Option<String>, KvmError> {
        if self.capability(sys::CAP_PPC_IRQ_XIVE)? == 0 {
            return Ok(Some("its KVM has none for them".to_owned()));
        }
        let page = host_page_bytes();
        if page != PAGE_BYTES {
            return Ok(Some(format!(
                "its pages are of {page:#x} bytes, and KVM has XIVE for guests with pages of \
                 {PAGE_BYTES:#x} only"
            )));
        }
        match interrupts::has_xive(&self.create_vm()?) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some("it is a guest itself".to_owned())),
            Err(error) => Err(KvmError::kernel("create a XIVE")(error)),
        }
    }

    /// The host's time base and clock, read at once.
    ///
    /// There is no portable way to read the time base without assembly. But KVM gives a new CPU
    /// whose TB_OFFSET is set a decrementer that has just run out, in the guest's time.
    pub(crate) fn host_time(&self) -> Result<HostTime, KvmError> {
        let probe = self.create_probe()?;
        let read = || -> io::Result<u64> {
            sys::set_one_reg(&probe, TB_OFFSET, OFFSET_STEP.into())?;
            Ok(sys::get_one_reg(&probe, DEC_EXPIRY)? as u64)
        };
        let in_guest = read().map_err(KvmError::kernel("read the host's time base"))?;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(HostTime {
            timebase: in_guest.wrapping_sub(OFFSET_STEP),
            unix_ns: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX),
        })
    }
}

/// The pages of a hashed page table that the host knows by the usual codes, and that are not larger than
/// its own, of which it makes them.
fn pages(info: &sys::SmmuInfo, largest: u32) -> Vec<HashPage> {
    let mut found = Vec::new();
    for &SegmentPageSizes { base_shift, slb_code, pages, .. } in &SEGMENT_PAGE_SIZES {
        let is_segment = |segment: &&sys::SegmentPageSize| {
            (segment.base_shift, segment.slb_code) == (base_shift, slb_code)
        };
        let Some(known) = info.segments.iter().find(is_segment) else { continue };
        for &(shift, code) in pages.iter().filter(|(shift, _)| *shift <= largest) {
            if known.pages.iter().any(|page| (page.shift, page.code) == (shift, code)) {
                found.push(HashPage { base_shift, shift });
            }
        }
    }
    found
}

/// Whether several threads of a core run on this host: a POWER9 before DD 2.2 cannot have some of them
/// translate by radix trees and others by a hashed page table.
fn has_siblings() -> bool {
    const SIBLINGS: &str = "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
    // A host that does not say may have them.
    fs::read_to_string(SIBLINGS).map_or(true, |list| list.trim().parse::<u32>().is_err())
}

fn cannot(what: &str) -> KvmError {
    KvmError::Unsuitable(format!(
        "KVM of this host cannot do {what}; a POWER9 or later host with the module kvm-hv is needed"
    ))
}

fn capability_of(file: &File, capability: u32) -> Result<i32, KvmError> {
    sys::with_value(file, sys::CHECK_EXTENSION, capability.into())
        .map_err(KvmError::kernel("ask KVM what it can do"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As KVM-HV of Linux 6.1 says it.
    fn kvm_hv() -> sys::SmmuInfo {
        let mut info = sys::SmmuInfo { slb_size: 32, ..Default::default() };
        let segments = [
            (12, 0, &[(12, 0), (24, 0x38)][..]),
            (16, 0x110, &[(16, 1), (24, 8)]),
            (24, 0x100, &[(24, 0)]),
        ];
        for (known, (base_shift, slb_code, pages)) in info.segments.iter_mut().zip(segments) {
            (known.base_shift, known.slb_code) = (base_shift, slb_code);
            for (page, &(shift, code)) in known.pages.iter_mut().zip(pages) {
                *page = sys::PageSize { shift, code };
            }
        }
        info
    }

    #[test]
    fn pages_are_those_of_the_host_at_most() {
        let of = |largest| {
            let found = pages(&kvm_hv(), largest).into_iter();
            found.map(|page| (page.base_shift, page.shift)).collect::<Vec<_>>()
        };
        assert_eq!(of(12), [(12, 12)]);
        assert_eq!(of(16), [(12, 12), (16, 16)]);
        assert_eq!(of(24), [(12, 12), (12, 24), (16, 16), (16, 24), (24, 24)]);
        assert_eq!(pages(&sys::SmmuInfo::default(), 24), []);
    }
}
