//! Accesses of the pages that are no interrupt.

use super::*;

#[test]
fn pages_are_where_the_tree_says() {
    let guest = Guest::new();
    let starts: Vec<_> = guest.xive.ranges().iter().map(|range| range.start).collect();
    assert_eq!((starts[SOURCES], starts[OS_PAGE]), (XIVE_SOURCES, XIVE_OS_PAGE));
    // Each source has its pages within the range, and so has each queue of the largest machine.
    let last = u64::from(0x1_0fff_u32) * 0x2_0000 + 0x1_ffff;
    assert_eq!(guest.xive.ranges()[SOURCES].bytes, last + 1);
    assert_eq!(guest.xive.ranges()[QUEUES].bytes, 2048 * 8 * 0x1_0000);
}

#[test]
fn ring_is_the_callers() {
    let guest = Guest::ready();
    guest.cppr(1, 3);
    assert_eq!([0, 1, 2].map(|cpu| guest.ring(cpu)[1]), [0xff, 3, 0xff]);
    // By bytes, halves and words.
    let load = |offset, bytes| {
        let mut data = vec![0; bytes];
        guest.xive.read_by(CpuIndex(1), OS_PAGE, offset, &mut data);
        data
    };
    assert_eq!(load(0x11, 1), [3]);
    assert_eq!(load(0x10, 2), [0, 3]);
    assert_eq!(load(0x14, 4), [0, 0, 0, 0xff]);
    assert_eq!(load(0xc, 8), [0, 0, 0, 0, 0, 3, 0, 0]);
    // The rings of programs and hypervisors are empty, and behind them nothing is.
    assert_eq!((load(0, 8), load(0x20, 8), load(0x38, 8)), (vec![0; 8], vec![0; 8], vec![0; 8]));
    assert_eq!((load(0x40, 8), load(0x3c, 8)), (vec![0xff; 8], vec![0xff; 8]));
    assert_eq!((load(0x810, 4), load(0xfffe, 2)), (vec![0xff; 4], vec![0xff; 2]));
    assert_eq!(load(0x10, 16), [0xff; 16]);
    assert_eq!(guest.load_page(1, USER_PAGE, 0), u64::MAX);
}

#[test]
fn only_a_byte_sets_the_priority() {
    let guest = Guest::ready();
    let store = |range, offset, data: &[u8]| {
        guest.xive.write_by(CpuIndex(0), range, offset, data);
        guest.ring(0)[1]
    };
    assert_eq!(store(OS_PAGE, 0x11, &[7]), 7);
    assert_eq!(store(OS_PAGE, 0x11, &[8]), 0xff);
    assert_eq!(store(OS_PAGE, 0x10, &[1, 1, 1, 1]), 0xff);
    assert_eq!(store(OS_PAGE, 0x31, &[1]), 0xff);
    assert_eq!(store(USER_PAGE, 0x11, &[1]), 0xff);
    assert_eq!(store(OS_PAGE, 0x810, &[1, 1]), 0xff);
    assert_eq!(store(9, 0x11, &[1]), 0xff);
}

/// A CPU can give itself an interrupt, with no queue; and accept without looking.
#[test]
fn operating_system_sets_its_own_pending_bits() {
    let guest = Guest::new();
    guest.cppr(0, 0xff);
    let store = |offset, byte| guest.xive.write_by(CpuIndex(0), OS_PAGE, offset, &[byte]);
    store(0x812, 8);
    store(0x812, 0xff);
    assert!(!guest.lines()[0]);
    store(0x812, 4);
    assert_eq!((guest.lines()[0], guest.ring(0)[2]), (true, 0x08));
    store(0xc10, 0);
    assert_eq!((guest.lines()[0], guest.ring(0)), (false, [0, 4, 0, 0, 0, 0, 0, 0xff]));
}

/// Who is no CPU, such as a device that writes anywhere, has no ring.
#[test]
fn nobodys_ring_is_ones() {
    let guest = Guest::ready();
    guest.signal(FIRST, Signal::Pulse);
    let mut data = [0; 2];
    guest.xive.read(OS_PAGE, 0x810, &mut data);
    assert_eq!(data, [0xff; 2]);
    guest.xive.write(OS_PAGE, 0x11, &[0]);
    assert_eq!(guest.accept(0), [0x80, 5]);
    let mut data = [0; 8];
    guest.xive.read_by(CpuIndex(SERVERS), OS_PAGE, 0x10, &mut data);
    assert_eq!(data, [0xff; 8]);
}

#[test]
fn pages_of_a_source_have_one_way_each() {
    let guest = Guest::ready();
    let management = u64::from(FIRST) * 0x2_0000;
    // A store to the one page, a load of the other, and offsets that mean nothing.
    for offset in [0, 0x400, 0x800, 0xc00] {
        guest.xive.write_by(CpuIndex(0), SOURCES, management + offset, &[0; 8]);
        assert_eq!(guest.load_page(0, SOURCES, management + 0x1_0000 + offset), u64::MAX);
    }
    assert_eq!(guest.load(FIRST, 0x400), u64::MAX);
    assert_eq!((guest.load(FIRST, 0x800), guest.lines()), (0, [false; 3]));
    // A load of less than eight bytes has the low-order ones.
    guest.store(FIRST);
    let mut data = [0xff];
    guest.xive.read_by(CpuIndex(0), SOURCES, management + 0x800, &mut data);
    assert_eq!(data, [2]);
}

/// A queue whose notifications are coalesced: one, until the guest has ended it.
#[test]
fn notifications_can_be_coalesced() {
    let guest = Guest::ready();
    let args = [0, 1, 2, Guest::queue_at(1, 2), 16];
    assert_eq!(guest.status(token::INT_SET_QUEUE_CONFIG, &args), Status::SUCCESS);
    let page = (8 + 2) * 0x1_0000;
    for source in DEVICES {
        guest.assign(source, 1, 2, source);
    }
    for source in FIRST..FIRST + 3 {
        guest.signal(source, Signal::Pulse);
    }
    assert_eq!(guest.accept(1), [0x80, 2]);
    guest.cppr(1, 0xff);
    assert!(!guest.lines()[1]);
    assert_eq!(guest.entry(1, 2, 2), 0x8000_0000 | (FIRST + 2));
    assert_eq!(guest.load_page(0, QUEUES, page + 0x800), 3);
    // The end is a notification again, for those that came since.
    assert_eq!(guest.load_page(0, QUEUES, page), 1);
    assert_eq!(guest.accept(1), [0x80, 2]);
    assert_eq!(guest.load_page(0, QUEUES, page), 0);
    assert_eq!(guest.load_page(0, QUEUES, page + 0xd00), 0);
    guest.cppr(1, 0xff);
    guest.signal(LEVEL, Signal::High);
    assert_eq!((guest.lines()[1], guest.entry(1, 2, 3)), (false, 0x8000_0000 | LEVEL));
    // Queues that are not there, and the one that guests cannot have.
    for page in [8 + 7, 3 * 8, u64::MAX >> 16] {
        assert_eq!(guest.load_page(0, QUEUES, page << 16 | 0x800), u64::MAX);
    }
    assert_eq!(Guest::new().load_page(0, QUEUES, page + 0x800), u64::MAX);
}
