//! `example-vmm machine.json`: a small VMM in another style than pseries-vmm, on public API only.
//! docs/integrate.md walks through it.

#![deny(unsafe_code)]

mod console;
mod vcpu;

use std::io::{self, Read};
use std::ptr::NonNull;
use std::sync::Arc;
use std::{fs::File, path::PathBuf, process::ExitCode, thread};

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory, PseriesOptions};
use arch_ppc64::hvterm::{self, HvTerm};
use arch_ppc64::layout::{VTY_PATH, VTY_UNIT};
use arch_ppc64::loader::Source;
use arch_ppc64::platform::{InterruptKind, InterruptLine, Platform, PlatformBuilder};
use arch_ppc64::rtas::{self, RealTimeClock, StandardCalls};
use arch_ppc64::{CpuIndex, Hypercall, Next, StopReason, VcpuHost, smp::Mailboxes};
use arch_ppc64::{EntryRegisters, GuestRam, Machine, boot};
use kvm_ppc64::{IN_KERNEL_RTAS_CALLS, Kvm, MemoryFlags, Vcpu, Vm, VmOptions};
use serde::Deserialize;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, bitmap::AtomicBitmap};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};
use vmm_sys_util::terminal::Terminal;

use console::StdioConsole;
use vcpu::{AllCpus, CallbackVcpu, ExitHandler};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let ended = run();
    let _ = io::stdin().lock().set_canon_mode();
    let Err(error) = ended else { return ExitCode::SUCCESS };
    let causes = std::iter::successors(error.source(), |error| error.source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    eprintln!("example-vmm: {error}{causes}");
    ExitCode::FAILURE
}

/// A virtual machine. The keys are Cloud Hypervisor's, and `machine` is new.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VmConfig {
    cpus: CpusConfig,
    memory: MemoryConfig,
    payload: PayloadConfig,
    machine: PseriesOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CpusConfig {
    boot_vcpus: u32,
    max_vcpus: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryConfig {
    size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadConfig {
    kernel: PathBuf,
    initramfs: Option<PathBuf>,
    cmdline: String,
}

impl MachineConfig for VmConfig {
    fn memory(&self) -> Memory {
        Memory::of_size(self.memory.size)
    }
    fn cpus(&self) -> Cpus {
        Cpus { boot: self.cpus.boot_vcpus, max: self.cpus.max_vcpus, model: self.machine.cpu }
    }
    fn boot(&self) -> Boot<'_> {
        Boot { cmdline: &self.payload.cmdline }
    }
    fn x_vof(&self) -> bool {
        self.machine.x_vof.unwrap_or(true)
    }
}

/// What stays over restarts of the machine, but RAM: nothing of one client is for the next.
struct Board {
    machine: Machine,
    kernel: File,
    initramfs: Option<File>,
    /// It knows which of its pages this process wrote to.
    ram: Arc<GuestMemoryMmap<AtomicBitmap>>,
    console: Arc<StdioConsole>,
    clock: Arc<RealTimeClock>,
}

fn run() -> Result<()> {
    let open = |path: &PathBuf| {
        File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let path = std::env::args_os().nth(1).ok_or("usage: example-vmm machine.json")?;
    let config: VmConfig = serde_json::from_reader(open(&path.into())?.take(1 << 20))?;
    let machine = Machine::new(&config)?;
    machine.x_vof().then_some(()).ok_or("x-vof has to be on: there is no other way in here")?;
    let kvm = Kvm::open()?;
    register_signal_handler(SIGRTMIN(), on_kick)?;
    let mut board = Board {
        machine: machine.on_host(kvm.host_pvr()?)?,
        kernel: open(&config.payload.kernel)?,
        initramfs: config.payload.initramfs.as_ref().map(open).transpose()?,
        ram: Arc::default(),
        console: Arc::new(StdioConsole::new()?),
        clock: Arc::default(),
    };
    io::stdin().lock().set_raw_mode()?;
    let mut boot_count = 1;
    loop {
        match board.start(&kvm, boot_count)? {
            StopReason::Reset => boot_count += 1,
            StopReason::PowerOff => return Ok(()),
            reason => return Err(format!("the guest ended: {reason:?}").into()),
        }
    }
}

impl Board {
    /// The machine from one reset to the next: all but the board is made anew.
    fn start(&mut self, kvm: &Kvm, boot_count: u32) -> Result<StopReason> {
        let map = self.machine.memory_map();
        let ranges: Vec<_> = map.ram().map(|range| (range.start, range.bytes as usize)).collect();
        self.ram = Arc::new(GuestMemoryMmap::from_ranges(&ranges)?);
        let (vm, vcpus) = self.create_vm(kvm)?;
        let own_vm = vm.clone();
        let mailboxes =
            Mailboxes::new().with_negotiated(move |decision| own_vm.negotiated(decision));
        let mailboxes = Arc::new(mailboxes);
        for vcpu in &vcpus {
            mailboxes.add(vcpu.kicker());
        }
        let event_loop = self.console.event_loop.clone();
        let cpus = AllCpus { mailboxes: mailboxes.clone(), event_loop };
        let (platform, input, registers) = self.boot(mailboxes.clone(), &vm, boot_count)?;
        eprintln!("start {boot_count}: {} pages written before it", self.dirty_pages());
        mailboxes.start(CpuIndex(0), registers)?;
        let reason = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (id, vcpu) in self.machine.vcpus().zip(vcpus) {
                let mut vcpu = CallbackVcpu { id, vcpu, cpus: &cpus };
                let mut exits = Exits(&platform, &*self.ram);
                threads.push(scope.spawn(move || vcpu.run(&mut exits)));
            }
            let served = self.console.serve(&cpus, &input);
            cpus.end();
            let mut reason = None;
            for thread in threads {
                reason = thread.join().map_err(|_| "a vCPU thread panicked")??.or(reason);
            }
            served?;
            reason.ok_or_else(|| "no vCPU says why the machine ended".into())
        });
        eprintln!("start {boot_count}: {} pages written in its course", self.dirty_pages());
        reason
    }

    /// A virtual machine on this RAM, all of its CPUs stopped.
    fn create_vm(&self, kvm: &Kvm) -> Result<(Arc<Vm>, Vec<Vcpu>)> {
        use vm_memory::GuestMemoryRegion;
        let machine = &self.machine;
        let options = VmOptions::new(machine.topology(), SIGRTMIN());
        let vm = kvm.create_vm(options.with_compat(machine.cpu().compat()))?;
        for (slot, region) in (0..).zip(self.ram.iter()) {
            let at = region.start_addr();
            let host = NonNull::new(self.ram.get_host_address(at)?).ok_or("RAM is at 0")?;
            // SAFETY: RAM is made anew when the CPUs of this VM have ended, and vm-memory accesses
            // it by volatile and atomic operations only.
            #[allow(unsafe_code)]
            unsafe {
                vm.set_memory_region(slot, at, host, region.len(), MemoryFlags::PLAIN)?;
            }
        }
        for name in IN_KERNEL_RTAS_CALLS {
            vm.define_rtas_call(name, rtas::token_of(name).ok_or("an RTAS call is missing")?)?;
        }
        let vcpus =
            machine.vcpus().map(|id| vm.create_vcpu(id)).collect::<std::result::Result<_, _>>()?;
        Ok((vm, vcpus))
    }

    /// Makes the devices, those of the back end and the rest, and puts the guest in place. Gives
    /// the console's interrupt, too, and how the first CPU is entered.
    fn boot(
        &self,
        cpus: Arc<Mailboxes>,
        vm: &Vm,
        count: u32,
    ) -> Result<(Platform, InterruptLine, EntryRegisters)> {
        let (machine, console) = (&self.machine, &self.console);
        let calls = StandardCalls::new(machine, cpus.clone(), console.clone());
        let mut builder = PlatformBuilder::new(machine, vm.interrupts().clone());
        let vty = hvterm::id_of(VTY_UNIT);
        let input = builder.interrupt(&vty, hvterm::INPUT, InterruptKind::Edge)?;
        let vty = HvTerm::new(VTY_UNIT, console.clone()).with_interrupt(input.clone());
        builder
            .add_all(vm.devices())
            .add(Arc::new(vty))
            .add_all(calls.with_clock(self.clock.clone()).devices());
        let mut platform = builder.build()?;
        let mut rng_seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut rng_seed)?;
        let boot = boot::Boot::new(&self.kernel, rng_seed)
            .with_initrd(self.initramfs.as_ref().map(|file| file as &dyn Source))
            .number(count);
        let booted = vof_device::boot(&boot, &mut platform, &*self.ram, |vof| {
            vof.console(VTY_PATH, console.clone()).cpus(cpus, machine.topology())
        })?;
        Ok((platform, input, booted.registers))
    }

    /// How many pages this process wrote through vm-memory since this was last asked.
    fn dirty_pages(&self) -> u32 {
        let words = self.ram.iter().flat_map(|region| region.bitmap().get_and_reset());
        words.map(u64::count_ones).sum()
    }
}

/// The signal that ends a run: its arrival is enough.
extern "C" fn on_kick(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// What the CPUs' exits lead to: hypercalls to the bus. On the memory bus there is nothing.
struct Exits<'a>(&'a Platform, &'a dyn GuestRam);

impl ExitHandler for Exits<'_> {
    fn hypercall(&mut self, caller: CpuIndex, call: &mut Hypercall) -> Next {
        self.0.hypercalls().dispatch(caller, self.1, call)
    }
}
