//! The RTAS calls as a guest makes them: by an argument buffer in RAM and the hypercall.

use super::*;
use crate::ram::GuestRam;
use crate::rtas::{Rtas, calls, token_of};

const BUFFER: GuestAddress = GuestAddress(0x100);

/// Makes a call; returns the status and the other outputs.
fn call(rtas: &Rtas, name: &str, inputs: &[u32], outputs: usize) -> (i32, Vec<u32>) {
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    let ram: &dyn GuestRam = &memory;
    let header = [token_of(name).unwrap(), inputs.len() as u32, outputs as u32];
    let cells = [&header[..], inputs, &vec![0xdead_beef; outputs]].concat();
    let at = |cell: usize| GuestAddress(BUFFER.0 + 4 * cell as u64);
    for (number, &cell) in cells.iter().enumerate() {
        ram.write_be_u32(at(number), cell).unwrap();
    }
    let mut call = Hypercall::new(token::RTAS, &[BUFFER.0]);
    assert_eq!(rtas.handle(CpuIndex(0), ram, &mut call), Next::Resume);
    assert_eq!(call.status(), Status::SUCCESS);
    let results = cells.len() - outputs..cells.len();
    let mut results: Vec<_> = results.map(|cell| ram.read_be_u32(at(cell)).unwrap()).collect();
    (results.remove(0) as i32, results)
}

fn software() -> (Arc<Xics>, Rtas) {
    let xics = Arc::new(Guest::new().xics);
    let rtas = Rtas::new(&[xics.clone() as Arc<dyn Device>]).unwrap();
    (xics, rtas)
}

fn kernel() -> Rtas {
    Rtas::new(&[Arc::new(KernelXics::new(&CpuTopology::new(SERVERS)))]).unwrap()
}

#[test]
fn sources_are_set_up() {
    let (xics, rtas) = software();
    let status = |name, inputs: &[u32]| call(&rtas, name, inputs, 1).0;
    let xive = || call(&rtas, "ibm,get-xive", &[FIRST], 3);
    // "Priority initialized to least favored level by firmware at boot" (R1-7.3.10.1-4).
    assert_eq!(xive(), (0, vec![0, 0xff]));
    assert_eq!(status("ibm,set-xive", &[FIRST, 1, 5]), 0);
    assert_eq!(xive(), (0, vec![1, 5]));
    xics.raise(FIRST);
    xics.lock().change_server(CpuIndex(1), |server| server.cppr = 0xff).unwrap();
    let xirr = || xics.lock().poll(CpuIndex(1)).unwrap().0;
    assert_eq!(xirr(), 0xff00_0000 | FIRST);
    assert_eq!(status("ibm,int-off", &[FIRST]), 0);
    assert_eq!(xirr(), 0xff00_0000);
    assert_eq!(xive(), (0, vec![1, 5]));
    assert_eq!(status("ibm,int-on", &[FIRST]), 0);
    assert_eq!(xirr(), 0xff00_0000 | FIRST);
}

/// "Must return the Status of -3 (Argument Error) for an unimplemented Interrupt number"
/// (R1-7.3.10.1-5, R1-7.3.10.2-5, R1-7.3.10.3-6, R1-7.3.10.4-6).
#[test]
fn unknown_sources_are_refused() {
    for (rtas, source) in [(software().1, SOURCES.end), (software().1, IPI), (kernel(), FIRST)] {
        assert_eq!(call(&rtas, "ibm,set-xive", &[source, 0, 5], 1).0, -3);
        assert_eq!(call(&rtas, "ibm,get-xive", &[source], 3), (-3, vec![0, 0]));
        assert_eq!(call(&rtas, "ibm,int-on", &[source], 1).0, -3);
        assert_eq!(call(&rtas, "ibm,int-off", &[source], 1).0, -3);
    }
}

#[test]
fn servers_and_priorities_that_cannot_be_are_refused() {
    let (_, rtas) = software();
    // "Priority 0x00 - 0xFF".
    for inputs in [[FIRST, 0, 0x100], [FIRST, 0, u32::MAX], [FIRST, SERVERS, 5]] {
        assert_eq!(call(&rtas, "ibm,set-xive", &inputs, 1).0, -3);
    }
    assert_eq!(call(&rtas, "ibm,get-xive", &[FIRST], 3), (0, vec![0, 0xff]));
}

/// Whoever answers: the tree names the same calls, by the numbers that kernels are told.
#[test]
fn either_controller_has_the_same_calls() {
    let wanted: Vec<_> = calls()
        .filter(|(name, _)| name.ends_with("-xive") || name.starts_with("ibm,int-"))
        .collect();
    assert_eq!(wanted.len(), 4);
    assert_eq!(software().1.calls(), wanted);
    assert_eq!(kernel().calls(), wanted);
}
