//! Argument arrays of anything, anywhere, for every service.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use arch_ppc64::cas::TreeChange;
use arch_ppc64::hypercall::token;
use arch_ppc64::topology::{CpuTopology, MemoryMap, MemoryRange};
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, Hypercall, HypercallHandler, Next, StartError, Status,
    VcpuHost,
};
use vm_memory::GuestAddress;
use vof_device::limits::{
    MAX_ADDED_BYTES, MAX_CALL_CELLS, MAX_NODE_PROPERTIES, MAX_PROPERTY_NAME_BYTES,
    MAX_SERVICE_NAME_BYTES, MAX_TRANSFER_BYTES,
};
use vof_device::test_utils::{CALL_AGAIN, FIRMWARE_BYTES, UNTOUCHED, sample_tree};
use vof_device::{CasRefusal, DeviceTree, PropertyPolicy, Vof, VofBuilder};

use crate::Reach;
use crate::bus_machine::HostConsole;
use crate::input::Input;
use crate::names::{NAMES, service, services};
use crate::ram::{WatchedRam, Work, are_within};

/// See [`Target::goals`](crate::Target::goals): every service, with success.
pub fn goals() -> Vec<String> {
    services().iter().map(|&name| name.to_owned()).collect()
}

/// See [`Target::beyond`](crate::Target::beyond): nothing is behind the console to seek in.
pub const BEYOND: &[&str] = &["seek"];

static TREE: LazyLock<DeviceTree> = LazyLock::new(sample_tree);

/// Where RAM ends, and what of it is a hole.
const RAM: [(u64, Range<u64>); 4] = [
    (1 << 20, 0..0),
    (1 << 20, 0x4_0000..0x5_0000),
    (FIRMWARE_BYTES + 0x1_0000, 0..0),
    (5 << 30, 1 << 30..0xffff_0000),
];
const CALLS_MAX: usize = 64;
/// Where strings, arrays and buffers mostly are.
const TEXTS: u32 = 0x1_8000;
const ARRAY: u32 = 0x2_0000;
const BUFFER: u32 = 0x3_0000;
/// What a call costs at most, besides what a `write` does: architecture vectors are the longest.
const WORK_MAX: Work = Work { accesses: 600, bytes: 160 << 10 };
const NONE: u32 = u32::MAX;
/// The status that tells the firmware to enter another program.
const ENTERS: Status = Status(1);

/// What a service may write besides its results.
enum Writes {
    Nothing,
    /// To the argument of this number, at most as many bytes as another says.
    Buffer(usize, usize),
    /// To the argument of this number, a name.
    Name(usize),
    /// To where any argument points, at most as many bytes as any other says, or a page.
    Somewhere,
}

fn writes(service: &str) -> Writes {
    match service {
        "getprop" => Writes::Buffer(2, 3),
        "nextprop" => Writes::Name(2),
        "canon"
        | "instance-to-path"
        | "instance-to-interposed-path"
        | "package-to-path"
        | "read" => Writes::Buffer(1, 2),
        "test"
        | "peer"
        | "child"
        | "parent"
        | "getproplen"
        | "setprop"
        | "finddevice"
        | "instance-to-package"
        | "test-method"
        | "open"
        | "close"
        | "write"
        | "seek"
        | "claim"
        | "release"
        | "boot"
        | "enter"
        | "exit"
        | "chain"
        | "quiesce"
        | "start-cpu"
        | "interpret"
        | "set-callback"
        | "milliseconds" => Writes::Nothing,
        _ => Writes::Somewhere,
    }
}

/// Lets clients set what they like.
struct AnyProperty;

impl PropertyPolicy for AnyProperty {
    fn may_set(&self, _: &str, _: &str, _: &[u8]) -> bool {
        true
    }
}

/// How often a processor was started. All are stopped, whatever happens.
struct Starts {
    count: AtomicUsize,
    memory: MemoryMap,
}

impl VcpuHost for Starts {
    fn state(&self, _: CpuIndex) -> Option<CpuState> {
        Some(CpuState::Stopped)
    }

    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let entry = registers.pc;
        assert!(target.0 < 2, "the sample has no processor {target}");
        let has_code = entry.0 % 4 == 0 && self.memory.is_ram(entry, 4);
        assert!(has_code, "{target} starts at {:#x}", entry.0);
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Case {
    vof: Vof,
    ram: WatchedRam,
    starts: Arc<Starts>,
    /// Results that may be handles, the last first.
    handles: [u32; 8],
}

impl Case {
    fn new((end, hole): &(u64, Range<u64>), flags: u8) -> Self {
        let memory = memory_map(*end, hole);
        let starts = Arc::new(Starts { count: AtomicUsize::new(0), memory });
        let vof = Self::builder(flags, &starts).build();
        let vof = vof.expect("the sample has a client interface");
        Self { vof, ram: WatchedRam::with_hole(*end, hole.clone()), starts, handles: [0; 8] }
    }

    fn builder(flags: u8, starts: &Arc<Starts>) -> VofBuilder {
        // A console that takes nothing makes `write` wait, which takes time.
        let console = Arc::new(HostConsole::new(1 + usize::from(flags & 31) * 16));
        let mut builder = Vof::builder(TREE.clone(), &starts.memory)
            .firmware(GuestAddress(0), FIRMWARE_BYTES)
            .console("/vdevice/vty", console)
            .cpus(starts.clone(), &CpuTopology::new(2));
        if flags & 0x40 != 0 {
            builder = builder.cas(Box::new(negotiate));
        }
        if flags & 0x80 != 0 {
            builder = builder.properties(Box::new(AnyProperty));
        }
        builder
    }
}

fn memory_map(end: u64, hole: &Range<u64>) -> MemoryMap {
    let ram =
        |range: Range<u64>| MemoryRange::ram(GuestAddress(range.start), range.end - range.start);
    let ranges = [0..hole.start, hole.end..end].into_iter().filter(|range| !range.is_empty());
    MemoryMap::new(ranges.map(ram)).expect("the ranges are in order and apart")
}

/// Some machine's answers, of every kind.
fn negotiate(vectors: &[u8]) -> Result<Vec<TreeChange>, CasRefusal> {
    let path = |at: usize| NAMES[usize::from(*vectors.get(at).unwrap_or(&0)) % NAMES.len()].into();
    match vectors.first() {
        None | Some(0) => Err(CasRefusal::new("no")),
        Some(1) => Ok(vec![]),
        Some(2) => Ok(vec![TreeChange::Remove { path: path(1), name: path(2) }]),
        Some(_) => Ok(vec![
            TreeChange::Set { path: "/chosen".into(), name: "agreed".into(), value: vec![1; 9] },
            TreeChange::Set { path: path(1), name: path(2), value: vec![7] },
            TreeChange::SetChildren { path: "/".into(), name: path(2), value: vec![8; 5] },
        ]),
    }
}

/// `data` is a byte that chooses RAM's size, one of flags, and calls.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let ram = &RAM[usize::from(input.byte()) % RAM.len()];
    let ram_bytes = ram.0;
    let flags = input.byte();
    let mut case = Case::new(ram, flags);
    let before = case.vof.to_blob();
    let mut reach = Reach::NONE;
    for _ in 0..CALLS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() {
            0xe0..=0xef => {
                let at = input.number(ram_bytes);
                let len = input.byte().into();
                case.ram.poke(at, input.bytes(len));
            }
            // Whatever is there.
            0xf0..=0xff => {
                let at = input.number(ram_bytes);
                call(&mut case, at);
            }
            kind => {
                let at = write_array(&mut case, kind, &mut input);
                if let Some(goal) = call(&mut case, at) {
                    reach.add(goal);
                }
            }
        }
    }
    check_end(&case, flags, &before);
    reach
}

/// Puts an array and its strings into RAM, as far as there is RAM.
fn write_array(case: &mut Case, kind: u8, input: &mut Input<'_>) -> u64 {
    let ram_bytes = case.ram.end();
    let mut texts: Vec<u8> = Vec::new();
    let service = match kind & 0x1f {
        0x1f => input.number(ram_bytes) as u32,
        0x1e => {
            let len = input.byte().into();
            texts.extend_from_slice(input.bytes(len));
            TEXTS
        }
        _ => {
            texts.extend(service(input.u16()).bytes().chain([0]));
            TEXTS
        }
    };
    let counts = input.byte();
    let (arguments, results) = match counts {
        0xf0..=0xff => (input.u32(), input.u32()),
        _ => (u32::from(counts & 15), u32::from(counts >> 4) % 4),
    };
    let mut cells = vec![service, arguments, results];
    for _ in 0..arguments.min(MAX_CALL_CELLS as u32) {
        cells.push(match input.byte() {
            0..=0x3f => {
                let at = TEXTS + texts.len() as u32;
                texts.extend(input.pick(&NAMES).bytes().chain([0]));
                at
            }
            number @ 0x40..=0x7f => case.handles[usize::from(number) % case.handles.len()],
            0x80..=0x9f => BUFFER,
            0xa0..=0xaf => ARRAY + u32::from(input.byte()),
            _ => input.number(ram_bytes) as u32,
        });
    }
    cells.extend([UNTOUCHED; 3]);
    case.ram.poke(TEXTS.into(), &texts);
    let at = match kind {
        0xc0.. => input.number(ram_bytes),
        0xa0..0xc0 => ram_bytes.wrapping_sub(4 * cells.len() as u64 - u64::from(input.byte() % 16)),
        _ => ARRAY.into(),
    };
    case.ram.poke_cells(at, &cells);
    at
}

/// An array as the guest has it, if it is one.
struct Array {
    arguments: Vec<u32>,
    /// Where the results go.
    results: Range<u64>,
    service: Vec<u8>,
}

impl Array {
    fn read(ram: &WatchedRam, at: u64) -> Option<Self> {
        let room = |at: u64| ram.room_from(at).min((1_u64 << 32).saturating_sub(at));
        if room(at) < 12 {
            return None;
        }
        let [name, arguments, results] = [0, 4, 8].map(|offset| ram.peek_cell(at + offset));
        let cells = arguments.checked_add(results)?;
        let first_result = at + 12 + 4 * u64::from(arguments);
        let array_end = first_result + 4 * u64::from(results);
        if cells > MAX_CALL_CELLS as u32 || array_end - at > room(at) {
            return None;
        }
        let room = (MAX_SERVICE_NAME_BYTES + 1).min(room(name.into()) as usize);
        let name = ram.peek(name.into(), room);
        let service = name.split(|&byte| byte == 0).next().filter(|text| text.len() < name.len());
        Some(Self {
            arguments: (0..arguments)
                .map(|number| ram.peek_cell(at + 12 + 4 * u64::from(number)))
                .collect(),
            results: first_result..array_end,
            // What does not end is no name.
            service: service.unwrap_or_default().to_vec(),
        })
    }

    fn argument(&self, number: usize) -> u64 {
        self.arguments.get(number).copied().unwrap_or(0).into()
    }

    /// Where a service may write.
    fn permitted(&self, service: &str) -> Vec<Range<u64>> {
        let mut permitted = vec![self.results.clone()];
        match writes(service) {
            Writes::Nothing => {}
            Writes::Buffer(at, len) => {
                permitted.push(self.argument(at)..self.argument(at) + self.argument(len));
            }
            Writes::Name(at) => {
                let len = MAX_PROPERTY_NAME_BYTES as u64 + 1;
                permitted.push(self.argument(at)..self.argument(at) + len);
            }
            Writes::Somewhere => {
                let counts = self.arguments.iter().map(|&len| u64::from(len));
                let counts = counts.filter(|&len| len <= MAX_TRANSFER_BYTES as u64);
                let len = counts.max().unwrap_or(0).max(4096);
                let places = self.arguments.iter().map(|&at| u64::from(at));
                permitted.extend(places.map(|at| at..at + len));
            }
        }
        permitted
    }
}

/// Makes the call whose array is at `at`; gives the service's number when it succeeded.
fn call(case: &mut Case, at: u64) -> Option<usize> {
    let array = Array::read(&case.ram, at);
    let mut call = Hypercall::new(token::VOF_CLIENT, &[at]);
    let registers = call.args;
    let started = case.starts.count.load(Ordering::Relaxed);
    // As the firmware does.
    let next = loop {
        let next = case.vof.handle(CpuIndex(0), &case.ram, &mut call);
        if call.status() != CALL_AGAIN {
            break next;
        }
    };
    let starts = case.starts.count.load(Ordering::Relaxed) - started;
    // `chain` passes the next program in registers.
    let enters = call.status() == ENTERS;
    assert!(enters || call.args == registers, "the array is where results are");
    let (writes, work) = case.ram.take();
    // A `write` reads its text by 256 bytes.
    assert!(work.accesses <= WORK_MAX.accesses + (MAX_TRANSFER_BYTES / 256) as u64, "{work:?}");
    assert!(work.bytes <= WORK_MAX.bytes + MAX_TRANSFER_BYTES as u64, "{work:?}");
    let Some(array) = array else {
        assert_eq!((call.status(), next), (Status::PARAMETER, Next::Resume), "no array");
        assert_eq!(writes, [], "there is no array to write to");
        return None;
    };
    let number = services().iter().position(|name| name.as_bytes() == array.service);
    let Some(number) = number.filter(|_| enters || call.status() == Status::SUCCESS) else {
        assert!(matches!(call.status(), Status::PARAMETER | Status::FUNCTION));
        assert!(number.is_none() || call.status() == Status::PARAMETER);
        assert_eq!(next, Next::Resume);
        let first = array.results.start..array.results.end.min(array.results.start + 4);
        assert!(are_within(&writes, &[first.clone(), first.clone()]), "{writes:x?} of no call");
        assert!(first.is_empty() || case.ram.peek_cell(first.start) == NONE);
        return None;
    };
    let service = services()[number];
    let permitted = array.permitted(service);
    assert!(are_within(&writes, &permitted), "{service} wrote {writes:x?}, not {permitted:x?}");
    match next {
        Next::Resume => {}
        Next::Stop(_) => {
            let is_known_to = matches!(service, "boot" | "exit" | "interpret");
            let may_stop = is_known_to || matches!(self::writes(service), Writes::Somewhere);
            assert!(may_stop, "{service} ends with {next:?}");
        }
        Next::Cede | Next::Park => panic!("{service} ends with {next:?}"),
    }
    assert!(!enters || service == "chain", "{service} enters a program");
    assert!(starts == 0 || starts == 1 && service == "start-cpu", "{service} starts {starts}");
    let first = if array.results.is_empty() { 0 } else { case.ram.peek_cell(array.results.start) };
    check_result(case, service, &array, first);
    case.handles.rotate_right(1);
    case.handles[0] = first;
    let failure = if matches!(service, "peer" | "child" | "parent" | "open") { 0 } else { NONE };
    // A throw of a method is negative.
    let failed = first == failure || service == "call-method" && first != 0;
    let has_result = !array.results.is_empty() && first != UNTOUCHED;
    let ends = enters || next != Next::Resume;
    let acts = ends || starts > 0 || has_no_results(service);
    (has_result && !failed || acts).then_some(number)
}

/// What came of these shows elsewhere.
fn has_no_results(service: &str) -> bool {
    matches!(service, "close" | "release" | "enter" | "quiesce")
}

/// Handles are of what there is, claims are of RAM.
fn check_result(case: &Case, service: &str, array: &Array, first: u32) {
    let is_node = |phandle: u32| case.vof.with_tree(|tree| tree.node_by_phandle(phandle).is_some());
    if array.results.is_empty() {
        return;
    }
    match service {
        "peer" | "child" | "parent" => assert!(first == 0 || is_node(first), "{first:#x}"),
        "finddevice" | "instance-to-package" => assert!(first == NONE || is_node(first)),
        "test" | "test-method" => assert!(matches!(first, 0 | NONE)),
        "nextprop" => assert!(matches!(first, 0 | 1 | NONE)),
        "setprop" => assert!(first == NONE || u64::from(first) == array.argument(3)),
        "open" => assert!(first as i32 >= 0),
        "claim" if first != NONE => {
            let (size, align) = (array.argument(1), array.argument(2));
            let start = u64::from(first);
            assert!(start >= FIRMWARE_BYTES && size > 0);
            assert!(start + size <= 1 << 32 && size <= case.ram.room_from(start));
            let multiple = align.next_power_of_two();
            assert!(if align == 0 { start == array.argument(0) } else { start % multiple == 0 });
        }
        _ => {}
    }
}

/// The interface is as whole as before, and another one goes on from there.
fn check_end(case: &Case, flags: u8, before: &[u8]) {
    let blob = case.vof.to_blob();
    assert!(blob.len() <= before.len() + 2 * MAX_ADDED_BYTES);
    let tree = DeviceTree::from_blob(&blob).expect("the tree is still one");
    assert_eq!(tree.nodes().len(), TREE.nodes().len());
    for node in tree.nodes() {
        assert_eq!(tree.phandle(node), TREE.phandle(node));
        assert!(tree.properties(node).count() <= MAX_NODE_PROPERTIES);
    }
    let memory = tree.find("/memory@0").expect("the sample has memory");
    check_free(tree.property(memory, "available").unwrap_or_default(), &case.ram);
    // What was saved of it is one that can be.
    let state = case.vof.state().expect("it can be saved");
    let restored = Case::builder(flags, &case.starts).restore(&state);
    let restored = restored.expect("it was saved just now");
    assert_eq!(restored.to_blob(), blob);
}

/// Free memory is RAM, in order, not the firmware's, and no range touches another.
fn check_free(available: &[u8], ram: &WatchedRam) {
    let cells = available.chunks_exact(8).map(|cell| u64::from_be_bytes(cell.try_into().unwrap()));
    let cells: Vec<u64> = cells.collect();
    let mut end = FIRMWARE_BYTES - 1;
    for range in cells.chunks_exact(2) {
        assert!(range[0] > end && range[1] > 0, "{cells:x?}");
        assert!(range[1] <= ram.room_from(range[0]), "{cells:x?}");
        end = range[0] + range[1];
    }
}
