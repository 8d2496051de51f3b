//! The controller as a guest, its devices and its CPUs see it.

mod calls;
mod model;
#[cfg(feature = "serde")]
mod saved;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use std::ops::Range;

use super::state::{Refused, VectorEntry};
use super::*;
use crate::platform::{Device, InterruptController, InterruptKind, SourceNumber};

const SERVERS: u32 = 3;
const FIRST: u32 = 0x1000;
const SOURCES: Range<u32> = FIRST..FIRST + 4;

/// Lines that insist on being told of changes, and of nothing else.
#[derive(Default)]
struct Lines {
    asserted: Mutex<[bool; SERVERS as usize]>,
    changes: Mutex<Vec<(u32, bool)>>,
}

impl InterruptOutput for Lines {
    fn set_external_interrupt(&self, cpu: CpuIndex, asserted: bool) {
        let line = &mut self.asserted.lock().unwrap()[cpu.0 as usize];
        assert_ne!(*line, asserted, "{cpu}: no change");
        *line = asserted;
        self.changes.lock().unwrap().push((cpu.0, asserted));
    }
}

struct Guest {
    xics: Xics,
    lines: Arc<Lines>,
}

impl Guest {
    fn new() -> Self {
        let lines = Arc::new(Lines::default());
        let xics = Xics::new(&CpuTopology::new(SERVERS), lines.clone());
        SOURCES.for_each(|source| xics.claim(SourceNumber(source), InterruptKind::Edge).unwrap());
        Self { xics, lines }
    }

    /// All CPUs take any interrupt, and the first source goes to CPU 0 with priority 5.
    fn ready() -> Self {
        let guest = Self::new();
        for cpu in 0..SERVERS {
            guest.cppr(cpu, 0xff);
        }
        guest.route(FIRST, 0, 5);
        guest
    }

    fn call(&self, cpu: u32, token: u64, args: &[u64]) -> Hypercall {
        let ram: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let mut call = Hypercall::new(token, args);
        assert_eq!(self.xics.handle(CpuIndex(cpu), &ram, &mut call), Next::Resume);
        call
    }

    fn status(&self, cpu: u32, token: u64, args: &[u64]) -> Status {
        self.call(cpu, token, args).status()
    }

    fn cppr(&self, cpu: u32, cppr: u8) {
        assert_eq!(self.status(cpu, token::CPPR, &[cppr.into()]), Status::SUCCESS);
    }

    fn ipi(&self, to: u32, mfrr: u8) {
        assert_eq!(self.status(0, token::IPI, &[to.into(), mfrr.into()]), Status::SUCCESS);
    }

    fn eoi(&self, cpu: u32, xirr: u32) {
        assert_eq!(self.status(cpu, token::EOI, &[xirr.into()]), Status::SUCCESS);
    }

    fn xirr(&self, cpu: u32) -> u32 {
        let call = self.call(cpu, token::XIRR, &[]);
        assert_eq!(call.status(), Status::SUCCESS);
        u32::try_from(call.args[0]).unwrap()
    }

    fn poll(&self, cpu: u32) -> (u32, u8) {
        let call = self.call(2, token::IPOLL, &[cpu.into()]);
        assert_eq!(call.status(), Status::SUCCESS);
        (u32::try_from(call.args[0]).unwrap(), u8::try_from(call.args[1]).unwrap())
    }

    fn route(&self, source: u32, server: u32, priority: u8) {
        assert_eq!(
            self.xics.set_xive(source, VectorEntry { server: ServerNumber(server), priority }),
            Ok(())
        );
    }

    fn lines(&self) -> [bool; SERVERS as usize] {
        *self.lines.asserted.lock().unwrap()
    }

    fn changes(&self) -> Vec<(u32, bool)> {
        std::mem::take(&mut self.lines.changes.lock().unwrap())
    }
}

#[test]
fn an_edge_is_one_interrupt() {
    let guest = Guest::ready();
    guest.xics.raise(FIRST);
    guest.xics.raise(FIRST);
    assert_eq!(guest.changes(), [(0, true)]);
    // "raising the current processor priority to that of the accepted interrupt".
    assert_eq!(guest.xirr(0), 0xff00_1000);
    assert_eq!(guest.poll(0), (0x0500_0000, 0xff));
    assert_eq!(guest.changes(), [(0, false)]);
    guest.eoi(0, 0xff00_1000);
    assert_eq!(guest.xirr(0), 0xff00_0000);
    assert_eq!(guest.changes(), []);
}

#[test]
fn an_edge_in_service_comes_after_its_end() {
    let guest = Guest::ready();
    guest.xics.raise(FIRST);
    assert_eq!(guest.xirr(0), 0xff00_1000);
    guest.xics.raise(FIRST);
    // Neither here nor elsewhere, however favoured.
    guest.cppr(0, 0xff);
    guest.route(FIRST, 1, 0);
    assert_eq!(guest.lines(), [false; 3]);
    guest.eoi(0, 0xff00_1000);
    assert_eq!(guest.lines(), [false, true, false]);
    assert_eq!(guest.xirr(1), 0xff00_1000);
}

#[test]
fn a_level_comes_again_while_it_is_asserted() {
    let guest = Guest::ready();
    guest.xics.set_level(FIRST, true);
    guest.xics.set_level(FIRST, true);
    for _ in 0..3 {
        assert_eq!(guest.xirr(0), 0xff00_1000);
        assert!(!guest.lines()[0]);
        guest.eoi(0, 0xff00_1000);
        assert!(guest.lines()[0]);
    }
    assert_eq!(guest.xirr(0), 0xff00_1000);
    guest.xics.set_level(FIRST, false);
    guest.eoi(0, 0xff00_1000);
    assert!(!guest.lines()[0]);
    // One that nobody has accepted yet goes with its cause.
    guest.xics.set_level(FIRST, true);
    assert!(guest.lines()[0]);
    guest.xics.set_level(FIRST, false);
    assert_eq!(guest.xirr(0), 0xff00_0000);
}

#[test]
fn more_favoured_interrupts_nest() {
    let guest = Guest::ready();
    guest.route(FIRST + 1, 0, 3);
    guest.xics.raise(FIRST);
    assert_eq!(guest.xirr(0), 0xff00_1000);
    guest.xics.raise(FIRST + 1);
    guest.ipi(0, 4);
    assert_eq!(guest.xirr(0), 0x0500_1001);
    // "any interrupt of equal or less favored priority" waits.
    assert_eq!(guest.xirr(0), 0x0300_0000);
    guest.eoi(0, 0x0500_1001);
    assert_eq!(guest.xirr(0), 0x0500_0002);
    guest.ipi(0, 0xff);
    guest.eoi(0, 0x0500_0002);
    assert!(!guest.lines()[0]);
    guest.eoi(0, 0xff00_1000);
    assert_eq!(guest.xirr(0), 0xff00_0000);
}

/// "causing the interrupt source controller to reject any interrupt of equal or less favored
/// priority."
#[test]
fn a_rejected_interrupt_comes_again() {
    let guest = Guest::ready();
    guest.xics.raise(FIRST);
    guest.changes();
    guest.cppr(0, 5);
    assert_eq!(guest.changes(), [(0, false)]);
    assert_eq!(guest.xirr(0), 0x0500_0000);
    guest.cppr(0, 6);
    assert_eq!(guest.changes(), [(0, true)]);
    assert_eq!(guest.xirr(0), 0x0600_1000);
}

#[test]
fn an_ipi_stays_until_its_priority_goes() {
    let guest = Guest::ready();
    guest.ipi(1, 4);
    assert_eq!(guest.changes(), [(1, true)]);
    assert_eq!(guest.poll(1), (0xff00_0002, 4));
    assert_eq!(guest.xirr(1), 0xff00_0002);
    // Its end does not make it go.
    guest.eoi(1, 0xff00_0002);
    assert_eq!(guest.xirr(1), 0xff00_0002);
    guest.ipi(1, 0xff);
    guest.eoi(1, 0xff00_0002);
    assert_eq!(guest.poll(1), (0xff00_0000, 0xff));
    assert_eq!(guest.changes(), [(1, false), (1, true), (1, false)]);
    // "the value in the low order byte of the mfrr parameter".
    assert_eq!(guest.status(0, token::IPI, &[1, 0xab04]), Status::SUCCESS);
    assert_eq!(guest.poll(1).1, 4);
}

#[test]
fn the_most_favoured_comes_first_then_the_ipi_then_the_oldest() {
    let guest = Guest::ready();
    for source in SOURCES {
        guest.route(source, 0, 5);
    }
    guest.route(FIRST + 2, 0, 1);
    for source in [3, 0, 2, 1] {
        guest.xics.raise(FIRST + source);
    }
    guest.ipi(0, 5);
    let mut order = Vec::new();
    for _ in 0..5 {
        let xirr = guest.xirr(0);
        order.push(xirr & 0xff_ffff);
        guest.ipi(0, if xirr & 0xff_ffff == IPI { 0xff } else { guest.poll(0).1 });
        guest.eoi(0, xirr);
    }
    assert_eq!(order, [FIRST + 2, IPI, FIRST + 3, FIRST, FIRST + 1]);
}

/// A level that is always asserted leaves room for others of its priority.
#[test]
fn nobody_starves() {
    let guest = Guest::ready();
    guest.route(FIRST + 1, 0, 5);
    guest.xics.set_level(FIRST, true);
    guest.xics.set_level(FIRST + 1, true);
    let served: Vec<u32> = (0..4)
        .map(|_| {
            let xirr = guest.xirr(0);
            guest.eoi(0, xirr);
            xirr & 0xff_ffff
        })
        .collect();
    assert_eq!(served, [FIRST, FIRST + 1, FIRST, FIRST + 1]);
}

#[test]
fn polling_changes_nothing() {
    let guest = Guest::ready();
    guest.xics.raise(FIRST);
    for _ in 0..2 {
        assert_eq!(guest.poll(0), (0xff00_1000, 0xff));
    }
    assert_eq!(guest.changes(), [(0, true)]);
    assert_eq!(guest.xirr(0), 0xff00_1000);
}

/// "The interrupt source controller must prevent signalling new interrupts when the XIVE interrupt
/// priority field is set to the least favored level" (LoPAPR, requirement R1-6.1-15).
#[test]
fn a_masked_edge_comes_when_it_is_unmasked() {
    let guest = Guest::ready();
    guest.route(FIRST, 1, 0xff);
    guest.xics.raise(FIRST);
    assert_eq!(guest.lines(), [false; 3]);
    guest.route(FIRST, 1, 5);
    assert_eq!(guest.lines(), [false, true, false]);
    assert_eq!(guest.xics.switch(FIRST, false), Ok(()));
    assert_eq!(guest.lines(), [false; 3]);
    assert_eq!(guest.xirr(1), 0xff00_0000);
    assert_eq!(guest.xics.switch(FIRST, true), Ok(()));
    assert_eq!(guest.xirr(1), 0xff00_1000);
}

#[test]
fn a_source_that_is_off_keeps_its_priority() {
    let guest = Guest::ready();
    assert_eq!(guest.xics.switch(FIRST, false), Ok(()));
    assert_eq!(guest.xics.xive(FIRST), Ok(VectorEntry { server: ServerNumber(0), priority: 5 }));
    guest.xics.raise(FIRST);
    // Set while it is off, to have effect when it is on.
    guest.route(FIRST, 2, 7);
    assert_eq!(guest.lines(), [false; 3]);
    assert_eq!(guest.xics.switch(FIRST, true), Ok(()));
    assert_eq!(guest.xics.xive(FIRST), Ok(VectorEntry { server: ServerNumber(2), priority: 7 }));
    assert_eq!(guest.lines(), [false, false, true]);
}

#[test]
fn a_waiting_interrupt_moves_with_its_source() {
    let guest = Guest::ready();
    guest.xics.raise(FIRST);
    guest.route(FIRST, 2, 5);
    assert_eq!(guest.changes(), [(0, true), (0, false), (2, true)]);
    assert_eq!(guest.xirr(0), 0xff00_0000);
    assert_eq!(guest.xirr(2), 0xff00_1000);
    // The end may come from any CPU.
    guest.xics.raise(FIRST);
    guest.eoi(1, 0xff00_1000);
    assert_eq!(guest.poll(2).0, 0x0500_0000);
    guest.cppr(2, 0xff);
    assert_eq!(guest.poll(2).0, 0xff00_1000);
}

#[test]
fn servers_and_sources_that_are_not_there_are_refused() {
    let guest = Guest::ready();
    for server in [SERVERS.into(), 1 << 32, u64::MAX] {
        assert_eq!(guest.status(0, token::IPI, &[server, 4]), Status::PARAMETER);
        assert_eq!(guest.status(0, token::IPOLL, &[server]), Status::PARAMETER);
    }
    for token in [token::EOI, token::CPPR, token::XIRR] {
        assert_eq!(guest.status(SERVERS, token, &[0xff00_0002]), Status::PARAMETER);
    }
    for source in [0, 1, IPI, FIRST - 1, SOURCES.end, u32::MAX] {
        let xive = VectorEntry { server: ServerNumber(0), priority: 5 };
        assert_eq!(guest.xics.set_xive(source, xive), Err(Refused));
        assert_eq!(guest.xics.xive(source), Err(Refused));
        assert_eq!(guest.xics.switch(source, true), Err(Refused));
        assert_eq!(guest.xics.switch(source, false), Err(Refused));
        guest.xics.raise(source);
        guest.xics.set_level(source, true);
    }
    for server in [SERVERS, u32::MAX] {
        assert_eq!(
            guest.xics.set_xive(FIRST, VectorEntry { server: ServerNumber(server), priority: 5 }),
            Err(Refused)
        );
    }
    assert_eq!(guest.xics.xive(FIRST), Ok(VectorEntry { server: ServerNumber(0), priority: 5 }));
    assert_eq!(guest.changes(), []);
}

/// "If the xirr value is not legal, hypervisor returns H_Parameter."
#[test]
fn an_end_has_to_be_legal() {
    let guest = Guest::ready();
    guest.xics.raise(FIRST);
    assert_eq!(guest.xirr(0), 0xff00_1000);
    for xirr in [0xff00_0000_u64, 0xff00_0001, 0xff00_1004, 0xffff_ffff, 0x0400_1000] {
        assert_eq!(guest.status(0, token::EOI, &[xirr]), Status::PARAMETER);
    }
    assert_eq!(guest.poll(0).0, 0x0500_0000);
    // "The low order 32 bits is the value"; "equal or less favored than the current cppr".
    assert_eq!(guest.status(0, token::EOI, &[0xdead_0000_0500_1000]), Status::SUCCESS);
    // One more than there were interrupts.
    guest.eoi(0, 0xff00_1000);
    assert_eq!(guest.xirr(0), 0xff00_0000);
}

/// LoPAPR, requirement R1-6.1-13.
#[test]
fn at_reset_no_interrupt_comes() {
    let guest = Guest::ready();
    guest.xics.raise(FIRST);
    guest.xics.set_level(FIRST + 1, true);
    guest.xics.raise(FIRST + 2);
    guest.route(FIRST + 2, 1, 5);
    guest.xirr(1);
    assert_eq!(guest.xics.switch(FIRST + 3, false), Ok(()));
    guest.ipi(2, 4);
    guest.changes();
    Device::reset(&guest.xics);
    assert_eq!(guest.changes(), [(0, false), (2, false)]);
    for cpu in 0..SERVERS {
        assert_eq!(guest.poll(cpu), (0, 0xff));
        guest.cppr(cpu, 0xff);
    }
    for source in SOURCES {
        assert_eq!(
            guest.xics.xive(source),
            Ok(VectorEntry { server: ServerNumber(0), priority: 0xff })
        );
        guest.route(source, 0, 5);
    }
    // Only the level is still there, for its device asserts it; and no source is off.
    assert_eq!(guest.xirr(0), 0xff00_1001);
    guest.cppr(0, 0xff);
    assert_eq!(guest.xirr(0), 0xff00_0000);
    guest.cppr(0, 0xff);
    for source in [2, 3] {
        guest.xics.raise(FIRST + source);
        assert_eq!(guest.xirr(0), 0xff00_0000 | (FIRST + source));
        guest.eoi(0, 0xff00_0000 | (FIRST + source));
    }
}

#[test]
fn interrupts_are_stamped_where_there_is_time() {
    use std::sync::atomic::{AtomicU64, Ordering};

    assert_eq!(Guest::ready().status(0, token::XIRR_X, &[0]), Status::FUNCTION);

    let time = Arc::new(AtomicU64::new(100));
    let clock = time.clone();
    let mut guest = Guest::ready();
    guest.xics = guest.xics.with_timebase(Arc::new(move || clock.load(Ordering::Relaxed)));
    guest.xics.raise(FIRST);
    time.store(200, Ordering::Relaxed);
    guest.xics.raise(FIRST);
    guest.ipi(0, 7);
    time.store(300, Ordering::Relaxed);
    // More urgent, and still the same one.
    guest.ipi(0, 6);
    for wanted in [[0xff00_1000, 100], [0xff00_0002, 200], [0x0600_0000, 300]] {
        let call = guest.call(0, token::XIRR_X, &[0]);
        assert_eq!((call.status(), &call.args[..2]), (Status::SUCCESS, &wanted[..]));
        if wanted[1] == 100 {
            guest.eoi(0, 0xff00_1000);
        }
    }
    // H_XIRR has one result.
    assert_eq!(guest.call(0, token::XIRR, &[0, 7]).args[1], 7);
}

#[test]
fn the_ipi_is_no_source_of_devices() {
    let xics = Xics::new(&CpuTopology::new(1), Arc::new(Lines::default()));
    for number in [0, IPI, 1 << 24, u32::MAX] {
        let error = xics.claim(SourceNumber(number), InterruptKind::Edge).unwrap_err();
        assert!(error.to_string().contains(&format!("{number:#x}")), "{error}");
    }
}

/// CPUs that interrupt each other and their devices at once: at the end, every line is right.
#[test]
fn all_at_once() {
    let guest = Guest::ready();
    std::thread::scope(|scope| {
        for cpu in 0..SERVERS {
            let guest = &guest;
            scope.spawn(move || {
                for round in 0..500 {
                    guest.ipi((cpu + 1) % SERVERS, 4);
                    guest.route(FIRST + cpu, (cpu + round) % SERVERS, 5);
                    guest.xics.raise(FIRST + cpu);
                    let xirr = guest.xirr(cpu);
                    guest.ipi(cpu, 0xff);
                    if xirr & 0xff_ffff != 0 {
                        guest.eoi(cpu, xirr);
                    }
                }
            });
        }
    });
    for cpu in 0..SERVERS {
        assert_eq!(guest.lines()[cpu as usize], guest.poll(cpu).0 & 0xff_ffff != 0);
    }
}
