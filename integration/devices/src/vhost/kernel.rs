//! What the host's kernel is asked of any device that it works for (`linux/vhost.h`).

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use libc::Ioctl;

use super::memory::Region;
use super::vring::Vring;

/// The most ranges of memory that the kernel takes, if it was not told otherwise.
const MAX_REGIONS: usize = 64;

/// The letter of all of them.
pub(crate) const VHOST: u32 = 0xaf;

// libc's macros know how POWER encodes them, unlike those of vmm-sys-util.
pub(crate) const GET_FEATURES: Ioctl = libc::_IOR::<u64>(VHOST, 0x00);
pub(crate) const SET_FEATURES: Ioctl = libc::_IOW::<u64>(VHOST, 0x00);
pub(crate) const SET_OWNER: Ioctl = libc::_IO(VHOST, 0x01);
/// Of the header; the ranges follow.
pub(crate) const SET_MEM_TABLE: Ioctl = libc::_IOW::<[u32; 2]>(VHOST, 0x03);
pub(crate) const SET_VRING_NUM: Ioctl = libc::_IOW::<VringState>(VHOST, 0x10);
pub(crate) const SET_VRING_ADDR: Ioctl = libc::_IOW::<VringAddress>(VHOST, 0x11);
pub(crate) const SET_VRING_BASE: Ioctl = libc::_IOW::<VringState>(VHOST, 0x12);
pub(crate) const GET_VRING_BASE: Ioctl = libc::_IOWR::<VringState>(VHOST, 0x12);
pub(crate) const SET_VRING_KICK: Ioctl = libc::_IOW::<VringFile>(VHOST, 0x20);
pub(crate) const SET_VRING_CALL: Ioctl = libc::_IOW::<VringFile>(VHOST, 0x21);

/// `struct vhost_vring_state`.
#[repr(C)]
struct VringState {
    index: u32,
    value: u32,
}

/// `struct vhost_vring_file`.
#[repr(C)]
pub(crate) struct VringFile {
    pub(crate) index: u32,
    pub(crate) file: RawFd,
}

/// `struct vhost_vring_addr`.
#[repr(C)]
struct VringAddress {
    index: u32,
    flags: u32,
    descriptors: u64,
    used: u64,
    available: u64,
    log: u64,
}

/// `struct vhost_memory` with as many ranges as there may be.
#[repr(C)]
struct MemoryTable {
    count: u32,
    padding: u32,
    regions: [MemoryRegion; MAX_REGIONS],
}

/// `struct vhost_memory_region`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MemoryRegion {
    guest: u64,
    bytes: u64,
    host: u64,
    flags: u64,
}

/// An instance of one of the kernel's devices.
#[derive(Debug)]
pub(crate) struct KernelVhost(File);

impl KernelVhost {
    /// Makes this process the owner of what `file` was opened as.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        // SAFETY: no memory is passed.
        done(unsafe { libc::ioctl(file.as_raw_fd(), SET_OWNER) })?;
        Ok(Self(file))
    }

    /// A file that fails whatever it is asked.
    #[cfg(test)]
    pub(crate) fn broken() -> Self {
        Self(File::open("/dev/null").unwrap())
    }

    /// The features that it has.
    pub(crate) fn features(&self) -> io::Result<u64> {
        let mut features = 0_u64;
        // SAFETY: the kernel writes a number of that size.
        done(unsafe { libc::ioctl(self.0.as_raw_fd(), GET_FEATURES, &raw mut features) })?;
        Ok(features)
    }

    pub(crate) fn set_features(&self, features: u64) -> io::Result<()> {
        self.set(SET_FEATURES, &features)
    }

    /// Tells it of guest memory, which it accesses from when it is running until it is not.
    ///
    /// # Safety
    /// The regions are memory of this process that is there, and is accessed as what others change,
    /// for as long as it is running.
    pub(crate) unsafe fn set_memory(&self, regions: &[Region]) -> io::Result<()> {
        let nothing = MemoryRegion { guest: 0, bytes: 0, host: 0, flags: 0 };
        let count = regions.len() as u32;
        let mut table = MemoryTable { count, padding: 0, regions: [nothing; MAX_REGIONS] };
        if regions.len() > MAX_REGIONS {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        for (to, from) in table.regions.iter_mut().zip(regions) {
            *to = MemoryRegion { guest: from.guest, bytes: from.bytes, host: from.host, flags: 0 };
        }
        self.set(SET_MEM_TABLE, &table)
    }

    /// Tells it of a queue.
    ///
    /// # Safety
    /// The same goes for the rings, as long as their size says.
    pub(crate) unsafe fn set_vring(&self, vring: &Vring) -> io::Result<()> {
        let index = u32::from(vring.index);
        self.set(SET_VRING_NUM, &VringState { index, value: vring.size.into() })?;
        self.set(SET_VRING_BASE, &VringState { index, value: vring.base.into() })?;
        let address = VringAddress {
            index,
            flags: 0,
            descriptors: vring.descriptors,
            used: vring.used,
            available: vring.available,
            log: 0,
        };
        self.set(SET_VRING_ADDR, &address)?;
        self.set(SET_VRING_CALL, &VringFile { index, file: vring.call.as_raw_fd() })?;
        self.set(SET_VRING_KICK, &VringFile { index, file: vring.kick.as_raw_fd() })
    }

    /// Before which buffer of a queue it has stopped.
    pub(crate) fn vring_base(&self, index: u16) -> io::Result<u16> {
        let mut state = VringState { index: index.into(), value: 0 };
        // SAFETY: the kernel reads and writes a structure of this type.
        done(unsafe { libc::ioctl(self.0.as_raw_fd(), GET_VRING_BASE, &raw mut state) })?;
        Ok(state.value as u16)
    }

    /// Tells it something of its own.
    ///
    /// # Safety
    /// The kernel reads a `T` for this call, and nothing else.
    pub(crate) unsafe fn tell<T>(&self, call: Ioctl, value: &T) -> io::Result<()> {
        self.set(call, value)
    }

    fn set<T>(&self, call: Ioctl, value: &T) -> io::Result<()> {
        // SAFETY: the kernel reads a structure of this type, of which those for a memory table
        // say themselves how long they are. What the addresses in it are is the caller's affair.
        done(unsafe { libc::ioctl(self.0.as_raw_fd(), call, std::ptr::from_ref(value)) })
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_host() {
        // Direction and size are encoded in two ways.
        let is_power = cfg!(any(target_arch = "powerpc64", target_arch = "powerpc"));
        for (number, power, others) in [
            (GET_FEATURES, 0x4008_af00, 0x8008_af00),
            (SET_FEATURES, 0x8008_af00, 0x4008_af00),
            (SET_OWNER, 0x2000_af01, 0xaf01),
            (SET_MEM_TABLE, 0x8008_af03, 0x4008_af03),
            (SET_VRING_NUM, 0x8008_af10, 0x4008_af10),
            (SET_VRING_ADDR, 0x8028_af11, 0x4028_af11),
            (SET_VRING_BASE, 0x8008_af12, 0x4008_af12),
            (GET_VRING_BASE, 0xc008_af12, 0xc008_af12),
            (SET_VRING_KICK, 0x8008_af20, 0x4008_af20),
            (SET_VRING_CALL, 0x8008_af21, 0x4008_af21),
        ] {
            let expected: u32 = if is_power { power } else { others };
            assert_eq!(number as u32, expected, "{others:#x}");
        }
        assert_eq!(size_of::<MemoryTable>(), 8 + 32 * MAX_REGIONS);
    }
}
