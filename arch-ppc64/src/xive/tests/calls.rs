//! What hypercalls answer.

use super::*;

const NONE: u64 = u64::MAX;

/// Every call with arguments that it takes.
const CALLS: &[(u64, [u64; 5])] = &[
    (token::INT_GET_SOURCE_INFO, [0, 0x1000, 0, 0, 0]),
    (token::INT_SET_SOURCE_CONFIG, [2, 0x1000, 1, 5, 7]),
    (token::INT_GET_SOURCE_CONFIG, [0, 0x1000, 0, 0, 0]),
    (token::INT_GET_QUEUE_INFO, [0, 1, 5, 0, 0]),
    (token::INT_SET_QUEUE_CONFIG, [1, 1, 5, 0x1_0000, 16]),
    (token::INT_GET_QUEUE_CONFIG, [1, 1, 5, 0, 0]),
    (token::INT_ESB, [0, 0x1000, 0x800, 0, 0]),
    (token::INT_SYNC, [0, 0x1000, 0, 0, 0]),
    (token::INT_RESET, [0, 0, 0, 0, 0]),
];

#[test]
fn sources_say_what_they_are() {
    let guest = Guest::new();
    let info = |source: u32| guest.call(token::INT_GET_SOURCE_INFO, &[0, source.into()]);
    let page = XIVE_SOURCES.0 + 0x1000 * 0x2_0000;
    assert_eq!(info(FIRST).args[..4], [0, page, page + 0x1_0000, 16]);
    assert_eq!(info(0).args[..4], [0, XIVE_SOURCES.0, XIVE_SOURCES.0 + 0x1_0000, 16]);
    // A level, by H_INT_ESB.
    assert_eq!(info(LEVEL).args[..4], [0xc, NONE, NONE, 16]);
}

#[test]
fn assignments_are_told_as_they_were_set() {
    let guest = Guest::new();
    let config = || guest.call(token::INT_GET_SOURCE_CONFIG, &[0, FIRST.into()]).args;
    let set = |args: &[u64]| {
        let all = [&args[..1], &[FIRST.into()], &args[1..]].concat();
        assert_eq!(guest.status(token::INT_SET_SOURCE_CONFIG, &all), Status::SUCCESS);
        config()[..3].to_vec()
    };
    assert_eq!(config()[..3], [0, 0xff, FIRST.into()]);
    // "Bit 62: set the eisn in the EAS".
    assert_eq!(set(&[0, 1, 6, 77]), [1, 6, FIRST.into()]);
    assert_eq!(set(&[2, 2, 0, 0x7fff_ffff]), [2, 0, 0x7fff_ffff]);
    assert_eq!(set(&[0, 2, 3, 0]), [2, 3, 0x7fff_ffff]);
    // "Bit 63: masks the interrupt source".
    assert_eq!(set(&[1, 2, 3, 0]), [2, 0xff, 0x7fff_ffff]);
    assert_eq!(set(&[0, 2, 3, 0]), [2, 3, 0x7fff_ffff]);
    // Nobody, whatever else is said.
    assert_eq!(set(&[2, 99, 0xff, 5]), [0, 0xff, FIRST.into()]);
}

#[test]
fn queues_are_told_as_they_were_set() {
    let guest = Guest::new();
    let config = |debug: u64| guest.call(token::INT_GET_QUEUE_CONFIG, &[debug, 1, 6]).args;
    assert_eq!(config(1)[..4], [0; 4]);
    let info = guest.call(token::INT_GET_QUEUE_INFO, &[0, 1, 6]).args;
    let starts: Vec<_> = guest.xive.ranges().iter().map(|range| range.start.0).collect();
    assert_eq!(info[..2], [starts[QUEUES] + (8 + 6) * 0x1_0000, 16]);
    guest.queue(1, 6);
    let at = Guest::queue_at(1, 6);
    assert_eq!(config(0)[..4], [1, at, 16, 0]);
    assert_eq!(config(1)[..4], [3, at, 16, 0]);
    guest.assign(FIRST, 1, 6, 1);
    guest.load(FIRST, 0xc00);
    guest.store(FIRST);
    assert_eq!(config(1)[..4], [3, at, 16, 1]);
    for _ in 1..ENTRIES {
        guest.load(FIRST, 0xc00);
        guest.store(FIRST);
    }
    assert_eq!(config(1)[..4], [1, at, 16, 0]);
    assert_eq!(guest.status(token::INT_SET_QUEUE_CONFIG, &[0, 1, 6, at, 16]), Status::SUCCESS);
    assert_eq!(config(1)[..4], [2, at, 16, 0]);
    assert_eq!(guest.status(token::INT_SET_QUEUE_CONFIG, &[1, 1, 6, 5, 0]), Status::SUCCESS);
    assert_eq!(config(1)[..4], [0; 4]);
}

/// Each argument by its place.
#[test]
fn what_cannot_be_is_refused() {
    use Status as S;
    let guest = Guest::ready();
    let refusals: &[(u64, usize, &[u64], Status)] = &[
        (token::INT_GET_SOURCE_INFO, 0, &[1, 1 << 63], S::PARAMETER),
        (token::INT_GET_SOURCE_INFO, 1, &[3, 0xfff, 0x1004, 1 << 32, NONE], S::P2),
        (token::INT_SET_SOURCE_CONFIG, 0, &[4, 1 << 63], S::PARAMETER),
        (token::INT_SET_SOURCE_CONFIG, 1, &[3, 0x1004, 1 << 32 | 0x1000, NONE], S::P2),
        (token::INT_SET_SOURCE_CONFIG, 2, &[3, 1 << 32, NONE], S::P3),
        (token::INT_SET_SOURCE_CONFIG, 3, &[7, 8, 0xfe, 0x100, 0x1ff, NONE], S::P4),
        (token::INT_SET_SOURCE_CONFIG, 4, &[1 << 31, 1 << 32, NONE], S::P5),
        (token::INT_GET_SOURCE_CONFIG, 0, &[1], S::PARAMETER),
        (token::INT_GET_SOURCE_CONFIG, 1, &[3, NONE], S::P2),
        (token::INT_GET_QUEUE_INFO, 0, &[1], S::PARAMETER),
        (token::INT_GET_QUEUE_INFO, 1, &[3, NONE], S::P2),
        (token::INT_GET_QUEUE_INFO, 2, &[7, 0xff, 0x100, NONE], S::P3),
        (token::INT_SET_QUEUE_CONFIG, 0, &[2, NONE], S::PARAMETER),
        (token::INT_SET_QUEUE_CONFIG, 1, &[3, NONE], S::P2),
        (token::INT_SET_QUEUE_CONFIG, 2, &[7, 0xff, NONE], S::P3),
        (token::INT_SET_QUEUE_CONFIG, 3, &[1, 0x8000, RAM_BYTES, 1 << 52, NONE << 16, NONE], S::P4),
        (token::INT_SET_QUEUE_CONFIG, 4, &[1, 12, 15, 17, 21, 24, 64, NONE], S::P5),
        (token::INT_GET_QUEUE_CONFIG, 0, &[2, NONE], S::PARAMETER),
        (token::INT_GET_QUEUE_CONFIG, 1, &[3, NONE], S::P2),
        (token::INT_GET_QUEUE_CONFIG, 2, &[7, 0xff, NONE], S::P3),
        (token::INT_ESB, 0, &[2, NONE], S::PARAMETER),
        (token::INT_ESB, 1, &[3, NONE], S::P2),
        (token::INT_ESB, 2, &[0x1_0000, NONE], S::P3),
        (token::INT_SYNC, 0, &[1], S::PARAMETER),
        (token::INT_SYNC, 1, &[3, NONE], S::P2),
        (token::INT_RESET, 0, &[1], S::PARAMETER),
    ];
    for &(token, place, values, status) in refusals {
        let (_, args) = CALLS.iter().find(|call| call.0 == token).unwrap();
        for &value in values {
            let mut args = *args;
            args[place] = value;
            let call = guest.call(token, &args);
            assert_eq!(call.status(), status, "{token:#x} with {args:x?}");
            assert_eq!(call.args[..5], args, "a refusal has no results");
        }
    }
    // None of them did anything.
    let call = guest.call(token::INT_GET_SOURCE_CONFIG, &[0, FIRST.into()]);
    assert_eq!(call.args[..3], [0, 5, FIRST.into()]);
    for &(token, args) in CALLS {
        assert_eq!(guest.status(token, &args), Status::SUCCESS, "{token:#x}");
    }
}

/// A queue that ends where RAM ends is in RAM; the next one is not.
#[test]
fn queues_are_wholly_in_ram() {
    let guest = Guest::new();
    let set = |at| guest.status(token::INT_SET_QUEUE_CONFIG, &[1, 0, 0, at, 16]);
    assert_eq!(set(RAM_BYTES - QUEUE_BYTES), Status::SUCCESS);
    assert_eq!(set(RAM_BYTES), Status::P4);
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_8000)]).unwrap();
    let mut call = Hypercall::new(token::INT_SET_QUEUE_CONFIG, &[1, 0, 0, 0x1_0000, 16]);
    let _ = guest.xive.handle(CpuIndex(0), &memory, &mut call);
    assert_eq!(call.status(), Status::P4);
}

/// There are no lines to report to, and a store by H_INT_ESB does nothing: there is no page that
/// would take it.
#[test]
fn what_is_not_there_says_so() {
    let guest = Guest::ready();
    for token in [token::INT_SET_OS_REPORTING_LINE, token::INT_GET_OS_REPORTING_LINE] {
        assert_eq!(guest.status(token, &[0, 0, 0x1000]), Status::FUNCTION);
    }
    let call = guest.call(token::INT_ESB, &[1, LEVEL.into(), 0xd00, 0]);
    assert_eq!((call.status(), call.args[0]), (Status::SUCCESS, NONE));
    assert_eq!(guest.load(LEVEL, 0x800), 0);
    assert_eq!(guest.call(token::INT_ESB, &[0, LEVEL.into(), 0x400, 0]).args[0], NONE);
}

/// H_INT_RESET, as by a kernel that ends before another one starts: "losing all previously set
/// interrupt state".
#[test]
fn guest_can_forget_all() {
    let guest = Guest::ready();
    guest.signal(FIRST, Signal::Pulse);
    guest.signal(LEVEL, Signal::High);
    assert!(guest.lines()[0]);
    assert_eq!(guest.status(token::INT_RESET, &[0]), Status::SUCCESS);
    assert_eq!(guest.lines(), [false; 3]);
    assert_eq!(guest.ring(0), [0, 0xff, 0, 0, 0, 0, 0, 0xff]);
    assert_eq!(guest.call(token::INT_GET_QUEUE_CONFIG, &[0, 0, 5]).args[..4], [0; 4]);
    let call = guest.call(token::INT_GET_SOURCE_CONFIG, &[0, FIRST.into()]);
    assert_eq!((call.args[1], guest.load(FIRST, 0x800)), (0xff, 1));
}
