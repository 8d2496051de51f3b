//! The KVM interface of POWER hosts, as far as it is used here.
//!
//! The crates that wrap KVM do not know POWER, and the ioctl macros of vmm-sys-util encode for
//! other architectures, so the numbers are made here. Every number, size and offset is asserted
//! against those that the kernel's headers give for powerpc64le; facts from Linux,
//! `Documentation/virt/kvm/api.rst`.

mod calls;
mod numbers;
mod structs;

pub(crate) use calls::{
    get_device_attr, get_event_queue, get_one_reg, host_clock, owned, set_device_attr,
    set_event_queue, set_memory_region, set_one_reg, with_bitmap, with_struct, with_value,
};
pub(crate) use numbers::*;
pub use numbers::{INTERRUPT_IOCTLS, IOCTLS};
pub(crate) use structs::*;
