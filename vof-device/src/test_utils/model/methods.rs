//! Methods of `/chosen`'s instances, by which memory and virtual addresses are claimed apart.

use super::{Session, Space, Step};
use crate::test_utils::Argument;

const ABORT: u32 = u32::MAX;
const INVALID_ADDRESS: u32 = -9_i32 as u32;
/// What `translate` says of RAM.
const RAM_MODE: u32 = 0x12;

impl Session {
    /// Makes the call of one of these methods, where there is an instance.
    pub(super) fn method(&mut self, step: &Step) {
        match *step {
            Step::MethodClaim(space, at, size, align) => self.method_claim(space, at, size, align),
            Step::MethodRelease(space, ..) if self.handle(space).is_none() => {}
            Step::MethodRelease(space, at, size) => {
                let memory = match space {
                    Space::Real => &mut self.model.memory,
                    Space::Virtual => &mut self.model.virtual_memory,
                };
                let expected = if memory.release(at, size) { 0 } else { INVALID_ADDRESS };
                let stack = match space {
                    Space::Real => vec![size, 0, at],
                    Space::Virtual => vec![size, at],
                };
                self.calls(space, "release", &stack, &[expected]);
                if expected == 0 && space == Space::Real {
                    self.forget(at, size);
                }
            }
            Step::Translate(at, size) => {
                let at_once = |size: u32| u64::from(at)..u64::from(at) + u64::from(size);
                let is_ram = self.model.memory.is_ram(&at_once(1));
                let expected: &[u32] =
                    if is_ram { &[0, u32::MAX, RAM_MODE, 0, at] } else { &[0, 0] };
                self.calls(Space::Virtual, "translate", &[at], expected);
                let is_mapped = size == 0 || self.model.memory.is_ram(&at_once(size));
                let caught = if is_mapped { 0 } else { INVALID_ADDRESS };
                self.calls(Space::Virtual, "map", &[u32::MAX, size, at, 0, at], &[caught]);
                self.calls(Space::Virtual, "modify", &[RAM_MODE, size, at], &[caught]);
                self.calls(Space::Virtual, "unmap", &[size, at], &[caught]);
            }
            _ => {}
        }
    }

    fn method_claim(&mut self, space: Space, at: u32, size: u32, align: u32) {
        if self.handle(space).is_none() {
            return;
        }
        let memory = match space {
            Space::Real => &mut self.model.memory,
            Space::Virtual => &mut self.model.virtual_memory,
        };
        let claimed = match align {
            0 => memory.claim_at(at, size),
            _ => (size > 0).then(|| memory.claim_aligned(size, align)).flatten(),
        };
        let expected = match (claimed, space) {
            (None, _) => vec![ABORT],
            (Some(base), Space::Real) => vec![0, 0, base],
            (Some(base), Space::Virtual) => vec![0, base],
        };
        let stack = match space {
            Space::Real => vec![align, size, 0, at],
            Space::Virtual => vec![align, size, at],
        };
        self.calls(space, "claim", &stack, &expected);
        if let (Some(base), Space::Real) = (claimed, space) {
            self.claimed.push((base, size));
        }
    }

    /// Calls a method with this stack, the top first, and compares what comes of it.
    fn calls(&self, space: Space, name: &str, stack: &[u32], expected: &[u32]) {
        let Some(handle) = self.handle(space) else { return };
        let mut arguments = vec![Argument::Text(name), handle.into()];
        arguments.extend(stack.iter().map(|&cell| Argument::Cell(cell)));
        let outcome = self.client().call("call-method", &arguments, expected.len());
        assert_eq!(outcome.results, expected, "{name} of {space:?}: {stack:x?}");
    }

    /// The instance in `/chosen`, as long as it is open.
    fn handle(&self, space: Space) -> Option<u32> {
        let name = match space {
            Space::Real => "memory",
            Space::Virtual => "mmu",
        };
        let (chosen, _) = self.model.tree.find("/chosen")?;
        let handle = u32::from_be_bytes(self.model.tree.value(chosen, name)?.try_into().ok()?);
        self.model.instances.iter().any(|&(open, ..)| open == handle).then_some(handle)
    }
}
