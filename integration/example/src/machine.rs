//! A machine from one start to the next: made, paused, saved, restored, ended.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::boot::Boot;
use arch_ppc64::hvterm::{self, HvTerm};
use arch_ppc64::layout::{VTY_PATH, VTY_UNIT};
use arch_ppc64::loader::Source;
use arch_ppc64::platform::{
    InterruptKind, InterruptLine, InterruptNumbers, MmioRange, Platform, PlatformBuilder,
};
use arch_ppc64::rtas::{RealTimeClock, StandardCalls};
use arch_ppc64::smp::Mailboxes;
use arch_ppc64::{CpuIndex, Hypercall, Machine, Next, StopReason, VcpuHost};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;
use vof_device::VofBuilder;

use crate::Result;
use crate::config::{VmConfig, open};
use crate::console::StdioConsole;
use crate::counter::{self, Counter};
use crate::cpus::CpuManager;
use crate::hypervisor::{ExitHandler, Hypervisor, Vm};
use crate::memory::{self, Ram};
use crate::pause::PauseAfter;
use crate::pci;
use crate::snapshot::{Folder, Snapshot, Versioned};

/// How long devices may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stays over restarts of the machine.
pub(crate) struct Board {
    hypervisor: Box<dyn Hypervisor>,
    config: VmConfig,
    machine: Machine,
    pub(crate) console: Arc<StdioConsole>,
    clock: Arc<RealTimeClock>,
    /// When the machine pauses itself.
    pub(crate) pause: Arc<PauseAfter>,
}

/// A machine at work. All that it has is its own, RAM too: nothing of one client is for the next.
pub(crate) struct RunningMachine {
    boot_count: u32,
    cpus: CpuManager,
    input: InterruptLine,
    platform: Arc<Platform>,
    vm: Arc<dyn Vm>,
    /// Dropped last: CPUs use it.
    ram: Arc<Ram>,
}

/// A machine that has no CPUs yet.
struct Parts {
    mailboxes: Arc<Mailboxes>,
    input: InterruptLine,
    counter: Arc<Counter>,
    platform: Platform,
    vm: Arc<dyn Vm>,
    ram: Arc<Ram>,
}

impl Board {
    pub(crate) fn new(hypervisor: Box<dyn Hypervisor>, config: VmConfig) -> Result<Self> {
        let machine = Machine::new(&config)?.on_host(hypervisor.host_pvr()?)?;
        let interrupts = hypervisor.interrupts(machine.wanted_interrupts())?;
        let machine = machine.with_interrupts(interrupts);
        let mmu = hypervisor.mmu(machine.wanted_mmu())?;
        let machine = machine.with_mmu(mmu);
        Ok(Self {
            hypervisor,
            config,
            machine,
            console: Arc::new(StdioConsole::new()?),
            clock: Arc::default(),
            pause: Arc::default(),
        })
    }

    /// The machine from its beginning, for the first time or again; it is paused.
    pub(crate) fn boot(&self, boot_count: u32) -> Result<RunningMachine> {
        let mut parts = self.assemble(InterruptNumbers::default())?;
        let (kernel, initramfs) = (&self.config.payload.kernel, &self.config.payload.initramfs);
        let kernel = open(kernel)?;
        let initramfs = initramfs.as_ref().map(|path| open(path)).transpose()?;
        let mut rng_seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut rng_seed)?;
        let boot = Boot::new(&kernel, rng_seed)
            .with_initrd(initramfs.as_ref().map(|file| file as &dyn Source))
            .number(boot_count);
        let host = self.host(&parts);
        let registers = vof_device::boot(&boot, &mut parts.platform, &*parts.ram, host)?.registers;
        let machine = self.run(parts, boot_count)?;
        machine.cpus.mailboxes().start(CpuIndex(0), registers)?;
        Ok(machine)
    }

    /// A machine that was saved, perhaps by another process; it is paused.
    pub(crate) fn restore(&self, saved: &Snapshot, folder: &Folder) -> Result<RunningMachine> {
        let mut parts = self.assemble(saved.platform.interrupts().clone())?;
        let host = self.host(&parts);
        vof_device::plug_in(&mut parts.platform, host)?;
        folder.read_memory(|file| memory::restore(&parts.ram, saved.memory_pieces, file))?;
        let machine = self.run(parts, saved.boot_count)?;
        saved.vm.restore(machine.vm.state())?;
        machine.cpus.restore(&saved.cpus)?;
        machine.platform.restore(&saved.platform)?;
        Ok(machine)
    }

    /// A VM with its memory and devices.
    fn assemble(&self, numbers: InterruptNumbers) -> Result<Parts> {
        let ram = Arc::new(memory::create(self.machine.memory_map())?);
        let vm = self.hypervisor.create_vm(&self.machine)?;
        let machine = &vm.fit(&self.machine);
        // SAFETY: whoever has a CPU of the VM has the RAM as well, and drops it last.
        #[allow(unsafe_code)]
        unsafe {
            memory::add_to_vm(&ram, &*vm)?;
        }
        let own_vm = vm.clone();
        let mailboxes = Mailboxes::new().with_negotiated(move |to| own_vm.negotiated(to));
        let mailboxes = Arc::new(mailboxes);
        let mut builder =
            PlatformBuilder::new(machine, vm.interrupts()).with_interrupts(numbers)?;
        let vty = hvterm::id_of(VTY_UNIT);
        let input = builder.interrupt(&vty, hvterm::INPUT, InterruptKind::Edge)?;
        let vty = HvTerm::new(VTY_UNIT, self.console.clone()).with_interrupt(input.clone());
        let counter = Arc::new(Counter {
            register: MmioRange::new(machine.memory_map().end(), 4),
            interrupt: builder.interrupt(counter::ID, "counted", InterruptKind::Edge)?,
            count: Arc::default(),
        });
        let calls = StandardCalls::new(machine, mailboxes.clone(), self.console.clone());
        builder
            .add_all(vm.devices())
            .add(Arc::new(vty))
            .add_all(calls.with_clock(self.clock.clone()).devices())
            .add(counter.clone());
        if let Some(rng) = &self.config.rng {
            pci::add_entropy(&mut builder, &ram, &rng.src)?;
        }
        Ok(Parts { mailboxes, input, counter, platform: builder.build()?, vm, ram })
    }

    /// What the VMM gives the client interface.
    fn host(&self, parts: &Parts) -> impl FnOnce(VofBuilder) -> VofBuilder + use<> {
        let (console, topology) = (self.console.clone(), self.machine.topology().clone());
        let (cpus, counter) = (parts.mailboxes.clone(), parts.counter.clone());
        move |vof| {
            vof.console(VTY_PATH, console).cpus(cpus, &topology).package(counter::PATH, counter)
        }
    }

    /// Gives the machine its CPUs, all of them stopped, and pauses it: the terminal is not ready.
    fn run(&self, parts: Parts, boot_count: u32) -> Result<RunningMachine> {
        let Parts { ram, vm, platform, input, mailboxes, .. } = parts;
        let (platform, event_loop) = (Arc::new(platform), self.console.event_loop.clone());
        mailboxes.pause();
        let exits = Arc::new(Exits {
            platform: platform.clone(),
            ram: ram.clone(),
            mailboxes: mailboxes.clone(),
            event_loop: event_loop.clone(),
            pause: self.pause.clone(),
        });
        let mut cpus = CpuManager::new(mailboxes, event_loop);
        for index in self.machine.vcpus() {
            cpus.add(vm.create_vcpu(index, exits.clone())?)?;
        }
        Ok(RunningMachine { boot_count, cpus, input, platform, vm, ram })
    }
}

impl RunningMachine {
    /// Shows what the guest has to say, until the machine ends or pauses.
    pub(crate) fn attend(&self, board: &Board) -> Result<()> {
        Ok(board.console.serve(self.cpus.mailboxes(), &self.input, &board.pause)?)
    }

    /// Gets every CPU out of the guest, and has the devices rest. False when the machine ended
    /// instead.
    pub(crate) fn pause(&self) -> Result<bool> {
        self.cpus.mailboxes().pause();
        if !self.cpus.mailboxes().await_paused() {
            return Ok(false);
        }
        self.vm.pause_clock();
        self.platform.pause(PATIENCE)?;
        Ok(true)
    }

    /// Devices first: CPUs rely on them.
    pub(crate) fn resume(&self) -> Result<()> {
        self.platform.resume()?;
        self.vm.resume_clock();
        self.cpus.mailboxes().resume();
        Ok(())
    }

    /// Writes the paused machine into a folder.
    pub(crate) fn save(&self, board: &Board, folder: &Folder) -> Result<()> {
        // CPUs come first: what they have left open may still change devices.
        let cpus = self.cpus.save()?;
        let vm = Versioned::save(self.vm.state())?;
        let platform = self.platform.save()?;
        let memory_pieces = folder.write_memory(|file| memory::save(&self.ram, file))?;
        folder.write_state(&Snapshot {
            hypervisor: board.hypervisor.name().to_owned(),
            config: board.config.with_absolute_paths()?,
            boot_count: self.boot_count,
            memory_pieces,
            vm,
            cpus,
            platform,
        })
    }

    /// Waits for the CPUs of a machine that ends; why it does. `None`: because it is told to here.
    pub(crate) fn end(&mut self) -> Result<Option<StopReason>> {
        self.cpus.end()
    }

    pub(crate) fn boot_count(&self) -> u32 {
        self.boot_count
    }
}

/// What exits lead to: the buses of the platform.
struct Exits {
    platform: Arc<Platform>,
    mailboxes: Arc<Mailboxes>,
    event_loop: Arc<EventFd>,
    pause: Arc<PauseAfter>,
    /// Dropped last: the others may have the VM.
    ram: Arc<Ram>,
}

impl ExitHandler for Exits {
    fn hypercall(&self, caller: CpuIndex, call: &mut Hypercall) -> Next {
        // For `--after`: the machine is paused once so many calls were made.
        if self.pause.hypercall() {
            self.mailboxes.pause();
            let _ = self.event_loop.write(1);
        }
        self.platform.hypercalls().dispatch(caller, &*self.ram, call)
    }

    fn mmio_read(&self, caller: CpuIndex, at: GuestAddress, data: &mut [u8]) {
        self.platform.mmio().read_by(caller, at, data);
    }

    fn mmio_write(&self, caller: CpuIndex, at: GuestAddress, data: &[u8]) {
        self.platform.mmio().write_by(caller, at, data);
    }
}
