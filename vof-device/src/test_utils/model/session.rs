//! A client and its model, side by side.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use arch_ppc64::topology::{MemoryMap, MemoryRange};
use arch_ppc64::{Next, Status};
use vm_memory::GuestAddress;

use super::{Change, Memory, Model, Pick, Step, Tree};
use crate::limits::{MAX_INSTANCES, MAX_PROPERTY_NAME_BYTES};
use crate::test_utils::{
    Argument, Client, FIRMWARE_BYTES, TestMachine, WORKSPACE, WORKSPACE_BYTES, sample_tree,
};
use crate::{DeviceTree, PropertyPolicy, VofBuilder};

const NONE: u32 = u32::MAX;
/// Where RAM is: with a hole from 1 MiB to 1.5 MiB.
const RAM: [Range<u64>; 2] = [0..0x10_0000, 0x18_0000..16 << 20];
/// Of no node.
const NO_PHANDLE: u32 = 0x00ab_cdef;

/// A machine, and what its client interface must answer.
#[derive(Debug)]
pub struct Session {
    pub(super) machine: TestMachine,
    /// What machines are built of.
    blob: Vec<u8>,
    pub(super) model: Model,
    /// What was claimed and not released as it was claimed.
    pub(super) claimed: Vec<(u32, u32)>,
    milliseconds: u32,
    succeeded: RefCell<BTreeSet<&'static str>>,
}

fn memory_map() -> MemoryMap {
    let ram = RAM.map(|ram| MemoryRange::ram(GuestAddress(ram.start), ram.end - ram.start));
    MemoryMap::new(ram).expect("the ranges are in order and apart")
}

fn builder(builder: VofBuilder) -> VofBuilder {
    builder.properties(Box::new(AnyProperty))
}

struct AnyProperty;

impl PropertyPolicy for AnyProperty {
    fn may_set(&self, _: &str, _: &str, _: &[u8]) -> bool {
        true
    }
}

impl Session {
    /// With this tree.
    ///
    /// # Panics
    /// If the client interface cannot have it.
    pub fn with_tree(tree: &Tree) -> Self {
        Self::new(DeviceTree::from_blob(&tree.blob()).expect("the model's tree is one"))
    }

    /// With the [sample tree](sample_tree): a console, and a list of free memory.
    pub fn with_sample() -> Self {
        Self::new(sample_tree())
    }

    fn new(tree: DeviceTree) -> Self {
        let blob = tree.to_blob();
        let machine = TestMachine::in_memory(tree, &memory_map(), builder);
        let tree = machine.vof().with_tree(Tree::of_tree);
        let workspace = u64::from(WORKSPACE);
        let client = workspace..workspace + u64::from(WORKSPACE_BYTES);
        let memory = Memory::new(RAM.to_vec(), 0..FIRMWARE_BYTES, client);
        let virtual_memory = memory.clone();
        let mut model = Model { memory, virtual_memory, instances: vec![], callback: 0, tree };
        let chosen = model.tree.find("/chosen").map(|(chosen, _)| chosen);
        let opened = [("stdin", VTY), ("stdout", VTY), ("memory", MEMORY), ("mmu", CPU)];
        for (name, path) in opened {
            if let (Some(chosen), Some((node, _))) = (chosen, model.tree.find(path)) {
                let handle = model.tree.value(chosen, name).expect("it is open");
                let handle = u32::from_be_bytes(handle.try_into().expect("a handle is a cell"));
                model.instances.push((handle, node, String::new()));
            }
        }
        Self {
            machine,
            blob,
            model,
            claimed: vec![],
            milliseconds: 0,
            succeeded: RefCell::default(),
        }
    }

    /// The machine.
    pub fn machine(&self) -> &TestMachine {
        &self.machine
    }

    /// The services that did what they are for, at least once.
    pub fn succeeded(&self) -> Vec<&'static str> {
        self.succeeded.borrow().iter().copied().collect()
    }

    /// Makes the calls of a step.
    ///
    /// # Panics
    /// If an answer is not what it must be.
    pub fn run(&mut self, step: &Step) {
        match step {
            Step::Peer(_) | Step::Child(_) | Step::Parent(_) => self.relative(step),
            Step::Len(pick, name) => self.length(*pick, name),
            Step::Get(pick, name, room) => self.get(*pick, name, *room),
            Step::GetAt(pick, at) => self.get(*pick, &self.name_at(*pick, *at), 300),
            Step::Next(pick, at) => {
                self.next(*pick, &self.name_at(*pick, *at));
                self.first(*pick);
            }
            Step::NextOf(pick, name) => self.next(*pick, name),
            Step::Set(pick, name, value) => self.set(*pick, name, value),
            Step::Path(pick, room) => {
                let asked = self.phandle(*pick);
                let path = self.model.tree.node(asked).map(|node| self.model.tree.path(node));
                self.path("package-to-path", asked.into(), *room, path);
            }
            Step::Find(path) => self.find(path),
            Step::FindNode(pick, change) => self.find(&self.changed_path(*pick, *change)),
            Step::Canon(pick, change, room) => {
                let path = self.changed_path(*pick, *change);
                let found = self.model.tree.find(&path);
                let expected = found.map(|(node, _)| self.model.tree.path(node));
                self.path("canon", (&*path).into(), *room, expected);
            }
            Step::Open(pick, change) => self.open(&self.changed_path(*pick, *change)),
            Step::Instance(at, room) => self.instance(*at, *room),
            Step::Close(at) => self.close(*at),
            Step::ClaimAt(start, size) => {
                let expected = self.model.memory.claim_at(*start, *size);
                self.claim([*start, *size, 0], expected);
            }
            Step::ClaimAligned(size, alignment) => {
                let possible = *size > 0;
                let memory = &mut self.model.memory;
                let expected = possible.then(|| memory.claim_aligned(*size, *alignment)).flatten();
                // The address means nothing.
                self.claim([0x5555, *size, *alignment], expected);
            }
            Step::Release(start, size) => self.release(*start, *size),
            Step::ReleaseClaimed(at, offset) => {
                if !self.claimed.is_empty() {
                    let (start, size) = self.claimed.swap_remove(at % self.claimed.len());
                    let offset = offset % size;
                    self.release(start + offset, size - offset);
                }
            }
            Step::Write(at, text) => self.write(*at, text),
            Step::Read(at, typed, room) => self.read(*at, typed, *room),
            Step::Test(name) => {
                let is_there =
                    self.machine.vof().calls().iter().any(|(service, _)| *service == name);
                let expected = if is_there { 0 } else { NONE };
                assert_eq!(self.one("test", &[(&**name).into()]), expected, "{name}");
            }
            Step::MethodClaim(..) | Step::MethodRelease(..) | Step::Translate(..) => {
                self.method(step);
            }
            Step::SetCallback(function) => {
                let before = std::mem::replace(&mut self.model.callback, *function);
                assert_eq!(self.one("set-callback", &[(*function).into()]), before);
            }
            Step::MoveOn => self.move_on(),
            Step::Nothing => self.nothing(),
        }
    }

    /// Compares the whole tree, as it has become.
    ///
    /// # Panics
    /// If it is not what it must be.
    pub fn check_tree(&self) {
        let tree = DeviceTree::from_blob(&self.machine.vof().to_blob()).expect("it is a tree");
        assert_eq!(tree.nodes().len(), self.model.tree.nodes.len());
        for (at, (node, expected)) in tree.nodes().zip(&self.model.tree.nodes).enumerate() {
            assert_eq!(tree.full_name(node), expected.name);
            let mut properties = tree.properties(node);
            for (name, _) in &expected.properties {
                let value = self.value(at, name);
                let found = properties.next().map(|(name, value)| (name, value.to_vec()));
                assert_eq!(found, Some((&**name, value.unwrap_or_default())));
            }
            assert_eq!(properties.next(), None);
        }
    }

    pub(super) fn client(&self) -> Client<'_> {
        self.machine.client()
    }

    fn one(&self, service: &'static str, arguments: &[Argument<'_>]) -> u32 {
        let result = self.client().one(service, arguments);
        let failure =
            if matches!(service, "peer" | "child" | "parent" | "open") { 0 } else { NONE };
        if result != failure {
            self.succeeded.borrow_mut().insert(service);
        }
        result
    }

    fn phandle(&self, pick: Pick) -> u32 {
        let nodes = &self.model.tree.nodes;
        pick.0.map_or(NO_PHANDLE, |at| nodes[at % nodes.len()].phandle)
    }

    /// Where free memory is told, it is told as it is.
    fn value(&self, node: usize, name: &str) -> Option<Vec<u8>> {
        let stored = self.model.tree.value(node, name)?;
        if self.model.tree.path(node) != "/memory@0" || name != "available" {
            return Some(stored);
        }
        let free = self.model.memory.free().iter();
        let cells = free.flat_map(|range| [range.start, range.end - range.start]);
        Some(cells.flat_map(u64::to_be_bytes).collect())
    }

    fn name_at(&self, pick: Pick, at: usize) -> String {
        let tree = &self.model.tree;
        let names = tree.node(self.phandle(pick)).map_or(vec![""], |node| tree.names(node));
        names[at % names.len()].to_owned()
    }

    fn changed_path(&self, pick: Pick, change: Change) -> String {
        let tree = &self.model.tree;
        let path = tree.node(self.phandle(pick)).map(|node| tree.path(node));
        change.apply(&path.unwrap_or_default())
    }

    fn relative(&self, step: &Step) {
        let tree = &self.model.tree;
        let (service, pick) = match *step {
            Step::Peer(pick) => ("peer", pick),
            Step::Child(pick) => ("child", pick),
            Step::Parent(pick) => ("parent", pick),
            _ => return,
        };
        let asked = self.phandle(pick);
        let node = tree.node(asked);
        let relative = node.and_then(|node| match service {
            "peer" => tree.peer(node),
            "child" => tree.nodes[node].children.first().copied(),
            _ => tree.nodes[node].parent,
        });
        assert_eq!(self.one(service, &[asked.into()]), tree.phandle(relative), "{service}");
        if service == "peer" {
            assert_eq!(self.one("peer", &[0.into()]), tree.nodes[0].phandle);
        }
    }

    fn length(&self, pick: Pick, name: &str) {
        let asked = self.phandle(pick);
        let value = self.model.tree.node(asked).and_then(|node| self.value(node, name));
        let expected = value.map_or(NONE, |value| value.len() as u32);
        assert_eq!(self.one("getproplen", &[asked.into(), name.into()]), expected, "{name:?}");
    }

    fn get(&self, pick: Pick, name: &str, room: u32) {
        let asked = self.phandle(pick);
        let value = self.model.tree.node(asked).and_then(|node| self.value(node, name));
        let (len, written) = self.with_buffer(room, |buffer| {
            let arguments = [asked.into(), name.into(), buffer.into(), room.into()];
            self.one("getprop", &arguments)
        });
        assert_eq!(len, value.as_ref().map_or(NONE, |value| value.len() as u32), "{name:?}");
        let mut value = value.unwrap_or_default();
        value.truncate(room as usize);
        assert_eq!(written, value, "{name:?}");
    }

    fn next(&self, pick: Pick, name: &str) {
        let asked = self.phandle(pick);
        let (result, written) = self.with_buffer(64, |buffer| {
            self.one("nextprop", &[asked.into(), name.into(), buffer.into()])
        });
        let tree = &self.model.tree;
        let names = tree.node(asked).map(|node| tree.names(node)).unwrap_or_default();
        let expected = match names.iter().position(|other| *other == name) {
            _ if name.is_empty() && !names.is_empty() => (1, Some(names[0])),
            None if name == "name" && !names.is_empty() => (0, None),
            None => (NONE, None),
            Some(at) => names.get(at + 1).map_or((0, None), |next| (1, Some(*next))),
        };
        let expected_text = expected.1.map_or(vec![], |name| [name.as_bytes(), b"\0"].concat());
        assert_eq!((result, written), (expected.0, expected_text), "after {name:?}");
    }

    /// nextprop from the start, asked for by 0 instead of an empty name.
    fn first(&self, pick: Pick) {
        let asked = self.phandle(pick);
        let buffer = self.client().buffer();
        let result = self.one("nextprop", &[asked.into(), 0.into(), buffer.into()]);
        match self.model.tree.node(asked) {
            Some(node) => {
                let name = self.model.tree.names(node)[0].to_owned();
                assert_eq!((result, self.client().text(buffer)), (1, name));
            }
            None => assert_eq!(result, NONE),
        }
    }

    fn set(&mut self, pick: Pick, name: &str, value: &[u8]) {
        let asked = self.phandle(pick);
        let tree = &self.model.tree;
        let node = tree.node(asked).filter(|&node| is_free_to_set(&tree.path(node), name));
        let len = value.len() as u32;
        let arguments = [asked.into(), name.into(), value.into(), len.into()];
        assert_eq!(self.one("setprop", &arguments), node.map_or(NONE, |_| len), "{name:?}");
        if let Some(node) = node {
            self.model.tree.set(node, name, value);
        }
    }

    fn find(&self, path: &str) {
        let tree = &self.model.tree;
        let expected = tree.find(path).map_or(NONE, |(node, _)| tree.nodes[node].phandle);
        assert_eq!(self.one("finddevice", &[path.into()]), expected, "{path}");
    }

    fn open(&mut self, path: &str) {
        let ihandle = self.one("open", &[path.into()]);
        let instances = &mut self.model.instances;
        let found = self.model.tree.find(path).filter(|_| instances.len() < MAX_INSTANCES);
        assert_eq!(ihandle != 0, found.is_some(), "{path}");
        if let Some((node, arguments)) = found {
            assert!(instances.iter().all(|(other, ..)| *other != ihandle));
            instances.push((ihandle, node, arguments));
        }
    }

    fn instance_at(&self, at: usize) -> Option<(u32, usize, String)> {
        let instances = &self.model.instances;
        (!instances.is_empty()).then(|| instances[at % instances.len()].clone())
    }

    fn instance(&self, at: usize, room: u32) {
        let Some((ihandle, node, arguments)) = self.instance_at(at) else {
            assert_eq!(self.one("instance-to-package", &[1.into()]), NONE);
            return;
        };
        let tree = &self.model.tree;
        let package = self.one("instance-to-package", &[ihandle.into()]);
        assert_eq!(package, tree.nodes[node].phandle);
        let colon = if arguments.is_empty() { "" } else { ":" };
        let path = format!("{}{colon}{arguments}", tree.path(node));
        for service in ["instance-to-path", "instance-to-interposed-path"] {
            self.path(service, ihandle.into(), room, Some(path.clone()));
        }
    }

    fn close(&mut self, at: usize) {
        let Some((ihandle, ..)) = self.instance_at(at) else { return };
        self.silent("close", &[ihandle.into()]);
        self.model.instances.retain(|(other, ..)| *other != ihandle);
        assert_eq!(self.one("instance-to-package", &[ihandle.into()]), NONE);
    }

    /// A call that has no results.
    fn silent(&self, service: &'static str, arguments: &[Argument<'_>]) {
        let outcome = self.client().call(service, arguments, 0);
        assert_eq!((outcome.status, outcome.next), (Status::SUCCESS, Next::Resume), "{service}");
        self.succeeded.borrow_mut().insert(service);
    }

    fn claim(&mut self, cells: [u32; 3], expected: Option<u32>) {
        let claimed = self.one("claim", &cells.map(Argument::from));
        assert_eq!(claimed, expected.unwrap_or(NONE), "claim of {cells:x?}");
        if expected.is_some() {
            self.claimed.push((claimed, cells[1]));
        }
    }

    fn release(&mut self, start: u32, size: u32) {
        // It has no result: what came of it shows in what is free.
        self.silent("release", &[start.into(), size.into()]);
        let released = self.model.memory.release(start, size);
        if released {
            self.forget(start, size);
        }
    }

    /// Claims that were released, or a part of them, are none any more.
    pub(super) fn forget(&mut self, start: u32, size: u32) {
        let touches = |claim: &(u32, u32)| {
            let (first, len) = (u64::from(claim.0), u64::from(claim.1));
            first < u64::from(start) + u64::from(size) && u64::from(start) < first + len
        };
        self.claimed.retain(|claim| !touches(claim));
    }

    fn is_console(&self, node: usize) -> bool {
        self.model.tree.find(VTY).is_some_and(|(vty, _)| vty == node)
    }

    fn write(&self, at: usize, text: &[u8]) {
        let Some((ihandle, node, _)) = self.instance_at(at) else { return };
        let shown = self.machine.console.shown().len();
        let text: Vec<u8> = text.iter().map(|byte| byte & 0x7f).collect();
        let arguments = [ihandle.into(), (&*text).into(), (text.len() as u32).into()];
        let written = self.one("write", &arguments);
        let expected = if self.is_console(node) { text.len() as u32 } else { NONE };
        assert_eq!(written, expected);
        let shown = self.machine.console.shown()[shown..].to_owned();
        assert_eq!(shown.as_bytes(), if written == NONE { &[] } else { &*text });
    }

    fn read(&self, at: usize, typed: &str, room: u32) {
        const NOTHING_YET: u32 = -2_i32 as u32;
        let Some((ihandle, node, _)) = self.instance_at(at) else { return };
        let client = self.client();
        client.poke(client.buffer(), &[0; 512]);
        let arguments = [ihandle.into(), client.buffer().into(), room.into()];
        if !self.is_console(node) {
            assert_eq!(self.one("read", &arguments), NONE);
            return;
        }
        self.machine.console.type_in(typed);
        let mut text = String::new();
        // What there was no room for comes with the next call.
        while text.len() < typed.len() && room > 0 {
            let len = self.one("read", &arguments);
            assert!(len > 0 && len <= room);
            let read = client.peek(client.buffer(), len as usize);
            text.push_str(&String::from_utf8_lossy(&read));
        }
        if room > 0 {
            assert_eq!(text, typed);
            assert_eq!(self.one("read", &arguments), NOTHING_YET);
        } else {
            assert_eq!(self.one("read", &arguments), 0);
            // For the next one to find nothing.
            let all = [ihandle.into(), client.buffer().into(), 512.into()];
            let _ = self.one("read", &all);
        }
    }

    fn move_on(&mut self) {
        let state = self.machine.vof().state().expect("it can be saved");
        let tree = DeviceTree::from_blob(&self.blob).expect("it was one before");
        let next = TestMachine::restored(tree, &memory_map(), builder, &state);
        self.machine = next.expect("what was saved is taken up");
    }

    fn nothing(&mut self) {
        let milliseconds = self.one("milliseconds", &[]);
        assert!(milliseconds >= self.milliseconds);
        self.milliseconds = milliseconds;
        self.silent("quiesce", &[]);
        let Some((ihandle, ..)) = self.instance_at(0) else { return };
        assert_eq!(self.one("seek", &[ihandle.into(), 0.into(), 0.into()]), NONE);
    }

    fn path(&self, service: &'static str, of: Argument<'_>, room: u32, expected: Option<String>) {
        let (len, written) =
            self.with_buffer(room, |buffer| self.one(service, &[of, buffer.into(), room.into()]));
        assert_eq!(len, expected.as_ref().map_or(NONE, |path| path.len() as u32), "{service}");
        let mut text = expected.map_or(vec![], |path| [path.as_bytes(), b"\0"].concat());
        text.truncate(room as usize);
        assert_eq!(written, text, "{service} {of:?}");
    }

    /// Makes a call that writes to a buffer; gives its result and what it wrote, and sees that
    /// nothing beyond `room` was written.
    fn with_buffer(&self, room: u32, call: impl Fn(u32) -> u32) -> (u32, Vec<u8>) {
        const BYTES: usize = 1024;
        let client = self.client();
        let buffer = client.buffer();
        // Twice: what is as it was before is what nobody wrote.
        let [one, other] = [0x55, 0xaa].map(|untouched| {
            client.poke(buffer, &[untouched; BYTES]);
            let result = call(buffer);
            (result, client.peek(buffer, BYTES))
        });
        assert_eq!(one.0, other.0);
        let len = one.1.iter().zip(&other.1).take_while(|(one, other)| one == other).count();
        assert!(len <= room as usize);
        let is_untouched = |bytes: &[u8], by: u8| bytes[len..].iter().all(|&byte| byte == by);
        assert!(is_untouched(&one.1, 0x55) && is_untouched(&other.1, 0xaa));
        (one.0, one.1[..len].to_vec())
    }
}

const VTY: &str = "/vdevice/vty@71000000";
const MEMORY: &str = "/memory@0";
const CPU: &str = "/cpus/PowerPC,POWER9@0";

/// Whether it is a name, and not one that says what the machine is.
fn is_free_to_set(path: &str, name: &str) -> bool {
    let is_name = (1..=MAX_PROPERTY_NAME_BYTES).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_graphic() && c != '/');
    let machine = ["name", "reg", "ranges", "device_type", "compatible", "model", "status"];
    let handles = ["phandle", "linux,phandle", "assigned-addresses"];
    let starts = ["#", "ibm,", "interrupt", "dma-"];
    let is_chosen = path == "/chosen" && ["stdin", "stdout", "memory", "mmu"].contains(&name);
    let is_memory = path.starts_with("/memory") && name == "available";
    is_name
        && !machine.contains(&name)
        && !handles.contains(&name)
        && !starts.iter().any(|start| name.starts_with(start))
        && !is_chosen
        && !is_memory
}
