//! The guest's side: a client that stores its argument arrays in guest memory, goes through the
//! door that a virtual CPU goes through, and does no more than it has to.

use std::sync::atomic::Ordering;

use arch_ppc64::hypercall::token;
use arch_ppc64::{CpuIndex, Hypercall, Next, Status};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};
use vof_device::DeviceTree;
use vof_device::test_utils::{CALL_AGAIN, TestMachine, WORKSPACE, WORKSPACE_BYTES};

use crate::walk::{ClientInterface, Name};

/// As much as a cell can name, so that claims have all the room they can.
pub const RAM_BYTES: u64 = 4 << 30;

/// A machine of nothing but RAM and the client interface of this tree.
pub fn machine(tree: DeviceTree) -> TestMachine {
    TestMachine::new(tree, RAM_BYTES, |builder| builder)
}

/// Where things are in the workspace. The array comes first: it is written for each call.
const NAMES_AT: [u32; 2] = [0x100, 0x180];
const EMPTY_AT: u32 = 0x200;
const TEXTS_AT: u32 = 0x240;
const VALUE_AT: u32 = 0x1000;
const VALUE_ROOM: u32 = WORKSPACE_BYTES - VALUE_AT;
/// Where there is room for long values: so high that claims do not get there.
const LIST_AT: u32 = 0xf000_0000;
const LIST_ROOM: u32 = 16 << 20;
const MAX_ARRAY_BYTES: usize = 8 * 4;

/// The service names of a client, where its linker put them.
#[derive(Debug, Clone, Copy)]
struct Services {
    child: u32,
    peer: u32,
    nextprop: u32,
    getproplen: u32,
    getprop: u32,
    package_to_path: u32,
    claim: u32,
    release: u32,
    open: u32,
    seek: u32,
    read: u32,
}

/// A client program.
#[derive(Debug)]
pub struct Client<'a> {
    machine: &'a TestMachine,
    workspace: VolatileSlice<'a, ()>,
    services: Services,
    texts_end: u32,
}

impl<'a> Client<'a> {
    /// The client in the machine's workspace.
    ///
    /// # Panics
    /// If the machine has none.
    pub fn new(machine: &'a TestMachine) -> Self {
        let at = GuestAddress(WORKSPACE.into());
        let workspace = machine.ram.get_slice(at, WORKSPACE_BYTES as usize);
        let mut client = Self {
            machine,
            workspace: workspace.expect("the workspace is RAM"),
            services: Services {
                child: 0,
                peer: 0,
                nextprop: 0,
                getproplen: 0,
                getprop: 0,
                package_to_path: 0,
                claim: 0,
                release: 0,
                open: 0,
                seek: 0,
                read: 0,
            },
            texts_end: TEXTS_AT,
        };
        client.store(EMPTY_AT, &[0]);
        client.services = Services {
            child: client.text("child"),
            peer: client.text("peer"),
            nextprop: client.text("nextprop"),
            getproplen: client.text("getproplen"),
            getprop: client.text("getprop"),
            package_to_path: client.text("package-to-path"),
            claim: client.text("claim"),
            release: client.text("release"),
            open: client.text("open"),
            seek: client.text("seek"),
            read: client.text("read"),
        };
        client
    }

    /// Puts a text into guest memory, to stay; gives its address.
    ///
    /// # Panics
    /// If there is no more room.
    pub fn text(&mut self, text: &str) -> u32 {
        let at = self.texts_end;
        self.store(at, text.as_bytes());
        self.store(at + text.len() as u32, &[0]);
        self.texts_end += text.len() as u32 + 1;
        assert!(self.texts_end < VALUE_AT, "there are too many texts");
        WORKSPACE + at
    }

    /// getprop of a property whose name is in guest memory.
    pub fn getprop(&mut self, node: u32, name_at: u32, room: u32) -> u32 {
        self.call(self.services.getprop, [node, name_at, WORKSPACE + VALUE_AT, room])
    }

    /// getprop of as much as there is room for.
    pub fn getprop_all(&mut self, node: u32, name_at: u32) -> u32 {
        self.getprop(node, name_at, VALUE_ROOM)
    }

    /// getprop of the list of free memory, to where there is room for it.
    pub fn available(&mut self, node: u32, name_at: u32) -> u32 {
        self.call(self.services.getprop, [node, name_at, LIST_AT, LIST_ROOM])
    }

    /// claim of `size` bytes at a multiple of `align`.
    pub fn claim(&mut self, size: u32, align: u32) -> u32 {
        self.call(self.services.claim, [0, size, align])
    }

    /// release.
    pub fn release(&mut self, at: u32, size: u32) {
        // There is no result: the place behind the arguments is the client's own.
        self.call(self.services.release, [at, size]);
    }

    /// open of a path that is in guest memory; gives the ihandle, or 0.
    pub fn open(&mut self, path_at: u32) -> u32 {
        self.call(self.services.open, [path_at])
    }

    /// seek to `position`.
    pub fn seek(&mut self, ihandle: u32, position: u64) -> u32 {
        self.call(self.services.seek, [ihandle, (position >> 32) as u32, position as u32])
    }

    /// read of `bytes` to an address.
    pub fn read(&mut self, ihandle: u32, at: u32, bytes: u32) -> u32 {
        self.call(self.services.read, [ihandle, at, bytes])
    }

    /// One call with one result; as the firmware in a guest does, it is made again where the host is
    /// waited for.
    #[inline]
    fn call<const COUNT: usize>(&mut self, service: u32, arguments: [u32; COUNT]) -> u32 {
        let mut array = [0; MAX_ARRAY_BYTES];
        let cells = [service, COUNT as u32, 1].into_iter().chain(arguments);
        for (place, cell) in array.chunks_exact_mut(4).zip(cells) {
            place.copy_from_slice(&cell.to_be_bytes());
        }
        self.store(0, &array[..(3 + COUNT) * 4]);
        loop {
            let mut call = Hypercall::new(token::VOF_CLIENT, &[WORKSPACE.into()]);
            let next = self.machine.bus.dispatch(CpuIndex(0), &self.machine.ram, &mut call);
            assert_eq!(next, Next::Resume);
            if call.status() != CALL_AGAIN {
                assert_eq!(call.status(), Status::SUCCESS);
                break;
            }
        }
        let result = self.workspace.load::<u32>((3 + COUNT) * 4, Ordering::Relaxed);
        u32::from_be(result.expect("the array is in the workspace"))
    }

    #[inline]
    fn store(&self, at: u32, bytes: &[u8]) {
        self.workspace.write_slice(bytes, at as usize).expect("it is in the workspace");
    }
}

fn name_at(name: Name) -> u32 {
    WORKSPACE + NAMES_AT[name as usize]
}

impl ClientInterface for Client<'_> {
    fn child(&mut self, node: u32) -> u32 {
        self.call(self.services.child, [node])
    }

    fn peer(&mut self, node: u32) -> u32 {
        self.call(self.services.peer, [node])
    }

    fn next_property(&mut self, node: u32, previous: Option<Name>, next: Name) -> u32 {
        let previous = previous.map_or(WORKSPACE + EMPTY_AT, name_at);
        self.call(self.services.nextprop, [node, previous, name_at(next)])
    }

    fn property_length(&mut self, node: u32, name: Name) -> u32 {
        self.call(self.services.getproplen, [node, name_at(name)])
    }

    fn property(&mut self, node: u32, name: Name, room: u32) -> u32 {
        self.getprop(node, name_at(name), room)
    }

    fn path(&mut self, node: u32, room: u32) -> u32 {
        self.call(self.services.package_to_path, [node, WORKSPACE + VALUE_AT, room])
    }

    fn is_name(&self, name: Name) -> bool {
        // The places of the buffers are multiples of 4.
        let cell = |at: u32| self.workspace.load::<u32>(at as usize, Ordering::Relaxed);
        let at = NAMES_AT[name as usize];
        let is = |at, text| cell(at).is_ok_and(|cell| cell.to_ne_bytes().starts_with(text));
        is(at, b"name") && is(at + 4, b"\0")
    }
}
