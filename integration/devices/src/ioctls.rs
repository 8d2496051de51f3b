//! The numbers of all ioctls that the devices make, for filters of system calls (seccomp). They are
//! those of the host that this is built for.

use crate::disk::host::BLKDISCARD;
use crate::net::kernel::SET_BACKEND;
use crate::vhost::kernel as vhost;
use crate::vsock::kernel::calls as vsock;

/// Of a TAP interface: when it is opened, and the last, when a driver has chosen its features.
pub const TAP: &[libc::Ioctl] = &[
    libc::TUNGETFEATURES,
    libc::TUNSETIFF,
    libc::TUNGETIFF,
    libc::TUNSETVNETHDRSZ,
    libc::TUNSETVNETLE,
    libc::TUNSETOFFLOAD,
];

/// Of the kernel's devices (vhost): when they are opened, and when a driver starts and stops one.
pub const VHOST: &[libc::Ioctl] = &[
    vhost::GET_FEATURES,
    vhost::SET_FEATURES,
    vhost::SET_OWNER,
    vhost::SET_MEM_TABLE,
    vhost::SET_VRING_NUM,
    vhost::SET_VRING_ADDR,
    vhost::SET_VRING_BASE,
    vhost::GET_VRING_BASE,
    vhost::SET_VRING_KICK,
    vhost::SET_VRING_CALL,
    SET_BACKEND,
    vsock::SET_GUEST_CID,
    vsock::SET_RUNNING,
];

/// Of a disk that is a block device, by whoever reads and writes it.
pub const DISK: &[libc::Ioctl] = &[BLKDISCARD];

/// Of a disk that is a block device, when it is opened.
pub const DISK_OPEN: &[libc::Ioctl] = &[libc::BLKSSZGET, libc::BLKPBSZGET];
