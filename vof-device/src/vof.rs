//! The client interface as a hypercall handler.

use arch_ppc64::{
    CpuIndex, GuestRam, Hypercall, MutHypercallHandler, Next, Status, TRACE_TARGET,
    hypercall::token,
};

use crate::args::{ARRAY_ROOM, ArgumentArray, Guest};
use crate::builder::VofBuilder;
use crate::claims::Claims;
use crate::clock::Clock;
use crate::complaints::Complaints;
use crate::instances::Instances;
use crate::saved::{self, RestoreError, VofState};
use crate::services::{self, Call, MINUS_ONE, Reply, Then};
use crate::state::{AVAILABLE, State};
use crate::trace;
use crate::tree::DeviceTree;

/// The Open Firmware client interface of one machine (IEEE 1275 §6.3).
///
/// It answers the hypercall H_OF_CLIENT, whose first argument is the real address of an argument
/// array. Its status says whether the call was made:
///
/// | status | the call |
/// |---|---|
/// | H_SUCCESS | was made; what came of it is in the results |
/// | 1, [`vof_firmware::ENTER_PROGRAM`] | was `chain`: the firmware image enters another program |
/// | H_FUNCTION | names a service that does not exist |
/// | H_PARAMETER | was not made: the array or the service's name is not in RAM or too long, or there are fewer arguments than the service needs |
///
/// Where a call was not made and the array can be written, its first result is −1. Surplus
/// arguments mean nothing; results that the array has no place for are lost, and places for more
/// results than there are keep what they have, as §6.3.2.2 and §6.3.2.6 say of `call-method` and
/// `interpret`.
///
/// A client's pointers to memory that is not RAM make a service fail, before it had an effect.
#[derive(Debug)]
pub struct Vof {
    state: State,
    start: Start,
    ram_bytes: u64,
}

/// What a reset goes back to.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) tree: DeviceTree,
    pub(crate) claims: Claims,
}

impl Vof {
    /// Starts to put together the client interface of a machine with this tree and with RAM from
    /// address 0 to `ram_bytes`.
    pub fn builder(tree: DeviceTree, ram_bytes: u64) -> VofBuilder {
        VofBuilder::new(tree, ram_bytes)
    }

    pub(crate) fn new(state: State, start: Start, ram_bytes: u64) -> Self {
        Self { state, start, ram_bytes }
    }

    /// The tree as it is now, but for the list of free memory: see [`to_blob`](Self::to_blob).
    pub fn tree(&self) -> &DeviceTree {
        &self.state.tree
    }

    /// The tree as clients see it now, flattened: with the list of free memory.
    pub fn to_blob(&self) -> Vec<u8> {
        let tree = &self.state.tree;
        let (Some(memory), Some(name)) = (self.state.memory, tree.name_id(AVAILABLE.as_bytes()))
        else {
            return tree.to_blob();
        };
        let claims = &self.state.claims;
        let mut available = Vec::with_capacity(claims.free_count() * memory.entry_bytes());
        for range in claims.free() {
            let entry = memory.entry(range);
            let start = entry.len() - memory.entry_bytes();
            available.extend_from_slice(entry.get(start..).unwrap_or_default());
        }
        tree.to_blob_with(memory.node, name, &available)
    }

    /// The arguments that a client gave the machine's next start with the service `boot`, if it
    /// gave any. [`reset`](MutHypercallHandler::reset) puts them into `/chosen` as `bootargs`, for
    /// one start; a VMM that makes a new `Vof` for each start takes them from here.
    pub fn boot_arguments(&self) -> Option<&str> {
        self.state.boot_arguments.as_deref()
    }

    /// What clients can see, as plain data: to be saved, and to be taken up by
    /// [`VofBuilder::restore`] in another process. To be called between two calls of the client.
    pub fn state(&self) -> VofState {
        saved::save(&self.state, self.ram_bytes)
    }

    pub(crate) fn restore(mut self, saved: &VofState) -> Result<Self, RestoreError> {
        saved::restore(&mut self.state, self.ram_bytes, saved)?;
        Ok(self)
    }

    /// How often each service was called since the last reset, in the order of IEEE 1275.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = (&'static str, u64)> + '_ {
        services::names().zip(self.state.calls)
    }

    /// Reads the array at `at`, makes the call, writes the results.
    fn call(&mut self, caller: CpuIndex, ram: &dyn GuestRam, at: u64) -> (Status, Then) {
        let guest = Guest::new(ram, self.ram_bytes);
        let mut room = ARRAY_ROOM;
        let array = match ArgumentArray::read(&guest, at, &mut room) {
            Ok(array) => array,
            Err(error) => {
                self.state.complaints.tell(format_args!("{error}"));
                return (Status::PARAMETER, Then::Return);
            }
        };
        // The strings are shown as they are before the call: a result may be written over them.
        let is_traced = log::log_enabled!(target: TRACE_TARGET, log::Level::Trace);
        let shown = is_traced.then(|| trace::call(guest, &array));
        let (status, reply) = match self.make(guest, &array) {
            Ok(reply) => (Status::SUCCESS, reply),
            Err(status) => (status, MINUS_ONE.into()),
        };
        if let Some(shown) = shown {
            trace::tell(caller, &shown, status, reply.results());
        }
        match array.write_results(&guest, reply.results()) {
            Ok(()) => (status, reply.then()),
            Err(_) => (Status::PARAMETER, reply.then()),
        }
    }

    fn make(&mut self, guest: Guest<'_>, array: &ArgumentArray<'_>) -> Result<Reply, Status> {
        let complaints = &mut self.state.complaints;
        let mut text = services::NAME_ROOM;
        let name = guest.text(array.service(), &mut text).map_err(|error| {
            complaints.tell(format_args!("name of a service: {error}"));
            Status::PARAMETER
        })?;
        let Some((number, service)) = services::find(name) else {
            complaints.tell(format_args!("no service {}", name.escape_ascii()));
            return Err(Status::FUNCTION);
        };
        let arguments = array.arguments();
        if arguments.count() < service.arguments() {
            let name = name.escape_ascii();
            let count = arguments.count();
            complaints.tell(format_args!("{name} with {count} arguments, which are too few"));
            return Err(Status::PARAMETER);
        }
        if let Some(count) = self.state.calls.get_mut(number) {
            *count = count.saturating_add(1);
        }
        Ok(service.run(&mut Call { state: &mut self.state, guest, arguments }))
    }
}

impl MutHypercallHandler for Vof {
    fn tokens() -> &'static [u64] {
        &[token::VOF_CLIENT]
    }

    fn handle(&mut self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let (status, then) = self.call(caller, ram, call.args[0]);
        let resume = call.finish(status);
        match then {
            Then::Return => resume,
            Then::Stop(reason) => Next::Stop(reason),
            Then::Enter(program) => {
                // As the firmware image expects it: see `vof_firmware::ENTER_PROGRAM`.
                let [.., entry] = &mut call.args;
                *entry = program.entry.into();
                call.args[2] = program.arguments.into();
                call.args[3] = program.len.into();
                call.finish(Status(vof_firmware::ENTER_PROGRAM))
            }
        }
    }

    /// Goes back to the state as it was built: nothing of the client stays.
    fn reset(&mut self) {
        let state = &mut self.state;
        state.tree = self.start.tree.clone();
        state.claims = self.start.claims.clone();
        state.virtual_claims = self.start.claims.clone();
        state.instances = Instances::default();
        state.empty_reads = 0;
        state.callback = 0;
        state.added_bytes = 0;
        state.clock = Clock::start();
        state.complaints = Complaints::default();
        state.calls = [0; services::COUNT];
        if let Err((name, error)) = state.open_chosen() {
            // It was possible when the interface was built.
            log::error!("{name} of /chosen cannot be told to clients: {error}");
        }
        if let Err(error) = state.pass_boot_arguments() {
            log::error!("the arguments of `boot` cannot be told to clients: {error}");
        }
    }
}
