//! The guest's side of the client interface: for tests, fuzzers and benches.
//!
//! A [`Client`] builds an argument array in guest memory, makes the hypercall, and reads the
//! results, as a program in the guest would:
//!
//! ```
//! use vof_device::test_utils::{TestMachine, sample_tree};
//!
//! let machine = TestMachine::new(sample_tree(), 16 << 20, |builder| builder);
//! let client = machine.client();
//! let chosen = client.call("finddevice", &["/chosen".into()], 1).results[0];
//! assert_eq!(client.getprop(chosen, "bootargs").as_deref(), Some(&b"console=hvc0\0"[..]));
//! ```

mod disk;
pub mod iso;
pub mod labels;
#[cfg(feature = "serde")]
pub mod model;
#[cfg(feature = "serde")]
mod saved;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arch_ppc64::hypercall::token;
use arch_ppc64::topology::MemoryMap;
use arch_ppc64::{Console, CpuIndex, GuestRam, Hypercall, HypercallBus, Next, Status};
use vm_fdt::FdtWriter;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::{DeviceTree, Vof, VofBuilder};
pub use disk::{DiskCounts, TestDisk, numbered_byte};

/// Where a [`TestMachine`]'s firmware is, and how many bytes of it there are.
pub const FIRMWARE_BYTES: u64 = 0x1_0000;

/// Where the clients of a [`TestMachine`] have arrays, strings and buffers.
pub const WORKSPACE: u32 = 0x1_0000;

/// Size of the workspace in bytes.
pub const WORKSPACE_BYTES: u32 = 0x4_0000;

/// All services: name, and how many arguments it needs.
pub fn services() -> impl Iterator<Item = (&'static str, usize)> {
    crate::services::rows()
}

/// All methods that `call-method` knows: package and name.
pub fn methods() -> impl Iterator<Item = (&'static str, &'static str)> {
    crate::packages::method_names()
}

/// All phrases that `interpret` knows.
pub fn phrases() -> impl Iterator<Item = &'static str> {
    crate::services::phrases()
}

/// What `call` passes in one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument<'a> {
    /// The cell itself.
    Cell(u32),
    /// The address of this text, which is put into guest memory with a NUL behind it.
    Text(&'a str),
    /// The address of these bytes, which are put into guest memory.
    Bytes(&'a [u8]),
}

impl From<u32> for Argument<'_> {
    fn from(cell: u32) -> Self {
        Self::Cell(cell)
    }
}

impl<'a> From<&'a str> for Argument<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The status of the hypercall.
    pub status: Status,
    /// What the CPU does next.
    pub next: Next,
    /// The cells of results in the array after the call; [`UNTOUCHED`] where none was written.
    pub results: Vec<u32>,
}

/// The status of a call that the firmware image makes again.
pub const CALL_AGAIN: Status = Status(vof_firmware::CALL_AGAIN);

/// What is in the places of results before a call.
pub const UNTOUCHED: u32 = 0x5a5a_5a5a;

/// A client program: it has a workspace in guest memory and makes calls.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    bus: &'a HypercallBus,
    ram: &'a dyn GuestRam,
    workspace: u32,
    bytes: u32,
    cpu: CpuIndex,
}

impl<'a> Client<'a> {
    /// A client that uses `bytes` bytes from `workspace` on for itself: the first half for arrays
    /// and what they point to, the second as a [`buffer`](Self::buffer).
    pub fn new(bus: &'a HypercallBus, ram: &'a dyn GuestRam, workspace: u32, bytes: u32) -> Self {
        Self { bus, ram, workspace, bytes, cpu: CpuIndex(0) }
    }

    /// The same on another CPU than the first.
    pub fn on_cpu(self, cpu: CpuIndex) -> Self {
        Self { cpu, ..self }
    }

    /// Address of a buffer of [`buffer_bytes`](Self::buffer_bytes) that calls do not touch.
    pub fn buffer(&self) -> u32 {
        self.workspace + self.bytes / 2
    }

    /// Size of the buffer in bytes.
    pub fn buffer_bytes(&self) -> u32 {
        self.bytes / 2
    }

    /// Reads guest memory.
    ///
    /// # Panics
    /// If it is no RAM.
    pub fn peek(&self, at: u32, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.ram.read(GuestAddress(at.into()), &mut read).expect("the test's address is RAM");
        read
    }

    /// Writes guest memory.
    ///
    /// # Panics
    /// If it is no RAM.
    pub fn poke(&self, at: u32, data: &[u8]) {
        self.ram.write(GuestAddress(at.into()), data).expect("the test's address is RAM");
    }

    /// Makes one call, with places for so many results.
    ///
    /// # Panics
    /// If array and strings do not fit into the workspace.
    pub fn call(&self, service: &str, arguments: &[Argument<'_>], results: usize) -> Outcome {
        self.put_call(service, arguments, results);
        self.call_array(self.workspace.into(), arguments.len(), results)
    }

    /// As [`call`](Self::call), but it is tried once: the status may be [`CALL_AGAIN`].
    ///
    /// # Panics
    /// If array and strings do not fit into the workspace.
    pub fn try_call(&self, service: &str, arguments: &[Argument<'_>], results: usize) -> Outcome {
        self.put_call(service, arguments, results);
        self.try_array(self.workspace.into(), arguments.len(), results)
    }

    fn put_call(&self, service: &str, arguments: &[Argument<'_>], results: usize) {
        let array_bytes = (3 + arguments.len() + results) * 4;
        let mut data_at = self.workspace + array_bytes as u32;
        let mut place = |bytes: &[u8], end: &[u8]| {
            let at = data_at;
            self.poke(at, bytes);
            data_at += bytes.len() as u32;
            self.poke(data_at, end);
            data_at += end.len() as u32;
            assert!(data_at <= self.buffer(), "a call does not fit into the workspace");
            at
        };
        let mut cells = vec![place(service.as_bytes(), &[0])];
        cells.extend([arguments.len() as u32, results as u32]);
        for argument in arguments {
            cells.push(match *argument {
                Argument::Cell(cell) => cell,
                Argument::Text(text) => place(text.as_bytes(), &[0]),
                Argument::Bytes(bytes) => place(bytes, &[]),
            });
        }
        cells.resize(cells.len() + results, UNTOUCHED);
        self.poke_cells(self.workspace, &cells);
    }

    /// Makes a call whose array is in guest memory already, as the firmware image does: again and
    /// again, until there is an answer.
    pub fn call_array(&self, at: u64, arguments: usize, results: usize) -> Outcome {
        loop {
            let outcome = self.try_array(at, arguments, results);
            if outcome.status != CALL_AGAIN {
                return outcome;
            }
        }
    }

    /// Makes a call whose array is in guest memory already once: the status may be [`CALL_AGAIN`].
    pub fn try_array(&self, at: u64, arguments: usize, results: usize) -> Outcome {
        let mut call = Hypercall::new(token::VOF_CLIENT, &[at]);
        let next = self.bus.dispatch(self.cpu, self.ram, &mut call);
        let first = at.saturating_add(12 + arguments as u64 * 4);
        let result = |number: usize| {
            let address = GuestAddress(first.saturating_add(number as u64 * 4));
            self.ram.read_be_u32(address).unwrap_or(UNTOUCHED)
        };
        Outcome { status: call.status(), next, results: (0..results).map(result).collect() }
    }

    /// Writes big-endian cells.
    ///
    /// # Panics
    /// If it is no RAM.
    pub fn poke_cells(&self, at: u32, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.poke(at, &bytes);
    }

    /// Makes a call of one result and gives that.
    ///
    /// # Panics
    /// If the call could not be made.
    pub fn one(&self, service: &str, arguments: &[Argument<'_>]) -> u32 {
        let outcome = self.call(service, arguments, 1);
        assert_eq!(outcome.status, Status::SUCCESS, "{service}");
        assert_eq!(outcome.next, Next::Resume, "{service}");
        outcome.results[0]
    }

    /// The phandle of a device specifier, if it names a node.
    pub fn finddevice(&self, path: &str) -> Option<u32> {
        some(self.one("finddevice", &[path.into()]))
    }

    /// The phandle of a device specifier.
    ///
    /// # Panics
    /// If it names no node.
    pub fn phandle(&self, path: &str) -> u32 {
        self.finddevice(path).unwrap_or_else(|| panic!("there is no {path}"))
    }

    /// The path that `service`, one of those that give one, gives of a handle.
    ///
    /// # Panics
    /// If it fails, or the length it tells is not that of the path.
    pub fn path(&self, service: &str, handle: u32) -> String {
        let arguments = [handle.into(), self.buffer().into(), self.buffer_bytes().into()];
        let len = self.one(service, &arguments);
        let path = self.text(self.buffer());
        assert_eq!(path.len(), len as usize, "{service}");
        path
    }

    /// The value of a property, asked for by `getproplen` and `getprop`.
    ///
    /// # Panics
    /// If the two do not agree, or the value does not fit into the buffer.
    pub fn getprop(&self, phandle: u32, name: &str) -> Option<Vec<u8>> {
        let len = some(self.one("getproplen", &[phandle.into(), name.into()]));
        let (buffer, room) = (self.buffer(), self.buffer_bytes());
        let arguments = [phandle.into(), name.into(), buffer.into(), room.into()];
        let got = some(self.one("getprop", &arguments));
        assert_eq!(len, got, "getproplen and getprop of {name}");
        got.map(|len| {
            assert!(len <= room, "{name} does not fit into the buffer");
            self.peek(buffer, len as usize)
        })
    }

    /// The names of a node's properties, in order.
    ///
    /// # Panics
    /// If `nextprop` fails.
    pub fn properties(&self, phandle: u32) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let previous = names.last().map_or("", String::as_str);
            let buffer = self.buffer();
            match self.one("nextprop", &[phandle.into(), previous.into(), buffer.into()]) {
                0 => return names,
                1 => names.push(self.text(buffer)),
                other => panic!("nextprop after {previous:?}: {other:#x}"),
            }
        }
    }

    /// The NUL-terminated text at an address.
    ///
    /// # Panics
    /// If it does not end within 1,024 bytes, or is none.
    pub fn text(&self, at: u32) -> String {
        let mut bytes = vec![0; 1024];
        let len = self.ram.read_available(GuestAddress(at.into()), &mut bytes);
        let end = bytes[..len].iter().position(|&byte| byte == 0).expect("the text ends");
        String::from_utf8(bytes[..end].to_vec()).expect("the text is text")
    }
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

fn some(cell: u32) -> Option<u32> {
    (cell != u32::MAX).then_some(cell)
}

/// A console that keeps what was written and gives what it was told to.
#[derive(Debug, Default)]
pub struct TestConsole {
    shown: Mutex<Vec<u8>>,
    typed: Mutex<VecDeque<u8>>,
    /// How many more bytes it takes; no limit if it has none.
    room: Mutex<Option<usize>>,
    /// How many more writes find no room, and what room there is then.
    room_later: Mutex<Option<(usize, usize)>>,
    waits: Mutex<usize>,
}

impl TestConsole {
    /// What was written so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&lock(&self.shown)).into_owned()
    }

    /// Types `text`.
    pub fn type_in(&self, text: &str) {
        lock(&self.typed).extend(text.bytes());
    }

    /// Takes only so many bytes from now on.
    pub fn limit(&self, bytes: usize) {
        *lock(&self.room) = Some(bytes);
    }

    /// Takes nothing for so many writes from now on, and then so many bytes.
    pub fn limit_later(&self, writes: usize, bytes: usize) {
        self.limit(0);
        *lock(&self.room_later) = Some((writes, bytes));
    }

    /// How often somebody waited for a key.
    pub fn waits(&self) -> usize {
        *lock(&self.waits)
    }
}

impl Console for TestConsole {
    fn write(&self, text: &[u8]) -> usize {
        let mut room = lock(&self.room);
        let mut later = lock(&self.room_later);
        match later.as_mut() {
            Some((0, bytes)) => {
                *room = Some(*bytes);
                *later = None;
            }
            Some((writes, _)) => *writes -= 1,
            None => {}
        }
        let taken = room.map_or(text.len(), |room| room.min(text.len()));
        *room = room.map(|room| room - taken);
        lock(&self.shown).extend_from_slice(&text[..taken]);
        taken
    }

    fn read(&self, buf: &mut [u8]) -> usize {
        let mut typed = lock(&self.typed);
        let count = typed.len().min(buf.len());
        for (place, byte) in buf.iter_mut().zip(typed.drain(..count)) {
            *place = byte;
        }
        count
    }

    fn wait(&self, _limit: Duration) {
        *lock(&self.waits) += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A machine of nothing but RAM and the client interface.
#[derive(Debug)]
pub struct TestMachine {
    /// Guest memory.
    pub ram: GuestMemoryMmap,
    /// What clients call.
    pub bus: HypercallBus,
    /// The interface.
    pub vof: Arc<Vof>,
    /// Its console.
    pub console: Arc<TestConsole>,
}

impl TestMachine {
    /// A machine with RAM from address 0 to `ram_bytes`; the rest as [`in_memory`](Self::in_memory).
    ///
    /// # Panics
    /// If the interface cannot be built, or RAM is not of whole pages.
    pub fn new(
        tree: DeviceTree,
        ram_bytes: u64,
        change: impl FnOnce(VofBuilder) -> VofBuilder,
    ) -> Self {
        Self::in_memory(tree, &of_size(ram_bytes), change)
    }

    /// A machine with this tree and memory, firmware in its first [`FIRMWARE_BYTES`], a client in
    /// the [workspace](WORKSPACE), and, where the tree has a node `/vdevice/vty@71000000`, a
    /// console. `change` sees the builder last.
    ///
    /// # Panics
    /// If the interface cannot be built.
    pub fn in_memory(
        tree: DeviceTree,
        memory: &MemoryMap,
        change: impl FnOnce(VofBuilder) -> VofBuilder,
    ) -> Self {
        let (ram, builder, console) = Self::parts(tree, memory);
        let vof = change(builder).build().expect("the test's interface can be built");
        Self::of(ram, vof, console)
    }

    fn of(ram: GuestMemoryMmap, vof: Vof, console: Arc<TestConsole>) -> Self {
        let vof = Arc::new(vof);
        let bus = HypercallBus::new(vec![vof.clone()]).expect("there is one handler");
        Self { ram, bus, vof, console }
    }

    fn parts(
        tree: DeviceTree,
        memory: &MemoryMap,
    ) -> (GuestMemoryMmap, VofBuilder, Arc<TestConsole>) {
        const VTY: &str = "/vdevice/vty@71000000";
        let ranges: Vec<_> =
            memory.ram().map(|range| (range.start, range.bytes as usize)).collect();
        let ram = GuestMemoryMmap::from_ranges(&ranges).expect("the test's RAM can be mapped");
        let console = Arc::new(TestConsole::default());
        let has_console = tree.find(VTY).is_some();
        let mut builder = Vof::builder(tree, memory)
            .firmware(GuestAddress(0), FIRMWARE_BYTES)
            .reserve(GuestAddress(WORKSPACE.into()), WORKSPACE_BYTES.into());
        if has_console {
            builder = builder.console(VTY, console.clone());
        }
        (ram, builder, console)
    }

    /// The client in the workspace.
    pub fn client(&self) -> Client<'_> {
        Client::new(&self.bus, &self.ram, WORKSPACE, WORKSPACE_BYTES)
    }

    /// The interface.
    pub fn vof(&self) -> &Vof {
        &self.vof
    }
}

/// RAM from address 0 to `ram_bytes`.
///
/// # Panics
/// If that is not made of whole pages.
pub fn of_size(ram_bytes: u64) -> MemoryMap {
    MemoryMap::of_size(ram_bytes).expect("the test's RAM is made of whole pages")
}

/// The blob of [`sample_tree`].
///
/// # Panics
/// Never: what it writes is valid.
pub fn sample_blob() -> Vec<u8> {
    write_sample().expect("the sample is a valid tree")
}

/// A small tree with one of each that services know: `/chosen`, `/aliases`, `/options`, `/rtas`,
/// `/memory@0`, a console `/vdevice/vty@71000000` with the alias `hvterm`, and nodes with units
/// and manufacturers for paths to choose from.
///
/// # Panics
/// Never: what it is made of is valid.
pub fn sample_tree() -> DeviceTree {
    DeviceTree::from_blob(&sample_blob()).expect("the sample is a valid tree")
}

fn write_sample() -> Result<Vec<u8>, vm_fdt::Error> {
    let mut fdt = FdtWriter::new()?;
    let mut phandle = 0;
    let mut node = |fdt: &mut FdtWriter, name: &str| {
        phandle += 1;
        let node = fdt.begin_node(name)?;
        fdt.property_phandle(phandle)?;
        Ok::<_, vm_fdt::Error>(node)
    };
    let root = node(&mut fdt, "")?;
    fdt.property_string("device_type", "chrp")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    let chosen = node(&mut fdt, "chosen")?;
    fdt.property_string("bootargs", "console=hvc0")?;
    fdt.end_node(chosen)?;
    let aliases = node(&mut fdt, "aliases")?;
    fdt.property_string("hvterm", "/vdevice/vty@71000000")?;
    fdt.property_string("disk", "/vdevice/v-scsi@2000:1")?;
    fdt.end_node(aliases)?;
    let options = node(&mut fdt, "options")?;
    fdt.property_string("boot-command", "boot")?;
    fdt.end_node(options)?;
    let rtas = node(&mut fdt, "rtas")?;
    fdt.property_u32("rtas-size", 4096)?;
    fdt.end_node(rtas)?;
    let memory = node(&mut fdt, "memory@0")?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &[0, 16 << 20])?;
    fdt.end_node(memory)?;
    let cpus = node(&mut fdt, "cpus")?;
    for (number, name) in [(0, "PowerPC,POWER9@0"), (1, "PowerPC,POWER9@1")] {
        let cpu = node(&mut fdt, name)?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_u32("reg", number)?;
        fdt.property_null("ibm,a-flag")?;
        fdt.end_node(cpu)?;
    }
    fdt.end_node(cpus)?;
    let vdevice = node(&mut fdt, "vdevice")?;
    for name in ["vty@71000000", "v-scsi@2000", "IBM,nvram@71000001"] {
        let device = node(&mut fdt, name)?;
        fdt.property_string("name", name.split('@').next().unwrap_or(name))?;
        fdt.end_node(device)?;
    }
    fdt.end_node(vdevice)?;
    fdt.end_node(root)?;
    fdt.finish()
}
