//! The calls.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::numbers::{
    DEV_XIVE_GRP_EQ_CONFIG, GET_DEVICE_ATTR, GET_DIRTY_LOG, GET_ONE_REG, IOCTLS, SET_DEVICE_ATTR,
    SET_ONE_REG, SET_USER_MEMORY_REGION,
};
use super::structs::{DeviceAttr, DirtyLog, KernelStruct, MemoryRegion, OneReg, XiveEq};

/// An ioctl that takes a number.
pub(crate) fn with_value(fd: &impl AsRawFd, request: u64, value: u64) -> io::Result<i32> {
    debug_assert_eq!(request >> 29, 1, "{request:#x} takes no number");
    // SAFETY: of the requests of this module, those of direction NONE take a number and touch no
    // memory of ours (RUN: only the shared area, which its vCPU owns).
    unsafe { ioctl_pointer(fd.as_raw_fd(), request, value as *mut libc::c_void) }
}

/// An ioctl that reads, or reads and fills, a structure.
pub(crate) fn with_struct<T: KernelStruct>(
    fd: &impl AsRawFd,
    request: u64,
    value: &mut T,
) -> io::Result<i32> {
    debug_assert_eq!(request >> 16 & 0x1fff, size_of::<T>() as u64);
    // SAFETY: the number of the request says how many bytes the kernel may touch; they are those
    // of `value`, which is exclusively borrowed, valid for every bit pattern, and has no address.
    unsafe { ioctl_pointer(fd.as_raw_fd(), request, std::ptr::from_mut(value).cast()) }
}

/// Reads a register of a vCPU: of 4, 8 or 16 bytes, as its id says.
pub(crate) fn get_one_reg(vcpu: &impl AsRawFd, id: u64) -> io::Result<u128> {
    let mut value = [0_u8; 16];
    let mut reg = OneReg { id, addr: value.as_mut_ptr() as u64 };
    let bytes = register_bytes(id)?;
    // SAFETY: the kernel writes as many bytes as `id` says, at most the 16 of `value`, which lives
    // on.
    unsafe { ioctl_pointer(vcpu.as_raw_fd(), GET_ONE_REG, (&raw mut reg).cast()) }?;
    value[bytes..].fill(0);
    Ok(u128::from_le_bytes(value))
}

/// Sets a register of a vCPU: of 4, 8 or 16 bytes, as its id says; higher bytes of `value` are
/// ignored.
pub(crate) fn set_one_reg(vcpu: &impl AsRawFd, id: u64, value: u128) -> io::Result<()> {
    let mut value = value.to_le_bytes();
    let mut reg = OneReg { id, addr: value.as_mut_ptr() as u64 };
    register_bytes(id)?;
    // SAFETY: the kernel reads as many bytes as `id` says, at most the 16 of `value`.
    unsafe { ioctl_pointer(vcpu.as_raw_fd(), SET_ONE_REG, (&raw mut reg).cast()) }?;
    Ok(())
}

/// The host's clock that nobody sets or slews: its time base, counted from some moment on
/// (clock_gettime(2), CLOCK_MONOTONIC_RAW).
pub(crate) fn host_clock() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the structure, which is ours. The clock is one that there is, so that
    // this cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long a register is, by the logarithm in its id: an error for one that is longer than what
/// there is room for here.
fn register_bytes(id: u64) -> io::Result<usize> {
    match id >> 52 & 0xf {
        log @ 0..=4 => Ok(1 << log),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

/// Reads an attribute of a device whose value is a 64-bit number.
pub(crate) fn get_device_attr(device: &impl AsRawFd, group: u32, attr: u64) -> io::Result<u64> {
    let mut value = 0_u64;
    let addr = std::ptr::from_mut(&mut value) as u64;
    let mut attr = DeviceAttr { flags: 0, group, attr, addr };
    // SAFETY: attributes of the groups of this module are 64-bit numbers, which the kernel writes
    // to `value`.
    unsafe { ioctl_pointer(device.as_raw_fd(), GET_DEVICE_ATTR, (&raw mut attr).cast()) }?;
    Ok(value)
}

/// Sets an attribute of a device whose value is a 64-bit number.
pub(crate) fn set_device_attr(
    device: &impl AsRawFd,
    group: u32,
    attr: u64,
    mut value: u64,
) -> io::Result<()> {
    let addr = std::ptr::from_mut(&mut value) as u64;
    let mut attr = DeviceAttr { flags: 0, group, attr, addr };
    // SAFETY: attributes of the groups of this module are 64-bit numbers, which the kernel reads
    // from `value`.
    unsafe { ioctl_pointer(device.as_raw_fd(), SET_DEVICE_ATTR, (&raw mut attr).cast()) }?;
    Ok(())
}

/// Reads a queue of a XIVE.
pub(crate) fn get_event_queue(device: &impl AsRawFd, number: u64) -> io::Result<XiveEq> {
    let mut queue = XiveEq::default();
    let addr = std::ptr::from_mut(&mut queue) as u64;
    let mut attr = DeviceAttr { flags: 0, group: DEV_XIVE_GRP_EQ_CONFIG, attr: number, addr };
    // SAFETY: attributes of this group are such structures, which the kernel writes to `queue`.
    unsafe { ioctl_pointer(device.as_raw_fd(), GET_DEVICE_ATTR, (&raw mut attr).cast()) }?;
    Ok(queue)
}

/// Sets a queue of a XIVE, or takes it away.
pub(crate) fn set_event_queue(
    device: &impl AsRawFd,
    number: u64,
    mut queue: XiveEq,
) -> io::Result<()> {
    let addr = std::ptr::from_mut(&mut queue) as u64;
    let mut attr = DeviceAttr { flags: 0, group: DEV_XIVE_GRP_EQ_CONFIG, attr: number, addr };
    // SAFETY: attributes of this group are such structures, which the kernel reads from `queue`.
    unsafe { ioctl_pointer(device.as_raw_fd(), SET_DEVICE_ATTR, (&raw mut attr).cast()) }?;
    Ok(())
}

/// Gives memory of this process to the guest, or takes a slot away (no bytes).
///
/// # Safety
/// The region must be mapped, and be used only as memory that others change at any time, for as
/// long as it is a slot of the VM and the VM can run.
pub(crate) unsafe fn set_memory_region(
    vm: &impl AsRawFd,
    region: &mut MemoryRegion,
) -> io::Result<()> {
    let pointer = std::ptr::from_mut(region).cast();
    // SAFETY: the kernel only reads `region` here; what it then does with the memory is what the
    // caller vouches for.
    unsafe { ioctl_pointer(vm.as_raw_fd(), SET_USER_MEMORY_REGION, pointer) }?;
    Ok(())
}

/// Has the kernel fill `bitmap` with the dirty pages of a slot.
///
/// # Safety
/// `bitmap` has a bit for each page of the slot, in as many words as that takes.
pub(crate) unsafe fn with_bitmap(
    vm: &impl AsRawFd,
    slot: u32,
    bitmap: &mut [u64],
) -> io::Result<()> {
    let dirty_bitmap = bitmap.as_mut_ptr() as u64;
    let mut log = DirtyLog { slot, padding: 0, dirty_bitmap };
    // SAFETY: the kernel writes a bit for each page of the slot, rounded up to 64: at most the
    // bits of `bitmap`, says the caller.
    unsafe { ioctl_pointer(vm.as_raw_fd(), GET_DIRTY_LOG, (&raw mut log).cast()) }?;
    Ok(())
}

/// The file descriptor that an ioctl returned.
pub(crate) fn owned(fd: i32) -> OwnedFd {
    // SAFETY: called with the fresh result of an ioctl that makes a descriptor; nobody else has
    // it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The one place where an ioctl is made.
///
/// # Safety
/// The argument is what the request takes: a number, or a pointer to a structure that the kernel
/// may read and fill, with what the addresses in it point to.
unsafe fn ioctl_pointer(fd: i32, request: u64, argument: *mut libc::c_void) -> io::Result<i32> {
    debug_assert!(IOCTLS.contains(&request), "{request:#x} is not on the list");
    // SAFETY: says the caller.
    let result = unsafe { libc::ioctl(fd, request as libc::Ioctl, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
