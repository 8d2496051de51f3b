//! Negotiation through the guest's door: who hears of it, and what comes of it.

use std::sync::{Arc, Mutex};

use arch_ppc64::cas::{self, Decision, Negotiated};
use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::platform::outline;
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, Machine, Next, StartError, StopReason, VcpuHost, fdt,
};
use vm_memory::GuestAddress;
use vof_device::DeviceTree;
use vof_device::test_utils::{Client, Outcome, TestMachine};

const CAS: &str = "ibm,client-architecture-support";
const NONE: u32 = u32::MAX;

/// The level of POWER9, and the processor of the machines here.
const ISA_3_0: u32 = 0x0f00_0005;
const POWER10: u32 = 0x0080_0200;

struct Config(CpuModel);

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(64 << 20)
    }
    fn cpus(&self) -> Cpus {
        Cpus::new(2, self.0)
    }
    fn boot(&self) -> Boot<'_> {
        Boot::new("console=hvc0")
    }
    fn x_vof(&self) -> bool {
        true
    }
}

/// CPUs that give one answer, whatever is negotiated.
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
        self.heard.lock().unwrap().push(*decision);
        self.answer
    }
}

/// CPUs that can be nothing but what they are.
struct Plain;

impl VcpuHost for Plain {
    fn state(&self, _: CpuIndex) -> Option<CpuState> {
        None
    }
    fn start(&self, _: CpuIndex, _: EntryRegisters) -> Result<(), StartError> {
        Err(StartError::NoSuchCpu)
    }
}

fn tree(machine: &Machine, decision: Option<Decision>) -> DeviceTree {
    let start = fdt::Start::new(GuestAddress(0x40_0000), [1; 32]).with_decision(decision);
    DeviceTree::from_blob(&outline(machine).unwrap().blob(&start).unwrap()).unwrap()
}

fn power10() -> Machine {
    Machine::new(&Config(CpuModel::Power10)).unwrap()
}

fn test_machine(cpus: Option<Arc<dyn VcpuHost>>) -> TestMachine {
    let machine = power10();
    TestMachine::in_memory(tree(&machine, None), machine.memory_map(), |builder| {
        let builder = builder.cas(Box::new(cas::Platform::of(&machine)));
        match cpus {
            Some(cpus) => builder.cpus(cpus, machine.topology()),
            None => builder,
        }
    })
}

fn host(answer: Negotiated) -> Arc<Host> {
    Arc::new(Host { answer, heard: Mutex::default() })
}

/// What a kernel sends that knows processors up to `newest`.
fn kernel(newest: CpuModel) -> Vec<u8> {
    let known = CpuModel::ALL.into_iter().filter(|model| *model <= newest);
    let mut bytes: Vec<u8> = known
        .flat_map(|model| {
            let version = model.pvr() & 0xffff_0000;
            [0xffff_0000, version, 0xffff_ffff, model.logical_pvr()]
        })
        .chain([0xffff_fffe, 0x0f00_0001])
        .flat_map(u32::to_be_bytes)
        .collect();
    bytes.extend([0, 0, 0x80]);
    bytes
}

fn call_cas(client: &Client<'_>, vectors: &[u8]) -> Outcome {
    let root = client.one("open", &["/".into()]);
    client.call("call-method", &[CAS.into(), root.into(), vectors.into()], 2)
}

fn negotiate(client: &Client<'_>, vectors: &[u8]) -> Vec<u32> {
    let Outcome { next, results, .. } = call_cas(client, vectors);
    assert!(matches!(next, Next::Resume), "{next:?}");
    results
}

/// `cpu-version` of both CPUs, as a client reads it.
fn versions(client: &Client<'_>) -> [u32; 2] {
    ["/cpus/PowerPC,POWER10@0", "/cpus/PowerPC,POWER10@1"].map(|path| {
        let value = client.getprop(client.phandle(path), "cpu-version").unwrap();
        u32::from_be_bytes(value.try_into().unwrap())
    })
}

/// What a kernel of today sends that can do both XICS and XIVE, or one of them (byte 23).
fn kernel_of_interrupts(byte: u8) -> Vec<u8> {
    let mut bytes = kernel(CpuModel::Power10);
    let vectors = bytes.len() - 3;
    bytes.truncate(vectors);
    let mut vector_5 = [0; 26];
    (vector_5[22], vector_5[23], vector_5[25]) = (byte, 0x40, 0x40);
    bytes.extend([4, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 25]);
    bytes.extend(vector_5);
    bytes
}

/// A guest that takes XIVE finds its node where XICS's was: by its old phandle, and by its new name.
#[test]
fn interrupt_controller_is_the_agreed_one() {
    const XICS: &str = "/interrupt-controller";
    const XIVE: &str = "/interrupt-controller@60302031b0000";
    let host = host(Negotiated::Live);
    let own = power10().with_interrupts(cas::Support::Either);
    let machine = TestMachine::in_memory(tree(&own, None), own.memory_map(), |builder| {
        let builder = builder.cas(Box::new(cas::Platform::of(&own)));
        builder.cpus(host.clone(), own.topology())
    });
    let client = machine.client();
    let node = client.phandle(XICS);
    let text = |name| client.getprop(node, name);
    let vector = || client.getprop(client.phandle("/chosen"), "ibm,architecture-vec-5").unwrap();
    let is_xive = || {
        assert_eq!(client.phandle(XIVE), node);
        assert_eq!(text("compatible").as_deref(), Some(&b"ibm,power-ivpe\0"[..]));
        assert_eq!(text("name").as_deref(), Some(&b"interrupt-controller\0"[..]));
        assert_eq!(text("ibm,interrupt-server-ranges"), None);
        let page = 0x6_0302_031b_0000_u64.to_be_bytes();
        assert_eq!(text("reg").map(|reg| reg[..8].to_vec()).as_deref(), Some(&page[..]));
        assert_eq!(vector()[23], 0x40);
    };
    for byte in [0x40, 0x80] {
        assert_eq!(negotiate(&client, &kernel_of_interrupts(byte)), [0, 0]);
        is_xive();
    }
    assert_eq!(host.heard.lock().unwrap()[0].interrupts, cas::InterruptMode::Xive);
    assert_eq!(negotiate(&client, &kernel_of_interrupts(0)), [0, 0]);
    assert_eq!(client.phandle(XICS), node);
    assert_eq!(text("compatible").as_deref(), Some(&b"IBM,ppc-xicp\0"[..]));
    assert_eq!((text("reg"), vector()[23]), (None, 0));
    let reserved = client.getprop(client.phandle("/"), "ibm,plat-res-int-priorities");
    assert_eq!(reserved, None);
}

/// Where the host refuses, the tree stays as it was.
#[test]
fn refused_interrupt_controller_leaves_the_tree() {
    let own = power10().with_interrupts(cas::Support::Either);
    let machine = TestMachine::in_memory(tree(&own, None), own.memory_map(), |builder| {
        let builder = builder.cas(Box::new(cas::Platform::of(&own)));
        builder.cpus(host(Negotiated::Refused), own.topology())
    });
    let client = machine.client();
    assert_eq!(negotiate(&client, &kernel_of_interrupts(0x40)), [0, NONE]);
    let node = client.phandle("/interrupt-controller");
    assert_eq!(client.getprop(node, "compatible").as_deref(), Some(&b"IBM,ppc-xicp\0"[..]));
}

#[test]
fn older_kernel_gets_the_level_that_it_knows() {
    let host = host(Negotiated::Live);
    let machine = test_machine(Some(host.clone()));
    let client = machine.client();
    assert_eq!(versions(&client), [POWER10; 2]);
    assert_eq!(negotiate(&client, &kernel(CpuModel::Power9)), [0, 0]);
    assert_eq!(versions(&client), [ISA_3_0; 2]);
    let heard = |nth: usize| {
        let decision = host.heard.lock().unwrap()[nth];
        (decision.cpu_version, decision.compat, decision.is_lowered)
    };
    assert_eq!(heard(0), (ISA_3_0, Some(ISA_3_0), true));
    // A kernel that it boots knows more, and the last negotiation counts.
    assert_eq!(negotiate(&client, &kernel(CpuModel::Power11)), [0, 0]);
    assert_eq!(versions(&client), [POWER10; 2]);
    assert_eq!(heard(1), (POWER10, None, false));
    assert_eq!(host.heard.lock().unwrap().len(), 2);
}

#[test]
fn what_the_host_refuses_changes_nothing() {
    let host = host(Negotiated::Refused);
    let machine = test_machine(Some(host.clone()));
    let client = machine.client();
    let before = machine.vof().to_blob();
    for newest in CpuModel::ALL {
        assert_eq!(negotiate(&client, &kernel(newest)), [0, NONE], "{newest}");
    }
    assert_eq!(machine.vof().to_blob(), before);
    assert_eq!(host.heard.lock().unwrap().len(), 3);
}

/// The VMM hears of what is agreed on, and of nothing else.
#[test]
fn what_the_machine_refuses_is_not_told() {
    let host = host(Negotiated::Live);
    let machine = test_machine(Some(host.clone()));
    let client = machine.client();
    // It knows nothing that the machine can be; it is cut off.
    let mut power8 = [0xffff_ffff_u32, 0x0f00_0004, 0, NONE].map(u32::to_be_bytes).concat();
    power8.extend([0, 0, 0x80]);
    assert_eq!(negotiate(&client, &power8), [0, NONE]);
    let end = power10().memory_map().ram_bytes() as u32 - 4;
    client.poke(end, &[0; 4]);
    let root = client.one("open", &["/".into()]);
    let outcome = client.call("call-method", &[CAS.into(), root.into(), end.into()], 2);
    assert_eq!(outcome.results, [0, NONE]);
    assert_eq!(host.heard.lock().unwrap().len(), 0);
}

/// What cannot be said in the tree is not told either: the CPUs would be what nobody knows of.
#[test]
fn what_has_no_place_in_the_tree_is_not_told() {
    let host = host(Negotiated::Live);
    let machine = power10();
    let platform = cas::Platform::of(&machine);
    let machine = TestMachine::in_memory(tree(&machine, None), machine.memory_map(), |builder| {
        // A machine with a node that its tree has not.
        let policy = move |vectors: &[u8]| {
            let (decision, mut changes) = cas::negotiate(&platform, vectors).unwrap();
            let [path, name] = ["/other", "agreed"].map(str::to_owned);
            changes.push(cas::TreeChange::Set { path, name, value: vec![1] });
            Ok((decision, changes))
        };
        builder.cas(Box::new(policy)).cpus(host.clone(), machine.topology())
    });
    let client = machine.client();
    let before = machine.vof().to_blob();
    assert_eq!(negotiate(&client, &kernel(CpuModel::Power9)), [0, NONE]);
    assert_eq!(machine.vof().to_blob(), before);
    assert_eq!(host.heard.lock().unwrap().len(), 0);
}

/// A host that was not made for levels has those machines only that start with what is agreed on.
#[test]
fn plain_host_agrees_to_what_it_is() {
    for cpus in [None, Some(Arc::new(Plain) as Arc<dyn VcpuHost>)] {
        let machine = test_machine(cpus);
        let client = machine.client();
        assert_eq!(negotiate(&client, &kernel(CpuModel::Power9)), [0, NONE]);
        assert_eq!(versions(&client), [POWER10; 2]);
        assert_eq!(negotiate(&client, &kernel(CpuModel::Power10)), [0, 0]);
        assert_eq!(versions(&client), [POWER10; 2]);
    }
}

/// LoPAPR §B.6.2.3: the platform may reboot the partition for what is agreed on to hold.
#[test]
fn restart_makes_the_next_start_as_agreed_on() {
    let host = host(Negotiated::NeedsReset);
    let machine = test_machine(Some(host.clone()));
    let before = machine.vof().to_blob();
    assert_eq!(machine.vof().restart_decision(), None);
    let next = call_cas(&machine.client(), &kernel(CpuModel::Power9)).next;
    assert!(matches!(next, Next::Stop(StopReason::Reset)), "{next:?}");
    let opened = machine.vof().to_blob();
    assert_eq!(versions_in(&opened), versions_in(&before));
    let decision = machine.vof().restart_decision().unwrap();
    assert_eq!(decision, host.heard.lock().unwrap()[0]);

    // The next start has it: its tree is built so.
    let again = DeviceTree::from_blob(&tree(&power10(), Some(decision)).to_blob()).unwrap();
    let built = TestMachine::in_memory(again, power10().memory_map(), |builder| builder);
    assert_eq!(versions(&built.client()), [ISA_3_0; 2]);
}

fn versions_in(blob: &[u8]) -> Option<Vec<u8>> {
    let tree = DeviceTree::from_blob(blob).unwrap();
    let cpu = tree.find("/cpus/PowerPC,POWER10@0").unwrap();
    tree.property(cpu, "cpu-version").map(<[u8]>::to_vec)
}

/// The start that follows is the same start again: with the arguments that this one has.
#[test]
fn restart_keeps_the_arguments_of_a_start() {
    let machine = power10();
    let map = machine.memory_map();
    let platform = cas::Platform::of(&machine);
    let machine = TestMachine::in_memory(tree(&machine, None), map, |builder| {
        builder
            .cas(Box::new(platform))
            .cpus(host(Negotiated::NeedsReset), power10().topology())
            .boot_arguments(Some("from boot".to_owned()))
    });
    assert_eq!(machine.vof().boot_arguments(), None);
    let _ = call_cas(&machine.client(), &kernel(CpuModel::Power10));
    assert_eq!(machine.vof().boot_arguments().as_deref(), Some("from boot"));
}
