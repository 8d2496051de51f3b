//! The DMA window by hypercalls.

use vm_memory::GuestAddress;

use super::guest::{Guest, RAM_BYTES};
use super::*;
use crate::hypercall::{Status, token};
use crate::pci::{DmaAccess, DmaWindow};

const WINDOW: u64 = 0x8000_0000;
const PAGE: u64 = 0x1000;
const ENTRIES: u64 = (16 << 20) / PAGE;
const READ_WRITE: u64 = 3;
const LIST: u64 = 0x8000;

fn guest() -> Guest<MockBus> {
    Guest::new(MockBus::default())
}

impl Guest<MockBus> {
    fn get(&self, at: u64) -> (Status, u64) {
        self.hypercall(token::GET_TCE, &[WINDOW, at])
    }

    fn put(&self, at: u64, entry: u64) -> Status {
        self.hypercall(token::PUT_TCE, &[WINDOW, at, entry]).0
    }

    fn stuff(&self, at: u64, entry: u64, count: u64) -> Status {
        self.hypercall(token::STUFF_TCE, &[WINDOW, at, entry, count]).0
    }

    fn put_list(&self, at: u64, list: u64, count: u64) -> Status {
        self.hypercall(token::PUT_TCE_INDIRECT, &[WINDOW, at, list, count]).0
    }

    fn write_list(&self, at: u64, entries: impl Iterator<Item = u64>) {
        let bytes: Vec<u8> = entries.flat_map(u64::to_be_bytes).collect();
        self.ram().write(GuestAddress(at), &bytes).unwrap();
    }
}

#[test]
fn entries_are_what_was_put() {
    let guest = guest();
    assert_eq!(guest.get(0), (Status::SUCCESS, 0));
    assert_eq!(guest.put(5 * PAGE, 0x4000 | READ_WRITE), Status::SUCCESS);
    assert_eq!(guest.get(5 * PAGE), (Status::SUCCESS, 0x4003));
    assert_eq!(guest.get(5 * PAGE + 0xfff), (Status::SUCCESS, 0x4003));
    assert_eq!(guest.get(6 * PAGE), (Status::SUCCESS, 0));
    assert_eq!(guest.stuff((ENTRIES - 512) * PAGE, 0x7002, 512), Status::SUCCESS);
    assert_eq!(guest.get((ENTRIES - 1) * PAGE), (Status::SUCCESS, 0x7002));
    assert_eq!(guest.get((ENTRIES - 513) * PAGE), (Status::SUCCESS, 0));
    guest.write_list(LIST, (0..512).map(|number| ((number % 16) * PAGE) | 1));
    assert_eq!(guest.put_list(16 * PAGE, LIST, 512), Status::SUCCESS);
    assert_eq!(guest.get(17 * PAGE), (Status::SUCCESS, 0x1001));
    assert_eq!(guest.get(527 * PAGE), (Status::SUCCESS, 0xf001));
    assert_eq!(guest.get(528 * PAGE), (Status::SUCCESS, 0));
}

/// "If the LIOBN or IOBA parameters are outside of the range of calling partition assigned values
/// return H_PARAMETER" (§14.5.4.2).
#[test]
fn what_is_outside_is_refused() {
    let guest = guest();
    for at in [ENTRIES * PAGE, 1 << 32, u64::MAX] {
        assert_eq!(guest.get(at).0, Status::PARAMETER);
        assert_eq!(guest.put(at, 0), Status::PARAMETER);
        for count in [0, 1, 512] {
            assert_eq!(guest.stuff(at, 0, count), Status::PARAMETER);
            assert_eq!(guest.put_list(at, LIST, count), Status::PARAMETER);
        }
    }
    assert_eq!(guest.stuff((ENTRIES - 1) * PAGE, 0, 2), Status::PARAMETER);
    assert_eq!(guest.put_list((ENTRIES - 1) * PAGE, LIST, 2), Status::PARAMETER);
    for number in [0, WINDOW + 1, WINDOW | 1 << 32, u64::MAX] {
        for call in [token::GET_TCE, token::PUT_TCE, token::STUFF_TCE, token::PUT_TCE_INDIRECT] {
            assert_eq!(guest.hypercall(call, &[number, 0, 0, 0]).0, Status::PARAMETER);
        }
    }
    // "If the count parameter is greater than 512 then return H_P4", and H_PARAMETER of a list.
    for count in [513, 1 << 32, u64::MAX] {
        assert_eq!(guest.stuff(0, 0, count), Status::P4);
        assert_eq!(guest.put_list(0, LIST, count), Status::PARAMETER);
    }
}

/// "If the logical address within the TCE parameter is outside of the range of calling partition
/// assigned values then return H_PARAMETER": unless the entry maps nothing.
#[test]
fn pages_have_to_be_ram() {
    let guest = guest();
    for page in [RAM_BYTES, 0x2000_8000_0000, !(PAGE - 1)] {
        for control in 1..=3 {
            assert_eq!(guest.put(0, page | control), Status::PARAMETER);
            assert_eq!(guest.stuff(0, page | control, 1), Status::PARAMETER);
            guest.write_list(LIST, [0x1003, page | control].into_iter());
            assert_eq!(guest.put_list(0, LIST, 2), Status::PARAMETER);
        }
        assert_eq!(guest.get(0), (Status::SUCCESS, 0), "nothing of a list that is wrong");
        assert_eq!(guest.put(PAGE, page), Status::SUCCESS);
    }
    for list in [LIST + 8, RAM_BYTES, RAM_BYTES - 8, u64::MAX, !(PAGE - 1)] {
        assert_eq!(guest.put_list(0, list, 1), Status::PARAMETER, "{list:#x}");
    }
}

#[test]
fn functions_behind_the_window_have_what_is_mapped() {
    let window = DmaWindow::of_bridge(0);
    let entries = [0x4003, 0x5001, 0x6002, 0x7000];
    window.set(0, entries.into_iter());
    let read = |at| window.translate(at, DmaAccess::Read).map(|at| at.0);
    let write = |at| window.translate(at, DmaAccess::Write).map(|at| at.0);
    assert_eq!((read(0xabc), write(0)), (Some(0x4abc), Some(0x4000)));
    assert_eq!((read(0x1fff), write(0x1fff)), (Some(0x5fff), None));
    assert_eq!((read(0x2000), write(0x2000)), (None, Some(0x6000)));
    for at in [0x3000, 0x4000, ENTRIES * PAGE, u64::MAX] {
        assert_eq!((read(at), write(at)), (None, None), "{at:#x}");
    }
    window.clear();
    assert_eq!(read(0), None);
}
