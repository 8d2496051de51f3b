//! What the controller knows, and the way of an event: from its source by the entry of that in the
//! table of assignments to a queue, and by that to a server.

#[cfg(feature = "serde")]
mod saved;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::controller::{Assignment, EventQueue};
use super::esb::{Load, Pq};
use super::queue::Queue;
use super::server::{QUEUES, Server};
use crate::ram::GuestRam;
use crate::vcpu::CpuIndex;
use crate::xics::InterruptOutput;

/// A source of interrupts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// It is told of by levels: the platform ends its events for guests (H_INT_ESB).
    pub(super) is_level: bool,
    pub(super) pq: Pq,
    /// What the device asserts.
    pub(super) level: bool,
    pub(super) assignment: Assignment,
}

impl Source {
    const fn at_reset(number: u32, is_level: bool, level: bool) -> Self {
        Self { is_level, pq: Pq::Off, level, assignment: Assignment::none(number) }
    }
}

/// There is no source, server or queue of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

/// Everything that the lock of the controller is for.
pub(super) struct State {
    /// Of each CPU, by its index.
    servers: Vec<Server>,
    sources: BTreeMap<u32, Source>,
    output: Arc<dyn InterruptOutput>,
    ram: Arc<dyn GuestRam>,
}

impl State {
    /// Servers, and as many sources from 0 on for the guest's inter-processor interrupts.
    pub(super) fn new(
        servers: u32,
        output: Arc<dyn InterruptOutput>,
        ram: Arc<dyn GuestRam>,
    ) -> Self {
        let sources = (0..servers).map(|number| (number, Source::at_reset(number, false, false)));
        Self {
            servers: vec![Server::AT_RESET; servers as usize],
            sources: sources.collect(),
            output,
            ram,
        }
    }

    /// As when it was made, but for the sources that there are, and their levels.
    pub(super) fn reset(&mut self) {
        for (&number, source) in &mut self.sources {
            *source = Source::at_reset(number, source.is_level, source.level);
        }
        for number in 0..self.servers.len() {
            self.servers[number].reset();
            self.update_line(number);
        }
    }

    /// Forgets what the guest has set by H_INT_SET_SOURCE_CONFIG and H_INT_SET_QUEUE_CONFIG, and
    /// the events that were on their way. What CPUs take stays as it is.
    pub(super) fn forget(&mut self) {
        let priorities: Vec<u8> = self.servers.iter().map(|server| server.cppr).collect();
        self.reset();
        for (server, cppr) in self.servers.iter_mut().zip(priorities) {
            // Nothing is pending: no line changes.
            server.cppr = cppr;
        }
    }

    /// Makes a source, as it is after a reset, if there is none of that number.
    pub(super) fn add(&mut self, number: u32, is_level: bool) {
        self.sources.entry(number).or_insert(Source::at_reset(number, is_level, false));
    }

    pub(super) fn levels(&self) -> Vec<(u32, bool)> {
        self.sources.iter().map(|(&number, source)| (number, source.level)).collect()
    }

    pub(super) fn source(&self, number: u32) -> Result<&Source, Refused> {
        self.sources.get(&number).ok_or(Refused)
    }

    pub(super) fn server(&self, CpuIndex(number): CpuIndex) -> Result<&Server, Refused> {
        self.servers.get(number as usize).ok_or(Refused)
    }

    /// An event of a source.
    pub(super) fn trigger(&mut self, number: u32) -> Result<(), Refused> {
        self.change(number, |source| source.pq.trigger()).map(drop)
    }

    /// What a device asserts.
    pub(super) fn set_level(&mut self, number: u32, level: bool) -> Result<(), Refused> {
        self.change(number, |source| {
            source.level = level;
            false
        })
        .map(drop)
    }

    /// A load of a source's management page: its value.
    pub(super) fn load(&mut self, number: u32, load: Load) -> Result<u64, Refused> {
        let before = self.source(number)?.pq;
        let forwarded = self.change(number, |source| match load {
            Load::End => source.pq.end(),
            Load::Get => false,
            Load::Set(pq) => {
                source.pq = pq;
                false
            }
        })?;
        Ok(match load {
            Load::End => forwarded.into(),
            Load::Get | Load::Set(_) => before.bits().into(),
        })
    }

    /// Assigns a source. What comes from now on goes there.
    pub(super) fn assign(&mut self, number: u32, to: Assignment) -> Result<(), Refused> {
        self.sources.get_mut(&number).ok_or(Refused)?.assignment = to;
        Ok(())
    }

    /// Sets the queue of a server and a priority, or takes it away.
    pub(super) fn set_queue(
        &mut self,
        target: CpuIndex,
        priority: u8,
        queue: Option<EventQueue>,
    ) -> Result<(), Refused> {
        *self.queue_mut(target, priority)? = queue.map(Queue::new);
        Ok(())
    }

    /// What is set as it.
    pub(super) fn queue(
        &self,
        target: CpuIndex,
        priority: u8,
    ) -> Result<Option<EventQueue>, Refused> {
        let queue = self.server(target)?.queues.get(usize::from(priority)).ok_or(Refused)?;
        Ok(queue.map(|queue| queue.entries))
    }

    /// The queue of a server and a priority.
    fn queue_mut(
        &mut self,
        CpuIndex(number): CpuIndex,
        priority: u8,
    ) -> Result<&mut Option<Queue>, Refused> {
        let server = self.servers.get_mut(number as usize).ok_or(Refused)?;
        server.queues.get_mut(usize::from(priority)).ok_or(Refused)
    }

    /// A load of the page of a queue's notifications: its value. There is nobody to forward to: the
    /// guest that ends a notification looks into the queue.
    pub(super) fn load_notification(&mut self, page: u64, load: Load) -> Result<u64, Refused> {
        let (server, priority) = (page / PAGES_OF_SERVER, page % PAGES_OF_SERVER);
        let server = CpuIndex(u32::try_from(server).map_err(|_| Refused)?);
        let queue = self.queue_mut(server, priority as u8)?.as_mut().ok_or(Refused)?;
        let before = queue.notification;
        Ok(match load {
            Load::Get => before.bits().into(),
            Load::Set(pq) => {
                queue.notification = pq;
                before.bits().into()
            }
            Load::End if queue.notification.end() => {
                self.notify(server, priority as u8);
                1
            }
            Load::End => 0,
        })
    }

    /// Changes what a CPU is presented with, and its line.
    pub(super) fn change_server<T>(
        &mut self,
        CpuIndex(number): CpuIndex,
        change: impl FnOnce(&mut Server) -> T,
    ) -> Result<T, Refused> {
        let number = number as usize;
        let result = change(self.servers.get_mut(number).ok_or(Refused)?);
        self.update_line(number);
        Ok(result)
    }

    /// Changes a source, forwards its event where `change` says that there is one, and sees to it
    /// that a level is an event whenever the source takes one. Whether an event was forwarded.
    fn change(
        &mut self,
        number: u32,
        change: impl FnOnce(&mut Source) -> bool,
    ) -> Result<bool, Refused> {
        let source = self.sources.get_mut(&number).ok_or(Refused)?;
        let mut forwarded = change(source);
        if source.level && source.pq == Pq::Reset {
            forwarded |= source.pq.trigger();
        }
        let assignment = source.assignment;
        if forwarded && !assignment.is_masked {
            self.route(&assignment);
        }
        Ok(forwarded)
    }

    /// Puts an event into its queue, and tells the server of it. Without a queue it is lost.
    fn route(&mut self, to: &Assignment) {
        let ram = self.ram.clone();
        let Ok(Some(queue)) = self.queue_mut(to.target, to.priority) else { return };
        match queue.push(to.data, &*ram) {
            Ok(true) => self.notify(to.target, to.priority),
            Ok(false) => {}
            Err(fault) => log::debug!("an event queue of {}: {fault}", to.target),
        }
    }

    fn notify(&mut self, server: CpuIndex, priority: u8) {
        // The queue is one of a server that there is.
        let _ = self.change_server(server, |server| server.notify(priority));
    }

    /// Tells the output of a line that is not what it was told last.
    fn update_line(&mut self, number: usize) {
        let Some(server) = self.servers.get_mut(number) else { return };
        let asserted = server.has_exception();
        if server.line != asserted {
            server.line = asserted;
            self.output.set_external_interrupt(CpuIndex(number as u32), asserted);
        }
    }
}

/// Pages of queues that lie side by side, of one server: a power of two of them.
pub(super) const PAGES_OF_SERVER: u64 = QUEUES.next_power_of_two() as u64;
