//! Directed privileged doorbells: what the threads of a core signal each other by (Power ISA 3.0B,
//! Book III, processor control).

use std::sync::atomic::{AtomicU64, Ordering};

/// The doorbells of all threads: DPDES of each core, in which thread t is bit 63 - t.
#[derive(Debug)]
pub(super) struct Doorbells {
    cpus: usize,
    threads_per_core: usize,
    cores: Vec<AtomicU64>,
}

impl Doorbells {
    /// CPUs are threads of cores, so many of each, core by core. No doorbell is rung.
    pub(super) fn new(cpus: usize, threads_per_core: usize) -> Self {
        let threads_per_core = threads_per_core.clamp(1, 64);
        let cores = cpus.div_ceil(threads_per_core);
        Self { cpus, threads_per_core, cores: (0..cores).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Which thread of its core a CPU is.
    pub(super) fn thread(&self, cpu: usize) -> usize {
        cpu % self.threads_per_core
    }

    /// Rings at a thread of a CPU's core; the CPU that it is, if there may be one.
    pub(super) fn ring(&self, from: usize, thread: u64) -> Option<usize> {
        let thread =
            usize::try_from(thread).ok().filter(|&thread| thread < self.threads_per_core)?;
        let to = from - self.thread(from) + thread;
        if to >= self.cpus {
            return None;
        }
        self.core(to)?.fetch_or(self.bit(to), Ordering::SeqCst);
        Some(to)
    }

    pub(super) fn set(&self, cpu: usize, is_rung: bool) {
        let Some(core) = self.core(cpu) else { return };
        match is_rung {
            true => core.fetch_or(self.bit(cpu), Ordering::SeqCst),
            false => core.fetch_and(!self.bit(cpu), Ordering::SeqCst),
        };
    }

    pub(super) fn is_rung(&self, cpu: usize) -> bool {
        self.of_core(cpu) & self.bit(cpu) != 0
    }

    /// DPDES as the threads of a CPU's core see it.
    pub(super) fn of_core(&self, cpu: usize) -> u64 {
        self.core(cpu).map_or(0, |core| core.load(Ordering::SeqCst))
    }

    /// The bit of a CPU in it.
    pub(super) fn bit(&self, cpu: usize) -> u64 {
        1 << self.thread(cpu)
    }

    fn core(&self, cpu: usize) -> Option<&AtomicU64> {
        self.cores.get(cpu / self.threads_per_core)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_siblings_hear_it() {
        for threads in [1, 2, 4, 8] {
            let doorbells = Doorbells::new(16, threads);
            for from in 0..16 {
                for thread in (0..=127).chain([u64::MAX, 1 << 32]) {
                    let heard = doorbells.ring(from, thread);
                    let to = from / threads * threads + thread.min(100) as usize;
                    assert_eq!(heard, (thread < threads as u64).then_some(to), "{from} {thread}");
                    for cpu in 0..16 {
                        assert_eq!(doorbells.is_rung(cpu), heard == Some(cpu), "{from} {thread}");
                    }
                    if let Some(cpu) = heard {
                        assert_eq!(doorbells.of_core(from), 1 << thread);
                        doorbells.set(cpu, false);
                    }
                }
            }
        }
    }

    /// Each CPU and each half of a core that is not there is asked for all the same.
    #[test]
    fn there_is_no_cpu_behind_the_last() {
        let doorbells = Doorbells::new(3, 2);
        assert_eq!(doorbells.ring(2, 1), None);
        assert_eq!(doorbells.ring(2, 0), Some(2));
        doorbells.set(9, true);
        assert!(!doorbells.is_rung(9) && doorbells.is_rung(2));
    }
}
