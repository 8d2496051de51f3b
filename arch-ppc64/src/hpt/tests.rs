//! What guests do to the table, through the door that they have.

use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::{Entry, Gone, HashedPageTable, Order, Table, TranslationCaches, VirtualPage, bits};
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::vcpu::CpuIndex;

const RAM_BYTES: usize = 64 << 20;

// Flags, as the specification numbers their bits.
const EXACT: u64 = 1 << (63 - 24);
const READ_4: u64 = 1 << (63 - 26);
const AVPN: u64 = 1 << (63 - 32);
const ANDCOND: u64 = 1 << (63 - 33);

/// Remembers what it was told.
#[derive(Default)]
struct Told {
    gone: Mutex<Vec<Gone>>,
    tables: Mutex<Vec<Order>>,
}

impl TranslationCaches for Told {
    fn forget(&self, gone: &[Gone]) {
        self.gone.lock().unwrap().extend(gone);
    }

    fn replace(&self, table: &Arc<Table>) {
        self.tables.lock().unwrap().push(table.order());
    }
}

struct Guest {
    table: HashedPageTable,
    ram: GuestMemoryMmap,
    told: Arc<Told>,
}

impl Guest {
    fn new(order: u64) -> Self {
        let told = Arc::new(Told::default());
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES)]).unwrap();
        Self { table: HashedPageTable::new(Order::new(order).unwrap(), told.clone()), ram, told }
    }

    fn call(&self, token: u64, args: &[u64]) -> (Status, [u64; 9]) {
        let mut call = Hypercall::new(token, args);
        assert_eq!(self.table.handle(CpuIndex(0), &self.ram, &mut call), Next::Resume);
        (call.status(), call.args)
    }

    fn status(&self, token: u64, args: &[u64]) -> Status {
        self.call(token, args).0
    }

    /// Enters a page of 4 KiB; gives the number that it got.
    fn enter(&self, flags: u64, number: u64, first: u64) -> Result<u64, Status> {
        match self.call(token::ENTER, &[flags, number, first, second(0x1000)]) {
            (Status::SUCCESS, args) => Ok(args[0]),
            (status, _) => Err(status),
        }
    }

    fn read(&self, number: u64) -> Entry {
        let (status, args) = self.call(token::READ, &[0, number]);
        assert_eq!(status, Status::SUCCESS);
        Entry { first: args[0], second: args[1] }
    }

    fn gone(&self) -> Vec<Gone> {
        std::mem::take(&mut self.told.gone.lock().unwrap())
    }
}

/// A page of RAM that all may write to.
fn second(real: u64) -> u64 {
    real | bits::M | 2
}

/// Where a guest enters a page, and the first doubleword.
fn first(page: &VirtualPage, table: &Table, secondary: bool) -> (u64, u64) {
    let hash = if secondary { !page.hash() } else { page.hash() };
    let number = (hash & (table.groups() - 1)) * 8;
    let avpn = page.vsid << (page.segment_shift - 23) | page.offset >> 23;
    let large = if page.base_shift > 12 { bits::LARGE } else { 0 };
    let kind = if secondary { bits::SECONDARY } else { 0 };
    let size = u64::from(page.segment_shift == 40) << 62;
    (number, size | avpn << 7 | large | kind | bits::VALID)
}

#[test]
fn a_group_has_eight_entries_and_no_more() {
    let guest = Guest::new(18);
    for slot in 0..8 {
        // Which of its group it names does not matter.
        assert_eq!(guest.enter(0, 8 + (slot + 3) % 8, slot << 7 | 1), Ok(8 + slot));
    }
    assert_eq!(guest.enter(0, 8, 9 << 7), Err(Status::PTEG_FULL));
    assert_eq!(guest.enter(EXACT, 9, 9 << 7), Err(Status::PTEG_FULL));
    assert_eq!(guest.enter(EXACT, 17, 9 << 7), Ok(17));
    assert_eq!(guest.read(17), Entry { first: 9 << 7 | 1, second: second(0x1000) });
    assert_eq!(guest.gone(), []);
}

#[test]
fn what_cannot_be_is_not_entered() {
    let guest = Guest::new(18);
    let entries = (1 << 18) / 16;
    let enter =
        |flags, number, first, second| guest.status(token::ENTER, &[flags, number, first, second]);
    let large = bits::LARGE;
    let end = RAM_BYTES as u64;
    assert_eq!(enter(0, 0, 1, second(end - 0x1000)), Status::SUCCESS);
    // Not cached where there is no RAM: "WIMG".
    assert_eq!(enter(0, 0, 1, end | bits::I | bits::G), Status::SUCCESS);
    assert_eq!(enter(0, 0, 1, bits::W | bits::I | bits::M), Status::SUCCESS);
    assert_eq!(enter(0, 0, large | 1, second(0)), Status::SUCCESS);
    for (what, flags, number, first, second) in [
        ("not in the table", 0, entries, 1, second(0)),
        ("not in the table", 0, u64::MAX, 1, second(0)),
        ("a page to be zeroed", 1 << 15, 0, 1, second(0)),
        ("a page to be copied", 1 << 14, 0, 1, second(0)),
        ("a segment that there is not", 0, 0, 2 << 62 | 1, second(0)),
        ("a size that there is not", 0, 0, large | 1, second(0x2000)),
        ("RAM that is not cached", 0, 0, 1, bits::I | bits::G),
        ("RAM that is not coherent", 0, 0, 1, 0),
        ("no RAM, cached", 0, 0, 1, second(end)),
        ("no RAM by far", 0, 0, 1, second(bits::REAL_PAGE)),
    ] {
        assert_eq!(enter(flags, number, first, second), Status::PARAMETER, "{what}");
    }
    // A page of 16 MiB of which the last part is no RAM.
    let hole = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), (16 << 20) - 0x1_0000)]).unwrap();
    let guest = Guest { ram: hole, ..Guest::new(18) };
    assert_eq!(guest.status(token::ENTER, &[0, 0, large | 1, second(0)]), Status::PARAMETER);
}

#[test]
fn entries_are_removed_by_what_they_are() {
    let guest = Guest::new(18);
    let number = guest.enter(0, 0x40, 5 << 7 | bits::BOLTED).unwrap();
    let remove = |flags, wanted| guest.status(token::REMOVE, &[flags, number, wanted]);
    assert_eq!(remove(AVPN, 6 << 7), Status::NOT_FOUND);
    assert_eq!(remove(ANDCOND, bits::BOLTED), Status::NOT_FOUND);
    assert_eq!(guest.status(token::REMOVE, &[0, 1 << 40, 0]), Status::PARAMETER);
    assert_eq!(guest.gone(), []);
    // The lower bits are no part of the number.
    let (status, args) = guest.call(token::REMOVE, &[AVPN, number, 5 << 7 | 0x7f]);
    assert_eq!(status, Status::SUCCESS);
    assert_eq!(args[..2], [5 << 7 | bits::BOLTED | bits::VALID, second(0x1000)]);
    assert_eq!(guest.gone().len(), 1);
    assert_eq!(guest.read(number), Entry::default());
    assert_eq!(remove(0, 0), Status::NOT_FOUND);
    guest.enter(0, number, 7 << 7).unwrap();
    assert_eq!(remove(ANDCOND, bits::BOLTED), Status::SUCCESS);
}

#[test]
fn four_are_read_at_once() {
    let guest = Guest::new(18);
    for number in [4, 6] {
        guest.enter(EXACT, number, number << 7).unwrap();
    }
    let (status, args) = guest.call(token::READ, &[READ_4, 5]);
    assert_eq!(status, Status::SUCCESS);
    let entry = |number: u64| [number << 7 | bits::VALID, second(0x1000)];
    assert_eq!(args[..8], [entry(4), [0, 0], entry(6), [0, 0]].concat());
    assert_eq!(guest.status(token::READ, &[READ_4, 1 << 14]), Status::PARAMETER);
}

#[test]
fn four_are_removed_at_once() {
    const REQUEST: u64 = 1 << 62;
    const RESPONSE: u64 = 2 << 62;
    const END: u64 = 3 << 62;
    const BY_AVPN: u64 = 2 << 56;
    const BY_ANDCOND: u64 = 1 << 56;
    let guest = Guest::new(18);
    for number in [8, 16, 24] {
        guest.enter(0, number, number << 7).unwrap();
    }
    let changed = second(0x1000) | bits::REFERENCED | bits::CHANGED;
    guest.table.table().change(16, |_| changed);
    let (status, args) = guest.call(
        token::BULK_REMOVE,
        &[
            REQUEST | BY_AVPN | 8,
            8 << 7,
            REQUEST | 16,
            0,
            REQUEST | BY_AVPN | 24,
            25 << 7,
            REQUEST | BY_ANDCOND | 24,
            0x10,
        ],
    );
    assert_eq!(status, Status::SUCCESS);
    let responses: Vec<u64> = args.iter().step_by(2).copied().take(4).collect();
    // "Success: R and C in bits 4:5", "Not found".
    let not_found = 1 << 60;
    assert_eq!(
        responses,
        [
            RESPONSE | BY_AVPN | 8,
            RESPONSE | 3 << 58 | 16,
            RESPONSE | BY_AVPN | not_found | 24,
            RESPONSE | BY_ANDCOND | 24
        ]
    );
    assert_eq!(guest.gone().len(), 3);
    // What is behind the end is not looked at, and what is wrong ends the call.
    guest.enter(0, 8, 1 << 7).unwrap();
    let end = [END, 0, REQUEST | 8, 0];
    assert_eq!(guest.call(token::BULK_REMOVE, &end).1[2], REQUEST | 8);
    let wrong = [REQUEST | 1 << 50, 0, REQUEST | 8, 0];
    let (status, args) = guest.call(token::BULK_REMOVE, &wrong);
    assert_eq!((status, args[0]), (Status::PARAMETER, RESPONSE | 2 << 60 | 1 << 50));
    assert_eq!(guest.status(token::BULK_REMOVE, &[RESPONSE | 8, 0]), Status::PARAMETER);
    let both = [REQUEST | BY_AVPN | BY_ANDCOND | 8, 0];
    assert_eq!(guest.status(token::BULK_REMOVE, &both), Status::PARAMETER);
    assert!(guest.read(8).is_valid());
}

#[test]
fn protection_changes_and_nothing_else() {
    let guest = Guest::new(18);
    let number = guest.enter(0, 0, 3 << 7).unwrap();
    let recorded = second(0x1000) | bits::REFERENCED | bits::CHANGED;
    guest.table.table().change(number, |_| recorded);
    let protect = |flags, wanted| guest.status(token::PROTECT, &[flags, number, wanted]);
    assert_eq!(protect(AVPN | 3, 4 << 7), Status::NOT_FOUND);
    assert_eq!(protect(AVPN | 0x3000 | 0x100 | 0xe00 | 4 | 2, 3 << 7), Status::SUCCESS);
    let all = bits::PP0 | bits::KEY_HIGH | bits::KEY_LOW | bits::NO_EXECUTE;
    assert_eq!(guest.read(number).second, recorded | all);
    assert_eq!(protect(3, 0), Status::SUCCESS);
    assert_eq!(guest.read(number).second, recorded & !bits::PP | 3);
    assert_eq!(guest.gone().len(), 2);
    assert_eq!(guest.status(token::PROTECT, &[0, number + 1, 0]), Status::NOT_FOUND);
}

#[test]
fn what_is_recorded_is_cleared() {
    let guest = Guest::new(18);
    let number = guest.enter(0, 0, 3 << 7).unwrap();
    let recorded = second(0x1000) | bits::REFERENCED | bits::CHANGED;
    guest.table.table().change(number, |_| recorded);
    let (status, args) = guest.call(token::CLEAR_REF, &[0, number]);
    assert_eq!((status, args[0]), (Status::SUCCESS, recorded));
    assert_eq!(guest.read(number).second, recorded & !bits::REFERENCED);
    let (status, args) = guest.call(token::CLEAR_MOD, &[0, number]);
    assert_eq!((status, args[0]), (Status::SUCCESS, recorded & !bits::REFERENCED));
    assert_eq!(guest.read(number).second, second(0x1000));
    // CPUs have to record it anew.
    assert_eq!(guest.gone().len(), 2);
    assert_eq!(guest.status(token::CLEAR_MOD, &[0, number + 1]), Status::NOT_FOUND);
    assert_eq!(guest.status(token::CLEAR_REF, &[0, u64::MAX]), Status::PARAMETER);
}

/// Of each size in each segment, by both hashes: what is entered is found, and when it goes, CPUs are
/// told of the addresses that it was at.
#[test]
fn pages_of_each_size_are_found_and_forgotten() {
    for order in [18, 19, 24, 30] {
        let guest = Guest::new(order);
        let table = guest.table.table();
        for sizes in super::SEGMENT_PAGE_SIZES {
            for (&(shift, code), segment_shift) in
                sizes.pages.iter().flat_map(|page| [(page, 28), (page, 40)])
            {
                for (vsid, at) in [(0, 0), (0x1_2345_6789, 0x0fff_ffff), (0x7_ffff, 0x0123_4567)] {
                    let offset = at | (at << 12 & ((1 << segment_shift) - 1));
                    let base_shift = sizes.base_shift;
                    let page = VirtualPage { vsid, segment_shift, offset, base_shift };
                    for secondary in [false, true] {
                        let (start, mut first) = first(&page, &table, secondary);
                        first |= if shift > 12 { bits::LARGE } else { 0 };
                        let second = second(u64::from(code) << 12);
                        let (status, args) = guest.call(token::ENTER, &[0, start, first, second]);
                        assert_eq!(status, Status::SUCCESS);
                        let found = table.find(&page).unwrap();
                        assert_eq!((found.number, found.shift), (args[0], shift), "{page:?}");
                        let other = VirtualPage { vsid: vsid ^ 1 << 20, ..page };
                        assert_eq!(table.find(&other), None);
                        guest.gone();
                        assert_eq!(
                            guest.status(token::REMOVE, &[AVPN, args[0], first]),
                            Status::SUCCESS
                        );
                        let [Gone::Page { offset: gone, shift: gone_shift }] = guest.gone()[..]
                        else {
                            panic!("{page:?}");
                        };
                        assert_eq!(gone_shift, shift);
                        // Below the size of an effective segment, virtual and effective are the same.
                        assert_eq!(gone, offset & !((1 << shift) - 1), "{page:?} {order}");
                        assert_eq!(table.find(&page), None);
                    }
                }
            }
        }
    }
}

#[test]
fn a_search_does_not_take_another_page_size_for_its_own() {
    let guest = Guest::new(18);
    let table = guest.table.table();
    let page = VirtualPage { vsid: 9, segment_shift: 28, offset: 0, base_shift: 12 };
    let (start, small) = first(&page, &table, false);
    // At offset 0, the hash of both is the same.
    let large = [0, start, small | bits::LARGE, second(1 << 12)];
    assert_eq!(guest.status(token::ENTER, &large), Status::SUCCESS);
    assert_eq!(table.find(&page), None);
    assert_eq!(table.find(&VirtualPage { base_shift: 16, ..page }).unwrap().shift, 16);
}

#[test]
fn what_is_recorded_meanwhile_is_seen() {
    let guest = Guest::new(18);
    let number = guest.enter(0, 0, 3 << 7).unwrap();
    let table = guest.table.table();
    assert!(table.record(number, second(0x1000), bits::REFERENCED));
    assert!(!table.record(number, second(0x1000), bits::CHANGED));
    let (_, args) = guest.call(token::REMOVE, &[0, number]);
    assert_eq!(args[1], second(0x1000) | bits::REFERENCED);
    // Nothing is recorded in what is not there.
    assert!(!table.record(number, args[1], bits::CHANGED));
    assert_eq!(guest.read(number), Entry::default());
}

#[test]
fn all_are_cleared_in_steps() {
    let guest = Guest::new(20);
    for number in (0..1 << 16).step_by(8) {
        guest.enter(0, number, 1 << 7).unwrap();
    }
    let mut calls = 0;
    while guest.status(token::CLEAR_HPT, &[]) == Status::CONTINUE {
        calls += 1;
    }
    assert!(calls > 4, "{calls}");
    assert!((0..1 << 16).all(|number| !guest.read(number).is_valid()));
    assert_eq!(guest.gone(), [Gone::All]);
    assert_eq!(guest.status(token::CLEAR_HPT, &[]), Status::CONTINUE);
}

/// Who gave up clearing it, such as a kernel that crashed, has left nothing behind for the next one.
#[test]
fn what_is_entered_meanwhile_is_cleared_too() {
    let guest = Guest::new(20);
    for number in (0..1 << 16).step_by(8) {
        guest.enter(0, number, 1 << 7).unwrap();
    }
    assert_eq!(guest.status(token::CLEAR_HPT, &[]), Status::CONTINUE);
    guest.enter(EXACT, 1, 2 << 7).unwrap();
    while guest.status(token::CLEAR_HPT, &[]) == Status::CONTINUE {}
    assert!((0..1 << 16).all(|number| !guest.read(number).is_valid()));
}

/// The bolted entries of a table, wherever they are to be in one of another size.
fn bolted(guest: &Guest, count: u64) -> Vec<VirtualPage> {
    let table = guest.table.table();
    let pages = (0..count).map(|number| {
        let offset = (number * 0x100_3000) & 0xff_ffff_f000;
        VirtualPage { vsid: 0x55 + number / 7, segment_shift: 40, offset, base_shift: 12 }
    });
    let enter = |(page, secondary): (&VirtualPage, bool)| {
        let (start, first) = first(page, &table, secondary);
        guest.enter(0, start, first | bits::BOLTED).unwrap();
    };
    let pages: Vec<_> = pages.collect();
    for (number, page) in pages.iter().enumerate() {
        enter((page, number % 3 == 0));
    }
    pages
}

fn prepare(guest: &Guest, order: u64) -> u64 {
    for calls in 1..1000 {
        match guest.status(token::RESIZE_HPT_PREPARE, &[0, order]) {
            Status::SUCCESS => return calls,
            status => assert_eq!(status, Status::LONG_BUSY_ORDER_1_MS),
        }
    }
    panic!("it takes for ever");
}

#[test]
fn bolted_entries_move_to_a_table_of_another_size() {
    for (from, to) in [(20, 21), (20, 18), (20, 20)] {
        let guest = Guest::new(from);
        let pages = bolted(&guest, 100);
        guest.enter(EXACT, 0x801, 1 << 7).unwrap();
        prepare(&guest, to);
        assert_eq!(guest.status(token::RESIZE_HPT_COMMIT, &[0, to]), Status::SUCCESS);
        let table = guest.table.table();
        assert_eq!(*guest.told.tables.lock().unwrap(), [table.order()]);
        assert_eq!(u64::from(table.order().get()), to);
        for page in &pages {
            let found = table.find(page).unwrap();
            assert_eq!(found.entry.real_address(found.shift), 0x1000);
        }
        let valid = (0..table.entries()).filter(|&number| guest.read(number).is_valid()).count();
        assert_eq!(valid, pages.len());
        assert_eq!(guest.status(token::RESIZE_HPT_COMMIT, &[0, to]), Status::CLOSED);
    }
}

/// What happens to an entry after it has moved happens to the one that takes its place.
#[test]
fn moved_entries_follow() {
    let guest = Guest::new(18);
    let pages = bolted(&guest, 3);
    prepare(&guest, 19);
    let table = guest.table.table();
    let number = |page| table.find(page).unwrap().number;
    assert_eq!(guest.status(token::REMOVE, &[0, number(&pages[0])]), Status::SUCCESS);
    assert_eq!(guest.status(token::PROTECT, &[3, number(&pages[1])]), Status::SUCCESS);
    let new = VirtualPage { vsid: 0x1234, ..pages[0] };
    let (start, first) = first(&new, &table, false);
    guest.enter(0, start, first | bits::BOLTED).unwrap();
    assert_eq!(guest.status(token::RESIZE_HPT_COMMIT, &[0, 19]), Status::SUCCESS);
    let table = guest.table.table();
    assert_eq!(table.find(&pages[0]), None);
    assert_eq!(table.find(&pages[1]).unwrap().entry.second & bits::PP, 3);
    assert_eq!(table.find(&pages[2]).unwrap().entry.second & bits::PP, 2);
    assert!(table.find(&new).is_some());
}

#[test]
fn a_table_is_prepared_before_it_is_taken_up() {
    let guest = Guest::new(20);
    let prepare_once = |flags, order| guest.status(token::RESIZE_HPT_PREPARE, &[flags, order]);
    let commit = |flags, order| guest.status(token::RESIZE_HPT_COMMIT, &[flags, order]);
    assert_eq!(prepare_once(1, 20), Status::PARAMETER);
    assert_eq!(prepare_once(0, 17), Status::PARAMETER);
    assert_eq!(prepare_once(0, u64::MAX), Status::PARAMETER);
    // More than twice what its machine is worth.
    assert_eq!(prepare_once(0, 22), Status::RESOURCE);
    assert_eq!(commit(1, 20), Status::PARAMETER);
    assert_eq!(commit(0, 20), Status::CLOSED);
    // One group has room for eight: of a smaller table, sixteen belong into it.
    for number in 0..16 {
        let page = VirtualPage { vsid: 0, segment_shift: 28, offset: 0, base_shift: 12 };
        let (_, first) = first(&page, &guest.table.table(), false);
        let vsid = number << 13;
        let start = (vsid & 0x1fff) * 8 + ((number % 2) << 14);
        guest.enter(0, start, first | vsid << 12 | bits::BOLTED).unwrap();
    }
    while prepare_once(0, 21) == Status::LONG_BUSY_ORDER_1_MS {
        assert_eq!(commit(0, 21), Status::BUSY);
    }
    assert_eq!(prepare_once(0, 0), Status::SUCCESS);
    assert_eq!(commit(0, 21), Status::CLOSED);
    prepare(&guest, 18);
    assert_eq!(commit(0, 18), Status::PTEG_FULL);
    assert_eq!(commit(0, 18), Status::CLOSED);
    assert_eq!(guest.table.table().order().get(), 20);
}

#[test]
fn an_empty_table_of_any_size_costs_next_to_nothing() {
    let guest = Guest::new(37);
    guest.enter(0, (1 << 33) - 8, 1 << 7).unwrap();
    assert!(guest.read((1 << 33) - 8).is_valid());
}

#[cfg(feature = "serde")]
#[test]
fn it_is_saved_and_restored() {
    use crate::platform::{SaveState, StateValue};

    let guest = Guest::new(20);
    bolted(&guest, 300);
    guest.enter(EXACT, 31, 1 << 7).unwrap();
    guest.enter(EXACT, 32, 1 << 7).unwrap();
    prepare(&guest, 19);
    assert_eq!(guest.status(token::RESIZE_HPT_COMMIT, &[0, 19]), Status::SUCCESS);
    let state = guest.table.save().unwrap();
    let other = Guest::new(20);
    other.enter(0, 0, 0x77 << 7).unwrap();
    other.table.restore(1, &state).unwrap();
    let [table, restored] = [&guest, &other].map(|guest| guest.table.table());
    assert_eq!(table.order(), restored.order());
    for number in 0..table.entries() {
        assert_eq!(table.get(number), restored.get(number));
    }
    assert_eq!(*other.told.tables.lock().unwrap(), [restored.order()]);
    let no: [&[(u64, &str)]; 6] = [
        &[(u64::MAX, "00000000000000010000000000001012")],
        &[(1 << 16, "00000000000000010000000000001012")],
        &[(0, "00000000000000000000000000001012")],
        &[(0, "0000000000000001000000000000101")],
        &[(0, "000000000000000100000000000010\u{e9}")],
        &[(0, "00000000000000010000000000001012"), (0, "00000000000000010000000000001012")],
    ];
    for entries in no {
        let state = StateValue::of(&serde_json::json!({"order": 20, "entries": entries})).unwrap();
        assert!(other.table.restore(1, &state).is_err(), "{entries:?}");
    }
    for order in [0, 17, 22, 46, 255] {
        let state = StateValue::of(&serde_json::json!({"order": order, "entries": []})).unwrap();
        assert!(other.table.restore(1, &state).is_err(), "{order}");
    }
    assert!(other.table.restore(2, &guest.table.save().unwrap()).is_err());
}
