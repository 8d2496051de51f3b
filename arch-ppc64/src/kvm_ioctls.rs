//! From kvm-ioctls to the bus (feature `kvm-ioctls`): a hypercall is answered where the kernel
//! left it.
//!
//! kvm-ioctls' `VcpuExit::PaprHcall` says that there is a hypercall, not which: the registers are
//! in the vCPU's `kvm_run`. [`papr_hcall`] lends them out as a [`Hypercall`], and the kernel takes
//! the results from there at the next `KVM_RUN`. Nothing here needs a `/dev/kvm`.
//!
//! ```no_run
//! use std::error::Error;
//!
//! use arch_ppc64::kvm_ioctls::papr_hcall;
//! use arch_ppc64::{GuestRam, HypercallBus, Next, StopReason, CpuIndex};
//! use kvm_ioctls::{VcpuExit, VcpuFd};
//!
//! /// What the thread of a virtual CPU does; `sleep` returns when the CPU is woken.
//! fn run(
//!     id: CpuIndex,
//!     vcpu: &mut VcpuFd,
//!     ram: &dyn GuestRam,
//!     bus: &HypercallBus,
//!     sleep: impl Fn(),
//! ) -> Result<Option<StopReason>, Box<dyn Error>> {
//!     loop {
//!         match vcpu.run()? {
//!             VcpuExit::PaprHcall => {
//!                 // SAFETY: it is what the kernel shares with this CPU.
//!                 let call = unsafe { papr_hcall(vcpu.get_kvm_run()) }?;
//!                 match bus.dispatch(id, ram, call) {
//!                     Next::Resume => {}
//!                     Next::Stop(reason) => return Ok(Some(reason)),
//!                     Next::Cede => sleep(),
//!                     // Before it is started again, the call has to be completed.
//!                     Next::Park => return Ok(None),
//!                 }
//!             }
//!             // The VMM's devices, and what ends it.
//!             other => return Err(format!("unexpected exit: {other:?}").into()),
//!         }
//!     }
//! }
//! ```
//!
//! # Where it is
//!
//! On Linux hosts for which kvm-bindings has a `kvm_run`: x86-64, arm64 and riscv64. There it is
//! compiled and tested. For POWER, kvm-bindings is an empty crate and kvm-ioctls does not compile,
//! and so this module **is not there**, with or without the feature. The repository's
//! `docs/upstream.md` has the changes that the two need, and what is to be done here then.

#![allow(unsafe_code)]

use std::mem::offset_of;

use kvm_bindings::{KVM_EXIT_PAPR_HCALL, kvm_run};

use crate::hypercall::Hypercall;

// Linux, include/uapi/linux/kvm.h, `struct kvm_run`: a head of 32 bytes and then, on every
// architecture, a union with the member `papr_hcall { nr, ret, args[9] }`.
const _: () = {
    const AT: usize = offset_of!(kvm_run, __bindgen_anon_1.papr_hcall);
    const NR: usize = offset_of!(kvm_run, __bindgen_anon_1.papr_hcall.nr);
    const RET: usize = offset_of!(kvm_run, __bindgen_anon_1.papr_hcall.ret);
    const ARGS: usize = offset_of!(kvm_run, __bindgen_anon_1.papr_hcall.args);
    assert!(AT == 32);
    assert!(NR == AT + offset_of!(Hypercall, token));
    assert!(RET == AT + offset_of!(Hypercall, status));
    assert!(ARGS == AT + offset_of!(Hypercall, args));
};

/// The vCPU did not stop for a hypercall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("KVM's exit reason is {exit_reason}, not that of a PAPR hypercall")]
#[non_exhaustive]
pub struct NotPaprHcall {
    /// What `kvm_run.exit_reason` says instead of `KVM_EXIT_PAPR_HCALL` (19).
    pub exit_reason: u32,
}

/// The hypercall that `run` says the vCPU stopped for, in place.
///
/// What is written to it goes to the guest at the next `KVM_RUN`: `status` to r3, `args` to r4 to
/// r12. Registers that are set before that are overwritten.
///
/// # Errors
/// [`NotPaprHcall`] when the vCPU stopped for another reason.
///
/// # Safety
/// All bytes of `run` are initialised, as they are in what the kernel shares with a vCPU
/// (`VcpuFd::get_kvm_run`) and in `kvm_run::default()`. Safe code can make one that is not: a
/// union made of one of its shorter members.
pub unsafe fn papr_hcall(run: &mut kvm_run) -> Result<&mut Hypercall, NotPaprHcall> {
    if run.exit_reason != KVM_EXIT_PAPR_HCALL {
        return Err(NotPaprHcall { exit_reason: run.exit_reason });
    }
    // SAFETY: every byte is initialised, says the caller, and both types are integers, laid out
    // alike: asserted above and in `same_size`.
    Ok(unsafe { &mut *same_size(&mut run.__bindgen_anon_1.papr_hcall) })
}

/// Points to a `T` of the bindings, whose name there is but a number, as what it is here.
fn same_size<T>(member: &mut T) -> *mut Hypercall {
    const {
        assert!(size_of::<T>() == size_of::<Hypercall>() && size_of::<T>() == 88);
        assert!(align_of::<T>() == align_of::<Hypercall>());
    }
    std::ptr::from_mut(member).cast()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::{CpuIndex, GuestRam, HypercallBus, MutHypercallHandler, Next, Status, StopReason};

    const KVM_EXIT_HLT: u32 = 5;

    /// What came in the registers goes to RAM; every register comes back changed.
    struct Recorder(Vec<Hypercall>);

    impl MutHypercallHandler for Recorder {
        fn tokens() -> &'static [u64] {
            &[0xf005, 0xf100]
        }

        fn handle(&mut self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
            self.0.push(*call);
            ram.write_be_u32(GuestAddress(call.args[0]), caller.0).unwrap();
            call.args = call.args.map(|arg| !arg);
            let next = call.finish(Status::P2);
            if call.token == 0xf100 { Next::Stop(StopReason::PowerOff) } else { next }
        }
    }

    /// What KVM leaves when the guest executed `sc 1`, written through the names of the bindings.
    fn stopped_for(token: u64, args: [u64; 9]) -> kvm_run {
        let mut run = kvm_run { exit_reason: KVM_EXIT_PAPR_HCALL, ..Default::default() };
        run.__bindgen_anon_1.papr_hcall.nr = token;
        run.__bindgen_anon_1.papr_hcall.args = args;
        run
    }

    /// The results, read through the names of the bindings.
    fn results(run: &kvm_run) -> (u64, [u64; 9]) {
        // SAFETY: `stopped_for` made all of it; integers may have any value.
        let member = unsafe { run.__bindgen_anon_1.papr_hcall };
        (member.ret, member.args)
    }

    #[test]
    fn a_call_is_answered_where_the_kernel_left_it() {
        let recorder = Arc::new(Mutex::new(Recorder(Vec::new())));
        let bus = HypercallBus::new(vec![recorder.clone()]).unwrap();
        let ram: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let args = [0x100, 2, 3, 4, 5, 6, 7, 8, u64::MAX];

        let mut run = stopped_for(0xf005, args);
        // SAFETY: made whole by `stopped_for`.
        let call = unsafe { papr_hcall(&mut run) }.unwrap();
        assert_eq!(bus.dispatch(CpuIndex(7), &ram, call), Next::Resume);

        assert_eq!(recorder.lock().unwrap().0, [Hypercall::new(0xf005, &args)]);
        assert_eq!(ram.read_obj::<[u8; 4]>(GuestAddress(0x100)).unwrap(), [0, 0, 0, 7]);
        assert_eq!(results(&run), (Status::P2.0 as u64, args.map(|arg| !arg)));
        assert_eq!(run.exit_reason, KVM_EXIT_PAPR_HCALL);
    }

    #[test]
    fn what_the_cpu_does_next_is_the_handlers_decision() {
        let bus = HypercallBus::new(vec![Arc::new(Mutex::new(Recorder(Vec::new())))]).unwrap();
        let ram: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        for (token, next, status) in [
            (0xf100, Next::Stop(StopReason::PowerOff), Status::P2),
            (0xf200, Next::Resume, Status::FUNCTION),
        ] {
            let mut run = stopped_for(token, [0; 9]);
            // SAFETY: made whole by `stopped_for`.
            let call = unsafe { papr_hcall(&mut run) }.unwrap();
            assert_eq!(bus.dispatch(CpuIndex(0), &ram, call), next);
            assert_eq!(results(&run).0, status.0 as u64);
        }
    }

    #[test]
    fn other_exits_are_refused_and_left_alone() {
        let mut run = stopped_for(0xf005, [1; 9]);
        run.exit_reason = KVM_EXIT_HLT;
        // SAFETY: made whole by `stopped_for`.
        let error = unsafe { papr_hcall(&mut run) }.unwrap_err();
        assert_eq!(error, NotPaprHcall { exit_reason: KVM_EXIT_HLT });
        assert_eq!(error.to_string(), "KVM's exit reason is 5, not that of a PAPR hypercall");
        assert_eq!(results(&run), (0, [1; 9]));
    }

    #[test]
    fn nothing_around_the_call_is_touched() {
        let mut run = kvm_run { exit_reason: KVM_EXIT_PAPR_HCALL, ..Default::default() };
        // SAFETY: made whole by `default`.
        *unsafe { papr_hcall(&mut run) }.unwrap() =
            Hypercall { token: u64::MAX, status: u64::MAX, args: [u64::MAX; 9] };
        let base = std::ptr::from_ref(&run).cast::<u8>();
        // SAFETY: made whole by `default`, and plain numbers without padding to where the call ends.
        let bytes = unsafe { std::slice::from_raw_parts(base, 32 + 256) };
        assert!(bytes[12..32].iter().all(|&byte| byte == 0));
        assert!(bytes[32..120].iter().all(|&byte| byte == 0xff));
        assert!(bytes[120..].iter().all(|&byte| byte == 0));
    }
}
