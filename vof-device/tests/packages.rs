//! Packages of a VMM's own, as a client sees them (IEEE 1275-1994 §3.1 and §6.3.2.3): what they
//! can do, what waits for the host, what two CPUs do at once, and what is saved.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use arch_ppc64::platform::{Device, StateError, StateValue};
use arch_ppc64::{CpuIndex, Next, Status};
use vof_device::test_utils::{
    Argument, CALL_AGAIN, Client, TestMachine, UNTOUCHED, WORKSPACE, WORKSPACE_BYTES, of_size,
    sample_tree,
};
use vof_device::{
    Buffer, BuildError, Context, Failed, Instance, Package, Progress, RestoreError, Stack, Throw,
    Transfer, Vof, VofState, limits,
};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;
/// The node that the tests attach to.
const NODE: &str = "/vdevice/v-scsi@2000";

/// Bytes that the host has ready one time, and not another; how often it was waited for them, and
/// how often a call was given up.
#[derive(Default)]
struct Host {
    not_ready: AtomicUsize,
    waits: AtomicUsize,
    abandoned: AtomicUsize,
    written: Mutex<Vec<u8>>,
}

/// 2,000 bytes to be read, each of which says where it is. It is a device of the machine as well.
#[derive(Clone, Default)]
struct Tape(Arc<Host>);

const TAPE_BYTES: u64 = 2000;

struct OpenTape {
    host: Arc<Host>,
    position: u64,
}

impl Device for Tape {
    fn id(&self) -> &str {
        "tape"
    }
}

impl Package for Tape {
    fn open(&self, arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        let position = match arguments {
            "" => 0,
            text => text.parse().map_err(|_| Failed)?,
        };
        Ok(Box::new(OpenTape { host: self.0.clone(), position }))
    }

    fn methods(&self) -> &[&'static str] {
        &["read", "seek", "write", "block-size", "sum", "many", "where"]
    }

    fn reopen(&self, _: &str, state: &StateValue) -> Result<Box<dyn Instance>, StateError> {
        let position = state.get()?;
        if position > TAPE_BYTES {
            return Err(StateError::Value(format!("position {position}")));
        }
        Ok(Box::new(OpenTape { host: self.0.clone(), position }))
    }
}

impl OpenTape {
    fn is_ready(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.host.not_ready.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err()
    }
}

impl Instance for OpenTape {
    fn read(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        if !self.is_ready() {
            return Ok(Transfer::NotYet);
        }
        let len = buffer.len().min((TAPE_BYTES - self.position) as usize);
        let bytes: Vec<u8> = (self.position..).take(len).map(|at| at as u8).collect();
        buffer.put(0, &bytes)?;
        self.position += len as u64;
        Ok(Transfer::Done(len))
    }

    fn write(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        let mut bytes = vec![0; buffer.len()];
        buffer.get(0, &mut bytes)?;
        assert!(buffer.get(1, &mut bytes).is_err() && buffer.put(usize::MAX, b"x").is_err());
        self.host.written.lock().unwrap().extend(bytes);
        Ok(Transfer::Done(buffer.len()))
    }

    fn seek(&mut self, _: &Context<'_>, position: u64) -> Result<Progress, Failed> {
        if position > TAPE_BYTES {
            return Err(Failed);
        }
        if !self.is_ready() {
            return Ok(Progress::NotYet);
        }
        self.position = position;
        Ok(Progress::Done)
    }

    fn method(
        &mut self,
        context: &Context<'_>,
        name: &str,
        stack: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        match name {
            "block-size" => stack.push(512)?,
            // ( a b -- a+b )
            "sum" => {
                let sum = stack.pop()?.wrapping_add(stack.pop()?);
                stack.push(sum)?;
            }
            // ( count -- 1 … count )
            "many" => {
                for number in 1..=stack.pop()? {
                    stack.push(number)?;
                }
            }
            // ( addr -- cpu ): the position goes to memory.
            "where" => {
                if !self.is_ready() {
                    return Ok(Progress::NotYet);
                }
                context.write(stack.pop()?, &self.position.to_be_bytes())?;
                stack.push(context.caller().0)?;
            }
            _ => return Err(Throw::UNDEFINED_WORD),
        }
        Ok(Progress::Done)
    }

    fn wait(&mut self, limit: Duration) {
        assert_eq!(limit, limits::MAX_CALL_WAIT);
        self.host.waits.fetch_add(1, Ordering::Relaxed);
    }

    fn abandon(&mut self) {
        self.host.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> Result<Option<StateValue>, StateError> {
        StateValue::of(&self.position).map(Some)
    }
}

fn machine(tape: &Tape) -> TestMachine {
    let tape = Arc::new(tape.clone());
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package("disk", tape))
}

fn restored(tape: &Tape, state: &VofState) -> Result<TestMachine, RestoreError> {
    let tape = Arc::new(tape.clone());
    TestMachine::restored(
        sample_tree(),
        &of_size(RAM_BYTES),
        |builder| builder.package(NODE, tape),
        state,
    )
}

fn open(client: &Client<'_>, path: &str) -> u32 {
    client.one("open", &[path.into()])
}

fn read(client: &Client<'_>, ihandle: u32, len: u32) -> Vec<u8> {
    let got = client.one("read", &[ihandle.into(), client.buffer().into(), len.into()]);
    assert!(got <= len, "{got:#x}");
    client.peek(client.buffer(), got as usize)
}

fn bytes_from(position: u64, len: usize) -> Vec<u8> {
    (position..).take(len).map(|at| at as u8).collect()
}

/// A client of another CPU, with a workspace of its own.
fn client_of(machine: &TestMachine, cpu: u32) -> Client<'_> {
    let half = WORKSPACE_BYTES / 8;
    let workspace = WORKSPACE + half * cpu;
    Client::new(&machine.bus, &machine.ram, workspace, half).on_cpu(CpuIndex(cpu))
}

#[test]
fn a_package_is_read_and_written_from_where_it_is() {
    let tape = Tape::default();
    let machine = machine(&tape);
    let client = machine.client();
    let disk = open(&client, NODE);
    assert_eq!(read(&client, disk, 100), bytes_from(0, 100));
    assert_eq!(read(&client, disk, 50), bytes_from(100, 50));
    // 64-bit positions, the high cell first.
    let seek = |high: u32, low: u32| client.one("seek", &[disk.into(), high.into(), low.into()]);
    assert_eq!(seek(0, 1999), 0);
    assert_eq!(seek(1, 0), NONE);
    assert_eq!(read(&client, disk, 100), bytes_from(1999, 1));
    assert!(read(&client, disk, 100).is_empty());
    let write = |text: &str, len: u32| client.one("write", &[disk.into(), text.into(), len.into()]);
    assert_eq!(write("hello", 5), 5);
    assert_eq!(*tape.0.written.lock().unwrap(), b"hello");
    // Another instance is somewhere else, and opened with arguments.
    let other = open(&client, "disk:77");
    assert_eq!(read(&client, other, 3), [77, 78, 79]);
    assert_eq!(client.path("instance-to-path", other), format!("{NODE}:77"));
    assert_eq!(open(&client, "disk:x"), 0);
    // Where there is no RAM, nothing is asked.
    let nowhere = [other.into(), (RAM_BYTES as u32 - 1).into(), 2.into()];
    assert_eq!(client.one("read", &nowhere), NONE);
    assert_eq!(read(&client, other, 1), [80]);
    client.call("close", &[disk.into()], 0);
    assert_eq!(client.one("read", &[disk.into(), client.buffer().into(), 1.into()]), NONE);
}

/// "Beyond: the transfer is partial, and its result says so."
#[test]
fn transfers_have_a_limit() {
    let tape = Tape::default();
    let machine = machine(&tape);
    let client = machine.client();
    let disk = open(&client, NODE);
    let most = limits::MAX_PACKAGE_TRANSFER_BYTES as u32;
    let write = [disk.into(), 0x10_0000.into(), (most + 1).into()];
    assert_eq!(client.one("write", &write), most);
}

#[test]
fn methods_take_from_the_stack_and_leave_on_it() {
    let machine = machine(&Tape::default());
    let client = machine.client();
    let disk = open(&client, NODE);
    let call = |name: &str, stack: &[u32], results: usize| {
        let mut arguments = vec![name.into(), disk.into()];
        arguments.extend(stack.iter().map(|&cell| Argument::Cell(cell)));
        client.call("call-method", &arguments, results).results
    };
    assert_eq!(call("block-size", &[], 2), [0, 512]);
    assert_eq!(call("sum", &[3, 4, 5], 3), [0, 7, UNTOUCHED]);
    assert_eq!(call("sum", &[3], 2), [Throw::STACK_UNDERFLOW.0 as u32, UNTOUCHED]);
    // The top first.
    assert_eq!(call("many", &[3], 5), [0, 3, 2, 1, UNTOUCHED]);
    let most = limits::MAX_METHOD_RESULTS as u32;
    assert_eq!(call("many", &[most], 9), [0, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(call("many", &[most + 1], 2), [Throw::STACK_OVERFLOW.0 as u32, UNTOUCHED]);
    assert_eq!(call("many", &[NONE], 2), [Throw::STACK_OVERFLOW.0 as u32, UNTOUCHED]);
    assert_eq!(call("where", &[RAM_BYTES as u32 - 4], 1), [Throw::INVALID_ADDRESS.0 as u32]);
    assert_eq!(call("no-such", &[], 2), [Throw::UNDEFINED_WORD.0 as u32, UNTOUCHED]);
    // Those that are services of their own.
    let buffer = client.buffer();
    assert_eq!(call("read", &[3, buffer], 2), [0, 3]);
    assert_eq!(client.peek(buffer, 3), [0, 1, 2]);
    assert_eq!(call("seek", &[0, 9], 2), [0, 0]);
    assert_eq!(call("seek", &[1, 9], 2), [0, NONE]);
    assert_eq!(call("read", &[1, buffer], 2), [0, 1]);
    assert_eq!(client.peek(buffer, 1), [9]);
    assert_eq!(call("write", &[1, buffer], 2), [0, 1]);
    for name in Tape::default().methods().iter().chain(&["open", "close"]) {
        let test = [client.phandle(NODE).into(), (*name).into()];
        assert_eq!(client.one("test-method", &test), 0, "{name}");
    }
    let test = [client.phandle(NODE).into(), "no-such".into()];
    assert_eq!(client.one("test-method", &test), NONE);
}

/// A package of defaults only.
#[test]
fn what_a_package_does_not_have_is_absent() {
    struct Nothing;

    impl Package for Nothing {
        fn methods(&self) -> &[&'static str] {
            &["promised"]
        }
    }

    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.package(NODE, Arc::new(Nothing))
    });
    let client = machine.client();
    let ihandle = open(&client, NODE);
    for service in ["read", "write", "seek"] {
        let arguments = [ihandle.into(), client.buffer().into(), 1.into()];
        assert_eq!(client.one(service, &arguments), NONE, "{service}");
    }
    for method in ["promised", "read"] {
        let outcome = client.call("call-method", &[method.into(), ihandle.into()], 1);
        assert_eq!(outcome.results, [Throw::UNDEFINED_WORD.0 as u32], "{method}");
    }
    let mut state = machine.vof().state().unwrap();
    let slot = state.vof.instances.slots.last_mut().unwrap().instance.as_mut().unwrap();
    assert_eq!(slot.state, None);
    slot.state = Some(StateValue::of(&1).unwrap());
    let restored = TestMachine::restored(
        sample_tree(),
        &of_size(RAM_BYTES),
        |builder| builder.package(NODE, Arc::new(Nothing)),
        &state,
    );
    assert!(matches!(restored, Err(RestoreError::Instance { .. })));
}

#[test]
fn a_node_has_one_package() {
    let build = |path: &'static str, cas: bool| {
        let mut builder = Vof::builder(sample_tree(), &of_size(RAM_BYTES))
            .console("/vdevice/vty", Arc::new(arch_ppc64::NoConsole))
            .package(NODE, Arc::new(Tape::default()))
            .package(path, Arc::new(Tape::default()));
        if cas {
            builder = builder.cas(Box::new(|_: &[u8]| Ok(vec![])));
        }
        builder.build().map(drop)
    };
    assert_eq!(build("/vdevice", true), Ok(()));
    assert_eq!(build("/", false), Ok(()));
    for path in [NODE, "hvterm", "/memory@0", "/rtas", "/", "/cpus/PowerPC,POWER9@1"] {
        let error = build(path, true).unwrap_err();
        assert!(matches!(error, BuildError::TwoPackages { .. }), "{path}: {error}");
    }
    let path = "/nothing".to_owned();
    assert_eq!(build("/nothing", true), Err(BuildError::NoPackageNode { path }));
}

/// The firmware image makes the call again, and the client never learns of it.
#[test]
fn a_read_that_is_not_ready_is_made_again() {
    let tape = Tape::default();
    let machine = machine(&tape);
    let client = machine.client();
    let disk = open(&client, NODE);
    let reads = |machine: &TestMachine| {
        let calls = machine.vof().calls();
        calls.iter().find(|(name, _)| *name == "read").unwrap().1
    };
    client.poke(client.buffer(), &[0xaa; 8]);
    let arguments = [disk.into(), client.buffer().into(), 4.into()];
    tape.0.not_ready.store(3, Ordering::Relaxed);
    for tries in 1..=3 {
        let outcome = client.try_call("read", &arguments, 1);
        assert_eq!((outcome.status, outcome.next), (CALL_AGAIN, Next::Resume));
        assert_eq!(outcome.results, [UNTOUCHED]);
        assert_eq!(client.peek(client.buffer(), 8), [0xaa; 8]);
        assert_eq!(tape.0.waits.load(Ordering::Relaxed), tries);
        assert_eq!(reads(&machine), 0);
    }
    let outcome = client.try_call("read", &arguments, 1);
    assert_eq!((outcome.status, outcome.results), (Status::SUCCESS, vec![4]));
    assert_eq!(client.peek(client.buffer(), 4), bytes_from(0, 4));
    assert_eq!((reads(&machine), tape.0.waits.load(Ordering::Relaxed)), (1, 3));
    // So are a seek, a method, and what goes by the method's name.
    for tries in [1, 5] {
        tape.0.not_ready.store(tries, Ordering::Relaxed);
        assert_eq!(client.one("seek", &[disk.into(), 0.into(), 500.into()]), 0);
        tape.0.not_ready.store(tries, Ordering::Relaxed);
        let method = ["where".into(), disk.into(), client.buffer().into()];
        assert_eq!(client.call("call-method", &method, 2).results, [0, 0]);
        assert_eq!(client.peek(client.buffer(), 8), 500_u64.to_be_bytes());
        tape.0.not_ready.store(tries, Ordering::Relaxed);
        let method = ["read".into(), disk.into(), 2.into(), client.buffer().into()];
        assert_eq!(client.call("call-method", &method, 2).results, [0, 2]);
        tape.0.not_ready.store(tries, Ordering::Relaxed);
        let method = ["seek".into(), disk.into(), 0.into(), 7.into()];
        assert_eq!(client.call("call-method", &method, 2).results, [0, 0]);
    }
    assert_eq!(tape.0.abandoned.load(Ordering::Relaxed), 0);
}

/// A CPU that asks for something else has given the call up.
#[test]
fn another_call_of_the_same_cpu_takes_the_place_of_one_in_flight() {
    let tape = Tape::default();
    let machine = machine(&tape);
    let client = machine.client();
    let disk = open(&client, NODE);
    let read = |len: u32| client.try_call("read", &[disk.into(), 0x20_0000.into(), len.into()], 1);
    tape.0.not_ready.store(1, Ordering::Relaxed);
    assert_eq!(read(4).status, CALL_AGAIN);
    assert_eq!(read(5).results, [5]);
    assert_eq!(tape.0.abandoned.load(Ordering::Relaxed), 1);
    tape.0.not_ready.store(1, Ordering::Relaxed);
    assert_eq!(read(4).status, CALL_AGAIN);
    client.call("close", &[disk.into()], 0);
    assert_eq!(read(4).results, [NONE]);
}

/// No byte is read twice, and none is lost, however many CPUs read.
#[test]
fn cpus_that_read_at_once_get_what_there_is() {
    const CPUS: u32 = 4;
    let tape = Tape::default();
    let machine = machine(&tape);
    let disk = open(&machine.client(), NODE);
    let turns: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let (machine, tape) = (&machine, &tape);
                scope.spawn(move || {
                    let client = client_of(machine, cpu);
                    let mut all = Vec::new();
                    loop {
                        tape.0.not_ready.fetch_add(1, Ordering::Relaxed);
                        let got = read(&client, disk, 10);
                        if got.is_empty() {
                            return all;
                        }
                        all.push(got);
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut seen: Vec<Vec<u8>> = turns;
    seen.sort();
    let mut expected: Vec<_> =
        (0..TAPE_BYTES).step_by(10).map(|position| bytes_from(position, 10)).collect();
    expected.sort();
    assert_eq!(seen, expected);
}

/// A call in flight is in the way of other CPUs, but not for ever: its own may have been stopped.
#[test]
fn a_call_in_flight_that_is_not_tried_again_lapses() {
    let tape = Tape::default();
    let machine = machine(&tape);
    let first = client_of(&machine, 0);
    let second = client_of(&machine, 1);
    let disk = open(&first, NODE);
    let arguments = [disk.into(), first.buffer().into(), 4.into()];
    tape.0.not_ready.store(1, Ordering::Relaxed);
    assert_eq!(first.try_call("read", &arguments, 1).status, CALL_AGAIN);
    // The instance is not asked.
    assert_eq!(second.try_call("read", &arguments, 1).status, CALL_AGAIN);
    assert_eq!(first.try_call("read", &arguments, 1).results, [4]);
    assert_eq!(tape.0.abandoned.load(Ordering::Relaxed), 0);
    tape.0.not_ready.store(1, Ordering::Relaxed);
    assert_eq!(first.try_call("read", &arguments, 1).status, CALL_AGAIN);
    assert_eq!(second.one("read", &arguments), 4);
    assert_eq!(tape.0.abandoned.load(Ordering::Relaxed), 1);
}

/// A door that instances of a package wait in front of.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, bool)>,
    news: Condvar,
}

impl Gate {
    /// Goes in, and waits until it is opened.
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.news.notify_all();
        drop(self.news.wait_while(state, |(_, is_open)| !*is_open).unwrap());
    }

    fn wait_for_somebody(&self) {
        let state = self.state.lock().unwrap();
        drop(self.news.wait_while(state, |(count, _)| *count == 0).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.news.notify_all();
    }
}

/// Waits where it must not, for as long as it takes: in `read`, or in `wait`.
#[derive(Clone)]
struct Slow {
    gate: Arc<Gate>,
    in_read: bool,
}

impl Package for Slow {
    fn open(&self, _: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(self.clone()))
    }
}

impl Instance for Slow {
    fn read(&mut self, _: &Context<'_>, _: &Buffer<'_>) -> Result<Transfer, Failed> {
        if !self.in_read && !self.gate.state.lock().unwrap().1 {
            return Ok(Transfer::NotYet);
        }
        self.gate.pass();
        Ok(Transfer::Done(1))
    }

    fn wait(&mut self, _: Duration) {
        self.gate.pass();
    }
}

/// Neither the bus nor the interface is held while an instance is asked, or waits.
#[test]
fn other_cpus_are_served_while_one_waits_for_the_host() {
    for in_read in [true, false] {
        let gate = Arc::new(Gate::default());
        let slow = Arc::new(Slow { gate: gate.clone(), in_read });
        let machine =
            TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, slow));
        let first = client_of(&machine, 0);
        let second = client_of(&machine, 1);
        let disk = open(&first, NODE);
        let arguments = [disk.into(), first.buffer().into(), 1.into()];
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| first.one("read", &arguments));
            gate.wait_for_somebody();
            // Trees, memory, other instances, the state: all but this instance.
            assert_eq!(second.finddevice("/rtas"), Some(second.phandle("/rtas")));
            assert_ne!(second.one("claim", &[0.into(), 0x1000.into(), 1.into()]), NONE);
            let other = open(&second, "hvterm");
            assert_eq!(second.one("write", &[other.into(), "x".into(), 1.into()]), 1);
            assert_eq!(second.path("instance-to-path", disk), NODE);
            assert!(machine.vof().to_blob().len() > 100);
            let busy = second.try_call("read", &arguments, 1);
            assert_eq!((busy.status, busy.results), (CALL_AGAIN, vec![UNTOUCHED]));
            // Even its being closed waits for nobody.
            if in_read {
                second.call("close", &[disk.into()], 0);
                assert_eq!(second.one("instance-to-package", &[disk.into()]), NONE);
            }
            gate.open();
            assert_eq!(reader.join().unwrap(), 1);
        });
    }
}

/// A console that takes nothing: each try is short, and text is shown once.
#[test]
fn a_write_that_waits_is_made_again_and_goes_on_where_it_was() {
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder);
    let client = machine.client();
    let vty = open(&client, "hvterm");
    machine.console.limit(4);
    client.poke(client.buffer(), b"0123456789");
    let write = [vty.into(), client.buffer().into(), 10.into()];
    for _ in 0..3 {
        assert_eq!(client.try_call("write", &write, 1).status, CALL_AGAIN);
        assert_eq!(machine.console.shown(), "0123");
    }
    // Another process goes on with the same call, and shows what was not shown.
    let state = machine.vof().state().unwrap();
    let next = TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), |b| b, &state).unwrap();
    next.client().poke(client.buffer(), b"0123456789");
    assert_eq!(next.client().one("write", &write), 10);
    assert_eq!(next.console.shown(), "456789");
    assert_eq!(next.client().one("write", &write), 10);
    // So does this one.
    machine.console.limit(100);
    assert_eq!(client.one("write", &write), 10);
    assert_eq!(machine.console.shown(), "0123456789");
    let mut bad = state;
    let slot = bad.vof.instances.slots.last_mut().unwrap().instance.as_mut().unwrap();
    slot.state = Some(StateValue::of(&(limits::MAX_TRANSFER_BYTES + 1)).unwrap());
    let refused = TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), |b| b, &bad);
    assert!(matches!(refused, Err(RestoreError::Instance { .. })));
}

/// Between two tries of a read, too: it is made again where the machine goes on.
#[test]
fn instances_are_saved_and_go_on() {
    let tape = Tape::default();
    let machine = machine(&tape);
    let client = machine.client();
    let (disk, other) = (open(&client, NODE), open(&client, "disk:1000"));
    read(&client, disk, 123);
    let arguments = [other.into(), client.buffer().into(), 4.into()];
    tape.0.not_ready.store(5, Ordering::Relaxed);
    assert_eq!(client.try_call("read", &arguments, 1).status, CALL_AGAIN);
    let state = machine.vof().state().unwrap();
    let json = serde_json::to_string(&state).unwrap();
    let read_back: VofState = serde_json::from_str(&json).unwrap();
    assert_eq!(read_back, state);

    let new_tape = Tape::default();
    let next = restored(&new_tape, &state).unwrap();
    let client = next.client();
    assert_eq!(client.one("read", &arguments), 4);
    assert_eq!(client.peek(client.buffer(), 4), bytes_from(1000, 4));
    // It was the same call.
    assert_eq!(new_tape.0.abandoned.load(Ordering::Relaxed), 0);
    assert_eq!(read(&client, disk, 5), bytes_from(123, 5));

    // What cannot be is refused.
    let slots = state.vof.instances.slots.len();
    let refused = |change: &dyn Fn(&mut vof_device::SavedInstance)| {
        let mut bad = state.clone();
        change(bad.vof.instances.slots[slots - 1].instance.as_mut().unwrap());
        let error = restored(&Tape::default(), &bad).map(drop).unwrap_err();
        assert!(matches!(error, RestoreError::Instance { .. }), "{error}");
    };
    refused(&|instance| instance.state = Some(StateValue::of(&(TAPE_BYTES + 1)).unwrap()));
    refused(&|instance| instance.state = Some(StateValue::of(&"far").unwrap()));
    refused(&|instance| instance.phandle = 2);
    refused(&|instance| {
        instance.state = None;
        instance.arguments = "x".to_owned();
    });
    refused(&|instance| instance.in_flight.as_mut().unwrap().service = "rewind".to_owned());
    refused(&|instance| instance.in_flight.as_mut().unwrap().arguments = vec![0; 17]);
    // So is a machine without the package.
    let without = TestMachine::restored(sample_tree(), &of_size(RAM_BYTES), |b| b, &state);
    assert!(matches!(without, Err(RestoreError::Instance { .. })));
}

/// One package, open as often as can be: nothing is counted for it that a `close` does not free.
#[test]
fn packages_are_opened_and_closed_for_ever() {
    let tape = Tape::default();
    let machine = machine(&tape);
    let client = machine.client();
    for _ in 0..3 * limits::MAX_INSTANCES {
        let disk = open(&client, NODE);
        assert_ne!(disk, 0);
        client.call("close", &[disk.into()], 0);
    }
    assert_eq!(Arc::strong_count(&tape.0), 2);
}
