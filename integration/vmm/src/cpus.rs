//! The CPUs of one start of a machine, each with its thread. They come and go while others run.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arch_ppc64::CpuIndex;
use arch_ppc64::platform::StateValue;

use crate::confine::{self, Role};
use crate::cpu_thread::{CpuThread, Shared, Task};
use crate::error::{VmmError, create};
use crate::locks::lock;
use crate::stats::Stats;
use crate::vcpu::{BackendError, Vcpu, Vm};

/// The CPUs of one start of a machine.
pub(crate) struct Cpus {
    shared: Shared,
    vm: Option<Arc<dyn Vm>>,
    threads: Mutex<BTreeMap<CpuIndex, Thread>>,
    /// Those that were taken out: a back end makes each only once.
    parked: Mutex<BTreeMap<CpuIndex, Box<dyn Vcpu>>>,
}

struct Thread {
    handle: JoinHandle<Box<dyn Vcpu>>,
    tasks: Sender<Task>,
    published: Arc<Mutex<Stats>>,
}

impl Cpus {
    pub(crate) fn new(shared: Shared, vm: Option<Arc<dyn Vm>>) -> Self {
        Self { shared, vm, threads: Mutex::default(), parked: Mutex::default() }
    }

    /// Gives a CPU, which has its mailbox, a thread.
    pub(crate) fn run(&self, index: CpuIndex, vcpu: Box<dyn Vcpu>) -> io::Result<()> {
        let (tasks, wanted) = channel();
        let published = Arc::<Mutex<Stats>>::default();
        let thread = CpuThread {
            index,
            vcpu,
            shared: self.shared.clone(),
            stats: Stats::default(),
            published: published.clone(),
            instructions_before: None,
            tasks: wanted,
        };
        let name = std::thread::Builder::new().name(index.to_string());
        let handle = name.spawn(|| {
            confine::begin(Role::Cpu);
            thread.main()
        })?;
        lock(&self.threads).insert(index, Thread { handle, tasks, published });
        Ok(())
    }

    /// What all of them have done until now, also in starts before. Of a CPU that does not tell in
    /// time, because it is in a call that takes long, what it told last.
    pub(crate) fn stats(&self, limit: Duration) -> Stats {
        let start = Instant::now();
        let (done, told) = channel();
        for (&index, thread) in &*lock(&self.threads) {
            let done = done.clone();
            let task: Task = Box::new(move |thread| {
                thread.publish();
                // Nobody waits any more where it took too long.
                let _ = done.send(());
            });
            // One that has ended has told all.
            if thread.tasks.send(task).is_ok() {
                let _ = self.shared.mailboxes.look(index);
            }
        }
        drop(done);
        while told.recv_timeout(limit.saturating_sub(start.elapsed())).is_ok() {}
        let all_stats = lock(&self.shared.all_stats);
        let mut sum = all_stats.clone();
        for thread in lock(&self.threads).values() {
            sum.add(&lock(&thread.published));
        }
        sum
    }

    /// The state of each CPU, while the machine is paused: `None` when it ends instead.
    ///
    /// # Errors
    /// [`BackendError`] of the first CPU whose state cannot be had.
    pub(crate) fn save(&self) -> Option<Result<BTreeMap<CpuIndex, StateValue>, BackendError>> {
        // All of them first: what one has left open may still interrupt another.
        match self.have_done(CpuThread::complete)? {
            Ok(_) => self.have_done(|thread| thread.vcpu.save()),
            Err(error) => Some(Err(error)),
        }
    }

    /// Has each CPU's own thread do something; `None` when one has ended.
    fn have_done<T: Send + 'static>(
        &self,
        task: fn(&mut CpuThread) -> Result<T, BackendError>,
    ) -> Option<Result<BTreeMap<CpuIndex, T>, BackendError>> {
        let (done, results) = channel();
        let mut count = 0;
        for (&index, thread) in &*lock(&self.threads) {
            let done = done.clone();
            let task: Task = Box::new(move |thread| {
                // Nobody waits any more who has seen another one fail.
                let _ = done.send((index, task(thread)));
            });
            thread.tasks.send(task).ok()?;
            self.shared.mailboxes.look(index).ok()?;
            count += 1;
        }
        drop(done);
        let mut all = BTreeMap::new();
        for (index, result) in results {
            match result {
                Ok(result) => all.insert(index, result),
                Err(error) => return Some(Err(error)),
            };
        }
        (all.len() == count).then_some(Ok(all))
    }

    /// One more CPU, stopped.
    ///
    /// # Errors
    /// [`VmmError`] when the host has no room for it; nothing has changed then.
    pub(crate) fn plug(&self, index: CpuIndex) -> Result<(), VmmError> {
        let parked = lock(&self.parked).remove(&index);
        let vcpu = match (parked, &self.vm) {
            (Some(mut vcpu), _) => match vcpu.reset() {
                Ok(()) => vcpu,
                Err(error) => {
                    lock(&self.parked).insert(index, vcpu);
                    return Err(error.into());
                }
            },
            (None, Some(vm)) => vm.create_vcpu(index)?,
            (None, None) => {
                let error = io::Error::other("the back end makes CPUs only at the start");
                return Err(create("a virtual CPU")(error));
            }
        };
        // There is none: those that are taken out have none, nor their threads.
        if !self.shared.mailboxes.insert(index, vcpu.kicker()) {
            lock(&self.parked).insert(index, vcpu);
            return Err(create("a virtual CPU")(io::ErrorKind::AlreadyExists.into()));
        }
        let started = self.run(index, vcpu);
        if started.is_err() {
            // The CPU went with the thread that there is not.
            let _ = self.shared.mailboxes.remove(index);
        }
        started.map_err(create("a thread"))
    }

    /// Takes a CPU out, whatever it does, and waits for its thread.
    pub(crate) fn unplug(&self, index: CpuIndex) {
        let _ = self.shared.mailboxes.remove(index);
        let thread = lock(&self.threads).remove(&index);
        // A panic was reported by the thread itself.
        if let Some(Ok(mut vcpu)) = thread.map(|thread| thread.handle.join()) {
            // Others may wait for all that run.
            vcpu.stop();
            lock(&self.parked).insert(index, vcpu);
        }
    }

    /// Has every CPU end, and those that are plugged from here on, too. Waits for none.
    pub(crate) fn end(&self) {
        self.shared.mailboxes.end();
    }

    /// Waits for the threads, when nobody plugs CPUs any more.
    pub(crate) fn join(&self) {
        for (_, thread) in std::mem::take(&mut *lock(&self.threads)) {
            let _ = thread.handle.join();
        }
    }
}
