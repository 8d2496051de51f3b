//! The PAPR hypercall ABI and the plug for those who answer (LoPAPR §14.5, "Hypervisor Call
//! Functions").
//!
//! A virtual CPU that executes `sc 1` exits with a token in r3 and arguments in r4 to r12. The
//! [`HypercallBus`] maps the token to one [`HypercallHandler`], which changes the registers in
//! place and says what the CPU does [next](Next).

pub mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ram::GuestRam;
use crate::vcpu::CpuIndex;

/// Target of the `log` messages, of level `trace`, that tell every hypercall, client call and RTAS
/// call with its arguments and results, one a message. While that level is off, they cost one
/// comparison a call.
pub const TRACE_TARGET: &str = "pseries::trace";

/// The registers of one hypercall, laid out as the `papr_hcall` member of KVM's `kvm_run`.
///
/// Before the call: `token` is r3 and `args` are r4 to r12. After it: `status` goes to r3 and
/// `args` to r4 to r12.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hypercall {
    /// Which function is called: one of [`token`], or a number nobody knows.
    pub token: u64,
    /// The result, a [`Status`] as its two's complement.
    pub status: u64,
    /// Arguments on the way in, further results on the way out.
    pub args: [u64; 9],
}

// Linux, Documentation/virt/kvm/api.rst, KVM_EXIT_PAPR_HCALL: nr, ret, args[9].
const _: () = {
    assert!(size_of::<Hypercall>() == 88);
    assert!(std::mem::offset_of!(Hypercall, status) == 8);
    assert!(std::mem::offset_of!(Hypercall, args) == 16);
};

impl Hypercall {
    /// A call of `token` with `args` in r4 and up, the rest zero.
    ///
    /// Arguments past the ninth are dropped: there is no register for them.
    #[inline]
    pub fn new(token: u64, args: &[u64]) -> Self {
        let mut call = Self { token, ..Self::default() };
        for (register, value) in call.args.iter_mut().zip(args) {
            *register = *value;
        }
        call
    }

    /// Ends the call with `status`; the CPU resumes.
    pub fn finish(&mut self, status: Status) -> Next {
        self.status = status.0 as u64;
        Next::Resume
    }

    /// The result so far.
    pub fn status(&self) -> Status {
        Status(self.status as i64)
    }
}

/// A hypercall's return code (LoPAPR table 170, "Hypervisor Call Return Codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub i64);

impl Status {
    /// The call did what it says.
    pub const SUCCESS: Self = Self(0);
    /// Not now; call again.
    pub const BUSY: Self = Self(1);
    /// The virtual terminal is closed.
    pub const CLOSED: Self = Self(2);
    /// Not done yet; call again at once.
    pub const CONTINUE: Self = Self(18);
    /// Not done yet; call again in about a millisecond.
    pub const LONG_BUSY_ORDER_1_MS: Self = Self(9900);
    /// The hardware failed.
    pub const HARDWARE: Self = Self(-1);
    /// There is no such function.
    pub const FUNCTION: Self = Self(-2);
    /// The caller may not do this.
    pub const PRIVILEGE: Self = Self(-3);
    /// The first (or an unnamed) argument is wrong.
    pub const PARAMETER: Self = Self(-4);
    /// There is no room in the group of the page table.
    pub const PTEG_FULL: Self = Self(-6);
    /// There is no such entry.
    pub const NOT_FOUND: Self = Self(-7);
    /// Something that the call needs is not there, or is in use.
    pub const RESOURCE: Self = Self(-16);
    /// The second argument is wrong.
    pub const P2: Self = Self(-55);
    /// The third argument is wrong.
    pub const P3: Self = Self(-56);
    /// The fourth argument is wrong.
    pub const P4: Self = Self(-57);
    /// The fifth argument is wrong.
    pub const P5: Self = Self(-58);
    /// A flag or a resource that this platform does not have was asked for.
    pub const UNSUPPORTED_FLAG: Self = Self(-256);

    /// Not done yet; call again in about so many milliseconds: of these there are powers of ten, up to
    /// 100 seconds.
    pub fn long_busy(milliseconds: u32) -> Self {
        const MOST: u32 = 5;
        let power = milliseconds.max(1).ilog10().min(MOST);
        Self(Self::LONG_BUSY_ORDER_1_MS.0 + i64::from(power))
    }

    /// Flags that this platform does not have: "the returned value is -256 - the bit position of
    /// the unsupported flag bit [high order flag bit is 0 etc.]", for the highest of them.
    pub const fn unsupported_flag(flags: u64) -> Self {
        Self(Self::UNSUPPORTED_FLAG.0 - flags.leading_zeros() as i64)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::SUCCESS => "H_SUCCESS",
            Self::BUSY => "H_BUSY",
            Self::CLOSED => "H_CLOSED",
            Self::CONTINUE => "H_CONTINUE",
            Self::LONG_BUSY_ORDER_1_MS => "H_LONG_BUSY_ORDER_1_MSEC",
            Self::HARDWARE => "H_HARDWARE",
            Self::FUNCTION => "H_FUNCTION",
            Self::PRIVILEGE => "H_PRIVILEGE",
            Self::PARAMETER => "H_PARAMETER",
            Self::PTEG_FULL => "H_PTEG_FULL",
            Self::NOT_FOUND => "H_NOT_FOUND",
            Self::RESOURCE => "H_RESOURCE",
            Self::P2 => "H_P2",
            Self::P3 => "H_P3",
            Self::P4 => "H_P4",
            Self::P5 => "H_P5",
            Self::UNSUPPORTED_FLAG => "H_UNSUPPORTED_FLAG",
            Self(other) => return write!(f, "{other}"),
        })
    }
}

/// What the calling virtual CPU does after a hypercall.
///
/// Who runs the CPU has to obey each of them, so the list is whole: one more is a change that every
/// VMM has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the calling CPU must do what the handler decided"]
pub enum Next {
    /// Takes the results and goes on.
    Resume,
    /// Takes the results and sleeps until an interrupt or a prod (H_CEDE).
    Cede,
    /// Leaves guest code until another CPU starts it (RTAS `stop-self`).
    ///
    /// A back end that writes results to registers when the CPU next enters the guest, as KVM
    /// does, has to let it do so before it sets those of the start (KVM_RUN with
    /// `immediate_exit`), or the CPU returns from `stop-self`.
    Park,
    /// The whole machine stops.
    Stop(StopReason),
}

/// Why the machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The guest turned the power off.
    PowerOff,
    /// The guest asked for a restart.
    Reset,
    /// The client program gave up: the client interface's `exit`.
    ClientExit,
    /// The guest's system crashed and said so by `ibm,os-term` (see [`crate::rtas::AfterOsTerm`]).
    Crash,
}

/// Something that answers hypercalls.
///
/// Handlers are shared by all vCPU threads: `handle` takes `&self` and is called concurrently. A
/// handler with state that needs `&mut self` implements [`MutHypercallHandler`] instead and is
/// put behind one [`Mutex`].
///
/// Whatever the guest passes, a handler answers with a status: it does not panic, wait without
/// bound or touch the calling or any other virtual CPU (see [`crate::VcpuHost`]).
///
/// ```
/// use std::sync::Arc;
/// use arch_ppc64::{
///     GuestRam, Hypercall, HypercallBus, HypercallHandler, Next, Status, CpuIndex,
/// };
///
/// /// A private call that tells a guest which CPU it runs on.
/// struct WhoAmI;
///
/// impl HypercallHandler for WhoAmI {
///     fn tokens(&self) -> &[u64] {
///         &[0xf100]
///     }
///
///     fn handle(&self, caller: CpuIndex, _ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
///         call.args[0] = u64::from(caller.0);
///         call.finish(Status::SUCCESS)
///     }
/// }
///
/// let bus = HypercallBus::new(vec![Arc::new(WhoAmI)])?;
/// # let memory: vm_memory::GuestMemoryMmap =
/// #     vm_memory::GuestMemoryMmap::from_ranges(&[(vm_memory::GuestAddress(0), 0x1000)]).unwrap();
/// let mut call = Hypercall::new(0xf100, &[]);
/// assert_eq!(bus.dispatch(CpuIndex(3), &memory, &mut call), Next::Resume);
/// assert_eq!((call.status(), call.args[0]), (Status::SUCCESS, 3));
/// # Ok::<(), arch_ppc64::DuplicateToken>(())
/// ```
pub trait HypercallHandler: Send + Sync {
    /// The tokens this handler answers; asked once, when the bus is made.
    fn tokens(&self) -> &[u64];

    /// The unit address in r4 of the calls that it answers, for one of several virtual devices that
    /// share their tokens: calls of another unit go to the handler of that one, and are
    /// H_PARAMETER where there is none. `None`, and so by default, for who answers every call of
    /// its tokens. Asked once, when the bus is made.
    fn unit(&self) -> Option<u64> {
        None
    }

    /// Answers one call of `caller`: reads and changes `call` in place and says what the CPU does
    /// next.
    fn handle(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next;
}

/// A [`HypercallHandler`] whose calls need `&mut self`; `Mutex<H>` makes it one.
pub trait MutHypercallHandler: Send {
    /// As [`HypercallHandler::tokens`], but of the type: the answer is needed without the lock.
    fn tokens() -> &'static [u64]
    where
        Self: Sized;

    /// As [`HypercallHandler::handle`].
    fn handle(&mut self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next;
}

impl<H: MutHypercallHandler> HypercallHandler for Mutex<H> {
    fn tokens(&self) -> &[u64] {
        H::tokens()
    }

    fn handle(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        // A handler that panicked once (a bug) must not take the machine's other CPUs down.
        let mut handler = self.lock().unwrap_or_else(PoisonError::into_inner);
        handler.handle(caller, ram, call)
    }
}

/// Two handlers claim the same token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("two handlers answer hypercall {token:#x}")]
#[non_exhaustive]
pub struct DuplicateToken {
    /// The token.
    pub token: u64,
    /// Which of the list has it.
    pub first: usize,
    /// Which one later in the list has it, too.
    pub second: usize,
}

/// Maps hypercall tokens to their handlers.
///
/// [`dispatch`](Self::dispatch) takes `&self` and holds no lock, so any vCPU thread and any event
/// loop can call it.
pub struct HypercallBus {
    handlers: Vec<Arc<dyn HypercallHandler>>,
    /// Who answers each token, in the order of tokens: for as few as there are, quicker to search
    /// than to hash.
    by_token: Vec<(u64, Answerer)>,
}

impl HypercallBus {
    /// A bus of these handlers.
    ///
    /// # Errors
    /// [`DuplicateToken`] when two of them answer the same token.
    pub fn new(handlers: Vec<Arc<dyn HypercallHandler>>) -> Result<Self, DuplicateToken> {
        let mut tokens: BTreeMap<u64, Answerer> = BTreeMap::new();
        for (index, handler) in handlers.iter().enumerate() {
            for &token in handler.tokens() {
                let unit = handler.unit();
                let taken = tokens.get(&token).and_then(|known| known.in_the_way_of(unit));
                if let Some(first) = taken {
                    return Err(DuplicateToken { token, first, second: index });
                }
                let by_unit = || Answerer::ByUnit(BTreeMap::new());
                match (unit, tokens.entry(token).or_insert_with(by_unit)) {
                    (Some(unit), Answerer::ByUnit(units)) => drop(units.insert(unit, index)),
                    (_, known) => *known = Answerer::One(index),
                }
            }
        }
        Ok(Self { handlers, by_token: tokens.into_iter().collect() })
    }

    /// Answers one hypercall of `caller`; an unknown token is [`Status::FUNCTION`].
    pub fn dispatch(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        if log::log_enabled!(target: TRACE_TARGET, log::Level::Trace) {
            return self.dispatch_traced(caller, ram, call);
        }
        self.answer(caller, ram, call)
    }

    fn answer(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let Ok(place) = self.by_token.binary_search_by_key(&call.token, |entry| entry.0) else {
            return call.finish(Status::FUNCTION);
        };
        let index = match &self.by_token[place].1 {
            Answerer::One(index) => Some(index),
            Answerer::ByUnit(units) => units.get(&call.args[0]),
        };
        match index {
            Some(&index) => self.handlers[index].handle(caller, ram, call),
            None => call.finish(Status::PARAMETER),
        }
    }

    #[cold]
    fn dispatch_traced(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let before = *call;
        let next = self.answer(caller, ram, call);
        let after = *call;
        log::trace!(target: TRACE_TARGET, "{caller} {}", Traced { before, after, next });
        next
    }
}

/// Who answers the calls of a token.
enum Answerer {
    /// The handler of this place.
    One(usize),
    /// The handlers of these places, by the unit addresses that they are for.
    ByUnit(BTreeMap<u64, usize>),
}

impl Answerer {
    /// Who answers already what a handler for `unit`, or for all, is to answer.
    fn in_the_way_of(&self, unit: Option<u64>) -> Option<usize> {
        match (self, unit) {
            (Self::One(index), _) => Some(*index),
            (Self::ByUnit(units), Some(unit)) => units.get(&unit).copied(),
            (Self::ByUnit(units), None) => units.values().next().copied(),
        }
    }
}

/// A hypercall that was answered, for the trace: as many arguments and results as say something.
struct Traced {
    before: Hypercall,
    after: Hypercall,
    next: Next,
}

impl fmt::Display for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, next } = self;
        match token::name(before.token) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "hypercall {:#x}", before.token)?,
        }
        // What else is in the registers is left over from what the guest did before.
        let used = token::arguments(before.token).unwrap_or(before.args.len());
        f.write_str("(")?;
        for (number, arg) in before.args.iter().take(used).enumerate() {
            write!(f, "{}{arg:#x}", if number == 0 { "" } else { ", " })?;
        }
        write!(f, ") = {}", after.status())?;
        for (number, (was, is)) in before.args.iter().zip(&after.args).enumerate() {
            if was != is {
                write!(f, " r{}={is:#x}", number + 4)?;
            }
        }
        if *next != Next::Resume { write!(f, " ({next:?})") } else { Ok(()) }
    }
}

impl fmt::Debug for HypercallBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens: Vec<_> = self.by_token.iter().map(|entry| entry.0).collect();
        f.debug_struct("HypercallBus").field("tokens", &tokens).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    struct Counter(u64);

    impl MutHypercallHandler for Counter {
        fn tokens() -> &'static [u64] {
            &[0xf100, 0xf101]
        }

        fn handle(&mut self, _: CpuIndex, _: &dyn GuestRam, call: &mut Hypercall) -> Next {
            assert_ne!(call.token, 0xf101, "a bug, on purpose");
            self.0 += 1;
            call.args[0] = self.0;
            call.finish(Status::SUCCESS)
        }
    }

    fn ram() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap()
    }

    fn call(bus: &HypercallBus, token: u64) -> Hypercall {
        let mut call = Hypercall::new(token, &[]);
        assert_eq!(bus.dispatch(CpuIndex(0), &ram(), &mut call), Next::Resume);
        call
    }

    #[test]
    fn unknown_token_is_h_function() {
        let bus = HypercallBus::new(vec![]).unwrap();
        assert_eq!(call(&bus, 0x1234).status(), Status::FUNCTION);
    }

    #[test]
    fn duplicate_token_is_an_error() {
        let handlers: Vec<Arc<dyn HypercallHandler>> =
            vec![Arc::new(Mutex::new(Counter(0))), Arc::new(Mutex::new(Counter(0)))];
        let twice = DuplicateToken { token: 0xf100, first: 0, second: 1 };
        assert_eq!(HypercallBus::new(handlers).unwrap_err(), twice);
    }

    #[test]
    fn traced_calls_say_what_matters() {
        let before = Hypercall::new(token::GET_TERM_CHAR, &[0x7100_0000]);
        let mut after = before;
        let next = after.finish(Status::SUCCESS);
        after.args[..2].copy_from_slice(&[1, 0x61 << 56]);
        assert_eq!(
            Traced { before, after, next }.to_string(),
            "H_GET_TERM_CHAR(0x71000000) = H_SUCCESS r4=0x1 r5=0x6100000000000000"
        );
        let before = Hypercall::new(0xf0f0, &[]);
        let mut after = before;
        let _ = after.finish(Status(-300));
        let next = Next::Stop(StopReason::PowerOff);
        assert_eq!(
            Traced { before, after, next }.to_string(),
            "hypercall 0xf0f0(0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0) = -300 (Stop(PowerOff))"
        );
    }

    #[test]
    fn poisoned_lock_is_recovered() {
        let bus = HypercallBus::new(vec![Arc::new(Mutex::new(Counter(0)))]).unwrap();
        std::thread::scope(|scope| {
            let bug = scope.spawn(|| call(&bus, 0xf101));
            assert!(bug.join().is_err());
        });
        assert_eq!(call(&bus, 0xf100).status(), Status::SUCCESS);
    }
}
