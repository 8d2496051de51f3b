//! `/dev/kvm` and what is asked of it alone.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::KvmError;
use crate::registers::{ARCH_COMPAT, DEC_EXPIRY, TB_OFFSET};
use crate::sys;
use crate::time::{HostTime, OFFSET_STEP};

const PATH: &str = "/dev/kvm";

/// The open device.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
    pub(crate) run_area_bytes: usize,
    /// The architecture levels that were asked for, and whether the host has them.
    levels: Mutex<BTreeMap<u32, bool>>,
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
            (sys::CAP_PPC_MMU_RADIX, "radix guests"),
            (sys::CAP_IRQ_XICS, "an XICS interrupt controller"),
            (sys::CAP_IMMEDIATE_EXIT, "immediate exits"),
        ] {
            if capability_of(&file, capability)? == 0 {
                return Err(KvmError::Unsuitable(format!(
                    "KVM of this host cannot do {what}; a POWER9 or later host in radix mode \
                     with the module kvm-hv is needed"
                )));
            }
        }
        let run_area_bytes = sys::with_value(&file, sys::GET_VCPU_MMAP_SIZE, 0)
            .map_err(KvmError::kernel("ask KVM for the size of its run area"))?;
        Ok(Self { file, run_area_bytes: run_area_bytes as usize, levels: Mutex::default() })
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

fn capability_of(file: &File, capability: u32) -> Result<i32, KvmError> {
    sys::with_value(file, sys::CHECK_EXTENSION, capability.into())
        .map_err(KvmError::kernel("ask KVM what it can do"))
}
