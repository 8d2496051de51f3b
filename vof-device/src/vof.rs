//! The client interface as a hypercall handler.

use std::fmt;
use std::time::Instant;

use arch_ppc64::cas::Decision;
use arch_ppc64::platform::{Device, StateError};
use arch_ppc64::topology::MemoryMap;
use arch_ppc64::{
    CpuIndex, GuestRam, Hypercall, HypercallHandler, Next, Status, TRACE_TARGET, hypercall::token,
};

use crate::args::{ARRAY_ROOM, ArgumentArray, Guest};
use crate::interface::Interface;
use crate::memory_node::AVAILABLE;
use crate::services::{self, MINUS_ONE, Reply, Then};
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
/// | 2, [`vof_firmware::CALL_AGAIN`] | was not made yet, since the host is at work for it: the firmware image makes it again |
/// | H_FUNCTION | names a service that does not exist |
/// | H_PARAMETER | was not made: the array or the service's name is not in RAM or too long, or there are fewer arguments than the service needs |
///
/// Where a call was not made and the array can be written, its first result is −1. Surplus
/// arguments mean nothing; results that the array has no place for are lost, and places for more
/// results than there are keep what they have, as §6.3.2.2 and §6.3.2.6 say of `call-method` and
/// `interpret`.
///
/// A client's pointers to memory that is not RAM make a service fail, before it had an effect.
///
/// All of it may be called from any thread. Calls of clients come one after the other, but for
/// those that reach an open package, which hold no lock of the interface meanwhile: see
/// [`Instance`](crate::Instance).
pub struct Vof {
    pub(crate) interface: Interface,
    memory: MemoryMap,
}

impl Vof {
    pub(crate) fn new(interface: Interface, memory: MemoryMap) -> Self {
        Self { interface, memory }
    }

    /// Looks at the tree as it is now, but for the list of free memory: see
    /// [`to_blob`](Self::to_blob). Calls of clients wait meanwhile.
    pub fn with_tree<T>(&self, look: impl FnOnce(&DeviceTree) -> T) -> T {
        look(&self.interface.state().tree)
    }

    /// The tree as clients see it now, flattened: with the list of free memory.
    pub fn to_blob(&self) -> Vec<u8> {
        let state = self.interface.state();
        let tree = &state.tree;
        let (Some(memory), Some(name)) = (state.memory, tree.name_id(AVAILABLE.as_bytes())) else {
            return tree.to_blob();
        };
        let claims = &state.claims;
        let mut available = Vec::with_capacity(claims.free_count() * memory.entry_bytes());
        for range in claims.free() {
            let entry = memory.entry(range);
            let start = entry.len() - memory.entry_bytes();
            available.extend_from_slice(entry.get(start..).unwrap_or_default());
        }
        tree.to_blob_with(memory.node, name, &available)
    }

    /// The arguments that a client gave the machine's next start with the service `boot`, if it
    /// gave any: for the [builder](crate::VofBuilder::boot_arguments) of the next `Vof`.
    pub fn boot_arguments(&self) -> Option<String> {
        self.interface.state().boot_arguments.as_deref().map(str::to_owned)
    }

    /// The device specifier that a client gave the machine's next start with the service `boot`, if
    /// it gave any: for [`Choice::with_first`](crate::autoboot::Choice::with_first), where it is for
    /// the machine's devices to have a program.
    pub fn boot_device(&self) -> Option<String> {
        self.interface.state().boot_device.as_deref().map(str::to_owned)
    }

    /// What the client and the machine have agreed on for the machine's next start, where
    /// [`VcpuHost::negotiated`](arch_ppc64::VcpuHost::negotiated) said that it takes one:
    /// [`StopReason::Reset`](arch_ppc64::StopReason::Reset) has asked for it.
    ///
    /// It is for [`fdt::Start::decision`](arch_ppc64::fdt::Start::decision) of that start, whose
    /// [`boot_arguments`](Self::boot_arguments) are then those of this one.
    pub fn restart_decision(&self) -> Option<Decision> {
        self.interface.state().restart
    }

    /// How often each service was called, in the order of IEEE 1275.
    pub fn calls(&self) -> Vec<(&'static str, u64)> {
        services::names().zip(self.interface.state().calls.iter().copied()).collect()
    }

    /// Reads the array at `at`, makes the call, writes the results.
    fn call(&self, caller: CpuIndex, ram: &dyn GuestRam, at: u64) -> (Status, Then) {
        let guest = Guest::new(ram, &self.memory);
        let mut room = ARRAY_ROOM;
        let array = match ArgumentArray::read(&guest, at, &mut room) {
            Ok(array) => array,
            Err(error) => {
                self.interface.state().complaints.warn(format_args!("{error}"));
                return (Status::PARAMETER, Then::Return);
            }
        };
        // The strings are shown as they are before the call: a result may be written over them.
        let is_traced = log::log_enabled!(target: TRACE_TARGET, log::Level::Trace);
        let shown = is_traced.then(|| trace::call(guest, &array));
        let answer = self.make(caller, guest, &array);
        let not_made;
        let (status, reply) = match &answer {
            Ok(reply) => (Status::SUCCESS, reply),
            Err(status) => {
                not_made = MINUS_ONE.into();
                (*status, &not_made)
            }
        };
        if matches!(reply.then(), Then::Again) {
            return (status, Then::Again);
        }
        if let Some(shown) = shown {
            trace::tell(caller, &shown, status, reply.results());
        }
        let written = array.write_results(&guest, reply.results());
        let status = written.map_or(Status::PARAMETER, |()| status);
        (status, reply.then())
    }

    fn make(
        &self,
        caller: CpuIndex,
        guest: Guest<'_>,
        array: &ArgumentArray<'_>,
    ) -> Result<Reply, Status> {
        let interface = &self.interface;
        let mut text = services::NAME_ROOM;
        let name = guest.text(array.service(), &mut text).map_err(|error| {
            interface.state().complaints.warn(format_args!("name of a service: {error}"));
            Status::PARAMETER
        })?;
        let Some((number, service)) = services::find(name) else {
            let complaints = &interface.state().complaints;
            complaints.warn(format_args!("no service {}", name.escape_ascii()));
            return Err(Status::FUNCTION);
        };
        let arguments = array.arguments();
        if arguments.count() < service.arguments() {
            let name = name.escape_ascii();
            let count = arguments.count();
            let complaints = &interface.state().complaints;
            complaints.warn(format_args!("{name} with {count} arguments, which are too few"));
            return Err(Status::PARAMETER);
        }
        // A CPU that asks for something else has given up what it was opening.
        if interface.openings.are_there() && service.name() != "open" {
            interface.openings.end(caller);
        }
        Ok(service.run(number, interface, guest, caller, arguments))
    }
}

impl HypercallHandler for Vof {
    fn tokens(&self) -> &[u64] {
        &[token::VOF_CLIENT]
    }

    fn handle(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let (status, then) = self.call(caller, ram, call.args[0]);
        let resume = call.finish(status);
        match then {
            Then::Return => resume,
            Then::Stop(reason) => Next::Stop(reason),
            // The address of the array stays in its register.
            Then::Again => call.finish(Status(vof_firmware::CALL_AGAIN)),
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
}

/// For [`Platform::plug_in`](arch_ppc64::platform::Platform::plug_in): the client interface is made
/// of the tree, and so after the other devices.
impl Device for Vof {
    fn id(&self) -> &str {
        "client-interface"
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn arch_ppc64::platform::SaveState> {
        Some(self)
    }

    /// Its packages come to rest, and the time that clients ask for stands still. What a client asks a
    /// disk for meanwhile has no answer before the interface goes on.
    fn pause(&self, until: Instant) -> Result<(), StateError> {
        self.interface.pause(until)
    }

    fn resume(&self) -> Result<(), StateError> {
        self.interface.resume();
        Ok(())
    }

    /// A package that the VMM keeps may have been paused in a machine that is gone.
    fn reset(&self) {
        self.interface.resume();
    }
}

impl fmt::Debug for Vof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vof").field("memory", &self.memory).finish_non_exhaustive()
    }
}
