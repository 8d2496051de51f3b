//! Hypercalls of any token, with anything in the registers, on a bus with all handlers.

use std::sync::{Arc, LazyLock};

use arch_ppc64::hpt;
use arch_ppc64::hvterm::HvTerm;
use arch_ppc64::hypercall::token;
use arch_ppc64::layout::{FIRST_INTERRUPT, VTY_UNIT};
use arch_ppc64::papr::{DispatchCalls, ModeCalls, PaprCalls, ProcessTable};
use arch_ppc64::pci::DmaWindow;
use arch_ppc64::platform::{Device, InterruptController, InterruptKind, SourceNumber};
use arch_ppc64::rtas::{Rtas, StandardCalls, SystemParameters};
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::xics::Xics;
use arch_ppc64::{CpuIndex, Hypercall, HypercallBus, Next, Status};
use vm_memory::GuestAddress;
use vof_device::limits::MAX_TRANSFER_BYTES;
use vof_device::test_utils::{FIRMWARE_BYTES, of_size, sample_tree};
use vof_device::{DeviceTree, Vof};

use crate::Reach;
use crate::bus_machine::{CPUS, HostConsole, HostCpus};
use crate::input::Input;
use crate::names::{NAMES, service};
use crate::ram::{WatchedRam, Work, are_within};

/// The tokens of PCI, which came later than the inputs in the tree.
const OF_PCI: [u64; 4] =
    [token::GET_TCE, token::PUT_TCE, token::STUFF_TCE, token::PUT_TCE_INDIRECT];

/// Every token that has a name, but those of XIVE, which is not there where XICS is, and of hashed
/// page tables, which have a target of their own. New ones are at the end, so that inputs mean what they did.
static TOKENS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let is_xives = |token: &u64| (token::INT_GET_SOURCE_INFO..=token::INT_RESET).contains(token);
    let is_other =
        |token: &u64| OF_PCI.contains(token) || hpt::TOKENS.contains(token) || is_xives(token);
    let known = |token: &u64| token::name(*token).is_some() && !is_other(token);
    (0..0x1_0000).filter(known).chain(OF_PCI).collect()
});

/// See [`Target::beyond`](crate::Target::beyond): nobody here answers them.
pub const BEYOND: &[&str] =
    &["H_GET_CPU_CHARACTERISTICS", "H_QUERY_VAS_CAPABILITIES", "H_GET_PERF_COUNTER_INFO"];

/// See [`Target::goals`](crate::Target::goals): every hypercall, with success.
pub fn goals() -> Vec<String> {
    TOKENS.iter().filter_map(|&token| token::name(token)).map(str::to_owned).collect()
}

static TREE: LazyLock<DeviceTree> = LazyLock::new(sample_tree);

const RAM_BYTES: u64 = 1 << 20;
const CALLS_MAX: usize = 64;
/// What a call costs at most, besides what a `write` of the client interface does: architecture
/// vectors are the longest.
const WORK_MAX: Work = Work { accesses: 600, bytes: 160 << 10 };

/// How far into a virtual processor area the hypervisor writes, in bytes.
const VPA_WRITTEN_BYTES: u64 = 0x220;

struct Bus {
    bus: HypercallBus,
    ram: WatchedRam,
    cpus: Arc<HostCpus>,
    xics: Arc<Xics>,
    console: Arc<HostConsole>,
    vof: Arc<Vof>,
}

impl Bus {
    fn new(flags: u8) -> Self {
        let cpus = Arc::new(HostCpus::default());
        // A console that takes nothing makes `write` wait, which takes time.
        let console = Arc::new(HostConsole::new(1 + usize::from(flags & 31)));
        let topology = CpuTopology::new(CPUS);
        let xics = Xics::new(&topology, cpus.clone()).with_timebase(Arc::new(|| 7));
        xics.claim(SourceNumber(FIRST_INTERRUPT), InterruptKind::Edge).expect("it can be");
        let xics = Arc::new(xics);
        let parameters = SystemParameters::new(CPUS, &topology, RAM_BYTES);
        let mut devices = StandardCalls::new(parameters, cpus.clone(), console.clone()).devices();
        devices.push(xics.clone());
        let rtas = Rtas::new(&devices).expect("no call is answered twice");
        let vof = Vof::builder(TREE.clone(), &of_size(RAM_BYTES))
            .firmware(GuestAddress(0), FIRMWARE_BYTES)
            .console("/vdevice/vty", console.clone())
            .cas(Box::new(|_: &[u8]| Ok(vec![])))
            .build()
            .expect("the sample has a client interface");
        let vof = Arc::new(vof);
        let bus = HypercallBus::new(vec![
            vof.clone(),
            Arc::new(HvTerm::new(VTY_UNIT, console.clone())),
            Arc::new(rtas),
            Arc::new(PaprCalls::new(&topology, None)),
            Arc::new(ModeCalls::new(&topology, cpus.clone())),
            Arc::new(DispatchCalls::new(&topology, cpus.clone())),
            Arc::new(DmaWindow::of_bridge(0)),
            xics.clone(),
        ]);
        let bus = bus.expect("no token is answered twice");
        Self { bus, ram: WatchedRam::new(RAM_BYTES), cpus, xics, console, vof }
    }
}

/// `data` is a byte of flags, then one hypercall after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let machine = Bus::new(input.byte());
    let nodes = machine.vof.with_tree(|tree| tree.nodes().len());
    let mut areas = Vec::new();
    for _ in 0..CALLS_MAX {
        if input.is_empty() {
            break;
        }
        let action = input.byte();
        match action {
            0xf0..=0xf7 => {
                let at = input.number(RAM_BYTES);
                let len = input.byte().into();
                machine.ram.poke(at, input.bytes(len));
            }
            0xf8..=0xfb => machine.xics.raise(FIRST_INTERRUPT + u32::from(action & 1)),
            0xfc..=0xfd => machine.xics.set_level(FIRST_INTERRUPT, action & 1 != 0),
            _ => {
                let caller = CpuIndex(u32::from(action) / 32 % CPUS);
                if let Some(goal) = call(&machine, caller, action % 32, &mut input, &mut areas) {
                    reach.add(goal);
                }
            }
        }
    }
    for table in machine.cpus.tables() {
        if let ProcessTable::Radix { base, size_bytes, .. } = table {
            assert!(base.0 % 4096 == 0 && base.0 + size_bytes <= RAM_BYTES, "{table:x?}");
        }
    }
    let tree = DeviceTree::from_blob(&machine.vof.to_blob()).expect("the tree is still one");
    assert_eq!(tree.nodes().len(), nodes);
    // The machine starts again, and its controller was kept.
    machine.xics.set_level(FIRST_INTERRUPT, false);
    Device::reset(&*machine.xics);
    assert!((0..CPUS).all(|cpu| !machine.cpus.line(cpu)), "reset leaves an interrupt");
    reach
}

/// Makes one hypercall; gives the number of its goal when it succeeded.
///
/// `areas` is where the guest's areas may be.
fn call(
    machine: &Bus,
    caller: CpuIndex,
    kind: u8,
    input: &mut Input<'_>,
    areas: &mut Vec<u64>,
) -> Option<usize> {
    let goal = usize::from(kind);
    let token = match TOKENS.get(goal) {
        Some(token) => *token,
        None => input.number(RAM_BYTES),
    };
    let known = token::arguments(token);
    let mut call = Hypercall::new(token, &[]);
    let count = known.unwrap_or(4);
    for argument in call.args.iter_mut().take(count) {
        *argument = input.number(RAM_BYTES);
    }
    match token {
        // Else it would hardly ever be the right one.
        token::GET_TERM_CHAR | token::PUT_TERM_CHAR if call.args[0] < 0x80 => {
            call.args[0] = VTY_UNIT.into();
        }
        token if OF_PCI.contains(&token) && call.args[0] < 0x80 => {
            call.args[0] = DmaWindow::of_bridge(0).number().into();
        }
        // The function, in bits 16 to 18.
        token::REGISTER_VPA if call.args[0] < 0x80 => call.args[0] <<= 45,
        token::VOF_CLIENT | token::RTAS => write_array(&machine.ram, token, &mut call, input),
        _ => {}
    }
    let before = call;
    let shown = machine.console.shown().len();
    let next = machine.bus.dispatch(caller, &machine.ram, &mut call);
    let (writes, work) = machine.ram.take();
    // A `write` reads its text by 256 bytes.
    let writes_max = MAX_TRANSFER_BYTES as u64 / 256;
    assert!(work.accesses <= WORK_MAX.accesses + writes_max, "{work:?}");
    assert!(work.bytes <= WORK_MAX.bytes + 256 * writes_max, "{work:?}");
    let status = call.status();
    let is_known = matches!(status.0, -4..=2 | -16 | -57..=-55 | -319..=-256);
    assert!(is_known, "{token:#x} has the status {status}");
    assert_eq!(call.token, before.token);
    // `chain` of the client interface passes the next program in registers.
    let enters = token == token::VOF_CLIENT && status.0 == 1;
    if status.0 != 0 && !enters {
        assert_eq!(call.args, before.args, "{token:#x} failed and has results");
    }
    let all = 0..RAM_BYTES;
    let permitted = match token {
        token::VOF_CLIENT | token::RTAS => Vec::from([all]),
        token::REGISTER_VPA => {
            areas.push(before.args[2]);
            // A trace log's registration writes to the area that is registered already.
            areas.iter().map(|&at| at..at.saturating_add(VPA_WRITTEN_BYTES)).collect()
        }
        _ => vec![],
    };
    assert!(are_within(&writes, &permitted), "{token:#x} wrote {writes:x?}");
    match next {
        Next::Resume => {}
        Next::Cede => assert_eq!(token, token::CEDE),
        Next::Park | Next::Stop(_) => {
            assert!(
                matches!(token, token::RTAS | token::VOF_CLIENT),
                "{token:#x} ends the machine"
            );
        }
    }
    let shown = machine.console.shown().len() - shown;
    match token {
        token::PUT_TERM_CHAR => assert!(shown <= 32),
        token::GET_TERM_CHAR => assert!(status != Status::SUCCESS || call.args[0] <= 16),
        token::RTAS | token::VOF_CLIENT => {}
        _ => assert_eq!(shown, 0),
    }
    check_poll(machine);
    (status == Status::SUCCESS && TOKENS.get(goal) == Some(&token)).then_some(goal)
}

/// H_IPOLL tells of an interrupt where the line does, and changes nothing.
fn check_poll(machine: &Bus) {
    for cpu in 0..CPUS {
        let poll = || {
            let mut call = Hypercall::new(token::IPOLL, &[cpu.into()]);
            let _ = machine.bus.dispatch(CpuIndex(cpu), &machine.ram, &mut call);
            call
        };
        let call = poll();
        assert_eq!(call, poll());
        let [xirr, mfrr, ..] = call.args;
        assert!(call.status() == Status::SUCCESS && xirr <= u64::from(u32::MAX) && mfrr <= 0xff);
        assert_eq!(xirr & 0xff_ffff != 0, machine.cpus.line(cpu), "vcpu{cpu}: {xirr:#x}");
    }
}

/// An argument array or buffer at the address in the first argument.
fn write_array(ram: &WatchedRam, token: u64, call: &mut Hypercall, input: &mut Input<'_>) {
    const TEXTS: u64 = 0x1_8000;
    let mut names: Vec<u8> = Vec::new();
    let first = if token == token::RTAS {
        input.byte().into()
    } else {
        names.extend(service(input.u16()).bytes().chain([0]));
        TEXTS as u32
    };
    let (arguments, results) = (input.byte() % 8, input.byte() % 8);
    let mut cells = vec![first, arguments.into(), results.into()];
    for _ in 0..arguments {
        cells.push(match input.byte() {
            0..=3 => {
                let at = TEXTS + names.len() as u64;
                names.extend(input.pick(&NAMES).bytes().chain([0]));
                at as u32
            }
            _ => input.number(RAM_BYTES) as u32,
        });
    }
    ram.poke(TEXTS, &names);
    if call.args[0] < 0x80 {
        call.args[0] = 0x2_0000;
    }
    ram.poke_cells(call.args[0], &cells);
}
