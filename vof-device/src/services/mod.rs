//! The services of the client interface (IEEE 1275 §6.3.2), a file a group.

mod control;
mod device_io;
mod device_tree;
mod instances;
mod interface;
mod memory;
mod methods;
mod time;
mod user_interface;

use arch_ppc64::{CpuIndex, StopReason};
#[cfg(any(test, feature = "test-utils"))]
pub(crate) use user_interface::phrases;

use crate::args::{Arguments, Failed, Guest, Results};
use crate::interface::Interface;
use crate::limits::MAX_SERVICE_NAME_BYTES;
use crate::state::State;
use crate::tree::{DeviceTree, NodeId};

/// What clients get for "none", "no" and "failed": −1.
pub(crate) const MINUS_ONE: u32 = u32::MAX;

/// Room for the name of a service, and its NUL.
pub(crate) const NAME_ROOM: [u8; MAX_SERVICE_NAME_BYTES + 1] = [0; MAX_SERVICE_NAME_BYTES + 1];

/// One service.
pub(crate) struct Service {
    name: &'static str,
    arguments: usize,
    results: usize,
    /// What the first result is when the service fails.
    failure: u32,
    run: Run,
}

/// What a service needs to run.
enum Run {
    /// The state, which stays locked meanwhile: it does not wait, and reaches no package.
    Locked(fn(&mut Call<'_>) -> Result<Reply, Failed>),
    /// The whole interface: what calls packages does so without a lock of it.
    Free(fn(&DeviceCall<'_>) -> Result<Reply, Failed>),
}
use Run::{Free, Locked};

/// All of them: name, counts of arguments and of results, the result of failure, function.
/// `set-symbol-lookup` is absent: it serves a debugger in the user interface, which there is not.
///
/// `call-method` takes and gives what its method does besides.
#[rustfmt::skip]
static SERVICES: [Service; 32] = [
    // §6.3.2.1, client interface
    row("test", 1, 1, MINUS_ONE, Locked(interface::test)),
    // §6.3.2.2, device tree
    row("peer", 1, 1, 0, Locked(device_tree::peer)),
    row("child", 1, 1, 0, Locked(device_tree::child)),
    row("parent", 1, 1, 0, Locked(device_tree::parent)),
    row("getproplen", 2, 1, MINUS_ONE, Locked(device_tree::getproplen)),
    row("getprop", 4, 1, MINUS_ONE, Locked(device_tree::getprop)),
    row("nextprop", 3, 1, MINUS_ONE, Locked(device_tree::nextprop)),
    row("setprop", 4, 1, MINUS_ONE, Locked(device_tree::setprop)),
    row("canon", 3, 1, MINUS_ONE, Locked(device_tree::canon)),
    row("finddevice", 1, 1, MINUS_ONE, Locked(device_tree::finddevice)),
    row("instance-to-package", 1, 1, MINUS_ONE, Free(instances::instance_to_package)),
    row("instance-to-path", 3, 1, MINUS_ONE, Free(instances::instance_to_path)),
    row("instance-to-interposed-path", 3, 1, MINUS_ONE, Free(instances::instance_to_path)),
    row("package-to-path", 3, 1, MINUS_ONE, Locked(device_tree::package_to_path)),
    row("call-method", 2, 1, MINUS_ONE, Free(methods::call_method)),
    row("test-method", 2, 1, MINUS_ONE, Free(methods::test_method)),
    // §6.3.2.3, device I/O
    row("open", 1, 1, 0, Free(device_io::open)),
    row("close", 1, 0, MINUS_ONE, Free(device_io::close)),
    row("read", 3, 1, MINUS_ONE, Free(device_io::read)),
    row("write", 3, 1, MINUS_ONE, Free(device_io::write)),
    row("seek", 3, 1, MINUS_ONE, Free(device_io::seek)),
    // §6.3.2.4, memory
    row("claim", 3, 1, MINUS_ONE, Locked(memory::claim)),
    row("release", 2, 0, MINUS_ONE, Locked(memory::release)),
    // §6.3.2.5, control transfer
    row("boot", 1, 0, MINUS_ONE, Locked(control::boot)),
    row("enter", 0, 0, MINUS_ONE, Free(control::enter)),
    row("exit", 0, 0, MINUS_ONE, Locked(control::exit)),
    row("chain", 5, 0, MINUS_ONE, Locked(control::chain)),
    row("quiesce", 0, 0, MINUS_ONE, Locked(control::quiesce)),
    row("start-cpu", 3, 0, MINUS_ONE, Locked(control::start_cpu)),
    // §6.3.2.6, user interface
    row("interpret", 1, 1, MINUS_ONE, Locked(user_interface::interpret)),
    row("set-callback", 1, 1, MINUS_ONE, Locked(user_interface::set_callback)),
    // §6.3.2.7, time
    row("milliseconds", 0, 1, MINUS_ONE, Locked(time::milliseconds)),
];

const fn row(
    name: &'static str,
    arguments: usize,
    results: usize,
    failure: u32,
    run: Run,
) -> Service {
    Service { name, arguments, results, failure, run }
}

/// How many services there are.
pub(crate) const COUNT: usize = SERVICES.len();

/// The names of the services, in the order of their numbers.
pub(crate) fn names() -> impl ExactSizeIterator<Item = &'static str> {
    SERVICES.iter().map(|service| service.name)
}

/// All services: name, and how many arguments it needs.
#[cfg(any(test, feature = "test-utils"))]
pub(crate) fn rows() -> impl Iterator<Item = (&'static str, usize)> {
    SERVICES.iter().map(|service| (service.name, service.arguments))
}

/// The service of that name, and its number.
pub(crate) fn find(name: &[u8]) -> Option<(usize, &'static Service)> {
    let mut place = first_place(name);
    loop {
        let number = PLACES.get(place)?;
        // Where there is no number, there is no service.
        let number = usize::from(*number);
        let service = SERVICES.get(number)?;
        if service.name.as_bytes() == name {
            return Some((number, service));
        }
        place = (place + 1) % PLACES.len();
    }
}

/// The numbers of the services, each in the first free place from that of its name on.
static PLACES: [u8; 64] = {
    let mut places = [u8::MAX; 64];
    let mut number = 0;
    while number < SERVICES.len() {
        let mut place = first_place(SERVICES[number].name.as_bytes());
        while places[place] != u8::MAX {
            place = (place + 1) % places.len();
        }
        places[place] = number as u8;
        number += 1;
    }
    places
};

/// Where a service of that name would be; few of them share a place.
const fn first_place(name: &[u8]) -> usize {
    let len = name.len();
    if len < 3 {
        return 0;
    }
    (len + 2 * name[0] as usize + 2 * name[2] as usize + 3 * name[len - 1] as usize) % 64
}

impl Service {
    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// How many arguments it needs.
    pub(crate) fn arguments(&self) -> usize {
        self.arguments
    }

    /// Runs the service of that number, and counts it.
    #[inline]
    pub(crate) fn run(
        &'static self,
        number: usize,
        interface: &Interface,
        guest: Guest<'_>,
        caller: CpuIndex,
        arguments: Arguments<'_>,
    ) -> Reply {
        let answer = match self.run {
            Locked(run) => {
                let mut state = interface.state();
                state.count(number);
                run(&mut Call { state: &mut state, guest, arguments })
            }
            Free(run) => {
                let call = DeviceCall { interface, guest, caller, service: self, arguments };
                self.run_free(number, &call, run)
            }
        };
        answer.unwrap_or_else(|Failed| match self.results {
            0 => Reply::default(),
            _ => self.failure.into(),
        })
    }

    /// A call that has no answer yet is not counted: it will be made again. One in which the machine
    /// and its guest agreed on what takes a restart does not come back.
    #[inline(never)]
    fn run_free(
        &self,
        number: usize,
        call: &DeviceCall<'_>,
        run: fn(&DeviceCall<'_>) -> Result<Reply, Failed>,
    ) -> Result<Reply, Failed> {
        let answer = run(call);
        if answer.is_ok_and(|reply| reply.then() == Then::Again) {
            return answer;
        }
        let mut state = call.interface.state();
        state.count(number);
        match state.restart {
            Some(_) => answer.map(|reply| Reply { then: Then::Stop(StopReason::Reset), ..reply }),
            None => answer,
        }
    }
}

/// One call on its way, with the state.
pub(crate) struct Call<'a> {
    /// What the interface knows.
    state: &'a mut State,
    /// Who calls.
    guest: Guest<'a>,
    /// At least as many as the service needs.
    arguments: Arguments<'a>,
}

impl Call<'_> {
    /// The first arguments. Those that are not there are 0.
    #[inline]
    fn arguments<const COUNT: usize>(&self) -> [u32; COUNT] {
        self.arguments.first()
    }

    fn node(&self, phandle: u32) -> Result<NodeId, Failed> {
        node(&self.state.tree, phandle)
    }
}

/// One call on its way.
pub(crate) struct DeviceCall<'a> {
    /// The interface, of which nothing is locked.
    pub(crate) interface: &'a Interface,
    /// Who calls.
    pub(crate) guest: Guest<'a>,
    /// From which CPU.
    pub(crate) caller: CpuIndex,
    /// The service.
    pub(crate) service: &'static Service,
    /// At least as many as the service needs.
    pub(crate) arguments: Arguments<'a>,
}

impl DeviceCall<'_> {
    /// The first arguments. Those that are not there are 0.
    #[inline]
    fn arguments<const COUNT: usize>(&self) -> [u32; COUNT] {
        self.arguments.first()
    }
}

fn node(tree: &DeviceTree, phandle: u32) -> Result<NodeId, Failed> {
    tree.node_by_phandle(phandle).ok_or(Failed)
}

/// How a service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reply {
    results: Results,
    then: Then,
}

/// What becomes of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Then {
    /// It goes on.
    #[default]
    Return,
    /// The machine stops.
    Stop(StopReason),
    /// Another program takes its place.
    Enter(Program),
    /// It makes the same call again: there is no answer yet.
    Again,
}

/// A program that is to be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    /// Address of its first instruction.
    pub(crate) entry: u32,
    /// Address of its arguments, which mean something to nobody but the program.
    pub(crate) arguments: u32,
    /// Their length in bytes.
    pub(crate) len: u32,
}

impl Reply {
    /// The machine stops.
    pub(crate) fn stopping(reason: StopReason) -> Self {
        Self { then: Then::Stop(reason), ..Self::default() }
    }

    /// The same call is to be made again.
    pub(crate) fn again() -> Self {
        Self { then: Then::Again, ..Self::default() }
    }

    /// One more result, of as many as there can be at most.
    pub(crate) fn and(mut self, result: u32) -> Self {
        self.results.push(result);
        self
    }

    /// The results, the service's own first.
    pub(crate) fn results(&self) -> &Results {
        &self.results
    }

    /// What becomes of the caller.
    pub(crate) fn then(&self) -> Then {
        self.then
    }
}

impl From<u32> for Reply {
    fn from(result: u32) -> Self {
        Self::default().and(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_found_by_its_name() {
        for service in &SERVICES {
            let (number, found) = find(service.name.as_bytes()).unwrap();
            assert!(std::ptr::eq(found, service), "{}", service.name);
            assert_eq!(names().nth(number), Some(service.name));
        }
        for name in ["", "x", "getpro", "getprops", "gftprop", "Getprop"] {
            assert!(find(name.as_bytes()).is_none(), "{name}");
        }
    }
}
