//! Who sleeps and who wakes, and what the guest shares about its processors: H_CEDE, H_PROD,
//! H_CONFER and H_REGISTER_VPA (LoPAPR §14.11.1 and §14.11.3).

#[cfg(feature = "serde")]
mod saved;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::GuestAddress;

use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::platform::Device;
use crate::ram::GuestRam;
use crate::topology::CpuTopology;
use crate::vcpu::{CpuIndex, ServerNumber};

/// Wakes virtual CPUs.
pub trait Prod: Send + Sync {
    /// Wakes a virtual CPU that ceded. One that did not is not to sleep at its next H_CEDE:
    /// 'If the virtual processor's "prod" bit is set, then: Reset the virtual processor's "prod"
    /// bit. […] Return H_Success.' Must not wait for the target.
    ///
    /// False when there is no such CPU.
    fn prod(&self, target: CpuIndex) -> bool;

    /// The calling CPU confers its cycles to all others, or waits for a prod (H_CONFER): gives its
    /// core of the host to somebody else for a moment. Comes back soon, prodded or not.
    fn confer(&self, caller: CpuIndex) {
        let _ = caller;
        std::thread::yield_now();
    }
}

/// The hypercalls by which virtual CPUs sleep and wake each other, for a back end whose CPUs do
/// not do so in KVM.
///
/// The guest's processors are dedicated ones, and so the dispatch counters in their areas are
/// always even: dispatched. The areas are checked and initialised as the specification has it;
/// nothing is logged to a dispatch trace log, and a processor keeps its SLB without a shadow of it.
pub struct DispatchCalls {
    topology: CpuTopology,
    prod: Arc<dyn Prod>,
    /// Of each CPU, by its index.
    areas: Mutex<Vec<Areas>>,
}

impl DispatchCalls {
    /// For a machine with these CPUs; `prod` wakes them.
    pub fn new(topology: &CpuTopology, prod: Arc<dyn Prod>) -> Self {
        let areas = vec![Areas::default(); topology.cpus() as usize];
        Self { topology: topology.clone(), prod, areas: Mutex::new(areas) }
    }

    /// Forgets the areas of one CPU: for one that is plugged in where another one was.
    pub fn reset_cpu(&self, CpuIndex(index): CpuIndex) {
        if let Some(areas) = self.lock().get_mut(index as usize) {
            *areas = Areas::default();
        }
    }

    /// The CPU of a number that a guest passed.
    fn cpu(&self, server: u64) -> Option<CpuIndex> {
        self.topology.index(ServerNumber(u32::try_from(server).ok()?))
    }

    /// H_PROD (LoPAPR §14.11.3.5).
    fn prod(&self, target: u64) -> Status {
        match self.cpu(target) {
            Some(target) if self.prod.prod(target) => Status::SUCCESS,
            _ => Status::PARAMETER,
        }
    }

    /// H_CONFER (LoPAPR §14.11.3.4). Who confers to itself, to wait for H_PROD, waits for no time:
    /// the call may return "when more work is potentially available", and the guest looks.
    fn confer(&self, caller: CpuIndex, target: u64) -> Status {
        /// "-1 (all partition processors)"; the parameter is an `int32`.
        const ALL: u32 = u32::MAX;
        let target = match target as u32 {
            ALL => None,
            one => match self.cpu(one.into()) {
                None => return Status::PARAMETER,
                cpu => cpu,
            },
        };
        // To one other: "if the dispatch parameter is not equal to the specified processor's
        // hypervisor copy of the dispatch number or the hypervisor copy of the dispatch number is
        // even, then return H_Success". It is even.
        if target.is_none_or(|target| target == caller) {
            self.prod.confer(caller);
        }
        Status::SUCCESS
    }

    /// H_REGISTER_VPA (LoPAPR §14.11.3.2).
    fn register(&self, ram: &dyn GuestRam, [flags, processor, at]: [u64; 3]) -> Status {
        let Some(function) = Function::decode(flags) else { return Status::PARAMETER };
        let mut areas = self.lock();
        let cpu = self.cpu(processor);
        let Some(areas) = cpu.and_then(|CpuIndex(index)| areas.get_mut(index as usize)) else {
            return Status::PARAMETER;
        };
        let done = match function {
            Function::Register(kind) => areas.register(ram, kind, GuestAddress(at)),
            Function::Deregister(kind) => areas.deregister(kind),
        };
        done.err().unwrap_or(Status::SUCCESS)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Areas>> {
        self.areas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DispatchCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchCalls").finish_non_exhaustive()
    }
}

impl HypercallHandler for DispatchCalls {
    fn tokens(&self) -> &[u64] {
        &[token::CEDE, token::PROD, token::CONFER, token::REGISTER_VPA]
    }

    fn handle(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let [first, second, third, ..] = call.args;
        let status = match call.token {
            // LoPAPR §14.11.3.3. The CPU enables its interrupts, and looks for a prod, as it sleeps.
            token::CEDE => {
                let _ = call.finish(Status::SUCCESS);
                return Next::Cede;
            }
            token::PROD => self.prod(first),
            token::CONFER => self.confer(caller, first),
            token::REGISTER_VPA => self.register(ram, [first, second, third]),
            _ => Status::FUNCTION,
        };
        call.finish(status)
    }
}

impl Device for DispatchCalls {
    fn id(&self) -> &str {
        "processor-dispatch"
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn function_sets(&self) -> &[&'static str] {
        &["hcall-splpar"]
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }

    /// Forgets all areas: what they are in is another system's memory from here on.
    fn reset(&self) {
        self.lock().fill(Areas::default());
    }
}

/// An area that a guest shares about one of its processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The virtual processor area itself.
    Vpa,
    DispatchTraceLog,
    SlbShadow,
}

/// What H_REGISTER_VPA is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Register(Kind),
    Deregister(Kind),
}

impl Function {
    /// "The sub functions for this hcall() are encoded in bits 16-18", and "all other bits are
    /// zero".
    fn decode(flags: u64) -> Option<Self> {
        const SHIFT: u32 = 63 - 18;
        if flags.trailing_zeros() < SHIFT {
            return None;
        }
        Some(match flags >> SHIFT {
            1 => Self::Register(Kind::Vpa),
            2 => Self::Register(Kind::DispatchTraceLog),
            3 => Self::Register(Kind::SlbShadow),
            5 => Self::Deregister(Kind::Vpa),
            6 => Self::Deregister(Kind::DispatchTraceLog),
            7 => Self::Deregister(Kind::SlbShadow),
            _ => return None,
        })
    }
}

/// "an L1 cache line aligned logical address": `d-cache-line-size` of the tree.
const CACHE_LINE_BYTES: u64 = 128;

/// What some of the areas must not span.
const PAGE_BYTES: u64 = 4096;

/// "Dispatch Trace Log buffer index counter", 8 bytes of the VPA.
const TRACE_INDEX: (u64, u64) = (0x218, 0x220);

/// Where the hypervisor's own variables of a VPA start and end: fields for the firmware, among
/// them the mark of a shared processor; changes of the home node; the counters of dispatches,
/// faults, cycles and times; the index of the trace log. All of them start at 0.
const OWN_VARIABLES: [(u64, u64); 4] = [(0x6, 0x18), (0x58, 0x60), (0x100, 0x170), TRACE_INDEX];

/// The areas of one processor that are registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Areas {
    vpa: Option<GuestAddress>,
    dispatch_trace_log: bool,
    slb_shadow: bool,
}

impl Areas {
    fn register(&mut self, ram: &dyn GuestRam, kind: Kind, at: GuestAddress) -> Result<(), Status> {
        check(ram, kind, at)?;
        match kind {
            Kind::Vpa => {
                for (start, end) in OWN_VARIABLES {
                    zero(ram, at, start, end)?;
                }
                self.vpa = Some(at);
            }
            // "Verify that a VPA has been registered for the specified virtual processor else
            // return H_RESOURCE", for both.
            Kind::DispatchTraceLog => {
                let vpa = self.vpa.ok_or(Status::RESOURCE)?;
                zero(ram, vpa, TRACE_INDEX.0, TRACE_INDEX.1)?;
                self.dispatch_trace_log = true;
            }
            Kind::SlbShadow => {
                self.vpa.ok_or(Status::RESOURCE)?;
                self.slb_shadow = true;
            }
        }
        Ok(())
    }

    /// "Note no check is made that a valid […] registration exists".
    fn deregister(&mut self, kind: Kind) -> Result<(), Status> {
        match kind {
            // "Verify that a Dispatch Trace Log buffer is not registered […] else return
            // H_RESOURCE. Verify that an SLB Shadow buffer is not registered […]"
            Kind::Vpa if self.dispatch_trace_log || self.slb_shadow => {
                return Err(Status::RESOURCE);
            }
            Kind::Vpa => self.vpa = None,
            Kind::DispatchTraceLog => self.dispatch_trace_log = false,
            Kind::SlbShadow => self.slb_shadow = false,
        }
        Ok(())
    }
}

/// Checks that `at` can be the address of such an area, and that the area says that it is large
/// enough, and that all of it is RAM.
fn check(ram: &dyn GuestRam, kind: Kind, at: GuestAddress) -> Result<(), Status> {
    if at.0 % CACHE_LINE_BYTES != 0 {
        return Err(Status::PARAMETER);
    }
    // "The length of the area is provided to the hcall() […] starting in byte offset 4".
    let mut head = [0; 8];
    ram.read(at, &mut head).map_err(|_| Status::PARAMETER)?;
    let [_, _, _, _, a, b, c, d] = head;
    let (size_bytes, limits, may_span) = match kind {
        Kind::Vpa => (u16::from_be_bytes([a, b]).into(), 640..=PAGE_BYTES, false),
        // "The minimum size of this area is 48 bytes while the maximum is 4 KB" (§14.11.1).
        Kind::DispatchTraceLog => (u32::from_be_bytes([a, b, c, d]).into(), 48..=PAGE_BYTES, true),
        Kind::SlbShadow => (u32::from_be_bytes([a, b, c, d]).into(), 8..=PAGE_BYTES, false),
    };
    if !limits.contains(&size_bytes) || (!may_span && at.0 % PAGE_BYTES + size_bytes > PAGE_BYTES) {
        return Err(Status::PARAMETER);
    }
    ram.check_ram(at, size_bytes).map_err(|_| Status::PARAMETER)
}

/// Zeroes the bytes of an area from offset `start` to `end`.
fn zero(ram: &dyn GuestRam, area: GuestAddress, start: u64, end: u64) -> Result<(), Status> {
    let zeros = vec![0; (end - start) as usize];
    ram.write(GuestAddress(area.0 + start), &zeros).map_err(|_| Status::PARAMETER)
}

#[cfg(test)]
mod tests;
