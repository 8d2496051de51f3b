//! What the host's kernel is asked of its device for sockets (`linux/vhost.h`).

#![allow(unsafe_code)]

use std::io;

use libc::Ioctl;

use crate::vhost::kernel::{KernelVhost, VHOST};

pub(crate) const SET_GUEST_CID: Ioctl = libc::_IOW::<u64>(VHOST, 0x60);
pub(crate) const SET_RUNNING: Ioctl = libc::_IOW::<libc::c_int>(VHOST, 0x61);

/// Which guest it is for. `AddrInUse` if there is one.
pub(super) fn set_cid(vhost: &KernelVhost, cid: u64) -> io::Result<()> {
    // SAFETY: it reads a number of that size.
    unsafe { vhost.tell(SET_GUEST_CID, &cid) }
}

/// Starts or stops it. After it has stopped it accesses nothing.
pub(super) fn set_running(vhost: &KernelVhost, is_running: bool) -> io::Result<()> {
    // SAFETY: likewise.
    unsafe { vhost.tell(SET_RUNNING, &libc::c_int::from(is_running)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_host() {
        // Direction and size are encoded in two ways.
        let is_power = cfg!(any(target_arch = "powerpc64", target_arch = "powerpc"));
        for (number, power, others) in
            [(SET_GUEST_CID, 0x8008_af60, 0x4008_af60), (SET_RUNNING, 0x8004_af61, 0x4004_af61)]
        {
            let expected: u32 = if is_power { power } else { others };
            assert_eq!(number as u32, expected, "{others:#x}");
        }
    }
}
