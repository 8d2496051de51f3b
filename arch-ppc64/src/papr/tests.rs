//! The calls as a guest makes them, through the handlers.

use std::sync::Mutex;

use proptest::prelude::*;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::HypercallBus;

const RAM_BYTES: u64 = 0x10_0000;

/// What a back end was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Endianness(bool),
    Location(u8),
    Table(ProcessTable),
    Breakpoint(CpuIndex, u64),
    Watchpoint(CpuIndex, u8, u64, u64),
    Reset(CpuIndex, ResetTargets),
}

/// A back end that notes what it is asked for, and gives one answer.
struct Notes {
    asked: Mutex<Vec<Asked>>,
    answer: Status,
}

impl Notes {
    fn note(&self, asked: Asked) -> Status {
        self.asked.lock().unwrap().push(asked);
        self.answer
    }
}

impl ProcessorModes for Notes {
    fn set_interrupt_endianness(&self, little: bool) -> Status {
        self.note(Asked::Endianness(little))
    }

    fn set_interrupt_location(&self, ail: u8) -> Status {
        self.note(Asked::Location(ail))
    }

    fn set_process_table(&self, table: &ProcessTable) -> Status {
        self.note(Asked::Table(*table))
    }

    fn set_breakpoint(&self, caller: CpuIndex, ciabr: u64) -> Status {
        self.note(Asked::Breakpoint(caller, ciabr))
    }

    fn set_watchpoint(&self, caller: CpuIndex, number: u8, dawr: u64, dawrx: u64) -> Status {
        self.note(Asked::Watchpoint(caller, number, dawr, dawrx))
    }

    fn system_reset(&self, caller: CpuIndex, targets: ResetTargets) -> Status {
        self.note(Asked::Reset(caller, targets))
    }
}

/// A back end that has only what it must have.
struct Least;

impl ProcessorModes for Least {
    fn set_interrupt_endianness(&self, _: bool) -> Status {
        Status::SUCCESS
    }

    fn set_interrupt_location(&self, _: u8) -> Status {
        Status::UNSUPPORTED_FLAG
    }

    fn set_process_table(&self, _: &ProcessTable) -> Status {
        Status::SUCCESS
    }
}

/// Makes a call from CPU 2.
fn call(handler: Arc<dyn HypercallHandler>, token: u64, args: &[u64]) -> Hypercall {
    let bus = HypercallBus::new(vec![handler]).unwrap();
    let ram: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)]).unwrap();
    let mut call = Hypercall::new(token, args);
    assert_eq!(bus.dispatch(CpuIndex(2), &ram, &mut call), Next::Resume);
    call
}

/// What the back end was asked for by one call, and what the guest got.
fn asked(answer: Status, token: u64, args: &[u64]) -> (Vec<Asked>, Status) {
    let notes = Arc::new(Notes { asked: Mutex::default(), answer });
    let call = call(Arc::new(ModeCalls::new(&CpuTopology::new(4), notes.clone())), token, args);
    let asked = notes.asked.lock().unwrap().clone();
    (asked, call.status())
}

#[test]
fn modes_reach_the_back_end_and_its_answer_the_guest() {
    let radix =
        ProcessTable::Radix { base: GuestAddress(0x1_0000), size_bytes: 0x1_0000, gtse: true };
    for answer in [Status::SUCCESS, Status::UNSUPPORTED_FLAG, Status::HARDWARE] {
        for (token, args, wanted) in [
            (token::SET_MODE, [1, 4, 0, 0], Asked::Endianness(true)),
            (token::SET_MODE, [3, 3, 0, 0], Asked::Location(3)),
            (token::SET_MODE, [0, 1, 0x1002, 0], Asked::Breakpoint(CpuIndex(2), 0x1002)),
            (token::SET_MODE, [0, 2, 8, 0x41], Asked::Watchpoint(CpuIndex(2), 0, 8, 0x41)),
            (token::SET_MODE, [0, 5, 8, 0x41], Asked::Watchpoint(CpuIndex(2), 1, 8, 0x41)),
            (token::REGISTER_PROC_TBL, [0x1d, 0x1_0000, 0, 4], Asked::Table(radix)),
            (token::REGISTER_PROC_TBL, [0; 4], Asked::Table(ProcessTable::Hash)),
            (
                token::SIGNAL_SYS_RESET,
                [-2_i64 as u64, 0, 0, 0],
                Asked::Reset(CpuIndex(2), ResetTargets::Others),
            ),
        ] {
            assert_eq!(asked(answer, token, &args), (vec![wanted], answer));
        }
    }
}

#[test]
fn refused_arguments_do_not_reach_the_back_end() {
    for (token, args, status) in [
        (token::SET_MODE, [1, 4, 1, 0], Status::P3),
        (token::SET_MODE, [0, 9, 0, 0], Status::P2),
        (token::REGISTER_PROC_TBL, [0x20, 0, 0, 0], Status::PARAMETER),
        // The end of RAM in the test is 1 MiB.
        (token::REGISTER_PROC_TBL, [0x1d, 0xf_0000, 0, 5], Status::P2),
        (token::SIGNAL_SYS_RESET, [1 << 40, 0, 0, 0], Status::PARAMETER),
    ] {
        assert_eq!(asked(Status::SUCCESS, token, &args), (vec![], status));
    }
}

#[test]
fn what_a_back_end_lacks_is_not_claimed() {
    let status = |token, args: &[u64]| {
        call(Arc::new(ModeCalls::new(&CpuTopology::new(4), Arc::new(Least))), token, args).status()
    };
    assert_eq!(status(token::SIGNAL_SYS_RESET, &[-2_i64 as u64]), Status::FUNCTION);
    assert_eq!(status(token::SET_MODE, &[0, 1, 0, 0]), Status::P2);
    assert_eq!(status(token::SET_MODE, &[0, 2, 0, 0]), Status::P2);
    assert_eq!(status(token::SET_MODE, &[3, 3, 0, 0]), Status::UNSUPPORTED_FLAG);
}

#[test]
fn characteristics_are_those_of_the_back_end() {
    let known = CpuCharacteristics { character: 0x2200 << 48, behaviour: 0x8000 << 48 };
    let answer = call(
        Arc::new(PaprCalls::new(&CpuTopology::new(4), Some(known))),
        token::GET_CPU_CHARACTERISTICS,
        &[],
    );
    assert_eq!(answer.status(), Status::SUCCESS);
    assert_eq!(answer.args[..2], [0x2200 << 48, 0x8000 << 48]);
    let none = call(
        Arc::new(PaprCalls::new(&CpuTopology::new(4), None)),
        token::GET_CPU_CHARACTERISTICS,
        &[],
    );
    assert_eq!(none.status(), Status::FUNCTION);
}

/// Domain numbers as a guest reads them: "1: The associativity domain number is contained in the
/// low order 15 bits of the field, 0: […] in the low order 15 bits of the current field
/// concatenated with the 16 bits of the next sequential field", all ones being no field.
fn unpack(registers: &[u64]) -> Vec<u32> {
    let bytes: Vec<u8> = registers.iter().flat_map(|register| register.to_be_bytes()).collect();
    let mut fields =
        bytes.chunks_exact(2).map(|field| u32::from(u16::from_be_bytes([field[0], field[1]])));
    let mut domains = Vec::new();
    while let Some(field) = fields.next() {
        match field {
            0xffff => break,
            0x8000.. => domains.push(field & 0x7fff),
            _ => domains.push(field << 16 | fields.next().unwrap()),
        }
    }
    assert!(fields.all(|field| field == 0xffff), "only all ones after the last");
    domains
}

#[test]
fn home_node_is_what_the_tree_says() {
    let calls = Arc::new(PaprCalls::new(&CpuTopology::new(4), None));
    let answer = call(calls, token::HOME_NODE_ASSOCIATIVITY, &[1, 3]);
    assert_eq!(answer.status(), Status::SUCCESS);
    assert_eq!(answer.args[0], 0x8000_8000_8000_8000);
    assert_eq!(answer.args[1], 0x8003_ffff_ffff_ffff);
    assert_eq!(unpack(&answer.args[..6]), CpuTopology::new(4).domains(CpuIndex(3)));
}

#[test]
fn large_domains_take_two_fields() {
    let domains = [0x7ffe, 0x8000, 0x7fff_ffff, 1];
    assert_eq!(unpack(&pack_domains(&domains)), domains);
}

/// "Verify that the flags parameter is valid else return H_Parameter. Verify that the id
/// parameter is valid for the flags and the partition else return H_P2."
#[test]
fn home_node_arguments_are_checked() {
    let status = |args: &[u64]| {
        let calls = Arc::new(PaprCalls::new(&CpuTopology::new(4), None));
        call(calls, token::HOME_NODE_ASSOCIATIVITY, args).status()
    };
    assert_eq!(status(&[1, 0]), Status::SUCCESS);
    for flags in [0, 2, 3, u64::MAX] {
        assert_eq!(status(&[flags, 0]), Status::PARAMETER);
    }
    for id in [4, 1 << 32, u64::MAX] {
        assert_eq!(status(&[1, id]), Status::P2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever the guest passes: an answer, and nothing for the back end that is not possible.
    #[test]
    fn any_arguments_are_answered(
        token in prop::sample::select(vec![
            token::GET_CPU_CHARACTERISTICS,
            token::HOME_NODE_ASSOCIATIVITY,
            token::SET_MODE,
            token::REGISTER_PROC_TBL,
            token::SIGNAL_SYS_RESET,
        ]),
        args in prop::array::uniform9(prop_oneof![0..64_u64, any::<u64>()]),
    ) {
        call(Arc::new(PaprCalls::new(&CpuTopology::new(4), None)), token, &args);
        let (asked, _) = asked(Status::SUCCESS, token, &args);
        for asked in asked {
            match asked {
                Asked::Location(ail) => prop_assert!(matches!(ail, 0 | 2 | 3)),
                Asked::Table(ProcessTable::Radix { base, size_bytes, .. }) => {
                    prop_assert!(base.0 % 4096 == 0 && base.0 + size_bytes <= RAM_BYTES);
                }
                Asked::Breakpoint(_, ciabr) => prop_assert_ne!(ciabr & 3, 3),
                Asked::Watchpoint(_, number, dawr, _) => {
                    prop_assert!(number < 2 && dawr % 8 == 0);
                }
                _ => {}
            }
        }
    }
}
