//! The services of the client interface (IEEE 1275 §6.3.2), a file a group.

mod control;
mod device_io;
mod device_tree;
mod interface;
mod memory;
mod methods;
mod time;

use arch_ppc64::StopReason;

use crate::args::{Failed, Guest};
use crate::limits::MAX_CALL_CELLS;
use crate::state::State;
use crate::tree::NodeId;

/// What clients get for "none", "no" and "failed": −1.
pub(crate) const MINUS_ONE: u32 = u32::MAX;

/// One service.
pub(crate) struct Service {
    name: &'static str,
    arguments: usize,
    results: usize,
    /// What the first result is when the service fails.
    failure: u32,
    run: fn(&mut Call<'_>) -> Result<Reply, Failed>,
}

/// All of them: name, counts of arguments and of results, the result of failure, function.
///
/// `call-method` takes and gives what its method does besides.
#[rustfmt::skip]
static SERVICES: [Service; 26] = [
    // §6.3.2.1, client interface
    row("test", 1, 1, MINUS_ONE, interface::test),
    // §6.3.2.2, device tree
    row("peer", 1, 1, 0, device_tree::peer),
    row("child", 1, 1, 0, device_tree::child),
    row("parent", 1, 1, 0, device_tree::parent),
    row("getproplen", 2, 1, MINUS_ONE, device_tree::getproplen),
    row("getprop", 4, 1, MINUS_ONE, device_tree::getprop),
    row("nextprop", 3, 1, MINUS_ONE, device_tree::nextprop),
    row("setprop", 4, 1, MINUS_ONE, device_tree::setprop),
    row("canon", 3, 1, MINUS_ONE, device_tree::canon),
    row("finddevice", 1, 1, MINUS_ONE, device_tree::finddevice),
    row("instance-to-package", 1, 1, MINUS_ONE, device_tree::instance_to_package),
    row("instance-to-path", 3, 1, MINUS_ONE, device_tree::instance_to_path),
    row("instance-to-interposed-path", 3, 1, MINUS_ONE, device_tree::instance_to_path),
    row("package-to-path", 3, 1, MINUS_ONE, device_tree::package_to_path),
    row("call-method", 2, 1, MINUS_ONE, methods::call_method),
    row("test-method", 2, 1, MINUS_ONE, methods::test_method),
    // §6.3.2.3, device I/O
    row("open", 1, 1, 0, device_io::open),
    row("close", 1, 0, MINUS_ONE, device_io::close),
    row("read", 3, 1, MINUS_ONE, device_io::read),
    row("write", 3, 1, MINUS_ONE, device_io::write),
    row("seek", 3, 1, MINUS_ONE, device_io::seek),
    // §6.3.2.4, memory
    row("claim", 3, 1, MINUS_ONE, memory::claim),
    row("release", 2, 0, MINUS_ONE, memory::release),
    // §6.3.2.5, control transfer
    row("exit", 0, 0, MINUS_ONE, control::exit),
    row("quiesce", 0, 0, MINUS_ONE, control::quiesce),
    // §6.3.2.7, time
    row("milliseconds", 0, 1, MINUS_ONE, time::milliseconds),
];

const fn row(
    name: &'static str,
    arguments: usize,
    results: usize,
    failure: u32,
    run: fn(&mut Call<'_>) -> Result<Reply, Failed>,
) -> Service {
    Service { name, arguments, results, failure, run }
}

/// The service of that name.
pub(crate) fn find(name: &[u8]) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name.as_bytes() == name)
}

impl Service {
    /// How many arguments it needs.
    pub(crate) fn arguments(&self) -> usize {
        self.arguments
    }

    /// Runs the service.
    pub(crate) fn run(&self, call: &mut Call<'_>) -> Reply {
        (self.run)(call).unwrap_or_else(|Failed| match self.results {
            0 => Reply::default(),
            _ => self.failure.into(),
        })
    }
}

/// One call on its way.
pub(crate) struct Call<'a> {
    /// What the interface knows.
    pub(crate) state: &'a mut State,
    /// Who calls.
    pub(crate) guest: Guest<'a>,
    /// At least as many as the service needs.
    pub(crate) arguments: &'a [u32],
}

impl Call<'_> {
    /// The first arguments. Those that are not there are 0.
    fn arguments<const COUNT: usize>(&self) -> [u32; COUNT] {
        let mut arguments = [0; COUNT];
        for (place, argument) in arguments.iter_mut().zip(self.arguments) {
            *place = *argument;
        }
        arguments
    }

    fn node(&self, phandle: u32) -> Result<NodeId, Failed> {
        self.state.tree.node_by_phandle(phandle).ok_or(Failed)
    }
}

/// How a service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reply {
    cells: [u32; MAX_CALL_CELLS],
    len: usize,
    stop: Option<StopReason>,
}

impl Reply {
    /// The machine stops.
    pub(crate) fn stopping(reason: StopReason) -> Self {
        Self { stop: Some(reason), ..Self::default() }
    }

    /// One more result. A call has places for as many as a reply.
    pub(crate) fn and(mut self, result: u32) -> Self {
        if let Some(place) = self.cells.get_mut(self.len) {
            *place = result;
            self.len += 1;
        }
        self
    }

    /// The results, the service's own first.
    pub(crate) fn results(&self) -> &[u32] {
        self.cells.get(..self.len).unwrap_or_default()
    }

    /// Whether the machine stops.
    pub(crate) fn stop(&self) -> Option<StopReason> {
        self.stop
    }
}

impl From<u32> for Reply {
    fn from(result: u32) -> Self {
        Self::default().and(result)
    }
}
