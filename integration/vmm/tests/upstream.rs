//! What keeps this VMM from using rust-vmm's KVM crates on POWER, as far as it can be computed on
//! any host; docs/upstream.md has the rest, and the changes that they need.
//!
//! When vmm-sys-util encodes ioctl numbers for POWER, this file stops compiling for a POWER host
//! (which `cargo xtask test` does on every machine). Delete it then, and in kvm-ppc64's
//! `src/sys/numbers.rs` `number`, its three directions, and the assertions of what it makes.

use std::ffi::{c_uint, c_ulong};

use vmm_sys_util::ioctl::{_IOC_NONE, ioctl_expr};
use vmm_sys_util::{ioctl_io_nr, ioctl_ior_nr, ioctl_iow_nr, ioctl_iowr_nr};

/// Linux, include/uapi/linux/kvm.h.
const KVMIO: c_uint = 0xae;

/// On POWER it is 0x2000_ae01, on most others this.
const CREATE_VM: c_ulong = 0x0000_ae01;

const _: () = assert!(
    ioctl_expr(_IOC_NONE, KVMIO, 0x01, 0) == CREATE_VM,
    "vmm-sys-util encodes ioctl numbers for this host now: see the head of this file"
);

// With arguments of the size that they have on POWER.
ioctl_io_nr!(KVM_CREATE_VM, KVMIO, 0x01);
ioctl_ior_nr!(KVM_GET_SREGS, KVMIO, 0x83, [u8; 1232]);
ioctl_iow_nr!(KVM_SET_REGS, KVMIO, 0x82, [u8; 392]);
ioctl_iow_nr!(KVM_ENABLE_CAP, KVMIO, 0xa3, [u8; 104]);
ioctl_iowr_nr!(KVM_CREATE_DEVICE, KVMIO, 0xe0, [u8; 12]);

/// A number as POWER encodes it: "_IOC_SIZEBITS 13, _IOC_DIRBITS 3, _IOC_NONE 1U, _IOC_READ 2U,
/// _IOC_WRITE 4U" (Linux, arch/powerpc/include/uapi/asm/ioctl.h).
fn power(direction: c_ulong, nr: c_ulong, bytes: c_ulong) -> c_ulong {
    direction << 29 | bytes << 16 | c_ulong::from(KVMIO) << 8 | nr
}

/// One of each direction: what vmm-sys-util makes of it, and what a C compiler for powerpc64le
/// makes of the kernel's headers.
#[test]
fn the_ioctl_macros_of_vmm_sys_util_do_not_fit_power() {
    for (name, vmm_sys_util, others, three_bits, compiler) in [
        ("KVM_CREATE_VM", KVM_CREATE_VM(), CREATE_VM, power(1, 0x01, 0), 0x2000_ae01),
        ("KVM_GET_SREGS", KVM_GET_SREGS(), 0x84d0_ae83, power(2, 0x83, 1232), 0x44d0_ae83),
        ("KVM_SET_REGS", KVM_SET_REGS(), 0x4188_ae82, power(4, 0x82, 392), 0x8188_ae82),
        ("KVM_ENABLE_CAP", KVM_ENABLE_CAP(), 0x4068_aea3, power(4, 0xa3, 104), 0x8068_aea3),
    ] {
        assert_eq!(vmm_sys_util, others, "{name}");
        assert_eq!(three_bits, compiler, "{name}");
        assert_ne!(vmm_sys_util, compiler, "{name}");
    }
    // Both directions at once are the same bits either way: this ioctl alone would work.
    assert_eq!(KVM_CREATE_DEVICE(), power(2 | 4, 0xe0, 12));
    assert_eq!(KVM_CREATE_DEVICE(), 0xc00c_aee0);
}
