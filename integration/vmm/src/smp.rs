//! The virtual CPUs of a running machine as they see each other: who is stopped, who is started.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use arch_ppc64::{CpuIndex, CpuState, EntryRegisters, Kick, StartError, VcpuHost};

/// What a CPU that waits is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Run from these registers.
    Start(EntryRegisters),
    /// The machine ends.
    End,
}

/// A CPU's mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Stopped,
    /// Told to start, and not yet awake.
    Starting(EntryRegisters),
    Running,
}

/// All CPUs of a machine.
pub(crate) struct Cpus {
    slots: Mutex<Slots>,
    changed: Condvar,
    kickers: Vec<Arc<dyn Kick>>,
}

struct Slots {
    of_cpu: Vec<Slot>,
    ending: bool,
}

impl Cpus {
    /// CPUs numbered from 0, all stopped.
    pub(crate) fn new(kickers: Vec<Arc<dyn Kick>>) -> Self {
        let slots = Slots { of_cpu: vec![Slot::Stopped; kickers.len()], ending: false };
        Self { slots: Mutex::new(slots), changed: Condvar::new(), kickers }
    }

    /// Called by the thread of a CPU that is stopped: waits for what comes next.
    pub(crate) fn wait(&self, id: CpuIndex) -> Order {
        let mut slots = self.lock();
        loop {
            if slots.ending {
                return Order::End;
            }
            match slots.of_cpu.get_mut(id.0 as usize) {
                Some(slot) => {
                    if let Slot::Starting(registers) = *slot {
                        *slot = Slot::Running;
                        return Order::Start(registers);
                    }
                }
                None => return Order::End,
            }
            slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Called by the thread of a CPU that stopped itself.
    pub(crate) fn stopped(&self, id: CpuIndex) {
        if let Some(slot) = self.lock().of_cpu.get_mut(id.0 as usize) {
            *slot = Slot::Stopped;
        }
    }

    /// Whether the machine ends; asked by a CPU that was interrupted.
    pub(crate) fn ending(&self) -> bool {
        self.lock().ending
    }

    /// Ends the machine: every CPU leaves guest code or its waiting soon. Does not wait for it.
    pub(crate) fn end(&self) {
        self.lock().ending = true;
        self.changed.notify_all();
        for kicker in &self.kickers {
            kicker.kick();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VcpuHost for Cpus {
    fn state(&self, target: CpuIndex) -> Option<CpuState> {
        Some(match self.lock().of_cpu.get(target.0 as usize)? {
            Slot::Stopped => CpuState::Stopped,
            Slot::Starting(_) => CpuState::InTransition,
            Slot::Running => CpuState::Running,
        })
    }

    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let mut slots = self.lock();
        let slot = slots.of_cpu.get_mut(target.0 as usize).ok_or(StartError::NoSuchCpu)?;
        if *slot != Slot::Stopped {
            return Err(StartError::NotStopped);
        }
        *slot = Slot::Starting(registers);
        self.changed.notify_all();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestAddress;

    struct NoKick;

    impl Kick for NoKick {
        fn kick(&self) {}
    }

    fn cpus() -> Cpus {
        Cpus::new(vec![Arc::new(NoKick), Arc::new(NoKick)])
    }

    #[test]
    fn only_a_stopped_cpu_can_be_started() {
        let cpus = cpus();
        let one = CpuIndex(1);
        let entry = EntryRegisters::at(GuestAddress(0x60)).with_arguments([7, 0, 0]);
        assert_eq!(cpus.state(one), Some(CpuState::Stopped));
        assert_eq!(cpus.start(one, entry), Ok(()));
        assert_eq!(cpus.state(one), Some(CpuState::InTransition));
        assert_eq!(cpus.start(one, entry), Err(StartError::NotStopped));
        let Order::Start(registers) = cpus.wait(one) else { panic!("not started") };
        assert_eq!((registers.pc.0, registers.r3, registers.is_64bit), (0x60, 7, true));
        assert_eq!(cpus.state(one), Some(CpuState::Running));
        assert_eq!(cpus.start(one, entry), Err(StartError::NotStopped));
        cpus.stopped(one);
        assert_eq!(cpus.start(one, entry), Ok(()));
    }

    #[test]
    fn there_is_no_third_cpu_of_two() {
        let cpus = cpus();
        assert_eq!(cpus.state(CpuIndex(2)), None);
        assert_eq!(
            cpus.start(CpuIndex(2), EntryRegisters::at(GuestAddress(0))),
            Err(StartError::NoSuchCpu)
        );
    }

    #[test]
    fn the_end_wakes_those_who_wait() {
        let cpus = cpus();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| cpus.wait(CpuIndex(0)));
            cpus.end();
            assert_eq!(waiting.join().unwrap(), Order::End);
        });
    }
}
