//! The machine at work: an event loop on the calling thread and a thread a virtual CPU.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arch_ppc64::{HypercallBus, Machine, Next, StopReason, VcpuId};
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::boot::{self, Board, BootError, Payload};
use crate::console::HostConsole;
use crate::ram::HostRam;
use crate::signals::Signals;
use crate::smp::{Cpus, Order};
use crate::terminal::RawTerminal;
use crate::vcpu::{Backend, BackendError, InterruptController, Vcpu, VcpuExit};
use arch_ppc64::layout::VTY_INTERRUPT;

/// How a run of the VMM ended.
#[derive(Debug)]
pub enum Ending {
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a restart, and restarts are not wanted.
    Reset,
    /// The person at the terminal left.
    Left,
    /// A signal asked the process to end.
    Signal(i32),
    /// The guest's client program gave up.
    ClientExit,
    /// The guest crashed; what is known about it.
    Crash(String),
}

/// Why the VMM could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// The guest's first instructions and data could not be put in place.
    #[error("cannot prepare the guest's start")]
    Boot(#[from] BootError),
    /// The back end failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The terminal could not be used.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
    /// The event loop failed.
    #[error("the event loop failed")]
    Events(#[source] event_manager::Error),
    /// A resource of the host could not be had.
    #[error("cannot create {what}")]
    Create {
        /// What was wanted.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Two parts answer the same hypercall.
    #[error(transparent)]
    Bus(#[from] arch_ppc64::DuplicateToken),
    /// A bug of this program.
    #[error("the thread of {0} panicked")]
    Panic(VcpuId),
}

/// What a machine is run with.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The machine, fitted to the host.
    pub(crate) machine: Machine,
    /// What is started.
    pub(crate) payload: Payload,
    /// What runs the guest's instructions.
    pub(crate) backend: Box<dyn Backend>,
    /// Whether a guest that asks for a restart gets it.
    pub(crate) reboot: bool,
}

/// Runs a machine to its end, on the console of this process.
///
/// Signals that ask the process to end are blocked from here on: with [`Ending::Signal`], it is
/// for the caller to end as the signal says.
///
/// # Errors
/// [`VmmError`] when the host fails; the terminal is as before in any case.
pub(crate) fn run(setup: &Setup) -> Result<Ending, VmmError> {
    let signals = Signals::block().map_err(create("a descriptor for signals"))?;
    let console = Arc::new(HostConsole::new(libc::STDOUT_FILENO).map_err(create("the console"))?);
    let end = Arc::new(End::new().map_err(create("an event"))?);
    let ram: Arc<dyn HostRam> = Arc::new(boot::create_ram(&setup.machine)?);
    let board = Board { console: console.clone(), clock: Arc::default() };
    let terminal = RawTerminal::enter().map_err(VmmError::Terminal)?;
    let wire = Arc::new(InterruptWire::default());
    let mut events =
        EventManager::<Box<dyn MutEventSubscriber>>::new().map_err(VmmError::Events)?;
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    events.add_subscriber(Box::new(Input {
        stdin: File::from(stdin.map_err(create("a descriptor of standard input"))?),
        console: console.clone(),
        wire: wire.clone(),
        end: end.clone(),
        keys: terminal.is_some(),
    }));
    events.add_subscriber(Box::new(Leave { signals, end: end.clone() }));

    let mut boot_count = 1;
    loop {
        let life = Life::begin(setup, &ram, &board, &end, boot_count)?;
        wire.connect(Some(life.interrupts.clone()));
        let why = loop {
            if let Some(why) = end.take() {
                break Ok(why);
            }
            if let Err(error) = events.run() {
                break Err(VmmError::Events(error));
            }
        };
        wire.connect(None);
        life.end();
        match why? {
            Why::Guest(StopReason::Reset) if setup.reboot => {
                log::info!("the guest restarts");
                console.reset();
                // Something may have come while the CPUs stopped.
                if let Some(Why::Signal(signal)) = end.take() {
                    return Ok(Ending::Signal(signal));
                }
                boot_count += 1;
            }
            Why::Guest(StopReason::Reset) => return Ok(Ending::Reset),
            Why::Guest(StopReason::PowerOff) => return Ok(Ending::PowerOff),
            Why::Guest(StopReason::ClientExit) => return Ok(Ending::ClientExit),
            Why::Guest(StopReason::Crash) => {
                return Ok(Ending::Crash("its system said so".to_owned()));
            }
            Why::Crash(what) => return Ok(Ending::Crash(what)),
            Why::Left => return Ok(Ending::Left),
            Why::Signal(signal) => return Ok(Ending::Signal(signal)),
            Why::Host(error) => return Err(error),
        }
    }
}

fn create(what: &'static str) -> impl FnOnce(io::Error) -> VmmError {
    move |source| VmmError::Create { what, source }
}

/// Why a machine stops.
#[derive(Debug)]
enum Why {
    Guest(StopReason),
    Crash(String),
    Left,
    Signal(i32),
    Host(VmmError),
}

/// Where the first who wants the machine to stop says so.
struct End {
    why: Mutex<Option<Why>>,
    event: EventFd,
}

impl End {
    fn new() -> io::Result<Self> {
        Ok(Self { why: Mutex::new(None), event: EventFd::new(EFD_NONBLOCK)? })
    }

    fn because(&self, why: Why) {
        let mut first = lock(&self.why);
        // A person or a signal that wants to leave is not held up by a guest that restarts.
        let outranked = matches!(*first, None | Some(Why::Guest(StopReason::Reset)));
        if outranked {
            *first = Some(why);
        }
        drop(first);
        // Cannot fail: the counter is far from its end.
        let _ = self.event.write(1);
    }

    fn take(&self) -> Option<Why> {
        lock(&self.why).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A machine between two resets.
struct Life {
    cpus: Arc<Cpus>,
    interrupts: Arc<dyn InterruptController>,
    threads: Vec<JoinHandle<()>>,
}

impl Life {
    fn begin(
        setup: &Setup,
        ram: &Arc<dyn HostRam>,
        board: &Board,
        end: &Arc<End>,
        boot_count: u32,
    ) -> Result<Self, VmmError> {
        let vm = setup.backend.create(&setup.machine, ram)?;
        let cpus = Arc::new(Cpus::new(vm.vcpus.iter().map(|vcpu| vcpu.kicker()).collect()));
        let boot = boot::prepare(
            &setup.machine,
            &setup.payload,
            ram.as_guest(),
            board,
            cpus.clone(),
            boot_count,
        )?;
        let handlers = boot.handlers.into_iter().chain(vm.handlers).collect();
        let bus = Arc::new(HypercallBus::new(handlers)?);
        let mut life = Self { cpus, interrupts: vm.interrupts, threads: Vec::new() };
        for (id, vcpu) in setup.machine.vcpus().zip(vm.vcpus) {
            let thread = CpuThread {
                id,
                vcpu,
                bus: bus.clone(),
                ram: ram.clone(),
                cpus: life.cpus.clone(),
                end: end.clone(),
            };
            let started = std::thread::Builder::new().name(id.to_string()).spawn(|| thread.main());
            match started {
                Ok(thread) => life.threads.push(thread),
                Err(error) => {
                    life.end();
                    return Err(create("a thread")(error));
                }
            }
        }
        for vcpu in setup.machine.vcpus().take(1) {
            // It is stopped, as all are.
            let _ = life.cpus.start_with(vcpu, boot.registers);
        }
        Ok(life)
    }

    /// Stops every CPU and waits for it.
    fn end(self) {
        self.cpus.end();
        for thread in self.threads {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// The thread of a virtual CPU.
struct CpuThread {
    id: VcpuId,
    vcpu: Box<dyn Vcpu>,
    bus: Arc<HypercallBus>,
    ram: Arc<dyn HostRam>,
    cpus: Arc<Cpus>,
    end: Arc<End>,
}

impl CpuThread {
    fn main(mut self) {
        let _report = ReportPanic { id: self.id, end: self.end.clone() };
        while let Order::Start(registers) = self.cpus.wait(self.id) {
            let stopped = match self.vcpu.start(&registers) {
                Ok(()) => self.run(),
                Err(error) => Some(Why::Host(error.into())),
            };
            if let Some(why) = stopped {
                self.end.because(why);
                return;
            }
            self.cpus.stopped(self.id);
        }
    }

    /// Runs guest code until the CPU stops itself (`None`), or the machine is to stop.
    fn run(&mut self) -> Option<Why> {
        if self.cpus.ending() {
            return None;
        }
        loop {
            match self.vcpu.run() {
                Ok(VcpuExit::Hypercall(call)) => {
                    match self.bus.dispatch(self.id, self.ram.as_guest(), call) {
                        // A back end whose CPUs can be idle outside of the kernel ends its own
                        // sleep; for the others there is nothing to do.
                        Next::Resume | Next::Cede => {}
                        Next::Park => return None,
                        Next::Stop(reason) => return Some(Why::Guest(reason)),
                    }
                }
                Ok(VcpuExit::MmioRead(at, data)) => {
                    log::debug!("{} reads where no memory is, at {:#x}", self.id, at.0);
                    data.fill(0xff);
                }
                Ok(VcpuExit::MmioWrite(at, _)) => {
                    log::debug!("{} writes where no memory is, at {:#x}", self.id, at.0);
                }
                Ok(VcpuExit::Interrupted) => {
                    if self.cpus.ending() {
                        return None;
                    }
                }
                Ok(VcpuExit::Crashed(what)) => return Some(Why::Crash(what)),
                Err(error) => return Some(Why::Host(error.into())),
            }
        }
    }
}

/// Ends the machine when its thread panics.
struct ReportPanic {
    id: VcpuId,
    end: Arc<End>,
}

impl Drop for ReportPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end.because(Why::Host(VmmError::Panic(self.id)));
        }
    }
}

/// The console's interrupt, connected to the machine of the moment.
#[derive(Default)]
struct InterruptWire(Mutex<Option<Arc<dyn InterruptController>>>);

impl InterruptWire {
    fn connect(&self, controller: Option<Arc<dyn InterruptController>>) {
        *lock(&self.0) = controller;
    }

    fn raise(&self) {
        if let Some(controller) = &*lock(&self.0) {
            controller.raise(VTY_INTERRUPT);
        }
    }
}

/// Standard input → console.
struct Input {
    /// Read without a buffer of our own: what is in one would not be seen by the event loop.
    stdin: File,
    console: Arc<HostConsole>,
    wire: Arc<InterruptWire>,
    end: Arc<End>,
    /// A person types: Ctrl-A begins a command.
    keys: bool,
}

const INPUT: u32 = 0;
const DRAINED: u32 = 1;

impl Input {
    fn events(&self) -> Events {
        Events::with_data(&self.stdin, INPUT, EventSet::IN)
    }

    /// Reads once what is there; `false` at the end of the input.
    fn read(&self, room: usize) -> bool {
        let mut buf = [0; 4096];
        let len = room.min(buf.len());
        match (&self.stdin).read(&mut buf[..len]) {
            Ok(0) => return false,
            Ok(len) => {
                let typed = self.console.type_in(&buf[..len], self.keys);
                if typed.for_guest {
                    self.wire.raise();
                }
                if typed.leave {
                    self.end.because(Why::Left);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("cannot read standard input: {error}");
                return false;
            }
        }
        true
    }
}

impl MutEventSubscriber for Input {
    fn init(&mut self, ops: &mut EventOps) {
        let drained = Events::with_data(self.console.drained(), DRAINED, EventSet::IN);
        if let Err(error) = ops.add(drained) {
            log::warn!("cannot watch the console: {error}");
        }
        // A file cannot be watched, and need not: it is always there to be read.
        if ops.add(self.events()).is_err() {
            let _ = self.console.drained().write(1);
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        if events.data() == DRAINED {
            let _ = self.console.drained().read();
            // Watching a file fails each time; then it is read as far as there is room.
            if ops.add(self.events()).is_err() {
                loop {
                    let room = self.console.room();
                    if room == 0 || !self.read(room) {
                        break;
                    }
                }
            }
            return;
        }
        let room = self.console.room();
        if room == 0 || !self.read(room) {
            let _ = ops.remove(self.events());
        }
    }
}

/// Signals, and the machine's own wish to stop: what makes the loop look at [`End`].
struct Leave {
    signals: Signals,
    end: Arc<End>,
}

const SIGNAL: u32 = 0;
const END: u32 = 1;

impl MutEventSubscriber for Leave {
    fn init(&mut self, ops: &mut EventOps) {
        for (fd, data) in [(self.signals.as_raw_fd(), SIGNAL), (self.end.event.as_raw_fd(), END)] {
            if let Err(error) = ops.add(Events::with_data_raw(fd, data, EventSet::IN)) {
                log::error!("cannot watch for the end: {error}");
            }
        }
    }

    fn process(&mut self, events: Events, _: &mut EventOps) {
        if events.data() == END {
            let _ = self.end.event.read();
        } else if let Some(signal) = self.signals.next() {
            self.end.because(Why::Signal(signal));
        }
    }
}
