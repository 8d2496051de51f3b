//! Boots a kernel on the bare core: one CPU, a flat tree, and as little of a machine as it takes.
//!
//! ```text
//! cargo run --release --example boot -- vmlinux initramfs.cpio.gz [--icount] [--input TEXT] [CMDLINE]
//! ```
//!
//! For work on the core. Machines for users are `pseries-vmm`'s.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arch_ppc64::boot::Boot;
use arch_ppc64::config::{self, Cpus, MachineConfig, Memory};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::hvterm::HvTerm;
use arch_ppc64::hypercall::token;
use arch_ppc64::layout::VTY_UNIT;
use arch_ppc64::papr::{ModeCalls, PaprCalls, ProcessTable, ProcessorModes};
use arch_ppc64::platform::outline;
use arch_ppc64::rtas::{Rtas, StandardCalls};
use arch_ppc64::xics::{InterruptOutput, Xics};
use arch_ppc64::{
    Console, CpuIndex, CpuState, EntryRegisters, GuestRam, Hypercall, HypercallBus,
    HypercallHandler, Machine, Next, StartError, Status, VcpuHost,
};
use interp::{Cpu, CpuBus, Exit, PageMap, RamRegion, System};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

struct Config {
    cmdline: String,
}

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(1 << 30)
    }
    fn cpus(&self) -> Cpus {
        Cpus::new(1, CpuModel::Power9)
    }
    fn boot(&self) -> config::Boot<'_> {
        config::Boot::new(&self.cmdline)
    }
    fn x_vof(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Terminal {
    typed: Mutex<Vec<u8>>,
    shown: Mutex<Vec<u8>>,
    input: Vec<u8>,
}

impl Console for Terminal {
    fn write(&self, text: &[u8]) -> usize {
        let mut out = std::io::stdout();
        let _ = out.write_all(text);
        let _ = out.flush();
        let mut shown = self.shown.lock().unwrap();
        shown.extend_from_slice(text);
        if shown.windows(11).any(|window| window == b"GUEST-READY") {
            shown.clear();
            self.typed.lock().unwrap().extend_from_slice(&self.input);
        }
        text.len()
    }

    fn read(&self, buf: &mut [u8]) -> usize {
        let mut typed = self.typed.lock().unwrap();
        let count = typed.len().min(buf.len()).min(16);
        buf[..count].copy_from_slice(&typed[..count]);
        typed.drain(..count);
        count
    }
}

struct OneCpu;

impl VcpuHost for OneCpu {
    fn state(&self, target: CpuIndex) -> Option<CpuState> {
        (target.0 == 0).then_some(CpuState::Running)
    }
    fn start(&self, _: CpuIndex, _: EntryRegisters) -> Result<(), StartError> {
        Err(StartError::NotStopped)
    }
}

/// What H_SET_MODE and H_REGISTER_PROC_TBL ask for, until the CPU is told.
#[derive(Default)]
struct Modes(Mutex<Vec<Mode>>);

enum Mode {
    Endianness(bool),
    Location(u8),
    Table(interp::ProcessTable),
}

impl ProcessorModes for Modes {
    fn set_interrupt_endianness(&self, little: bool) -> Status {
        self.0.lock().unwrap().push(Mode::Endianness(little));
        Status::SUCCESS
    }
    fn set_interrupt_location(&self, ail: u8) -> Status {
        self.0.lock().unwrap().push(Mode::Location(ail));
        Status::SUCCESS
    }
    fn set_process_table(&self, table: &ProcessTable) -> Status {
        let ProcessTable::Radix { base, size_bytes, .. } = *table else {
            return Status::PARAMETER;
        };
        let table = interp::ProcessTable { base: base.0, size_bytes };
        self.0.lock().unwrap().push(Mode::Table(table));
        Status::SUCCESS
    }
}

/// The interrupt controller is connected to nothing: the one CPU hears of no device.
struct NoLine;

impl InterruptOutput for NoLine {
    fn set_external_interrupt(&self, _: CpuIndex, _: bool) {}
}

/// H_CEDE and H_REGISTER_VPA, as little as Linux can do with.
struct Sleep;

impl HypercallHandler for Sleep {
    fn tokens(&self) -> &[u64] {
        &[token::CEDE, token::REGISTER_VPA]
    }
    fn handle(&self, _: CpuIndex, _: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let next = call.finish(Status::SUCCESS);
        if call.token == token::CEDE { Next::Cede } else { next }
    }
}

/// The machine as the core sees it.
struct Board<'a> {
    ram: [RamRegion<'a>; 1],
    /// Timebase ticks that were slept through; the rest is instructions.
    slept: Cell<u64>,
    clock: Option<Instant>,
}

impl CpuBus for Board<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.ram
    }
    fn timebase(&self, instructions: u64) -> u64 {
        match self.clock {
            Some(start) => (start.elapsed().as_nanos() * 512 / 1000) as u64,
            None => instructions + self.slept.get(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    let (mut icount, mut input, mut max) = (false, String::new(), u64::MAX);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--icount" => icount = true,
            "--input" => input = args.next().unwrap_or_default(),
            "--max" => max = args.next().unwrap_or_default().parse()?,
            _ => files.push(arg),
        }
    }
    let [kernel, initrd, rest @ ..] = files.as_slice() else {
        return Err("kernel and initramfs wanted".into());
    };
    let cmdline = rest.first().cloned().unwrap_or("console=hvc0 cryptomgr.notests".into());
    let machine = Machine::new(&Config { cmdline })?;
    let (kernel, initrd) = (File::open(kernel)?, File::open(initrd)?);
    let map = machine.memory_map();
    let ranges: Vec<_> = map.ram().map(|range| (range.start, range.bytes as usize)).collect();
    let ram: GuestMemoryMmap<PageMap> = GuestMemoryMmap::from_ranges(&ranges)?;

    let boot = Boot::new(&kernel, [7; 32]).with_initrd(Some(&initrd));
    let registers = boot.flat(&outline(&machine)?, &ram)?;

    let console = Arc::new(Terminal {
        input: input.replace("\\n", "\n").into_bytes(),
        ..Terminal::default()
    });
    let modes = Arc::new(Modes::default());
    let xics = Arc::new(Xics::new(machine.topology(), Arc::new(NoLine)));
    let mut devices = StandardCalls::new(&machine, Arc::new(OneCpu), console.clone()).devices();
    devices.push(xics.clone());
    let bus = HypercallBus::new(vec![
        Arc::new(HvTerm::new(VTY_UNIT, console.clone())),
        Arc::new(Rtas::new(&devices)?),
        Arc::new(PaprCalls::new(machine.topology(), None)),
        Arc::new(ModeCalls::new(machine.topology(), modes.clone())),
        Arc::new(Sleep),
        xics,
    ])?;

    let region = ram.iter().next().ok_or("no RAM")?;
    let region = RamRegion::of(region).ok_or("no RAM")?;
    let clock = if icount { None } else { Some(Instant::now()) };
    let board = Board { ram: [region], slept: Cell::new(0), clock };
    let system = Arc::new(System::new(1));
    let mut cpu = Cpu::new(0, machine.cpu().pvr(), system.clone());
    cpu.stop_at_unimplemented(true);
    cpu.start(registers.pc.0, registers.is_64bit);
    cpu.set_gpr(3, registers.r3);
    cpu.set_gpr(4, registers.r4);

    let begin = Instant::now();
    let mut calls = BTreeMap::<u64, u64>::new();
    loop {
        match cpu.run(&board, max.saturating_sub(cpu.instructions())) {
            Exit::Hypercall => {
                let mut call = Hypercall { token: cpu.gpr(3), ..Hypercall::default() };
                for (number, arg) in (4..).zip(&mut call.args) {
                    *arg = cpu.gpr(number);
                }
                *calls.entry(call.token).or_default() += 1;
                let next = bus.dispatch(CpuIndex(0), &ram, &mut call);
                cpu.set_gpr(3, call.status);
                for (number, arg) in (4..).zip(call.args) {
                    cpu.set_gpr(number, arg);
                }
                for mode in modes.0.lock().unwrap().drain(..) {
                    match mode {
                        Mode::Endianness(little) => cpu.set_interrupt_endianness(little),
                        Mode::Location(ail) => cpu.set_interrupt_location(ail),
                        Mode::Table(table) => cpu.set_process_table(Some(table)),
                    }
                }
                match next {
                    Next::Resume => {}
                    Next::Cede => {
                        cpu.enable_interrupts();
                        let now = board.timebase(cpu.instructions());
                        let wait = cpu.decrementer_due_at().wrapping_sub(now);
                        if (wait as i64) > 0 {
                            match board.clock {
                                Some(_) => std::thread::sleep(std::time::Duration::from_nanos(
                                    wait * 1000 / 512,
                                )),
                                None => board.slept.set(board.slept.get() + wait),
                            }
                        }
                    }
                    Next::Park => return Err("parked".into()),
                    Next::Stop(reason) => {
                        println!("\n[stop: {reason:?}]");
                        break;
                    }
                }
            }
            Exit::Unimplemented(what) => {
                println!("\n[{what}]");
                break;
            }
            Exit::Stuck(what) => {
                println!("\n[{what}]");
                break;
            }
            other => {
                println!("\n[{other:?}]\n{}", cpu.registers());
                break;
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let millions = cpu.instructions() as f64 / 1e6;
    println!("[{millions:.1} M instructions in {seconds:.2} s: {:.0} MIPS]", millions / seconds);
    println!("[{:?}]\n[{calls:x?}]", cpu.stats());
    Ok(())
}
