//! The CPUs of one start of a machine, each with its thread. They come and go while others run.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arch_ppc64::CpuIndex;

use crate::cpu_thread::{CpuThread, Shared};
use crate::end::lock;
use crate::error::{VmmError, create};
use crate::stats::Stats;
use crate::vcpu::{Vcpu, Vm};

/// The CPUs of one start of a machine.
pub(crate) struct Cpus {
    shared: Shared,
    vm: Option<Arc<dyn Vm>>,
    threads: Mutex<BTreeMap<CpuIndex, JoinHandle<Box<dyn Vcpu>>>>,
    /// Those that were taken out: a back end makes each only once.
    parked: Mutex<BTreeMap<CpuIndex, Box<dyn Vcpu>>>,
}

impl Cpus {
    pub(crate) fn new(shared: Shared, vm: Option<Arc<dyn Vm>>) -> Self {
        Self { shared, vm, threads: Mutex::default(), parked: Mutex::default() }
    }

    /// Gives a CPU, which has its mailbox, a thread.
    pub(crate) fn run(&self, index: CpuIndex, vcpu: Box<dyn Vcpu>) -> io::Result<()> {
        let thread =
            CpuThread { index, vcpu, shared: self.shared.clone(), stats: Stats::default() };
        let name = std::thread::Builder::new().name(index.to_string());
        let thread = name.spawn(|| thread.main())?;
        lock(&self.threads).insert(index, thread);
        Ok(())
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
        if let Some(Ok(mut vcpu)) = thread.map(JoinHandle::join) {
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
            let _ = thread.join();
        }
    }
}
