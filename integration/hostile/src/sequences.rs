//! Clients that call as they should: each answer is what a plain model says.

use vof_device::test_utils::model::{Session, Step, Tree};

use crate::Reach;

/// How many steps an input makes at most.
const STEPS_MAX: usize = 200;

/// What the steps call, for more than a failure.
const GOALS: [&str; 22] = [
    "test",
    "peer",
    "child",
    "parent",
    "getproplen",
    "getprop",
    "nextprop",
    "setprop",
    "canon",
    "finddevice",
    "instance-to-package",
    "instance-to-path",
    "instance-to-interposed-path",
    "package-to-path",
    "open",
    "close",
    "read",
    "write",
    "claim",
    "release",
    "quiesce",
    "milliseconds",
];

/// See [`Target::goals`](crate::Target::goals): the services that the steps call, with success.
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

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
    for _ in 0..STEPS_MAX {
        if rest.is_empty() {
            break;
        }
        let (step, used) = Step::from_bytes(rest);
        rest = &rest[used..];
        session.run(&step);
    }
    session.check_tree();
    let mut reach = Reach::NONE;
    for service in session.succeeded() {
        if let Some(number) = GOALS.iter().position(|&name| name == service) {
            reach.add(number);
        }
    }
    reach
}
