//! What a node can do once it is open (IEEE 1275 §3.1.1, "package", and §3.1.2, "instance").
//!
//! A [`Package`] is attached to a node of the tree; a client that opens the node gets an
//! [`Instance`] of it. The console, the memory, address translation, negotiation and RTAS are
//! packages like those that a VMM adds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arch_ppc64::CpuIndex;
use arch_ppc64::platform::StateError;
#[cfg(feature = "serde")]
use arch_ppc64::platform::StateValue;
use vm_memory::GuestAddress;

use crate::args::{Failed, Guest};
use crate::limits::{MAX_METHOD_RESULTS, MAX_PACKAGE_TRANSFER_BYTES};
use crate::state::State;

/// What a node of the tree can do: [attached](crate::VofBuilder::package) by its path.
///
/// Whatever is not there answers as IEEE 1275 says of what is absent. A device of the machine is
/// typically this and `arch_ppc64::platform::Device` in one type.
///
/// ```
/// use vof_device::{Buffer, Context, Failed, Instance, Package, Progress, Transfer};
///
/// /// Some bytes that clients can read.
/// struct Bytes(&'static [u8]);
///
/// struct Reader {
///     bytes: &'static [u8],
///     position: usize,
/// }
///
/// impl Package for Bytes {
///     fn open(&self, _arguments: &str) -> Result<Box<dyn Instance>, Failed> {
///         Ok(Box::new(Reader { bytes: self.0, position: 0 }))
///     }
///
///     fn methods(&self) -> &[&'static str] {
///         &["read", "seek"]
///     }
/// }
///
/// impl Instance for Reader {
///     fn read(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
///         let rest = self.bytes.get(self.position..).ok_or(Failed)?;
///         let bytes = &rest[..rest.len().min(buffer.len())];
///         buffer.put(0, bytes)?;
///         self.position += bytes.len();
///         Ok(Transfer::Done(bytes.len()))
///     }
///
///     fn seek(&mut self, _: &Context<'_>, position: u64) -> Result<Progress, Failed> {
///         self.position = position.try_into().map_err(|_| Failed)?;
///         Ok(Progress::Done)
///     }
/// }
/// ```
pub trait Package: Send + Sync {
    /// Opens the package for a client; `arguments` is what stands behind the `:` of the path.
    ///
    /// It does not wait for the host: that is for the instance, which can say that it is
    /// [not ready yet](Instance::ready).
    ///
    /// # Errors
    /// [`Failed`]: the client gets 0 for an ihandle.
    fn open(&self, arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        let _ = arguments;
        Ok(Box::new(NoMethods))
    }

    /// The names of the methods of its instances: what `test-method` finds and `call-method`
    /// calls. `read`, `write` and `seek` are those of [`Instance`]; others are its
    /// [`method`](Instance::method)s. `open` and `close` every package has.
    fn methods(&self) -> &[&'static str] {
        &[]
    }

    /// The most bytes of one `read` or `write` that an instance is asked for. Beyond: the transfer
    /// is partial, and its result says so.
    fn max_transfer_bytes(&self) -> usize {
        MAX_PACKAGE_TRANSFER_BYTES
    }

    /// Comes to rest, by `until` at the latest: when this returns, nothing is being done of what its
    /// instances were asked for, those that are closed by now included, and nothing is begun before it
    /// [goes on](Self::resume). What is done by then has its answer; all else is not begun, and the
    /// client's call is made again. Called when no CPU is in the guest. By default, there is nothing to
    /// do: a package that works in its clients' calls alone is at rest between them.
    ///
    /// # Errors
    /// [`StateError::Busy`] says what does not come to an end; it goes on as before then.
    fn pause(&self, until: Instant) -> Result<(), StateError> {
        let _ = until;
        Ok(())
    }

    /// Goes on after a [pause](Self::pause). Nothing changes where it is at work.
    fn resume(&self) {}

    /// Waits until nothing of what its instances were asked for is still to be done, those that are
    /// closed by now included: another process may have the same disk next. Called before its
    /// instances are saved, while no CPU runs. A package that is [paused](Self::pause) has nothing to
    /// wait for. (Feature `serde`.)
    #[cfg(feature = "serde")]
    fn settle(&self) {}

    /// An instance that was opened with these arguments, and then saved as `state`, in another
    /// process. Nobody vouches for either. No CPU runs, so it may wait for the host. (Feature
    /// `serde`.)
    ///
    /// # Errors
    /// [`StateError`] says what cannot be.
    #[cfg(feature = "serde")]
    fn reopen(&self, arguments: &str, state: &StateValue) -> Result<Box<dyn Instance>, StateError> {
        let _ = (arguments, state);
        Err(StateError::Value("the package keeps no state".to_owned()))
    }
}

/// An open package.
///
/// No lock of the client interface is held while an instance is called. Calls of one instance come
/// one after the other, from any vCPU thread. None of them waits for the host, for the CPU cannot
/// be stopped meanwhile: an instance that has no answer yet says so ([`Transfer::NotYet`],
/// [`Progress::NotYet`]), and the same call comes again, until there is one. What is
/// under way is the instance's to keep: when the machine is paused or saved between
/// two tries, the call has not been made yet.
pub trait Instance: Send {
    /// Whether it is open by now. While it is [not](Progress::NotYet), the client's `open` has no
    /// answer and is made again; the instance is kept between the tries, and is dropped when its
    /// CPU asks for something else. Nothing else is asked of it before it is ready, but to
    /// [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`Failed`]: there is nothing to be opened; the client gets 0 for an ihandle.
    fn ready(&mut self) -> Result<Progress, Failed> {
        Ok(Progress::Done)
    }

    /// Reads into a client's buffer, from where the instance is.
    ///
    /// # Errors
    /// [`Failed`]: the client gets −1.
    fn read(&mut self, context: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        let _ = (context, buffer);
        Err(Failed)
    }

    /// Writes from a client's buffer, to where the instance is.
    ///
    /// # Errors
    /// [`Failed`]: the client gets −1.
    fn write(&mut self, context: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        let _ = (context, buffer);
        Err(Failed)
    }

    /// Goes to `position`, in bytes from the start.
    ///
    /// # Errors
    /// [`Failed`]: there is no such place, or no going to it; the client gets −1.
    fn seek(&mut self, context: &Context<'_>, position: u64) -> Result<Progress, Failed> {
        let _ = (context, position);
        Err(Failed)
    }

    /// A method of this name, which is one of the package's [`methods`](Package::methods).
    ///
    /// # Errors
    /// [`Throw`]: what `call-method` has caught, and nothing that was pushed is passed on.
    fn method(
        &mut self,
        context: &Context<'_>,
        name: &str,
        stack: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        let _ = (context, name, stack);
        Err(Throw::UNDEFINED_WORD)
    }

    /// Waits until the answer that was not there yet is likely to be, for `limit` at most: longer
    /// waits keep the CPU from being stopped.
    fn wait(&mut self, limit: Duration) {
        std::thread::sleep(limit);
    }

    /// The call that had no answer yet does not come again: its CPU asks for something else, or
    /// for nothing. What was taken from the host for it is for the next call to find.
    fn abandon(&mut self) {}

    /// What has to be saved of it, for [`Package::reopen`]; `None` for one that is as if it were
    /// opened just now. Called while no CPU runs. A call that has no answer yet may be begun anew.
    /// (Feature `serde`.)
    ///
    /// # Errors
    /// [`StateError`] when it cannot be had.
    #[cfg(feature = "serde")]
    fn state(&self) -> Result<Option<StateValue>, StateError> {
        Ok(None)
    }
}

/// An instance that is only open.
struct NoMethods;

impl Instance for NoMethods {}

/// What comes of a `read` or `write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transfer {
    /// So many bytes of the buffer.
    Done(usize),
    /// There is nothing to be read, and the client is told so (−2): it asks again when it likes.
    Nothing,
    /// The host is at work. The client does not learn of it, and the same call comes again.
    NotYet,
}

/// What comes of a `seek` or another method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// It is done.
    Done,
    /// The host is at work. The client does not learn of it, and the same call comes again.
    NotYet,
}

/// What a method throws: the codes of ANS Forth (X3.215-1994 table 9.2), which IEEE 1275 builds
/// on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throw(pub i32);

impl Throw {
    /// It cannot be done.
    pub const ABORT: Self = Self(-1);
    /// More is left than there is room for.
    pub const STACK_OVERFLOW: Self = Self(-3);
    /// Less was passed than it takes.
    pub const STACK_UNDERFLOW: Self = Self(-4);
    /// An address is none.
    pub const INVALID_ADDRESS: Self = Self(-9);
    /// There is no such method.
    pub const UNDEFINED_WORD: Self = Self(-13);
}

impl From<Failed> for Throw {
    /// What fails a service of its own makes a method throw: a buffer or a name that is none.
    fn from(_: Failed) -> Self {
        Self::INVALID_ADDRESS
    }
}

/// The stack of a method: what was passed to it, and what it leaves.
///
/// A method takes what it needs from the top; what else was passed means nothing.
#[derive(Debug)]
pub struct Stack<'a> {
    /// The top first.
    passed: &'a [u32],
    /// The top last.
    left: [u32; MAX_METHOD_RESULTS],
    left_len: usize,
}

impl<'a> Stack<'a> {
    pub(crate) fn new(passed: &'a [u32]) -> Self {
        Self { passed, left: [0; MAX_METHOD_RESULTS], left_len: 0 }
    }

    /// Takes the top of what was passed.
    ///
    /// # Errors
    /// [`Throw::STACK_UNDERFLOW`] when nothing is left of it.
    pub fn pop(&mut self) -> Result<u32, Throw> {
        let (&top, rest) = self.passed.split_first().ok_or(Throw::STACK_UNDERFLOW)?;
        self.passed = rest;
        Ok(top)
    }

    /// What was passed and not taken yet, the top first.
    pub fn passed(&self) -> &'a [u32] {
        self.passed
    }

    /// Puts a cell on top of what is left for the caller.
    ///
    /// # Errors
    /// [`Throw::STACK_OVERFLOW`] when there are [`MAX_METHOD_RESULTS`] already.
    pub fn push(&mut self, cell: u32) -> Result<(), Throw> {
        let place = self.left.get_mut(self.left_len).ok_or(Throw::STACK_OVERFLOW)?;
        *place = cell;
        self.left_len += 1;
        Ok(())
    }

    /// What is left, the top first.
    pub(crate) fn left(&self) -> impl Iterator<Item = u32> + '_ {
        self.left.iter().take(self.left_len).rev().copied()
    }
}

/// Who calls an instance, and the memory that addresses of the client's are in.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    guest: Guest<'a>,
    caller: CpuIndex,
    state: &'a Mutex<State>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(guest: Guest<'a>, caller: CpuIndex, state: &'a Mutex<State>) -> Self {
        Self { guest, caller, state }
    }

    /// The CPU that calls.
    pub fn caller(&self) -> CpuIndex {
        self.caller
    }

    /// Fails unless all of these bytes are RAM.
    ///
    /// # Errors
    /// [`Failed`] when one of them is not.
    pub fn check(&self, at: u32, bytes: usize) -> Result<(), Failed> {
        self.guest.check(at, bytes)
    }

    /// Reads guest memory.
    ///
    /// # Errors
    /// [`Failed`] when not all of it is RAM; what was read is nobody's then.
    pub fn read(&self, at: u32, data: &mut [u8]) -> Result<(), Failed> {
        self.guest.read(at, data)
    }

    /// Writes guest memory.
    ///
    /// # Errors
    /// [`Failed`] when not all of it is RAM; nothing is written then.
    pub fn write(&self, at: u32, data: &[u8]) -> Result<(), Failed> {
        self.guest.write(at, data)
    }

    /// A buffer of a client's in guest memory.
    ///
    /// # Errors
    /// [`Failed`] when not all of it is RAM.
    pub fn buffer(&self, at: u32, bytes: usize) -> Result<Buffer<'a>, Failed> {
        self.guest.check(at, bytes)?;
        Ok(Buffer { guest: self.guest, at, len: bytes })
    }

    /// Claims memory for the client, as its own service `claim` does: `bytes` of it, at a multiple
    /// of `align`, which is not 0. Gives its address.
    ///
    /// # Errors
    /// [`Failed`] when there is not so much free memory in one piece.
    pub fn claim(&self, bytes: u32, align: u32) -> Result<u32, Failed> {
        if align == 0 {
            return Err(Failed);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.claim(self.guest, 0, bytes, align).map_err(|_| Failed)
    }

    /// Frees memory, as the service `release` does.
    ///
    /// # Errors
    /// [`Failed`] when not all of it is claimed.
    pub fn release(&self, at: u32, bytes: u32) -> Result<(), Failed> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.claims.release(at, bytes).map_err(|_| Failed)
    }

    pub(crate) fn guest(&self) -> Guest<'a> {
        self.guest
    }
}

/// A client's buffer: all of it was RAM when the call was looked at.
#[derive(Clone, Copy)]
pub struct Buffer<'a> {
    guest: Guest<'a>,
    at: u32,
    len: usize,
}

impl Buffer<'_> {
    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a buffer of no bytes is nothing special")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where it is in guest memory.
    pub fn address(&self) -> GuestAddress {
        GuestAddress(self.at.into())
    }

    /// Writes into the buffer, from `offset` on.
    ///
    /// # Errors
    /// [`Failed`] beyond its end, where nothing is written.
    pub fn put(&self, offset: usize, data: &[u8]) -> Result<(), Failed> {
        self.guest.write(self.place(offset, data.len())?, data)
    }

    /// Reads from the buffer, from `offset` on.
    ///
    /// # Errors
    /// [`Failed`] beyond its end.
    pub fn get(&self, offset: usize, data: &mut [u8]) -> Result<(), Failed> {
        self.guest.read(self.place(offset, data.len())?, data)
    }

    fn place(&self, offset: usize, bytes: usize) -> Result<u32, Failed> {
        let end = offset.checked_add(bytes).filter(|&end| end <= self.len).ok_or(Failed)?;
        // No byte of a buffer is beyond what a cell can name; its end may be.
        u32::try_from(u64::from(self.at) + (end - bytes) as u64).or(match bytes {
            0 => Ok(self.at),
            _ => Err(Failed),
        })
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Buffer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("at", &self.at)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
