//! The calls as a guest makes them.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestMemoryMmap};

use super::*;

const CPUS: u32 = 2;
const RAM_BYTES: u64 = 0x1_0000;
const VPA: u64 = 0x1000;
const LOG: u64 = 0x2080;
const SHADOW: u64 = 0x4000;

/// Notes who is woken; there are as many CPUs as there may be, but one.
#[derive(Default)]
struct Woken(Mutex<Vec<u32>>);

impl Prod for Woken {
    fn prod(&self, target: CpuIndex) -> bool {
        self.0.lock().unwrap().push(target.0);
        target.0 < CPUS - 1
    }
}

struct Guest {
    calls: DispatchCalls,
    woken: Arc<Woken>,
    ram: GuestMemoryMmap,
}

impl Guest {
    fn new() -> Self {
        Self::with(&CpuTopology::new(CPUS))
    }

    fn with(topology: &CpuTopology) -> Self {
        let woken = Arc::new(Woken::default());
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)]).unwrap();
        let guest = Self { calls: DispatchCalls::new(topology, woken.clone()), woken, ram };
        guest.write(VPA + 4, &640_u16.to_be_bytes());
        guest.write(LOG + 4, &4096_u32.to_be_bytes());
        guest.write(SHADOW + 4, &128_u32.to_be_bytes());
        guest
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Makes a call from CPU 0.
    fn call(&self, token: u64, args: &[u64]) -> (Next, Status) {
        let mut call = Hypercall::new(token, args);
        let before = call.args;
        let next = self.calls.handle(CpuIndex(0), &self.ram, &mut call);
        // "such that the only GPR that is modified by the call is r3".
        assert_eq!(call.args, before);
        (next, call.status())
    }

    fn status(&self, token: u64, args: &[u64]) -> Status {
        let (next, status) = self.call(token, args);
        assert_eq!(next, Next::Resume);
        status
    }

    fn vpa(&self, function: u64, processor: u64, at: u64) -> Status {
        self.status(token::REGISTER_VPA, &[function << 45, processor, at])
    }
}

#[test]
fn ceding_succeeds_and_sleeps() {
    assert_eq!(Guest::new().call(token::CEDE, &[]), (Next::Cede, Status::SUCCESS));
}

#[test]
fn prod_wakes_those_who_are_there() {
    let guest = Guest::new();
    assert_eq!(guest.status(token::PROD, &[0]), Status::SUCCESS);
    assert_eq!(guest.status(token::PROD, &[1]), Status::PARAMETER);
    assert_eq!(*guest.woken.0.lock().unwrap(), [0, 1]);
    for none in [1 << 32, u64::MAX] {
        assert_eq!(guest.status(token::PROD, &[none]), Status::PARAMETER);
    }
    assert_eq!(*guest.woken.0.lock().unwrap(), [0, 1]);
}

/// "Validate the proc number else return H_Parameter. Valid Values: -1 (all partition processors),
/// 0 through N […]"
#[test]
fn conferring_comes_back() {
    let guest = Guest::new();
    for target in [0, 1, 0xffff_ffff, u64::MAX] {
        assert_eq!(guest.status(token::CONFER, &[target, 7]), Status::SUCCESS);
    }
    for target in [2, 0x8000_0000, -2_i64 as u64] {
        assert_eq!(guest.status(token::CONFER, &[target, 7]), Status::PARAMETER);
    }
}

#[test]
fn areas_are_registered_in_order_and_go_in_order() {
    let guest = Guest::new();
    // "Verify that a VPA has been registered for the specified virtual processor else return
    // H_RESOURCE."
    assert_eq!(guest.vpa(2, 1, LOG), Status::RESOURCE);
    assert_eq!(guest.vpa(3, 1, SHADOW), Status::RESOURCE);
    assert_eq!(guest.vpa(1, 1, VPA), Status::SUCCESS);
    assert_eq!(guest.vpa(2, 0, LOG), Status::RESOURCE);
    assert_eq!(guest.vpa(2, 1, LOG), Status::SUCCESS);
    assert_eq!(guest.vpa(3, 1, SHADOW), Status::SUCCESS);
    // "the last registration wins".
    assert_eq!(guest.vpa(1, 1, VPA), Status::SUCCESS);
    // "Verify that a Dispatch Trace Log buffer is not registered […]. Verify that an SLB Shadow
    // buffer is not registered for the specified processor else return H_RESOURCE."
    assert_eq!(guest.vpa(5, 1, 0), Status::RESOURCE);
    assert_eq!(guest.vpa(6, 1, 0), Status::SUCCESS);
    assert_eq!(guest.vpa(5, 1, 0), Status::RESOURCE);
    assert_eq!(guest.vpa(7, 1, 0), Status::SUCCESS);
    assert_eq!(guest.vpa(5, 1, 0), Status::SUCCESS);
    assert_eq!(guest.vpa(2, 1, LOG), Status::RESOURCE);
    // "note no check is made that a valid VPA registration exists", nor of the address.
    for function in [5, 6, 7] {
        assert_eq!(guest.vpa(function, 1, u64::MAX), Status::SUCCESS);
    }
}

#[test]
fn reset_forgets_the_areas() {
    let guest = Guest::new();
    assert_eq!(guest.vpa(1, 0, VPA), Status::SUCCESS);
    assert_eq!(guest.vpa(3, 0, SHADOW), Status::SUCCESS);
    Device::reset(&guest.calls);
    assert_eq!(guest.vpa(3, 0, SHADOW), Status::RESOURCE);
    assert_eq!(guest.vpa(5, 0, 0), Status::SUCCESS);
}

#[test]
fn other_functions_and_processors_are_refused() {
    let guest = Guest::new();
    for function in [0, 4, 8, 9] {
        assert_eq!(guest.vpa(function, 0, VPA), Status::PARAMETER);
    }
    for bit in (0..45).chain(48..64) {
        let flags = 1 << 45 | 1 << bit;
        assert_eq!(guest.status(token::REGISTER_VPA, &[flags, 0, VPA]), Status::PARAMETER);
    }
    for processor in [CPUS.into(), 1 << 32, u64::MAX] {
        assert_eq!(guest.vpa(1, processor, VPA), Status::PARAMETER);
        assert_eq!(guest.vpa(5, processor, VPA), Status::PARAMETER);
    }
}

/// The least and the greatest size of each area, and whether it may cross a page.
#[test]
fn sizes_are_those_of_the_specification() {
    let guest = Guest::new();
    assert_eq!(guest.vpa(1, 0, VPA), Status::SUCCESS);
    let register = |function, at, size: u32| {
        if function == 1 {
            // "the size field (2 bytes) at offset 0x4"; what follows is not of it.
            guest.write(at + 4, &(size << 16 | 0xffff).to_be_bytes());
        } else {
            guest.write(at + 4, &size.to_be_bytes());
        }
        guest.vpa(function, 0, at)
    };
    for (function, least, may_span) in [(1, 640, false), (2, 48, true), (3, 8, false)] {
        for (at, size, good) in [
            (0x5000, least, true),
            (0x5000, least - 1, false),
            (0x5000, 0, false),
            (0x5000, 4096, true),
            (0x5000, 4097, false),
            (0x5800, 2048, true),
            (0x5800, 2049, may_span),
            // RAM ends at 64 KiB.
            (0xf800, 2048, true),
            (0xf800, 2049, false),
        ] {
            let wanted = if good { Status::SUCCESS } else { Status::PARAMETER };
            assert_eq!(register(function, at, size), wanted, "{function} at {at:#x}: {size}");
        }
        assert_eq!(register(function, 0x5040, 1024), Status::PARAMETER);
        for at in [RAM_BYTES, 1 << 60, u64::MAX - 127] {
            assert_eq!(guest.vpa(function, 0, at), Status::PARAMETER);
        }
    }
}

#[test]
fn the_hypervisors_variables_start_at_zero_and_the_guests_stay() {
    let guest = Guest::new();
    guest.write(VPA, &[0xaa; 640]);
    guest.write(VPA + 4, &640_u16.to_be_bytes());
    assert_eq!(guest.vpa(1, 0, VPA), Status::SUCCESS);
    let mut area = [0; 640];
    guest.ram.read_slice(&mut area, GuestAddress(VPA)).unwrap();
    // The dispatch counter and the mark of a shared processor (Linux's `asm/lppaca.h`).
    assert_eq!((&area[0x100..0x104], area[9]), (&[0; 4][..], 0));
    // Descriptor, size, and some of what the guest tells: cede latency to cycle donation, whether
    // to keep FPRs and PMCs, idle, VMX.
    assert_eq!((area[0], &area[4..6]), (0xaa, &640_u16.to_be_bytes()[..]));
    assert!(area[0xb0..0x100].iter().all(|&byte| byte == 0xaa));
    // "Initialize the specified processor's preempt/dispatch trace log buffer pointers and index."
    guest.write(VPA + 0x218, &[0xaa; 8]);
    assert_eq!(guest.vpa(2, 0, LOG), Status::SUCCESS);
    guest.ram.read_slice(&mut area, GuestAddress(VPA)).unwrap();
    assert_eq!((&area[0x218..0x220], area[0x220]), (&[0; 8][..], 0xaa));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever the guest passes: an answer.
    #[test]
    fn any_arguments_are_answered(calls in prop::collection::vec(
        (
            prop::sample::select(vec![token::PROD, token::CONFER, token::REGISTER_VPA]),
            prop_oneof![(0..8_u64).prop_map(|function| function << 45), any::<u64>()],
            prop_oneof![0..4_u64, any::<u64>()],
            prop_oneof![(0..520_u64).prop_map(|line| line * 128), any::<u64>()],
            any::<u32>(),
        ),
        1..20,
    )) {
        let guest = Guest::new();
        for (token, flags, processor, at, size) in calls {
            if at < RAM_BYTES - 8 {
                guest.write(at + 4, &size.to_be_bytes());
            }
            guest.status(token, &[flags, processor, at]);
        }
    }
}
