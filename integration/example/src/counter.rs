//! A device of the VMM's own that shows itself to the guest in every way that there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use arch_ppc64::fdt::{FdtError, Tree};
use arch_ppc64::platform::{
    Describe, Device, InterruptLine, MmioHandler, MmioRange, SaveState, StateError, StateValue,
};
use arch_ppc64::rtas::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome, RtasStatus};
use arch_ppc64::{CpuIndex, GuestRam, Hypercall, HypercallHandler, Next, Status};
use vof_device::{Buffer, Context, Failed, Instance, Package, Progress, Transfer};

pub(crate) const ID: &str = "counter";
pub(crate) const PATH: &str = "/counter";
const GET_COUNT: u64 = 0xf100;
const SET_COUNTER: RtasCall = RtasCall::new("example,set-counter", &[1], 1);

/// Counts what the guest stores into its register, and interrupts it each time.
pub(crate) struct Counter {
    pub(crate) register: MmioRange,
    pub(crate) interrupt: InterruptLine,
    pub(crate) count: Arc<AtomicU32>,
}

impl Device for Counter {
    fn id(&self) -> &str {
        ID
    }
    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        tree.node(PATH)?
            .text("compatible", &["example,counter"])?
            .doublewords("reg", &[self.register.start.0, self.register.bytes])?
            .cell("interrupt-parent", cx.interrupt_parent.cell())?
            .cells("interrupts", &self.interrupt.specifier())?
            .cell("example,hcall", GET_COUNT as u32)?;
        Ok(())
    }
    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }
    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }
    fn mmio(&self) -> Option<&dyn MmioHandler> {
        Some(self)
    }
    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

impl HypercallHandler for Counter {
    fn tokens(&self) -> &[u64] {
        &[GET_COUNT]
    }
    fn handle(&self, _caller: CpuIndex, _ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        call.args[0] = self.count.load(SeqCst).into();
        call.finish(Status::SUCCESS)
    }
}

impl RtasHandler for Counter {
    fn calls(&self) -> &[RtasCall] {
        &[SET_COUNTER]
    }
    fn call(&self, _number: usize, call: &mut RtasInvocation<'_>) -> RtasOutcome {
        self.count.store(call.inputs[0], SeqCst);
        RtasStatus::SUCCESS.into()
    }
}

/// One register of four bytes; there is nothing else.
impl MmioHandler for Counter {
    fn ranges(&self) -> &[MmioRange] {
        std::slice::from_ref(&self.register)
    }
    fn read(&self, _range: usize, _offset: u64, data: &mut [u8]) {
        match data.len() {
            4 => data.copy_from_slice(&self.count.load(SeqCst).to_be_bytes()),
            _ => data.fill(0xff),
        }
    }
    fn write(&self, _range: usize, _offset: u64, data: &[u8]) {
        if let Ok(bytes) = data.try_into() {
            self.count.fetch_add(u32::from_be_bytes(bytes), SeqCst);
            self.interrupt.pulse();
        }
    }
}

impl SaveState for Counter {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&self.count.load(SeqCst))
    }
    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version != self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        self.count.store(state.get()?, SeqCst);
        Ok(())
    }
}

/// For clients: the count as eight digits, to be read and sought in.
impl Package for Counter {
    fn open(&self, _arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(Reader { count: self.count.clone(), position: 0 }))
    }
    fn methods(&self) -> &[&'static str] {
        &["read", "seek"]
    }
    fn reopen(
        &self,
        _arguments: &str,
        state: &StateValue,
    ) -> Result<Box<dyn Instance>, StateError> {
        let position = place(state.get()?);
        let position = position.map_err(|Failed| StateError::Value("a position".to_owned()))?;
        Ok(Box::new(Reader { count: self.count.clone(), position }))
    }
}

fn place(position: u64) -> Result<usize, Failed> {
    usize::try_from(position).ok().filter(|&place| place <= DIGITS).ok_or(Failed)
}

const DIGITS: usize = 8;

struct Reader {
    count: Arc<AtomicU32>,
    position: usize,
}

impl Instance for Reader {
    fn read(&mut self, _context: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        let digits = format!("{:0DIGITS$x}", self.count.load(SeqCst));
        let rest = digits.as_bytes().get(self.position..).ok_or(Failed)?;
        let bytes = &rest[..rest.len().min(buffer.len())];
        buffer.put(0, bytes)?;
        self.position += bytes.len();
        Ok(Transfer::Done(bytes.len()))
    }
    fn seek(&mut self, _context: &Context<'_>, position: u64) -> Result<Progress, Failed> {
        self.position = place(position)?;
        Ok(Progress::Done)
    }
    fn state(&self) -> Result<Option<StateValue>, StateError> {
        StateValue::of(&self.position).map(Some)
    }
}
