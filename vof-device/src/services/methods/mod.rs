//! The methods that packages have, and how they are called (IEEE 1275 §6.3.2.2).

use arch_ppc64::cas::TreeChange;
use arch_ppc64::rtas;
use vm_memory::GuestAddress;

use super::{Call, MINUS_ONE, Reply};
use crate::args::{Failed, NAME_ROOM};
use crate::instances::Kind;
use crate::limits::{MAX_ARCHITECTURE_VECTOR_BYTES, MAX_CALL_CELLS};
use crate::state::State;

/// What a method's `throw` gives to `call-method`'s caller: the codes of ANS Forth (X3.215-1994
/// table 9.2), which IEEE 1275 builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Throw(i32);

impl Throw {
    const ABORT: Self = Self(-1);
    const STACK_UNDERFLOW: Self = Self(-4);
    const INVALID_ADDRESS: Self = Self(-9);
    const UNDEFINED_WORD: Self = Self(-13);
}

impl From<Throw> for Reply {
    fn from(throw: Throw) -> Self {
        (throw.0 as u32).into()
    }
}

/// One method of one kind of package. It takes `arguments` cells from the stack, of which the
/// caller's first is the top, and leaves one result.
struct Method {
    kind: Kind,
    name: &'static str,
    arguments: usize,
    run: fn(&mut Call<'_>, &[u32]) -> Result<u32, Throw>,
}

/// All of them: package, name, count of arguments, function.
#[rustfmt::skip]
static METHODS: [Method; 2] = [
    Method { kind: Kind::Root, name: "ibm,client-architecture-support", arguments: 1, run: negotiate },
    Method { kind: Kind::Rtas, name: "instantiate-rtas", arguments: 1, run: instantiate_rtas },
];

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
        let name = name.escape_ascii();
        call.state.complaints.tell(format_args!("call-method: there is no method {name}"));
        return Ok(Throw::UNDEFINED_WORD.into());
    };
    let passed = call.arguments.count().saturating_sub(2);
    let [_, _, stack @ ..]: [u32; MAX_CALL_CELLS] = call.arguments();
    let Some(stack) = stack.get(..method.arguments).filter(|stack| stack.len() <= passed) else {
        return Ok(Throw::STACK_UNDERFLOW.into());
    };
    Ok(match (method.run)(call, stack) {
        Ok(result) => Reply::from(0).and(result),
        Err(throw) => throw.into(),
    })
}

/// test-method (phandle, method) → 0 if the package has such a method, else −1.
pub(super) fn test_method(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phandle, name] = call.arguments();
    let kind = call.state.kind(call.node(phandle)?);
    let mut text = NAME_ROOM;
    let name = call.guest.text(name, &mut text)?;
    Ok(find(call.state, kind, name).map_or(MINUS_ONE, |_| 0).into())
}

/// ibm,client-architecture-support (vectors -- failed?) of the root (LoPAPR §B.6.2.3).
///
/// The changes that the machine makes are all made, or none is.
fn negotiate(call: &mut Call<'_>, stack: &[u32]) -> Result<u32, Throw> {
    let &[vectors_at] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let mut vectors = vec![0; MAX_ARCHITECTURE_VECTOR_BYTES];
    let vectors = call.guest.read_available(vectors_at.into(), &mut vectors);
    if vectors.is_empty() {
        return Err(Throw::INVALID_ADDRESS);
    }
    let state = &mut *call.state;
    let cas = state.cas.as_mut().ok_or(Throw::UNDEFINED_WORD)?;
    let changes = match cas.negotiate(vectors) {
        Ok(changes) => changes,
        Err(refusal) => {
            let reason = std::error::Error::source(&refusal).map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            state.complaints.tell(format_args!("{refusal}: {reason}"));
            return Ok(MINUS_ONE);
        }
    };
    let mut tree = state.tree.clone();
    for change in changes {
        let (TreeChange::Set { path, name, .. } | TreeChange::Remove { path, name }) = &change;
        let Some(node) = tree.find(path).filter(|&node| tree.path(node) == *path) else {
            let complaints = &mut state.complaints;
            complaints.tell(format_args!("negotiation changes {name} of {path}, which is no node"));
            return Ok(MINUS_ONE);
        };
        let done = match &change {
            TreeChange::Set { value, .. } => tree.set_property(node, name, value),
            TreeChange::Remove { .. } => {
                tree.remove_property(node, name);
                Ok(())
            }
        };
        if let Err(error) = done {
            // A client can have filled the node.
            let complaints = &mut state.complaints;
            complaints.tell(format_args!("negotiation cannot set {name} of {path}: {error}"));
            return Ok(MINUS_ONE);
        }
    }
    state.tree = tree;
    Ok(0)
}

/// instantiate-rtas (base -- entry) of `/rtas` (LoPAPR §B.6.4.2 and §7.2.5).
fn instantiate_rtas(call: &mut Call<'_>, stack: &[u32]) -> Result<u32, Throw> {
    let &[base] = stack else { return Err(Throw::STACK_UNDERFLOW) };
    let entry = rtas::instantiate(call.guest.ram(), GuestAddress(base.into()));
    match entry {
        Ok(entry) => u32::try_from(entry.0).map_err(|_| Throw::ABORT),
        Err(error) => {
            call.state.complaints.tell(format_args!("instantiate-rtas: {error}"));
            Err(Throw::ABORT)
        }
    }
}
