//! Architecture vectors: what a guest says of itself, and what the machine makes of it.

use std::sync::{Arc, LazyLock, Mutex};

use arch_ppc64::cas::{
    self, CasError, Decision, MAX_PROCESSORS, MAX_VECTOR_BYTES, Negotiated, Platform, Proposal,
    TreeChange,
};
use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::fdt::Start;
use arch_ppc64::hypercall::token;
use arch_ppc64::platform::outline;
use arch_ppc64::topology::{
    CpuTopology, CpuTopologyError, MemoryKind, MemoryMap, MemoryMapError, MemoryRange, NumaNode,
};
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, Hypercall, HypercallHandler, Machine, Next, NoConsole,
    StartError, Status, StopReason, VcpuHost,
};
use vm_memory::GuestAddress;
use vof_device::{DeviceTree, Vof};

use crate::Reach;
use crate::input::Input;
use crate::ram::WatchedRam;

const GOALS: [&str; 15] = [
    "cut off",
    "endless",
    "other processor",
    "other MMU",
    "other interrupts",
    "agreed",
    "agreed on less than all",
    "agreed without a vector 5",
    "agreed on a logical processor version",
    "agreed on memory in blocks",
    "agreed on an older level",
    "agreed on, and the machine restarts",
    "agreed on, and the host refuses",
    "agreed on associativity of form 1",
    "agreed on associativity of form 2",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

/// A machine that negotiates, and its tree.
struct Case {
    machine: Machine,
    platform: Platform,
    tree: DeviceTree,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let case = |model, hotplug_bytes, boot, host: Option<CpuModel>| {
        let memory = Memory::of_size(512 << 20).with_hotplug(hotplug_bytes);
        let config = Config { memory, cpus: Cpus::new(boot, model).with_max(4) };
        let mut machine = Machine::new(&config).expect("the machine can be");
        if let Some(host) = host {
            machine = machine.on_host(host.pvr()).expect("the host can be the machine");
        }
        let start = Start::new(GuestAddress(0x40_0000), [7; 32]);
        let blob = outline(&machine)
            .expect("the machine has devices")
            .blob(&start)
            .expect("the machine has a tree");
        let tree = DeviceTree::from_blob(&blob).expect("the machine's tree is one");
        Case { platform: Platform::of(&machine), machine, tree }
    };
    vec![
        case(CpuModel::Power9, 0, 1, None),
        case(CpuModel::Power9, 1 << 30, 2, None),
        case(CpuModel::Power9, 256 << 20, 1, Some(CpuModel::Power10)),
        case(CpuModel::Power10, 0, 4, None),
        case(CpuModel::Power10, 1 << 30, 1, Some(CpuModel::Power11)),
        case(CpuModel::Power11, 0, 1, None),
    ]
});

/// CPUs that hear of agreements.
struct Host {
    answer: Negotiated,
    heard: Mutex<Vec<Decision>>,
}

impl VcpuHost for Host {
    fn state(&self, _: CpuIndex) -> Option<CpuState> {
        None
    }
    fn start(&self, _: CpuIndex, _: EntryRegisters) -> Result<(), StartError> {
        Err(StartError::NoSuchCpu)
    }
    fn negotiated(&self, decision: &Decision) -> Negotiated {
        self.heard.lock().expect("nobody panics with it").push(*decision);
        self.answer
    }
}

struct Config {
    memory: Memory,
    cpus: Cpus,
}

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        self.memory
    }
    /// What can be plugged is in a node of its own.
    fn memory_map(&self) -> Result<MemoryMap, MemoryMapError> {
        let on = |range: &MemoryRange| match range.kind {
            MemoryKind::Hotplug => range.on_node(NumaNode(3)),
            _ => *range,
        };
        MemoryMap::new(self.memory.map()?.ranges().iter().map(on))
    }
    fn cpus(&self) -> Cpus {
        self.cpus
    }
    fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
        Ok(CpuTopology::new(self.cpus.max).with_nodes([0, 7].map(NumaNode)))
    }
    fn boot(&self) -> Boot<'_> {
        Boot::new("console=hvc0")
    }
    fn x_vof(&self) -> bool {
        true
    }
}

/// `data` is a byte that chooses a machine and what its VMM answers, then what the guest hands
/// over.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let choice = usize::from(input.byte());
    let case = &CASES[choice % CASES.len()];
    let answer = match choice / CASES.len() % 4 {
        2 => Negotiated::NeedsReset,
        3 => Negotiated::Refused,
        _ => Negotiated::Live,
    };
    let vectors = input.rest();
    let mut reach = Reach::NONE;
    let proposal = Proposal::parse(vectors);
    let outcome = cas::negotiate(&case.platform, vectors);
    // Nobody knows what was negotiated before.
    assert_eq!(cas::negotiate(&case.platform, vectors), outcome);
    match &proposal {
        Ok(proposal) => {
            assert!(proposal.processors.len() < MAX_PROCESSORS);
            check_end(vectors, proposal);
        }
        Err(error) => assert_eq!(outcome.as_ref().map(drop), Err(error)),
    }
    match &outcome {
        Ok((decision, changes)) => {
            let proposal = proposal.as_ref().expect("what is agreed on was proposed");
            check_decision(case, proposal, decision);
            check_changes(case, decision, changes);
            reach.add(5);
            if *decision != Decision::default_for(&case.platform) {
                reach.add(6);
            }
            if proposal.platform.is_none() {
                reach.add(7);
            }
            if decision.cpu_version == case.machine.cpu().model().logical_pvr() {
                reach.add(8);
            }
            if decision.dynamic_memory && !decision.dynamic_memory_v2 {
                reach.add(9);
            }
            if decision.is_lowered {
                reach.add(10);
            }
            match (decision.form1_affinity, decision.form2_affinity) {
                (_, true) => reach.add(14),
                (true, false) => reach.add(13),
                (false, false) => {}
            }
            match answer {
                Negotiated::NeedsReset => reach.add(11),
                Negotiated::Refused => reach.add(12),
                _ => {}
            }
        }
        Err(CasError::Truncated { at }) => {
            assert_eq!(*at, vectors.len());
            reach.add(0);
        }
        Err(CasError::EndlessProcessors) => {
            assert!(vectors.len() >= MAX_PROCESSORS * 8);
            reach.add(1);
        }
        Err(CasError::Processor { pvr, logical_pvr, lowest }) => {
            let proposal = proposal.as_ref().expect("there is a list of processors");
            let cpu = case.machine.cpu();
            assert_eq!((*pvr, *logical_pvr), (cpu.pvr(), cpu.model().logical_pvr()));
            assert!((*lowest..=*logical_pvr).all(|level| !proposal.knows(level)));
            reach.add(2);
        }
        Err(CasError::Mmu(of)) => {
            assert!(!of.includes(&cas::Mmu::Radix));
            reach.add(3);
        }
        Err(CasError::Interrupts(of)) => {
            assert!(!of.includes(&cas::InterruptMode::Xics));
            reach.add(4);
        }
        Err(_) => {}
    }
    check_client_interface(case, vectors, answer, outcome.ok());
    reach
}

/// The structure has an end, within the largest that can be: what lies behind it means nothing,
/// and without its last byte it is none.
fn check_end(vectors: &[u8], proposal: &Proposal) {
    let longer = [vectors, &[0xff; 9]].concat();
    assert_eq!(Proposal::parse(&longer).as_ref(), Ok(proposal));
    // Whole from some length on, and never before.
    let (mut short, mut whole) = (0, vectors.len());
    while short < whole {
        let middle = short.midpoint(whole);
        match Proposal::parse(&vectors[..middle]) {
            Ok(_) => whole = middle,
            Err(error) => {
                assert_eq!(error, CasError::Truncated { at: middle });
                short = middle + 1;
            }
        }
    }
    assert!(whole <= MAX_VECTOR_BYTES);
    assert_eq!(Proposal::parse(&vectors[..whole]).as_ref(), Ok(proposal));
}

/// Nothing is agreed on that one of both cannot do.
fn check_decision(case: &Case, proposal: &Proposal, decision: &Decision) {
    let cpu = case.machine.cpu();
    assert!(proposal.knows(decision.cpu_version));
    let own = cpu.model().logical_pvr();
    let is_own = [cpu.pvr(), own].contains(&decision.cpu_version);
    assert_eq!(decision.is_lowered, !is_own);
    if decision.is_lowered {
        // The highest that both know.
        assert!(CpuModel::ALL.iter().any(|model| model.logical_pvr() == decision.cpu_version));
        assert!((decision.cpu_version + 1..=own).all(|level| !proposal.knows(level)));
        assert_eq!(decision.compat, Some(decision.cpu_version));
    } else {
        assert_eq!(decision.compat, cpu.compat());
    }
    assert_eq!(decision.mmu, cas::Mmu::Radix);
    assert_eq!(decision.interrupts, cas::InterruptMode::Xics);
    match &proposal.platform {
        Some(options) => {
            assert!(options.mmu.includes(&decision.mmu));
            assert!(options.interrupts.includes(&decision.interrupts));
            assert!(options.form1_affinity || !decision.form1_affinity);
            assert!(options.form2_affinity || !decision.form2_affinity);
            assert!(options.hotplug_events || !decision.hotplug_events);
            assert!(options.dynamic_memory || !decision.dynamic_memory);
            assert!(options.dynamic_memory_v2 || !decision.dynamic_memory_v2);
        }
        None => {
            assert!(!decision.form1_affinity && !decision.form2_affinity);
            assert!(!decision.hotplug_events && !decision.dynamic_memory);
        }
    }
    assert!(decision.dynamic_memory || !decision.dynamic_memory_v2);
    assert!(case.machine.memory_map().hotplug_bytes() > 0 || !decision.dynamic_memory);
    assert!(case.machine.has_room() || !decision.hotplug_events);
}

fn check_changes(case: &Case, decision: &Decision, changes: &[TreeChange]) {
    const MEMORY: &str = "/ibm,dynamic-reconfiguration-memory";
    for change in changes {
        match (change.path(), change.name()) {
            ("/chosen", "ibm,architecture-vec-5") => {
                let TreeChange::Set { value, .. } = change else { panic!("{change:?}") };
                assert_eq!((value.len(), value[0]), (27, 25));
            }
            ("/cpus", "cpu-version") => {
                let TreeChange::SetChildren { value, .. } = change else { panic!("{change:?}") };
                assert_eq!(value[..], decision.cpu_version.to_be_bytes());
            }
            ("/rtas", "ibm,associativity-reference-points") => {
                let TreeChange::Set { value, .. } = change else { panic!("{change:?}") };
                let points: &[u32] = match (decision.form1_affinity, decision.form2_affinity) {
                    (_, true) => &[4],
                    (true, false) => &[4, 3, 2, 1],
                    (false, false) => &[4, 4],
                };
                assert_eq!(
                    value[..],
                    points.iter().map(|point| point.to_be_bytes()).collect::<Vec<_>>().concat()
                );
            }
            (MEMORY, "ibm,dynamic-memory" | "ibm,dynamic-memory-v2") => {}
            _ => panic!("negotiation must not change {change:?}"),
        }
        assert!(case.tree.find(change.path()).is_some(), "{change:?} of no node");
    }
}

/// The same through the client interface: all changes are made, or none; and the VMM hears of what
/// was agreed on, once, and of nothing else.
fn check_client_interface(
    case: &Case,
    vectors: &[u8],
    told: Negotiated,
    agreement: Option<(Decision, Vec<TreeChange>)>,
) {
    const ARRAY: u64 = 0x2000;
    const SERVICE: u64 = 0x2100;
    const METHOD: u64 = 0x2200;
    const PATH: u64 = 0x2300;
    let policy = Box::new(case.platform.clone());
    let host = Arc::new(Host { answer: told, heard: Mutex::default() });
    let builder = Vof::builder(case.tree.clone(), case.machine.memory_map()).cas(policy);
    let builder = builder.cpus(host.clone(), case.machine.topology());
    let vof = builder.console("/vdevice/vty", Arc::new(NoConsole)).build().expect("there is a VTY");
    let before = vof.with_tree(DeviceTree::clone);
    // The structure ends where RAM does, so that nothing lies behind it.
    let ram = WatchedRam::new(case.machine.memory_map().ram_bytes());
    let at = ram.end() - vectors.len() as u64;
    ram.poke(at, vectors);
    ram.poke(METHOD, b"ibm,client-architecture-support\0");
    ram.poke(PATH, b"/\0");
    let mut next = Next::Resume;
    let mut call = |service: &[u8], arguments: &[u32], results: u64| {
        ram.poke(SERVICE, service);
        ram.poke_cells(ARRAY, &[SERVICE as u32, arguments.len() as u32, results as u32]);
        ram.poke_cells(ARRAY + 12, arguments);
        let results_at = ARRAY + 12 + 4 * arguments.len() as u64;
        let mut call = Hypercall::new(token::VOF_CLIENT, &[ARRAY]);
        next = vof.handle(CpuIndex(0), &ram, &mut call);
        assert_eq!(call.status(), Status::SUCCESS);
        let (writes, _) = ram.take();
        let results_end = results_at + 4 * results;
        assert!(writes.iter().all(|write| write.start >= results_at && write.end <= results_end));
        (0..results).map(|number| ram.peek_cell(results_at + 4 * number)).collect::<Vec<_>>()
    };
    let root = call(b"open\0", &[PATH as u32], 1)[0];
    let answer = call(b"call-method\0", &[METHOD as u32, root, at as u32], 2);
    let heard = host.heard.lock().expect("nobody panics with it").clone();
    assert_eq!(heard, agreement.iter().map(|(decision, _)| *decision).collect::<Vec<_>>());
    let changes = match (agreement, told) {
        (Some((_, changes)), Negotiated::Live) => changes,
        (Some((decision, _)), Negotiated::NeedsReset) => {
            assert_eq!(next, Next::Stop(StopReason::Reset));
            assert_eq!(vof.restart_decision(), Some(decision));
            vof.with_tree(|tree| check_unchanged(&before, tree));
            return;
        }
        // Where there are no bytes at all, there is no structure to fail.
        _ => {
            assert!(vectors.is_empty() || answer == [0, u32::MAX], "{answer:x?}");
            vof.with_tree(|tree| check_unchanged(&before, tree));
            return;
        }
    };
    assert_eq!((&answer[..], next), (&[0, 0][..], Next::Resume));
    check_changed(&vof, &changes);
}

fn check_changed(vof: &Vof, changes: &[TreeChange]) {
    let tree = vof.with_tree(DeviceTree::clone);
    for change in changes {
        let node = tree.find(change.path()).expect("changes are of nodes");
        let value = change.value();
        if let TreeChange::SetChildren { name, .. } = change {
            for child in tree.children(node) {
                assert_eq!(tree.property(child, name), value, "{change:?}");
            }
        } else {
            assert_eq!(tree.property(node, change.name()), value, "{change:?}");
        }
    }
}

fn check_unchanged(before: &DeviceTree, after: &DeviceTree) {
    for node in before.nodes() {
        let is_same = before.properties(node).eq(after.properties(node));
        assert!(is_same, "{} has changed", before.path(node));
    }
}
