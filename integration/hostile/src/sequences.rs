//! Clients that call as they should: each answer is what a plain model says.

use vof_device::test_utils::model::{Session, Step, Tree};

use crate::Reach;
use crate::names::services;

/// How many steps an input makes at most.
const STEPS_MAX: usize = 200;

/// See [`Target::goals`](crate::Target::goals): every service that the steps call, with success.
pub fn goals() -> Vec<String> {
    services().iter().map(|&name| name.to_owned()).collect()
}

/// See [`Target::beyond`](crate::Target::beyond): what no step calls, or calls to fail.
pub const BEYOND: &[&str] = &["call-method", "test-method", "seek", "exit"];

/// `data` is a byte that chooses the sample tree or another, that other, and steps.
pub fn run(data: &[u8]) -> Reach {
    let Some((choice, mut rest)) = data.split_first() else { return Reach::NONE };
    let mut session = if choice & 1 == 0 {
        Session::with_sample()
    } else {
        let (tree, used) = Tree::from_bytes(rest);
        rest = &rest[used..];
        Session::with_tree(&tree)
    };
    let before = session.machine().vof().to_blob();
    for _ in 0..STEPS_MAX {
        if rest.is_empty() {
            break;
        }
        let (step, used) = Step::from_bytes(rest);
        rest = &rest[used..];
        session.run(&step);
    }
    session.check_tree();
    session.machine().bus.reset();
    assert_eq!(session.machine().vof().to_blob(), before, "reset leaves something");
    let mut reach = Reach::NONE;
    for service in session.succeeded() {
        if let Some(number) = services().iter().position(|&name| name == service) {
            reach.add(number);
        }
    }
    reach
}
