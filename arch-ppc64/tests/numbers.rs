//! A guest names CPUs by their interrupt server numbers, and what it asks for happens to the CPU
//! that has the number, whatever its index is.

use std::sync::{Arc, Mutex};

use arch_ppc64::hypercall::token;
use arch_ppc64::papr::{
    DispatchCalls, ModeCalls, PaprCalls, ProcessTable, ProcessorModes, Prod, ResetTargets,
};
use arch_ppc64::platform::{Device, InterruptController, InterruptKind, SourceNumber};
use arch_ppc64::rtas::{Rtas, token_of};
use arch_ppc64::topology::{CpuTopology, NumaNode};
use arch_ppc64::xics::{InterruptOutput, Xics};
use arch_ppc64::{
    CpuIndex, GuestRam, Hypercall, HypercallBus, HypercallHandler, ServerNumber, Status,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};

const SOURCE: u32 = 0x1000;

/// What happened to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Line(u32, bool),
    Prod(u32),
    Reset(u32),
}

#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl Events {
    fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl InterruptOutput for Events {
    fn set_external_interrupt(&self, cpu: CpuIndex, asserted: bool) {
        self.push(Event::Line(cpu.0, asserted));
    }
}

impl Prod for Events {
    fn prod(&self, target: CpuIndex) -> bool {
        self.push(Event::Prod(target.0));
        true
    }
}

impl ProcessorModes for Events {
    fn set_interrupt_endianness(&self, _: bool) -> Status {
        Status::FUNCTION
    }

    fn set_interrupt_location(&self, _: u8) -> Status {
        Status::FUNCTION
    }

    fn set_process_table(&self, _: &ProcessTable) -> Status {
        Status::FUNCTION
    }

    fn system_reset(&self, _: CpuIndex, targets: ResetTargets) -> Status {
        if let ResetTargets::One(cpu) = targets {
            self.push(Event::Reset(cpu.0));
        }
        Status::SUCCESS
    }
}

struct Guest {
    topology: CpuTopology,
    events: Arc<Events>,
    xics: Arc<Xics>,
    bus: HypercallBus,
    ram: GuestMemoryMmap,
}

impl Guest {
    fn new(topology: CpuTopology) -> Self {
        let events = Arc::new(Events::default());
        let xics = Arc::new(Xics::new(&topology, events.clone()));
        xics.claim(SourceNumber(SOURCE), InterruptKind::Edge).unwrap();
        let handlers: Vec<Arc<dyn HypercallHandler>> = vec![
            xics.clone(),
            Arc::new(Rtas::new(&[xics.clone() as Arc<dyn Device>]).unwrap()),
            Arc::new(DispatchCalls::new(&topology, events.clone())),
            Arc::new(ModeCalls::new(&topology, events.clone())),
            Arc::new(PaprCalls::new(&topology, None)),
        ];
        let bus = HypercallBus::new(handlers).unwrap();
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap();
        let guest = Self { topology, events, xics, bus, ram };
        for cpu in 0..guest.topology.cpus() {
            assert_eq!(guest.call(cpu, token::CPPR, &[0xff]).status(), Status::SUCCESS);
        }
        guest
    }

    fn call(&self, caller: u32, token: u64, args: &[u64]) -> Hypercall {
        let mut call = Hypercall::new(token, args);
        let _ = self.bus.dispatch(CpuIndex(caller), &self.ram, &mut call);
        call
    }

    /// Makes an RTAS call on the first CPU; returns its outputs, the status first.
    fn rtas(&self, name: &str, inputs: &[u32], outputs: usize) -> Vec<u32> {
        let ram: &dyn GuestRam = &self.ram;
        let at = |cell: usize| GuestAddress(0x8000 + 4 * cell as u64);
        let header = [token_of(name).unwrap(), inputs.len() as u32, outputs as u32];
        let cells = [&header[..], inputs].concat();
        for (number, &cell) in cells.iter().enumerate() {
            ram.write_be_u32(at(number), cell).unwrap();
        }
        assert_eq!(self.call(0, token::RTAS, &[at(0).0]).status(), Status::SUCCESS);
        let results = cells.len()..cells.len() + outputs;
        results.map(|cell| ram.read_be_u32(at(cell)).unwrap()).collect()
    }
}

/// Threads of a core, and numbers of servers from core to core.
fn topologies() -> Vec<CpuTopology> {
    let with = |(threads, servers)| CpuTopology::new(8).with_threads(threads, servers).unwrap();
    [(1, 1), (1, 8), (2, 2), (2, 8), (4, 4), (4, 8), (8, 8)].map(with).into()
}

#[test]
fn each_number_is_that_of_its_cpu() {
    for topology in topologies() {
        let guest = Guest::new(topology);
        for index in 0..8 {
            let ServerNumber(server) = guest.topology.server(CpuIndex(index));
            let number = u64::from(server);
            let happens = |token, args: &[u64]| {
                let call = guest.call(0, token, args);
                assert_eq!(call.status(), Status::SUCCESS, "{token:#x} of {server}");
                guest.events.take()
            };
            assert_eq!(happens(token::IPI, &[number, 4]), [Event::Line(index, true)]);
            let poll = guest.call(0, token::IPOLL, &[number]);
            assert_eq!((poll.args[0], poll.args[1]), (0xff00_0002, 4));
            assert_eq!(happens(token::IPI, &[number, 0xff]), [Event::Line(index, false)]);
            assert_eq!(happens(token::PROD, &[number]), [Event::Prod(index)]);
            assert_eq!(happens(token::CONFER, &[number, 0]), []);
            assert_eq!(happens(token::SIGNAL_SYS_RESET, &[number]), [Event::Reset(index)]);

            assert_eq!(guest.rtas("ibm,set-xive", &[SOURCE, server, 5], 1), [0]);
            assert_eq!(guest.rtas("ibm,get-xive", &[SOURCE], 3), [0, server, 5]);
            guest.xics.raise(SOURCE);
            assert_eq!(guest.events.take(), [Event::Line(index, true)]);
            // The CPU itself accepts it and ends it.
            let accepted = guest.call(index, token::XIRR, &[]).args[0];
            assert_eq!(accepted, 0xff00_0000 | u64::from(SOURCE));
            assert_eq!(guest.call(index, token::EOI, &[accepted]).status(), Status::SUCCESS);
            assert_eq!(guest.events.take(), [Event::Line(index, false)]);
        }
    }
}

#[test]
fn numbers_between_are_nobodys() {
    for topology in topologies() {
        let guest = Guest::new(topology);
        let none = (0..100).chain([u32::MAX - 2]).map(ServerNumber);
        for server in none.filter(|&server| guest.topology.index(server).is_none()) {
            let number = u64::from(server.0);
            for (token, args) in [
                (token::IPI, [number, 4, 0]),
                (token::IPOLL, [number, 0, 0]),
                (token::PROD, [number, 0, 0]),
                (token::CONFER, [number, 0, 0]),
                (token::SIGNAL_SYS_RESET, [number, 0, 0]),
                // Deregisters a VPA, which needs no VPA.
                (token::REGISTER_VPA, [5 << 45, number, 0]),
            ] {
                let status = guest.call(0, token, &args).status();
                assert_eq!(status, Status::PARAMETER, "{token:#x} of {server}");
            }
            let home = guest.call(0, token::HOME_NODE_ASSOCIATIVITY, &[1, number]);
            assert_eq!(home.status(), Status::P2, "{server}");
            let status = guest.rtas("ibm,set-xive", &[SOURCE, server.0, 5], 1);
            assert_eq!(status, [-3_i32 as u32], "{server}");
            // Nor has a CPU of another number an area for it.
            let beyond = guest.call(0, token::PROD, &[number | 1 << 32]);
            assert_eq!(beyond.status(), Status::PARAMETER);
        }
        assert_eq!(guest.events.take(), []);
    }
}

/// H_REGISTER_VPA keeps the areas of each processor apart.
#[test]
fn areas_are_those_of_the_number() {
    let guest = Guest::new(CpuTopology::new(8).with_threads(2, 8).unwrap());
    GuestRam::write(&guest.ram, GuestAddress(0x1004), &640_u16.to_be_bytes()).unwrap();
    GuestRam::write(&guest.ram, GuestAddress(0x2004), &64_u32.to_be_bytes()).unwrap();
    let register = |function: u64, server: u64, at: u64| {
        guest.call(0, token::REGISTER_VPA, &[function << 45, server, at]).status()
    };
    assert_eq!(register(1, 9, 0x1000), Status::SUCCESS);
    for other in [0, 1, 8, 16, 17, 24, 25] {
        assert_eq!(register(2, other, 0x2000), Status::RESOURCE, "{other}");
    }
    assert_eq!(register(2, 9, 0x2000), Status::SUCCESS);
}

/// All threads of a core have the domains that its node in the tree has.
#[test]
fn home_is_the_node_of_the_core() {
    let nodes = [0, 1, 2, 3].map(NumaNode);
    let guest = Guest::new(CpuTopology::new(8).with_threads(2, 8).unwrap().with_nodes(nodes));
    let domains = |server: u64| {
        let call = guest.call(0, token::HOME_NODE_ASSOCIATIVITY, &[1, server]);
        assert_eq!(call.status(), Status::SUCCESS);
        let fields = call.args[..2].iter().flat_map(|word| word.to_be_bytes());
        let fields: Vec<u8> = fields.collect();
        let fields = fields.chunks(2).take(5);
        fields.map(|field| u16::from_be_bytes([field[0] & 0x7f, field[1]])).collect::<Vec<_>>()
    };
    assert_eq!(domains(0), [0, 0, 0, 0, 0]);
    assert_eq!(domains(9), [0, 0, 0, 1, 8]);
    assert_eq!(domains(8), domains(9));
    assert_eq!(domains(25), [0, 0, 0, 3, 24]);
}
