//! The hypercalls about the hashed page table that KVM leaves to the VMM: to have one of another size.
//! The others it answers in the kernel.

use std::io;
use std::sync::Arc;

use arch_ppc64::hpt::FUNCTION_SETS;
use arch_ppc64::hypercall::token;
use arch_ppc64::platform::Device;
use arch_ppc64::{CpuIndex, GuestRam, Hypercall, HypercallHandler, Next, Status};

use crate::hpt::Prepared;
use crate::modes::Modes;

/// H_RESIZE_HPT_PREPARE and H_RESIZE_HPT_COMMIT (not in LoPAPR 1.1; Linux's `asm/hvcall.h` and KVM's
/// documentation of KVM_PPC_RESIZE_HPT_PREPARE).
#[derive(Debug)]
pub(crate) struct HptCalls(pub(crate) Arc<Modes>);

impl HptCalls {
    fn prepare(&self, flags: u64, order: u64) -> Status {
        let Ok(order) = u32::try_from(order) else { return Status::PARAMETER };
        match self.0.translation().prepare(flags, order) {
            None => Status::RESOURCE,
            Some(Ok(Prepared::Ready)) => Status::SUCCESS,
            Some(Ok(Prepared::Milliseconds(time))) => Status::long_busy(time),
            Some(Err(error)) => status(&error),
        }
    }

    fn commit(&self, flags: u64, order: u64) -> Status {
        let Ok(order) = u32::try_from(order) else { return Status::PARAMETER };
        match self.0.translation().commit(flags, order) {
            Ok(()) => Status::SUCCESS,
            Err(error) => status(&error),
        }
    }
}

/// What the kernel's refusals are to the guest.
fn status(error: &io::Error) -> Status {
    match error.raw_os_error() {
        Some(libc::EINVAL) => Status::PARAMETER,
        Some(libc::ENOMEM) => Status::RESOURCE,
        // "There is no pending HPT, or it doesn't have the requested size".
        Some(libc::ENXIO) => Status::CLOSED,
        Some(libc::EBUSY) => Status::BUSY,
        // "There was a hash collision when moving existing HPT entries to the new HPT".
        Some(libc::ENOSPC) => Status::PTEG_FULL,
        _ => Status::HARDWARE,
    }
}

impl HypercallHandler for HptCalls {
    fn tokens(&self) -> &[u64] {
        &[token::RESIZE_HPT_PREPARE, token::RESIZE_HPT_COMMIT]
    }

    fn handle(&self, _caller: CpuIndex, _ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let [flags, order, ..] = call.args;
        let status = match call.token {
            token::RESIZE_HPT_PREPARE => self.prepare(flags, order),
            token::RESIZE_HPT_COMMIT => self.commit(flags, order),
            _ => Status::FUNCTION,
        };
        call.finish(status)
    }
}

impl Device for HptCalls {
    fn id(&self) -> &str {
        "hashed-page-table"
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    /// Those of the kernel included.
    fn function_sets(&self) -> &[&'static str] {
        &FUNCTION_SETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_refusals_are_the_specifications() {
        let of = |number| status(&io::Error::from_raw_os_error(number));
        assert_eq!(of(libc::EINVAL), Status::PARAMETER);
        assert_eq!(of(libc::ENOSPC), Status::PTEG_FULL);
        assert_eq!(of(libc::EIO), Status::HARDWARE);
    }
}
