//! The machine at work: its starts and its end on the calling thread, a thread a virtual CPU, one
//! that plugs CPUs and memory, one for standard input, one for signals.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use arch_ppc64::hotplug::{Hotplug, Resource};
use arch_ppc64::nvram::Nvram;
use arch_ppc64::platform::{InterruptLine, SaveState};
use arch_ppc64::rtas::{PowerButton, RealTimeClock};
use arch_ppc64::smp::Mailboxes;
use arch_ppc64::{Machine, StopReason, VcpuHost};
use event_manager::MutEventSubscriber;

use crate::boot::MachineRam;
use crate::boot::{self, Board, BootError, BootFrom, ClientReporter, Parts, RamPlan, Randomness};
use crate::console::HostConsole;
use crate::consoles::{Consoles, Serial};
use crate::cpu_thread;
use crate::cpus::Cpus;
use crate::devices::{Devices, Plugged, Wires};
use crate::end::{End, Why};
use crate::error::{VmmError, create};
use crate::halves::Halves;
use crate::input::{Connected, EventLoop, Input, Wire};
use crate::locks::lock;
use crate::lost::LossWatch;
use crate::moments::Phase;
use crate::operate::Told;
use crate::outlet;
use crate::ram::HostRam;
use crate::resize::{self, Control, Notes, Resizer};
use crate::saved::{Live, MachineState, RestoreError, Resumption};
use crate::signals::{self, Signals};
use crate::stats::Stats;
use crate::terminal::{self, RawTerminal};
use crate::vcpu::{Backend, Vcpu, Vm};
use crate::watch::{How, Job, Watch};

/// How a run of the VMM ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ending {
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a restart, and restarts are not wanted.
    Reset,
    /// The person at the terminal left.
    Left,
    /// A signal asked the process to end.
    Signal(i32),
    /// Whoever controls the machine ended it.
    Stopped,
    /// The guest's client program gave up.
    ClientExit,
    /// No device has anything to start. The console shows what was tried.
    NothingToStart,
    /// The guest crashed; what is known about it.
    Crash(String),
}

/// What a machine is run with: on one of the back ends of this package, or on one of your own.
#[derive(Debug)]
pub struct Setup {
    /// The machine, fitted to the host.
    pub machine: Machine,
    /// What is started.
    pub from: BootFrom,
    /// What runs the guest's instructions.
    pub backend: Box<dyn Backend>,
    /// Whether a guest that asks for a restart gets it.
    pub reboot: bool,
    /// The machine's clock, which a restart leaves alone.
    pub clock: Arc<RealTimeClock>,
    /// Its non-volatile memory, which a restart leaves alone as well.
    pub nvram: Arc<Nvram>,
    /// Where the guest's randomness comes from.
    pub randomness: Randomness,
    /// How the machine's RAM is had from the host.
    pub ram: RamPlan,
    /// What is on the PCI bus.
    pub devices: Arc<Devices>,
    /// Makes it larger and smaller while it runs, and has it stand still.
    pub control: Control,
    /// The machine that was saved, if its first start is to go on with one: it is taken out.
    pub resumption: Mutex<Option<Resumption>>,
}

/// Runs a machine to its end, with its first console and the terminal that are in `consoles`.
///
/// Counts what it does in `stats`. Signals that ask the process to end are blocked from here on:
/// with [`Ending::Signal`], it is for the caller to end as the signal says.
///
/// # Errors
/// [`VmmError`] when the host fails; the terminal is as before in any case.
pub fn run(
    setup: &Setup,
    consoles: Consoles,
    stats: &Arc<Mutex<Stats>>,
) -> Result<Ending, VmmError> {
    let Consoles { serial, input: serial_input, terminal: console, .. } = consoles;
    let mut at_the_end = EndAtOnce(true);
    let signals = Signals::block().map_err(create("a descriptor for signals"))?;
    let end = Arc::new(End::new().map_err(create("an event"))?);
    setup.control.begin_run(&end);
    let job = Arc::new(Job::new().map_err(create("an event"))?);
    // Before RAM: to take it from the host may be long, and is nothing that somebody who leaves waits
    // for.
    let watch = Watch::start(signals, end.clone(), job.clone()).map_err(create("a thread"))?;
    let ram = match boot::create_ram(setup.machine.memory_map(), &setup.ram, &end.stopping()) {
        Ok(ram) => Arc::new(ram),
        Err(BootError::Ending) => {
            drop(watch);
            let ending = ending(end.wait());
            at_the_end.0 = !matches!(ending, Ok(Ending::Signal(_)));
            return ending;
        }
        Err(error) => return Err(error.into()),
    };
    lock(stats).moments.reach(Phase::Ram);
    let board = Board {
        console: serial.console(),
        is_on_terminal: matches!(serial, Serial::Terminal(_)),
        clock: setup.clock.clone(),
        nvram: setup.nvram.clone(),
        randomness: setup.randomness,
        ram: setup.ram.clone(),
        devices: setup.devices.clone(),
    };
    let terminal = match console {
        Some(_) => RawTerminal::enter().map_err(VmmError::Terminal)?,
        None => None,
    };
    let wire = Arc::new(Wire::default());
    let mut listeners: Vec<Box<dyn MutEventSubscriber + Send>> = Vec::new();
    if let Some(console) = &console {
        let stdin = outlet::duplicate(io::stdin().as_fd());
        let stdin = stdin.map_err(create("a descriptor of standard input"))?;
        let input = Input::new(stdin, console.clone(), wire.clone(), end.clone(), job);
        listeners.push(Box::new(input));
    }
    if let Some(input) = serial_input {
        listeners.push(Box::new(input));
    }
    let events = EventLoop::start(listeners, end.clone())?;

    let outside =
        Outside { serial, terminal: console.as_deref(), wire: &wire, control: &setup.control };
    let ending = live(setup, &ram, &board, &outside, &end, stats);
    setup.control.end();
    drop(events);
    let left = matches!(ending, Ok(Ending::Left | Ending::Signal(_)));
    // The guest's last line may be half a line: what comes next begins a new one.
    if let Some(console) = console.as_ref().filter(|_| left && terminal::is_raw()) {
        console.end_line();
    }
    outlet::flush(left);
    drop(terminal);
    // Somebody may have come when the machine had ended by itself.
    let ending = match (ending, watch.stop()) {
        (Ok(ending @ (Ending::Left | Ending::Signal(_))), _) => Ok(ending),
        (Ok(_), Some(How::Left)) => Ok(Ending::Left),
        (Ok(_), Some(How::Signal(signal))) => Ok(Ending::Signal(signal)),
        (ending, _) => ending,
    };
    let left = matches!(ending, Ok(Ending::Left | Ending::Signal(_)));
    // The first signal is the one that counts.
    at_the_end.0 = !matches!(ending, Ok(Ending::Signal(_)));
    match console.map_or(0, |console| console.unwritten_bytes()) {
        count @ 1.. if !left => log::warn!("the last {count} bytes of the console were not read"),
        _ => {}
    }
    ending
}

/// When dropped, and if so wanted: whoever ends the process now does it at once, as nobody is there
/// any more who takes signals in order.
struct EndAtOnce(bool);

impl Drop for EndAtOnce {
    fn drop(&mut self) {
        if self.0 {
            signals::end_at_once();
        }
    }
}

/// Starts the machine, and starts it again, until it ends.
fn live(
    setup: &Setup,
    ram: &Arc<MachineRam>,
    board: &Board,
    outside: &Outside<'_>,
    end: &Arc<End>,
    stats: &Arc<Mutex<Stats>>,
) -> Result<Ending, VmmError> {
    let mut nth = Nth {
        machine: setup.machine.clone(),
        boot_count: 1,
        boot_arguments: None,
        boot_device: None,
    };
    let mut resumption = lock(&setup.resumption).take();
    let (mut resumed, mut _loss_watch) = (None, None);
    if let Some(Resumption { source, .. }) = &mut resumption {
        if let Some(state) = source.known() {
            state.machine(&setup.machine, &*setup.backend)?;
        }
        let state = source.take(ram, &end.stopping());
        if end.is_wanted() {
            return ending(end.wait());
        }
        let state = state?;
        nth.machine = state.machine(&setup.machine, &*setup.backend)?;
        nth.boot_count = state.boot_count;
        state.place(&setup.devices)?;
        if let Some(loss) = ram.loss() {
            _loss_watch = Some(LossWatch::start(loss, end.clone()).map_err(create("a thread"))?);
        }
        resumed = Some(state);
    }
    loop {
        let life = Life::begin(setup, ram, board, end, stats, &nth, resumed.take().as_ref());
        let life = match (life, resumption.take()) {
            (Ok(life), Some(resumption)) => life.go_on(resumption),
            (life, _) => life,
        };
        let life = match life {
            Ok(life) => life,
            Err(VmmError::Boot(BootError::Ending)) => return ending(end.wait()),
            Err(VmmError::Boot(BootError::Nothing)) => return Ok(Ending::NothingToStart),
            Err(error) => return Err(error),
        };
        outside.connect(Some(&life));
        setup.control.tell(Told::Runs);
        let mut why = end.wait();
        // Whatever a guest does that finds zeros in the place of its memory comes of that.
        if !matches!(why, Why::Left | Why::Signal(_) | Why::Stopped) && ram.has_lost() {
            why = Why::Host(VmmError::LostMemory);
        }
        lock(stats).moments.reach(Phase::Stopped);
        outside.connect(None);
        let asks = setup.reboot && matches!(why, Why::Guest(StopReason::Reset));
        let restarts = asks || matches!(why, Why::Reboot);
        if restarts {
            setup.control.tell(Told::Restarts);
            lock(stats).moments.ask_for_restart();
        }
        if let Some(terminal) = outside.terminal.filter(|_| !restarts) {
            terminal.stop(matches!(why, Why::Left | Why::Signal(_)));
        }
        let present;
        (nth.boot_arguments, nth.boot_device, present) = life.end();
        lock(stats).moments.reach(Phase::Ended);
        // Something may have come while the CPUs stopped.
        let why = if restarts { end.take().unwrap_or(why) } else { why };
        match why {
            Why::Guest(StopReason::Reset) | Why::Reboot if restarts => {
                log::info!("the machine starts again");
                outside.serial.reset();
                // No CPU is left that runs, or has decoded what is there.
                match ram.clear(&end.stopping()) {
                    Err(BootError::Ending) => return ending(end.wait()),
                    cleared => cleared?,
                }
                if let Some(present) = present {
                    nth.machine = nth.machine.with_present(present).map_err(VmmError::Present)?;
                }
                nth.boot_count += 1;
            }
            why => return ending(why),
        }
    }
}

/// The end of a machine that does not start again.
fn ending(why: Why) -> Result<Ending, VmmError> {
    Ok(match why {
        Why::Guest(StopReason::Reset) => Ending::Reset,
        Why::Guest(StopReason::PowerOff) => Ending::PowerOff,
        Why::Guest(StopReason::ClientExit) => Ending::ClientExit,
        Why::Guest(StopReason::Crash) => Ending::Crash("its system said so".to_owned()),
        Why::Guest(other) => Ending::Crash(format!("it stopped: {other:?}")),
        Why::Crash(what) => Ending::Crash(what),
        Why::Left => Ending::Left,
        Why::Stopped => Ending::Stopped,
        // It would have started again.
        Why::Reboot => Ending::Reset,
        Why::Signal(signal) => Ending::Signal(signal),
        Why::Host(error) => return Err(error),
    })
}

/// What a machine is connected with while it runs, besides its devices.
struct Outside<'a> {
    serial: Serial,
    terminal: Option<&'a HostConsole>,
    wire: &'a Wire,
    control: &'a Control,
}

impl Outside<'_> {
    /// Connects a machine, or none.
    fn connect(&self, life: Option<&Life>) {
        let input = life.map(|life| life.input.clone());
        self.serial.connect(input.clone());
        self.control.connect_power_button(life.map(|life| life.power_button.clone()));
        let is_ours = matches!(self.serial, Serial::Terminal(_));
        self.wire.connect(life.map(|life| Connected {
            input: input.filter(|_| is_ours),
            power_button: life.power_button.clone(),
        }));
    }
}

/// What tells one start from another.
struct Nth {
    /// With what is plugged into it.
    machine: Machine,
    boot_count: u32,
    /// What the client before wants this start to have as arguments.
    boot_arguments: Option<String>,
    /// And to start from, if that can be.
    boot_device: Option<String>,
}

/// A machine between two resets.
struct Life {
    cpus: Arc<Cpus>,
    input: InterruptLine,
    power_button: PowerButton,
    hotplug: Option<Hotplug>,
    control: Control,
    resizer: Option<Resizer>,
    devices: Option<Arc<Plugged>>,
    client: Option<ClientReporter>,
    stats: Arc<Mutex<Stats>>,
}

/// What a machine leaves for its next start: the arguments that its client wants that to have, the
/// device that it is to be of, and what is plugged.
type Left = (Option<String>, Option<String>, Option<BTreeSet<Resource>>);

impl Life {
    fn begin(
        setup: &Setup,
        ram: &Arc<MachineRam>,
        board: &Board,
        end: &Arc<End>,
        stats: &Arc<Mutex<Stats>>,
        nth: &Nth,
        resumed: Option<&MachineState>,
    ) -> Result<Self, VmmError> {
        let host_ram: Arc<dyn HostRam> = ram.clone();
        let mut vm = setup.backend.create(&nth.machine, &host_ram)?;
        lock(stats).moments.reach(Phase::Machine);
        let machine = &vm.machine;
        let mailboxes = Arc::new(Mailboxes::new().with_negotiated(vm.negotiated));
        for (index, vcpu) in machine.vcpus().zip(&vm.vcpus) {
            // The mailboxes are new, and a machine has each CPU once.
            let _ = mailboxes.insert(index, vcpu.kicker());
        }
        let notes = Notes::new();
        let parts = Parts {
            ram: &*vm.ram,
            cpus: mailboxes.clone(),
            hotplug: notes.host(),
            boot_count: nth.boot_count,
            interrupts: vm.interrupts,
            devices: vm.devices,
            wires: Wires { memory: ram.memory().clone(), notify_events: vm.notify_events },
            resumed,
            boot_arguments: nth.boot_arguments.clone(),
            boot_device: nth.boot_device.clone(),
            stopping: end.stopping(),
        };
        let boot = boot::prepare(machine, &setup.from, board, parts)?;
        if let Some(state) = resumed {
            // It stands still until all of it is there.
            mailboxes.pause();
            if let Some(vm) = &vm.vm {
                vm.pause_clock();
            }
            state.restore_cpus(machine, vm.vm.as_deref(), &mut vm.vcpus, &mailboxes)?;
            let kept = setup.nvram.save();
            if let Err(error) = boot.platform.restore(state.platform()) {
                // What is on the host is as if nobody had tried.
                if let Ok(kept) = kept {
                    let _ = setup.nvram.restore(setup.nvram.version(), &kept);
                }
                return Err(RestoreError::from(error).into());
            }
        }
        lock(stats).moments.reach(Phase::Loaded);
        let shared = cpu_thread::Shared {
            bus: boot.platform.hypercalls().clone(),
            mmio: boot.platform.mmio().clone(),
            ram: vm.ram,
            mailboxes: mailboxes.clone(),
            end: end.clone(),
            all_stats: stats.clone(),
        };
        let mut life = Self {
            cpus: Arc::new(Cpus::new(shared, vm.vm.clone())),
            input: boot.input,
            power_button: boot.power_button,
            hotplug: boot.hotplug,
            control: setup.control.clone(),
            resizer: None,
            devices: boot.plugged.map(Arc::new),
            client: boot.client,
            stats: stats.clone(),
        };
        let started = life.start(setup, machine, vm.vcpus, vm.vm.clone(), ram, notes);
        if let Err(error) = started {
            life.end();
            return Err(error);
        }
        // From here on it may stand still, and be saved.
        let platform = Arc::new(boot.platform);
        let halves = Halves::new(mailboxes.clone(), platform.clone(), vm.vm.clone());
        life.control.begin_live(Live {
            backend: setup.backend.name(),
            machine: machine.clone(),
            boot_count: nth.boot_count,
            mailboxes: mailboxes.clone(),
            cpus: life.cpus.clone(),
            vm: vm.vm,
            platform,
            hotplug: life.hotplug.clone(),
            ram: ram.clone(),
            devices: setup.devices.clone(),
            client: life.client.clone(),
        });
        match boot.registers {
            None => life.control.begin_held(halves),
            Some(registers) => {
                life.control.begin_halves(halves);
                for vcpu in machine.vcpus().take(1) {
                    // It is stopped, as all are.
                    let _ = mailboxes.start(vcpu, registers);
                }
            }
        }
        Ok(life)
    }

    /// A machine that was saved is there, and stands still.
    fn go_on(self, mut resumption: Resumption) -> Result<Self, VmmError> {
        if let Err(error) = resumption.source.commit() {
            self.end();
            return Err(error.into());
        }
        // It is this process's now, whatever a device says: that one's driver has to reset it.
        if let Err(error) = self.control.release(resumption.paused) {
            log::warn!("the machine goes on, but for a device: {error}");
        }
        Ok(self)
    }

    /// Starts the threads.
    fn start(
        &mut self,
        setup: &Setup,
        machine: &Machine,
        vcpus: Vec<Box<dyn Vcpu>>,
        vm: Option<Arc<dyn Vm>>,
        ram: &Arc<MachineRam>,
        notes: Notes,
    ) -> Result<(), VmmError> {
        for (index, vcpu) in machine.vcpus().zip(vcpus) {
            self.cpus.run(index, vcpu).map_err(create("a thread"))?;
        }
        let parts = resize::Parts {
            control: setup.control.clone(),
            machine: machine.clone(),
            hotplug: self.hotplug.clone(),
            cpus: self.cpus.clone(),
            ram: ram.clone(),
            vm,
            devices: setup.devices.clone(),
            plugged: self.devices.clone(),
        };
        self.resizer = Some(Resizer::start(parts, notes).map_err(create("a thread"))?);
        Ok(())
    }

    /// Stops every CPU and waits for it.
    fn end(self) -> Left {
        self.control.end_halves();
        self.cpus.end();
        if let Some(resizer) = self.resizer {
            resizer.end();
        }
        // Nobody makes others any more.
        self.cpus.join();
        // Nobody writes to RAM any more.
        drop(self.devices);
        let plugged = self.hotplug.map(|hotplug| hotplug.plugged());
        let Some(client) = self.client else { return (None, None, plugged) };
        let report = client();
        let called = report.calls.into_iter().filter(|(_, count)| *count > 0);
        let part = Stats { client_calls: called.collect(), ..Stats::default() };
        lock(&self.stats).add(&part);
        (report.boot_arguments, report.boot_device, plugged)
    }
}
