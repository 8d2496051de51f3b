//! Hashed page tables: hypercalls with any arguments, and CPUs that record accesses meanwhile, beside
//! a plain model of what is in the table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arch_ppc64::hpt::{
    Entry, Gone, HashedPageTable, Order, SEGMENT_PAGE_SIZES, TOKENS, Table, TranslationCaches,
    VirtualPage, bits,
};
use arch_ppc64::hypercall::token;
use arch_ppc64::platform::Device;
use arch_ppc64::{CpuIndex, Hypercall, HypercallHandler, Next, Status};

use crate::Reach;
use crate::bus_machine::lock;
use crate::input::Input;
use crate::ram::WatchedRam;

const RAM_BYTES: u64 = 64 << 20;

/// Where RAM has a hole.
const HOLE: std::ops::Range<u64> = 0x180_0000..0x181_0000;

/// The size of the table at first; it may be twice that.
const ORDER: u64 = 19;

/// How many steps an input makes at most.
const STEPS_MAX: usize = 256;

const FULL: usize = TOKENS.len();
// As many calls as a step has numbers for.
const _: () = assert!(FULL == 10);
const ENTERED: usize = 1;
const _: () = assert!(TOKENS[ENTERED] == token::ENTER);
const FOUND: usize = FULL + 1;
const RECORDED: usize = FULL + 2;
const SAVED: usize = FULL + 3;
const MOVED: usize = FULL + 4;

/// See [`Target::goals`](crate::Target::goals): every call, with success, and what else there is.
pub fn goals() -> Vec<String> {
    let others = [
        "a full group",
        "a page that is found",
        "an access",
        "a saved table",
        "an entry that moves",
    ];
    let calls = TOKENS.into_iter().filter_map(token::name);
    calls.chain(others).map(str::to_owned).collect()
}

/// What CPUs were told since somebody looked.
#[derive(Default)]
struct Told(Mutex<Vec<Gone>>);

impl TranslationCaches for Told {
    fn forget(&self, gone: &[Gone]) {
        lock(&self.0).extend(gone);
    }

    fn replace(&self, _: &Arc<Table>) {
        lock(&self.0).push(Gone::All);
    }
}

struct World {
    table: HashedPageTable,
    told: Arc<Told>,
    ram: WatchedRam,
    model: BTreeMap<u64, Entry>,
}

impl World {
    fn new() -> Self {
        let told = Arc::new(Told::default());
        let order = Order::new(ORDER).expect("there is such a size");
        Self {
            table: HashedPageTable::new(order, told.clone()),
            told,
            ram: WatchedRam::with_hole(RAM_BYTES, HOLE),
            model: BTreeMap::new(),
        }
    }

    fn call(&self, token: u64, args: &[u64]) -> (Status, [u64; 9]) {
        let mut call = Hypercall::new(token, args);
        assert_eq!(self.table.handle(CpuIndex(0), &self.ram, &mut call), Next::Resume);
        (call.status(), call.args)
    }

    /// CPUs were told of each change, once.
    fn told(&self, changed: usize) {
        let gone = std::mem::take(&mut *lock(&self.told.0));
        assert!(gone.len() == changed, "{changed} changed, and CPUs were told {gone:?}");
    }
}

/// `data` is one step after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let mut world = World::new();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            number @ 0..=9 => guest(&mut world, usize::from(number), &mut input, &mut reach),
            // More often, what there is to work on.
            10..=12 => enter_page(&mut world, &mut input, &mut reach),
            13 | 14 => access(&mut world, &mut input, &mut reach),
            _ => save(&mut world, &mut reach),
        }
        let (writes, work) = world.ram.take();
        assert!(writes.is_empty() && work.bytes == 0, "no call touches RAM");
    }
    check_all(&world);
    reach
}

fn number(world: &World, input: &mut Input<'_>) -> u64 {
    match input.byte() {
        kind @ 0..=0xbf if !world.model.is_empty() => {
            let nth = usize::from(kind) % world.model.len();
            *world.model.keys().nth(nth).expect("there is one")
        }
        0..=0xdf => u64::from(input.u16()) % world.table.table().entries(),
        _ => input.number(world.table.table().entries()),
    }
}

/// A page of any size, of few segments, so that some meet.
fn page(input: &mut Input<'_>) -> (VirtualPage, u32, u32, bool) {
    let kind = input.byte();
    let sizes = SEGMENT_PAGE_SIZES[usize::from(kind & 3) % SEGMENT_PAGE_SIZES.len()];
    let (shift, code) = sizes.pages[usize::from(kind >> 2 & 3) % sizes.pages.len()];
    let segment_shift = if kind & 0x10 == 0 { 28 } else { 40 };
    let offset = input.number(1 << 28) & ((1 << segment_shift) - 1);
    let vsid = match kind & 0x20 {
        0 => u64::from(input.byte()) << 13,
        _ => input.u64() & ((1 << if segment_shift == 28 { 50 } else { 38 }) - 1),
    };
    let page = VirtualPage { vsid, segment_shift, offset, base_shift: sizes.base_shift };
    (page, shift, code, kind & 0x40 != 0)
}

/// Enters a page where a guest would.
fn enter_page(world: &mut World, input: &mut Input<'_>, reach: &mut Reach) {
    let (page, shift, code, secondary) = page(input);
    let index = page.offset >> page.base_shift;
    let hash = match page.segment_shift {
        40 => page.vsid ^ page.vsid << 25 ^ index,
        _ => page.vsid ^ index,
    };
    let hash = if secondary { !hash } else { hash };
    let groups = world.table.table().entries() / 8;
    let avpn = page.vsid << (page.segment_shift - 23) | page.offset >> 23;
    let mut first = u64::from(page.segment_shift == 40) << 62 | avpn << 7 | bits::VALID;
    first |= if secondary { bits::SECONDARY } else { 0 };
    first |= if shift > 12 { bits::LARGE } else { 0 };
    first |= if input.byte() & 1 != 0 { bits::BOLTED } else { 0 };
    let lp = if shift > 12 { u64::from(code) << 12 } else { 0 };
    let number = (hash & (groups - 1)) * 8;
    let added = enter(world, &[0, number, first, lp | bits::M | 2], reach);
    let found = world.table.table().find(&page);
    assert!(found.is_some() || !added, "what was entered is not found: {page:?}");
    if found.is_some() {
        reach.add(FOUND);
    }
}

fn enter(world: &mut World, args: &[u64], reach: &mut Reach) -> bool {
    let (status, results) = world.call(token::ENTER, args);
    world.told(0);
    match status {
        Status::SUCCESS => {
            let number = results[0];
            assert_eq!(number & !7, args[1] & !7, "in another group");
            let entry = world.table.table().get(number);
            let same = (entry.first ^ args[2]) & !0x61 == 0 && entry.second == args[3];
            assert!(same && entry.is_valid(), "{entry:x?} instead of {args:x?}");
            let (_, shift) = entry.page_shifts().expect("it has a size");
            let real = entry.real_address(shift);
            let is_ram = world.ram.room_from(real) >= 1 << shift;
            let is_cached = entry.second & bits::I == 0 || entry.second & bits::M != 0;
            assert!(is_ram == is_cached || !is_ram && world.ram.room_from(real) == 0);
            assert!(world.model.insert(number, entry).is_none(), "there was one already");
            reach.add(ENTERED);
            true
        }
        Status::PTEG_FULL => {
            reach.add(FULL);
            false
        }
        status => {
            assert_eq!(status, Status::PARAMETER);
            false
        }
    }
}

/// A CPU looks for a page, and accesses it.
fn access(world: &mut World, input: &mut Input<'_>, reach: &mut Reach) {
    let table = world.table.table();
    let (page, set) = (page(input).0, if input.byte() & 1 == 0 { 0x100 } else { 0x180 });
    if let Some(found) = table.find(&page) {
        assert_eq!(world.model.get(&found.number), Some(&found.entry));
    }
    // They record in nothing but what they have found.
    let number = number(world, input);
    if let Some(known) = world.model.get_mut(&number) {
        assert!(table.record(number, known.second, set));
        known.second |= set;
        reach.add(RECORDED);
    }
}

fn guest(world: &mut World, call: usize, input: &mut Input<'_>, reach: &mut Reach) {
    let token = TOKENS[call];
    let number = number(world, input);
    let flags = match input.byte() {
        kind @ 0..=0xdf => [0, 1 << 31, 1 << 30, 1 << 39, 1 << 37, 3][usize::from(kind) % 6],
        _ => input.u64(),
    };
    let entries = world.table.table().entries();
    let known = world.model.get(&number).copied();
    match token {
        token::ENTER => {
            let args = [flags, number, input.u64(), input.number(RAM_BYTES)];
            enter(world, &args, reach);
        }
        token::REMOVE => {
            let wanted = wanted(known, input);
            let (status, results) = world.call(token, &[flags, number, wanted]);
            let expected = expected(known, flags, wanted);
            match (number < entries, expected) {
                (false, _) => assert_eq!(status, Status::PARAMETER),
                (true, None) => assert_eq!(status, Status::NOT_FOUND),
                (true, Some(entry)) => {
                    assert_eq!(
                        (status, results[0], results[1]),
                        (Status::SUCCESS, entry.first, entry.second)
                    );
                    world.model.remove(&number);
                    reach.add(call);
                }
            }
            world.told(usize::from(status == Status::SUCCESS));
        }
        token::READ => {
            let (status, results) = world.call(token, &[flags, number]);
            let count = if flags >> 37 & 1 == 0 { 1 } else { 4 };
            let start = if count == 4 { number & !3 } else { number };
            assert_eq!(status == Status::SUCCESS, number < entries);
            if status == Status::SUCCESS {
                for (number, pair) in (start..start + count).zip(results.chunks(2)) {
                    let entry = world.model.get(&number).copied().unwrap_or_default();
                    assert_eq!(pair, [entry.first, entry.second]);
                }
                reach.add(call);
            }
            world.told(0);
        }
        token::PROTECT | token::CLEAR_MOD | token::CLEAR_REF => {
            let wanted = wanted(known, input);
            let (status, _) = world.call(token, &[flags, number, wanted]);
            let flags = if token == token::PROTECT { flags & 1 << 31 } else { 0 };
            let expected = expected(known, flags, wanted).filter(|_| number < entries);
            assert_eq!(status == Status::SUCCESS, expected.is_some(), "{status}");
            if let (Some(old), Some(entry)) = (expected, world.model.get_mut(&number)) {
                *entry = world.table.table().get(number);
                let may_change = match token {
                    token::CLEAR_MOD => bits::CHANGED,
                    token::CLEAR_REF => bits::REFERENCED,
                    _ => bits::PP0 | bits::KEY_HIGH | bits::KEY_LOW | 7,
                };
                let changed = old.second ^ entry.second;
                assert!(old.first == entry.first && changed & !may_change == 0);
                reach.add(call);
            }
            world.told(usize::from(status == Status::SUCCESS));
        }
        token::BULK_REMOVE => bulk_remove(world, input, reach, call),
        token::CLEAR_HPT => {
            let (status, _) = world.call(token, &[]);
            match status {
                Status::SUCCESS => reach.add(call),
                status => assert_eq!(status, Status::CONTINUE),
            }
            let table = world.table.table();
            world.model.retain(|&number, _| table.get(number).is_valid());
            world.told(usize::from(status == Status::SUCCESS));
        }
        token::RESIZE_HPT_PREPARE | token::RESIZE_HPT_COMMIT => {
            let order = match input.byte() {
                kind @ 0..=0xdf => [18, 19, 20, 21, 0][usize::from(kind) % 5],
                _ => input.number(64),
            };
            let (status, _) = world.call(token, &[flags & 1, order]);
            match status {
                Status::SUCCESS if token == token::RESIZE_HPT_COMMIT => {
                    moved(world, order, reach);
                    world.told(1);
                }
                _ => world.told(0),
            }
            if status == Status::SUCCESS {
                assert!(flags & 1 == 0 && order <= ORDER + 1);
                reach.add(call);
            }
        }
        _ => unreachable!("it is in the list"),
    }
}

/// All that was bolted is there once, and nothing else.
fn moved(world: &mut World, order: u64, reach: &mut Reach) {
    let table = world.table.table();
    assert_eq!(u64::from(table.order().get()), order);
    let mut before: Vec<u64> = world
        .model
        .values()
        .filter(|entry| entry.first & bits::BOLTED != 0)
        .map(|entry| entry.first)
        .collect();
    let entries = (0..table.entries()).map(|number| (number, table.get(number)));
    world.model = entries.filter(|(_, entry)| entry.is_valid()).collect();
    let mut after: Vec<u64> = world.model.values().map(|entry| entry.first).collect();
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before, after);
    if !after.is_empty() {
        reach.add(MOVED);
    }
}

/// What an entry is compared with: what it is, or something.
fn wanted(known: Option<Entry>, input: &mut Input<'_>) -> u64 {
    match (input.byte(), known) {
        (0..=0x9f, Some(entry)) => entry.first & !0x7f,
        (0xa0..=0xcf, _) => bits::BOLTED,
        _ => input.u64(),
    }
}

fn expected(known: Option<Entry>, flags: u64, wanted: u64) -> Option<Entry> {
    known.filter(|entry| {
        (flags & 1 << 31 == 0 || (entry.first ^ wanted) & !0x7f == 0)
            && (flags & 1 << 30 == 0 || entry.first & wanted == 0)
    })
}

fn bulk_remove(world: &mut World, input: &mut Input<'_>, reach: &mut Reach, call: usize) {
    let mut args = [0; 8];
    for pair in args.chunks_exact_mut(2) {
        let kind = input.pick(&[1_u64, 1, 1, 1, 1, 3, 2, 0]);
        let how = input.pick(&[0_u64, 1, 2, 3]);
        let number = number(world, input);
        let wanted = wanted(world.model.get(&number).copied(), input);
        pair.copy_from_slice(&[kind << 62 | how << 56 | number & (u64::MAX >> 8), wanted]);
    }
    let (status, results) = world.call(token::BULK_REMOVE, &args);
    assert!(matches!(status, Status::SUCCESS | Status::PARAMETER));
    let mut removed = 0;
    for (before, after) in args.chunks(2).zip(results.chunks(2)) {
        assert_eq!(before[1], after[1]);
        // A response of success.
        if before[0] >> 62 == 1 && after[0] >> 60 == 8 {
            let number = after[0] & (u64::MAX >> 8);
            assert_eq!(number, before[0] & (u64::MAX >> 8));
            let entry = world.model.remove(&number).expect("what was removed was there");
            let recorded = after[0] >> 51 & (bits::REFERENCED | bits::CHANGED);
            assert_eq!(recorded, entry.second & (bits::REFERENCED | bits::CHANGED));
            removed += 1;
        }
    }
    if removed > 0 {
        reach.add(call);
    }
    world.told(removed);
}

/// The table goes on elsewhere.
fn save(world: &mut World, reach: &mut Reach) {
    let state = world.table.state().expect("it has state").save().expect("it can be saved");
    let other = World::new();
    other.table.state().expect("it has state").restore(1, &state).expect("it is one");
    other.told(1);
    let model = std::mem::take(&mut world.model);
    *world = World { model, ..other };
    check_all(world);
    reach.add(SAVED);
}

fn check_all(world: &World) {
    let table = world.table.table();
    let valid = (0..table.entries()).filter(|&number| table.get(number).is_valid());
    assert_eq!(valid.count(), world.model.len());
    for (&number, &entry) in &world.model {
        assert_eq!(table.get(number), entry);
    }
}
