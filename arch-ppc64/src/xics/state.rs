//! What the controller knows, and the one rule of which interrupt a server has.

#[cfg(feature = "serde")]
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{IPI, InterruptOutput};
use crate::vcpu::{CpuIndex, ServerNumber};

/// Past the last number that a source can have: XISR is 24 bits of XIRR.
pub(super) const SOURCE_END: u32 = 1 << 24;

/// XISR when there is no interrupt.
const NOTHING: u32 = 0;

const MOST_FAVOURED: u8 = 0;
const LEAST_FAVOURED: u8 = 0xff;

/// Where the interrupts of a source go: its external interrupt vector entry (LoPAPR §7.3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VectorEntry {
    pub(super) server: ServerNumber,
    pub(super) priority: u8,
}

/// The presentation of interrupts to one CPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    /// Only interrupts that are more favoured than this are presented.
    pub(super) cppr: u8,
    /// The priority of the inter-processor interrupt, which stays until it is changed.
    mfrr: u8,
    /// When there came to be an inter-processor interrupt.
    ipi_since: u64,
    /// What the output was told last.
    line: bool,
}

impl Server {
    const AT_RESET: Self =
        Self { cppr: MOST_FAVOURED, mfrr: LEAST_FAVOURED, ipi_since: 0, line: false };

    pub(super) fn set_mfrr(&mut self, mfrr: u8, now: u64) {
        if self.mfrr == LEAST_FAVOURED {
            self.ipi_since = now;
        }
        self.mfrr = mfrr;
    }
}

/// A source of interrupts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// Where its interrupts go, and their priority while it is on.
    pub(super) xive: VectorEntry,
    /// The CPU of that server.
    pub(super) target: CpuIndex,
    /// Not switched off by `ibm,int-off`.
    pub(super) on: bool,
    /// There was an edge that is not accepted yet.
    pub(super) latched: bool,
    /// What the device asserts.
    pub(super) level: bool,
    /// Accepted, and not at its end yet.
    in_service: bool,
    /// Which request of all, and when, the present one is: first come, first served.
    arrival: u64,
    since: u64,
}

impl Source {
    /// LoPAPR requirement R1-6.1-13, of which "enable any associated IER bit" is `on`.
    const AT_RESET: Self = Self {
        xive: VectorEntry { server: ServerNumber(0), priority: LEAST_FAVOURED },
        target: CpuIndex(0),
        on: true,
        latched: false,
        level: false,
        in_service: false,
        arrival: 0,
        since: 0,
    };

    /// Whether it has an interrupt for somebody, masked or not.
    fn requests(&self) -> bool {
        (self.latched || self.level) && !self.in_service
    }

    /// Its place among those that wait for a server. At the least favoured priority it waits for
    /// ever: nothing is less favoured.
    fn place(&self, number: u32) -> Option<Waiting> {
        (self.requests() && self.on).then_some(Waiting {
            server: self.target.0,
            priority: self.xive.priority,
            arrival: self.arrival,
            source: number,
        })
    }
}

/// A source that has an interrupt for a server; in the order in which a server accepts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    /// Index of its CPU.
    server: u32,
    priority: u8,
    arrival: u64,
    source: u32,
}

/// The interrupt that a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Presented {
    xisr: u32,
    priority: u8,
    since: u64,
}

/// There is no source or server of that number, or what the caller wants is not for it to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

/// Everything that the lock of the controller is for.
pub(super) struct State {
    /// Of each CPU, by its index.
    servers: Vec<Server>,
    sources: BTreeMap<u32, Source>,
    /// [`Source::place`] of every source that has one.
    waiting: BTreeSet<Waiting>,
    /// How many requests there have been.
    arrivals: u64,
    output: Arc<dyn InterruptOutput>,
}

impl State {
    pub(super) fn new(servers: u32, output: Arc<dyn InterruptOutput>) -> Self {
        Self {
            servers: vec![Server::AT_RESET; servers as usize],
            sources: BTreeMap::new(),
            waiting: BTreeSet::new(),
            arrivals: 0,
            output,
        }
    }

    pub(super) fn reset(&mut self) {
        self.waiting.clear();
        for (&number, source) in &mut self.sources {
            let level = source.level;
            *source = Source { level, ..Source::AT_RESET };
            self.waiting.extend(source.place(number));
        }
        for number in 0..self.servers.len() as u32 {
            self.reset_server(number);
        }
    }

    /// What is left of a server is its line, which says what is presented then.
    pub(super) fn reset_server(&mut self, number: u32) {
        let Some(server) = self.servers.get_mut(number as usize) else { return };
        let line = server.line;
        *server = Server { line, ..Server::AT_RESET };
        self.update_line(number);
    }

    /// Makes a source, as it is after a reset, if there is none of that number.
    pub(super) fn add(&mut self, source: u32) {
        self.sources.entry(source).or_insert(Source::AT_RESET);
    }

    pub(super) fn levels(&self) -> Vec<(u32, bool)> {
        self.sources.iter().map(|(&number, source)| (number, source.level)).collect()
    }

    pub(super) fn xive(&self, source: u32) -> Result<VectorEntry, Refused> {
        self.sources.get(&source).map(|source| source.xive).ok_or(Refused)
    }

    /// Changes a source, and the lines of the servers that this is for.
    pub(super) fn change(
        &mut self,
        number: u32,
        now: u64,
        change: impl FnOnce(&mut Source),
    ) -> Result<(), Refused> {
        let source = self.sources.get_mut(&number).ok_or(Refused)?;
        let (requested, before) = (source.requests(), source.place(number));
        change(source);
        if source.requests() && !requested {
            source.arrival = self.arrivals;
            source.since = now;
            self.arrivals += 1;
        }
        let after = source.place(number);
        if before != after {
            if let Some(before) = before {
                self.waiting.remove(&before);
            }
            self.waiting.extend(after);
            for waiting in [before, after].into_iter().flatten() {
                self.update_line(waiting.server);
            }
        }
        Ok(())
    }

    /// Changes a server, and its line.
    pub(super) fn change_server(
        &mut self,
        CpuIndex(number): CpuIndex,
        change: impl FnOnce(&mut Server),
    ) -> Result<(), Refused> {
        change(self.servers.get_mut(number as usize).ok_or(Refused)?);
        self.update_line(number);
        Ok(())
    }

    /// XIRR and MFRR of a server.
    pub(super) fn poll(&self, CpuIndex(number): CpuIndex) -> Result<(u32, u8), Refused> {
        let server = self.servers.get(number as usize).ok_or(Refused)?;
        Ok((xirr(server.cppr, self.presented(number)), server.mfrr))
    }

    /// Accepts the interrupt that a server has: XIRR of before, and when the interrupt came.
    pub(super) fn accept(&mut self, vcpu: CpuIndex, now: u64) -> Result<(u32, u64), Refused> {
        let CpuIndex(number) = vcpu;
        let cppr = self.servers.get(number as usize).ok_or(Refused)?.cppr;
        let presented = self.presented(number);
        let xirr = xirr(cppr, presented);
        let Some(Presented { xisr, priority, since }) = presented else { return Ok((xirr, now)) };
        // The lines come last, when all is in its new state: none is told of what is between.
        self.servers[number as usize].cppr = priority;
        let accept = |source: &mut Source| {
            source.latched = false;
            source.in_service = true;
        };
        // The inter-processor interrupt stays for as long as MFRR does.
        let _ = self.change(xisr, now, accept);
        self.update_line(number);
        Ok((xirr, since))
    }

    /// Ends the interrupt `xisr` and gives the server of `vcpu` the priority `cppr`.
    pub(super) fn end(
        &mut self,
        CpuIndex(number): CpuIndex,
        cppr: u8,
        xisr: u32,
        now: u64,
    ) -> Result<(), Refused> {
        let known = xisr == IPI || self.sources.contains_key(&xisr);
        let server = self.servers.get_mut(number as usize).ok_or(Refused)?;
        if !known || cppr < server.cppr {
            return Err(Refused);
        }
        server.cppr = cppr;
        // "signal an 'end of interrupt' (EOI) to the specified interrupt source logic": the
        // inter-processor interrupt has none.
        let _ = self.change(xisr, now, |source| source.in_service = false);
        self.update_line(number);
        Ok(())
    }

    /// The interrupt that a server has: the most favoured one, if it is more favoured than the
    /// CPPR; of equals, the inter-processor interrupt, then the one that came first.
    fn presented(&self, number: u32) -> Option<Presented> {
        let &Server { cppr, mfrr, ipi_since, .. } = self.servers.get(number as usize)?;
        let ipi = Presented { xisr: IPI, priority: mfrr, since: ipi_since };
        let source = self.first_waiting(number).map(|(xisr, source)| Presented {
            xisr,
            priority: source.xive.priority,
            since: source.since,
        });
        // The first of equal minima is taken.
        let best = [Some(ipi), source].into_iter().flatten().min_by_key(|best| best.priority)?;
        (best.priority < cppr).then_some(best)
    }

    fn first_waiting(&self, server: u32) -> Option<(u32, &Source)> {
        let lowest = Waiting { server, priority: 0, arrival: 0, source: 0 };
        let first = self.waiting.range(lowest..).next().filter(|first| first.server == server)?;
        Some((first.source, self.sources.get(&first.source)?))
    }

    /// Tells the output of a line that is not what it was told last.
    fn update_line(&mut self, number: u32) {
        let asserted = self.presented(number).is_some();
        let Some(server) = self.servers.get_mut(number as usize) else { return };
        if server.line != asserted {
            server.line = asserted;
            self.output.set_external_interrupt(CpuIndex(number), asserted);
        }
    }
}

/// The external interrupt request register: CPPR, and the number of the source.
fn xirr(cppr: u8, presented: Option<Presented>) -> u32 {
    u32::from(cppr) << 24 | presented.map_or(NOTHING, |presented| presented.xisr)
}
