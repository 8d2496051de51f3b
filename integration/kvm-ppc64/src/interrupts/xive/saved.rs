//! What the kernel's XIVE knows, and how another one gets to know it.

use std::sync::Arc;

use arch_ppc64::CpuIndex;
use arch_ppc64::xive::{Load, Pq, SavedQueue, SavedServer, SavedSource, SavedXive, XiveController};

use super::{Set, Xive, context};
use crate::error::KvmError;
use crate::registers::VP_STATE;
use crate::seat::Seat;
use crate::sys;

impl Xive {
    /// The numbers of the sources, in their order.
    pub(in crate::interrupts) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let numbers: Vec<u32> = self.lock().assignments.keys().copied().collect();
        numbers.into_iter()
    }

    /// Has what is on its way come into its queue, and reads all that there is.
    pub(in crate::interrupts) fn snapshot(
        &self,
        cpus: &[Arc<Seat>],
    ) -> Result<SavedXive, KvmError> {
        let set = self.lock();
        // SAFETY: the kernel has the source, as it was added.
        let load = |source, load| unsafe { self.pages.load(source, load) };
        // Nothing more comes from a source that waits for an end.
        let held: Vec<(u32, Pq)> = set
            .assignments
            .keys()
            .map(|&source| (source, Pq::of(load(source, Load::Set(Pq::Pending)))))
            .collect();
        let read = self.read_servers(&set, cpus);
        for &(source, pq) in &held {
            // What came meanwhile is as if it came now.
            let came = Pq::of(load(source, Load::Set(pq))) == Pq::Queued;
            if came && matches!(pq, Pq::Reset | Pq::Pending) {
                // SAFETY: as above.
                unsafe { self.pages.trigger(source) };
            }
        }
        let assignments = set.assignments.clone();
        // Who claims a source has the lock of the sources first, then this one.
        drop(set);
        let sources = held.into_iter().map(|(number, pq)| SavedSource {
            number,
            pq,
            level: self.sources.level(number),
            assignment: assignments[&number],
        });
        Ok(SavedXive { servers: read?, sources: sources.collect() })
    }

    fn read_servers(&self, set: &Set, cpus: &[Arc<Seat>]) -> Result<Vec<SavedServer>, KvmError> {
        sys::set_device_attr(&self.device, sys::DEV_XIVE_GRP_CTRL, sys::DEV_XIVE_EQ_SYNC, 0)
            .map_err(KvmError::kernel("wait for events"))?;
        let none = SavedServer { cppr: 0, pending: 0, queues: Vec::new() };
        let mut servers = vec![none; self.topology.cpus() as usize];
        for cpu in cpus {
            let context = sys::get_one_reg(&cpu.fd, VP_STATE)
                .map_err(KvmError::kernel("read how interrupts are presented to a virtual CPU"))?;
            let [_, cppr, pending, ..] = context.to_le_bytes();
            servers[cpu.index.0 as usize] = SavedServer { cppr, pending, queues: Vec::new() };
        }
        for &(target, priority) in &set.queues {
            let number = self.queue_number(target, priority);
            let entries =
                self.read_queue(number).map_err(KvmError::kernel("read an event queue"))?;
            let queue = SavedQueue { entries, notification: Pq::Reset };
            servers[target.0 as usize].queues.push((priority, queue));
        }
        Ok(servers)
    }

    /// Takes up a state of these CPUs and sources.
    pub(in crate::interrupts) fn restore(
        &self,
        saved: &SavedXive,
        cpus: &[Arc<Seat>],
    ) -> Result<(), KvmError> {
        self.forget().map_err(|_| KvmError::State("the XIVE cannot be reset".to_owned()))?;
        for (target, server) in (0..).map(CpuIndex).zip(&saved.servers) {
            for (priority, queue) in &server.queues {
                if !queue.entries.always_notifies {
                    let what =
                        "a queue whose notifications are coalesced, which the kernel has not";
                    return Err(KvmError::State(what.to_owned()));
                }
                self.change_queue(target, *priority, Some(&queue.entries))
                    .map_err(KvmError::kernel("restore an event queue"))?;
            }
        }
        for source in &saved.sources {
            self.sources.set_level(source.number, source.level);
            self.assign(source.number, &source.assignment).map_err(|_| {
                KvmError::State(format!("interrupt source {:#x} cannot go there", source.number))
            })?;
        }
        for cpu in cpus {
            let server = &saved.servers[cpu.index.0 as usize];
            sys::set_one_reg(&cpu.fd, VP_STATE, context(server.cppr, server.pending))
                .map_err(KvmError::kernel("restore how interrupts are presented"))?;
        }
        for source in &saved.sources {
            // SAFETY: the kernel has it, as it was added.
            unsafe { self.pages.load(source.number, Load::Set(source.pq)) };
            // Of those that were saved, none has a level that waits to be seen.
            if source.level && source.pq == Pq::Reset {
                // SAFETY: as above.
                unsafe { self.pages.trigger(source.number) };
            }
        }
        Ok(())
    }
}
