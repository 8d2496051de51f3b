//! Machines of devices that have every view.

#[cfg(feature = "serde")]
mod saved;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::fdt::{FdtError, Start, Tree};
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::machine::Machine;
use crate::machine::tests::TestConfig;
use crate::ram::GuestRam;
use crate::rtas::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome, RtasStatus};
use crate::vcpu::CpuIndex;

const REGISTERS: u64 = 1 << 40;
/// Where the argument buffers of RTAS calls are.
const BUFFER: GuestAddress = GuestAddress(0x1000);

/// A counter that the guest sees in every way there is.
struct Counter {
    id: String,
    token: u64,
    call: RtasCall,
    ranges: Vec<MmioRange>,
    interrupt: InterruptLine,
    count: AtomicU32,
}

impl Counter {
    fn new(builder: &mut PlatformBuilder<'_>, id: &str, number: u64) -> Self {
        let name = ["count-a", "count-b", "count-c"][number as usize];
        Self {
            id: id.to_owned(),
            token: 0xf100 + number,
            call: RtasCall::new(name, &[1], 2),
            ranges: vec![range(REGISTERS + 0x100 * number, 8)],
            interrupt: builder.interrupt(id, "overflow", InterruptKind::Level).unwrap(),
            count: AtomicU32::new(7),
        }
    }

    fn add(&self, more: u32) -> u32 {
        let count = self.count.fetch_add(more, Ordering::Relaxed) + more;
        self.interrupt.set_level(count > 100);
        count
    }
}

fn range(start: u64, bytes: u64) -> MmioRange {
    MmioRange::new(GuestAddress(start), bytes)
}

impl Device for Counter {
    fn id(&self) -> &str {
        &self.id
    }

    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        tree.node(&format!("/{}", self.id))?
            .cell("interrupt-parent", cx.interrupt_parent.cell())?
            .cells("interrupts", &self.interrupt.specifier())?;
        Ok(())
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn function_sets(&self) -> &[&'static str] {
        &["hcall-count"]
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }

    fn mmio(&self) -> Option<&dyn MmioHandler> {
        Some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }

    fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
    }
}

impl HypercallHandler for Counter {
    fn tokens(&self) -> &[u64] {
        std::slice::from_ref(&self.token)
    }

    fn handle(&self, _: CpuIndex, _: &dyn GuestRam, call: &mut Hypercall) -> Next {
        call.args[0] = self.add(call.args[0] as u32).into();
        call.finish(Status::SUCCESS)
    }
}

impl RtasHandler for Counter {
    fn calls(&self) -> &[RtasCall] {
        std::slice::from_ref(&self.call)
    }

    fn call(&self, _: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        invocation.outputs[0] = self.add(invocation.inputs[0]);
        RtasStatus::SUCCESS.into()
    }
}

impl MmioHandler for Counter {
    fn ranges(&self) -> &[MmioRange] {
        &self.ranges
    }

    fn read(&self, _: usize, offset: u64, data: &mut [u8]) {
        let count = u64::from(self.add(0)).to_be_bytes();
        data.copy_from_slice(&count[offset as usize..][..data.len()]);
    }

    fn write(&self, _: usize, _: u64, data: &[u8]) {
        self.add(data[0].into());
    }
}

/// A controller that remembers what it was told.
#[derive(Default)]
struct Controller {
    claimed: Mutex<Vec<u32>>,
    signals: Mutex<Vec<(u32, Signal)>>,
}

impl InterruptController for Controller {
    fn claim(&self, source: SourceNumber, _: InterruptKind) -> Result<(), InterruptError> {
        self.claimed.lock().unwrap().push(source.0);
        Ok(())
    }

    fn signal(&self, source: SourceNumber, signal: Signal) {
        self.signals.lock().unwrap().push((source.0, signal));
    }
}

fn machine() -> Machine {
    Machine::new(&TestConfig::default()).unwrap()
}

/// A platform of counters of these ids, whose numbers are their places.
fn counters(ids: &[&str]) -> (Platform, Arc<Controller>) {
    let (machine, controller) = (machine(), Arc::new(Controller::default()));
    let mut builder = PlatformBuilder::new(&machine, controller.clone());
    for (number, id) in ids.iter().enumerate() {
        let counter = Counter::new(&mut builder, id, number as u64);
        builder.add(Arc::new(counter));
    }
    (builder.build().unwrap(), controller)
}

fn start() -> Start {
    Start::new(GuestAddress(0x40_0000), [7; 32])
}

fn ram() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x2000)]).unwrap()
}

fn hypercall(platform: &Platform, token: u64, argument: u64) -> Hypercall {
    let mut call = Hypercall::new(token, &[argument]);
    assert_eq!(platform.hypercalls().dispatch(CpuIndex(0), &ram(), &mut call), Next::Resume);
    call
}

/// An RTAS call through a buffer in RAM: its status and its output.
fn rtas_call(platform: &Platform, token: u32, input: u32) -> (u32, u32) {
    let ram = ram();
    let ram: &dyn GuestRam = &ram;
    for (place, cell) in [token, 1, 2, input].into_iter().enumerate() {
        ram.write_be_u32(GuestAddress(BUFFER.0 + 4 * place as u64), cell).unwrap();
    }
    let mut call = Hypercall::new(token::RTAS, &[BUFFER.0]);
    let _ = platform.hypercalls().dispatch(CpuIndex(0), ram, &mut call);
    assert_eq!(call.status(), Status::SUCCESS);
    let output = |place: u64| ram.read_be_u32(GuestAddress(BUFFER.0 + 4 * place)).unwrap();
    (output(4), output(5))
}

#[test]
fn a_device_is_seen_in_every_way() {
    let (platform, controller) = counters(&["one", "two"]);
    let tree = platform.tree(&start()).unwrap();
    let cells = |path, name| -> Vec<u32> {
        let value = tree.value(path, name).unwrap().chunks_exact(4);
        value.map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
    };
    assert_eq!(cells("/two", "interrupts"), [0x1001, 1]);
    let parent = tree.phandle("/interrupt-controller").unwrap().cell();
    assert_eq!(cells("/two", "interrupt-parent"), [parent]);
    assert_eq!(tree.value("/rtas", "ibm,hypertas-functions"), Some(&b"hcall-count\0"[..]));
    assert_eq!(*controller.claimed.lock().unwrap(), [0x1000, 0x1001]);

    // It was reset as the machine was built.
    assert_eq!(hypercall(&platform, 0xf101, 3).args[0], 3);
    let [token] = cells("/rtas", "count-b")[..] else { panic!("one cell") };
    assert_eq!(rtas_call(&platform, token, 4), (0, 7));
    let mut data = [0; 8];
    assert!(platform.mmio().read(GuestAddress(REGISTERS + 0x100), &mut data));
    assert_eq!(u64::from_be_bytes(data), 7);
    assert!(platform.mmio().write(GuestAddress(REGISTERS + 0x107), &[100]));
    assert_eq!(controller.signals.lock().unwrap().last(), Some(&(0x1001, Signal::High)));
    // The other is another.
    assert_eq!(hypercall(&platform, 0xf100, 0).args[0], 0);
    assert_eq!(hypercall(&platform, 0xf102, 0).status(), Status::FUNCTION);
}

#[test]
fn where_nobody_answers_are_ones() {
    let (platform, _) = counters(&["one"]);
    for (at, bytes) in [
        (REGISTERS - 1, 1),
        (REGISTERS + 8, 4),
        (REGISTERS + 7, 2),
        (REGISTERS - 2, 4),
        (u64::MAX, 8),
    ] {
        let mut data = vec![0; bytes];
        assert!(!platform.mmio().read(GuestAddress(at), &mut data));
        assert!(data.iter().all(|&byte| byte == 0xff), "{at:#x}");
        assert!(!platform.mmio().write(GuestAddress(at), &data));
    }
    assert_eq!(hypercall(&platform, 0xf100, 0).args[0], 0);
}

/// Two counters that differ but for one thing are no machine, and both are named.
#[test]
fn duplicates_are_refused_and_named() {
    let error = |change: &dyn Fn(&mut Counter)| {
        let (machine, controller) = (machine(), Arc::new(Controller::default()));
        let mut builder = PlatformBuilder::new(&machine, controller);
        let one = Counter::new(&mut builder, "one", 0);
        let mut two = Counter::new(&mut builder, "two", 1);
        change(&mut two);
        builder.add(Arc::new(one)).add(Arc::new(two));
        builder.build().unwrap_err().to_string()
    };
    assert_eq!(error(&|two| two.id = "one".into()), "there are two devices one");
    for message in [
        error(&|two| two.token = 0xf100),
        error(&|two| two.token = token::RTAS),
        error(&|two| two.call = RtasCall::new("count-a", &[0], 1)),
        error(&|two| two.ranges = vec![range(REGISTERS + 7, 1)]),
        error(&|two| two.ranges = vec![range(REGISTERS - 1, 2)]),
    ] {
        assert!(message.contains("two"), "{message}");
        assert!(message.contains("one") || message.contains("rtas"), "{message}");
    }
    for (start, bytes) in [(0, 8), ((512 << 20) - 1, 2), (REGISTERS, 0), (u64::MAX, 2)] {
        let message = error(&|two| two.ranges = vec![range(start, bytes)]);
        assert!(message.contains("two") && message.contains(&format!("{start:#x}")), "{message}");
    }
}

#[test]
fn interrupts_are_asked_for_once() {
    let machine = machine();
    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    builder.interrupt("one", "a", InterruptKind::Edge).unwrap();
    let error = builder.interrupt("one", "a", InterruptKind::Edge).unwrap_err();
    assert_eq!(error.to_string(), "one asks twice for its interrupt a");
    // Messages are aligned, and there are as many as there are numbers.
    assert_eq!(builder.messages("one", 5).unwrap(), 0x1008..0x100d);
    assert_eq!(builder.messages("two", 32).unwrap(), 0x1020..0x1040);
    for count in [MAX_SOURCES, u32::MAX] {
        let error = builder.messages(&format!("three-{count}"), count).unwrap_err();
        assert!(matches!(error, InterruptError::Exhausted(_)), "{error}");
    }
    assert_eq!(builder.interrupt("four", "a", InterruptKind::Edge).unwrap().source().0, 0x1040);
}

#[test]
fn late_devices_have_calls_but_no_place_in_the_tree() {
    let (mut platform, _) = counters(&["one"]);
    let late = |platform: &mut Platform, id: &str, number| {
        let machine = machine();
        let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
        let counter: Arc<dyn HypercallHandler> = Arc::new(Counter::new(&mut builder, id, number));
        platform.plug_in(Arc::new(HypercallDevice::new(id, counter)))
    };
    late(&mut platform, "two", 1).unwrap();
    assert_eq!(hypercall(&platform, 0xf101, 2).args[0], 9);
    assert!(late(&mut platform, "two", 2).is_err(), "the id is taken");
    assert!(late(&mut platform, "three", 0).is_err(), "the hypercall is taken");
    let machine = machine();
    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    let with_rtas = Arc::new(Counter::new(&mut builder, "four", 2));
    let error = platform.plug_in(with_rtas).unwrap_err();
    assert_eq!(error.to_string(), "four comes too late to have RTAS calls");
}

/// Nodes of a VMM's own, and who sets a property that somebody else has set.
#[test]
fn nodes_are_devices_and_properties_have_one_writer() {
    let machine = machine();
    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    builder.add(Arc::new(Nodes::new("id", |tree: &mut Tree, _: &Describe<'_>| {
        tree.root().text("system-id", &["four"])?;
        Ok(())
    })));
    let tree = builder.build().unwrap().tree(&start()).unwrap();
    assert_eq!(tree.value("/", "system-id"), Some(&b"four\0"[..]));

    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    builder.add(Arc::new(Nodes::new("id", |tree: &mut Tree, _: &Describe<'_>| {
        tree.existing("/chosen")?.text("bootargs", &["mine"])?;
        Ok(())
    })));
    let error = builder.build().unwrap().tree(&start()).unwrap_err();
    assert_eq!(error.to_string(), "the node /chosen has a property bootargs already");
}

/// IEEE 1275 §3.8: where there is no disk, none is needed.
#[test]
fn support_packages_come_with_a_disk() {
    for (device_type, are_there) in [("serial", false), ("block", true)] {
        let machine = machine();
        let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
        builder.add(Arc::new(Nodes::new("thing", move |tree: &mut Tree, _: &Describe<'_>| {
            tree.node("/thing@1")?.text("device_type", &[device_type])?;
            Ok(())
        })));
        let tree = builder.build().unwrap().tree(&start()).unwrap();
        assert!(tree.has("/packages"));
        for name in ["/packages/deblocker", "/packages/disk-label"] {
            assert_eq!(tree.has(name), are_there, "{name} with a device of type {device_type}");
        }
    }
}

/// Two consoles: each has its node, its interrupt and its text; the first is the system's.
#[test]
fn two_consoles_work() {
    use crate::console::Console;
    use crate::hvterm::{self, HvTerm};

    #[derive(Default)]
    struct Paper(Mutex<Vec<u8>>);

    impl Console for Paper {
        fn write(&self, text: &[u8]) -> usize {
            self.0.lock().unwrap().extend_from_slice(text);
            text.len()
        }
    }

    let machine = machine();
    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    let papers: Vec<_> = [0x7100_0000, 0x7100_0001]
        .into_iter()
        .map(|unit| {
            let paper = Arc::new(Paper::default());
            let id = hvterm::id_of(unit);
            let line = builder.interrupt(&id, hvterm::INPUT, InterruptKind::Edge).unwrap();
            builder.add(Arc::new(HvTerm::new(unit, paper.clone()).with_interrupt(line)));
            paper
        })
        .collect();
    // Both answer the same two hypercalls, of their own units.
    let platform = builder.build().unwrap();
    let tree = platform.tree(&start().with_flat_rtas(Some(GuestAddress(0x200_0000)))).unwrap();
    let first = Some(&b"/vdevice/vty@71000000\0"[..]);
    assert_eq!(tree.value("/aliases", "hvterm"), first);
    assert_eq!(tree.value("/chosen", "stdout-path"), first);
    let interrupts = |path| tree.value(path, "interrupts").unwrap().to_vec();
    assert_eq!(interrupts("/vdevice/vty@71000000"), [0, 0, 0x10, 0, 0, 0, 0, 0]);
    assert_eq!(interrupts("/vdevice/vty@71000001"), [0, 0, 0x10, 1, 0, 0, 0, 0]);
    for (unit, text, status) in [
        (0x7100_0000, b"a", Status::SUCCESS),
        (0x7100_0001, b"b", Status::SUCCESS),
        (0x7100_0002, b"c", Status::PARAMETER),
    ] {
        let args = [unit, 1, u64::from(text[0]) << 56, 0];
        let mut call = Hypercall::new(token::PUT_TERM_CHAR, &args);
        let _ = platform.hypercalls().dispatch(CpuIndex(0), &ram(), &mut call);
        assert_eq!(call.status(), status);
    }
    assert_eq!(*papers[0].0.lock().unwrap(), b"a");
    assert_eq!(*papers[1].0.lock().unwrap(), b"b");
}

/// Counts how often it was paused and told to go on.
struct Paused {
    id: &'static str,
    is_busy: bool,
    pauses: AtomicU32,
    resumes: AtomicU32,
}

impl Device for Paused {
    fn id(&self) -> &str {
        self.id
    }

    fn pause(&self, until: Instant) -> Result<(), StateError> {
        assert!(until > Instant::now());
        self.pauses.fetch_add(1, Ordering::Relaxed);
        if self.is_busy { Err(StateError::Busy("it never does".to_owned())) } else { Ok(()) }
    }

    fn resume(&self) -> Result<(), StateError> {
        self.resumes.fetch_add(1, Ordering::Relaxed);
        if self.is_busy { Err(StateError::Busy("it never does".to_owned())) } else { Ok(()) }
    }
}

#[test]
fn all_devices_are_paused_or_none() {
    let devices = [("one", false), ("two", true), ("three", false)].map(|(id, is_busy)| {
        Arc::new(Paused { id, is_busy, pauses: AtomicU32::new(0), resumes: AtomicU32::new(0) })
    });
    let machine = machine();
    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    builder.add_all(devices.iter().map(|device| device.clone() as _));
    let platform = builder.build().unwrap();
    // Longer than any clock goes.
    let error = platform.pause(Duration::MAX).unwrap_err();
    assert_eq!(error.to_string(), "two cannot be paused, or cannot go on");
    let counts = || {
        let count = |device: &Arc<Paused>| {
            (device.pauses.load(Ordering::Relaxed), device.resumes.load(Ordering::Relaxed))
        };
        [count(&devices[0]), count(&devices[1]), count(&devices[2])]
    };
    assert_eq!(counts(), [(1, 1), (1, 0), (0, 0)]);
    // One that cannot go on keeps no other from it.
    assert!(platform.resume().is_err());
    assert_eq!(counts(), [(1, 2), (1, 1), (0, 1)]);
}
