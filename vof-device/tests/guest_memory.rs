//! How much of the host's memory a guest can make the client interface take: every consumer is
//! driven to its limit, with a count of what calls allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use arch_ppc64::cas::TreeChange;
use arch_ppc64::hypercall::token;
use arch_ppc64::{CpuIndex, Hypercall};
use vof_device::PropertyPolicy;
use vof_device::limits::{
    ADDED_VALUE_BYTES, MAX_ADDED_BYTES, MAX_ARCHITECTURE_VECTOR_BYTES, MAX_FREE_RANGES,
    MAX_GUEST_DRIVEN_BYTES, MAX_INSTANCES, MAX_NODE_PROPERTIES, MAX_PATH_BYTES,
    MAX_PROPERTY_NAME_BYTES, MAX_SAVED_BYTES, MAX_SETPROP_BYTES,
};
use vof_device::test_utils::{
    Argument, Client, TestMachine, WORKSPACE, WORKSPACE_BYTES, sample_tree,
};

const NONE: u32 = u32::MAX;
// Phandles of the sample tree.
const CHOSEN: u32 = 2;
const OPTIONS: u32 = 4;
const RAM_BYTES: u64 = 256 << 20;
/// A buffer that no claim gets to.
const BUFFER: u32 = 255 << 20;

thread_local! {
    // Of this thread, while it is in a call: the test has memory of its own.
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    if IS_COUNTED.get() {
        LIVE.set(LIVE.get() + bytes);
        PEAK.set(PEAK.get().max(LIVE.get()));
    }
}

struct Counting;

// SAFETY: the system's allocator does everything; counting it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    // `realloc` is that of the trait: both blocks are there for a moment, which is the most that
    // any allocator takes.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Anything;

impl PropertyPolicy for Anything {
    fn may_set(&self, _: &str, _: &str, _: &[u8]) -> bool {
        true
    }
}

/// A guest that takes what it can get.
struct Guest {
    machine: TestMachine,
}

impl Guest {
    fn new() -> Self {
        let changes = vec![
            TreeChange::Set {
                path: "/chosen".to_owned(),
                name: "ibm,architecture-vec-5".to_owned(),
                value: vec![1; 64],
            },
            TreeChange::Remove { path: "/rtas".to_owned(), name: "rtas-size".to_owned() },
        ];
        let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
            builder
                .properties(Box::new(Anything))
                .cas(Box::new(move |_: &[u8]| Ok(changes.clone())))
        });
        LIVE.set(0);
        PEAK.set(0);
        Self { machine }
    }

    fn client(&self) -> Client<'_> {
        self.machine.client()
    }

    /// Makes a call and counts what it takes; the first result. Array and strings are put into the
    /// workspace in one piece: there are many calls.
    fn call(&self, service: &str, arguments: &[Argument<'_>]) -> u32 {
        let results_at = 12 + 4 * arguments.len();
        let texts_at = results_at + 4;
        let mut texts = [service.as_bytes(), &[0]].concat();
        let mut cells = vec![WORKSPACE + texts_at as u32, arguments.len() as u32, 1];
        for argument in arguments {
            let at = WORKSPACE + (texts_at + texts.len()) as u32;
            match *argument {
                Argument::Cell(cell) => cells.push(cell),
                Argument::Text(text) => {
                    cells.push(at);
                    texts.extend([text.as_bytes(), &[0]].concat());
                }
                Argument::Bytes(_) => unreachable!("no call here passes any"),
            }
        }
        cells.push(0);
        let array: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        let client = self.client();
        client.poke(WORKSPACE, &[array, texts].concat());
        let mut call = Hypercall::new(token::VOF_CLIENT, &[WORKSPACE.into()]);
        IS_COUNTED.set(true);
        let _ = self.machine.bus.dispatch(CpuIndex(0), &self.machine.ram, &mut call);
        IS_COUNTED.set(false);
        let result = client.peek(WORKSPACE + results_at as u32, 4);
        u32::from_be_bytes(result.try_into().unwrap())
    }

    fn setprop(&self, node: u32, name: &str, len: usize) -> bool {
        let arguments = [node.into(), name.into(), BUFFER.into(), (len as u32).into()];
        self.call("setprop", &arguments) != NONE
    }

    fn negotiate(&self) {
        let root = self.call("open", &["/".into()]);
        let method = "ibm,client-architecture-support".into();
        self.call("call-method", &[method, root.into(), BUFFER.into()]);
        self.call("close", &[root.into()]);
    }

    /// As many properties as there can be, with values of `len` bytes, on every node in turn.
    fn fill_tree(&self, pad: usize, len: usize) -> usize {
        let nodes = self.machine.vof().with_tree(|tree| tree.nodes().len());
        (0..nodes as u32 * MAX_NODE_PROPERTIES as u32)
            .take_while(|number| {
                let node = 1 + number % nodes as u32;
                self.setprop(node, &name(*number, pad), len)
            })
            .count()
    }

    fn open_all(&self) -> usize {
        // Of the interface's own packages, the console keeps most for an instance.
        let path = format!("hvterm:{}", "a".repeat(MAX_PATH_BYTES - 7));
        (0..=MAX_INSTANCES).take_while(|_| self.call("open", &[path.as_str().into()]) != 0).count()
    }

    /// Cuts free memory into as many pieces as it can be in, so that chunks of them have little in
    /// them and room for much: of the claims, nearly half are given back, and made elsewhere.
    fn cut(&self, claim: impl Fn(u32, u32) -> bool, release: impl Fn(u32, u32)) {
        const STEP: u32 = 32;
        let mut at = WORKSPACE + WORKSPACE_BYTES + STEP;
        for _ in 0..2 {
            let from = at;
            while claim(at, STEP) {
                at += 2 * STEP;
            }
            for (number, half) in (from..at).step_by(4 * STEP as usize).enumerate() {
                // A chunk with a quarter of its room gives half of that back.
                if number % 32 != 0 {
                    release(half, STEP);
                }
            }
        }
        while claim(at, STEP) {
            at += 2 * STEP;
        }
    }

    fn cut_memory(&self) {
        self.cut(
            |at, size| self.call("claim", &[at.into(), size.into(), 0.into()]) != NONE,
            |at, size| {
                self.call("release", &[at.into(), size.into()]);
            },
        );
    }

    fn cut_virtual(&self) {
        let chosen = self.client().phandle("/chosen");
        let mmu = self.client().getprop(chosen, "mmu").unwrap();
        let mmu = u32::from_be_bytes(mmu.try_into().unwrap());
        self.cut(
            |at, size| {
                let stack = [0.into(), size.into(), at.into()];
                let call = ["claim".into(), mmu.into(), stack[0], stack[1], stack[2]];
                self.call("call-method", &call) == 0
            },
            |at, size| {
                self.call("call-method", &["release".into(), mmu.into(), size.into(), at.into()]);
            },
        );
    }
}

/// As long as names can be, with ends that no two of them share.
fn unlike_names(start: &str) -> impl Iterator<Item = String> {
    let mut seed = 0x1234_5678_9abc_def0_u64;
    std::iter::repeat_with(move || {
        let letters = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            char::from(b'a' + (seed >> 20) as u8 % 26)
        });
        start.chars().chain(letters).take(MAX_PROPERTY_NAME_BYTES).collect()
    })
}

/// A name of at least `pad` bytes.
fn name(number: u32, pad: usize) -> String {
    format!("p{number:p<pad$x}", pad = pad.saturating_sub(1))
}

fn peak() -> usize {
    PEAK.get() as usize
}

/// What the tree takes, however it is filled.
#[test]
fn the_tree_grows_by_its_share() {
    let share = 3 * MAX_ADDED_BYTES + (1 << 20);
    let lens = [0, 4, 5, 16, 200, 4096, MAX_SETPROP_BYTES].map(|len| (0, len));
    for (pad, len) in lens.into_iter().chain([(MAX_PROPERTY_NAME_BYTES, 0)]) {
        let guest = Guest::new();
        let count = guest.fill_tree(pad, len);
        assert!(count > 10, "{count} properties of {len} bytes");
        guest.negotiate();
        // Everything is set again, longer and shorter.
        let nodes = guest.machine.vof().with_tree(|tree| tree.nodes().len()) as u32;
        for number in 0..count as u32 {
            for len in [len / 2, len * 2] {
                guest.setprop(1 + number % nodes, &name(number, pad), len);
            }
        }
        guest.negotiate();
        println!("{count} properties of {len} bytes: {} of {share}", peak());
        assert!(peak() <= share, "{} bytes for properties of {len}", peak());
        // The share is not only an upper bound of nothing.
        assert!(peak() >= MAX_ADDED_BYTES / 4, "{} bytes for properties of {len}", peak());
    }
}

#[test]
fn opening_and_negotiating_take_their_share() {
    let guest = Guest::new();
    assert_eq!(guest.open_all(), MAX_INSTANCES - 4);
    // Those of disks take more: see `disk_memory.rs`.
    let share = MAX_INSTANCES * (MAX_PATH_BYTES + 384);
    assert!((share / 2..=share).contains(&peak()), "{} bytes", peak());
    let guest = Guest::new();
    guest.negotiate();
    let share = MAX_ARCHITECTURE_VECTOR_BYTES + 16 * ADDED_VALUE_BYTES;
    assert!(peak() >= MAX_ARCHITECTURE_VECTOR_BYTES);
    assert!(peak() <= share + (256 << 10), "{} bytes", peak());
}

/// What `Vof::state` and `Vof::to_blob` take of the host, what they give back included.
fn saving(machine: &TestMachine) -> [usize; 2] {
    let vof = machine.vof();
    let taken = |save: &dyn Fn() -> Box<dyn std::any::Any>| {
        LIVE.set(0);
        PEAK.set(0);
        IS_COUNTED.set(true);
        drop(save());
        IS_COUNTED.set(false);
        assert_eq!(LIVE.get(), 0);
        peak()
    };
    [taken(&|| Box::new(vof.state())), taken(&|| Box::new(vof.to_blob()))]
}

/// With names that a client may choose under the usual policy: it is not what their ends are that
/// counts, but how long they are together.
#[test]
fn saving_takes_no_more_for_names_that_share_nothing() {
    let saved = |names: &mut dyn Iterator<Item = (u32, String)>| {
        let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder);
        let guest = Guest { machine };
        let count = names.take_while(|(node, name)| guest.setprop(*node, name, 0)).count();
        assert!(count > 4000, "{count} names");
        let taken = saving(&guest.machine);
        println!("{count} names: {taken:?} bytes to save");
        assert!(taken.iter().all(|&taken| taken <= 3 * MAX_ADDED_BYTES), "{taken:?} bytes");
        taken
    };
    let unlike = [(OPTIONS, unlike_names("o")), (CHOSEN, unlike_names("linux,"))];
    let [options, chosen] = unlike.map(|(node, names)| names.map(move |name| (node, name)));
    let unlike = saved(&mut options.take(MAX_NODE_PROPERTIES / 2).chain(chosen));
    let alike = (0..).map(|number| (OPTIONS, name(number, MAX_PROPERTY_NAME_BYTES)));
    let alike =
        saved(&mut alike.take(MAX_NODE_PROPERTIES / 2).chain((0..).map(|number| {
            (CHOSEN, format!("linux,{}", name(number, MAX_PROPERTY_NAME_BYTES - 6)))
        })));
    for (unlike, alike) in unlike.into_iter().zip(alike) {
        assert!(unlike <= alike + alike / 4, "{unlike} bytes, where {alike} do for other names");
    }
}

/// Of a guest that has taken all that it can get.
#[test]
fn saving_takes_its_share() {
    let guest = Guest::new();
    let built: [usize; 2] = saving(&guest.machine);
    assert!(built.iter().all(|&bytes| bytes < 16 << 10), "{built:?} for a small tree");
    guest.open_all();
    guest.cut_memory();
    guest.cut_virtual();
    let nodes = guest.machine.vof().with_tree(|tree| tree.nodes().len()) as u32;
    for (number, name) in unlike_names("p").enumerate() {
        if !guest.setprop(1 + number as u32 % nodes, &name, 5) {
            break;
        }
    }
    guest.call("boot", &["b".repeat(MAX_PATH_BYTES).as_str().into()]);
    let taken = saving(&guest.machine);
    println!("{taken:?} of at most {MAX_SAVED_BYTES} bytes to save");
    for taken in taken {
        assert!(taken <= MAX_SAVED_BYTES + (16 << 10), "{taken} bytes");
        assert!(taken >= MAX_SAVED_BYTES / 3, "{taken} bytes: not much is driven");
    }
}

/// All at once, and then what a call takes for itself.
#[test]
fn a_guest_takes_no_more_than_the_sum() {
    let guest = Guest::new();
    guest.open_all();
    let instances = peak();
    guest.cut_memory();
    let memory = peak() - instances;
    guest.cut_virtual();
    let virtual_addresses = peak() - instances - memory;
    for taken in [memory, virtual_addresses] {
        assert!(taken <= MAX_FREE_RANGES * 80, "{taken} bytes");
        assert!(taken >= MAX_FREE_RANGES * 40, "{taken} bytes: free memory is in few pieces");
    }
    guest.fill_tree(0, 5);
    guest.negotiate();
    let bootspec = "b".repeat(MAX_PATH_BYTES);
    guest.call("boot", &[bootspec.as_str().into()]);
    guest.setprop(2, "too-much", MAX_SETPROP_BYTES);
    println!("instances {instances}, memory {memory}, virtual addresses {virtual_addresses}");
    println!("{} of at most {MAX_GUEST_DRIVEN_BYTES} bytes", peak());
    assert!(peak() <= MAX_GUEST_DRIVEN_BYTES, "{} bytes", peak());
    assert!(peak() >= MAX_GUEST_DRIVEN_BYTES / 3, "{} bytes: not much is driven", peak());
    // The end of the machine gives it back, and what was not counted while it was built.
    IS_COUNTED.set(true);
    drop(guest);
    IS_COUNTED.set(false);
    assert!(LIVE.get() <= 0, "{} bytes stay", LIVE.get());
}
