//! The methods that packages have, and how they are called (IEEE 1275 §6.3.2.2).
//!
//! What a method takes and leaves is written as in IEEE 1275: the top of the stack last. A client
//! passes and gets it the other way round, the top first.

mod console;
mod memory;
mod platform;

use super::{Call, MINUS_ONE, Reply};
use crate::args::{Failed, NAME_ROOM};
use crate::instances::Kind;
use crate::limits::MAX_CALL_CELLS;
use crate::state::State;

/// What a method's `throw` gives to `call-method`'s caller: the codes of ANS Forth (X3.215-1994
/// table 9.2), which IEEE 1275 builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Throw(i32);

impl Throw {
    const ABORT: Self = Self(-1);
    const STACK_UNDERFLOW: Self = Self(-4);
    const INVALID_ADDRESS: Self = Self(-9);
    pub(super) const UNDEFINED_WORD: Self = Self(-13);
}

impl From<Throw> for Reply {
    fn from(throw: Throw) -> Self {
        (throw.0 as u32).into()
    }
}

impl From<Failed> for Throw {
    /// What fails a service of its own makes a method throw: a buffer or a name that is none.
    fn from(_: Failed) -> Self {
        Self::INVALID_ADDRESS
    }
}

/// What a method leaves on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Left {
    /// The top first.
    cells: [u32; MAX_LEFT],
    len: usize,
}

/// The most cells that a method leaves: those of `translate`.
pub(super) const MAX_LEFT: usize = 4;

impl Left {
    /// Puts one more cell on top.
    fn and(mut self, top: u32) -> Self {
        self.cells.rotate_right(1);
        self.cells[0] = top;
        self.len = MAX_LEFT.min(self.len + 1);
        self
    }

    /// Puts an address of the root's bus on top: its cells, the least significant one first.
    fn and_address(self, address: u32, cells: usize) -> Self {
        let left = self.and(address);
        if cells > 1 { left.and(0) } else { left }
    }

    fn cells(&self) -> &[u32] {
        self.cells.get(..self.len).unwrap_or_default()
    }
}

impl From<u32> for Left {
    fn from(cell: u32) -> Self {
        Self::default().and(cell)
    }
}

/// One method of one kind of package.
struct Method {
    kind: Kind,
    name: &'static str,
    /// How many cells it takes from the stack at least.
    arguments: usize,
    /// Gets what was passed, which is as much or more; the top of the stack first.
    run: fn(&mut Call<'_>, &[u32]) -> Result<Left, Throw>,
}

/// All of them but `open` and `close`, which are no methods of an instance that is open already:
/// package, name, count of arguments, function.
#[rustfmt::skip]
static METHODS: [Method; 17] = [
    row(Kind::Root, "ibm,client-architecture-support", 1, platform::negotiate),
    row(Kind::Rtas, "instantiate-rtas", 1, platform::instantiate_rtas),
    row(Kind::Memory, "claim", 2, memory::claim),
    row(Kind::Memory, "release", 2, memory::release),
    row(Kind::Mmu, "claim", 2, memory::claim_virtual),
    row(Kind::Mmu, "release", 2, memory::release_virtual),
    row(Kind::Mmu, "translate", 1, memory::translate),
    row(Kind::Mmu, "map", 4, memory::map),
    row(Kind::Mmu, "modify", 3, memory::modify),
    row(Kind::Mmu, "unmap", 2, memory::unmap),
    row(Kind::Console, "read", 2, console::read),
    row(Kind::Console, "write", 2, console::write),
    row(Kind::Console, "seek", 2, console::seek),
    row(Kind::Console, "install-abort", 0, console::nothing),
    row(Kind::Console, "remove-abort", 0, console::nothing),
    row(Kind::Console, "restore", 0, console::nothing),
    row(Kind::Console, "ring-bell", 0, console::ring_bell),
];

const fn row(
    kind: Kind,
    name: &'static str,
    arguments: usize,
    run: fn(&mut Call<'_>, &[u32]) -> Result<Left, Throw>,
) -> Method {
    Method { kind, name, arguments, run }
}

/// The packages' names, and those of their methods.
#[cfg(any(test, feature = "test-utils"))]
pub(crate) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    METHODS.iter().map(|method| (method.kind.name(), method.name))
}

fn find(state: &State, kind: Kind, name: &[u8]) -> Option<&'static Method> {
    METHODS.iter().find(|method| {
        // Without a machine that negotiates, there is nothing to call.
        let is_there = method.kind != Kind::Root || state.cas.is_some();
        method.kind == kind && method.name.as_bytes() == name && is_there
    })
}

/// call-method (method, ihandle, top of stack, …) → 0 and what the method leaves, the top of the
/// stack first; or what it threw, and then nothing else is written.
pub(super) fn call_method(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [name_at, ihandle] = call.arguments();
    let mut text = NAME_ROOM;
    let name = call.guest.text(name_at, &mut text)?;
    let kind = call.state.instances.get(ihandle).ok_or(Failed)?.kind;
    let Some(method) = find(call.state, kind, name) else {
        // Clients find out in this way what a package can do: no complaint.
        log::debug!("call-method: there is no method {}", name.escape_ascii());
        return Ok(Throw::UNDEFINED_WORD.into());
    };
    let passed = call.arguments.count().saturating_sub(2);
    let [_, _, stack @ ..]: [u32; MAX_CALL_CELLS] = call.arguments();
    let stack = stack.get(..passed).unwrap_or(&stack);
    if stack.len() < method.arguments {
        return Ok(Throw::STACK_UNDERFLOW.into());
    }
    Ok(match (method.run)(call, stack) {
        Ok(left) => left.cells().iter().fold(Reply::from(0), |reply, &cell| reply.and(cell)),
        Err(throw) => throw.into(),
    })
}

/// test-method (phandle, method) → 0 if the package has such a method, else −1.
///
/// Every package can be opened and closed.
pub(super) fn test_method(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle, name] = call.arguments();
    let kind = call.state.kind(call.node(phandle)?);
    let mut text = NAME_ROOM;
    let name = call.guest.text(name, &mut text)?;
    let is_there = matches!(name, b"open" | b"close") || find(call.state, kind, name).is_some();
    Ok(if is_there { 0 } else { MINUS_ONE }.into())
}
