//! The start of a machine as one call, both ways in, and one that goes on where another was saved.

use std::sync::Arc;

use arch_ppc64::boot::Boot;
use arch_ppc64::config::{self, Cpus, MachineConfig, Memory};
use arch_ppc64::hvterm::{self, HvTerm};
use arch_ppc64::hypercall::token;
use arch_ppc64::layout::{VTY_PATH, VTY_UNIT};
use arch_ppc64::loader::KERNEL_BASE;
use arch_ppc64::platform::{
    InterruptKind, NoInterrupts, Platform, PlatformBuilder, PlatformError, PlatformState,
};
use arch_ppc64::rtas::StandardCalls;
use arch_ppc64::xics::KernelXics;
use arch_ppc64::{CpuIndex, EntryRegisters, Hypercall, Machine, NoCpus, Status};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vof_device::test_utils::{Argument, Client, TestConsole};
use vof_device::{BootError, BuildError, VofBuilder};

const NONE: u32 = u32::MAX;
const KERNEL_BYTES: u64 = 0x10_0000;
const INITRD: &[u8] = b"the initrd";
const SEED: [u8; 32] = [0x5e; 32];
/// Where the client of a test has its arrays: in its own image.
const WORKSPACE: u32 = KERNEL_BASE.0 as u32;

struct Config {
    x_vof: bool,
}

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(64 << 20)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(1, Default::default())
    }

    fn boot(&self) -> config::Boot<'_> {
        config::Boot::new("console=hvc0")
    }

    fn x_vof(&self) -> bool {
        self.x_vof
    }
}

/// A 64-bit little-endian ELF file with one segment: eight bytes of code in [`KERNEL_BYTES`].
fn kernel() -> Vec<u8> {
    const BASE: u64 = 0xc000_0000_0000_0000;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2_u16, 21].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([BASE, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    file.extend([1_u32, 7].iter().flat_map(|word| word.to_le_bytes()));
    let header = [120, BASE, 0, 8, KERNEL_BYTES, 0x1_0000];
    file.extend(header.iter().flat_map(|word: &u64| word.to_le_bytes()));
    file.extend(*b"the code");
    file
}

/// A machine on which nothing runs yet.
struct Board {
    platform: Platform,
    ram: GuestMemoryMmap,
    console: Arc<TestConsole>,
}

impl Board {
    fn new(x_vof: bool) -> Self {
        Self::of(x_vof, true, None)
    }

    /// With a console or without one, and perhaps with the interrupts of a machine that was saved.
    fn of(x_vof: bool, has_console: bool, saved: Option<&PlatformState>) -> Self {
        let machine = Machine::new(&Config { x_vof }).unwrap();
        let console = Arc::new(TestConsole::default());
        let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
        if let Some(saved) = saved {
            builder = builder.with_interrupts(saved.interrupts().clone()).unwrap();
        }
        builder.add(Arc::new(KernelXics::new(machine.topology())));
        if has_console {
            let id = hvterm::id_of(VTY_UNIT);
            let input = builder.interrupt(&id, hvterm::INPUT, InterruptKind::Edge).unwrap();
            let vty = HvTerm::new(VTY_UNIT, console.clone()).with_interrupt(input);
            builder.add(Arc::new(vty));
        }
        let calls = StandardCalls::new(&machine, Arc::new(NoCpus), console.clone());
        builder.add_all(calls.devices());
        let platform = builder.build().unwrap();
        let map = machine.memory_map();
        let ranges: Vec<_> = map.ram().map(|range| (range.start, range.bytes as usize)).collect();
        Self { platform, ram: GuestMemoryMmap::from_ranges(&ranges).unwrap(), console }
    }

    /// What this host has for the client interface.
    fn host(&self) -> impl FnOnce(VofBuilder) -> VofBuilder + use<> {
        let (console, topology) =
            (self.console.clone(), self.platform.machine().topology().clone());
        move |vof| vof.console(VTY_PATH, console).cpus(Arc::new(NoCpus), &topology)
    }

    /// The guest's door: what answers it is whatever is plugged in.
    fn client(&self) -> Client<'_> {
        Client::new(self.platform.hypercalls(), &self.ram, WORKSPACE, KERNEL_BYTES as u32)
    }

    fn bytes(&self, at: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.ram.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }
}

#[test]
fn the_client_interface_way_in_is_one_call() {
    let mut board = Board::new(true);
    let (kernel, initrd) = (kernel(), INITRD.to_vec());
    let boot = Boot::new(&kernel, SEED).with_initrd(Some(&initrd)).number(2);
    let boot = boot.with_boot_arguments(Some("of the client before"));
    let host = board.host();
    let booted = vof_device::boot(&boot, &mut board.platform, &board.ram, host).unwrap();
    assert_eq!(booted.registers, EntryRegisters::at(GuestAddress(vof_firmware::ENTRY)));
    let image = board.bytes(vof_firmware::LOAD_ADDRESS, vof_firmware::IMAGE.len());
    assert_eq!(image, vof_firmware::IMAGE);
    assert_eq!(board.bytes(KERNEL_BASE.0, 8), b"the code");

    let client = board.client();
    let chosen = client.phandle("/chosen");
    assert_eq!(client.getprop(chosen, "rust-vmm,boot-count").unwrap(), [0, 0, 0, 2]);
    assert_eq!(client.getprop(chosen, "rng-seed").unwrap(), SEED);
    assert_eq!(client.getprop(chosen, "bootargs").unwrap(), b"of the client before\0");
    // The firmware's memory cannot be had, what is reserved can be given back.
    let [.., initrd_at, initrd_bytes] = cells(&client, chosen, vof_firmware::CLIENT_PROPERTY)[..]
    else {
        panic!("no place of the initrd")
    };
    assert_eq!(board.bytes(initrd_at.into(), INITRD.len()), INITRD);
    assert_eq!(initrd_bytes, INITRD.len() as u32);
    let claim = |at: u32, bytes: u32| client.one("claim", &[at.into(), bytes.into(), 0.into()]);
    for (at, bytes) in [(0, 0x1000), (WORKSPACE, 8), (initrd_at, initrd_bytes)] {
        assert_eq!(claim(at, bytes), NONE, "{at:#x}");
        let _ = client.call("release", &[at.into(), bytes.into()], 0);
        assert_eq!(claim(at, bytes), if at == 0 { NONE } else { at }, "{at:#x}");
    }
    // The console is the host's; who negotiates is there already.
    let stdout = cells(&client, chosen, "stdout")[0];
    assert_eq!(client.one("write", &[stdout.into(), "hello".into(), 5.into()]), 5);
    assert_eq!(board.console.shown(), "hello");
    let root = client.one("open", &["/".into()]);
    let vectors: &[u8] = &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80];
    let cas: [Argument<'_>; 3] =
        ["ibm,client-architecture-support".into(), root.into(), vectors.into()];
    assert_eq!(client.call("call-method", &cas, 2).results, [0, 0]);
    // It is what the caller has, too.
    let calls = booted.vof.unwrap().calls();
    assert!(calls.contains(&("write", 1)), "{calls:?}");
}

fn cells(client: &Client<'_>, phandle: u32, name: &str) -> Vec<u32> {
    let value = client.getprop(phandle, name).unwrap();
    value.chunks(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
}

#[test]
fn the_flat_way_in_is_the_same_call() {
    let mut board = Board::new(false);
    let (kernel, initrd) = (kernel(), INITRD.to_vec());
    let boot = Boot::new(&kernel, SEED).with_initrd(Some(&initrd));
    let not_called = |_: VofBuilder| -> VofBuilder { panic!("there is no client interface") };
    let booted = vof_device::boot(&boot, &mut board.platform, &board.ram, not_called).unwrap();
    assert!(booted.vof.is_none());
    assert_eq!(booted.registers.pc, KERNEL_BASE);
    assert_eq!(board.bytes(booted.registers.r3, 4), [0xd0, 0x0d, 0xfe, 0xed]);
    let mut call = Hypercall::new(token::VOF_CLIENT, &[KERNEL_BASE.0]);
    let _ = board.platform.hypercalls().dispatch(CpuIndex(0), &board.ram, &mut call);
    assert_eq!(call.status(), Status::FUNCTION);
    assert!(vof_device::plug_in(&mut board.platform, not_called).unwrap().is_none());
}

/// A console whose node no device has described.
#[test]
fn a_missing_console_is_an_error() {
    let kernel = kernel();
    let mut board = Board::of(true, false, None);
    let boot = Boot::new(&kernel, SEED);
    let missing = BuildError::NoConsole { path: VTY_PATH.to_owned() };
    let host = board.host();
    match vof_device::boot(&boot, &mut board.platform, &board.ram, host).unwrap_err() {
        BootError::Build(error) => assert_eq!(error, missing),
        other => panic!("{other}"),
    }
    let host = board.host();
    match vof_device::plug_in(&mut board.platform, host).unwrap_err() {
        BootError::Build(error) => assert_eq!(error, missing),
        other => panic!("{other}"),
    }
    // Nothing was plugged in, and without a console there can be an interface.
    vof_device::boot(&boot, &mut board.platform, &board.ram, |vof| vof).unwrap();
}

#[test]
fn a_machine_has_one_client_interface() {
    let kernel = kernel();
    let mut board = Board::new(true);
    let boot = Boot::new(&kernel, SEED);
    vof_device::boot(&boot, &mut board.platform, &board.ram, |vof| vof).unwrap();
    let error = vof_device::plug_in(&mut board.platform, |vof| vof).unwrap_err();
    let BootError::Platform(error) = error else { panic!("{error}") };
    assert!(matches!(error, PlatformError::DuplicateDevice { .. }), "{error}");
}

/// A client's work on a board, begun; what it holds from then on.
fn begun() -> (Board, Vec<u32>, PlatformState) {
    let mut board = Board::new(true);
    let (kernel, initrd) = (kernel(), INITRD.to_vec());
    let boot = Boot::new(&kernel, SEED).with_initrd(Some(&initrd)).number(7);
    let host = board.host();
    vof_device::boot(&boot, &mut board.platform, &board.ram, host).unwrap();
    let client = board.client();
    let chosen = client.phandle("/chosen");
    let mut handles: Vec<u32> =
        ["/", "/rtas", VTY_PATH].map(|path| client.one("open", &[path.into()])).into();
    let set = [chosen.into(), "bootargs".into(), "longer than they were".into(), 22.into()];
    assert_eq!(client.one("setprop", &set), 22);
    assert_ne!(client.one("claim", &[0.into(), 0x3000.into(), 0x1000.into()]), NONE);
    let initrd_at = cells(&client, chosen, vof_firmware::CLIENT_PROPERTY)[2];
    let _ = client.call("release", &[initrd_at.into(), (INITRD.len() as u32).into()], 0);
    handles.push(initrd_at);
    let saved = serde_json::to_string(&board.platform.save().unwrap()).unwrap();
    let saved = serde_json::from_str(&saved).unwrap();
    (board, handles, saved)
}

/// The rest of its work: all answers.
fn go_on(board: &Board, handles: &[u32]) -> Vec<String> {
    let client = board.client();
    let chosen = client.phandle("/chosen");
    let mut answers = Vec::new();
    for name in client.properties(chosen) {
        let value = client.getprop(chosen, &name).unwrap();
        answers.push(format!("{name} {}", value.escape_ascii()));
    }
    let [open @ .., initrd_at] = handles else { panic!("no handles") };
    for &ihandle in open {
        answers.push(client.path("instance-to-path", ihandle));
    }
    let console = open.last().copied().unwrap_or_default();
    let write = [console.into(), "still here".into(), 10.into()];
    for (service, arguments) in [
        ("write", write.as_slice()),
        ("claim", &[(*initrd_at).into(), 10.into(), 0.into()]),
        ("claim", &[0.into(), 0x1000.into(), 0x1000.into()]),
        ("claim", &[0x1000.into(), 0x1000.into(), 0.into()]),
        ("open", &["/vdevice".into()]),
    ] {
        answers.push(format!("{service} {:#x}", client.one(service, arguments)));
    }
    answers
}

/// Its calls get the answers that they would have got, and no payload is there a second time.
#[test]
fn a_saved_machine_goes_on_in_another() {
    let (first, handles, saved) = begun();
    let mut second = Board::of(true, true, Some(&saved));
    let host = second.host();
    let vof = vof_device::plug_in(&mut second.platform, host).unwrap().unwrap();
    assert_eq!(second.bytes(KERNEL_BASE.0, 8), [0; 8], "nothing is loaded");
    second.platform.restore(&saved).unwrap();
    let answers = go_on(&second, &handles);
    assert_eq!(answers, go_on(&first, &handles));
    assert!(answers.contains(&"rust-vmm,boot-count \\x00\\x00\\x00\\x07".to_owned()));
    assert_eq!(second.console.shown(), "still here");
    assert!(vof.calls().contains(&("write", 1)));
}

/// The firmware's memory is no client's here either.
#[test]
fn a_state_with_the_firmwares_memory_free_is_refused() {
    let (_, _, saved) = begun();
    let mut value = serde_json::to_value(&saved).unwrap();
    let free = &mut value["devices"]["client-interface"]["state"]["free_memory"];
    assert!(free[0][0].as_u64().unwrap() >= vof_firmware::RESERVED_BYTES);
    free[0][0] = 0.into();
    let bad: PlatformState = serde_json::from_value(value).unwrap();
    let mut board = Board::of(true, true, Some(&bad));
    let host = board.host();
    vof_device::plug_in(&mut board.platform, host).unwrap();
    let error = board.platform.restore(&bad).unwrap_err();
    assert!(matches!(&error, PlatformError::State { id, .. } if id == "client-interface"));
}
